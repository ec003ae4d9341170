//! The way of one call through Pingora's phases.
//!
//! Why it exists: the order of what is decided before a byte leaves stands on one page: who asks, what for, at what price,
//! whether there is room and money; then the credential is changed and the bytes flow. What it refuses to know: prices,
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

use super::address::{Addresses, Origin, stays_below};
use super::credential;
use super::fields::{Fields, LOOK};
use super::journey::{Journey, Way};
use super::socket::Socket;
use crate::domain::fault::{Billed, Class};
use crate::domain::native::{Asking, Captures, Place, Priced, Route};
use crate::domain::refusal::{Doubt, Refusal};
use crate::engine::Engine;
use crate::engine::transit::{Passing, tenant};
use crate::policy::Snapshot;
use crate::provider::adapter;
use crate::server::Bounds;
use crate::server::problem::{Problem, Readers};
use crate::server::wire::headers::request_id;
use crate::telemetry::clock;

/// How much is read at a time while a body is looked at.
const SIP: usize = 8 * 1024;

/// The pass-through.
pub(super) struct Passthrough {
    engine: Arc<Engine>,
    addresses: Addresses,
    slots: Arc<Semaphore>,
    body_idle: Duration,
    write_time: Duration,
    always: bool,
}

impl Passthrough {
    /// `always`: also while the policy has it off.
    pub(super) fn new(engine: Arc<Engine>, bounds: &Bounds, always: bool) -> Self {
        Self {
            engine,
            always,
            addresses: Addresses::default(),
            slots: Arc::new(Semaphore::new(bounds.in_flight.min(Semaphore::MAX_PERMITS))),
            body_idle: bounds.body_idle,
            write_time: bounds.write_time,
        }
    }

    /// Everything before a byte leaves.
    async fn admit(&self, session: &mut Session, journey: &mut Journey) -> Result<(), Refused> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            self.engine.telemetry().shed("overloaded");
            Refusal::Overloaded
        })?;
        journey.count(&self.engine, slot);
        let snapshot = self.engine.snapshot();
        let (method, path, query) = target(session.req_header());
        let named = path.split_once('/').map_or(path.as_str(), |(name, _)| name);
        let below = path.get(named.len()..).unwrap_or_default();
        let key = credential::caller_key(&session.req_header().headers, query.as_deref());
        let who = tenant(&snapshot, key.as_deref()).inspect_err(|_| {
            self.engine.telemetry().auth_failure(if key.is_some() { "unknown" } else { "missing" });
        })?;
        journey.tenant = Some(Arc::clone(&who));
        if !snapshot.native.on && !self.always {
            return Err(Refusal::NotFound("The policy has turned the pass-through off.".to_owned()).into());
        }
        let found = find(&snapshot, named, &method, below)?;
        let priced = self.price(session, &snapshot, &found).await?;
        let endpoint = snapshot.endpoints.get(usize::from(found.provider.0)).ok_or(Refusal::Internal)?;
        let origin = Origin::of(&endpoint.base_url).ok_or(Refusal::Internal)?;
        let query = query.map(|query| credential::without_key(&query)).filter(|query| !query.is_empty());
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        journey.way = Some(Way {
            target: format!("{}{below}{query}", origin.prefix),
            origin,
            auth: found.auth,
            credential: endpoint.credential.clone(),
            metered: priced.model.is_some(),
            name: Arc::clone(&priced.name),
            snapshot: Arc::clone(&snapshot),
        });
        let passing = Passing {
            request_id: Arc::clone(&journey.request_id),
            tenant: who,
            provider: found.provider,
            priced,
            call: format!("{method} {}", found.route.path),
            arrived: journey.arrived,
            received: journey.received,
        };
        drop(found);
        journey.transit = Some(self.engine.let_pass(snapshot, passing).await?);
        if expects_leave(session.req_header()) {
            session.write_continue_response().await.map_err(Refused::Gone)?;
        }
        Ok(())
    }

    /// What the call costs; reads the beginning of its body when that tells.
    async fn price(&self, session: &mut Session, snapshot: &Snapshot, found: &Found<'_>) -> Result<Priced, Refused> {
        let told_by_body = |place: Place| matches!(place, Place::Form | Place::Json);
        let looks = found.route.tariff.fields().iter().any(|field| told_by_body(field.place));
        let length = content_length(session.req_header());
        let (seen, whole) = if looks { look(session, length).await.map_err(Refused::Gone)? } else { (Vec::new(), true) };
        let text = |name: header::HeaderName| session.req_header().headers.get(name).and_then(|value| value.to_str().ok());
        if looks && text(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            let detail = "this call's price stands in its body: send the body without `Content-Encoding`".to_owned();
            return Err(Refusal::UnsupportedMediaType(detail).into());
        }
        let fields = Fields::of(found.captures.clone(), text(header::CONTENT_TYPE), &seen, whole);
        let body_bytes = if whole { seen.len() as u64 } else { length.unwrap_or(u64::MAX) };
        let asking = Asking {
            catalog: &snapshot.catalog,
            provider: found.provider,
            body_bytes: length.unwrap_or(body_bytes).max(seen.len() as u64),
            today: clock::today(),
        };
        asking.price(found.route, |field| fields.read(field)).map_err(|unpriced| {
            let pointer = if unpriced.field.starts_with('/') { unpriced.field } else { format!("/{}", unpriced.field) };
            Refusal::InvalidRequest { pointer, detail: format!("{}; nothing was sent", unpriced.detail) }.into()
        })
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

/// Why a call does not go on: it is refused, or its caller is gone.
enum Refused {
    Gone(Box<Error>),
    Told(Refusal),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Told(refusal)
    }
}

/// A call that the policy knows.
struct Found<'a> {
    provider: crate::domain::catalog::ProviderIx,
    route: &'a Route,
    captures: Captures<'a>,
    auth: crate::provider::Auth,
}

/// The route of a call.
fn find<'a>(snapshot: &'a Snapshot, named: &str, method: &str, below: &'a str) -> Result<Found<'a>, Refusal> {
    let shown: String = named.chars().take(64).flat_map(char::escape_debug).collect();
    let known = snapshot.catalog.providers().find(|(_, provider)| *provider.name == *named);
    let Some((ix, provider, dialect)) = known.and_then(|(ix, provider)| Some((ix, provider, adapter(provider.dialect)?)))
    else {
        return Err(Refusal::NotFound(format!("There is no provider `{shown}`; a call begins with a provider's name.")));
    };
    if let Some(why) = &provider.off {
        return Err(Refusal::NotFound(format!("The provider {shown} is off: {why}.")));
    }
    let found = snapshot.native.find(ix, method, below).filter(|_| stays_below(below));
    let Some((route, captures)) = found else {
        let call: String = format!("{method} {below}").chars().take(160).flat_map(char::escape_debug).collect();
        return Err(Refusal::NotFound(format!(
            "The policy has no route `{call}` for {shown}, so its price is not known. Nothing was sent; add a \
             [[provider.{shown}.route]]."
        )));
    };
    Ok(Found { provider: ix, route, captures, auth: dialect.auth(provider) })
}

/// Method, path without its first slash, query.
fn target(head: &RequestHeader) -> (String, String, Option<String>) {
    let path = head.uri.path();
    let path = path.strip_prefix('/').unwrap_or(path).to_owned();
    (head.method.as_str().to_owned(), path, head.uri.query().map(str::to_owned))
}

/// The beginning of a body, and whether that is all of it. What Pingora reads here it sends on later, out of a buffer that
/// holds [`LOOK`]; so no more than that is read, in sips.
async fn look(session: &mut Session, length: Option<u64>) -> Result<(Vec<u8>, bool)> {
    if expects_leave(session.req_header()) {
        session.write_continue_response().await?;
    }
    session.enable_retry_buffering();
    sip(session, SIP);
    let fits = length.is_some_and(|length| length <= LOOK as u64);
    let mut seen = Vec::new();
    let mut whole = session.is_body_done();
    while !whole && (fits || seen.len() + SIP <= LOOK) {
        match session.read_request_body().await? {
            Some(piece) => seen.extend_from_slice(&piece),
            None => whole = true,
        }
        whole |= session.is_body_done();
    }
    sip(session, usize::MAX);
    Ok((seen, whole))
}

fn sip(session: &Session, most: usize) {
    if let Some(socket) = socket(session) {
        socket.sip(most);
    }
}

fn socket(session: &Session) -> Option<&Socket> {
    session.as_downstream().stream()?.as_any().downcast_ref()
}

fn content_length(head: &RequestHeader) -> Option<u64> {
    head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the caller waits for a word before it sends its body.
fn expects_leave(head: &RequestHeader) -> bool {
    head.headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

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
    type CTX = Journey;

    fn new_ctx(&self) -> Journey {
        Journey::new()
    }

    /// Bytes pass as they are: nothing is compressed here.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, journey: &mut Journey) -> Result<bool> {
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

    async fn upstream_peer(&self, _: &mut Session, journey: &mut Journey) -> Result<Box<HttpPeer>> {
        let unknown = || Error::explain(ErrorType::ConnectError, "the provider's name has no address");
        let way = journey.way.as_ref().ok_or_else(unknown)?;
        let peer = self.addresses.peer(&way.origin, way.snapshot.native.patience).await;
        let mut peer = peer.ok_or_else(|| unknown().into_up())?;
        // No other protocol may take the place of the one that is metered.
        peer.options.http_upstream_request_policy = pingora::upstreams::peer::HttpUpstreamRequestPolicy::deny_upgrades();
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        head: &mut RequestHeader,
        journey: &mut Journey,
    ) -> Result<()> {
        let internal = |why: &'static str| Error::explain(ErrorType::InternalError, why);
        let way = journey.way.as_ref().ok_or_else(|| internal("no way"))?;
        head.set_uri(way.target.parse().map_err(|_| internal("the target is no URI"))?);
        head.insert_header(header::HOST, &*way.origin.authority)?;
        head.remove_header(&header::EXPECT);
        if way.metered {
            // An answer that is packed cannot be read on its way.
            head.insert_header(header::ACCEPT_ENCODING, "identity")?;
        }
        credential::exchange(head, way.auth, way.credential.as_ref())
            .map_err(|()| internal("the credential cannot stand in a header"))?;
        journey.sent = true;
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        end: bool,
        journey: &mut Journey,
    ) -> Result<()> {
        journey.complete |= end;
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        head: &mut ResponseHeader,
        journey: &mut Journey,
    ) -> Result<()> {
        if head.status.is_informational() {
            return Ok(());
        }
        let Some(way) = &journey.way else { return Ok(()) };
        journey.answer.begin(head, way.metered);
        // A cookie of the provider's would be one caller's, and is the gateway's.
        head.remove_header(&header::SET_COOKIE);
        head.insert_header("tollgate-request-id", &*journey.request_id)?;
        head.insert_header("tollgate-model", &*way.name)?;
        head.insert_header("tollgate-policy", &*way.snapshot.digest)?;
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        journey: &mut Journey,
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
        _: &mut Journey,
        _: bool,
    ) -> Box<Error> {
        error.set_retry(false);
        error
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, _: &mut Journey, mut error: Box<Error>) -> Box<Error> {
        error.set_retry(false);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, journey: &mut Journey) -> FailToProxy {
        let fault = journey.fault(error);
        let began = session.response_written().is_some_and(|head| !head.status.is_informational());
        let gone = *error.esource() == pingora::ErrorSource::Downstream && !matches!(error.etype(), ErrorType::ReadTimedout);
        if began || gone {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let attempts: Vec<_> = journey.transit.iter().map(|transit| transit.attempt(&fault)).collect();
        let refusal = match (*error.esource() == pingora::ErrorSource::Downstream, fault.class, fault.billed) {
            (true, ..) => Refusal::SlowRequest,
            (_, Class::TimeOut, Billed::Unknown) => Refusal::DeadlineExceeded { outcome: Doubt::Ambiguous, attempts },
            _ => Refusal::ProvidersFailed(attempts),
        };
        session.set_keepalive(None);
        // A caller that is gone needs no answer.
        let _ = self.refuse(session, journey, refusal).await;
        let error_code = journey.refused.map_or(0, |(_, status)| status);
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, journey: &mut Journey) {
        let method = label(&session.req_header().method);
        journey.end(&self.engine, method, error).await;
    }
}
