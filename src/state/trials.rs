//! Policies on trial that were stopped, kept beside the money.
//!
//! Why it exists: a policy that went badly must not begin again because a process did, nor go on at another gateway.
//! What it refuses to know: how policies are judged. It stands on [`Ledger::write`] and [`Ledger::rows`], so every
//! ledger has it.

use std::sync::Arc;

use jiff::Timestamp;

use super::sql::{Misread, Row, Statement, Value};
use super::{Ledger, LedgerFault};

const STOP: &str =
    "INSERT INTO trial_stop (policy, why, stopped_us) VALUES (?1, ?2, ?3) ON CONFLICT (policy) DO NOTHING";

const STOPPED: &str = "SELECT policy, why, stopped_us FROM trial_stop WHERE policy = ?1";

/// A policy that was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Its digest.
    pub policy: Arc<str>,
    /// `errors`, `cost` or `acceptance`.
    pub why: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// Keeps a stop; the first one of a policy stands. Durable on return.
pub async fn stop(ledger: &dyn Ledger, stopped: &Stopped) -> Result<(), LedgerFault> {
    let parameters: Vec<Value> =
        vec![(&*stopped.policy).into(), (&*stopped.why).into(), stopped.at.as_microsecond().into()];
    ledger.write(vec![Statement::new(STOP, parameters)]).await.map(drop)
}

/// Whether the policy of this digest was stopped, here or at another gateway.
pub async fn stopped(ledger: &dyn Ledger, policy: &str) -> Result<Option<Stopped>, LedgerFault> {
    let read = |row: &Row| -> Result<Stopped, Misread> {
        Ok(Stopped {
            policy: row.text(0)?.into(),
            why: row.text(1)?.into(),
            at: Timestamp::from_microsecond(row.int(2)?).unwrap_or_default(),
        })
    };
    let rows = ledger.rows(STOPPED, vec![policy.into()]).await?;
    Ok(rows.first().map(read).transpose()?)
}
