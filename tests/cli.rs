//! The real binary, from the outside: what is typed, what is printed, how it ends.

#[path = "cli/batch.rs"]
mod batch;
#[path = "cli/gateway.rs"]
mod gateway;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/support.rs"]
mod support;
#[path = "cli/tools.rs"]
mod tools;
