//! The rooms of a request: join, plan, reserve, execute, settle.

pub mod served;

pub use served::{Expected, How, Inbound, Served, ServedImage, Timings};
