//! What people said of images, kept beside the money.
//!
//! Why it exists: what the planner believes is rebuilt from these rows at every start and on every replica. What it
//! refuses to know: what is believed. It stands on [`Ledger::write`] and [`Ledger::rows`], so every ledger has it.

use std::sync::Arc;

use jiff::Timestamp;

use super::sql::{Misread, Row, Statement, Value};
use super::{Ledger, LedgerFault};

/// The most that are read at once, the newest of them: far beyond what a half-life of hundreds remembers.
const MOST: i64 = 100_000;

const GIVE: &str = "INSERT INTO verdict (generation, image, rater, accepted, reason, given_us) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (generation, image, rater) DO UPDATE SET \
     accepted = excluded.accepted, reason = excluded.reason, given_us = excluded.given_us";

const GIVEN: &str = "SELECT accepted FROM verdict WHERE generation = ?1 AND image = ?2 AND rater = ?3";

const SINCE: &str = "SELECT v.generation, v.image, v.rater, v.accepted, v.given_us, g.made_by, g.task, g.decision \
     FROM verdict v JOIN generation g ON g.id = v.generation \
     WHERE v.given_us >= ?1 AND g.made_by IS NOT NULL ORDER BY v.given_us DESC LIMIT ?2";

/// One person's word on one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The generation that made it.
    pub generation: Arc<str>,
    /// Which of its images, from 0.
    pub image: u8,
    /// Who says so.
    pub rater: Arc<str>,
    /// Taken at first look, or not.
    pub accepted: bool,
    /// Why, in the rater's words.
    pub reason: Option<String>,
    /// When.
    pub given: Timestamp,
}

/// A verdict with what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The generation.
    pub generation: Arc<str>,
    /// Which of its images, from 0.
    pub image: u8,
    /// Who says so.
    pub rater: Arc<str>,
    /// Taken at first look, or not.
    pub accepted: bool,
    /// When.
    pub given: Timestamp,
    /// The model that made the image.
    pub model: Arc<str>,
    /// The task, by name.
    pub task: Arc<str>,
    /// How the plan was decided, as JSON.
    pub decision: Option<String>,
}

/// Writes a verdict, durable on return; true when it replaces another of the same rater on the same image.
pub async fn give(ledger: &dyn Ledger, verdict: &Verdict) -> Result<bool, LedgerFault> {
    let key = || vec![Value::from(&*verdict.generation), i64::from(verdict.image).into(), (&*verdict.rater).into()];
    let before = !ledger.rows(GIVEN, key()).await?.is_empty();
    let mut parameters = key();
    parameters.extend([
        Value::Int(i64::from(verdict.accepted)),
        verdict.reason.as_deref().into(),
        verdict.given.as_microsecond().into(),
    ]);
    ledger.write(vec![Statement::new(GIVE, parameters)]).await?;
    Ok(before)
}

/// Every verdict given since then, the oldest first.
pub async fn since(ledger: &dyn Ledger, since: Timestamp) -> Result<Vec<Judgement>, LedgerFault> {
    let rows = ledger.rows(SINCE, vec![since.as_microsecond().into(), MOST.into()]).await?;
    let read: Result<Vec<Judgement>, Misread> = rows.iter().rev().map(judgement).collect();
    Ok(read?)
}

fn judgement(row: &Row) -> Result<Judgement, Misread> {
    Ok(Judgement {
        generation: row.text(0)?.into(),
        image: u8::try_from(row.int(1)?).map_err(|_| Misread(1))?,
        rater: row.text(2)?.into(),
        accepted: row.int(3)? != 0,
        given: Timestamp::from_microsecond(row.int(4)?).map_err(|_| Misread(4))?,
        model: row.text(5)?.into(),
        task: row.text(6)?.into(),
        decision: row.maybe_text(7)?.map(str::to_owned),
    })
}
