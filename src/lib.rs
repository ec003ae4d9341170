//! Tollgate.
pub mod sandbox;
