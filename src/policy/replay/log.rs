//! The decisions of a ledger, as a replay wants them.
//!
//! Why it exists: one query serves `replay`, `diff` and `calibrate`, on every ledger. What it refuses to know: what they
//! ask of the rows, and where the ledger is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Logged;
use crate::domain::decision::Situation;
use crate::domain::money::Money;
use crate::state::sql::{Misread, Row};
use crate::state::{Ledger, LedgerFault};

/// Ended generations with their money and their verdicts, in the order of arrival. What passed through natively was not
/// decided here.
const DECISIONS: &str = "SELECT g.id, g.created_us, g.key, g.task, g.plan, g.policy, COALESCE(g.latency_us, 0), \
     COALESCE(g.outcome, ''), g.decision, g.expected_cost, \
     (SELECT COALESCE(CAST(SUM(a.charged) AS BIGINT), 0) FROM attempt a WHERE a.generation = g.id AND a.state = 'settled'), \
     (SELECT COALESCE(CAST(SUM(a.held) AS BIGINT), 0) FROM attempt a WHERE a.generation = g.id AND a.state = 'ambiguous'), \
     (SELECT CAST(SUM(v.accepted) AS BIGINT) FROM verdict v WHERE v.generation = g.id), \
     (SELECT COUNT(*) FROM verdict v WHERE v.generation = g.id) \
     FROM generation g WHERE g.created_us >= ?1 AND g.ended_us IS NOT NULL \
     AND NOT (g.task = '' AND g.decision IS NULL) ORDER BY g.created_us, g.id";

/// Callers without a key, in the ledger.
const NO_KEY: &str = "-";

/// What was decided since then.
pub async fn read(ledger: &dyn Ledger, since: Timestamp) -> Result<Vec<Logged>, LedgerFault> {
    let rows = ledger.rows(DECISIONS, vec![since.as_microsecond().into()]).await?;
    Ok(rows.iter().map(logged).collect::<Result<_, _>>()?)
}

fn logged(row: &Row) -> Result<Logged, Misread> {
    let decision: Option<Value> = row.maybe_text(8)?.and_then(|text| serde_json::from_str(text).ok());
    let (yes, all) = (row.maybe_int(12)?.unwrap_or_default(), row.int(13)?);
    let (key, ran) = (row.text(2)?, row.text(4)?);
    let noted = |name: &str| decision.as_ref().and_then(|note| note.get(name));
    Ok(Logged {
        id: row.text(0)?.into(),
        created: Timestamp::from_microsecond(row.int(1)?).map_err(|_| Misread(1))?,
        key: if key == NO_KEY { Arc::default() } else { key.into() },
        task: row.text(3)?.into(),
        plan: noted("plan").and_then(Value::as_str).unwrap_or(ran).into(),
        ran: ran.into(),
        expected: Money::from_micros(noted("expected").and_then(Value::as_i64).map_or_else(|| row.int(9), Ok)?),
        policy: row.text(5)?.into(),
        latency: Duration::from_micros(row.int(6)?.unsigned_abs()),
        succeeded: row.text(7)? == "succeeded",
        settled: Money::from_micros(row.int(10)?),
        ambiguous: Money::from_micros(row.int(11)?),
        // Several people's word is the word of most of them.
        accepted: (all > 0).then_some(2 * yes >= all),
        propensity: noted("propensity").and_then(Value::as_f64).unwrap_or(1.0),
        situation: decision.as_ref().and_then(Situation::read),
    })
}
