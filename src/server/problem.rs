//! A [`Refusal`] as an HTTP answer: the one place that knows status codes.
//!
//! Why it exists: one body serves readers of problem details (RFC 9457) and of `OpenAI`'s errors, and every sentence says
//! what happened, whether money moved and what to do. What it refuses to know: how it came to the refusal.
//! To add a refusal: its row in [`face`]; the compiler asks for it.
//!
//! A known path with another method is 405 with `Allow`, and its code is `not_found`: no such route.

use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use super::payload::Payload;
use super::wire::answer;
use super::wire::json::Json;
use super::wire::plan;
use crate::domain::budget::Exhausted;
use crate::domain::ledger::{Attempt, Sums};
use crate::domain::money::Money;
use crate::domain::plan::explain::Explained;
use crate::domain::refusal::{Doubt, Refusal};

/// The longest wait that clients honour; the `OpenAI` SDK gives up beyond it.
const MAX_RETRY_AFTER_S: u64 = 120;

/// The status of a gateway that cannot serve.
pub(super) const NOT_READY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
/// The status of a reload that changed nothing because what it read is wrong.
pub(super) const NOT_APPLIED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

/// The status of a request that will be done later.
pub(super) const ACCEPTED: StatusCode = StatusCode::ACCEPTED;

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

/// Which family of readers a body's content type is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// `application/problem+json`.
    Native,
    /// `application/json`, on `/v1`.
    Openai,
}

/// A refusal with its face. Boxed: most results that carry one are `Ok`.
#[derive(Clone, Debug)]
pub(super) struct Problem(Box<Told>);

#[derive(Clone, Debug)]
struct Told {
    refusal: Refusal,
    face: Face,
    /// Methods of the path, for a 405.
    allow: Option<&'static str>,
}

#[derive(Clone, Debug, Default)]
struct Face {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    /// `OpenAI`'s `error.type`.
    kind: &'static str,
    param: Option<String>,
    retry_after_s: Option<u64>,
    /// `Some(false)` where a client's own retry could pay twice.
    should_retry: Option<bool>,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let mut face = face(&refusal);
        face.detail = whole_sentence(face.detail);
        Self(Box::new(Told { refusal, face, allow: None }))
    }
}

impl Problem {
    /// A path that knows other methods.
    pub(super) fn method(path: &str, method: &str, allow: &'static str) -> Self {
        let mut problem = Self::from(Refusal::NotFound(format!("{path} takes {allow}, not {method}.")));
        problem.0.face.status = StatusCode::METHOD_NOT_ALLOWED;
        problem.0.face.title = "Method not allowed";
        problem.0.allow = Some(allow);
        problem
    }

    /// A model that `/v1` does not know, as `OpenAI` says it.
    pub(super) fn model_not_found(detail: String) -> Self {
        let mut problem = Self::from(Refusal::NotFound(detail));
        problem.0.face.title = "Model not found";
        problem.0.face.code = "model_not_found";
        problem.0.face.param = Some("model".to_owned());
        problem
    }

    /// The code, for metrics and logs.
    pub(super) fn code(&self) -> &'static str {
        self.0.face.code
    }

    /// The sentence, for logs.
    pub(super) fn detail(&self) -> &str {
        &self.0.face.detail
    }

    /// Why a caller with a key is not let in, for metrics.
    pub(super) fn shut_out(&self) -> &'static str {
        if matches!(self.0.refusal, Refusal::Forbidden(_)) { "scope" } else { "unknown" }
    }

    /// The whole answer as HTTP/1.1 text, for a connection that is closed after it.
    pub(super) fn text(&self, readers: Readers, request_id: &str) -> String {
        let answer = self.answer(readers, request_id);
        let mut text = format!("HTTP/1.1 {}\r\nconnection: close\r\n", answer.status());
        for (name, value) in answer.headers() {
            text.extend([name.as_str(), ": ", value.to_str().unwrap_or_default(), "\r\n"]);
        }
        let body = self.body(request_id);
        text.extend(["content-length: ", &body.len().to_string(), "\r\n\r\n", &body]);
        text
    }

    /// The answer.
    pub(super) fn answer(&self, readers: Readers, request_id: &str) -> Response<Payload> {
        let face = &self.0.face;
        let media = match readers {
            Readers::Native => "application/problem+json",
            Readers::Openai => "application/json",
        };
        let mut answer = Response::new(Payload::of(self.body(request_id)));
        *answer.status_mut() = face.status;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        if let Some(seconds) = face.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if face.should_retry == Some(false) {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if let Some(allow) = self.0.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if face.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tollgate\""));
        }
        if let Ok(cost) = Sums::of(self.0.refusal.attempts()).settled.to_string().parse() {
            headers.insert("tollgate-cost-usd", cost);
        }
        answer
    }

    /// The answer with its body as text, for a door that writes it itself.
    pub(super) fn whole(&self, readers: Readers, request_id: &str) -> (http::response::Parts, String) {
        (self.answer(readers, request_id).into_parts().0, self.body(request_id))
    }

    fn body(&self, request_id: &str) -> String {
        let face = &self.0.face;
        let mut json = Json::default();
        json.object(|json| {
            json.key("type").text(&format!("urn:tollgate:problem:{}", face.code));
            json.key("status").raw(face.status.as_u16());
            json.key("instance").text(&format!("urn:tollgate:request:{request_id}"));
            self.told(json);
        });
        json.finish()
    }

    /// What is wrong, as fields of a document.
    pub(super) fn told(&self, json: &mut Json) {
        let face = &self.0.face;
        json.key("title").text(face.title);
        json.key("detail").text(&face.detail);
        json.key("error").object(|json| {
            json.key("message").text(&face.detail);
            json.key("type").text(face.kind);
            json.key("code").text(face.code);
            json.key("param").text_or_null(face.param.as_deref());
        });
        if let Refusal::DeadlineExceeded { outcome, .. } = &self.0.refusal {
            json.key("outcome").text(outcome.name());
        }
        if let Refusal::NoPlan(explained) = &self.0.refusal {
            plan::candidates(json, explained);
        }
        if let Refusal::BudgetExhausted(full) = &self.0.refusal {
            json.key("budget").object(|json| budget(json, full));
        }
        if !self.0.refusal.attempts().is_empty() {
            answer::attempts(json, self.0.refusal.attempts());
        }
    }
}

const RATE: &str = "rate_limit_error";

/// A part of a second is waited for as a whole one.
fn begun_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Every refusal's status and words.
fn face(refusal: &Refusal) -> Face {
    let code = refusal.code();
    let say = |status, title, kind, detail: String| Face { status, code, title, detail, kind, ..Face::default() };
    let wait = |seconds: u64, face| Face { retry_after_s: Some(seconds.clamp(1, MAX_RETRY_AFTER_S)), ..face };
    match refusal {
        Refusal::BudgetExhausted(full) => {
            say(StatusCode::PAYMENT_REQUIRED, "Budget exhausted", "insufficient_quota", exhausted(full))
        }
        Refusal::ContentRefused { detail, .. } => {
            say(StatusCode::UNPROCESSABLE_ENTITY, "Refused by moderation", INVALID, moderated(detail))
        }
        Refusal::DeadlineExceeded { outcome, .. } => Face {
            should_retry: (*outcome == Doubt::Ambiguous).then_some(false),
            ..say(StatusCode::GATEWAY_TIMEOUT, "No answer in time", "timeout_error", too_late(*outcome).to_owned())
        },
        Refusal::Forbidden(why) => say(StatusCode::FORBIDDEN, "Not allowed", "permission_error", why.clone()),
        Refusal::IdempotencyKeyReused => {
            say(StatusCode::UNPROCESSABLE_ENTITY, "Idempotency key reused", INVALID, KEY_REUSED.to_owned())
        }
        Refusal::Internal => say(StatusCode::INTERNAL_SERVER_ERROR, "Our failure", SERVER, INTERNAL.to_owned()),
        Refusal::InvalidRequest { pointer, detail } => Face {
            param: Some(pointer.clone()),
            ..say(StatusCode::BAD_REQUEST, "Invalid request", INVALID, detail.clone())
        },
        Refusal::LedgerUnavailable => {
            wait(5, say(StatusCode::SERVICE_UNAVAILABLE, "Ledger unavailable", SERVER, LEDGER.to_owned()))
        }
        Refusal::NoPlan(explained) => {
            say(StatusCode::UNPROCESSABLE_ENTITY, "No plan fits", INVALID, no_plan(explained))
        }
        Refusal::NotFound(what) => say(StatusCode::NOT_FOUND, "Not found", INVALID, what.clone()),
        Refusal::Overloaded => {
            wait(1, say(StatusCode::SERVICE_UNAVAILABLE, "Overloaded", SERVER, OVERLOADED.to_owned()))
        }
        Refusal::ProvidersFailed(attempts) => Face {
            should_retry: (Sums::of(attempts).exposure() > Money::ZERO).then_some(false),
            ..say(StatusCode::BAD_GATEWAY, "Providers failed", SERVER, failed(attempts))
        },
        Refusal::QuotaExhausted { retry_after } => {
            let seconds = begun_seconds(*retry_after);
            wait(seconds, say(StatusCode::SERVICE_UNAVAILABLE, "Quota exhausted", RATE, quota(seconds)))
        }
        Refusal::RateLimited { retry_after } => {
            let seconds = begun_seconds(*retry_after);
            wait(seconds, say(StatusCode::TOO_MANY_REQUESTS, "Rate limited", RATE, limited(seconds)))
        }
        Refusal::SlowRequest => say(StatusCode::REQUEST_TIMEOUT, "Slow request", INVALID, SLOW.to_owned()),
        Refusal::TooLarge(most) => say(StatusCode::PAYLOAD_TOO_LARGE, "Too large", INVALID, too_large(*most)),
        Refusal::Unauthenticated(why) => {
            say(StatusCode::UNAUTHORIZED, "Not authenticated", "authentication_error", why.clone())
        }
        Refusal::UnsupportedMediaType(why) => {
            say(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type", INVALID, why.clone())
        }
    }
}

const KEY_REUSED: &str = "This Idempotency-Key came before with another body. Nothing was bought; send the first body \
    again to have its answer, or a new key for a new request.";
const INTERNAL: &str = "Something failed in the gateway; it is logged under this request's id. What was bought is in \
    the ledger.";
const LEDGER: &str =
    "The ledger cannot be written, so no money can be reserved. Nothing was bought; try again shortly.";
const OVERLOADED: &str = "Too many requests are under way here. Nothing was bought; try again in a moment.";
const SLOW: &str = "The body stopped arriving before its end. Nothing was bought; send the request again.";

fn exhausted(full: &Exhausted) -> String {
    let Exhausted { budget, left, resets } = full;
    let resets = resets.map_or_else(|| "It never begins anew".to_owned(), |at| format!("It begins anew at {at}"));
    format!(
        "The budget `{}` has ${left} of ${} left, and no plan that fits the request costs at most that. Nothing was \
         bought. {resets}.",
        budget.name, budget.cap
    )
}

fn budget(json: &mut Json, full: &Exhausted) {
    json.key("name").text(&full.budget.name);
    json.key("per").text(full.budget.period.name());
    json.key("limit_usd").usd(full.budget.cap);
    json.key("left_usd").usd(full.left);
    json.key("resets_at").text_or_null(full.resets.map(|at| at.to_string()).as_deref());
    json.key("at").text(&full.budget.place.to_string());
}

fn moderated(detail: &str) -> String {
    format!("A provider's moderation refused it: {}. Change the prompt.", sentence(detail))
}

const fn too_late(outcome: Doubt) -> &'static str {
    match outcome {
        Doubt::Ambiguous => {
            "The deadline passed while a paid call was under way, which may have been charged; its money is held as \
             ambiguous. Repeating the request may pay twice: look at `attempts` first."
        }
        Doubt::NotStarted => {
            "The deadline passed before an image was made, and nothing was bought. Allow more with `deadline_ms`."
        }
    }
}

/// The commonest reason first, and the field that would change it.
fn no_plan(explained: &Explained) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for code in explained.lines.iter().filter_map(|line| line.reason.as_ref()).map(|why| why.code) {
        match counts.iter_mut().find(|(seen, _)| *seen == code) {
            Some((_, count)) => *count += 1,
            None => counts.push((code, 1)),
        }
    }
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let listed: Vec<String> = counts.iter().map(|(code, count)| format!("{code} ({count})")).collect();
    let advice = match counts.first().map(|(code, _)| *code) {
        None => "The policy has no model for it.",
        Some("floor") => "Ask for a lower `quality`, or let `candidates` say what each model reaches.",
        Some("deadline") => "Allow more time with `deadline_ms`.",
        Some("max_cost") => "Allow more with `max_cost_usd`, or ask for fewer images.",
        Some("strict") => "Leave `strict` out, or ask for a size and fields that a model takes as they are.",
        Some("seed" | "size" | "negative_prompt" | "format" | "prompt_too_long") => {
            "Change the field that the models do not take."
        }
        Some(_) => "`candidates` has every reason, with its place in the policy.",
    };
    format!(
        "None of {} candidate plans fits: {}. Nothing was bought. {advice}",
        explained.lines.len(),
        if listed.is_empty() { "there is none".to_owned() } else { listed.join(", ") }
    )
}

fn failed(attempts: &[Attempt]) -> String {
    let sums = Sums::of(attempts);
    let money = match (sums.settled > Money::ZERO, sums.ambiguous > Money::ZERO) {
        (false, false) => "Nothing was charged.".to_owned(),
        (true, false) => format!("${} was charged.", sums.settled),
        (false, true) => format!("${} may have been charged and is held as ambiguous.", sums.ambiguous),
        (true, true) => {
            format!(
                "${} was charged, and ${} more may have been and is held as ambiguous.",
                sums.settled, sums.ambiguous
            )
        }
    };
    let Some(last) = attempts.last() else {
        return format!("No image was made: no provider could be called. {money}");
    };
    let why = if last.detail.is_empty() { String::new() } else { format!(" ({})", sentence(&last.detail)) };
    let calls = count(attempts.len(), "call");
    format!("No image was made. The last of {calls}, to {}, ended as {}{why}. {money}", last.model, last.outcome)
}

fn quota(seconds: u64) -> String {
    format!(
        "Every plan that fits waits for a provider's limit; the first has room in {}. Nothing was bought.",
        count(usize::try_from(seconds.max(1)).unwrap_or(usize::MAX), "second")
    )
}

fn limited(seconds: u64) -> String {
    let wait = count(usize::try_from(seconds.max(1)).unwrap_or(usize::MAX), "second");
    format!("The limits of this key have room again in {wait}. Nothing was bought; `RateLimit` says what is left.")
}

fn too_large(most: u64) -> String {
    format!("The body is longer than {most} bytes. Nothing was bought; a prompt has at most 10,000 characters.")
}

/// With a capital letter and a full stop; code in backticks stays as it is.
fn whole_sentence(mut text: String) -> String {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

/// A detail inside a sentence: without its own full stop.
fn sentence(detail: &str) -> &str {
    let detail = detail.trim().trim_end_matches('.');
    if detail.is_empty() { "no reason given" } else { detail }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests;
