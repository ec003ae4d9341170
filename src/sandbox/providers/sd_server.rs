//! `stable-diffusion.cpp`'s `sd-server`: `OpenAI`'s route with errors that are strings, `/sdapi` with an empty `info`,
//! and its own asynchronous jobs that expire.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::picture::{Format, Order};
use super::super::truth::{Model, on_the_wire};
use super::super::visit::Visit;
use super::super::wire::{Answer, PICTURE, set};
use super::automatic1111::{Bench, samplers, schedulers, sd_models, seed, upscalers};
use super::{Provider, Reply};

const QUEUE: usize = 64;
const JOBS_LIVE: Duration = Duration::from_mins(10);

/// The server, which has one model loaded.
#[derive(Default)]
pub(super) struct SdServer {
    bench: Bench,
    jobs: Mutex<BTreeMap<String, Job>>,
}

/// A native job. The machine works them off in order, so that all of a job's times are known when it is accepted.
#[derive(Clone)]
struct Job {
    orders: Vec<Order>,
    created: u64,
    starts: Instant,
    ends: Instant,
    cancelled: bool,
}

impl SdServer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    async fn route(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let path = visit.call.path.clone();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (visit.call.method.as_str(), segments.as_slice()) {
            ("POST", ["v1", "images", "generations"]) => self.openai(visit).await,
            ("GET", ["v1", "models"]) => {
                let model = json!({ "id": "sd-cpp-local", "object": "model", "owned_by": "local" });
                Ok(Answer::json(200, &json!({ "data": [model] })))
            }
            ("POST", ["sdapi", "v1", "txt2img" | "img2img"]) => self.sdapi(visit).await,
            ("GET", ["sdapi", "v1", "samplers"]) => Ok(Answer::json(200, &samplers())),
            ("GET", ["sdapi", "v1", "schedulers"]) => Ok(Answer::json(200, &schedulers())),
            ("GET", ["sdapi", "v1", "upscalers"]) => Ok(Answer::json(200, &upscalers())),
            ("GET", ["sdapi", "v1", "sd-models"]) => Ok(Answer::json(200, &sd_models())),
            ("GET", ["sdapi", "v1", "options"]) => {
                Ok(Answer::json(200, &json!({ "samples_format": "png", "sd_model_checkpoint": "sd3.5_medium" })))
            }
            ("POST", ["sdcpp", "v1", "img_gen"]) => self.submit(visit).await,
            ("GET", ["sdcpp", "v1", "jobs", id]) => self.job(visit, id).await,
            ("POST", ["sdcpp", "v1", "jobs", id, "cancel"]) => self.cancel(id),
            ("GET", ["sdcpp", "v1", "capabilities"]) => Ok(Answer::json(200, &capabilities())),
            _ => Err(Answer::empty(404)),
        }
    }

    async fn openai(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let body = body(visit)?;
        let format = body.get("output_format").and_then(Value::as_str).unwrap_or("png");
        let format =
            Format::named(format).ok_or_else(|| bad("invalid output_format, must be one of [png, jpeg, webp]"))?;
        let size = body.get("size").and_then(Value::as_str).unwrap_or("512x512");
        let sides = size.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
        let (width, height) = sides.ok_or_else(|| bad("size must be WIDTHxHEIGHT"))?;
        let (prompt, extra) = extra_args(body.get("prompt").and_then(Value::as_str).unwrap_or_default());
        let images = body.get("n").and_then(Value::as_u64).unwrap_or(1);
        let orders = orders(visit, (prompt, seed(&extra)), (width, height), images, format)?;
        let pictures = self.paint(visit, &orders).await?;
        let data: Vec<Value> = pictures.iter().map(|_| json!({ "b64_json": PICTURE })).collect();
        let answer = json!({ "created": visit.world.clock.unix(), "output_format": format.name(), "data": data });
        Ok(Answer::json_with_pictures(200, &answer, &pictures))
    }

    async fn sdapi(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let body = body(visit)?;
        let orders = plain_orders(visit, &body, "batch_size")?;
        let pictures = self.paint(visit, &orders).await?;
        let images: Vec<&str> = pictures.iter().map(|_| PICTURE).collect();
        // No seed comes back from this one: `info` is there and empty.
        let answer = json!({ "images": images, "parameters": body, "info": "" });
        Ok(Answer::json_with_pictures(200, &answer, &pictures))
    }

    async fn paint(&self, visit: &mut Visit<'_>, orders: &[Order]) -> Result<Vec<bytes::Bytes>, Answer> {
        let model = model()?;
        visit.is_about(Some(model.id)).await?;
        let takes = visit.world.draw_latency(model) * u32::try_from(orders.len()).unwrap_or(1);
        let _turn = self.bench.turn(takes, 20).await;
        Ok(visit.world.studio.paint_all(orders).await)
    }

    async fn submit(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let body = body(visit)?;
        let orders = plain_orders(visit, &body, "batch_count")?;
        let model = model()?;
        visit.is_about(Some(model.id)).await?;
        let takes = visit.world.draw_latency(model) * u32::try_from(orders.len()).unwrap_or(1);
        let (now, created) = (Instant::now(), visit.world.clock.unix());
        let id = format!("job_{}", visit.world.draw_id().get(..16).unwrap_or_default());
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = jobs.values().filter(|job| job.ends > now && !job.cancelled);
        if waiting.clone().count() >= QUEUE {
            return Err(Answer::json(429, &json!({ "error": "job queue is full" })));
        }
        let starts = waiting.map(|job| job.ends).max().unwrap_or(now);
        let job = Job { orders, created, starts, ends: starts + takes, cancelled: false };
        let described = job.described(&id, now);
        jobs.retain(|_, job| job.ends + JOBS_LIVE * 2 > now);
        jobs.insert(id, job);
        Ok(Answer::json(202, &described))
    }

    async fn job(&self, visit: &mut Visit<'_>, id: &str) -> Result<Answer, Answer> {
        visit.is_about(Some(model()?.id)).await?;
        let (job, now) = (self.find(id)?, Instant::now());
        let mut described = job.described(id, now);
        let mut pictures = Vec::new();
        if job.ends <= now && !job.cancelled {
            pictures = visit.world.studio.paint_all(&job.orders).await;
            let images = (0..pictures.len()).map(|index| json!({ "index": index, "b64_json": PICTURE }));
            set(&mut described, "result", json!({ "images": images.collect::<Vec<_>>(), "output_format": "png" }));
        }
        Ok(Answer::json_with_pictures(200, &described, &pictures))
    }

    fn cancel(&self, id: &str) -> Result<Answer, Answer> {
        let (mut job, now) = (self.find(id)?, Instant::now());
        if job.starts <= now && now < job.ends && !job.cancelled {
            let message = "job is currently generating and cannot be interrupted yet";
            return Err(Answer::json(409, &json!({ "error": message })));
        }
        job.cancelled |= job.starts > now;
        let described = job.described(id, now);
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), job);
        Ok(Answer::json(200, &described))
    }

    fn find(&self, id: &str) -> Result<Job, Answer> {
        let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let job = job.ok_or_else(|| Answer::json(404, &json!({ "error": "job not found" })))?;
        if job.ends + JOBS_LIVE <= Instant::now() {
            return Err(Answer::json(410, &json!({ "error": "job expired" })));
        }
        Ok(job)
    }
}

impl Job {
    fn described(&self, id: &str, now: Instant) -> Value {
        let status = match (self.cancelled, self.starts <= now, self.ends <= now) {
            (true, ..) => "cancelled",
            (_, false, _) => "queued",
            (_, true, false) => "generating",
            (_, true, true) => "completed",
        };
        json!({
            "id": id, "kind": "img_gen", "status": status, "created": self.created,
            "queue_position": u8::from(status == "queued"), "poll_url": format!("/sdcpp/v1/jobs/{id}"),
        })
    }
}

impl Provider for SdServer {
    fn prefix(&self) -> &'static str {
        "automatic1111-sdserver"
    }

    fn key(&self) -> &'static str {
        ""
    }

    fn answer<'a>(&'a self, visit: &'a mut Visit<'_>) -> Reply<'a> {
        Box::pin(self.route(visit))
    }

    fn error(&self, status: u16) -> Answer {
        match status {
            400..=499 if status != 429 => Answer::json(status, &json!({ "error": "prompt required" })),
            429 => Answer::json(429, &json!({ "error": "job queue is full" })),
            other => Answer::json(other, &json!({ "error": "server_error", "message": "generate_image failed" })),
        }
    }

    fn forget(&self) {}
}

fn bad(message: &str) -> Answer {
    Answer::json(400, &json!({ "error": message }))
}

fn model() -> Result<&'static Model, Answer> {
    on_the_wire("automatic1111", "sd3.5_medium")
        .ok_or_else(|| Answer::json(500, &json!({ "error": "server_error", "message": "no model" })))
}

fn body(visit: &Visit<'_>) -> Result<Value, Answer> {
    if visit.call.body.is_empty() {
        return Err(bad("empty body"));
    }
    serde_json::from_slice(&visit.call.body).map_err(|_| bad("invalid json"))
}

/// A prompt without the arguments that it may carry, and those arguments.
fn extra_args(prompt: &str) -> (String, Value) {
    let parts = prompt.split_once("<sd_cpp_extra_args>").and_then(|(before, rest)| {
        let (json, after) = rest.split_once("</sd_cpp_extra_args>")?;
        Some((format!("{before}{after}"), serde_json::from_str(json).ok()?))
    });
    parts.unwrap_or_else(|| (prompt.to_owned(), Value::Null))
}

/// The orders of a body with `prompt`, `width`, `height`, `seed` and a count.
fn plain_orders(visit: &Visit<'_>, body: &Value, count: &str) -> Result<Vec<Order>, Answer> {
    let number = |name: &str, default: u64| body.get(name).and_then(Value::as_u64).unwrap_or(default);
    let side = |name: &str| u32::try_from(number(name, 512)).unwrap_or(u32::MAX);
    let prompt = body.get("prompt").and_then(Value::as_str).unwrap_or_default().to_owned();
    orders(visit, (prompt, seed(body)), (side("width"), side("height")), number(count, 1), Format::Png)
}

fn orders(
    visit: &Visit<'_>,
    (prompt, seed): (String, Option<u64>),
    (width, height): (u32, u32),
    images: u64,
    format: Format,
) -> Result<Vec<Order>, Answer> {
    if prompt.trim().is_empty() {
        return Err(bad("prompt required"));
    }
    if !(64..=4_096).contains(&width) || !(64..=4_096).contains(&height) {
        return Err(bad("width and height must be between 64 and 4096"));
    }
    let (model, first) = (model()?, seed.unwrap_or_else(|| visit.world.draw_seed(1 << 32)));
    let order = |nth| Order { model, prompt: prompt.clone(), seed: first + nth, width, height, format, blurred: false };
    Ok((0..images.clamp(1, 8)).map(order).collect())
}

fn capabilities() -> Value {
    json!({
        "limits": { "min_width": 64, "max_width": 4096, "min_height": 64, "max_height": 4096, "max_batch_count": 8,
                    "max_queue_size": QUEUE },
        "features": { "txt2img": true, "img2img": false, "cancel_queued": true, "cancel_generating": false },
        "output_formats": ["png", "jpeg", "webp"],
    })
}
