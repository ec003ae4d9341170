//! Calls whose money is in doubt: listed, and settled once somebody knows.
//!
//! Why it exists: doubt must be seen, and must end: by the provider's own word, by an invoice, by an operator. What it
//! refuses to know: who knows. A settlement changes a call only while it is in doubt, so that two of them are one.

use std::sync::Arc;

use jiff::Timestamp;

use super::sql::{Row, Statement};
use super::{Ledger, LedgerFault};
use crate::domain::money::Money;

const LIST: &str = "SELECT a.generation, a.seq, a.provider, a.model, a.held, a.outcome, g.created_us, g.key, t.what \
     FROM attempt a JOIN generation g ON g.id = a.generation \
     LEFT JOIN trace t ON t.generation = a.generation AND t.seq = a.seq \
     WHERE a.state = 'ambiguous' AND g.ended_us IS NOT NULL ORDER BY g.created_us, a.generation, a.seq";

const SETTLE: &str = "UPDATE attempt SET state = 'settled', billed = 'yes', charged = ?3, basis = 'provider_usage', \
     detail = ?4 WHERE generation = ?1 AND seq = ?2 AND state = 'ambiguous'";

const RELEASE: &str = "UPDATE attempt SET state = 'released', billed = 'no', charged = 0, basis = 'provider_usage', \
     detail = ?3 WHERE generation = ?1 AND seq = ?2 AND state = 'ambiguous'";

const LEAVE: &str = "INSERT INTO trace (generation, seq, left_us, what) VALUES (?1, ?2, ?3, ?4) \
     ON CONFLICT (generation, seq) DO UPDATE SET left_us = excluded.left_us, what = excluded.what";

const TRACES: &str = "SELECT seq, what FROM trace WHERE generation = ?1 ORDER BY seq";

const FORGET: &str = "DELETE FROM trace WHERE left_us < ?1";

/// A call in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubtfulCall {
    /// Its generation.
    pub generation: Arc<str>,
    /// Its number there.
    pub seq: i64,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The model's id.
    pub model: Arc<str>,
    /// What is held for it.
    pub held: Money,
    /// How it ended.
    pub outcome: String,
    /// When its generation began.
    pub created: Timestamp,
    /// Whose it was.
    pub key: Arc<str>,
    /// What it left behind, by which the provider may be asked.
    pub trace: Option<String>,
}

/// What became of a call in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The generation.
    pub generation: Arc<str>,
    /// The call.
    pub seq: i64,
    /// What was charged; nothing frees what was held.
    pub charged: Money,
    /// Who knows, in one sentence.
    pub why: String,
}

/// The calls in doubt of a ledger.
#[derive(Clone)]
pub struct Doubts(Arc<dyn Ledger>);

impl Doubts {
    /// Of this ledger.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self(ledger)
    }

    /// Every call in doubt whose generation has ended, the oldest first.
    pub async fn list(&self) -> Result<Vec<DoubtfulCall>, LedgerFault> {
        self.0.rows(LIST, Vec::new()).await?.iter().map(call).collect()
    }

    /// Settles calls, all of them in one transaction; how many were still in doubt.
    pub async fn settle(&self, settlements: &[Settlement]) -> Result<u64, LedgerFault> {
        let statement = |settled: &Settlement| {
            let call = [settled.generation.as_ref().into(), settled.seq.into()].into_iter();
            if settled.charged > Money::ZERO {
                let rest = [settled.charged.micros().into(), settled.why.clone().into()];
                Statement::new(SETTLE, call.chain(rest).collect::<Vec<_>>())
            } else {
                Statement::new(RELEASE, call.chain([settled.why.clone().into()]).collect::<Vec<_>>())
            }
        };
        let changed = self.0.write(settlements.iter().map(statement).collect()).await?.iter().sum();
        if changed > 0 {
            // The budgets held the worst price of these calls.
            self.0.recount().await?;
        }
        Ok(changed)
    }

    /// Writes down what a call leaves behind, durably on return.
    pub async fn leave(&self, generation: &str, seq: u32, now: Timestamp, what: String) -> Result<(), LedgerFault> {
        let left = [generation.into(), i64::from(seq).into(), now.as_microsecond().into(), what.into()];
        self.0.write(vec![Statement::new(LEAVE, left)]).await.map(drop)
    }

    /// What the calls of a generation have left behind, by their numbers.
    pub async fn traces(&self, generation: &str) -> Result<Vec<(i64, String)>, LedgerFault> {
        let rows = self.0.rows(TRACES, vec![generation.into()]).await?;
        rows.iter().map(|row| Ok((row.int(0)?, row.text(1)?.to_owned()))).collect()
    }

    /// Forgets what was left behind before then.
    pub async fn forget(&self, before: Timestamp) -> Result<(), LedgerFault> {
        self.0.write(vec![Statement::new(FORGET, [before.as_microsecond().into()])]).await.map(drop)
    }
}

fn call(row: &Row) -> Result<DoubtfulCall, LedgerFault> {
    Ok(DoubtfulCall {
        generation: row.text(0)?.into(),
        seq: row.int(1)?,
        provider: row.text(2)?.into(),
        model: row.text(3)?.into(),
        held: Money::from_micros(row.int(4)?),
        outcome: row.text(5)?.to_owned(),
        created: Timestamp::from_microsecond(row.int(6)?).unwrap_or_default(),
        key: row.text(7)?.into(),
        trace: row.maybe_text(8)?.map(str::to_owned),
    })
}
