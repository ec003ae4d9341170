//! The one listener: accepts connections, reads requests, routes by path prefix, delivers answers and misdeliveries.
//!
//! It refuses to know any provider's wire. HTTP/1.1 only, as a reset must speak of exactly one call.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::control;
use super::providers::{self, Provider};
use super::visit::{Visit, halves};
use super::wire::{Answer, Call, Delivery};
use super::world::World;

/// No provider takes more; Stability's own limit of 10 MiB is enforced in its dialect.
const LARGEST_BODY: usize = 64 * 1024 * 1024;
const READ_TIMEOUT: Duration = Duration::from_mins(1);
const HEADER_TIMEOUT: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_millis(500);

/// The world and the providers that live in it.
pub(super) struct House {
    pub(super) world: Arc<World>,
    providers: Vec<Arc<dyn Provider>>,
}

impl House {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, providers: providers::all() }
    }

    pub(super) fn prefixes(&self) -> Vec<&'static str> {
        self.providers.iter().map(|provider| provider.prefix()).collect()
    }

    /// Forgets calls, faults and spent limits.
    pub(super) fn forget(&self) {
        self.world.bill.forget();
        self.world.faults.replace(Vec::new());
        for provider in &self.providers {
            provider.forget();
        }
    }

    /// Answers one call, to its end even when nobody waits for it any more.
    pub(super) async fn answer(self: &Arc<Self>, mut call: Call) -> Answer {
        if call.path.starts_with("/_sandbox") {
            return control::answer(self, &call);
        }
        if call.path == "/" {
            return control::page(self);
        }
        let Some((provider, below)) = self.find(&call.path) else {
            return Answer::text(404, "404: no provider has this prefix; GET / lists them\n");
        };
        call.path = below;
        let (world, arrived) = (Arc::clone(&self.world), Instant::now());
        let work = self.world.spawn(async move {
            let mut visit = Visit::new(&world, &*provider, call, arrived);
            let answer = provider.answer(&mut visit).await;
            visit.close(answer).await
        });
        match work.await {
            Ok(Some(answer)) => answer,
            // Stopped in the middle of the work, or a fault of ours: to the caller, the host has gone away.
            Ok(None) | Err(_) => Answer { delivery: Delivery::Reset, ..Answer::empty(502) },
        }
    }

    fn find(&self, path: &str) -> Option<(Arc<dyn Provider>, String)> {
        let path = path.strip_prefix('/')?;
        let (prefix, below) = path.split_once('/').unwrap_or((path, ""));
        let provider = self.providers.iter().find(|provider| provider.prefix() == prefix)?;
        Some((Arc::clone(provider), format!("/{below}")))
    }
}

/// Serves until `stopped` turns true, then gives the answers in flight a moment.
pub(super) async fn serve(listener: TcpListener, house: Arc<House>, stopped: watch::Receiver<bool>) {
    let mut stopping = stopped.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopping.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&house), stopped.clone()));
                }
                // Out of descriptors, most likely; accepting again at once would only spin.
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
        }
    }
    drop(listener);
    // Whoever is still talking after the grace period is cut off when the set is dropped.
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

async fn converse(stream: TcpStream, house: Arc<House>, mut stopped: watch::Receiver<bool>) {
    // Without it a small answer after a large one waits for an acknowledgement; failing to set it harms nobody.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| respond(Arc::clone(&house), request, Arc::clone(&reset)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // How a conversation ends is not news: callers hang up, and resets are planned.
    let talking = tokio::select! {
        _ = &mut connection => false,
        _ = stopped.wait_for(|stop| *stop) => true,
    };
    if talking {
        Pin::new(&mut connection).graceful_shutdown();
        let _ = (&mut connection).await;
    }
    if reset.load(Ordering::Relaxed) {
        // With zero linger, closing the socket sends RST in place of FIN.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

async fn respond(
    house: Arc<House>,
    request: Request<Incoming>,
    reset: Arc<AtomicBool>,
) -> Result<Response<Body>, io::Error> {
    let answer = match read(request).await {
        Ok(call) => house.answer(call).await,
        Err(answer) => answer,
    };
    if answer.delivery == Delivery::Reset {
        reset.store(true, Ordering::Relaxed);
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    deliver(&answer, reset)
}

/// Reads the whole body. A body that is too large or too slow gets the answer of the proxy in front of a provider.
async fn read(request: Request<Incoming>) -> Result<Call, Answer> {
    let (head, body) = request.into_parts();
    let body = match timeout(READ_TIMEOUT, Limited::new(body, LARGEST_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            let page = "<html><head><title>413 Request Entity Too Large</title></head></html>\r\n";
            return Err(Answer::new(413, "text/html", page).with("connection", "close"));
        }
        Err(_) => return Err(Answer::new(408, "text/html", "").with("connection", "close")),
    };
    Ok(Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    })
}

fn deliver(answer: &Answer, reset: Arc<AtomicBool>) -> Result<Response<Body>, io::Error> {
    let status = StatusCode::from_u16(answer.status).map_err(io::Error::other)?;
    let mut response = Response::builder().status(status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    if answer.delivery != Delivery::Whole {
        response = response.header("content-length", answer.body.len());
    }
    response.body(body(answer, reset)).map_err(io::Error::other)
}

fn body(answer: &Answer, reset: Arc<AtomicBool>) -> Body {
    let (first, rest) = halves(&answer.body);
    let first = stream::once(async move { Ok(Frame::data(first)) });
    match answer.delivery {
        Delivery::Whole | Delivery::Reset => {
            Full::new(answer.body.clone()).map_err(|never: Infallible| match never {}).boxed_unsync()
        }
        Delivery::Stalled(pause) => {
            let rest = stream::once(async move {
                sleep(pause).await;
                Ok(Frame::data(rest))
            });
            StreamBody::new(first.chain(rest)).boxed_unsync()
        }
        Delivery::Truncated => StreamBody::new(first.chain(stream::once(cut(None)))).boxed_unsync(),
        Delivery::ResetInBody => StreamBody::new(first.chain(stream::once(cut(Some(reset))))).boxed_unsync(),
    }
}

/// Ends a body in the middle. The short wait lets the half that was promised leave the socket first.
async fn cut(reset: Option<Arc<AtomicBool>>) -> Result<Frame<Bytes>, io::Error> {
    sleep(Duration::from_millis(20)).await;
    if let Some(reset) = reset {
        reset.store(true, Ordering::Relaxed);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
