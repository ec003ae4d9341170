//! Tollgate.
pub mod cli;
pub mod domain;
pub mod provider;
pub mod sandbox;
pub mod state;
pub mod telemetry;
pub mod transport;
