//! The ledger in Postgres: books that many gateways share.
//!
//! ```text
//! mod ─ the port: commands into the queue, reads on a connection of their own
//! writer ─ one thread: group commit, reconnecting, ends kept until they are written
//! batch ─ one transaction ─ rows, session (pipelines), replica (who is alive), tables (migrations)
//! ```
//!
//! Why it exists: a cap on money holds over all replicas only if one transaction decides, wherever it comes from. A
//! replica that cannot reach its ledger refuses paid work at once and recovers by itself. What it refuses to know: prices,
//! and which budgets there are. To add a column: a migration in `state/schema/`, then `rows.rs` and `state/books.rs`.

mod batch;
mod queue;
mod replica;
mod rows;
mod session;
mod tables;
mod writer;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::Config;

use self::session::unavailable;
use self::writer::Writer;
use super::command::{Command, Done, Verdict};
use super::sql::{Misread, Row, Statement, Value};
use super::words::Words;
use super::{AmbiguousSum, Ledger, LedgerFault, Record, SpendBy, SpendRow, books};
use crate::domain::budget::{Account, Earmark, Total};
use crate::domain::ledger::{Attempt, Closing, Opening};
use crate::transport::Boxed;

/// The longest that a read which a request waits for may take.
const LOOK_UP: Duration = Duration::from_secs(3);

/// The longest that a report may take.
const REPORT: Duration = Duration::from_secs(30);

/// A ledger in Postgres. Dropping it writes what waits and joins its thread.
pub struct PostgresLedger {
    writer: Writer,
    recovered: u64,
    words: Words,
}

impl std::fmt::Debug for PostgresLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresLedger")
    }
}

impl PostgresLedger {
    /// Opens the ledger at `url` (`postgres://user@host/database`), making its tables when there are none. What replicas
    /// left that are no longer alive is in doubt from here on; [`Self::recovered`] tells how much.
    pub fn open(url: &str) -> Result<Self, LedgerFault> {
        // The address may hold a password, so the error is told without it.
        let malformed = |_| LedgerFault::Unavailable("its address is not a postgres:// URL".into());
        let config: Config = url.parse().map_err(malformed)?;
        let tls = session::tls(&config)?;
        let (first, opened) = mpsc::channel();
        let replica = i64::from(rand::random::<u32>()) << 31 | i64::from(rand::random::<u32>() >> 1);
        let writer = Writer::start(config, tls, replica, first)?;
        let recovered = opened.recv().unwrap_or_else(|_| Err(died()))?;
        Ok(Self { writer, recovered, words: Words::default() })
    }

    /// Attempts that opening found held by replicas that had died: now ambiguous.
    pub const fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Lines up the command that `make` builds around its answer, and waits for the commit.
    async fn command(&self, make: impl FnOnce(Done) -> Command) -> Verdict {
        let (done, verdict) = oneshot::channel();
        match make(done) {
            end @ Command::Close(..) => self.writer.queue().end(end)?,
            new => self.writer.queue().offer(new)?,
        }
        verdict.await.unwrap_or_else(|_| Err(died()))
    }

    /// [`Self::command`] where there is nothing to tell but that it is done.
    async fn tell(&self, make: impl FnOnce(Done) -> Command) -> Result<(), LedgerFault> {
        self.command(make).await.map(drop)
    }

    async fn read(&self, sql: &'static str, parameters: Vec<Value>, most: Duration) -> Result<Vec<Row>, LedgerFault> {
        let away = |why: &str| LedgerFault::Unavailable(why.to_owned());
        let reader = self.writer.reader().ok_or_else(|| away("there is no connection"))?;
        let answer = timeout(most, reader.ask(sql, parameters)).await.map_err(|_| away("it does not answer"))?;
        answer.map(|answer| answer.rows).map_err(|error| unavailable(&error))
    }

    async fn total(&self, account: &Account) -> Result<Total, LedgerFault> {
        let kept = self.read(books::TOTAL, books::account_key(account), LOOK_UP).await?;
        if let Some((total, false)) = kept.first().map(books::total).transpose()? {
            return Ok(total);
        }
        let attempts = self.read(books::COUNT, books::count_parameters(account), REPORT).await?;
        let set_aside = self.read(books::COUNT_SET_ASIDE, books::account_key(account), LOOK_UP).await?;
        let (Some(attempts), Some(set_aside)) = (attempts.first(), set_aside.first()) else {
            return Ok(Total::default());
        };
        let (total, strays) = books::counted(attempts, set_aside)?;
        Ok(Total { reserved: total.reserved + strays, ..total })
    }
}

fn died() -> LedgerFault {
    LedgerFault::Unavailable("its writer has died".into())
}

impl Ledger for PostgresLedger {
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
        // A ledger that is shut already leaves it to the next replica.
        let _ = self.writer.queue().end(Command::Close(closing, None));
    }

    fn recall<'a>(&'a self, scope: &'a str, since: Timestamp) -> Boxed<'a, Result<Option<Record>, LedgerFault>> {
        Box::pin(async move {
            let parameters = vec![scope.into(), since.as_microsecond().into()];
            books::record(&self.read(books::RECALL, parameters, LOOK_UP).await?, &self.words)
        })
    }

    fn show<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<Option<Record>, LedgerFault>> {
        Box::pin(async move { books::record(&self.read(books::SHOW, vec![id.into()], LOOK_UP).await?, &self.words) })
    }

    fn spend(&self, by: SpendBy, since: Timestamp) -> Boxed<'_, Result<Vec<SpendRow>, LedgerFault>> {
        Box::pin(async move {
            let rows = self.read(books::spend_sql(by), vec![since.as_microsecond().into()], REPORT).await?;
            Ok(rows.iter().map(|row| books::spend_row(by, row)).collect::<Result<_, Misread>>()?)
        })
    }

    fn doubt(&self) -> Boxed<'_, Result<Vec<AmbiguousSum>, LedgerFault>> {
        Box::pin(async move {
            let rows = self.read(books::DOUBT, Vec::new(), LOOK_UP).await?;
            Ok(rows.iter().map(books::doubtful).collect::<Result<_, Misread>>()?)
        })
    }

    fn totals(&self, accounts: Vec<Arc<Account>>) -> Boxed<'_, Result<Vec<Total>, LedgerFault>> {
        Box::pin(async move {
            let mut totals = Vec::with_capacity(accounts.len());
            for account in &accounts {
                totals.push(self.total(account).await?);
            }
            Ok(totals)
        })
    }

    fn recount(&self) -> Boxed<'_, Result<(), LedgerFault>> {
        Box::pin(self.tell(Command::Recount))
    }

    fn write(&self, statements: Vec<Statement>) -> Boxed<'_, Result<Vec<u64>, LedgerFault>> {
        Box::pin(self.command(|done| Command::Write(statements, done)))
    }

    fn rows(&self, sql: &'static str, parameters: Vec<Value>) -> Boxed<'_, Result<Vec<Row>, LedgerFault>> {
        Box::pin(self.read(sql, parameters, REPORT))
    }
}
