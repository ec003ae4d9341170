//! The tables: made and brought up to date.
//!
//! Why it exists: replicas start at the same moment, and one of them migrates. What it refuses to know: what the tables
//! are (`state/schema.rs`).

use tokio_postgres::Error;

use super::session::{Session, unavailable};
use crate::state::LedgerFault;
use crate::state::schema::{self, MIGRATIONS};

/// Any number that no other program locks in this database.
const LOCK: &str = "SELECT pg_advisory_xact_lock(6017419920733)";

/// Applies the migrations that are missing, all of them in one transaction.
pub(super) async fn migrate(session: &Session) -> Result<(), LedgerFault> {
    match apply(session).await {
        Ok(version) if version > MIGRATIONS.len() => Err(LedgerFault::Unavailable(schema::strange(version))),
        Ok(_) => Ok(()),
        Err(error) => {
            // A connection that fails here too is gone, and its transaction with it.
            let _ = session.run("ROLLBACK").await;
            Err(unavailable(&error))
        }
    }
}

/// The version that was found.
async fn apply(session: &Session) -> Result<usize, Error> {
    session
        .run(&format!("BEGIN; {LOCK}; CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)"))
        .await?;
    let found = session.ask("SELECT COUNT(*) FROM schema_version", Vec::new()).await?;
    let version = found.rows.first().and_then(|row| row.int(0).ok()).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    for (step, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        session.run(&schema::for_postgres(migration)).await?;
        session.run(&format!("INSERT INTO schema_version VALUES ({})", step + 1)).await?;
    }
    session.run("COMMIT").await?;
    Ok(version)
}
