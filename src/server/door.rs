//! One exchange at a door: request in, answer out, and the account of it.
//!
//! Why it exists: every answer of every route carries an id, ends in one metric, and leaves its connection clean or
//! closed. What it refuses to know: what routes do.

use futures_util::FutureExt;
use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};
use tower_http::body::UnsyncBoxBody;
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};

use super::intake::Intake;
use super::parting::Parting;
use super::payload::Payload;
use super::problem::{Problem, Readers};
use super::routes::{Route, Routes};
use super::socket::Pulse;
use super::wire::answer::millis;
use super::wire::{self, headers};
use crate::domain::refusal::Refusal;
use crate::telemetry::{Exchange, InFlight, Telemetry, clock, trace};

/// A door, shared by its connections.
#[derive(Clone)]
pub(super) struct Door {
    routes: Arc<Routes>,
    slots: Arc<Semaphore>,
    /// How many slots there are; `None` for a door that turns nobody away.
    bound: Option<usize>,
    parting: Parting,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    /// In every trace of it.
    pub(super) request_id: Arc<str>,
    /// For deadlines.
    pub(super) arrived: Instant,
    /// For the books.
    pub(super) received: Timestamp,
    /// What follows the `?`; empty when nothing does.
    pub(super) query: Arc<str>,
    /// Whose readers its errors are for.
    pub(super) readers: Readers,
}

/// How a request ended, told by its route to the account: `fresh`, `ok`, or a refusal's code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended(pub(super) &'static str);

impl Door {
    pub(super) fn new(routes: Routes, in_flight: usize, parting: Parting) -> Self {
        let slots = Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS)));
        let bound = (in_flight < Semaphore::MAX_PERMITS).then_some(in_flight);
        Self { routes: Arc::new(routes), slots, bound, parting }
    }

    /// How long idle connections are kept at the end.
    pub(super) fn farewell(&self) -> Duration {
        self.parting.farewell()
    }

    pub(super) fn telemetry(&self) -> &Arc<Telemetry> {
        self.routes.telemetry()
    }

    /// The trace of a caller's request; probes and scrapes have none.
    fn trace(&self, request: &Request<Incoming>) -> Option<trace::Root> {
        let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        self.bound.and_then(|_| self.telemetry().trace(traceparent))
    }

    /// Tells how many of the slots are taken.
    fn press(&self) {
        if let Some(bound) = self.bound {
            self.telemetry().pressure("requests", bound.saturating_sub(self.slots.available_permits()), bound);
        }
    }

    /// Tells how many connections are open.
    pub(super) fn crowded(&self, connections: usize, bound: usize) {
        if self.bound.is_some() {
            self.telemetry().pressure("connections", connections, bound);
        }
    }

    /// The door as one connection sees it.
    pub(super) fn on(self, pulse: Arc<Pulse>) -> OnConnection {
        OnConnection { door: self, pulse }
    }

    /// One exchange. The layers are those that `server/mod.rs` allows, outermost first.
    async fn exchange(self, pulse: Arc<Pulse>, request: Request<Incoming>) -> Response<Tracked> {
        let arrival = Arrival {
            request_id: headers::request_id(request.headers()),
            arrived: Instant::now(),
            received: clock::now(),
            query: request.uri().query().unwrap_or_default().into(),
            readers: if request.uri().path().starts_with("/v1/") { Readers::Openai } else { Readers::Native },
        };
        let found = self.routes.find(request.method(), request.uri());
        let name = found.as_ref().map_or("unknown", Route::name);
        let trace = self.trace(&request);
        let mut account = Account::open(&self, name, request.method(), arrival.arrived, &pulse);

        let (routes, inner, slots) = (Arc::clone(&self.routes), arrival.clone(), Arc::clone(&self.slots));
        let layers = ServiceBuilder::new()
            .layer(CatchPanicLayer::custom(Panicked(arrival.clone())))
            .load_shed()
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(slots))
            .service_fn(move |request| {
                answered(Arc::clone(&routes), found.clone(), inner.clone(), request, Arc::clone(&pulse))
            });
        // Of the layers, only the load shed fails.
        let traced = async {
            trace::note("http.request.method", || method_name(request.method()));
            trace::note("http.route", || name);
            trace::note("tollgate.request_id", || &*arrival.request_id);
            let answer = layers.oneshot(request).await;
            let status = answer.as_ref().map_or(503, |answer| answer.status().as_u16());
            trace::note("http.response.status_code", || i64::from(status));
            if status >= 500 {
                trace::failed("server_error");
            }
            answer
        };
        let mut answer = trace::exchange(trace, name, traced).await.map_or_else(
            |_| {
                self.routes.telemetry().shed("overloaded");
                refused(Refusal::Overloaded, &arrival).map(Either::Right)
            },
            |answer| answer.map(Either::Left),
        );

        self.routes.sign(&arrival, answer.headers_mut());
        if self.parting.is_handed_over() {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        account.status = answer.status().as_u16();
        account.outcome = answer.extensions().get::<Ended>().map_or("internal", |ended| ended.0);
        answer.map(|body| Tracked { body, _account: account })
    }
}

/// Answers, and makes sure of what happens to a body that was not read.
async fn answered(
    routes: Arc<Routes>,
    found: Result<Route, Problem>,
    arrival: Arrival,
    request: Request<Incoming>,
    pulse: Arc<Pulse>,
) -> Result<Response<Payload>, Infallible> {
    let (head, body) = request.into_parts();
    let mut intake = Intake::new(body, &head.headers);
    let answer = match found {
        Ok(route) => routes.answer(route, &arrival, &head.headers, &mut intake).await,
        Err(problem) => Err(problem),
    };
    let mut answer = answer.unwrap_or_else(|problem| refused(problem, &arrival));
    routes.sign_limits(&head.headers, answer.headers_mut());
    if !intake.settle().await {
        pulse.leave_unread();
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

fn refused(problem: impl Into<Problem>, arrival: &Arrival) -> Response<Payload> {
    let problem = problem.into();
    let mut answer = problem.answer(arrival.readers, &arrival.request_id);
    answer.extensions_mut().insert(Ended(problem.code()));
    answer
}

/// Answers for a request that panicked.
#[derive(Clone)]
struct Panicked(Arrival);

impl ResponseForPanic for Panicked {
    type ResponseBody = Payload;

    fn response_for_panic(&mut self, panic: Box<dyn Any + Send>) -> Response<Payload> {
        let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        tracing::error!(request_id = &*self.0.request_id, panic = words.unwrap_or("no words"), "a request panicked");
        refused(Refusal::Internal, &self.0)
    }
}

/// A door as one connection sees it.
pub(super) struct OnConnection {
    door: Door,
    pulse: Arc<Pulse>,
}

impl hyper::service::Service<Request<Incoming>> for OnConnection {
    type Response = Response<Tracked>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.pulse.begin();
        let exchange = self.door.clone().exchange(Arc::clone(&self.pulse), request);
        Box::pin(exchange.map(Ok))
    }
}

/// The account of one exchange, closed when its answer is out or its client gone.
struct Account {
    door: Door,
    pulse: Arc<Pulse>,
    route: &'static str,
    method: &'static str,
    arrived: Instant,
    status: u16,
    outcome: &'static str,
    _in_flight: InFlight,
}

impl Account {
    fn open(door: &Door, route: &'static str, method: &Method, arrived: Instant, pulse: &Arc<Pulse>) -> Self {
        door.press();
        Self {
            _in_flight: door.telemetry().in_flight(route),
            door: door.clone(),
            pulse: Arc::clone(pulse),
            route,
            method: method_name(method),
            arrived,
            // nginx's number for a client that left before its answer.
            status: 499,
            outcome: "client_gone",
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.pulse.end();
        self.door.press();
        self.door.telemetry().http(&Exchange {
            route: self.route,
            method: self.method,
            status: self.status,
            outcome: self.outcome,
            duration: self.arrived.elapsed(),
        });
    }
}

/// Methods are of the caller's making; a label is not.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// An answer's body with the account that it closes.
pub(super) struct Tracked {
    body: Either<UnsyncBoxBody<Bytes, BoxError>, Payload>,
    _account: Account,
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Routes {
    /// What is left of the caller's limits, on every answer of the API to a key that has any.
    fn sign_limits(&self, asked: &HeaderMap, headers: &mut HeaderMap) {
        if let Some(limits) = self.allowance(headers::bearer(asked).as_deref()) {
            headers.extend(wire::limits::headers(&limits));
        }
    }

    /// The headers of every answer.
    fn sign(&self, arrival: &Arrival, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_str(&arrival.request_id) {
            headers.insert(HeaderName::from_static("x-request-id"), id);
        }
        if !headers.contains_key("tollgate-policy")
            && let Some(digest) = self.policy_digest()
        {
            headers.insert(HeaderName::from_static("tollgate-policy"), digest);
        }
        if !headers.contains_key("server-timing") {
            let total = format!("total;dur={}", millis(arrival.arrived.elapsed()));
            if let Ok(total) = total.parse() {
                headers.insert(HeaderName::from_static("server-timing"), total);
            }
        }
    }
}
