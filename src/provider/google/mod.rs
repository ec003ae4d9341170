//! Google: the Gemini API and Vertex, which differ in path and credential.
//!
//! Why it exists: two ways to ask for a picture (`content`: the native image models; `predict`: Imagen, retired by Google
//! but alive in places and in fixtures) and one shape of errors, which stands here. What it refuses to know: prices,
//! sizes, access tokens. To add a way to ask: a file beside these and its name in [`Api`].
//!
//! Options of a provider: `vertex_project` (then Vertex is asked, else the Gemini API), `vertex_location` (`global` when
//! absent; the `base_url` is that location's host). Of a model: `api` (`generate-content`, the default, or `predict`),
//! `thinking`, `person_generation`, `safety_setting`.

mod content;
mod predict;

use std::time::Duration;

use serde_json::{Value, json};

use super::common::{Failure, MAX_WAIT, clean, duration, is_segment, provider_option, retry_after};
use super::{Adapter, Auth, Body, Call, Method, Progress, Reply, Stage, Step, Target, Unsupported};
use crate::domain::catalog::{Dialect, Model, Provider};
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::domain::image::Format;

/// The dialect.
pub(super) struct Google;

impl Adapter for Google {
    fn dialect(&self) -> Dialect {
        Dialect::Google
    }

    fn auth(&self, provider: &Provider) -> Auth {
        Host::of(provider).map_or(Auth::Bearer, Host::auth)
    }

    fn encode(&self, step: &Step<'_>, model: &Model, provider: &Provider) -> Result<Call, Unsupported> {
        let api = Api::of(model)?;
        let host = Host::of(provider)?;
        let body = match api {
            Api::Content => content::body(step, model, host)?,
            Api::Predict => predict::body(step, model, host)?,
        };
        Ok(Call {
            stage: Stage::Submit,
            method: Method::Post,
            target: Target::Path(host.path(model, api)?),
            headers: Vec::new(),
            auth: host.auth(),
            body: Body::json(&body),
        })
    }

    fn decode(&self, step: &Step<'_>, model: &Model, call: &Call, reply: &Reply) -> Result<Progress, Fault> {
        if reply.status != 200 {
            return Err(refusal(&Failure::of(call, reply), reply));
        }
        match Api::of(model) {
            Ok(Api::Predict) => predict::pictures(step, reply),
            _ => content::pictures(step, model, reply),
        }
    }
}

/// The way to ask.
#[derive(Clone, Copy)]
enum Api {
    Content,
    Predict,
}

impl Api {
    fn of(model: &Model) -> Result<Self, Unsupported> {
        match model.option("api") {
            None | Some("generate-content") => Ok(Self::Content),
            Some("predict") => Ok(Self::Predict),
            Some(other) => Err(Unsupported(format!("{} has the unknown api {other:?}", model.id))),
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Content => "generateContent",
            Self::Predict => "predict",
        }
    }
}

/// Who is asked.
#[derive(Clone, Copy)]
enum Host<'a> {
    Gemini,
    Vertex { project: &'a str, location: &'a str },
}

impl<'a> Host<'a> {
    fn of(provider: &'a Provider) -> Result<Self, Unsupported> {
        let Some(project) = provider_option(provider, "vertex_project") else {
            return Ok(Self::Gemini);
        };
        let location = provider_option(provider, "vertex_location").unwrap_or("global");
        match [project, location].into_iter().find(|part| !is_segment(part)) {
            Some(part) => Err(Unsupported(format!("{part:?} cannot stand in a Vertex path"))),
            None => Ok(Self::Vertex { project, location }),
        }
    }

    const fn is_vertex(self) -> bool {
        matches!(self, Self::Vertex { .. })
    }

    fn path(self, model: &Model, api: Api) -> Result<String, Unsupported> {
        let (name, method) = (&*model.remote, api.method());
        if !is_segment(name) {
            return Err(Unsupported(format!("{name:?} cannot stand in a path")));
        }
        Ok(match self {
            Self::Gemini => format!("/v1beta/models/{name}:{method}"),
            Self::Vertex { project, location } => {
                format!("/v1/projects/{project}/locations/{location}/publishers/google/models/{name}:{method}")
            }
        })
    }

    const fn auth(self) -> Auth {
        match self {
            Self::Gemini => Auth::Header("x-goog-api-key"),
            Self::Vertex { .. } => Auth::Bearer,
        }
    }
}

/// A word that Google knows, or why not.
fn known<'a>(model: &Model, what: &str, word: &'a str, words: &[&str]) -> Result<&'a str, Unsupported> {
    if words.contains(&word) {
        return Ok(word);
    }
    Err(Unsupported(format!("{} has no {what} {word:?}", model.id)))
}

/// How a picture shall come: both APIs write PNG and JPEG only.
fn output(step: &Step<'_>, model: &Model) -> Result<Value, Unsupported> {
    match step.format {
        Format::Png | Format::Jpeg => Ok(json!({"mimeType": step.format.media_type()})),
        Format::Webp => Err(Unsupported(format!("{} sends no webp", model.id))),
    }
}

/// An error envelope. Google's billing pages state that a request which fails with such an error is not charged; a
/// deadline that passed on the way is left in doubt.
fn refusal(failure: &Failure<'_>, reply: &Reply) -> Fault {
    use Billed::No;
    use Blame::{Caller, Ourselves, Provider};
    let status = failure.text("/error/status").unwrap_or_default();
    let fault = match (reply.status, status) {
        (400 | 401 | 403, _) if bad_key(failure) => failure.fault(Class::Unauthorize, Ourselves, No),
        (400 | 403 | 429, _) if unpaid(failure) => failure.fault(Class::OutOfCredit, Ourselves, No),
        (400, _) if failure.says(&["usage guidelines", "responsible ai", "sensitive words"]) => {
            failure.fault(Class::Moderate, Caller, No)
        }
        // The region, the project's state: nothing that the caller could ask otherwise.
        (400, "FAILED_PRECONDITION") => failure.fault(Class::Reject, Ourselves, No),
        (404, _) => {
            let detail = clean(&format!("The model may be retired: {}", failure.detail()));
            Fault::new(Class::Reject, Ourselves, No, detail)
        }
        (500 | 503, _) if !status.is_empty() => failure.fault(Class::Unavailable, Provider, No),
        _ => failure.by_status(),
    };
    match wait(failure).or_else(|| retry_after(reply)) {
        Some(wait) if matches!(fault.class, Class::Throttle | Class::Unavailable) => fault.after(wait),
        _ => fault,
    }
}

fn bad_key(failure: &Failure<'_>) -> bool {
    details(failure).any(|detail| matches!(text(detail, "reason"), "API_KEY_INVALID" | "API_KEY_EXPIRED"))
        || failure.says(&["api key not valid", "api key expired"])
}

/// Out of money for certain. The common text "check your plan and billing details" is no sign: it comes with every quota.
fn unpaid(failure: &Failure<'_>) -> bool {
    const SIGNS: [&str; 6] = [
        "billing to be enabled",
        "enable billing",
        "billing account",
        "billing is disabled",
        "credits are depleted",
        "credit balance",
    ];
    details(failure).any(|detail| text(detail, "reason") == "BILLING_DISABLED") || failure.says(&SIGNS)
}

/// `RetryInfo`; a day's quota does not come back within the seconds that it names.
fn wait(failure: &Failure<'_>) -> Option<Duration> {
    let daily = details(failure)
        .filter_map(|detail| detail.get("violations")?.as_array())
        .flatten()
        .any(|violation| text(violation, "quotaId").contains("PerDay"));
    let told = details(failure).find_map(|detail| duration(text(detail, "retryDelay")));
    if daily { Some(MAX_WAIT) } else { told }
}

fn details<'f>(failure: &'f Failure<'_>) -> impl Iterator<Item = &'f Value> {
    failure.body.pointer("/error/details").and_then(Value::as_array).into_iter().flatten()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
