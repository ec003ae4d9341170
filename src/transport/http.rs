//! Calls over HTTP/1.1.
//!
//! Why it exists: sockets, TLS, pools and deadlines, and the honest answer to "may this have been charged?". What it
//! refuses to know: what a reply means. It repeats nothing, follows no redirect, and takes no proxy from the
//! environment. Links that a provider handed out go through the guard, by a client of their own.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::Resolve;
use reqwest::{Client, ClientBuilder, Response};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::guard::{self, Barred, Cleared, Guarded, System};
use super::outgoing::{self, Begun};
use super::{Boxed, Endpoint, Secret, Transport, install_tls};
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::provider::{Call, Reply, Stage, Target};
use crate::telemetry::Telemetry;

/// Name resolution, TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(5);

/// Shorter than the 5 s after which common servers close an idle connection: a call written to a connection that is
/// just being closed is a call in doubt.
const IDLE: Duration = Duration::from_secs(4);

/// Headers of a reply at most; their bytes are bounded by hyper, at about 400 KiB.
const HEADERS: usize = 128;

/// A reply's body at most, unless told otherwise.
const BODY: usize = 64 << 20;

/// Sends calls with reqwest.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    plain: Client,
    guarded: Client,
    most: usize,
    telemetry: Option<Arc<Telemetry>>,
}

/// Why there is no transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotBuilt(String);

impl fmt::Display for NotBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no HTTP client: {}", self.0)
    }
}

impl Error for NotBuilt {}

impl NotBuilt {
    /// For this reason.
    pub(super) fn because(why: String) -> Self {
        Self(why)
    }
}

impl HttpTransport {
    /// A transport with the system's resolver and root certificates.
    pub fn new() -> Result<Self, NotBuilt> {
        Self::with_resolver(&(Arc::new(System) as Arc<dyn Resolve>))
    }

    /// A transport that resolves every name with `resolver`.
    pub fn with_resolver(resolver: &Arc<dyn Resolve>) -> Result<Self, NotBuilt> {
        install_tls();
        let guarded: Arc<dyn Resolve> = Arc::new(Guarded(Arc::clone(resolver)));
        Ok(Self { plain: client(resolver)?, guarded: client(&guarded)?, most: BODY, telemetry: None })
    }

    /// The same, counting what the address guard refuses.
    #[must_use]
    pub fn counted_by(mut self, telemetry: Arc<Telemetry>) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    /// The same with another cap on a reply's body, in bytes.
    #[must_use]
    pub fn with_body_cap(mut self, bytes: usize) -> Self {
        self.most = bytes;
        self
    }

    /// Which client goes where, with which credential.
    fn route<'a>(&'a self, endpoint: &'a Endpoint, call: &Call) -> Result<Route<'a>, Fault> {
        match &call.target {
            Target::Path(path) => {
                let url = endpoint.base_url.below(path);
                let url = url.ok_or_else(|| ours(&format!("{} has no usable address", endpoint.provider)))?;
                Ok(Route { client: &self.plain, url, credential: endpoint.credential.as_ref() })
            }
            Target::Link(link) => {
                match guard::clear(link, endpoint.base_url.as_str()).map_err(|why| self.barred(why))? {
                    Cleared::Own(url) => Ok(Route { client: &self.plain, url, credential: None }),
                    Cleared::Elsewhere(url) => Ok(Route { client: &self.guarded, url, credential: None }),
                }
            }
        }
    }
}

impl HttpTransport {
    /// A provider named an address that its pictures may not come from.
    fn barred(&self, why: Barred) -> Fault {
        if let Some(telemetry) = &self.telemetry {
            telemetry.outbound_blocked("result_url");
        }
        Fault::new(Class::Garbled, Blame::Provider, Billed::No, why.to_string())
    }
}

struct Route<'a> {
    client: &'a Client,
    url: Url,
    credential: Option<&'a Secret>,
}

impl Transport for HttpTransport {
    fn send<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        call: &'a Call,
        deadline: Instant,
    ) -> Boxed<'a, Result<Reply, Fault>> {
        Box::pin(async move {
            let route = self.route(endpoint, call)?;
            let begun = Begun::default();
            let request = outgoing::request(route.client, route.url, call, route.credential, &begun)
                .map_err(|error| ours(&format!("the call cannot be written: {}", root_cause(&error))))?;
            let doubt = Doubt { transport: self, stage: call.stage, begun, provider: &endpoint.provider };
            let exchange = async {
                let sent = Instant::now();
                let response = route.client.execute(request).await.map_err(|error| doubt.unanswered(&error))?;
                if let Some(telemetry) = &self.telemetry {
                    telemetry.time_to_headers(&endpoint.provider, sent.elapsed());
                }
                receive(response, self.most, &doubt).await
            };
            timeout_at(deadline, exchange).await.unwrap_or_else(|_| Err(doubt.late()))
        })
    }
}

/// A machine without root certificates, such as a bare container, still reaches `http://` providers; `https://` ones are
/// not trusted there, and each call says so.
pub(super) fn client(resolver: &Arc<dyn Resolve>) -> Result<Client, NotBuilt> {
    let trusting_nobody = || builder(resolver).tls_certs_only([]).build();
    builder(resolver).build().or_else(|_| trusting_nobody()).map_err(|error| NotBuilt(root_cause(&error)))
}

fn builder(resolver: &Arc<dyn Resolve>) -> ClientBuilder {
    Client::builder()
        .dns_resolver(Arc::clone(resolver))
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .http1_only()
        .http1_max_headers(HEADERS)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
}

/// Reads the whole reply: one buffer of the right size when its length is known, no copy at all when it comes at once.
async fn receive(mut response: Response, most: usize, doubt: &Doubt<'_>) -> Result<Reply, Fault> {
    let length = response.content_length().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if length.is_some_and(|length| length > most) {
        return Err(doubt.too_large(most));
    }
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut all = Vec::new();
    while let Some(chunk) = next(&mut response, doubt).await? {
        if all.is_empty() && length == Some(chunk.len()) {
            return Ok(Reply { status, headers, body: chunk });
        }
        if all.len() + chunk.len() > most {
            return Err(doubt.too_large(most));
        }
        if all.is_empty() {
            all.reserve_exact(length.unwrap_or_default().max(chunk.len()));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(Reply { status, headers, body: all.into() })
}

async fn next(response: &mut Response, doubt: &Doubt<'_>) -> Result<Option<Bytes>, Fault> {
    response.chunk().await.map_err(|error| doubt.broken_off(&error))
}

/// What is known of a call that failed.
struct Doubt<'a> {
    transport: &'a HttpTransport,
    stage: Stage,
    begun: Begun,
    provider: &'a str,
}

impl Doubt<'_> {
    /// A call that buys and may have left may have been charged.
    fn billed(&self) -> Billed {
        if self.stage.buys() && self.begun.maybe() { Billed::Unknown } else { Billed::No }
    }

    fn fault(&self, class: Class, detail: String) -> Fault {
        Fault::new(class, Blame::Provider, self.billed(), detail)
    }

    /// No head of a reply came.
    fn unanswered(&self, error: &reqwest::Error) -> Fault {
        if let Some(why) = chain(error).find_map(|cause| cause.downcast_ref::<Barred>()) {
            return self.transport.barred(*why);
        }
        let (provider, cause) = (self.provider, root_cause(error));
        if error.is_connect() {
            let detail = format!("{provider} cannot be reached: {cause}");
            return Fault::new(Class::Unavailable, Blame::Provider, Billed::No, detail);
        }
        self.fault(Class::Unavailable, format!("{provider} gave no answer: {cause}"))
    }

    fn broken_off(&self, error: &reqwest::Error) -> Fault {
        let detail = format!("the answer of {} broke off: {}", self.provider, root_cause(error));
        self.fault(Class::Unavailable, detail)
    }

    fn too_large(&self, most: usize) -> Fault {
        self.fault(Class::Garbled, format!("the answer of {} is longer than {most} bytes", self.provider))
    }

    fn late(&self) -> Fault {
        self.fault(Class::TimeOut, format!("{} did not answer in time", self.provider))
    }
}

fn ours(detail: &str) -> Fault {
    Fault::new(Class::Reject, Blame::Ourselves, Billed::No, detail)
}

/// The innermost cause, cut short. The outer ones name the URL, which may hold a key.
fn root_cause(error: &reqwest::Error) -> String {
    let innermost = chain(error).last().map_or_else(String::new, ToString::to_string);
    innermost.chars().take(200).collect()
}

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}
