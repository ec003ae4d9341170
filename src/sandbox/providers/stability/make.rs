//! The synchronous routes: a picture made or enlarged while the caller waits, as bytes or as JSON.

use bytes::Bytes;
use serde_json::json;

use super::super::super::picture::{Format, Order};
use super::super::super::truth::{Model, on_the_wire};
use super::super::super::visit::Visit;
use super::super::super::wire::{Answer, PICTURE};
use super::super::{Screening, screen};
use super::form::{STYLES, between, format, frame, one_of, posted_image, prompt, seed, sized, to_pixels};
use super::refusal::{bad, refusal, undecodable};
use super::{SEEDS, paid_form};

/// How a caller wants its picture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Bytes,
    Json,
}

/// A made picture, before it is put on the wire.
pub(super) struct Made {
    pub(super) bytes: Bytes,
    pub(super) format: Format,
    pub(super) seed: u64,
    pub(super) filtered: bool,
}

pub(super) fn wanted(visit: &Visit<'_>) -> Result<Wanted, Answer> {
    let accept = visit.call.header("accept").unwrap_or("image/*").to_ascii_lowercase();
    if accept.contains("application/json") {
        Ok(Wanted::Json)
    } else if accept.contains("image/") || accept.contains("*/*") {
        Ok(Wanted::Bytes)
    } else {
        Err(bad("accept: must be one of: image/*, application/json"))
    }
}

pub(super) async fn generate(visit: &mut Visit<'_>, key: &str, kind: &str) -> Result<Answer, Answer> {
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
    let order = Order { model, prompt, seed, width, height, format, blurred: filtered };
    let world = visit.world;
    let bytes = visit.work(model, cost(model), world.studio.paint(&order)).await;
    Ok(picture(Made { bytes, format, seed, filtered }, wanted))
}

pub(super) async fn upscale(visit: &mut Visit<'_>, key: &str, kind: &str) -> Result<Answer, Answer> {
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
            return Err(bad("image: width and height must be between 32 and 1536 pixels"));
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
    let bytes = visit.work(model, cost(model), work).await.ok_or_else(undecodable)?;
    Ok(picture(Made { bytes, format, seed, filtered }, wanted))
}

/// A picture as bytes with its seed and finish reason in headers, or as JSON with both in the body.
pub(super) fn picture(made: Made, wanted: Wanted) -> Answer {
    let reason = if made.filtered { "CONTENT_FILTERED" } else { "SUCCESS" };
    let media_type = made.format.media_type();
    if wanted == Wanted::Bytes {
        let answer = Answer::new(200, media_type, made.bytes);
        return answer.with("finish-reason", reason).with("seed", made.seed.to_string());
    }
    let body = json!({ "image": PICTURE, "finish_reason": reason, "seed": made.seed });
    let mut answer = Answer::json_with_pictures(200, &body, &[made.bytes]);
    answer.headers = vec![("content-type", format!("application/json; type={media_type}"))];
    answer
}

pub(super) fn sd3_model(name: &str) -> Result<&'static Model, Answer> {
    let current = match name {
        "sd3-large" => "sd3.5-large",
        "sd3-large-turbo" => "sd3.5-large-turbo",
        "sd3-medium" => "sd3.5-medium",
        other => other,
    };
    on_the_wire("stability", current)
        .filter(|model| model.wire.starts_with("sd3.5-"))
        .ok_or_else(|| bad("model: must be one of: sd3.5-large, sd3.5-large-turbo, sd3.5-medium, sd3.5-flash"))
}

/// A model of a route of its own.
pub(super) fn route_model(name: &str) -> Result<&'static Model, Answer> {
    on_the_wire("stability", name).ok_or_else(|| refusal(404, "not_found", "no such route"))
}

pub(super) fn cost(model: &Model) -> u64 {
    model.price.cost(1, 0, 0, 0)
}
