//! What a request for pictures asks, or why it is refused; and the answer in its terms.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::super::picture::{Format, Order};
use super::super::super::truth::{Model, model};
use super::super::super::wire::{Answer, PICTURE, set};
use super::price::{Family, family, image_tokens, side_rules};
use super::problem::{bad, retired};

const PARAMETERS: [&str; 16] = [
    "prompt",
    "model",
    "n",
    "size",
    "quality",
    "background",
    "output_format",
    "output_compression",
    "moderation",
    "stream",
    "partial_images",
    "user",
    "complexity",
    "input_fidelity",
    "safety_identifier",
    "prompt_cache_key",
];

/// A valid request.
pub(super) struct Ask {
    pub(super) model: &'static Model,
    pub(super) prompt: String,
    pub(super) images: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) quality: String,
    pub(super) format: Format,
    pub(super) tokens: u64,
    pub(super) stream: bool,
}

impl Ask {
    pub(super) fn order(&self, seed: u64) -> Order {
        Order {
            model: self.model,
            prompt: self.prompt.clone(),
            seed,
            width: self.width,
            height: self.height,
            format: self.format,
            blurred: false,
        }
    }

    pub(super) fn answer(&self, created: u64, text: u64, made: u64, pictures: &[Bytes]) -> Answer {
        let usage = json!({
            "total_tokens": text + made, "input_tokens": text, "output_tokens": made,
            "input_tokens_details": { "text_tokens": text, "image_tokens": 0 },
            "output_tokens_details": { "image_tokens": made, "text_tokens": 0 },
        });
        let size = format!("{}x{}", self.width, self.height);
        let mut body = json!({
            "background": "opaque", "output_format": self.format.name(), "size": size, "quality": self.quality,
            "usage": usage,
        });
        if !self.stream {
            set(&mut body, "created", json!(created));
            set(&mut body, "data", pictures.iter().map(|_| json!({ "b64_json": PICTURE })).collect::<Value>());
            return Answer::json_with_pictures(200, &body, pictures);
        }
        set(&mut body, "type", json!("image_generation.completed"));
        set(&mut body, "created_at", json!(created));
        set(&mut body, "b64_json", json!(PICTURE));
        let event = Answer::json_with_pictures(200, &body, pictures);
        let mut stream = b"event: image_generation.completed\ndata: ".to_vec();
        stream.extend_from_slice(&event.body);
        stream.extend_from_slice(b"\n\n");
        Answer::new(200, "text/event-stream; charset=utf-8", stream)
    }
}

pub(super) fn ask(body: &Value) -> Result<Ask, Answer> {
    let fields = body.as_object().ok_or_else(|| bad("body", "invalid_type", "The body must be a JSON object."))?;
    if let Some(unknown) = fields.keys().find(|key| !PARAMETERS.contains(&key.as_str())) {
        return Err(bad(unknown, "unknown_parameter", &format!("Unknown parameter: '{unknown}'.")));
    }
    let name = body.get("model").and_then(Value::as_str);
    let name =
        name.ok_or_else(|| bad("model", "missing_required_parameter", "Missing required parameter: 'model'."))?;
    let family = family(name).ok_or_else(|| retired(name))?;
    let prompt = prompt(body)?;
    let images = body.get("n").map_or(Some(1), Value::as_u64).filter(|n| (1..=10).contains(n));
    let images = images.ok_or_else(|| bad("n", "integer_out_of_range", "Invalid 'n': must be between 1 and 10."))?;
    let (quality, model) = tier(body, family)?;
    let (width, height) = side_rules(one_of(body, "size", &[])?.unwrap_or("auto"), family)
        .map_err(|message| bad("size", "invalid_value", &message))?;
    let format = one_of(body, "output_format", &["png", "jpeg", "webp"])?.and_then(Format::named);
    if one_of(body, "background", &["transparent", "opaque", "auto"])? == Some("transparent") {
        let message = "Transparent background is not supported for this model.";
        return Err(bad("background", "invalid_value", message));
    }
    one_of(body, "moderation", &["low", "auto"])?;
    Ok(Ask {
        model,
        prompt: prompt.to_owned(),
        images: u32::try_from(images).unwrap_or(1),
        width,
        height,
        tokens: image_tokens(family, &quality, width, height),
        quality,
        format: format.unwrap_or(Format::Png),
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
    })
}

fn prompt(body: &Value) -> Result<&str, Answer> {
    let prompt = body.get("prompt").and_then(Value::as_str).filter(|prompt| !prompt.is_empty());
    let prompt =
        prompt.ok_or_else(|| bad("prompt", "missing_required_parameter", "Missing required parameter: 'prompt'."))?;
    if prompt.chars().count() > 32_000 {
        let message = "Invalid 'prompt': string too long. Expected a string with maximum length 32000.";
        return Err(bad("prompt", "string_above_max_length", message));
    }
    Ok(prompt)
}

/// The quality as it is echoed, and the tier of the model that a gateway would call by its own name.
fn tier(body: &Value, family: Family) -> Result<(String, &'static Model), Answer> {
    let known: &[&str] = match family {
        Family::Gpt15 | Family::Gpt2 => &["low", "medium", "high", "auto"],
        Family::Flare25 | Family::Flare26 => &["low", "medium", "high", "xhigh", "max", "auto"],
    };
    let quality = one_of(body, "quality", known)?.filter(|quality| *quality != "auto").unwrap_or("high");
    let tier = if matches!(quality, "low" | "medium") { quality } else { "high" };
    let model = model(&format!("openai/{}-{tier}", family.name())).ok_or_else(|| retired(family.name()))?;
    Ok((quality.to_owned(), model))
}

/// A string field, one of `values` unless that is empty.
fn one_of<'a>(body: &'a Value, name: &str, values: &[&str]) -> Result<Option<&'a str>, Answer> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let text = value.as_str().filter(|text| values.is_empty() || values.contains(text));
    text.map(Some).ok_or_else(|| {
        let supported: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
        let message = format!("Invalid value: {value}. Supported values are: {}.", supported.join(", "));
        bad(name, "invalid_value", &message)
    })
}
