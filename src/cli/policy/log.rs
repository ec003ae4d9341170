//! The ledger that a report names, and its decisions.
//!
//! Why it exists: `replay`, `diff` and `calibrate` are told of a folder or an address. What it refuses to know: what is in
//! the rows (`policy/replay/log.rs`).

use std::path::Path;
use std::time::Duration;

use super::super::exit::Failure;
use crate::policy::replay::{Logged, log};
use crate::state::LedgerFault;
use crate::state::sqlite::SqliteLedger;
use crate::telemetry::clock;

/// What was decided since `span` ago.
pub(super) async fn read(place: &str, span: Duration) -> Result<Vec<Logged>, Failure> {
    let ledger = open(place)?;
    let log = log::read(&ledger, clock::now() - span).await.map_err(|fault| unreadable(place, &fault))?;
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
