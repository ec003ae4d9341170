//! The way of one call through Pingora's phases.
//!
//! Why it exists: the order of what is decided before a byte leaves stands in `admit`; here the credential is changed
//! and the bytes flow, and whatever ends a call leads to its account. What it refuses to know: prices,
//! books, dialects.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use tokio::sync::Semaphore;

use super::address::{Addresses, origin};
use super::admit::{Refused, socket};
use super::credential;
use super::exchange::Lines;
use super::journey::{Journey, internal};
use crate::domain::fault::{Billed, Class};
use crate::domain::refusal::{Doubt, Refusal};
use crate::engine::Engine;
use crate::server::Bounds;
use crate::server::problem::{Problem, Readers};
use crate::server::wire::headers::request_id;

/// The pass-through.
pub(super) struct Passthrough {
    pub(super) engine: Arc<Engine>,
    pub(super) slots: Arc<Semaphore>,
    pub(super) always: bool,
    pub(super) lines: Lines,
    addresses: Addresses,
    body_idle: Duration,
    write_time: Duration,
}

impl Passthrough {
    /// `always`: also while the policy has it off.
    pub(super) fn new(engine: Arc<Engine>, bounds: &Bounds, always: bool, lines: Lines) -> Self {
        Self {
            engine,
            always,
            lines,
            addresses: Addresses::default(),
            slots: Arc::new(Semaphore::new(bounds.in_flight.min(Semaphore::MAX_PERMITS))),
            body_idle: bounds.body_idle,
            write_time: bounds.write_time,
        }
    }

    /// Whom to connect to.
    pub(super) async fn peer(&self, journey: &Journey) -> Result<HttpPeer> {
        let unknown = || Error::explain(ErrorType::ConnectError, "the provider's name has no address");
        let (way, endpoint) = journey.way()?;
        let base = endpoint.base_url.url().ok_or_else(unknown)?;
        self.addresses.peer(base, way.snapshot.native.patience).await.ok_or_else(|| unknown().into_up())
    }

    /// Says no, and leaves the connection clean or closed.
    async fn refuse(&self, session: &mut Session, journey: &mut Journey, refusal: Refusal) -> Result<()> {
        let problem = Problem::from(refusal);
        let (head, body) = problem.whole(Readers::Openai, &journey.request_id);
        journey.refused = Some((problem.code(), head.status.as_u16()));
        if !session.is_body_done() {
            session.set_keepalive(None);
            if let Some(socket) = socket(session) {
                socket.leave_unread();
            }
        }
        let mut answer = ResponseHeader::build(head.status, Some(10))?;
        for (name, value) in &head.headers {
            answer.append_header(name.clone(), value.clone())?;
        }
        answer.insert_header("x-request-id", &*journey.request_id)?;
        answer.insert_header(header::CONTENT_LENGTH, body.len())?;
        session.write_response_header(Box::new(answer), false).await?;
        session.write_response_body(Some(body.into()), true).await
    }
}

const TWICE: &str = "a field that tells the price comes a second time in the body; it was not sent to its end, and nothing was \
    bought";

/// Methods are of the caller's making; a label is not.
fn label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        _ => "other",
    }
}

#[async_trait]
impl ProxyHttp for Passthrough {
    /// Boxed: Pingora moves it about.
    type CTX = Box<Journey>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(Journey::new())
    }

    /// Bytes pass as they are: nothing is compressed here.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, journey: &mut Self::CTX) -> Result<bool> {
        journey.request_id = request_id(&session.req_header().headers);
        session.set_read_timeout(Some(self.body_idle));
        session.set_write_timeout(Some(self.write_time));
        session.set_total_drain_timeout(Some(self.body_idle));
        // What was bought is seen to its end, so that the books know it.
        session.set_abort_on_close(false);
        match self.admit(session, journey).await {
            Ok(()) => Ok(false),
            Err(Refused::Gone(error)) => Err(error),
            Err(Refused::Told(refusal)) => self.refuse(session, journey, refusal).await.map(|()| true),
        }
    }

    /// Pingora's own way is for what must be streamed up.
    async fn proxy_upstream_filter(&self, session: &mut Session, journey: &mut Self::CTX) -> Result<bool> {
        match journey.in_hand.take() {
            Some(body) => self.exchange(session, journey, &body).await.map(|()| false),
            None => Ok(true),
        }
    }

    async fn upstream_peer(&self, _: &mut Session, journey: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let mut peer = self.peer(journey).await?;
        // No other protocol may take the place of the one that is metered.
        peer.options.http_upstream_request_policy =
            pingora::upstreams::peer::HttpUpstreamRequestPolicy::deny_upgrades();
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        head: &mut RequestHeader,
        journey: &mut Self::CTX,
    ) -> Result<()> {
        let (way, endpoint) = journey.way()?;
        let (authority, _) = endpoint.base_url.url().map(origin).ok_or_else(|| internal("no address"))?;
        head.set_uri(way.target.parse().map_err(|_| internal("the target is no URI"))?);
        head.insert_header(header::HOST, authority)?;
        head.remove_header(&header::EXPECT);
        if way.metered {
            // An answer that is packed cannot be read on its way.
            head.insert_header(header::ACCEPT_ENCODING, "identity")?;
        }
        credential::exchange(head, way.auth, endpoint.credential.as_ref())
            .map_err(|()| internal("the credential cannot stand in a header"))?;
        journey.sent = true;
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        journey: &mut Self::CTX,
    ) -> Result<()> {
        let piece = body.as_deref().unwrap_or_default();
        if journey.watch.as_mut().is_some_and(|watch| !watch.holds(piece, end)) {
            journey.contradicts = true;
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "the body contradicts its beginning").into_down());
        }
        journey.complete |= end;
        Ok(())
    }

    async fn response_filter(&self, _: &mut Session, head: &mut ResponseHeader, journey: &mut Self::CTX) -> Result<()> {
        if head.status.is_informational() {
            return Ok(());
        }
        journey.answered(head)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        journey: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        if let Some(piece) = body {
            journey.answer.feed(piece);
        }
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        _: &mut Session,
        mut error: Box<Error>,
        _: &mut Self::CTX,
        _: bool,
    ) -> Box<Error> {
        error.set_retry(false);
        error
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, _: &mut Self::CTX, mut error: Box<Error>) -> Box<Error> {
        error.set_retry(false);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, journey: &mut Self::CTX) -> FailToProxy {
        let fault = journey.fault(error);
        let began = session.response_written().is_some_and(|head| !head.status.is_informational());
        let gone =
            *error.esource() == pingora::ErrorSource::Downstream && !matches!(error.etype(), ErrorType::ReadTimedout);
        if began || (gone && !journey.contradicts) {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let attempts: Vec<_> = journey.transit.iter().map(|transit| transit.attempt(&fault)).collect();
        let refusal = match (*error.esource() == pingora::ErrorSource::Downstream, fault.class, fault.billed) {
            (true, ..) if journey.contradicts => {
                Refusal::InvalidRequest { pointer: "/".to_owned(), detail: TWICE.to_owned() }
            }
            (true, ..) => Refusal::SlowRequest,
            (_, Class::TimeOut, Billed::Unknown) => Refusal::DeadlineExceeded { outcome: Doubt::Ambiguous, attempts },
            _ => Refusal::ProvidersFailed(attempts),
        };
        session.set_keepalive(None);
        // A caller that is gone needs no answer. Whoever is there hears it to its end: Pingora drops what failed, and a
        // socket that is dropped with unread bytes takes the answer back.
        if self.refuse(session, journey, refusal).await.is_ok() && session.finish_body().await.is_ok() {
            session.shutdown().await;
        }
        let error_code = journey.refused.map_or(0, |(_, status)| status);
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, journey: &mut Self::CTX) {
        let method = label(&session.req_header().method);
        journey.end(&self.engine, method, error).await;
    }
}
