//! What a request asks of each version: models, sizes, and every list of allowed values.

use serde_json::{Map, Value};

use super::super::super::truth::{Model, on_the_wire};
use super::super::super::visit::Visit;
use super::super::super::wire::Answer;
use super::bad;

/// Seeds are below this.
pub(super) const SEEDS: u64 = 2_147_483_648;

/// A valid request.
pub(super) struct Ask {
    pub(super) model: &'static Model,
    pub(super) prompt: String,
    pub(super) seed: Option<u64>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) images: u64,
    pub(super) style: Option<String>,
    magic: bool,
}

impl Ask {
    /// The prompt that is echoed: the magic prompt's rewrite when that was asked for.
    pub(super) fn rewritten(&self) -> String {
        if self.magic {
            format!("{}, rich in detail, balanced composition, evocative light", self.prompt)
        } else {
            self.prompt.clone()
        }
    }
}

/// The fields of a body, JSON or multipart, as one JSON object. Text parts that are numbers become numbers.
pub(super) async fn fields(visit: &Visit<'_>) -> Result<Value, Answer> {
    if visit.call.media_type().as_deref() != Some("multipart/form-data") {
        return serde_json::from_slice(&visit.call.body).map_err(|_| bad("Request body is not valid JSON"));
    }
    let form = visit.call.form().await.ok_or_else(|| bad("Malformed multipart/form-data"))?;
    let mut fields = Map::new();
    for name in form.names() {
        if let Some(text) = form.text(name) {
            let number = matches!(name, "seed" | "num_images").then(|| text.parse::<u64>().ok()).flatten();
            fields.insert(name.to_owned(), number.map_or_else(|| Value::from(text), Value::from));
        }
    }
    Ok(Value::Object(fields))
}

/// `POST /generate`.
pub(super) fn legacy(body: &Value) -> Result<Ask, Answer> {
    let request = body.get("image_request").ok_or_else(|| bad("image_request is required"))?;
    let wire = one_of(request, "model", &LEGACY_MODELS)?.unwrap_or("V_2");
    let wire = if matches!(wire, "V_3" | "AUTO") { "DEFAULT" } else { wire };
    let style = one_of(request, "style_type", &STYLES_LEGACY)?.map(str::to_owned);
    let ratio = one_of(request, "aspect_ratio", &LEGACY_RATIOS.map(|(ratio, _)| ratio))?;
    let resolution = request.get("resolution").and_then(Value::as_str);
    let size = match (ratio, resolution) {
        (Some(_), Some(_)) => return Err(bad("aspect_ratio and resolution cannot both be set")),
        (None, Some(_)) if !wire.starts_with("V_2") || wire.starts_with("V_2A") => {
            return Err(bad("resolution is only supported for model version V_2"));
        }
        (None, Some(text)) => legacy_resolution(text)?,
        (ratio, None) => ratio_size(&LEGACY_RATIOS, ratio.unwrap_or("ASPECT_1_1")),
    };
    ask(request, "prompt", "magic_prompt_option", wire, size, style)
}

/// `POST /v1/ideogram-v3/generate`.
pub(super) fn v3(body: &Value) -> Result<Ask, Answer> {
    let speed = one_of(body, "rendering_speed", &["FLASH", "TURBO", "BALANCED", "DEFAULT", "QUALITY"])?;
    let wire = speed.filter(|speed| *speed != "BALANCED").unwrap_or("DEFAULT");
    one_of(body, "style_preset", &PRESETS)?;
    let style = one_of(body, "style_type", &STYLES_V3)?.unwrap_or("GENERAL").to_owned();
    let ratio = one_of(body, "aspect_ratio", &V3_RATIOS.map(|(ratio, _)| ratio))?;
    let resolution = one_of(body, "resolution", &V3_RESOLUTIONS)?;
    let size = match (ratio, resolution) {
        (Some(_), Some(_)) => return Err(bad("aspect_ratio and resolution cannot both be set")),
        (None, Some(text)) => parsed(text)?,
        (ratio, None) => ratio_size(&V3_RATIOS, ratio.unwrap_or("1x1")),
    };
    ask(body, "prompt", "magic_prompt", wire, size, Some(style))
}

/// `POST /v1/ideogram-v4/generate`.
pub(super) fn v4(body: &Value) -> Result<Ask, Answer> {
    for gone in ["seed", "negative_prompt", "num_images", "prompt"] {
        if body.get(gone).is_some() {
            return Err(bad(&format!("{gone} is not supported by this endpoint")));
        }
    }
    let field = match (body.get("text_prompt").is_some(), body.get("json_prompt").is_some()) {
        (true, false) => "text_prompt",
        (false, true) => "json_prompt",
        _ => {
            return Err(bad("exactly one of text_prompt and json_prompt must be set"));
        }
    };
    let wire = match one_of(body, "rendering_speed", &["FLASH", "TURBO", "DEFAULT", "QUALITY"])? {
        Some("FLASH") => return Err(bad("rendering_speed FLASH is not supported yet")),
        Some("TURBO") => "V4_TURBO",
        Some("QUALITY") => "V4_QUALITY",
        _ => "V4_DEFAULT",
    };
    let size = parsed(one_of(body, "resolution", &V4_RESOLUTIONS)?.unwrap_or("2048x2048"))?;
    let mut ask = ask(body, field, "magic_prompt", wire, size, None)?;
    ask.magic = field == "text_prompt";
    Ok(ask)
}

fn ask(
    body: &Value,
    prompt: &str,
    magic: &str,
    wire: &str,
    (width, height): (u32, u32),
    style: Option<String>,
) -> Result<Ask, Answer> {
    let prompt = Some(text(body, prompt)).filter(|text| !text.is_empty()).ok_or_else(|| bad("prompt is required"))?;
    let magic = one_of(body, magic, &["AUTO", "ON", "OFF"])? == Some("ON");
    let images = within(body, "num_images", 1, 8)?.unwrap_or(1);
    let model = on_the_wire("ideogram", wire).ok_or_else(|| bad("model is not available"))?;
    Ok(Ask { model, prompt, seed: seed(body)?, width, height, images, style, magic })
}

/// A text field; a structured prompt reads as its JSON.
pub(super) fn text(body: &Value, name: &str) -> String {
    match body.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The seed that was asked for.
pub(super) fn seed(body: &Value) -> Result<Option<u64>, Answer> {
    within(body, "seed", 0, SEEDS - 1)
}

/// A whole number within limits, if it is there.
pub(super) fn within(body: &Value, name: &str, least: u64, most: u64) -> Result<Option<u64>, Answer> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let number = value.as_u64().filter(|number| (least..=most).contains(number));
    number.map(Some).ok_or_else(|| bad(&format!("{name} must be an integer between {least} and {most}")))
}

fn one_of<'a>(body: &'a Value, name: &str, values: &[&str]) -> Result<Option<&'a str>, Answer> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let text = value.as_str().filter(|text| values.contains(text));
    text.map(Some).ok_or_else(|| bad(&format!("{name} must be one of {}", values.join(", "))))
}

fn ratio_size<const N: usize>(ratios: &[(&str, (u32, u32)); N], ratio: &str) -> (u32, u32) {
    ratios.iter().find(|(name, _)| *name == ratio).map_or((1024, 1024), |(_, size)| *size)
}

fn parsed(resolution: &str) -> Result<(u32, u32), Answer> {
    let sides =
        resolution.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    sides.ok_or_else(|| bad("resolution must be WIDTHxHEIGHT"))
}

/// `RESOLUTION_W_H`: v3's list less one, and ten more.
fn legacy_resolution(text: &str) -> Result<(u32, u32), Answer> {
    let plain = text.strip_prefix("RESOLUTION_").map(|sides| sides.replace('_', "x")).unwrap_or_default();
    let known =
        (V3_RESOLUTIONS.contains(&plain.as_str()) && plain != "800x1280") || LEGACY_ONLY.contains(&plain.as_str());
    if known { parsed(&plain) } else { Err(bad(&format!("resolution {text} is not supported"))) }
}

const LEGACY_MODELS: [&str; 8] = ["V_1", "V_1_TURBO", "V_2", "V_2_TURBO", "V_2A", "V_2A_TURBO", "V_3", "AUTO"];

const LEGACY_RATIOS: [(&str, (u32, u32)); 11] = [
    ("ASPECT_1_1", (1024, 1024)),
    ("ASPECT_16_9", (1312, 736)),
    ("ASPECT_9_16", (736, 1312)),
    ("ASPECT_16_10", (1280, 800)),
    ("ASPECT_10_16", (800, 1280)),
    ("ASPECT_3_2", (1248, 832)),
    ("ASPECT_2_3", (832, 1248)),
    ("ASPECT_4_3", (1152, 864)),
    ("ASPECT_3_4", (864, 1152)),
    ("ASPECT_1_3", (512, 1536)),
    ("ASPECT_3_1", (1536, 512)),
];

const V3_RATIOS: [(&str, (u32, u32)); 15] = [
    ("1x1", (1024, 1024)),
    ("16x9", (1312, 736)),
    ("9x16", (736, 1312)),
    ("16x10", (1280, 800)),
    ("10x16", (800, 1280)),
    ("3x2", (1248, 832)),
    ("2x3", (832, 1248)),
    ("4x3", (1152, 864)),
    ("3x4", (864, 1152)),
    ("5x4", (1120, 896)),
    ("4x5", (896, 1120)),
    ("2x1", (1408, 704)),
    ("1x2", (704, 1408)),
    ("3x1", (1536, 512)),
    ("1x3", (512, 1536)),
];

const STYLES_LEGACY: [&str; 9] =
    ["AUTO", "GENERAL", "FICTION", "REALISTIC", "DESIGN", "RENDER_3D", "ANIME", "CUSTOM", "STYLIZED"];
const STYLES_V3: [&str; 7] = ["AUTO", "GENERAL", "REALISTIC", "DESIGN", "CUSTOM", "FICTION", "STYLIZED"];

const LEGACY_ONLY: [&str; 10] = [
    "640x1024", "720x1280", "768x1024", "768x1152", "768x1232", "1024x640", "1024x768", "1152x768", "1232x768",
    "1280x720",
];

#[rustfmt::skip]
const V3_RESOLUTIONS: [&str; 69] = [
    "512x1536", "576x1408", "576x1472", "576x1536", "640x1344", "640x1408", "640x1472", "640x1536",
    "704x1152", "704x1216", "704x1280", "704x1344", "704x1408", "704x1472", "736x1312", "768x1088",
    "768x1216", "768x1280", "768x1344", "800x1280", "832x960", "832x1024", "832x1088", "832x1152",
    "832x1216", "832x1248", "864x1152", "896x960", "896x1024", "896x1088", "896x1120", "896x1152", "960x832",
    "960x896", "960x1024", "960x1088", "1024x832", "1024x896", "1024x960", "1024x1024", "1088x768",
    "1088x832", "1088x896", "1088x960", "1120x896", "1152x704", "1152x832", "1152x864", "1152x896",
    "1216x704", "1216x768", "1216x832", "1248x832", "1280x704", "1280x768", "1280x800", "1312x736",
    "1344x640", "1344x704", "1344x768", "1408x576", "1408x640", "1408x704", "1472x576", "1472x640",
    "1472x704", "1536x512", "1536x576", "1536x640",
];

#[rustfmt::skip]
const V4_RESOLUTIONS: [&str; 21] = [
    "2048x2048", "1440x2880", "2880x1440", "1664x2496", "2496x1664", "1792x2240", "2240x1792", "1440x2560",
    "2560x1440", "1600x2560", "2560x1600", "1728x2304", "2304x1728", "1296x3168", "3168x1296", "1152x2944",
    "2944x1152", "1248x3328", "3328x1248", "1280x3072", "3072x1280",
];

#[rustfmt::skip]
const PRESETS: [&str; 62] = [
    "80S_ILLUSTRATION", "90S_NOSTALGIA", "ABSTRACT_ORGANIC", "ANALOG_NOSTALGIA", "ART_BRUT", "ART_DECO",
    "ART_POSTER", "AURA", "AVANT_GARDE", "BAUHAUS", "BLUEPRINT", "BLURRY_MOTION", "BRIGHT_ART",
    "C4D_CARTOON", "CHILDRENS_BOOK", "COLLAGE", "COLORING_BOOK_I", "COLORING_BOOK_II", "CUBISM", "DARK_AURA",
    "DOODLE", "DOUBLE_EXPOSURE", "DRAMATIC_CINEMA", "EDITORIAL", "EMOTIONAL_MINIMAL", "ETHEREAL_PARTY",
    "EXPIRED_FILM", "FLAT_ART", "FLAT_VECTOR", "FOREST_REVERIE", "GEO_MINIMALIST", "GLASS_PRISM",
    "GOLDEN_HOUR", "GRAFFITI_I", "GRAFFITI_II", "HALFTONE_PRINT", "HIGH_CONTRAST", "HIPPIE_ERA", "ICONIC",
    "JAPANDI_FUSION", "JAZZY", "LONG_EXPOSURE", "MAGAZINE_EDITORIAL", "MINIMAL_ILLUSTRATION", "MIXED_MEDIA",
    "MONOCHROME", "NIGHTLIFE", "OIL_PAINTING", "OLD_CARTOONS", "PAINT_GESTURE", "POP_ART", "RETRO_ETCHING",
    "RIVIERA_POP", "SPOTLIGHT_80S", "STYLIZED_RED", "SURREAL_COLLAGE", "TRAVEL_POSTER", "VINTAGE_GEO",
    "VINTAGE_POSTER", "WATERCOLOR", "WEIRD", "WOODBLOCK_PRINT",
];
