//! `:generateContent` with a picture as the answer: the native image models.
//!
//! Why it exists: a refusal is a 200 with a reason instead of a picture, and the bill is counted in tokens, thoughts
//! included. What it refuses to know: paths, credentials and error envelopes. To add a field: [`body`].

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::common::{Text, clean, garbled, number, parse, picture, token_usage};
use super::super::{Op, Progress, RawImage, Reply, Step, Unsupported};
use super::{Host, known, output};
use crate::domain::catalog::Model;
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::domain::quote::Tokens;

const RATIOS: [&str; 14] =
    ["1:1", "1:4", "1:8", "2:3", "3:2", "3:4", "4:1", "4:3", "4:5", "5:4", "8:1", "9:16", "16:9", "21:9"];
/// The K is a capital one; another is refused.
const SCALES: [&str; 4] = ["512", "1K", "2K", "4K"];
/// The level changes the bill: thoughts are tokens.
const THINKING: [&str; 3] = ["minimal", "medium", "high"];

/// What is sent: one prompt, one picture. There is no field for a negative prompt, and none for a count.
pub(super) fn body(step: &Step<'_>, model: &Model, host: Host<'_>) -> Result<Value, Unsupported> {
    if !matches!(step.op, Op::Generate) {
        return Err(Unsupported(format!("{} makes pictures and enlarges none", model.id)));
    }
    if step.images != 1 || step.negative_prompt.is_some() {
        return Err(Unsupported(format!("{} takes no negative prompt and makes one image a call", model.id)));
    }
    let mut config = Map::new();
    config.insert("responseModalities".into(), json!(["IMAGE"]));
    let image = image_config(step, model, host)?;
    if !image.is_empty() {
        config.insert("imageConfig".into(), image.into());
    }
    if let Some(level) = model.option("thinking") {
        let level = known(model, "thinking level", level, &THINKING)?;
        config.insert("thinkingConfig".into(), json!({"thinkingLevel": level}));
    }
    if let Some(seed) = step.seed {
        config.insert("seed".into(), seed.into());
    }
    Ok(json!({"contents": [{"role": "user", "parts": [{"text": step.prompt}]}], "generationConfig": config}))
}

fn image_config(step: &Step<'_>, model: &Model, host: Host<'_>) -> Result<Map<String, Value>, Unsupported> {
    let mut image = Map::new();
    if !step.label.is_empty() {
        image.insert("aspectRatio".into(), known(model, "ratio", step.label, &RATIOS)?.into());
    }
    if !step.scale.is_empty() {
        image.insert("imageSize".into(), known(model, "size", step.scale, &SCALES)?.into());
    }
    // The Gemini API refuses both; its pictures come as it likes.
    if host.is_vertex() {
        image.insert("imageOutputOptions".into(), output(step, model)?);
        if let Some(people) = model.option("person_generation") {
            image.insert("personGeneration".into(), people.into());
        }
    }
    Ok(image)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(default)]
    prompt_feedback: Value,
    #[serde(default)]
    usage_metadata: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(default)]
    finish_reason: Value,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow)]
    inline_data: Option<Inline<'a>>,
    #[serde(default)]
    thought: Value,
}

#[derive(Deserialize)]
struct Inline<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
}

/// What a 200 means.
pub(super) fn pictures(step: &Step<'_>, model: &Model, reply: &Reply) -> Result<Progress, Fault> {
    let answer: Answer<'_> = parse(reply)?;
    let candidates = answer.candidates.unwrap_or_default();
    let images: Vec<RawImage> = candidates
        .iter()
        .flat_map(|candidate| candidate.content.iter())
        .flat_map(|content| content.parts.iter().flatten())
        // A sketch made while thinking is not the answer.
        .filter(|part| part.thought != Value::Bool(true))
        .filter_map(|part| picture(part.inline_data.as_ref()?.data.as_ref()?.as_str()))
        .take(step.images.into())
        .map(|bytes| RawImage { bytes, seed: None })
        .collect();
    if images.is_empty() {
        let reason = candidates.first().map(|candidate| &candidate.finish_reason);
        return Err(refusal(&answer.prompt_feedback, reason));
    }
    Ok(Progress::Done(images, token_usage(model, tokens(&answer.usage_metadata))))
}

/// Why there is no picture. Whether Google charges for a withheld one is not stated; an answer in words was made and is.
fn refusal(feedback: &Value, reason: Option<&Value>) -> Fault {
    let moderated = |detail: String| Fault::new(Class::Moderate, Blame::Caller, Billed::Unknown, clean(&detail));
    if let Some(block) = feedback.get("blockReason").and_then(Value::as_str) {
        return moderated(format!("The prompt was blocked ({block})."));
    }
    match reason.and_then(Value::as_str) {
        Some(
            reason @ ("IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "SAFETY"
            | "PROHIBITED_CONTENT"
            | "RECITATION"
            | "BLOCKLIST"
            | "SPII"),
        ) => moderated(format!("The picture was withheld ({reason}).")),
        Some(reason) => garbled(clean(&format!("The answer ended without a picture ({reason})."))),
        None => garbled("The answer holds no picture and no reason."),
    }
}

/// The counts of the bill. Thoughts are billed as text and are not among the candidates' tokens; of these, what is not
/// said to be text is the picture.
fn tokens(usage: &Value) -> Tokens {
    let count = |name: &str| usage.get(name).and_then(number).unwrap_or(0);
    let pictures = |name: &str| -> u64 {
        let details = usage.get(name).and_then(Value::as_array).into_iter().flatten();
        let images = details.filter(|detail| detail.get("modality").and_then(Value::as_str) == Some("IMAGE"));
        images.filter_map(|detail| number(detail.get("tokenCount")?)).fold(0, u64::saturating_add)
    };
    let (asked, made) = (count("promptTokenCount"), count("candidatesTokenCount"));
    let image_in = pictures("promptTokensDetails");
    let image_out = match pictures("candidatesTokensDetails") {
        0 => made,
        images => images,
    };
    Tokens {
        text_in: asked.saturating_sub(image_in),
        image_in,
        text_out: count("thoughtsTokenCount").saturating_add(made.saturating_sub(image_out)),
        image_out,
    }
}
