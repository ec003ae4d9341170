//! What is promised under kills, crowds, losses and bad timing, tried, with the providers' own bill as the truth.
//!
//! Each test prints its figures with their N, and its seed. Longer runs: `TOLLGATE_KILLS=10000`, `TOLLGATE_STORM_S=600`,
//! `TOLLGATE_SCHEDULES=100000` before the test command.
#![allow(
    clippy::zombie_processes,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test says what is wrong by stopping; the functions that tests are made of are tests too"
)]

#[path = "chaos/board.rs"]
mod board;
#[path = "chaos/failpoints.rs"]
mod failpoints;
#[path = "chaos/handles.rs"]
mod handles;
#[path = "chaos/kills.rs"]
mod kills;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/redis.rs"]
#[allow(dead_code, reason = "shared with the tests of state")]
mod redis;
#[path = "chaos/registry.rs"]
mod registry;
#[path = "chaos/replicas.rs"]
mod replicas;
#[path = "chaos/shared.rs"]
mod shared;
#[path = "chaos/storm.rs"]
mod storm;
#[path = "chaos/world.rs"]
mod world;

/// A number from the environment, for longer runs.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
