//! A body's fields, found in one pass and not yet read.
//!
//! Why it exists: unknown fields are told and not lost, double ones are refused, and a fault names its place; a tree of
//! the whole body is never built. What it refuses to know: what a field means. To add a field: its name in
//! [`Surface::knows`].

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::value::{Value, bad, kind};
use crate::domain::refusal::Refusal;

/// The deepest nesting of a body.
const MAX_DEPTH: usize = 128;
/// The most unknown fields that are told one by one.
const MAX_UNKNOWN: usize = 16;
/// How alike two names are, 0 to 1, for one to be suggested for the other.
const ALIKE: f64 = 0.8;

/// The fields of `POST /generate`.
const NATIVE: [&str; 22] = [
    "prompt",
    "width",
    "height",
    "w",
    "h",
    "size",
    "aspect_ratio",
    "n",
    "seed",
    "negative_prompt",
    "task",
    "quality",
    "max_cost_usd",
    "deadline_ms",
    "model",
    "data_policy",
    "fit",
    "output_format",
    "response_format",
    "webhook",
    "metadata",
    "strict",
];

/// The fields of `POST /generations/{id}/upscale`.
const UPSCALE: [&str; 15] = [
    "width",
    "height",
    "w",
    "h",
    "size",
    "aspect_ratio",
    "image",
    "quality",
    "max_cost_usd",
    "deadline_ms",
    "data_policy",
    "fit",
    "output_format",
    "response_format",
    "strict",
];

/// Fields of `OpenAI`'s images API that have no meaning here.
pub(super) const OPENAI_ONLY: [&str; 7] =
    ["background", "moderation", "output_compression", "partial_images", "stream", "style", "user"];

/// The fields of a verdict.
const FEEDBACK: [&str; 4] = ["accepted", "rater", "reason", "image"];

/// Which route's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// `/generations/{id}/feedback`.
    Feedback,
    /// `/generate` and `/plan`.
    Native,
    /// `/v1/images/generations`.
    Openai,
    /// `/generations/{id}/upscale`.
    Upscale,
}

impl Surface {
    fn knows(self, name: &str) -> Option<&'static str> {
        let (own, more): (&[&'static str], &[&'static str]) = match self {
            Self::Feedback => (&FEEDBACK, &[]),
            Self::Native => (&NATIVE, &[]),
            Self::Openai => (&NATIVE, &OPENAI_ONLY),
            Self::Upscale => (&UPSCALE, &[]),
        };
        own.iter().chain(more).copied().find(|known| *known == name)
    }
}

/// The fields of one body.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub(super) surface: Surface,
    known: Vec<(&'static str, &'a str)>,
    unknown: Vec<String>,
    more_unknown: usize,
    at: &'static str,
    fault: Option<Refusal>,
}

impl<'a> Fields<'a> {
    /// Finds the fields of `body`, which must be one JSON object in UTF-8.
    pub(super) fn read(body: &'a [u8], surface: Surface) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(body).map_err(|error| {
            bad("", format!("the body is not UTF-8 from byte {} on; send JSON in UTF-8", error.valid_up_to()))
        })?;
        let text = text.trim_start_matches('\u{feff}').trim_matches([' ', '\t', '\r', '\n']);
        if !text.starts_with('{') {
            let is = if text.is_empty() { "empty" } else { kind_of_body(text) };
            return Err(bad(
                "",
                format!("the body must be a JSON object such as {{\"prompt\":\"a red fox\"}}; it is {is}"),
            ));
        }
        let mut fields = Self { surface, known: Vec::new(), unknown: Vec::new(), more_unknown: 0, at: "", fault: None };
        let mut json = serde_json::Deserializer::from_str(text);
        match (&mut fields).deserialize(&mut json).and_then(|()| json.end()) {
            Ok(()) => Ok(fields),
            Err(error) => Err(fields.fault.take().unwrap_or_else(|| {
                let pointer = if fields.at.is_empty() { String::new() } else { format!("/{}", fields.at) };
                bad(pointer, format!("the body is not JSON: {error}"))
            })),
        }
    }

    /// The field of that name, unless absent or `null`.
    pub(super) fn value(&self, name: &'static str) -> Option<Value<'a>> {
        debug_assert!(
            [Surface::Openai, Surface::Upscale, Surface::Feedback].iter().any(|surface| surface.knows(name).is_some()),
            "no field {name}"
        );
        let (_, json) = self.known.iter().find(|(known, json)| *known == name && *json != "null")?;
        Some(Value { name, json })
    }

    /// A warning for each field that nobody reads.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.unknown.iter().map(|name| unknown(name)).collect();
        if self.more_unknown > 0 {
            warnings.push(format!("{} more unknown fields are ignored", self.more_unknown));
        }
        warnings
    }

    fn take(&mut self, name: &str, raw: &'a RawValue) {
        let json = raw.get();
        if depth(json) >= MAX_DEPTH {
            let pointer = format!("/{}", short(name).replace('~', "~0").replace('/', "~1"));
            self.fault = Some(bad(pointer, format!("the value is nested deeper than {MAX_DEPTH} levels")));
            return;
        }
        let Some(name) = self.surface.knows(name) else {
            if self.unknown.len() < MAX_UNKNOWN {
                self.unknown.push(short(name));
            } else {
                self.more_unknown += 1;
            }
            return;
        };
        if self.known.iter().any(|(known, _)| *known == name) {
            self.fault = Some(bad(format!("/{name}"), format!("`{name}` stands twice in the body; keep one")));
            return;
        }
        self.known.push((name, json));
    }
}

impl<'a> DeserializeSeed<'a> for &mut Fields<'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for &mut Fields<'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            self.at = self.surface.knows(&name).unwrap_or_default();
            let raw: &'a RawValue = map.next_value()?;
            self.take(&name, raw);
            if self.fault.is_some() {
                return Err(A::Error::custom("refused"));
            }
            self.at = "";
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn unknown(name: &str) -> String {
    let alike = NATIVE
        .iter()
        .map(|known| (strsim::jaro_winkler(known, &name.to_lowercase()), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, known)| *score >= ALIKE && known.len() > 1);
    match alike {
        Some((_, known)) => format!("unknown field `{name}` ignored; did you mean `{known}`?"),
        None => format!("unknown field `{name}` ignored"),
    }
}

/// A name of the caller, fit for a sentence.
fn short(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

fn kind_of_body(text: &str) -> &'static str {
    let starts_like_json = text.starts_with(|c: char| "\"[-tfn".contains(c) || c.is_ascii_digit());
    if starts_like_json { kind(text) } else { "something else" }
}

/// How deep arrays and objects of a JSON text nest.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    if !json.starts_with(['{', '[']) {
        return 0;
    }
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Fields<'_>, Refusal> {
        Fields::read(body.as_bytes(), Surface::Native)
    }

    #[test]
    fn unknown_fields_are_told_in_order_with_a_guess() {
        let fields = read(r#"{"prompt":"x","heigth":5,"colour":{"a":[1]},"Seed":1}"#).unwrap();
        assert_eq!(
            fields.warnings(),
            [
                "unknown field `heigth` ignored; did you mean `height`?",
                "unknown field `colour` ignored",
                "unknown field `Seed` ignored; did you mean `seed`?"
            ]
        );
        assert_eq!(fields.value("prompt").unwrap().json, "\"x\"");
    }

    #[test]
    fn escaped_names_and_null_are_what_they_say() {
        let fields = read("\u{feff} {\"pro\\u006dpt\": \"x\", \"n\": null}\n").unwrap();
        assert_eq!(fields.value("prompt").unwrap().json, "\"x\"");
        assert!(fields.value("n").is_none());
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        assert_eq!(depth(r#"[{"a":"[[[\"[["}]"#), 2);
        assert_eq!(depth("\"[[[\""), 0);
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(&deep).is_err());
    }
}
