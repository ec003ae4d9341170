//! Jobs in the ledger's database: queued, taken up, ended, told.
//!
//! Why it exists: work that its caller does not wait for must survive everything that the money survives, so it stands
//! beside the money. Whoever takes a job up holds it for a while and renews that; a job whose holder is gone is taken up
//! again, which buys nothing twice because the job's own claim is in the ledger. What it refuses to know: how a job is
//! done. Statements are those that every store of the ledger runs alike; to add one: a constant here.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::sql::{Row, Statement, Value};
use super::{Ledger, LedgerFault};

const PUT: &str = "INSERT INTO job (id, key, state, priority, created_us, runs, claim, print, request, webhook) \
     VALUES (?1, ?2, 'queued', ?3, ?4, 0, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";

/// A claim is free again when its day is over.
const FREE_CLAIM: &str = "UPDATE job SET claim = NULL WHERE claim = ?1 AND created_us <= ?2";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, key, state, priority, created_us, started_us, ended_us, runs, print, request, webhook, answer ",
            "FROM job ",
            $rest
        )
    };
}

const BY_ID: &str = select!("WHERE id = ?1");
const BY_CLAIM: &str = select!("WHERE claim = ?1");

/// The most urgent first; among those, of the key with the fewest under way; then of the key whose last turn is longest
/// ago; then the oldest.
const NEXT: &str = "SELECT j.id FROM job j WHERE j.state = 'queued' ORDER BY j.priority DESC, \
     (SELECT COUNT(*) FROM job r WHERE r.state = 'running' AND r.key = j.key), \
     (SELECT COALESCE(MAX(t.started_us), 0) FROM job t WHERE t.started_us IS NOT NULL AND t.key = j.key), \
     j.created_us, j.id LIMIT 8";

const TAKE: &str = "UPDATE job SET state = 'running', owner = ?2, until_us = ?3, started_us = ?4, runs = runs + 1 \
     WHERE id = ?1 AND state = 'queued'";

const RENEW: &str = "UPDATE job SET until_us = ?2 WHERE state = 'running' AND owner = ?1";

const REQUEUE_LAPSED: &str =
    "UPDATE job SET state = 'queued', owner = NULL, until_us = NULL WHERE state = 'running' AND until_us <= ?1";

const HELD: &str = "SELECT id FROM job WHERE state = 'running' AND owner = ?1";

const END: &str = "UPDATE job SET state = ?3, ended_us = ?4, answer = ?5, owner = NULL, until_us = NULL \
     WHERE id = ?1 AND owner = ?2 AND state = 'running'";

const FORGET_REQUEST: &str = "UPDATE job SET request = ?2 WHERE id = ?1 AND ended_us IS NOT NULL";

const CANCEL: &str = "UPDATE job SET state = 'cancelled', ended_us = ?2, owner = NULL, until_us = NULL \
     WHERE id = ?1 AND state IN ('queued', 'running')";

/// Only of a job that ended just now, by this very end.
const TELL: &str = "INSERT INTO webhook (id, job, url, body, created_us, next_us, tries, state) \
     SELECT CAST(?2 AS TEXT), id, webhook, CAST(?3 AS TEXT), ended_us, ended_us, 0, 'waiting' FROM job \
     WHERE id = ?1 AND webhook IS NOT NULL AND ended_us = ?4 AND state = ?5 ON CONFLICT (id) DO NOTHING";

const DUE: &str = "SELECT id, url, body, created_us, tries FROM webhook WHERE state = 'waiting' AND next_us <= ?1 \
     ORDER BY next_us LIMIT 32";

/// Also the claim on a delivery: whoever moves it on sends it.
const POSTPONE: &str =
    "UPDATE webhook SET next_us = ?3, tries = tries + 1 WHERE id = ?1 AND tries = ?2 AND state = 'waiting'";

const CONCLUDE: &str = "UPDATE webhook SET state = ?2 WHERE id = ?1";

const COUNTS: &str = "SELECT state, CAST(COUNT(*) AS BIGINT), MIN(created_us) FROM job \
     WHERE state IN ('queued', 'running') GROUP BY state";

/// How long a claim holds.
const CLAIM_LIFE: Duration = crate::domain::ledger::CLAIM_LIFE;

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Called off; what had been bought stays bought.
    Cancelled,
    /// Ended without an image.
    Failed,
    /// Waiting for its turn.
    Queued,
    /// Under way.
    Running,
    /// Ended with its images.
    Succeeded,
}

impl JobState {
    const ALL: [Self; 5] = [Self::Cancelled, Self::Failed, Self::Queued, Self::Running, Self::Succeeded];

    /// The name in answers and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
        }
    }

    /// Whether it is over.
    pub const fn has_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// `job_…`.
    pub id: Arc<str>,
    /// Whose it is, by key name.
    pub key: Arc<str>,
    /// Where it is.
    pub state: JobState,
    /// Greater goes first.
    pub priority: i64,
    /// When it came.
    pub created: Timestamp,
    /// When it was last taken up.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How often it was taken up.
    pub runs: i64,
    /// Digest of the ask, in hex.
    pub print: String,
    /// The ask, as JSON.
    pub request: String,
    /// Where its end is told.
    pub webhook: Option<String>,
    /// What came of it, as JSON without the pictures.
    pub answer: Option<String>,
}

/// A job to be queued.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The job; its state and times but `created` are not read.
    pub job: Job,
    /// The idempotency key's scope, when one was sent.
    pub claim: Option<String>,
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its id, the same at each try.
    pub id: String,
    /// Where to.
    pub url: String,
    /// JSON.
    pub body: String,
    /// When it was written.
    pub created: Timestamp,
    /// Tries so far.
    pub tries: i64,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct JobEnd<'a> {
    /// Where it is now.
    pub state: JobState,
    /// When.
    pub at: Timestamp,
    /// What came of it.
    pub answer: Option<String>,
    /// The message that tells it, by id and body.
    pub message: (&'a str, &'a str),
    /// What is left of the ask.
    pub request: Option<String>,
}

/// The jobs of a ledger.
#[derive(Clone)]
pub struct Jobs(Arc<dyn Ledger>);

impl Jobs {
    /// The jobs that stand beside this money.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self(ledger)
    }

    /// Queues a job, durably on return; the job that has its claim already where there is one.
    pub async fn put(&self, new: NewJob) -> Result<Option<Job>, LedgerFault> {
        let NewJob { job, claim } = new;
        let created = micros(job.created);
        let mut statements = Vec::new();
        if let Some(claim) = &claim {
            let oldest = created.saturating_sub(i64::try_from(CLAIM_LIFE.as_micros()).unwrap_or(i64::MAX));
            statements.push(Statement::new(FREE_CLAIM, [claim.clone().into(), oldest.into()]));
        }
        statements.push(Statement::new(
            PUT,
            [
                job.id.as_ref().into(),
                job.key.as_ref().into(),
                job.priority.into(),
                created.into(),
                claim.clone().into(),
                job.print.into(),
                job.request.into(),
                job.webhook.into(),
            ],
        ));
        let changed = self.0.write(statements).await?;
        match claim {
            Some(claim) if changed.last() == Some(&0) => self.one(BY_CLAIM, claim).await,
            _ => Ok(None),
        }
    }

    /// The job of that id.
    pub async fn get(&self, id: &str) -> Result<Option<Job>, LedgerFault> {
        self.one(BY_ID, id.to_owned()).await
    }

    /// The job that has this claim.
    pub async fn claimed(&self, claim: &str) -> Result<Option<Job>, LedgerFault> {
        self.one(BY_CLAIM, claim.to_owned()).await
    }

    /// Takes up the job whose turn it is, for `owner` until `until`.
    pub async fn take(&self, owner: &str, now: Timestamp, until: Timestamp) -> Result<Option<Job>, LedgerFault> {
        for row in self.0.rows(NEXT, Vec::new()).await? {
            let id = row.text(0)?.to_owned();
            let taken = [id.as_str().into(), owner.into(), micros(until).into(), micros(now).into()];
            if self.changed(TAKE, taken).await? == 1 {
                return self.one(BY_ID, id).await;
            }
        }
        Ok(None)
    }

    /// Holds everything that `owner` has under way until then.
    pub async fn renew(&self, owner: &str, until: Timestamp) -> Result<(), LedgerFault> {
        self.changed(RENEW, [owner.into(), micros(until).into()]).await.map(drop)
    }

    /// Ids of everything that `owner` has under way.
    pub async fn held(&self, owner: &str) -> Result<Vec<String>, LedgerFault> {
        let rows = self.0.rows(HELD, vec![owner.into()]).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Queues again what nobody holds any more; how many.
    pub async fn requeue(&self, now: Timestamp) -> Result<u64, LedgerFault> {
        self.changed(REQUEUE_LAPSED, [micros(now).into()]).await
    }

    /// Ends a job that `owner` has under way, with its message; false when it was cancelled, or taken up by another.
    pub async fn end(&self, id: &str, owner: &str, end: JobEnd<'_>) -> Result<bool, LedgerFault> {
        let (state, at) = (end.state.name(), micros(end.at));
        let (message, body) = end.message;
        let ended = [id.into(), owner.into(), state.into(), at.into(), end.answer.into()];
        let told = [id.into(), message.into(), body.into(), at.into(), state.into()];
        let mut statements = vec![Statement::new(END, ended), Statement::new(TELL, told)];
        if let Some(left) = end.request {
            statements.push(Statement::new(FORGET_REQUEST, [id.into(), left.into()]));
        }
        Ok(self.0.write(statements).await?.first() == Some(&1))
    }

    /// Calls a job off, with its message; false when it had ended.
    pub async fn cancel(&self, id: &str, at: Timestamp, message: (&str, &str)) -> Result<bool, LedgerFault> {
        let at = micros(at);
        let told = [id.into(), message.0.into(), message.1.into(), at.into(), JobState::Cancelled.name().into()];
        let statements = vec![Statement::new(CANCEL, [id.into(), at.into()]), Statement::new(TELL, told)];
        Ok(self.0.write(statements).await?.first() == Some(&1))
    }

    /// Jobs that have not ended: state, how many, since when the oldest.
    pub async fn counts(&self) -> Result<Vec<(JobState, u64, Timestamp)>, LedgerFault> {
        let rows = self.0.rows(COUNTS, Vec::new()).await?;
        let count = |row: &Row| {
            let number = u64::try_from(row.int(1)?).unwrap_or(0);
            Ok((state(row.text(0)?), number, instant(row.int(2)?)))
        };
        rows.iter().map(count).collect()
    }

    /// Messages whose time has come, each held by this caller until `next` of its tries.
    pub async fn due(&self, now: Timestamp, next: impl Fn(i64) -> Timestamp) -> Result<Vec<Message>, LedgerFault> {
        let mut due = Vec::new();
        for row in self.0.rows(DUE, vec![micros(now).into()]).await? {
            let message = Message {
                id: row.text(0)?.to_owned(),
                url: row.text(1)?.to_owned(),
                body: row.text(2)?.to_owned(),
                created: instant(row.int(3)?),
                tries: row.int(4)?,
            };
            let postponed = [message.id.as_str().into(), message.tries.into(), micros(next(message.tries)).into()];
            if self.changed(POSTPONE, postponed).await? == 1 {
                due.push(message);
            }
        }
        Ok(due)
    }

    /// No further try of a message.
    pub async fn conclude(&self, id: &str, delivered: bool) -> Result<(), LedgerFault> {
        let state = if delivered { "delivered" } else { "given_up" };
        self.changed(CONCLUDE, [id.into(), state.into()]).await.map(drop)
    }

    async fn changed<const N: usize>(&self, sql: &'static str, parameters: [Value; N]) -> Result<u64, LedgerFault> {
        let changed = self.0.write(vec![Statement::new(sql, parameters)]).await?;
        Ok(changed.first().copied().unwrap_or(0))
    }

    async fn one(&self, sql: &'static str, by: String) -> Result<Option<Job>, LedgerFault> {
        let rows = self.0.rows(sql, vec![by.into()]).await?;
        rows.first().map(job).transpose()
    }
}

fn job(row: &Row) -> Result<Job, LedgerFault> {
    Ok(Job {
        id: row.text(0)?.into(),
        key: row.text(1)?.into(),
        state: state(row.text(2)?),
        priority: row.int(3)?,
        created: instant(row.int(4)?),
        started: row.maybe_int(5)?.map(instant),
        ended: row.maybe_int(6)?.map(instant),
        runs: row.int(7)?,
        print: row.text(8)?.to_owned(),
        request: row.text(9)?.to_owned(),
        webhook: row.maybe_text(10)?.map(str::to_owned),
        answer: row.maybe_text(11)?.map(str::to_owned),
    })
}

/// The schema lets no other word in.
fn state(name: &str) -> JobState {
    JobState::ALL.into_iter().find(|state| state.name() == name).unwrap_or(JobState::Failed)
}

fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

fn instant(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or_default()
}
