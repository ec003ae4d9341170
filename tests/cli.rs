//! The real binary, from the outside: what is typed, what is printed, how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "the functions that tests are made of are tests too, and measure real time"
)]

#[path = "cli/batch.rs"]
mod batch;
#[path = "cli/evaluate.rs"]
mod evaluate;
#[path = "cli/gateway.rs"]
mod gateway;
#[path = "cli/handover.rs"]
mod handover;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/native.rs"]
mod native;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "cli/support.rs"]
mod support;
#[path = "cli/tls.rs"]
mod tls;
#[path = "cli/tools.rs"]
mod tools;
