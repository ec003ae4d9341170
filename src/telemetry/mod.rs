//! What happened, told once: metrics and log lines from typed events.
//!
//! Why it exists: a [`Receipt`] becomes the metrics, the log line and the ledger row in one place, so that the three
//! agree. What it refuses to know: how a decision was made. To add a metric: one variant in `metrics.rs`.

pub mod clock;
pub mod receipt;

pub use receipt::{Outcome, Receipt};
