//! Everything that is decided about a call before a byte of it leaves.
//!
//! Why it exists: who asks, whose API, which route, at what price, with what room and whose money: in this order, on one
//! page. Only a route whose price stands in the body has that body looked at. What it refuses to know: prices, books,
//! dialects, and how bytes flow afterwards.

use std::sync::Arc;

use http::{Method, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::{Error, Result};

use super::address::{origin, stays_below};
use super::credential;
use super::fields::{Fields, LOOK};
use super::journey::{Journey, Way};
use super::proxy::Passthrough;
use super::rest::Watch;
use super::socket::Socket;
use crate::domain::catalog::ProviderIx;
use crate::domain::native::{Asking, Captures, Field, Place, Priced, Route};
use crate::domain::refusal::Refusal;
use crate::engine::transit::{Passing, tenant};
use crate::policy::Snapshot;
use crate::provider::{Auth, adapter};
use crate::telemetry::clock;

/// How much is read at a time while a body is looked at.
const SIP: usize = 8 * 1024;

impl Passthrough {
    /// Everything before a byte leaves.
    pub(super) async fn admit(&self, session: &mut Session, journey: &mut Journey) -> Result<(), Refused> {
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
        let looked = found.looks();
        let (priced, rest) = self.price(session, &snapshot, &found).await?;
        match rest {
            Rest::InHand(body) => journey.in_hand = Some(body),
            Rest::Comes(watch) => journey.watch = watch,
        }
        let endpoint = snapshot.endpoint(found.provider).ok_or(Refusal::Internal)?;
        let (_, prefix) = endpoint.base_url.url().map(origin).ok_or(Refusal::Internal)?;
        let query = query.map(|query| credential::without_key(&query)).filter(|query| !query.is_empty());
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        journey.way = Some(Way {
            target: [prefix, below, &query].concat(),
            provider: found.provider,
            auth: found.auth,
            metered: priced.model.is_some(),
            name: Arc::clone(&priced.name),
            snapshot: Arc::clone(&snapshot),
        });
        let passing = Passing {
            request_id: Arc::clone(&journey.request_id),
            tenant: who,
            provider: found.provider,
            priced,
            call: [&*method, " ", found.route.path.as_str()].concat(),
            arrived: journey.arrived,
            received: journey.received,
        };
        drop(found);
        journey.transit = Some(self.engine.let_pass(snapshot, passing).await?);
        // A caller whose body was looked at has had its word.
        if !looked && expects_leave(session.req_header()) {
            session.write_continue_response().await.map_err(Refused::Gone)?;
        }
        Ok(())
    }

    /// What the call costs; reads the beginning of its body when that tells.
    async fn price(
        &self,
        session: &mut Session,
        snapshot: &Snapshot,
        found: &Found<'_>,
    ) -> Result<(Priced, Rest), Refused> {
        let looks = found.looks();
        let length = content_length(session.req_header());
        let (seen, whole) =
            if looks { look(session, length).await.map_err(Refused::Gone)? } else { (Vec::new(), true) };
        let text =
            |name: header::HeaderName| session.req_header().headers.get(name).and_then(|value| value.to_str().ok());
        if looks && text(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            let detail = "this call's price stands in its body: send the body without `Content-Encoding`".to_owned();
            return Err(Refusal::UnsupportedMediaType(detail).into());
        }
        let kind = text(header::CONTENT_TYPE);
        let fields = Fields::of(&found.fields, found.captures.clone(), kind, &seen, whole);
        let body_bytes = if whole { seen.len() as u64 } else { length.unwrap_or(u64::MAX) };
        let asking = Asking {
            catalog: &snapshot.catalog,
            provider: found.provider,
            body_bytes: length.unwrap_or(body_bytes).max(seen.len() as u64),
            today: clock::today(),
        };
        let priced = asking.price(found.route, |field| fields.read(field)).map_err(|unpriced| {
            let pointer = if unpriced.field.starts_with('/') { unpriced.field } else { format!("/{}", unpriced.field) };
            Refusal::InvalidRequest { pointer, detail: format!("{}; nothing was sent", unpriced.detail) }
        })?;
        let all = if looks { whole } else { session.as_downstream_mut().is_body_empty() };
        // Whether an answer to HEAD has a body is Pingora's to know.
        let rest = if all && session.req_header().method != Method::HEAD {
            Rest::InHand(seen)
        } else {
            Rest::Comes(fields.watch(&found.fields).filter(|_| looks))
        };
        Ok((priced, rest))
    }
}

/// What there is of a body beyond the look at it.
enum Rest {
    /// Nothing: this is all.
    InHand(Vec<u8>),
    /// It still comes, and may not take back what was said.
    Comes(Option<Watch>),
}

/// Why a call does not go on: it is refused, or its caller is gone.
pub(super) enum Refused {
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
    provider: ProviderIx,
    route: &'a Route,
    /// Every field that tells its price.
    fields: Vec<&'a Field>,
    captures: Captures<'a>,
    auth: Auth,
}

impl Found<'_> {
    /// Whether its price stands in the body.
    fn looks(&self) -> bool {
        self.fields.iter().any(|field| matches!(field.place, Place::Form | Place::Json))
    }
}

/// The route of a call.
fn find<'a>(snapshot: &'a Snapshot, named: &str, method: &str, below: &'a str) -> Result<Found<'a>, Refusal> {
    let shown = || named.chars().take(64).flat_map(char::escape_debug).collect::<String>();
    let known = snapshot.catalog.providers().find(|(_, provider)| *provider.name == *named);
    let Some((ix, provider, dialect)) =
        known.and_then(|(ix, provider)| Some((ix, provider, adapter(provider.dialect)?)))
    else {
        return Err(Refusal::NotFound(format!(
            "There is no provider `{}`; a call begins with a provider's name.",
            shown()
        )));
    };
    if let Some(why) = &provider.off {
        return Err(Refusal::NotFound(format!("The provider {} is off: {why}.", shown())));
    }
    let found = snapshot.native.find(ix, method, below).filter(|_| stays_below(below));
    let Some((route, captures)) = found else {
        let shown = shown();
        let call: String = format!("{method} {below}").chars().take(160).flat_map(char::escape_debug).collect();
        return Err(Refusal::NotFound(format!(
            "The policy has no route `{call}` for {shown}, so its price is not known. Nothing was sent; add a \
             [[provider.{shown}.route]]."
        )));
    };
    Ok(Found { provider: ix, route, fields: route.tariff.fields(), captures, auth: dialect.auth(provider) })
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
    let fits = length.is_some_and(|length| length <= LOOK as u64);
    if !fits || session.req_header().method == Method::HEAD {
        session.enable_retry_buffering();
    }
    sip(session, SIP);
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

pub(super) fn socket(session: &Session) -> Option<&Socket> {
    session.as_downstream().stream()?.as_any().downcast_ref()
}

fn content_length(head: &RequestHeader) -> Option<u64> {
    head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the caller waits for a word before it sends its body.
fn expects_leave(head: &RequestHeader) -> bool {
    head.headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
