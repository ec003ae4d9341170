//! `:predict`, the way of Imagen, and of Vertex's upscaler.
//!
//! Why it exists: the models are retired on the Gemini API, but the shape lives on in Vertex projects and in fixtures.
//! What it refuses to know: paths, credentials and error envelopes. To add a parameter: [`body`].

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::common::{Text, clean, garbled, parse, picture};
use super::super::{Op, Progress, RawImage, Reply, Step, Unsupported, Usage};
use super::{Host, known, output};
use crate::domain::catalog::Model;
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::domain::image::Size;

const RATIOS: [&str; 5] = ["1:1", "3:4", "4:3", "9:16", "16:9"];
const SCALES: [&str; 2] = ["1K", "2K"];
const MOST_IMAGES: u8 = 4;
/// The upscaler's limits: 10 MB in, 17 megapixels out.
const MAX_INPUT_BYTES: usize = 10_000_000;
const MAX_OUTPUT_PIXELS: u64 = 17_000_000;

/// What is sent.
pub(super) fn body(step: &Step<'_>, model: &Model, host: Host<'_>) -> Result<Value, Unsupported> {
    if let Op::Upscale { image, format, from } = step.op {
        return upscale(step, model, host, image, (format.media_type(), from));
    }
    if step.images > MOST_IMAGES {
        return Err(Unsupported(format!("{} makes {MOST_IMAGES} images a call at most", model.id)));
    }
    let mut parameters = Map::new();
    parameters.insert("sampleCount".into(), step.images.into());
    // Without it a filtered picture is missing and nothing says why.
    parameters.insert("includeRaiReason".into(), true.into());
    parameters.insert("outputOptions".into(), output(step, model)?);
    if !step.label.is_empty() {
        parameters.insert("aspectRatio".into(), known(model, "ratio", step.label, &RATIOS)?.into());
    }
    if !step.scale.is_empty() {
        parameters.insert("sampleImageSize".into(), known(model, "size", step.scale, &SCALES)?.into());
    }
    for (option, parameter) in [("person_generation", "personGeneration"), ("safety_setting", "safetySetting")] {
        if let Some(word) = model.option(option) {
            parameters.insert(parameter.into(), word.into());
        }
    }
    if !host.is_vertex() && (step.seed.is_some() || step.negative_prompt.is_some()) {
        return Err(Unsupported(format!("{} takes a seed and a negative prompt on Vertex only", model.id)));
    }
    if let Some(seed) = step.seed {
        // A watermark and a seed exclude each other, and the watermark is on unless it is switched off.
        parameters.insert("seed".into(), seed.into());
        parameters.insert("addWatermark".into(), false.into());
    }
    if let Some(text) = step.negative_prompt {
        parameters.insert("negativePrompt".into(), text.into());
    }
    Ok(json!({"instances": [{"prompt": step.prompt}], "parameters": parameters}))
}

fn upscale(
    step: &Step<'_>,
    model: &Model,
    host: Host<'_>,
    image: &[u8],
    (media_type, from): (&str, Size),
) -> Result<Value, Unsupported> {
    let times = |factor: u32| {
        let sides = (from.width.checked_mul(factor)?, from.height.checked_mul(factor)?);
        (sides == (step.size.width, step.size.height)).then(|| format!("x{factor}"))
    };
    let factor = (2..=4).find_map(times);
    let fits = image.len() <= MAX_INPUT_BYTES && step.size.pixels() <= MAX_OUTPUT_PIXELS;
    match factor {
        Some(factor) if fits && host.is_vertex() => Ok(json!({
            "instances": [{"prompt": "", "image": {
                "bytesBase64Encoded": base64_simd::STANDARD.encode_to_string(image), "mimeType": media_type,
            }}],
            "parameters": {
                "mode": "upscale", "sampleCount": 1,
                "upscaleConfig": {"upscaleFactor": factor},
                "outputOptions": output(step, model)?,
            },
        })),
        _ => Err(Unsupported(format!("{} cannot enlarge {from} to {} here", model.id, step.size))),
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    predictions: Option<Vec<Prediction<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prediction<'a> {
    #[serde(borrow)]
    bytes_base64_encoded: Option<Text<'a>>,
    #[serde(default)]
    rai_filtered_reason: Value,
}

/// What a 200 means. Withheld pictures are missing and are stated to be free.
pub(super) fn pictures(step: &Step<'_>, reply: &Reply) -> Result<Progress, Fault> {
    let answer: Answer<'_> = parse(reply)?;
    let predictions = answer.predictions.unwrap_or_default();
    let images: Vec<RawImage> = predictions
        .iter()
        .filter_map(|prediction| picture(prediction.bytes_base64_encoded.as_ref()?.as_str()))
        .take(step.images.into())
        .map(|bytes| RawImage { bytes, seed: None })
        .collect();
    if images.is_empty() {
        let mut reasons = predictions.iter().filter_map(|p| p.rai_filtered_reason.as_str()).map(clean);
        return Err(match reasons.find(|reason| !reason.is_empty()) {
            Some(reason) => Fault::new(Class::Moderate, Blame::Caller, Billed::No, reason),
            None => garbled("The answer holds no picture and no reason."),
        });
    }
    let count = u8::try_from(images.len()).unwrap_or(step.images);
    let usage = if count < step.images { Usage::Images(count) } else { Usage::AsQuoted };
    Ok(Progress::Done(images, usage))
}
