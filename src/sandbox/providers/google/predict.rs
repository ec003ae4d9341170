//! Imagen by `:predict`, as Vertex still serves it: up to four pictures a call, billed by the picture.

use serde_json::{Value, json};

use super::super::super::picture::{Format, Order};
use super::super::super::truth::{Model, on_the_wire};
use super::super::super::visit::Visit;
use super::super::super::wire::{Answer, PICTURE};
use super::super::{Screening, screen};
use super::Face;
use super::problem::{invalid, unserved};

const SIZES: [(&str, u32, u32); 5] =
    [("1:1", 1024, 1024), ("3:4", 896, 1280), ("4:3", 1280, 896), ("9:16", 768, 1408), ("16:9", 1408, 768)];

const FILTERED: &str = "Unable to show generated images. All images were filtered out because they violated Vertex \
                        AI's usage guidelines. You will not be charged for blocked images. Try rephrasing the prompt. \
                        If you think this was an error, send feedback. Support codes: 15236754";

/// Answers one `:predict`.
pub(super) async fn predict(visit: &mut Visit<'_>, name: &str) -> Result<Answer, Answer> {
    let body: Value = serde_json::from_slice(&visit.call.body)
        .map_err(|error| invalid(&format!("Invalid JSON payload received. {error}")))?;
    let model = on_the_wire("google", name).filter(|_| name.starts_with("imagen-"));
    let model = model.ok_or_else(|| unserved(name, Face::Vertex))?;
    visit.is_about(Some(model.id)).await?;
    let parameters = body.get("parameters").unwrap_or(&Value::Null);
    let prompt = body.pointer("/instances/0/prompt").and_then(Value::as_str).filter(|prompt| !prompt.is_empty());
    let prompt = prompt.ok_or_else(|| invalid("Text prompt is empty."))?;
    let count = parameters.get("sampleCount").map_or(Some(1), Value::as_u64).filter(|count| (1..=4).contains(count));
    let count = count.ok_or_else(|| invalid("sampleCount must be between 1 and 4."))?;
    let (width, height) = frame(parameters, model)?;
    let format = format(parameters)?;
    let first = seed(visit, parameters)?;
    match screen(prompt) {
        Screening::Refused => return Err(invalid(REFUSED)),
        Screening::Filtered => {
            visit.work(model, 0, std::future::ready(())).await;
            return Ok(Answer::json(200, &json!({ "predictions": [{ "raiFilteredReason": FILTERED }] })));
        }
        Screening::Fine => {}
    }
    let order =
        |nth| Order { model, prompt: prompt.to_owned(), seed: first + nth, width, height, format, blurred: false };
    let orders: Vec<Order> = (0..count).map(order).collect();
    let world = visit.world;
    let pictures = visit.work(model, model.price.cost(count, 0, 0, 0), world.studio.paint_all(&orders)).await;
    let entry = json!({ "mimeType": format.media_type(), "bytesBase64Encoded": PICTURE });
    let predictions: Vec<Value> = pictures.iter().map(|_| entry.clone()).collect();
    Ok(Answer::json_with_pictures(200, &json!({ "predictions": predictions }), &pictures))
}

const REFUSED: &str = "Image generation failed with the following error: The prompt could not be submitted. This \
                       prompt contains sensitive words that violate Google's Responsible AI practices. Try rephrasing \
                       the prompt. If you think this was an error, send feedback. Support codes: 42876398";

fn frame(parameters: &Value, model: &Model) -> Result<(u32, u32), Answer> {
    let asked = parameters.get("aspectRatio").and_then(Value::as_str).unwrap_or("1:1");
    let found = SIZES.iter().find(|(ratio, _, _)| *ratio == asked);
    let (_, width, height) = found
        .ok_or_else(|| invalid(&format!("Aspect ratio {asked} is not supported. Use 1:1, 3:4, 4:3, 9:16 or 16:9.")))?;
    match parameters.get("sampleImageSize").and_then(Value::as_str).unwrap_or("1K") {
        "1K" => Ok((*width, *height)),
        "2K" if !model.id.contains("fast") => Ok((width * 2, height * 2)),
        other => Err(invalid(&format!("sampleImageSize {other} is not supported."))),
    }
}

fn format(parameters: &Value) -> Result<Format, Answer> {
    match parameters.pointer("/outputOptions/mimeType").and_then(Value::as_str).unwrap_or("image/png") {
        "image/png" => Ok(Format::Png),
        "image/jpeg" => Ok(Format::Jpeg),
        other => Err(invalid(&format!("mimeType {other} is not supported."))),
    }
}

fn seed(visit: &Visit<'_>, parameters: &Value) -> Result<u64, Answer> {
    let Some(seed) = parameters.get("seed").and_then(Value::as_u64) else {
        return Ok(visit.world.draw_seed(1 << 31));
    };
    if parameters.get("addWatermark").and_then(Value::as_bool).unwrap_or(true) {
        return Err(invalid("Seed is not supported when watermark is enabled."));
    }
    Ok(seed)
}
