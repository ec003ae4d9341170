//! The doors.
#![expect(dead_code, reason = "being built")]
pub(crate) mod wire;
