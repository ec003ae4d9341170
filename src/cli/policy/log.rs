//! The ledger that a report names, and its decisions.
//!
//! Why it exists: `replay`, `diff` and `calibrate` are told of a folder or an address. What it refuses to know: what is in
//! the rows (`policy/replay/log.rs`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::exit::Failure;
use super::super::ledger;
use crate::policy::replay::{Logged, log};
use crate::state::sqlite::SqliteLedger;
use crate::state::{Ledger, LedgerFault};
use crate::telemetry::clock;

/// What was decided since `span` ago.
pub(super) async fn read(place: &str, span: Duration) -> Result<Vec<Logged>, Failure> {
    let ledger = open(place).await?;
    let log = log::read(&*ledger, clock::now() - span).await.map_err(|fault| unreadable(&named(place), &fault))?;
    if log.is_empty() {
        return Err(Failure::usage(format!("nothing was decided in {} in that time", named(place)))
            .help("--since looks further back, such as --since 30d"));
    }
    Ok(log)
}

/// A data folder or the file in it; many gateways' books by their URL.
async fn open(place: &str) -> Result<Arc<dyn Ledger>, Failure> {
    if is_shared(place) {
        return ledger::at(place.to_owned()).await;
    }
    let path = Path::new(place);
    let file = if path.is_dir() { path.join("tollgate.db") } else { path.to_owned() };
    if !file.is_file() {
        return Err(Failure::usage(format!("there is no ledger at {}", file.display()))
            .help("name the gateway's data folder; `tollgate serve` prints it"));
    }
    Ok(Arc::new(SqliteLedger::read_only(&file).map_err(|fault| unreadable(&named(place), &fault))?))
}

fn is_shared(place: &str) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| place.starts_with(scheme))
}

/// The ledger in a message: an address may hold a password.
fn named(place: &str) -> String {
    if is_shared(place) { "the shared ledger".to_owned() } else { format!("the ledger {place}") }
}

fn unreadable(place: &str, fault: &LedgerFault) -> Failure {
    Failure::usage(format!("{place} cannot be read: {fault}"))
}
