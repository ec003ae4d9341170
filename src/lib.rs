//! Tollgate.
pub mod domain;
pub mod provider;
pub mod sandbox;
pub mod transport;
