//! The only door outward: sends a [`Call`], returns a [`Reply`].
//!
//! Why it exists: sockets, TLS, credentials and the address guard in one room. What it refuses to know: what a reply
//! means (dialects), what it costs (engine), whether to try again (domain). It repeats nothing and follows no redirect.
//! To add a way to send: an implementation of [`Transport`] in a file beside `http.rs`.

mod base;
pub mod guard;
mod http;
pub mod otlp;
mod outgoing;
mod scripted;
mod secret;
pub mod webhook;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Once};

use tokio::time::Instant;

use crate::domain::fault::Fault;
use crate::provider::{Call, Reply};

pub use base::Base;
pub use http::{HttpTransport, NotBuilt};
pub use scripted::{Scripted, Turn};
pub use secret::Secret;

/// A future of a port.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where a provider's calls go and with which credential.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The provider's name, for faults.
    pub provider: Arc<str>,
    /// What stands before every path.
    pub base_url: Base,
    /// The credential, when the policy names one.
    pub credential: Option<Secret>,
}

/// Sends calls.
pub trait Transport: Send + Sync {
    /// Sends `call` and reads the whole reply, until `deadline` at the latest. The fault says whether the provider may
    /// have charged: `No` only when the request certainly did not reach it or does not buy ([`Stage::buys`]).
    ///
    /// [`Stage::buys`]: crate::provider::Stage::buys
    fn send<'a>(&'a self, endpoint: &'a Endpoint, call: &'a Call, deadline: Instant)
    -> Boxed<'a, Result<Reply, Fault>>;
}

/// Makes ring the process's TLS provider, once; every client of this process is built after it.
pub(crate) fn install_tls() {
    static DONE: Once = Once::new();
    // Another provider that is installed already serves as well.
    DONE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
