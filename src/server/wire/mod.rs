//! The inbound wire: bodies and headers to the domain's types, and answers to bytes.
//!
//! Why it exists: one file for each shape, so that a change of the contract touches one place. What it refuses to know:
//! sockets, status codes (`server/problem.rs`) and what a request costs.

pub(super) mod answer;
pub(super) mod ask;
pub(super) mod feedback;
mod fields;
pub(super) mod headers;
pub(super) mod json;
pub(super) mod limits;
pub(super) mod openai;
pub(super) mod plan;
mod size;
pub(super) mod upscale;
mod usd;
mod value;
