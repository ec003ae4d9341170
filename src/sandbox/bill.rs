//! The providers' own bill: one line for every call that reached a provider, the truth that a ledger is held against.
//!
//! It refuses to estimate: a line is written when the provider has finished its part, with what it charges for it.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Lines kept; a longer rehearsal forgets its newest lines rather than grow without end.
const MOST_LINES: usize = 1_000_000;

/// One call to a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// The path prefix, such as `stability`.
    pub(super) provider: &'static str,
    /// The model as a gateway names it (`stability/core`), when the call was about one.
    pub(super) model: Option<&'static str>,
    /// The path below the prefix, without the query.
    pub(super) path: String,
    /// Arrival, in milliseconds since the sandbox began.
    pub(super) at_ms: u64,
    /// The status that was sent; 0 when the connection was reset before any.
    pub(super) status: u16,
    /// What the provider charges for it.
    pub(super) billed_micro_usd: u64,
    /// The credential that was presented, empty when none was.
    pub(super) key: String,
    /// Bytes of the answer's body that were sent.
    pub(super) bytes: u64,
}

/// Every line so far.
#[derive(Debug, Default)]
pub(super) struct Bill {
    lines: Mutex<Vec<Line>>,
}

impl Bill {
    pub(super) fn record(&self, line: Line) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < MOST_LINES {
            lines.push(line);
        }
    }

    /// All lines in the order of arrival.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lines.sort_by_key(|line| line.at_ms);
        lines
    }

    pub(super) fn forget(&self) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
