//! Ideogram: legacy JSON, v3 and v4 multipart, the upscaler, and the pictures behind links that expire.
//!
//! Its ways: an answer holds links, not bytes; ten calls in flight and no more; a picture judged unsafe is a 200
//! without a link; the same seed twice in a batch is the same picture twice; the three versions spell a ratio in
//! three ways.

mod ask;
mod links;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::limit::Concurrency;
use super::super::picture::{Format, Order, dimensions};
use super::super::truth::on_the_wire;
use super::super::visit::Visit;
use super::super::wire::{Answer, set};
use super::{Provider, Reply, Screening, accepted, screen};
use ask::Ask;
#[cfg(test)]
pub(in crate::sandbox) use links::signature;
use links::{Links, Stored};

const IN_FLIGHT: usize = 10;
const LARGEST_IMAGE: usize = 10 * 1024 * 1024;

/// The host and its content network.
pub(super) struct Ideogram {
    flights: Concurrency,
    links: Links,
}

impl Ideogram {
    pub(super) fn new() -> Self {
        Self { flights: Concurrency::new(IN_FLIGHT), links: Links::default() }
    }

    async fn route(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let path = visit.call.path.clone();
        match (visit.call.method.as_str(), path.as_str()) {
            ("GET", path) if path.starts_with(links::FOLDER) => self.fetch(visit).await,
            ("POST", "/generate") => self.generate(visit, ask::legacy).await,
            ("POST", "/v1/ideogram-v3/generate") => self.generate(visit, ask::v3).await,
            ("POST", "/v1/ideogram-v4/generate") => self.generate(visit, ask::v4).await,
            ("POST", "/upscale") => self.upscale(visit).await,
            ("GET" | "POST", _) => Err(Answer::json(404, &json!({ "error": "Not found" }))),
            _ => Err(Answer::json(405, &json!({ "error": "Method not allowed" }))),
        }
    }

    async fn generate(&self, visit: &mut Visit<'_>, read: fn(&Value) -> Result<Ask, Answer>) -> Result<Answer, Answer> {
        let key = authenticate(visit, 401)?;
        let _place = self.flights.enter(&key).ok_or_else(crowded)?;
        let ask = read(&ask::fields(visit).await?)?;
        visit.is_about(Some(ask.model.id)).await?;
        let screening = screened(&ask.prompt)?;
        if key == "sk-broke" {
            return Err(broke());
        }
        let cost = ask.model.price.cost(ask.images, 0, 0, 0);
        visit.work(ask.model, cost, std::future::ready(())).await;
        let mut data = Vec::new();
        for _ in 0..ask.images {
            let seed = ask.seed.unwrap_or_else(|| visit.world.draw_seed(ask::SEEDS));
            let order = Order {
                model: ask.model,
                prompt: ask.prompt.clone(),
                seed,
                width: ask.width,
                height: ask.height,
                format: Format::Png,
                blurred: false,
            };
            let safe = screening == Screening::Fine;
            let url = if safe { json!(self.links.keep(visit, Stored::Painted(order))) } else { Value::Null };
            let mut item = json!({
                "url": url, "prompt": ask.rewritten(), "resolution": format!("{}x{}", ask.width, ask.height),
                "is_image_safe": safe, "seed": seed,
            });
            if let Some(style) = &ask.style {
                set(&mut item, "style_type", json!(style));
            }
            data.push(item);
        }
        Ok(Answer::json(200, &json!({ "created": visit.world.clock.rfc3339(), "data": data })))
    }

    async fn upscale(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        // The upscaler answers 403 where the others answer 401.
        let key = authenticate(visit, 403)?;
        let _place = self.flights.enter(&key).ok_or_else(crowded)?;
        let model = on_the_wire("ideogram", "upscale").ok_or_else(|| bad("no such model"))?;
        visit.is_about(Some(model.id)).await?;
        let form = visit.call.form().await.ok_or_else(|| bad("Request must be multipart/form-data"))?;
        let image = form.file("image_file").ok_or_else(|| bad("image_file is required"))?;
        let request = form.text("image_request").ok_or_else(|| bad("image_request is required"))?;
        let request: Value = serde_json::from_str(&request).map_err(|_| bad("image_request must be valid JSON"))?;
        let (prompt, seed) = (ask::text(&request, "prompt"), ask::seed(&request)?);
        for name in ["resemblance", "detail"] {
            ask::within(&request, name, 1, 100)?;
        }
        let images = ask::within(&request, "num_images", 1, 8)?.unwrap_or(1);
        let screening = screened(&prompt)?;
        let (width, height) = measured(&image)?;
        if key == "sk-broke" {
            return Err(broke());
        }
        visit.work(model, model.price.cost(images, 0, 0, 0), std::future::ready(())).await;
        let mut data = Vec::new();
        for _ in 0..images {
            let seed = seed.unwrap_or_else(|| visit.world.draw_seed(ask::SEEDS));
            let stored = Stored::Enlarged(image.clone(), width * 2, height * 2, model.id);
            let safe = screening == Screening::Fine;
            let url = if safe { json!(self.links.keep(visit, stored)) } else { Value::Null };
            data.push(json!({
                "url": url, "prompt": prompt, "resolution": format!("{width}x{height}"),
                "upscaled_resolution": format!("{}x{}", width * 2, height * 2), "is_image_safe": safe, "seed": seed,
            }));
        }
        Ok(Answer::json(200, &json!({ "created": visit.world.clock.rfc3339(), "data": data })))
    }

    async fn fetch(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let stored = self.links.open(visit)?;
        let (bytes, model) = match &stored {
            Stored::Painted(order) => (Some(visit.world.studio.paint(order).await), order.model.id),
            Stored::Enlarged(image, width, height, model) => {
                (visit.world.studio.resize(image, *width, *height, Format::Png).await, *model)
            }
        };
        visit.is_about(Some(model)).await?;
        let bytes = bytes.ok_or_else(links::missing)?;
        Ok(Answer::new(200, "image/png", bytes).with("cache-control", "private, max-age=3600"))
    }
}

impl Provider for Ideogram {
    fn prefix(&self) -> &'static str {
        "ideogram"
    }

    fn key(&self) -> &'static str {
        "ideogram-sandbox-key"
    }

    fn answer<'a>(&'a self, visit: &'a mut Visit<'_>) -> Reply<'a> {
        Box::pin(self.route(visit))
    }

    fn error(&self, status: u16) -> Answer {
        match status {
            400 => bad("Invalid request"),
            401 | 403 => unauthorized(status),
            402 => broke(),
            422 => unsafe_prompt(),
            429 => crowded(),
            503 => Answer::json(503, &json!({ "error": "Service temporarily unavailable" })),
            other => Answer::json(other, &json!({ "error": "Internal server error" })),
        }
    }

    fn forget(&self) {}
}

fn bad(message: &str) -> Answer {
    Answer::json(400, &json!({ "error": message }))
}

fn broke() -> Answer {
    Answer::json(402, &json!({ "error": "Insufficient credits. Please add credits to your API account." }))
}

fn crowded() -> Answer {
    Answer::json(429, &json!({ "error": "Too many requests in flight" }))
}

fn unauthorized(status: u16) -> Answer {
    Answer::json(status, &json!({ "error": "Invalid or missing API key" }))
}

fn unsafe_prompt() -> Answer {
    let message = "Prompt provided failed safety check due to the inclusion of prohibited content.";
    Answer::json(422, &json!({ "error": message }))
}

fn authenticate(visit: &mut Visit<'_>, status: u16) -> Result<String, Answer> {
    let key = visit.call.header("api-key").unwrap_or_default().to_owned();
    visit.presents(&key);
    if accepted(&key, "") { Ok(key) } else { Err(unauthorized(status)) }
}

fn screened(prompt: &str) -> Result<Screening, Answer> {
    match screen(prompt) {
        Screening::Refused => Err(unsafe_prompt()),
        other => Ok(other),
    }
}

fn measured(image: &Bytes) -> Result<(u32, u32), Answer> {
    if image.len() > LARGEST_IMAGE {
        return Err(bad("image_file must be at most 10MB"));
    }
    dimensions(image).ok_or_else(|| bad("image_file must be a JPEG, PNG or WebP image"))
}
