//! What the studio reads of the books: pictures with their verdicts, and sums of money.
//!
//! Why it exists: a page of pictures and a page of sums are questions over several tables, asked here once through
//! [`Ledger::rows`](super::Ledger::rows), so that every store answers them alike. What it refuses to know: policies,
//! HTTP, and who may see what (the reader says whose rows it wants). To add a question: a file beside these.

pub mod gallery;
pub mod sums;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::LedgerFault;
use crate::domain::money::Money;

/// Whose rows: every key's, or one key's alone.
pub type Owner = Option<String>;

/// The owner as a parameter: an empty name stands for everyone, since no key has it.
fn owner(owner: &Owner) -> super::sql::Value {
    owner.as_deref().unwrap_or_default().into()
}

fn money(micros: i64) -> Money {
    Money::from_micros(micros)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn instant(micros: i64) -> Result<Timestamp, LedgerFault> {
    Timestamp::from_microsecond(micros).map_err(|error| LedgerFault::Unavailable(error.to_string()))
}

/// Metadata that cannot be read is none: a page with a gap is better than no page.
fn metadata(json: &str) -> BTreeMap<String, String> {
    serde_json::from_str(json).unwrap_or_default()
}
