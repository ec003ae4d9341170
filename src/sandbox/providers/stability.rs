//! Stability AI's REST API v2beta: multipart in, bytes or JSON out, one image a call.
//!
//! Its ways: 150 requests in 10 seconds and then a minute's lock with no header to say so; a filtered picture is a
//! 200; the creative upscaler is the only asynchronous route and hides its results from every other key.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::super::dice::{digest, hex};
use super::super::limit::Window;
use super::super::picture::{Format, Order, dimensions};
use super::super::truth::{Model, on_the_wire};
use super::super::visit::Visit;
use super::super::wire::{Answer, Form, PICTURE};
use super::{Provider, Reply, Screening, accepted, nearest, screen};

const LARGEST_BODY: usize = 10 * 1024 * 1024;
const SEEDS: u64 = 4_294_967_295;
const RESULTS_LIVE: Duration = Duration::from_secs(24 * 3_600);

/// Ratios and the 64-aligned sizes of about one megapixel that go with them.
const SIZES: [(&str, u32, u32); 9] = [
    ("21:9", 1536, 640),
    ("16:9", 1344, 768),
    ("3:2", 1216, 832),
    ("5:4", 1088, 896),
    ("1:1", 1024, 1024),
    ("4:5", 896, 1088),
    ("2:3", 832, 1216),
    ("9:16", 768, 1344),
    ("9:21", 640, 1536),
];

const STYLES: [&str; 17] = [
    "enhance",
    "anime",
    "photographic",
    "digital-art",
    "comic-book",
    "fantasy-art",
    "line-art",
    "analog-film",
    "neon-punk",
    "isometric",
    "low-poly",
    "origami",
    "modeling-compound",
    "cinematic",
    "3d-model",
    "pixel-art",
    "tile-texture",
];

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

/// How a caller wants its picture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Bytes,
    Json,
}

/// A made picture, before it is put on the wire.
struct Made {
    bytes: Bytes,
    format: Format,
    seed: u64,
    filtered: bool,
}

impl Stability {
    pub(super) fn new() -> Self {
        Self {
            limit: Window::new(150, Duration::from_secs(10), Duration::from_secs(60)),
            results: Mutex::default(),
        }
    }

    async fn route(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let path = visit.call.path.clone();
        let key = authenticate(visit)?;
        self.limit
            .admit(&key, 1, visit.arrived())
            .map_err(|_| refusal(429, "rate_limit_exceeded", LOCKED))?;
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let answer = match (visit.call.method.as_str(), segments.as_slice()) {
            (
                "POST",
                [
                    "v2beta",
                    "stable-image",
                    "generate",
                    kind @ ("sd3" | "core" | "ultra"),
                ],
            ) => generate(visit, &key, kind).await,
            (
                "POST",
                [
                    "v2beta",
                    "stable-image",
                    "upscale",
                    kind @ ("fast" | "conservative"),
                ],
            ) => upscale(visit, &key, kind).await,
            ("POST", ["v2beta", "stable-image", "upscale", "creative"]) => {
                self.submit(visit, key).await
            }
            (
                "GET",
                ["v2beta", "results", id]
                | [
                    "v2beta",
                    "stable-image",
                    "upscale",
                    "creative",
                    "result",
                    id,
                ],
            ) => self.result(visit, &key, id).await,
            ("GET", ["v1", "user", "balance"]) => {
                let credits = if key == "sk-broke" { 0.0 } else { 1_000.0 };
                Ok(Answer::json(200, &json!({ "credits": credits })))
            }
            _ => Err(refusal(
                404,
                "not_found",
                &format!("{}: no such route", visit.call.path),
            )),
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
        let job = Upscaled {
            key,
            ready,
            image,
            width,
            height,
            format,
            seed,
            filtered,
            model,
        };
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.retain(|_, job| job.ready + RESULTS_LIVE > Instant::now());
        results.insert(id.clone(), job);
        drop(results);
        visit.charge(cost(model));
        Ok(Answer::json(200, &json!({ "id": id })))
    }

    async fn result(&self, visit: &mut Visit<'_>, key: &str, id: &str) -> Result<Answer, Answer> {
        let wanted = wanted(visit)?;
        let job = self
            .results
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned();
        let live = job.filter(|job| job.key == key && job.ready + RESULTS_LIVE > Instant::now());
        visit
            .is_about(live.as_ref().map(|job| job.model.id))
            .await?;
        let Some(job) = live else {
            let gone = "id: the generation either does not exist or has expired.";
            return Err(Answer::json(
                404,
                &json!({ "id": id, "name": "generation_not_found", "errors": [gone] }),
            ));
        };
        if job.ready > Instant::now() {
            return Ok(Answer::json(
                202,
                &json!({ "id": id, "status": "in-progress" }),
            ));
        }
        let bytes = visit
            .world
            .studio
            .resize(&job.image, job.width, job.height, job.format)
            .await;
        let bytes = bytes.ok_or_else(undecodable)?;
        Ok(picture(
            Made {
                bytes,
                format: job.format,
                seed: job.seed,
                filtered: job.filtered,
            },
            wanted,
        ))
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
            401 => refusal(
                401,
                "unauthorized",
                "authorization: invalid or missing header value",
            ),
            402 => refusal(402, "payment_required", BROKE),
            403 => refusal(403, "content_moderation", FLAGGED),
            404 => refusal(404, "not_found", "the requested resource was not found"),
            413 => refusal(
                413,
                "payload_too_large",
                "body: payloads cannot be larger than 10MiB in size",
            ),
            422 => refusal(
                422,
                "invalid_language",
                "English is the only supported language for this service.",
            ),
            429 => refusal(429, "rate_limit_exceeded", LOCKED),
            502..=504 => Answer::new(status, "text/html", proxy_page(status)),
            _ => refusal(
                status,
                "internal_error",
                "An unexpected server error has occurred, please try again later.",
            ),
        }
    }

    fn forget(&self) {
        self.limit.forget();
    }
}

const LOCKED: &str = "You have exceeded the rate limit of 150 requests within a 10 second period, and have been timed \
                      out for 60 seconds.";
const BROKE: &str = "You lack sufficient credits to make this request. Please purchase more credits at \
                     https://platform.stability.ai/account/credits and try again.";
const FLAGGED: &str = "Your request was flagged by our content moderation system, as a result your request was denied \
                       and you were not charged.";

fn proxy_page(status: u16) -> String {
    format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body><center><h1>{status}</h1></center></body>\r\n</html>\r\n"
    )
}

fn refusal(status: u16, name: &str, message: &str) -> Answer {
    // The id of a throttled call is the literal name; every other error has one of its own.
    let id = if status == 429 {
        name.to_owned()
    } else {
        hex(&digest(&[name.as_bytes(), message.as_bytes()]))
    };
    Answer::json(
        status,
        &json!({ "id": id, "name": name, "errors": [message] }),
    )
}

fn bad(message: &str) -> Answer {
    refusal(400, "bad_request", message)
}

fn undecodable() -> Answer {
    bad("image: could not be decoded")
}

fn authenticate(visit: &mut Visit<'_>) -> Result<String, Answer> {
    let key = visit.call.bearer().unwrap_or_default().to_owned();
    visit.presents(&key);
    if accepted(&key, "sk-") {
        Ok(key)
    } else {
        Err(refusal(
            401,
            "unauthorized",
            "authorization: invalid or missing header value",
        ))
    }
}

/// The form of a call that costs money: checked for size, shape and funds.
async fn paid_form(visit: &Visit<'_>, key: &str) -> Result<Form, Answer> {
    if visit.call.body.len() > LARGEST_BODY {
        return Err(refusal(
            413,
            "payload_too_large",
            "body: payloads cannot be larger than 10MiB in size",
        ));
    }
    match visit.call.media_type().as_deref() {
        None => return Err(bad("content-type: required")),
        Some("multipart/form-data") => {}
        Some(_) => return Err(bad("content-type: must be multipart/form-data")),
    }
    let form = visit
        .call
        .form()
        .await
        .ok_or_else(|| bad("body: malformed multipart/form-data"))?;
    if key == "sk-broke" {
        return Err(refusal(402, "payment_required", BROKE));
    }
    Ok(form)
}

fn wanted(visit: &Visit<'_>) -> Result<Wanted, Answer> {
    let accept = visit
        .call
        .header("accept")
        .unwrap_or("image/*")
        .to_ascii_lowercase();
    if accept.contains("application/json") {
        Ok(Wanted::Json)
    } else if accept.contains("image/") || accept.contains("*/*") {
        Ok(Wanted::Bytes)
    } else {
        Err(bad("accept: must be one of: image/*, application/json"))
    }
}

async fn generate(visit: &mut Visit<'_>, key: &str, kind: &str) -> Result<Answer, Answer> {
    let wanted = wanted(visit)?;
    let form = paid_form(visit, key).await?;
    let model = match kind {
        "sd3" => sd3_model(form.text("model").as_deref().unwrap_or("sd3.5-large"))?,
        other => route_model(other)?,
    };
    visit.is_about(Some(model.id)).await?;
    let prompt = prompt(&form)?;
    let (mut width, mut height) = frame(&form, kind)?;
    if kind == "core" {
        (width, height) = (width * 3 / 2, height * 3 / 2);
    }
    let format = format(&form)?;
    between(&form, "cfg_scale", 1.0, 10.0)?;
    one_of(&form, "style_preset", &STYLES)?;
    let seed = seed(visit, &form)?;
    let filtered = screen(&prompt) == Screening::Filtered;
    let order = Order {
        model,
        prompt,
        seed,
        width,
        height,
        format,
        blurred: filtered,
    };
    let world = visit.world;
    let bytes = visit
        .work(model, cost(model), world.studio.paint(&order))
        .await;
    Ok(picture(
        Made {
            bytes,
            format,
            seed,
            filtered,
        },
        wanted,
    ))
}

async fn upscale(visit: &mut Visit<'_>, key: &str, kind: &str) -> Result<Answer, Answer> {
    let wanted = wanted(visit)?;
    let form = paid_form(visit, key).await?;
    let model = route_model(kind)?;
    visit.is_about(Some(model.id)).await?;
    let image = posted_image(&form)?;
    let format = format(&form)?;
    let mut filtered = false;
    let (width, height, seed) = if kind == "fast" {
        let (width, height) = sized(&image, 32, 1_024, 1_048_576)?;
        if width.max(height) > 1_536 {
            return Err(bad(
                "image: width and height must be between 32 and 1536 pixels",
            ));
        }
        (width * 4, height * 4, visit.world.draw_seed(SEEDS))
    } else {
        filtered = screen(&prompt(&form)?) == Screening::Filtered;
        between(&form, "creativity", 0.2, 0.5)?;
        let (width, height) = sized(&image, 64, 4_096, 9_437_184)?;
        if width * 2 > height * 5 || height * 2 > width * 5 {
            return Err(bad("image: aspect ratio must be between 1:2.5 and 2.5:1"));
        }
        let (width, height) = to_pixels(width, height, 4_194_304);
        (width, height, seed(visit, &form)?)
    };
    let world = visit.world;
    let work = world.studio.resize(&image, width, height, format);
    let bytes = visit
        .work(model, cost(model), work)
        .await
        .ok_or_else(undecodable)?;
    Ok(picture(
        Made {
            bytes,
            format,
            seed,
            filtered,
        },
        wanted,
    ))
}

/// A picture as bytes with its seed and finish reason in headers, or as JSON with both in the body.
fn picture(made: Made, wanted: Wanted) -> Answer {
    let reason = if made.filtered {
        "CONTENT_FILTERED"
    } else {
        "SUCCESS"
    };
    let media_type = made.format.media_type();
    if wanted == Wanted::Bytes {
        let answer = Answer::new(200, media_type, made.bytes);
        return answer
            .with("finish-reason", reason)
            .with("seed", made.seed.to_string());
    }
    let body = json!({ "image": PICTURE, "finish_reason": reason, "seed": made.seed });
    let mut answer = Answer::json_with_pictures(200, &body, &[made.bytes]);
    answer.headers = vec![(
        "content-type",
        format!("application/json; type={media_type}"),
    )];
    answer
}

fn sd3_model(name: &str) -> Result<&'static Model, Answer> {
    let current = match name {
        "sd3-large" => "sd3.5-large",
        "sd3-large-turbo" => "sd3.5-large-turbo",
        "sd3-medium" => "sd3.5-medium",
        other => other,
    };
    on_the_wire("stability", current)
        .filter(|model| model.wire.starts_with("sd3.5-"))
        .ok_or_else(|| {
            bad("model: must be one of: sd3.5-large, sd3.5-large-turbo, sd3.5-medium, sd3.5-flash")
        })
}

/// A model of a route of its own.
fn route_model(name: &str) -> Result<&'static Model, Answer> {
    on_the_wire("stability", name).ok_or_else(|| refusal(404, "not_found", "no such route"))
}

fn cost(model: &Model) -> u64 {
    model.price.cost(1, 0, 0, 0)
}

fn prompt(form: &Form) -> Result<String, Answer> {
    let prompt = form
        .text("prompt")
        .ok_or_else(|| bad("prompt: is required"))?;
    let negative = form.text("negative_prompt");
    for (name, text) in [
        ("prompt", Some(&prompt)),
        ("negative_prompt", negative.as_ref()),
    ] {
        if text.is_some_and(|text| text.chars().count() > 10_000) {
            return Err(bad(&format!("{name}: must be at most 10000 characters")));
        }
    }
    if screen(&prompt) == Screening::Refused {
        return Err(refusal(403, "content_moderation", FLAGGED));
    }
    let letters = prompt
        .chars()
        .filter(|letter| letter.is_alphabetic())
        .count();
    let foreign = prompt
        .chars()
        .filter(|letter| letter.is_alphabetic() && *letter > '\u{24f}')
        .count();
    if foreign * 2 > letters {
        return Err(refusal(
            422,
            "invalid_language",
            "English is the only supported language for this service.",
        ));
    }
    Ok(prompt)
}

/// The size of the picture: the ratio's, or in image-to-image the posted picture's nearest.
fn frame(form: &Form, kind: &str) -> Result<(u32, u32), Answer> {
    let editing = match (kind, form.text("mode").as_deref()) {
        ("sd3", None | Some("text-to-image")) | ("core", _) => false,
        ("sd3", Some("image-to-image")) => true,
        ("sd3", Some(_)) => return Err(bad("mode: must be one of: text-to-image, image-to-image")),
        _ => form.file("image").is_some(),
    };
    if editing {
        let image = posted_image(form)?;
        form.text("strength")
            .ok_or_else(|| bad("strength: is required"))?;
        between(form, "strength", 0.0, 1.0)?;
        let (width, height) = sized(&image, 64, 4_096, u64::from(u32::MAX))?;
        let (_, width, height) = nearest(&SIZES, width, height).unwrap_or(("1:1", 1024, 1024));
        return Ok((width, height));
    }
    let asked = form
        .text("aspect_ratio")
        .unwrap_or_else(|| "1:1".to_owned());
    let found = SIZES
        .iter()
        .find(|(ratio, _, _)| *ratio == asked)
        .map(|(_, width, height)| (*width, *height));
    let ratios = || SIZES.map(|(ratio, _, _)| ratio).join(", ");
    found.ok_or_else(|| bad(&format!("aspect_ratio: must be one of: {}", ratios())))
}

fn format(form: &Form) -> Result<Format, Answer> {
    let name = form
        .text("output_format")
        .unwrap_or_else(|| "png".to_owned());
    Format::named(&name)
        .filter(|_| name != "jpg")
        .ok_or_else(|| bad("output_format: must be one of: png, jpeg, webp"))
}

/// The seed that is used: the one asked for, or a drawn one for 0 and for none.
fn seed(visit: &Visit<'_>, form: &Form) -> Result<u64, Answer> {
    let asked = form.text("seed").unwrap_or_else(|| "0".to_owned());
    match asked.parse::<u64>() {
        Ok(0) => Ok(visit.world.draw_seed(SEEDS)),
        Ok(seed) if seed < SEEDS => Ok(seed),
        _ => Err(bad("seed: must be a number between 0 and 4294967294")),
    }
}

fn between(form: &Form, name: &str, least: f64, most: f64) -> Result<(), Answer> {
    let Some(text) = form.text(name) else {
        return Ok(());
    };
    match text.parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(()),
        _ => Err(bad(&format!(
            "{name}: must be a number between {least} and {most}"
        ))),
    }
}

fn one_of(form: &Form, name: &str, values: &[&str]) -> Result<(), Answer> {
    match form.text(name) {
        Some(value) if !values.contains(&value.as_str()) => Err(bad(&format!(
            "{name}: must be one of: {}",
            values.join(", ")
        ))),
        _ => Ok(()),
    }
}

fn posted_image(form: &Form) -> Result<Bytes, Answer> {
    form.file("image").ok_or_else(|| bad("image: is required"))
}

/// The posted picture's size, within these limits.
fn sized(image: &Bytes, least_side: u32, least: u64, most: u64) -> Result<(u32, u32), Answer> {
    let (width, height) = dimensions(image).ok_or_else(undecodable)?;
    if width.min(height) < least_side {
        return Err(bad(&format!(
            "image: width and height must be at least {least_side} pixels"
        )));
    }
    let pixels = u64::from(width) * u64::from(height);
    if !(least..=most).contains(&pixels) {
        return Err(bad(&format!(
            "image: total pixels must be between {least} and {most}"
        )));
    }
    Ok((width, height))
}

/// `width` by `height` scaled to about `pixels`, even, never smaller than it was.
fn to_pixels(width: u32, height: u32, pixels: u32) -> (u32, u32) {
    let scale = (f64::from(pixels) / (f64::from(width) * f64::from(height)))
        .sqrt()
        .max(1.0);
    let side = |side: u32| whole(f64::from(side) * scale) / 2 * 2;
    (side(width), side(height))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sides are far below the limits"
)]
fn whole(value: f64) -> u32 {
    value as u32
}
