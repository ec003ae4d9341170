//! The native pass-through: vendors' own APIs on a listener of their own, streamed both ways and metered.
//!
//! Why it exists: a vendor's SDK keeps working with only its base URL changed, and what it buys is limited, reserved and
//! booked like everything else. Pingora carries the bytes; the price is found in `fields`, the money is `engine::transit`'s.
//! What it refuses to know: what pictures look like, and what a dialect's words mean. Nothing is ever sent twice.
//! To add a place where a vendor's SDK puts its key: `credential`. To add a call: a route in the policy, and no code.
//!
//! `socket` is a caller's connection, `admit` what is decided first, `proxy` the way of one call through Pingora's phases,
//! `exchange` the shorter way of a call that is in hand, `journey` what is known of a call, `rest` what the rest of a body
//! may not take back, `address` where it goes, `answer` and `skeleton` what is kept of what comes back.

mod address;
mod admit;
mod answer;
mod credential;
mod exchange;
mod fields;
mod journey;
mod proxy;
mod rest;
mod skeleton;
mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::{HttpServerApp as _, ServerApp as _};
use pingora::connectors::ConnectorOptions;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::tls::{RootCertStore, load_platform_certs_incl_env_into_store};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::parting::Parting;
use super::{Bounds, Server};
use crate::engine::Engine;
use crate::transport::install_tls;
use exchange::Lines;
use proxy::Passthrough;
use socket::Socket;

/// How long accepting rests when the process is out of file descriptors.
const BREATH: Duration = Duration::from_millis(50);
/// Idle connections to providers that are kept.
const POOL: usize = 256;

impl Server {
    /// Opens the pass-through on a bound listener of its own. `always`: it serves also while the policy has it off, as in
    /// a demo.
    #[expect(clippy::disallowed_methods, reason = "one task accepts; it owns those of its connections and is joined")]
    pub fn start_native(listener: TcpListener, engine: Arc<Engine>, bounds: Bounds, always: bool) -> io::Result<Self> {
        install_tls();
        let address = listener.local_addr()?;
        // One try: what may have been sent is never sent again.
        let conf = ServerConf {
            max_retries: 1,
            upstream_keepalive_pool_size: POOL,
            ca_file: unread_roots(),
            ..ServerConf::default()
        };
        let lines = Lines::new(Some(ConnectorOptions::from_server_conf(&conf)));
        let app = Arc::new(http_proxy(&Arc::new(conf), Passthrough::new(engine, &bounds, always, lines)));
        let (stop, stopped) = watch::channel(false);
        let parting = Parting::default();
        let accepting = tokio::spawn(accept(listener, app, bounds, parting.clone(), stopped));
        Ok(Self { address, stop, parting, accepting })
    }
}

/// Pingora ends the process when the system's root certificates cannot all be read. Then it is told of a file without
/// any: `http://` providers are served as ever, `https://` ones are not trusted, and each call says so.
fn unread_roots() -> Option<String> {
    let why = load_platform_certs_incl_env_into_store(&mut RootCertStore::empty()).err()?;
    tracing::error!(%why, "no root certificates: the pass-through trusts no provider of https://");
    Some("/dev/null".to_owned())
}

async fn accept(
    listener: TcpListener,
    app: Arc<HttpProxy<Passthrough>>,
    bounds: Bounds,
    parting: Parting,
    mut stop: watch::Receiver<bool>,
) {
    let shutdown = stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                // Beyond the cap a closed socket says it.
                Ok((tcp, _)) if connections.len() < bounds.connections => {
                    connections.spawn(converse(tcp, Arc::clone(&app), shutdown.clone()));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(BREATH).await;
                }
            },
            Some(_) = connections.join_next() => {}
            // Told to stop, or the handle is gone: either way the door closes.
            _ = stop.changed() => break,
        }
    }
    drop(listener);
    let farewell = parting.farewell().min(bounds.grace);
    if !done(&mut connections, farewell).await {
        app.http_cleanup().await;
        let left = bounds.grace.saturating_sub(farewell);
        if !done(&mut connections, left).await {
            tracing::warn!(under_way = connections.len(), "the grace time is over; what is left is cut off");
        }
    }
    connections.shutdown().await;
}

/// Waits for every connection to end; false when the time is over first.
async fn done(connections: &mut JoinSet<()>, within: Duration) -> bool {
    timeout(within, async { while connections.join_next().await.is_some() {} }).await.is_ok()
}

async fn converse(tcp: TcpStream, app: Arc<HttpProxy<Passthrough>>, shutdown: watch::Receiver<bool>) {
    app.process_new(Box::new(Socket::new(tcp)), &shutdown).await;
}
