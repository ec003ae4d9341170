//! Tollgate.
pub mod cli;
pub mod domain;
pub mod engine;
pub mod policy;
pub mod provider;
pub mod sandbox;
pub mod server;
pub mod state;
pub mod telemetry;
pub mod transport;
