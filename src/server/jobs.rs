//! The routes of jobs: what became of one, its events, its end.
//!
//! Why it exists: a caller that does not wait asks later, or listens. What it refuses to know: how jobs are done.
//!
//! A job's document is the answer of `/generate` with the job's own `id` and `status`; pictures stand in it once it has
//! succeeded. Events are its states, numbered, so that a listener that lost its connection goes on where it was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::header::{self, HeaderMap, HeaderValue};

use super::door::Ended;
use super::payload::Payload;
use super::problem::{ACCEPTED, Problem};
use super::routes::{answer, json};
use super::wire::json::Json;
use super::wire::{answer as native, headers};
use crate::domain::refusal::Refusal;
use crate::domain::request::ResponseFormat;
use crate::engine::{Engine, JobReport};
use crate::state::jobs::{Job, JobState};

/// The longest wait of one question.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How often a silent stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// `GET /jobs/{id}?wait=30`.
pub(super) async fn show(
    engine: &Arc<Engine>,
    id: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response<Payload>, Problem> {
    let report = engine.job(headers::bearer(headers).as_deref(), id, wait(query)?).await?;
    Ok(document(&report))
}

/// `DELETE /jobs/{id}`.
pub(super) async fn cancel(engine: &Arc<Engine>, id: &str, headers: &HeaderMap) -> Result<Response<Payload>, Problem> {
    let report = engine.cancel(headers::bearer(headers).as_deref(), id).await?;
    Ok(document(&report))
}

/// `GET /jobs/{id}/events`.
pub(super) async fn events(engine: &Arc<Engine>, id: &str, headers: &HeaderMap) -> Result<Response<Payload>, Problem> {
    let tenant = engine.authenticate(headers::bearer(headers).as_deref())?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    // A job that is not there is told as such, and not as an empty stream.
    let first = engine.job_after(&tenant, id, JobState::Cancelled, Duration::ZERO).await?;
    let listener =
        Listener { engine: Arc::clone(engine), tenant, id: id.to_owned(), seen, known: None, next: Some(first) };
    let pieces = stream::unfold(listener, |mut listener| async move {
        let piece = listener.next_piece().await?;
        Some((Ok(piece), listener))
    });
    let mut answer = answer("text/event-stream", Payload::live(pieces));
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}

/// The answer to a request that will be done later.
pub(super) fn accepted(job: &Job, applied: Option<HeaderValue>) -> Response<Payload> {
    let mut document = Json::default();
    document.object(|json| {
        json.key("id").text(&job.id);
        json.key("status").text(job.state.name());
        json.key("created").raw(job.created.as_second());
        json.key("url").text(&format!("/jobs/{}", job.id));
    });
    let mut answer = json(Payload::of(document.finish()));
    *answer.status_mut() = ACCEPTED;
    if let Ok(place) = HeaderValue::from_str(&format!("/jobs/{}", job.id)) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    if let Some(applied) = applied {
        answer.headers_mut().insert("preference-applied", applied);
    }
    answer.extensions_mut().insert(Ended("accepted"));
    answer
}

/// A job as it stands.
fn document(report: &JobReport) -> Response<Payload> {
    let JobReport { job, landed, links } = report;
    let (mut text, mut payload) = (Json::default(), Payload::default());
    text.open('{');
    text.key("id").text(&job.id);
    text.key("status").text(job.state.name());
    text.key("created").raw(job.created.as_second());
    match landed {
        Some(Ok(served)) => {
            text.key("generation").text(&served.id);
            let carry = if *links { ResponseFormat::Url } else { ResponseFormat::B64Json };
            native::images(&mut text, &mut payload, served, carry);
            native::about(&mut text, served);
        }
        Some(Err(refusal)) => Problem::from(refusal.clone()).told(&mut text),
        None => {}
    }
    text.close('}');
    payload.push(text.finish());
    let mut answer = json(payload);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn wait(query: Option<&str>) -> Result<Duration, Refusal> {
    let Some(wait) = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("wait="))
    else {
        return Ok(Duration::ZERO);
    };
    let seconds = wait.parse::<f64>().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    let seconds = seconds.ok_or_else(|| Refusal::InvalidRequest {
        pointer: "query:wait".to_owned(),
        detail: "`wait` is a number of seconds, such as 30".to_owned(),
    })?;
    Ok(Duration::from_secs_f64(seconds).min(LONGEST_WAIT))
}

/// Somebody who hears what becomes of a job.
struct Listener {
    engine: Arc<Engine>,
    tenant: Arc<str>,
    id: String,
    /// The number of the last event that they have.
    seen: u32,
    known: Option<JobState>,
    next: Option<Job>,
}

impl Listener {
    /// The next event or heartbeat; `None` after the last event.
    async fn next_piece(&mut self) -> Option<Bytes> {
        loop {
            let job = match (self.next.take(), self.known) {
                (Some(first), _) => first,
                (None, Some(known)) if !known.has_ended() => {
                    let heard = self.engine.job_after(&self.tenant, &self.id, known, HEARTBEAT).await.ok()?;
                    if heard.state == known {
                        return Some(Bytes::from_static(b": still here\n\n"));
                    }
                    heard
                }
                (None, _) => return None,
            };
            self.known = Some(job.state);
            let number = number(&job);
            if number > self.seen {
                self.seen = number;
                return Some(event(&job, number));
            }
        }
    }
}

/// Grows with every change of state: a job that is taken up again is news.
fn number(job: &Job) -> u32 {
    let runs = u32::try_from(job.runs).unwrap_or(0).saturating_mul(3);
    match job.state {
        JobState::Queued => runs.saturating_add(1),
        JobState::Running => runs.saturating_sub(1),
        JobState::Cancelled | JobState::Failed | JobState::Succeeded => runs.saturating_add(3),
    }
}

fn event(job: &Job, number: u32) -> Bytes {
    let mut data = Json::default();
    data.object(|json| {
        json.key("id").text(&job.id);
        json.key("status").text(job.state.name());
        json.key("url").text(&format!("/jobs/{}", job.id));
    });
    format!("id: {number}\nevent: {}\ndata: {}\n\n", job.state.name(), data.finish()).into()
}
