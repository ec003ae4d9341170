//! The `/sdapi/v1` servers: AUTOMATIC1111's web UI as Forge runs it, and SD.Next with its own errors and limiter.
//!
//! Their ways: no key; one lock, so that a call blocks until its turn has come and gone; `info` is JSON inside a
//! string; two error styles. Disconnecting cancels nothing.

mod ask;
mod bench;
mod lists;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::limit::Window;
use super::super::picture::{Format, dimensions};
use super::super::truth::on_the_wire;
use super::super::visit::Visit;
use super::super::wire::{Answer, PICTURE, from_base64};
use super::{Provider, Reply};
pub(super) use ask::seed;
use ask::{Ask, checkpoint, echoed};
pub(super) use bench::Bench;
pub(super) use lists::{SAMPLERS, samplers, schedulers, sd_models, upscalers};

/// The server.
pub(super) struct Automatic1111 {
    fork: Fork,
    bench: Bench,
    limit: Window,
    /// The loaded checkpoint, as `options` names it.
    checkpoint: Mutex<String>,
}

/// Whose code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fork {
    Forge,
    SdNext,
}

impl Automatic1111 {
    pub(super) fn forge() -> Self {
        Self::new(Fork::Forge)
    }

    pub(super) fn sd_next() -> Self {
        Self::new(Fork::SdNext)
    }

    fn new(fork: Fork) -> Self {
        Self {
            fork,
            bench: Bench::default(),
            limit: Window::new(300, Duration::from_mins(1), Duration::ZERO),
            checkpoint: Mutex::new("sd3.5_medium.safetensors".to_owned()),
        }
    }

    async fn route(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let path = visit.call.path.clone();
        let route = path.strip_prefix("/sdapi/v1/").ok_or_else(|| self.fork.problem(404, "Not Found"))?;
        self.admit(visit, route)?;
        match (visit.call.method.as_str(), route) {
            ("POST", "txt2img") => self.paint(visit, None).await,
            ("POST", "img2img") => {
                let body = Self::body(visit)?;
                let image = self.init_image(&body)?;
                self.paint(visit, Some(image)).await
            }
            ("POST", "extra-single-image") => self.enlarge(visit).await,
            ("GET", "progress") => Ok(Answer::json(200, &self.bench.progress(self.fork == Fork::SdNext))),
            ("POST", "interrupt" | "skip") => {
                self.bench.interrupt();
                Ok(if self.fork == Fork::SdNext { Answer::empty(204) } else { Answer::json(200, &json!({})) })
            }
            ("GET", "samplers") => Ok(Answer::json(200, &samplers())),
            ("GET", "schedulers") => Ok(Answer::json(200, &schedulers())),
            ("GET", "upscalers") => Ok(Answer::json(200, &upscalers())),
            ("GET", "sd-models") => Ok(Answer::json(200, &sd_models())),
            ("GET", "options") => Ok(Answer::json(200, &json!({ "sd_model_checkpoint": self.checkpoint() }))),
            ("POST", "options") => self.set_options(visit),
            ("GET", "memory") => Ok(Answer::json(200, &lists::memory())),
            ("POST", "unload-checkpoint" | "reload-checkpoint") => Ok(Answer::json(200, &json!({}))),
            _ => Err(self.fork.problem(404, "Not Found")),
        }
    }

    /// SD.Next counts units by client; pictures cost five.
    fn admit(&self, visit: &Visit<'_>, route: &str) -> Result<(), Answer> {
        if self.fork == Fork::Forge {
            return Ok(());
        }
        let units = if matches!(route, "txt2img" | "img2img") { 5 } else { 1 };
        let refused = |_| self.fork.problem(429, &format!("127.0.0.1:{}: rate limit exceeded", visit.call.path));
        self.limit.admit("client", units, visit.arrived()).map(drop).map_err(refused)
    }

    async fn paint(&self, visit: &mut Visit<'_>, from: Option<Bytes>) -> Result<Answer, Answer> {
        let body = Self::body(visit)?;
        let ask = self.ask(visit, &body)?;
        visit.is_about(Some(ask.model.id)).await?;
        let denoise = body.get("denoising_strength").and_then(Value::as_f64).unwrap_or(0.75);
        let _turn = self.bench.turn(visit.world.draw_latency(ask.model) * ask.images, ask.steps).await;
        let mut pictures = Vec::new();
        for nth in 0..ask.images {
            pictures.push(match &from {
                // A picture that keeps most of itself comes back as it was, at the asked size.
                Some(image) if denoise < 0.8 => {
                    let resized = visit.world.studio.resize(image, ask.width, ask.height, Format::Png).await;
                    resized.ok_or_else(|| self.fork.problem(500, "Invalid encoded image"))?
                }
                _ => visit.world.studio.paint(&ask.order(nth)).await,
            });
        }
        let images: Vec<&str> = pictures.iter().map(|_| PICTURE).collect();
        let answer = json!({ "images": images, "parameters": echoed(&body, &ask), "info": ask.info().to_string() });
        Ok(Answer::json_with_pictures(200, &answer, &pictures))
    }

    async fn enlarge(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let body = Self::body(visit)?;
        let name = body.get("upscaler_1").and_then(Value::as_str).unwrap_or("None");
        let model = on_the_wire("automatic1111", if name == "None" { "Lanczos" } else { name });
        let model = model.ok_or_else(|| Answer::text(500, "Internal Server Error"))?;
        visit.is_about(Some(model.id)).await?;
        let image = body.get("image").and_then(Value::as_str).filter(|image| !image.is_empty());
        let image = image.ok_or_else(|| unprocessable("image", "Field required"))?;
        let image =
            from_base64(image).map(Bytes::from).ok_or_else(|| self.fork.problem(500, "Invalid encoded image"))?;
        let (width, height) = dimensions(&image).ok_or_else(|| self.fork.problem(500, "Invalid encoded image"))?;
        let number = |name: &str, default: f64| body.get(name).and_then(Value::as_f64).unwrap_or(default);
        let (width, height) = if number("resize_mode", 0.0) >= 1.0 {
            (pixels(number("upscaling_resize_w", 512.0)), pixels(number("upscaling_resize_h", 512.0)))
        } else {
            let factor = number("upscaling_resize", 2.0).clamp(1.0, 8.0);
            (pixels(f64::from(width) * factor), pixels(f64::from(height) * factor))
        };
        if u64::from(width) * u64::from(height) > 1 << 26 {
            return Err(Answer::json(500, &lists::out_of_memory()));
        }
        let _turn = self.bench.turn(visit.world.draw_latency(model), 1).await;
        let bytes = visit.world.studio.resize(&image, width.max(1), height.max(1), Format::Png).await;
        let bytes = bytes.ok_or_else(|| self.fork.problem(500, "Invalid encoded image"))?;
        let answer = json!({ "html_info": "<p>Postprocess upscale by: 2.0</p>", "image": PICTURE });
        Ok(Answer::json_with_pictures(200, &answer, &[bytes]))
    }

    fn ask(&self, visit: &Visit<'_>, body: &Value) -> Result<Ask, Answer> {
        let sampler = ["sampler_name", "sampler_index"].iter().find_map(|name| body.get(name)?.as_str());
        if sampler.is_some_and(|sampler| !sampler.is_empty() && !SAMPLERS.contains(&sampler)) {
            return Err(self.fork.problem(400, "Sampler not found"));
        }
        let number = |name: &str, default: u64| match body.get(name).filter(|value| !value.is_null()) {
            None => Ok(default),
            Some(value) => value.as_u64().ok_or_else(|| unprocessable(name, "Input should be a valid integer")),
        };
        let chosen = body.pointer("/override_settings/sd_model_checkpoint").and_then(Value::as_str);
        let chosen = chosen.map_or_else(|| self.checkpoint(), str::to_owned);
        let model = checkpoint(&chosen).ok_or_else(|| Answer::text(500, "Internal Server Error"))?;
        let side = |name: &str| number(name, 512).map(|side| u32::try_from(side.min(4_096)).unwrap_or(512) / 8 * 8);
        let images = number("batch_size", 1)?.max(1) * number("n_iter", 1)?.max(1);
        Ok(Ask {
            model,
            prompt: body.get("prompt").and_then(Value::as_str).unwrap_or_default().to_owned(),
            seed: seed(body).unwrap_or_else(|| visit.world.draw_seed(1 << 32)),
            width: side("width")?.max(64),
            height: side("height")?.max(64),
            images: u32::try_from(images).unwrap_or(1).min(16),
            steps: number("steps", 50)?,
        })
    }

    fn init_image(&self, body: &Value) -> Result<Bytes, Answer> {
        let image = body.pointer("/init_images/0").and_then(Value::as_str);
        let image = image.ok_or_else(|| match self.fork {
            Fork::Forge => self.fork.problem(404, "Init image not found"),
            Fork::SdNext => Answer::json(400, &json!({ "error": "Init image is none" })),
        })?;
        let bytes = from_base64(image).map(Bytes::from).filter(|bytes| dimensions(bytes).is_some());
        bytes.ok_or_else(|| self.fork.problem(500, "Invalid encoded image"))
    }

    fn set_options(&self, visit: &Visit<'_>) -> Result<Answer, Answer> {
        let body = Self::body(visit)?;
        if let Some(name) = body.get("sd_model_checkpoint").and_then(Value::as_str) {
            let known = checkpoint(name).ok_or_else(|| Answer::text(500, "Internal Server Error"))?;
            *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = format!("{}.safetensors", known.wire);
        }
        Ok(Answer::json(200, &Value::Null))
    }

    fn body(visit: &Visit<'_>) -> Result<Value, Answer> {
        let body: Option<Value> = serde_json::from_slice(&visit.call.body).ok();
        body.filter(Value::is_object).ok_or_else(|| unprocessable("", "JSON decode error"))
    }

    fn checkpoint(&self) -> String {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Provider for Automatic1111 {
    fn prefix(&self) -> &'static str {
        match self.fork {
            Fork::Forge => "automatic1111",
            Fork::SdNext => "automatic1111-sdnext",
        }
    }

    fn key(&self) -> &'static str {
        ""
    }

    fn answer<'a>(&'a self, visit: &'a mut Visit<'_>) -> Reply<'a> {
        Box::pin(self.route(visit))
    }

    fn error(&self, status: u16) -> Answer {
        match status {
            400 => self.fork.problem(400, "Sampler not found"),
            404 => self.fork.problem(404, "Not Found"),
            422 => unprocessable("prompt", "Input should be a valid string"),
            429 => self.fork.problem(429, "127.0.0.1:/sdapi/v1/txt2img: rate limit exceeded"),
            500 => Answer::json(500, &lists::out_of_memory()),
            other => Answer::text(other, "Internal Server Error"),
        }
    }

    fn forget(&self) {
        self.limit.forget();
    }
}

impl Fork {
    fn problem(self, status: u16, detail: &str) -> Answer {
        match self {
            Self::Forge => Answer::json(status, &json!({ "detail": detail })),
            Self::SdNext => Answer::json(
                status,
                &json!({ "error": "HTTPException", "code": status, "detail": detail, "body": "", "errors": detail }),
            ),
        }
    }
}

/// The validation error of `FastAPI`.
fn unprocessable(field: &str, message: &str) -> Answer {
    let place = if field.is_empty() { json!(["body", 0]) } else { json!(["body", field]) };
    let kind = if message == "Field required" { "missing" } else { "value_error" };
    Answer::json(422, &json!({ "detail": [{ "loc": place, "msg": message, "type": kind }] }))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
fn pixels(value: f64) -> u32 {
    value as u32
}
