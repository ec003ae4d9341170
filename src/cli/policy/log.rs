//! The decisions of a ledger, as a replay wants them.
//!
//! Why it exists: one query serves `replay`, `diff` and `calibrate`. What it refuses to know: what they ask of the rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::super::exit::Failure;
use crate::domain::decision::Situation;
use crate::domain::money::Money;
use crate::policy::replay::Logged;
use crate::state::sql::{Misread, Row};
use crate::state::sqlite::SqliteLedger;
use crate::state::{Ledger, LedgerFault};
use crate::telemetry::clock;

/// Ended generations with their money and their verdicts, in the order of arrival.
const DECISIONS: &str = "SELECT g.id, g.created_us, g.key, g.task, g.plan, g.policy, COALESCE(g.latency_us, 0), \
     COALESCE(g.outcome, ''), g.decision, \
     (SELECT COALESCE(CAST(SUM(a.charged) AS BIGINT), 0) FROM attempt a WHERE a.generation = g.id AND a.state = 'settled'), \
     (SELECT COALESCE(CAST(SUM(a.held) AS BIGINT), 0) FROM attempt a WHERE a.generation = g.id AND a.state = 'ambiguous'), \
     (SELECT CAST(SUM(v.accepted) AS BIGINT) FROM verdict v WHERE v.generation = g.id), \
     (SELECT COUNT(*) FROM verdict v WHERE v.generation = g.id) \
     FROM generation g WHERE g.created_us >= ?1 AND g.ended_us IS NOT NULL ORDER BY g.created_us, g.id";

/// Callers without a key, in the ledger.
const NO_KEY: &str = "-";

/// What was decided since `span` ago.
pub(super) async fn read(place: &str, span: Duration) -> Result<Vec<Logged>, Failure> {
    let since = (clock::now() - span).as_microsecond();
    let rows = open(place)?.rows(DECISIONS, vec![since.into()]).await.map_err(|fault| unreadable(place, &fault))?;
    let log: Result<Vec<Logged>, Misread> = rows.iter().map(logged).collect();
    let log = log.map_err(|misread| unreadable(place, &misread.into()))?;
    if log.is_empty() {
        return Err(Failure::usage(format!("nothing was decided in {place} in that time"))
            .help("--since looks further back, such as --since 30d"));
    }
    Ok(log)
}

/// A data folder or the file in it; many gateways' books by their URL.
fn open(place: &str) -> Result<SqliteLedger, Failure> {
    let path = Path::new(place);
    let file = if path.is_dir() { path.join("tollgate.db") } else { path.to_owned() };
    if !file.is_file() {
        return Err(Failure::usage(format!("there is no ledger at {}", file.display()))
            .help("name the gateway's data folder; `tollgate serve` prints it"));
    }
    SqliteLedger::read_only(&file).map_err(|fault| unreadable(place, &fault))
}

fn unreadable(place: &str, fault: &LedgerFault) -> Failure {
    Failure::usage(format!("the ledger {place} cannot be read: {fault}"))
}

fn logged(row: &Row) -> Result<Logged, Misread> {
    let decision: Option<Value> = row.maybe_text(8)?.and_then(|text| serde_json::from_str(text).ok());
    let (yes, all) = (row.maybe_int(11)?.unwrap_or_default(), row.int(12)?);
    let key = row.text(2)?;
    Ok(Logged {
        id: row.text(0)?.into(),
        created: Timestamp::from_microsecond(row.int(1)?).map_err(|_| Misread(1))?,
        key: if key == NO_KEY { Arc::default() } else { key.into() },
        task: row.text(3)?.into(),
        plan: row.text(4)?.into(),
        policy: row.text(5)?.into(),
        latency: Duration::from_micros(row.int(6)?.unsigned_abs()),
        succeeded: row.text(7)? == "succeeded",
        settled: Money::from_micros(row.int(9)?),
        ambiguous: Money::from_micros(row.int(10)?),
        // Several people's word is the word of most of them.
        accepted: (all > 0).then_some(2 * yes >= all),
        propensity: decision.as_ref().and_then(|note| note.get("propensity")?.as_f64()).unwrap_or(1.0),
        situation: decision.as_ref().and_then(Situation::read),
    })
}
