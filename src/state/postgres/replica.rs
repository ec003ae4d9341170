//! Which processes write, and what the dead among them left.
//!
//! Why it exists: a crash leaves calls that may have been charged; whoever lives says so, but never of calls that another
//! process is making. A replica says at least every `BEAT` that it is there; one that was silent for `LEASE`, by the
//! server's clock, is taken for dead. One that was only cut off finds its calls in doubt when it comes back, and its own
//! account of their end then replaces the doubt. What it refuses to know: budgets, but that they must be counted again.

use std::time::Duration;

use tokio_postgres::Error;

use super::session::{Ask, Session};
use crate::state::books::FORGET_TOTALS;
use crate::state::sql::Value;

/// How often a replica says that it is there.
pub(super) const BEAT: Duration = Duration::from_secs(2);

/// How long a replica may be silent, in microseconds.
const LEASE_US: i64 = 15_000_000;

const SAY: &str = "INSERT INTO replica (id, beat_us) \
     VALUES (?1, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)) \
     ON CONFLICT (id) DO UPDATE SET beat_us = excluded.beat_us";

const LEAVE: &str = "DELETE FROM replica WHERE id = ?1";

const FORGET_DEAD: &str = "DELETE FROM replica \
     WHERE beat_us < CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) - ?1";

/// Ends what no living replica runs. Rows first, so that a call that is being added to one waits and is found below.
const END: &str = "UPDATE generation SET ended_us = CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT), \
     outcome = 'crashed', made_by = model WHERE replica IS NOT NULL AND ended_us IS NULL AND NOT EXISTS \
     (SELECT 1 FROM replica r WHERE r.id = generation.replica \
     AND r.beat_us >= CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) - ?1) RETURNING id";

const DOUBT: &str = "UPDATE attempt SET state = 'ambiguous', billed = 'unknown', outcome = 'crashed' \
     WHERE generation = ?1 AND state = 'held'";

const LET_GO: &str = "DELETE FROM budget_hold WHERE generation = ?1";

/// The statement that says that this replica is there.
pub(super) fn beat(replica: i64) -> Ask {
    Ask(SAY, vec![Value::Int(replica)])
}

/// This replica writes no more.
pub(super) async fn leave(session: &Session, replica: i64) -> Result<(), Error> {
    session.ask(LEAVE, vec![Value::Int(replica)]).await.map(drop)
}

/// Ends what the dead have left: calls whose money is now in doubt.
pub(super) async fn recover(session: &Session) -> Result<u64, Error> {
    session.pipeline(vec![Ask("BEGIN", Vec::new())]).await?;
    match end(session).await {
        Ok(recovered) => Ok(recovered),
        Err(error) => {
            // A connection that fails here too is gone, and its transaction with it.
            let _ = session.run("ROLLBACK").await;
            Err(error)
        }
    }
}

async fn end(session: &Session) -> Result<u64, Error> {
    let asks = vec![Ask(END, vec![Value::Int(LEASE_US)]), Ask(FORGET_DEAD, vec![Value::Int(LEASE_US)])];
    let ended = session.pipeline(asks).await?;
    let ids = ended.first().map(|answer| answer.rows.as_slice()).unwrap_or_default();
    let ids: Vec<Value> = ids.iter().filter_map(|row| row.0.first().cloned()).collect();
    let doubts = ids.iter().map(|id| Ask(DOUBT, vec![id.clone()]));
    let mut rest: Vec<Ask> = doubts.chain(ids.iter().map(|id| Ask(LET_GO, vec![id.clone()]))).collect();
    if !ids.is_empty() {
        rest.push(Ask(FORGET_TOTALS, Vec::new()));
    }
    rest.push(Ask("COMMIT", Vec::new()));
    let answers = session.pipeline(rest).await?;
    Ok(answers.iter().take(ids.len()).map(|answer| answer.changed).sum())
}
