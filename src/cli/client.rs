//! A gateway as a client sees it.
//!
//! Why it exists: one place turns sockets and problem bodies into answers and [`Trouble`]. What it refuses to know:
//! which command asks, and whether to ask again.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::args::GatewayArgs;
use super::ask::Body;
use super::exit::{Exit, Failure};
use super::wire::{self, Answer, Attempt};
use crate::domain::money::Money;
use crate::transport;

/// To reach a host; a gateway is near.
const CONNECT: Duration = Duration::from_secs(5);
/// Without a byte: longer than any deadline that the API takes seriously.
const SILENCE: Duration = Duration::from_mins(10);

/// A gateway and who asks.
#[derive(Debug)]
pub(crate) struct Gateway {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No connection: nothing was sent.
    Unreachable(String),
    /// The connection broke: the gateway may or may not have the request.
    Broken(String),
    /// The gateway refused.
    Refused(Box<Problem>),
}

/// A refusal, as its problem body says.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The status.
    pub(crate) status: u16,
    /// The contract's code, such as `no_plan`; empty when something else than a gateway answered.
    pub(crate) code: String,
    /// One sentence.
    pub(crate) detail: String,
    /// The place in the body, if one is to blame.
    pub(crate) param: Option<String>,
    /// How long to wait before asking again.
    pub(crate) retry_after: Option<Duration>,
    /// The gateway says that asking again could pay twice.
    pub(crate) never_again: bool,
    /// What was tried.
    pub(crate) attempts: Vec<Attempt>,
    /// The whole body.
    pub(crate) body: Value,
}

impl Gateway {
    /// The gateway at an address.
    pub(crate) fn new(args: &GatewayArgs) -> Result<Self, Failure> {
        let url = args.url.trim_end_matches('/');
        let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if parsed.is_none() {
            return Err(Failure::usage(format!("`{url}` is not the address of a gateway"))
                .help("write http:// or https://, a host and a port, such as http://127.0.0.1:8080"));
        }
        transport::install_tls();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|why| Failure::usage(format!("no HTTP client can be made: {why}")))?;
        Ok(Self { http, url: url.to_owned(), key: args.key.clone() })
    }

    /// The address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `POST /generate`.
    pub(crate) async fn generate(&self, body: &Body, idempotency_key: Option<&str>) -> Result<Answer, Trouble> {
        let text = self.generate_text(body, idempotency_key).await?;
        serde_json::from_slice(&text)
            .map_err(|why| Trouble::Broken(format!("the answer is not one of a gateway: {why}")))
    }

    /// `POST /generate`, the answer as it came.
    pub(crate) async fn generate_text(&self, body: &Body, idempotency_key: Option<&str>) -> Result<Bytes, Trouble> {
        let mut request = self.post("/generate", body);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        answer(request).await
    }

    /// `POST /plan`: spends nothing.
    pub(crate) async fn plan(&self, body: &Body) -> Result<Value, Trouble> {
        let text = answer(self.post("/plan", body)).await?;
        serde_json::from_slice(&text)
            .map_err(|why| Trouble::Broken(format!("the answer is not one of a gateway: {why}")))
    }

    /// `POST /generations/{id}/feedback`.
    pub(crate) async fn feedback(&self, id: &str, body: &Body) -> Result<Value, Trouble> {
        // An id is letters, digits and `_`; anything else would be another path.
        let plain: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
        let text = answer(self.post(&format!("/generations/{plain}/feedback"), body)).await?;
        serde_json::from_slice(&text)
            .map_err(|why| Trouble::Broken(format!("the answer is not one of a gateway: {why}")))
    }

    /// `GET /images/{name}`: a stored picture; `None` when the gateway no longer has it.
    pub(crate) async fn image(&self, name: &str) -> Option<Bytes> {
        answer(self.authorised(self.http.get(format!("{}/images/{name}", self.url)))).await.ok()
    }

    fn post(&self, path: &str, body: &Body) -> reqwest::RequestBuilder {
        let text = Value::Object(body.clone()).to_string();
        let request = self.http.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        self.authorised(request.header("accept", "application/json").body(text))
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Bytes, Trouble> {
    let response = request.send().await.map_err(|error| trouble(&error))?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.bytes().await.map_err(|error| trouble(&error))?;
    if (200..300).contains(&status) {
        return Ok(body);
    }
    Err(Trouble::Refused(Box::new(problem(status, &headers, &body))))
}

fn trouble(error: &reqwest::Error) -> Trouble {
    // The innermost cause is the one that a person can act upon: "Connection refused (os error 111)".
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_connect() || error.is_builder() {
        Trouble::Unreachable(cause.to_string())
    } else {
        Trouble::Broken(cause.to_string())
    }
}

fn problem(status: u16, headers: &reqwest::header::HeaderMap, body: &[u8]) -> Problem {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let attempts = body.get("attempts").or_else(|| body.pointer("/cost/attempts")).cloned().unwrap_or_default();
    Problem {
        status,
        code: text("/error/code").or_else(|| text("/code")).unwrap_or_default(),
        detail: text("/detail").or_else(|| text("/error/message")).or_else(|| text("/title")).unwrap_or_default(),
        param: text("/error/param"),
        retry_after: header("retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs),
        never_again: header("x-should-retry") == Some("false"),
        attempts: serde_json::from_value(attempts).unwrap_or_default(),
        body,
    }
}

impl Problem {
    /// The kind of end that it is.
    pub(crate) fn exit(&self) -> Exit {
        let ambiguous = self.body.get("outcome").and_then(Value::as_str) == Some("ambiguous");
        if ambiguous || self.attempts.iter().any(Attempt::is_doubtful) {
            return Exit::Ambiguous;
        }
        match self.status {
            402 => Exit::Budget,
            408 | 429 | 500.. => Exit::ProvidersDown,
            _ => Exit::Usage,
        }
    }

    /// One sentence for a person.
    pub(crate) fn sentence(&self) -> String {
        let detail = if self.detail.is_empty() { "no detail" } else { &self.detail };
        let place = self.param.as_ref().filter(|place| !place.is_empty() && !detail.contains(place.as_str()));
        let place = place.map(|place| format!(" (at {place})")).unwrap_or_default();
        if self.code.is_empty() {
            format!("status {}: {detail}{place}", self.status)
        } else {
            format!("{}: {detail}{place}", self.code)
        }
    }
}

impl Trouble {
    /// As the end of a command that asked `url`.
    pub(crate) fn into_failure(self, url: &str) -> Failure {
        match self {
            Self::Unreachable(why) => Failure::new(Exit::ProvidersDown, format!("no gateway answers at {url}: {why}"))
                .help("start one with `tollgate demo` or `tollgate serve`, or name another with --url"),
            Self::Broken(why) => {
                Failure::new(Exit::Ambiguous, format!("the connection to {url} broke before the answer: {why}"))
                    .help("it may have bought the image; `tollgate ledger spend` tells")
            }
            Self::Refused(problem) => refused(&problem),
        }
    }
}

fn refused(problem: &Problem) -> Failure {
    let failure = Failure::new(problem.exit(), problem.sentence());
    let doubt = wire::doubt(&problem.attempts).filter(|doubt| *doubt > Money::ZERO);
    match problem.code.as_str() {
        "unauthenticated" | "forbidden" => failure.help("give an API key with --key or TOLLGATE_KEY"),
        "no_plan" => failure.help("`tollgate explain` shows every candidate and the line of the policy that drops it"),
        "budget_exhausted" => failure.help("`tollgate ledger spend --by key` shows what was spent"),
        "" => {
            failure.help("is this the address of a gateway's API? It is the line `listening api` of `tollgate serve`")
        }
        _ if problem.exit() == Exit::Ambiguous => {
            let sum = doubt.map_or_else(|| "it".to_owned(), |doubt| format!("${doubt}"));
            failure.help(format!("{sum} may have been charged, and stays held in the ledger until someone knows"))
        }
        _ => match problem.retry_after {
            Some(wait) => failure.help(format!("try again in {} s", wait.as_secs())),
            None => failure,
        },
    }
}
