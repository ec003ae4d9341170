//! Black box: the gateway on real ports against the sandbox. `harness` starts both; a file for each subject.
#![allow(
    clippy::if_not_else,
    clippy::large_stack_arrays,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what is wrong by stopping, compares sums exactly and has tasks of its own; the lints' exemption \
              covers test functions only"
)]

mod admin;
mod answers;
mod audit;
mod bodies;
mod checks;
mod feedback;
mod harness;
mod jobs;
mod limits;
mod native;
mod onnx;
mod openai;
#[path = "../support/postgres.rs"]
mod postgres;
mod raw;
mod reckon;
mod repeats;
mod replay;
mod sampling;
#[path = "../support/scorer.rs"]
mod scorer;
mod shares;
mod sockets;
mod trial;
mod webhooks;
