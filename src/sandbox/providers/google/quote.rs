//! What a `:generateContent` body asks for, in pixels and tokens, or why it is refused.

use serde_json::Value;

use super::super::super::wire::Answer;
use super::problem::invalid;

/// A valid request.
pub(super) struct Asked {
    pub(super) prompt: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) seed: Option<u64>,
    /// Tokens spent on thinking.
    pub(super) thoughts: u64,
    /// Tokens of the picture.
    pub(super) image_tokens: u64,
    pub(super) wants_image: bool,
    pub(super) wants_text: bool,
}

/// Thinking tokens of the level `high`.
pub(super) const HIGH: u64 = 600;
/// Thinking tokens of the level `medium`, the default.
const MEDIUM: u64 = 212;

/// Ratios and their sizes at 1K; 2K and 4K are exact multiples. The last four are not for the pro model.
const SIZES: [(&str, u32, u32); 14] = [
    ("1:1", 1024, 1024),
    ("2:3", 848, 1264),
    ("3:2", 1264, 848),
    ("3:4", 896, 1200),
    ("4:3", 1200, 896),
    ("4:5", 928, 1152),
    ("5:4", 1152, 928),
    ("9:16", 768, 1376),
    ("16:9", 1376, 768),
    ("21:9", 1584, 672),
    ("1:4", 512, 2064),
    ("4:1", 2064, 512),
    ("1:8", 352, 2928),
    ("8:1", 2928, 352),
];

const TOP: [&str; 8] = [
    "contents",
    "generationConfig",
    "safetySettings",
    "systemInstruction",
    "tools",
    "toolConfig",
    "cachedContent",
    "labels",
];
const CONFIG: [&str; 13] = [
    "responseModalities",
    "imageConfig",
    "thinkingConfig",
    "seed",
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "responseMimeType",
    "presencePenalty",
    "frequencyPenalty",
];
const IMAGE: [&str; 5] = ["aspectRatio", "imageSize", "personGeneration", "prominentPeople", "imageOutputOptions"];

/// Reads and prices a body for the model `wire`.
pub(super) fn asked(body: &Value, wire: &str) -> Result<Asked, Answer> {
    let config = field(body, "generationConfig");
    let image = field(config, "imageConfig");
    known(body, &TOP, "")?;
    known(config, &CONFIG, " at 'generation_config'")?;
    known(image, &IMAGE, " at 'generation_config.image_config'")?;
    let pro = wire == "gemini-3-pro-image";
    let prompt = prompt(body)?;
    let (width, height) = frame(image, pro)?;
    let (scale, image_tokens) = scale(image, pro)?;
    let modalities = field(config, "responseModalities");
    let wants =
        |name: &str| modalities.as_array().is_none_or(|list| list.iter().any(|item| item.as_str() == Some(name)));
    Ok(Asked {
        prompt,
        width: width * scale,
        height: height * scale,
        seed: field(config, "seed").as_u64(),
        thoughts: if pro { 0 } else { thoughts(field(config, "thinkingConfig"))? },
        image_tokens,
        wants_image: wants("IMAGE"),
        wants_text: modalities.is_array() && wants("TEXT"),
    })
}

/// A field by its camel-case name, or by the snake-case one that the API takes as well.
fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).or_else(|| value.get(snake(name))).unwrap_or(&Value::Null)
}

fn snake(name: &str) -> String {
    name.chars().fold(String::new(), |mut out, letter| {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
        out
    })
}

fn known(value: &Value, names: &[&str], place: &str) -> Result<(), Answer> {
    let Some(fields) = value.as_object() else {
        return Ok(());
    };
    match fields.keys().find(|key| !names.iter().any(|name| name == key || snake(name) == **key)) {
        Some(key) => {
            Err(invalid(&format!("Invalid JSON payload received. Unknown name \"{key}\"{place}: Cannot find field.")))
        }
        None => Ok(()),
    }
}

/// The text of all user parts.
fn prompt(body: &Value) -> Result<String, Answer> {
    let contents = field(body, "contents").as_array().filter(|contents| !contents.is_empty());
    let contents = contents.ok_or_else(|| invalid("* GenerateContentRequest.contents: contents is not specified\n"))?;
    let parts = contents.iter().filter_map(|content| content.get("parts")?.as_array()).flatten();
    let texts: Vec<&str> = parts.filter_map(|part| part.get("text")?.as_str()).collect();
    let prompt = texts.join("\n");
    if prompt.is_empty() {
        return Err(invalid("* GenerateContentRequest.contents[0].parts: contents.parts must not be empty.\n"));
    }
    Ok(prompt)
}

fn frame(image: &Value, pro: bool) -> Result<(u32, u32), Answer> {
    let asked = field(image, "aspectRatio").as_str().unwrap_or("1:1");
    let sizes = SIZES.iter().take(if pro { 10 } else { SIZES.len() });
    let found = sizes.clone().find(|(ratio, _, _)| *ratio == asked).map(|(_, width, height)| (*width, *height));
    found.ok_or_else(|| {
        let ratios: Vec<String> = sizes.map(|(ratio, _, _)| format!("'{ratio}'")).collect();
        invalid(&format!("aspect_ratio must be one of {}.", ratios.join(", ")))
    })
}

/// How many times 1K each side is, and the tokens of the picture.
fn scale(image: &Value, pro: bool) -> Result<(u32, u64), Answer> {
    match (field(image, "imageSize").as_str().unwrap_or("1K"), pro) {
        ("1K", _) => Ok((1, 1_120)),
        ("2K", true) => Ok((2, 1_120)),
        ("2K", false) => Ok((2, 1_680)),
        ("4K", true) => Ok((4, 2_000)),
        ("4K", false) => Ok((4, 2_520)),
        _ => Err(invalid("image_size must be one of '1K', '2K', '4K'.")),
    }
}

fn thoughts(thinking: &Value) -> Result<u64, Answer> {
    let level = field(thinking, "thinkingLevel").as_str().unwrap_or("medium");
    match level.to_ascii_lowercase().as_str() {
        "minimal" => Ok(0),
        "low" => Ok(96),
        "medium" => Ok(MEDIUM),
        "high" => Ok(HIGH),
        _ => Err(invalid(&format!(
            "Invalid value at 'generation_config.thinking_config.thinking_level' \
             (type.googleapis.com/google.ai.generativelanguage.v1beta.ThinkingConfig.ThinkingLevel), \"{level}\""
        ))),
    }
}
