//! Limits held against real servers: gateways, Redis and the sandbox, whole and broken.

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
