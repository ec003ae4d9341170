//! Which path does what: one match for the API, one for the admin plane.
//!
//! Why it exists: a reader sees every route on one page; a framework's router would cost more than it saves for so few.
//! What it refuses to know: how a route answers. To add a route: a variant, its line in the match, its arm in
//! [`Routes::answer`], its line in [`GUIDE`].

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, Uri};

use super::door::{Arrival, Ended};
use super::intake::Intake;
use super::payload::Payload;
use super::problem::Problem;
use super::{Bounds, admin, generate, images, jobs, studio};
use crate::domain::refusal::Refusal;
use crate::engine::Engine;
use crate::state::limits::Left;
use crate::telemetry::Telemetry;

/// Which listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// For operators: metrics, health, policy.
    Admin,
    /// For callers.
    Api,
}

/// What `GET /` answers.
const GUIDE: &str = "\
Tollgate: a cost-aware gateway for image generation.

POST /generate                  {\"prompt\":\"a red fox\"} to an image, its price and why
POST /plan                      the same body; every candidate plan, spending nothing
POST /generations/{id}/feedback {\"accepted\":true}: what a person says of it
POST /generations/{id}/upscale  {\"width\":2048,\"height\":2048}: an approved draft, finished large
GET  /images/{sha256}.{ext}     a picture by its content
GET  /jobs/{id}?wait=30         work that was asked for with `Prefer: respond-async`; DELETE calls it off
GET  /jobs/{id}/events          its states as they come
POST /v1/images/generations     OpenAI's shape; set base_url to this address plus /v1
GET  /v1/models                 what can be bought
GET  /studio                    for people: judge pictures, see what they cost and why

On the admin address: GET /metrics /healthz /readyz /policy /providers, POST /-/reload
";

/// A route, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Feedback(String),
    Generate,
    Guide,
    Health,
    Image(String),
    Job(String, Option<String>),
    JobCancel(String),
    JobEvents(String),
    Metrics,
    OpenaiGenerate,
    OpenaiModel(String),
    OpenaiModels,
    Plan,
    Policy,
    Providers,
    Ready,
    Reload,
    Studio(studio::Room),
    Upscale(String),
}

impl Route {
    /// Its name in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Feedback(_) => "feedback",
            Self::Generate => "generate",
            Self::Guide => "guide",
            Self::Health => "healthz",
            Self::Image(_) => "images",
            Self::Job(..) => "job",
            Self::JobCancel(_) => "job_cancel",
            Self::JobEvents(_) => "job_events",
            Self::Metrics => "metrics",
            Self::OpenaiGenerate => "openai_generate",
            Self::OpenaiModel(_) | Self::OpenaiModels => "openai_models",
            Self::Plan => "plan",
            Self::Policy => "policy",
            Self::Providers => "providers",
            Self::Ready => "readyz",
            Self::Reload => "reload",
            Self::Studio(_) => "studio",
            Self::Upscale(_) => "upscale",
        }
    }
}

const GET: &str = "GET, HEAD";
const POST: &str = "POST";
const JOB: &str = "GET, HEAD, DELETE";

fn api(path: &[&str]) -> Option<(Route, &'static str)> {
    Some(match path {
        [] => (Route::Guide, GET),
        ["generate"] => (Route::Generate, POST),
        ["plan"] => (Route::Plan, POST),
        ["generations", id, "feedback"] => (Route::Feedback((*id).to_owned()), POST),
        ["generations", id, "upscale"] => (Route::Upscale((*id).to_owned()), POST),
        ["images", file] => (Route::Image((*file).to_owned()), GET),
        ["studio", place @ ..] => (Route::Studio(studio::find(place)?), GET),
        ["jobs", id] => (Route::Job((*id).to_owned(), None), JOB),
        ["jobs", id, "events"] => (Route::JobEvents((*id).to_owned()), "GET"),
        ["v1", "images", "generations"] => (Route::OpenaiGenerate, POST),
        ["v1", "models"] => (Route::OpenaiModels, GET),
        // An id has a slash, which some clients escape.
        ["v1", "models", id @ ..] => (Route::OpenaiModel(id.join("/").replace("%2F", "/").replace("%2f", "/")), GET),
        _ => return None,
    })
}

fn admin(path: &[&str]) -> Option<(Route, &'static str)> {
    Some(match path {
        [] => (Route::Guide, GET),
        ["metrics"] => (Route::Metrics, GET),
        ["healthz"] => (Route::Health, GET),
        ["readyz"] => (Route::Ready, GET),
        ["policy"] => (Route::Policy, GET),
        ["providers"] => (Route::Providers, GET),
        ["-", "reload"] => (Route::Reload, POST),
        _ => return None,
    })
}

/// The route of a path, or the answer that says which there are.
fn find(plane: Plane, method: &Method, path: &str) -> Result<Route, Problem> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let segments: Vec<&str> = if inner.is_empty() { Vec::new() } else { inner.split('/').collect() };
    let (here, there) = match plane {
        Plane::Api => (api(&segments), admin(&segments)),
        Plane::Admin => (admin(&segments), api(&segments)),
    };
    let Some((route, allow)) = here else {
        return Err(Refusal::NotFound(lost(plane, &printable(path), there.is_some())).into());
    };
    if allow.split(", ").any(|allowed| method == allowed) {
        Ok(match route {
            Route::Job(id, _) if method == Method::DELETE => Route::JobCancel(id),
            route => route,
        })
    } else {
        Err(Problem::method(&printable(path), &printable(method.as_str()), allow))
    }
}

fn lost(plane: Plane, path: &str, elsewhere: bool) -> String {
    const API: [&str; 9] = [
        "/generate",
        "/plan",
        "/generations/{id}/feedback",
        "/generations/{id}/upscale",
        "/images/{sha256}.{ext}",
        "/jobs/{id}",
        "/v1/images/generations",
        "/v1/models",
        "/studio",
    ];
    const ADMIN: [&str; 6] = ["/metrics", "/healthz", "/readyz", "/policy", "/providers", "/-/reload"];
    if elsewhere {
        let other = if plane == Plane::Api { "admin" } else { "API" };
        return format!("{path} is a route of the {other} address, not of this one.");
    }
    let routes: &[&str] = if plane == Plane::Api { &API } else { &ADMIN };
    let near = routes.iter().map(|route| (strsim::jaro_winkler(route, path), route));
    match near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(alike, _)| *alike > 0.85) {
        Some((_, route)) => format!("There is no {path} here. Did you mean {route}?"),
        None => format!("There is no {path} here; the routes are {}.", routes.join(", ")),
    }
}

/// A caller's text, fit for a sentence.
fn printable(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}

/// The routes of one plane.
pub(super) struct Routes {
    plane: Plane,
    engine: Arc<Engine>,
    bounds: Bounds,
}

impl Routes {
    pub(super) fn new(plane: Plane, engine: Arc<Engine>, bounds: Bounds) -> Self {
        Self { plane, engine, bounds }
    }

    pub(super) fn telemetry(&self) -> &Arc<Telemetry> {
        self.engine.telemetry()
    }

    pub(super) fn find(&self, method: &Method, uri: &Uri) -> Result<Route, Problem> {
        let query = || uri.query().map(str::to_owned);
        find(self.plane, method, uri.path()).map(|route| match route {
            Route::Job(id, _) => Route::Job(id, query()),
            route => route,
        })
    }

    /// What is left of a caller's limits; `None` on the admin plane.
    pub(super) fn allowance(&self, key: Option<&str>) -> Option<Vec<Left>> {
        (self.plane == Plane::Api).then(|| self.engine.allowance(key))
    }

    /// The digest of the policy in force, as a header.
    pub(super) fn policy_digest(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.engine.snapshot().digest).ok()
    }

    /// The answer of a route.
    pub(super) async fn answer(
        &self,
        route: Route,
        arrival: &Arrival,
        headers: &HeaderMap,
        intake: &mut Intake,
    ) -> Result<Response<Payload>, Problem> {
        let (engine, bounds) = (&self.engine, &self.bounds);
        let call = generate::Call { engine, bounds, arrival, headers };
        match route {
            Route::Feedback(id) => call.feedback(&id, intake).await,
            Route::Generate => call.native(intake).await,
            Route::Guide => Ok(text("text/plain; charset=utf-8", GUIDE)),
            Route::Health => Ok(admin::health(engine)),
            Route::Image(file) => images::serve(engine, &file, headers).await,
            Route::Job(id, query) => jobs::show(engine, &id, query.as_deref(), headers).await,
            Route::JobCancel(id) => jobs::cancel(engine, &id, headers).await,
            Route::JobEvents(id) => jobs::events(engine, &id, headers).await,
            Route::Metrics => Ok(admin::metrics(engine).await),
            Route::OpenaiGenerate => call.openai(intake).await,
            Route::OpenaiModel(id) => call.model(&id),
            Route::OpenaiModels => call.models(),
            Route::Plan => call.plan(intake).await,
            Route::Policy => Ok(admin::policy(engine)),
            Route::Providers => Ok(admin::providers(engine).await),
            Route::Ready => Ok(admin::ready(engine)),
            Route::Reload => Ok(admin::reload(engine).await),
            Route::Studio(room) => studio::answer(engine, room, arrival, headers).await,
            Route::Upscale(id) => call.upscale(&id, intake).await,
        }
    }
}

/// A successful answer of that media type.
pub(super) fn text(media: &'static str, body: impl Into<bytes::Bytes>) -> Response<Payload> {
    answer(media, Payload::of(body))
}

/// A successful JSON answer.
pub(super) fn json(body: Payload) -> Response<Payload> {
    answer("application/json", body)
}

/// A successful answer of that media type.
pub(super) fn answer(media: &'static str, body: Payload) -> Response<Payload> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    answer.extensions_mut().insert(Ended("ok"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::problem::Readers;

    fn found(plane: Plane, method: &Method, path: &str) -> Result<Route, (u16, String)> {
        find(plane, method, path).map_err(|problem| {
            let answer = problem.answer(Readers::Native, "r1");
            (answer.status().as_u16(), crate::server::wire::answer::tests::read(answer.into_body()))
        })
    }

    #[test]
    fn every_route_is_found() {
        let api = |method, path| found(Plane::Api, &method, path);
        assert_eq!(api(Method::POST, "/generate"), Ok(Route::Generate));
        assert_eq!(api(Method::POST, "/generate/"), Ok(Route::Generate));
        assert_eq!(api(Method::HEAD, "/images/ab.png"), Ok(Route::Image("ab.png".to_owned())));
        assert_eq!(api(Method::GET, "/"), Ok(Route::Guide));
        assert_eq!(api(Method::POST, "/generations/gen_1/upscale"), Ok(Route::Upscale("gen_1".to_owned())));
        let model = Route::OpenaiModel("stability/core".to_owned());
        assert_eq!(api(Method::GET, "/v1/models/stability/core"), Ok(model.clone()));
        assert_eq!(api(Method::GET, "/v1/models/stability%2Fcore"), Ok(model));
        assert_eq!(found(Plane::Admin, &Method::POST, "/-/reload"), Ok(Route::Reload));
    }

    #[test]
    fn a_lost_caller_is_told_the_way() {
        let lost = |plane, method, path: &str| found(plane, &method, path).unwrap_err();
        let (status, body) = lost(Plane::Api, Method::POST, "/generat");
        assert!(status == 404 && body.contains("Did you mean /generate?"), "{body}");
        let (status, body) = lost(Plane::Api, Method::GET, "/metrics");
        assert!(status == 404 && body.contains("/metrics is a route of the admin address"), "{body}");
        let (status, body) = lost(Plane::Api, Method::GET, "/generate");
        assert!(status == 405 && body.contains("/generate takes POST, not GET."), "{body}");
        assert_eq!(lost(Plane::Api, Method::GET, "//generate").0, 404);
        assert_eq!(lost(Plane::Api, Method::GET, "/wp-admin/../../etc").0, 404);
        assert_eq!(lost(Plane::Api, Method::OPTIONS, "*").0, 404);
    }

    #[test]
    fn the_guide_names_every_route() {
        for route in ["/generate", "/plan", "/images/", "/v1/images/generations", "/v1/models", "/metrics", "/-/reload"]
        {
            assert!(GUIDE.contains(route), "{route}");
        }
    }
}
