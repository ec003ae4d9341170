//! Stability AI's REST API v2beta: multipart in, bytes or JSON out, one image a call.
//!
//! Its ways: 150 requests in 10 seconds and then a minute's lock with no header to say so; a filtered picture is a
//! 200; the creative upscaler is the only asynchronous route and hides its results from every other key.

mod form;
mod make;
mod refusal;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::super::limit::Window;
use super::super::picture::Format;
use super::super::truth::Model;
use super::super::visit::Visit;
use super::super::wire::{Answer, Form};
use super::{Provider, Reply, Screening, accepted, screen};
use form::{STYLES, between, format, one_of, posted_image, prompt, seed, sized, to_pixels};
use make::{Made, cost, generate, picture, route_model, upscale, wanted};
use refusal::{BROKE, FLAGGED, LOCKED, bad, proxy_page, refusal, undecodable};

const LARGEST_BODY: usize = 10 * 1024 * 1024;
const SEEDS: u64 = 4_294_967_295;
const RESULTS_LIVE: Duration = Duration::from_hours(24);

/// The host.
pub(super) struct Stability {
    limit: Window,
    results: Mutex<HashMap<String, Upscaled>>,
}

/// A creative upscale that was accepted.
#[derive(Clone)]
struct Upscaled {
    key: String,
    ready: Instant,
    image: Bytes,
    width: u32,
    height: u32,
    format: Format,
    seed: u64,
    filtered: bool,
    model: &'static Model,
}

impl Stability {
    pub(super) fn new() -> Self {
        Self { limit: Window::new(150, Duration::from_secs(10), Duration::from_mins(1)), results: Mutex::default() }
    }

    async fn route(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let path = visit.call.path.clone();
        let key = authenticate(visit)?;
        self.limit.admit(&key, 1, visit.arrived()).map_err(|_| refusal(429, "rate_limit_exceeded", LOCKED))?;
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let answer = match (visit.call.method.as_str(), segments.as_slice()) {
            ("POST", ["v2beta", "stable-image", "generate", kind @ ("sd3" | "core" | "ultra")]) => {
                generate(visit, &key, kind).await
            }
            ("POST", ["v2beta", "stable-image", "upscale", kind @ ("fast" | "conservative")]) => {
                upscale(visit, &key, kind).await
            }
            ("POST", ["v2beta", "stable-image", "upscale", "creative"]) => self.submit(visit, key).await,
            ("GET", ["v2beta", "results", id] | ["v2beta", "stable-image", "upscale", "creative", "result", id]) => {
                self.result(visit, &key, id).await
            }
            ("GET", ["v1", "user", "balance"]) => {
                let credits = if key == "sk-broke" { 0.0 } else { 1_000.0 };
                Ok(Answer::json(200, &json!({ "credits": credits })))
            }
            _ => Err(refusal(404, "not_found", &format!("{}: no such route", visit.call.path))),
        };
        answer.map(|answer| answer.with("x-request-id", visit.world.draw_id()))
    }

    async fn submit(&self, visit: &mut Visit<'_>, key: String) -> Result<Answer, Answer> {
        let model = route_model("creative")?;
        let form = paid_form(visit, &key).await?;
        visit.is_about(Some(model.id)).await?;
        let image = posted_image(&form)?;
        let prompt = prompt(&form)?;
        between(&form, "creativity", 0.1, 0.5)?;
        let format = format(&form)?;
        one_of(&form, "style_preset", &STYLES)?;
        let (width, height) = sized(&image, 64, 4_096, 1_048_576)?;
        let seed = seed(visit, &form)?;
        let id = visit.world.draw_id();
        let (width, height) = to_pixels(width, height, 8_294_400);
        let ready = Instant::now() + visit.world.draw_latency(model);
        let filtered = screen(&prompt) == Screening::Filtered;
        let job = Upscaled { key, ready, image, width, height, format, seed, filtered, model };
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.retain(|_, job| job.ready + RESULTS_LIVE > Instant::now());
        results.insert(id.clone(), job);
        drop(results);
        visit.charge(cost(model));
        Ok(Answer::json(200, &json!({ "id": id })))
    }

    async fn result(&self, visit: &mut Visit<'_>, key: &str, id: &str) -> Result<Answer, Answer> {
        let wanted = wanted(visit)?;
        let job = self.results.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let live = job.filter(|job| job.key == key && job.ready + RESULTS_LIVE > Instant::now());
        visit.is_about(live.as_ref().map(|job| job.model.id)).await?;
        let Some(job) = live else {
            let gone = "id: the generation either does not exist or has expired.";
            return Err(Answer::json(404, &json!({ "id": id, "name": "generation_not_found", "errors": [gone] })));
        };
        if job.ready > Instant::now() {
            return Ok(Answer::json(202, &json!({ "id": id, "status": "in-progress" })));
        }
        let bytes = visit.world.studio.resize(&job.image, job.width, job.height, job.format).await;
        let bytes = bytes.ok_or_else(undecodable)?;
        Ok(picture(Made { bytes, format: job.format, seed: job.seed, filtered: job.filtered }, wanted))
    }
}

impl Provider for Stability {
    fn prefix(&self) -> &'static str {
        "stability"
    }

    fn key(&self) -> &'static str {
        "sk-sandbox-stability"
    }

    fn answer<'a>(&'a self, visit: &'a mut Visit<'_>) -> Reply<'a> {
        Box::pin(self.route(visit))
    }

    fn error(&self, status: u16) -> Answer {
        match status {
            400 => refusal(400, "bad_request", "prompt: is required"),
            401 => refusal(401, "unauthorized", "authorization: invalid or missing header value"),
            402 => refusal(402, "payment_required", BROKE),
            403 => refusal(403, "content_moderation", FLAGGED),
            404 => refusal(404, "not_found", "the requested resource was not found"),
            413 => refusal(413, "payload_too_large", "body: payloads cannot be larger than 10MiB in size"),
            422 => refusal(422, "invalid_language", "English is the only supported language for this service."),
            429 => refusal(429, "rate_limit_exceeded", LOCKED),
            502..=504 => Answer::new(status, "text/html", proxy_page(status)),
            _ => refusal(status, "internal_error", "An unexpected server error has occurred, please try again later."),
        }
    }

    fn forget(&self) {
        self.limit.forget();
    }
}

fn authenticate(visit: &mut Visit<'_>) -> Result<String, Answer> {
    let key = visit.call.bearer().unwrap_or_default().to_owned();
    visit.presents(&key);
    if accepted(&key, "sk-") {
        Ok(key)
    } else {
        Err(refusal(401, "unauthorized", "authorization: invalid or missing header value"))
    }
}

/// The form of a call that costs money: checked for size, shape and funds.
async fn paid_form(visit: &Visit<'_>, key: &str) -> Result<Form, Answer> {
    if visit.call.body.len() > LARGEST_BODY {
        return Err(refusal(413, "payload_too_large", "body: payloads cannot be larger than 10MiB in size"));
    }
    match visit.call.media_type().as_deref() {
        None => return Err(bad("content-type: required")),
        Some("multipart/form-data") => {}
        Some(_) => return Err(bad("content-type: must be multipart/form-data")),
    }
    let form = visit.call.form().await.ok_or_else(|| bad("body: malformed multipart/form-data"))?;
    if key == "sk-broke" {
        return Err(refusal(402, "payment_required", BROKE));
    }
    Ok(form)
}
