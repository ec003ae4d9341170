//! Limits held against real servers: gateways, Redis and the sandbox, whole and broken.
#![allow(
    clippy::float_cmp,
    clippy::duration_suboptimal_units,
    clippy::disallowed_methods,
    clippy::zombie_processes,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a test has processes, clocks and tasks of its own, and stops when they do"
)]
#![cfg(test)]

#[path = "quotas/faults.rs"]
mod faults;
#[path = "quotas/fleet.rs"]
mod fleet;
#[path = "quotas/proxy.rs"]
mod proxy;
#[path = "quotas/replicas.rs"]
mod replicas;
#[path = "support/redis.rs"]
mod server;
