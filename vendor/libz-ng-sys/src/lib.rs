//! zlib's interface under the name that pingora's tree asks for; see `Cargo.toml` for why.

pub use libz_sys::*;
