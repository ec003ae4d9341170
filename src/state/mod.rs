//! What outlives a request: money, limits, flights, pictures. Each a port with its implementations.
//!
//! Why it exists: the engine asks for durability and coordination without knowing who gives it. What it refuses to
//! know: requests and plans. To add an implementation: a file beside the others, and a line in `tests/state.rs`, which
//! runs one suite over all.

pub mod audits;
mod books;
mod command;
pub mod doubts;
pub mod encoder;
pub mod flights;
mod folder;
pub mod images;
pub mod jobs;
pub mod limits;
mod packs;
pub mod postgres;
pub mod reader;
pub mod redis;
mod schema;
pub mod sql;
pub mod sqlite;
pub mod studio;
pub mod tally;
mod totals;
pub mod trials;
pub mod verdicts;
mod words;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::budget::{Account, Earmark, Total};
use crate::domain::image::Format;
use crate::domain::ledger::{Attempt, Closing, Opening};
use crate::domain::money::Money;
use crate::transport::Boxed;

pub use encoder::{Encoder, EncoderFault, Encoding};
pub use limits::{Draw, Limits, Permit, Wait};
use sql::{Row, Statement, Value};

/// The books.
pub trait Ledger: Send + Sync {
    /// Writes a generation with its reservation, its claim and its first attempts. A claim that an earlier generation
    /// holds passes to this one when that one ended without any exposure, else it is [`LedgerFault::Reused`]. Every
    /// earmark must fit its cap in the same transaction, else nothing is written and it is
    /// [`LedgerFault::Exhausted`]. When this returns `Ok`, all is durable and the calls may be sent.
    fn open(&self, opening: Opening) -> Boxed<'_, Result<(), LedgerFault>>;

    /// Writes further attempts of an open generation, durable on return; `earmarks` are what the budgets must have room
    /// for now, as in [`Ledger::open`].
    fn hold(&self, id: Arc<str>, attempts: Vec<Attempt>, earmarks: Vec<Earmark>) -> Boxed<'_, Result<(), LedgerFault>>;

    /// Writes a generation's end: what was charged, what is in doubt; the rest is free.
    fn close(&self, closing: Closing) -> Boxed<'_, Result<(), LedgerFault>>;

    /// Like [`Ledger::close`], without waiting: for a reservation dropped by a panic or a shutdown.
    fn abandon(&self, closing: Closing);

    /// The generation that last claimed this idempotency scope, not older than `since`.
    fn recall<'a>(&'a self, scope: &'a str, since: Timestamp) -> Boxed<'a, Result<Option<Record>, LedgerFault>>;

    /// A generation by id.
    fn show<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<Option<Record>, LedgerFault>>;

    /// Sums by `by` since then, the largest first.
    fn spend(&self, by: SpendBy, since: Timestamp) -> Boxed<'_, Result<Vec<SpendRow>, LedgerFault>>;

    /// Money in doubt, by provider; a provider without any is left out. Cheap: it reads only what is in doubt.
    fn doubt(&self) -> Boxed<'_, Result<Vec<AmbiguousSum>, LedgerFault>>;

    /// What these accounts have spent, each in its place.
    fn totals(&self, accounts: Vec<Arc<Account>>) -> Boxed<'_, Result<Vec<Total>, LedgerFault>>;

    /// Counts every account again before it next admits anything: for a policy that has changed, since what was bought
    /// while a budget was not there was not added to its account.
    fn recount(&self) -> Boxed<'_, Result<(), LedgerFault>>;

    /// Runs these statements in one transaction, durable on return; rows changed by each.
    fn write(&self, statements: Vec<Statement>) -> Boxed<'_, Result<Vec<u64>, LedgerFault>>;

    /// The rows that a query answers, as of one moment.
    fn rows(&self, sql: &'static str, parameters: Vec<Value>) -> Boxed<'_, Result<Vec<Row>, LedgerFault>>;
}

/// What a store keeps when everything stops at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power cut: every write is flushed to the disk before it is answered.
    #[default]
    Power,
    /// Survives the death of the process, by `kill -9` too, since the operating system has the bytes. A power cut may
    /// lose the last writes; it never damages a ledger.
    Process,
}

/// A generation as the ledger keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// As it was opened, with every attempt of its life as it was before it was sent.
    pub opening: Opening,
    /// As it was closed; `None` while it runs. Its outcome is `crashed` when the process died first.
    pub closing: Option<Closing>,
}

/// A provider's money in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmbiguousSum {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The sum held for its attempts in doubt.
    pub sum: Money,
    /// When the oldest of their generations was opened.
    pub oldest: Timestamp,
}

/// How `spend` groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendBy {
    /// By UTC day.
    Day,
    /// By key name.
    Key,
    /// By model of the attempt.
    Model,
    /// By task.
    Task,
}

/// One sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendRow {
    /// The model, task, day (`2026-11-22`) or key.
    pub group: String,
    /// Generations.
    pub generations: u64,
    /// Images answered.
    pub images: u64,
    /// Charged.
    pub settled: Money,
    /// In doubt.
    pub ambiguous: Money,
}

/// Why the ledger did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerFault {
    /// It cannot be written or read now.
    Unavailable(String),
    /// An earmark does not fit: the account has only this left.
    Exhausted {
        /// Where.
        account: Arc<Account>,
        /// What it has left.
        left: Money,
    },
    /// No such generation, or it is closed already.
    NotOpen(String),
    /// The opening's claim is held by a generation that may have cost money.
    Reused,
}

impl fmt::Display for LedgerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "the ledger is unavailable: {why}"),
            Self::Exhausted { account, left } => write!(f, "the budget of {} has {left} left", account.id),
            Self::NotOpen(id) => write!(f, "generation {id} is not open"),
            Self::Reused => f.write_str("the idempotency key has bought already"),
        }
    }
}

impl std::error::Error for LedgerFault {}

/// Pictures by content hash.
pub trait Images: Send + Sync {
    /// Stores a picture under `sha256` (lower-case hex of its bytes), which the caller has computed. Storing the same
    /// picture twice is one picture.
    fn put<'a>(&'a self, sha256: &'a str, format: Format, bytes: Bytes) -> Boxed<'a, Result<(), ImagesFault>>;

    /// The picture of that hash and format, verified against the hash; `None` when there is none.
    fn get<'a>(&'a self, sha256: &'a str, format: Format) -> Boxed<'a, Result<Option<Bytes>, ImagesFault>>;

    /// Keeps a small copy of the picture of that hash beside it. A store that keeps none has it made anew each time.
    fn put_thumb<'a>(&'a self, _sha256: &'a str, _bytes: Bytes) -> Boxed<'a, Result<(), ImagesFault>> {
        Box::pin(async { Ok(()) })
    }

    /// The small copy, if it is kept. What it shows is not verified: it can be made again.
    fn thumb<'a>(&'a self, _sha256: &'a str) -> Boxed<'a, Result<Option<Bytes>, ImagesFault>> {
        Box::pin(async { Ok(None) })
    }
}

/// Why a picture could not be stored or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagesFault(pub String);

impl fmt::Display for ImagesFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the image store failed: {}", self.0)
    }
}

impl std::error::Error for ImagesFault {}

/// Reads the text in a picture.
pub trait Reader: Send + Sync {
    /// Why it cannot read now, in one clause; `None` when it can. Asked for every plan: it must not wait.
    fn absent(&self) -> Option<&'static str>;

    /// The text that stands in an encoded picture, until `deadline` at the latest; empty when there is none.
    fn read(&self, picture: Bytes, deadline: Instant) -> Boxed<'_, Result<String, ReaderFault>>;
}

/// Why a picture was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderFault(pub String);

impl fmt::Display for ReaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReaderFault {}
