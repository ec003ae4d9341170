//! Pure meaning: what a request asks, what a plan costs, when a breaker opens.
//!
//! Why it exists: every decision that moves money is a function in this room, so it can be read, tested and replayed.
//! What it refuses to know: sockets, files, clocks, async, randomness; `now` and an RNG are arguments.
//! To add to it: a decision is a pure function in one file; its inputs are values that another room fetched.

pub mod breaker;
pub mod budget;
pub mod canary;
pub mod catalog;
pub mod decision;
pub mod fault;
pub mod fingerprint;
pub mod frechet;
pub mod image;
pub mod latency;
pub mod ledger;
pub mod money;
pub mod native;
pub mod plan;
pub mod price;
pub mod quality;
pub mod quota;
pub mod quote;
pub mod quoted;
pub mod refusal;
pub mod request;
pub mod retry;
pub mod rule;
pub mod verify;
