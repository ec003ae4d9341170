//! What operators get: rules, boards and the stack, on the tools that they run on.
//!
//! Why it exists: an alert that never fired and a panel that never showed anything are guesses. promtool and a real
//! Prometheus (Debian's `prometheus`) judge here. What it refuses to know: how metrics are kept.
#![allow(
    clippy::zombie_processes,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "the functions that tests are made of are tests too, and measure real time"
)]

#[path = "ops/boards.rs"]
mod boards;
#[path = "ops/live.rs"]
mod live;
#[path = "ops/prometheus.rs"]
mod prometheus;
#[path = "support/redis.rs"]
#[allow(dead_code, reason = "shared with the tests of limits")]
mod redis;
#[path = "ops/rules.rs"]
mod rules;
#[path = "ops/stack.rs"]
mod stack;
#[path = "cli/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line")]
mod support;
#[path = "ops/traces.rs"]
mod traces;
