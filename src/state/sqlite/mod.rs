//! The ledger in one `SQLite` file: a node's own books.
//!
//! Why it exists: one node needs no other service to keep money safe. One thread writes and groups commits, readers
//! have connections of their own, and the file is in write-ahead mode. What it refuses to know: prices, and which budgets
//! there are. To add a column: a migration in `state/schema/`, then `rows.rs` and `state/books.rs`.

mod budgets;
mod checkpoint;
mod queue;
mod reads;
mod rows;
mod schema;
mod statements;
mod writer;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;

use self::reads::Readers;
use self::schema::Lock;
use self::writer::Writer;
use super::command::{Command, Done, Verdict};
use super::sql::{Row, Statement, Value};
use super::{AmbiguousSum, Durability, Ledger, LedgerFault, Record, SpendBy, SpendRow};
use crate::domain::budget::{Account, Earmark, Total};
use crate::domain::ledger::{Attempt, Closing, Opening};
use crate::transport::Boxed;

/// A ledger in a `SQLite` file. Dropping it writes what waits and joins its thread.
#[derive(Debug)]
pub struct SqliteLedger {
    /// Before the lock, so that the last write is done when the lock goes.
    writer: Option<Writer>,
    readers: Arc<Readers>,
    recovered: u64,
    _lock: Option<Lock>,
}

impl SqliteLedger {
    /// Opens the ledger at `path` for writing, making it and its folder when there is none. Refuses when another
    /// process writes it. What a crash left running is in doubt from here on; [`Self::recovered`] tells how much.
    pub fn open(path: impl AsRef<Path>, durability: Durability) -> Result<Self, LedgerFault> {
        let path = path.as_ref();
        let opened = schema::writer(path, durability)?;
        Ok(Self {
            readers: Arc::new(Readers::open(path)?),
            writer: Some(Writer::start(opened.connection, path, durability)?),
            recovered: opened.recovered,
            _lock: Some(opened.lock),
        })
    }

    /// Opens a ledger for reading only, also while another process writes it; writes answer
    /// [`LedgerFault::Unavailable`].
    pub fn read_only(path: impl AsRef<Path>) -> Result<Self, LedgerFault> {
        Ok(Self { readers: Arc::new(Readers::open(path.as_ref())?), writer: None, recovered: 0, _lock: None })
    }

    /// Opens a ledger for a few words beside the process that writes it: nothing is recovered, since what is under way is
    /// that process's own.
    pub fn beside(path: impl AsRef<Path>) -> Result<Self, LedgerFault> {
        let path = path.as_ref();
        let connection = schema::beside(path)?;
        let readers = Arc::new(Readers::open(path)?);
        Ok(Self {
            readers,
            writer: Some(Writer::start(connection, path, Durability::Power)?),
            recovered: 0,
            _lock: None,
        })
    }

    /// Attempts that opening found held by a process that had died: now ambiguous.
    pub const fn recovered(&self) -> u64 {
        self.recovered
    }

    fn writer(&self) -> Result<&Writer, LedgerFault> {
        self.writer.as_ref().ok_or_else(|| LedgerFault::Unavailable("it is open for reading only".into()))
    }

    /// Lines up the command that `make` builds around its answer, and waits for the commit.
    async fn ask(&self, make: impl FnOnce(Done) -> Command) -> Verdict {
        let (done, verdict) = oneshot::channel();
        self.writer()?.submit(make(done))?;
        verdict.await.unwrap_or_else(|_| Err(LedgerFault::Unavailable("its writer has died".into())))
    }

    /// [`Self::ask`] where there is nothing to tell but that it is done.
    async fn tell(&self, make: impl FnOnce(Done) -> Command) -> Result<(), LedgerFault> {
        self.ask(make).await.map(drop)
    }

    /// Reads on a thread that may block.
    fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Readers) -> Result<T, LedgerFault> + Send + 'static,
    ) -> Boxed<'_, Result<T, LedgerFault>> {
        let readers = Arc::clone(&self.readers);
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || ask(&readers)).await;
            read.unwrap_or_else(|error| Err(LedgerFault::Unavailable(error.to_string())))
        })
    }
}

impl Ledger for SqliteLedger {
    fn open(&self, opening: Opening) -> Boxed<'_, Result<(), LedgerFault>> {
        Box::pin(self.tell(|done| Command::Open(opening, done)))
    }

    fn hold(&self, id: Arc<str>, attempts: Vec<Attempt>, earmarks: Vec<Earmark>) -> Boxed<'_, Result<(), LedgerFault>> {
        Box::pin(self.tell(|done| Command::Hold(id, attempts, earmarks, done)))
    }

    fn close(&self, closing: Closing) -> Boxed<'_, Result<(), LedgerFault>> {
        Box::pin(self.tell(|done| Command::Close(closing, Some(done))))
    }

    fn abandon(&self, closing: Closing) {
        if let Ok(writer) = self.writer() {
            // A ledger that is shut already finds the generation at its next opening.
            let _ = writer.submit(Command::Close(closing, None));
        }
    }

    fn recall<'a>(&'a self, scope: &'a str, since: Timestamp) -> Boxed<'a, Result<Option<Record>, LedgerFault>> {
        let scope = scope.to_owned();
        self.read(move |readers| readers.recall(&scope, since))
    }

    fn show<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<Option<Record>, LedgerFault>> {
        let id = id.to_owned();
        self.read(move |readers| readers.show(&id))
    }

    fn spend(&self, by: SpendBy, since: Timestamp) -> Boxed<'_, Result<Vec<SpendRow>, LedgerFault>> {
        self.read(move |readers| readers.spend(by, since))
    }

    fn doubt(&self) -> Boxed<'_, Result<Vec<AmbiguousSum>, LedgerFault>> {
        self.read(Readers::doubt)
    }

    fn totals(&self, accounts: Vec<Arc<Account>>) -> Boxed<'_, Result<Vec<Total>, LedgerFault>> {
        self.read(move |readers| readers.totals(&accounts))
    }

    fn recount(&self) -> Boxed<'_, Result<(), LedgerFault>> {
        Box::pin(self.tell(Command::Recount))
    }

    fn write(&self, statements: Vec<Statement>) -> Boxed<'_, Result<Vec<u64>, LedgerFault>> {
        Box::pin(self.ask(|done| Command::Write(statements, done)))
    }

    fn rows(&self, sql: &'static str, parameters: Vec<Value>) -> Boxed<'_, Result<Vec<Row>, LedgerFault>> {
        self.read(move |readers| readers.rows(sql, &parameters))
    }
}
