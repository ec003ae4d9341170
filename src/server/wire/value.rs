//! One field's JSON text, read as the type that the contract gives it.
//!
//! Why it exists: an error names the field, what it is and what it should be, so each type is read here and nowhere
//! else. What it refuses to know: which fields there are. To add a type: a method that ends in [`Value::wants`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::usd;
use crate::domain::money::Money;
use crate::domain::refusal::Refusal;
use crate::domain::request::MAX_METADATA;

/// The longest key of a metadata pair, in characters.
const MAX_METADATA_KEY: usize = 64;
/// The longest value of a metadata pair, in characters.
const MAX_METADATA_VALUE: usize = 512;

/// An error at a JSON pointer or `header:Name`.
pub(super) fn bad(pointer: impl Into<String>, detail: impl Into<String>) -> Refusal {
    Refusal::InvalidRequest { pointer: pointer.into(), detail: detail.into() }
}

/// A field with the text of its value; the text is JSON, and not `null`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) name: &'static str,
    pub(super) json: &'a str,
}

/// A string of the body, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Value<'a> {
    /// A string without U+0000; `what` says what it should be, with an example.
    pub(super) fn text(&self, what: &str) -> Result<Cow<'a, str>, Refusal> {
        if !self.json.starts_with('"') {
            return Err(self.wants(what));
        }
        self.unescaped(self.json, || self.pointer())
    }

    fn unescaped(&self, json: &'a str, pointer: impl Fn() -> String) -> Result<Cow<'a, str>, Refusal> {
        let name = self.name;
        match serde_json::from_str::<Text<'a>>(json) {
            Ok(Text(text)) if text.contains('\0') => {
                let at = text.chars().take_while(|&c| c != '\0').count() + 1;
                Err(bad(pointer(), format!("`{name}` contains the character U+0000 as character {at}; remove it")))
            }
            Ok(Text(text)) => Ok(text),
            Err(error) => Err(bad(pointer(), format!("`{name}` is not Unicode text: {error}"))),
        }
    }

    /// An integer of this range. `2.0` is the integer 2, as in JSON Schema.
    pub(super) fn integer(&self, range: RangeInclusive<u64>, example: u64) -> Result<u64, Refusal> {
        let whole = if self.json.bytes().all(|b| b.is_ascii_digit()) {
            self.json.parse().ok()
        } else {
            self.is_number().then(|| self.json.parse().ok().and_then(integral)).flatten()
        };
        whole.filter(|value| range.contains(value)).ok_or_else(|| {
            self.wants(&format!("an integer from {} to {}, such as {example}", range.start(), range.end()))
        })
    }

    /// A number of this range.
    pub(super) fn number(&self, range: RangeInclusive<f64>, what: &str) -> Result<f64, Refusal> {
        let value = if self.is_number() { self.json.parse().ok() } else { None };
        value.filter(|value| range.contains(value)).ok_or_else(|| self.wants(what))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Result<bool, Refusal> {
        match self.json {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wants("true or false")),
        }
    }

    /// Dollars, not below zero, to a micro-dollar; finer digits are cut off, which for a cap is the safe side.
    pub(super) fn usd(&self) -> Result<Money, Refusal> {
        let usd = if self.is_number() { usd::floor(self.json) } else { None };
        usd.ok_or_else(|| self.wants("an amount of dollars from 0 up, as a number such as 0.05"))
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Refusal> {
        let wrong = || {
            let names: Vec<String> = words.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            self.wants(&format!("one of {}", names.join(", ")))
        };
        if !self.json.starts_with('"') {
            return Err(wrong());
        }
        let text = self.unescaped(self.json, || self.pointer())?;
        words.iter().find(|(name, _)| *name == text).map(|(_, word)| *word).ok_or_else(wrong)
    }

    /// String pairs.
    pub(super) fn pairs(&self) -> Result<BTreeMap<String, String>, Refusal> {
        const WHAT: &str = "an object of at most 16 pairs of strings, such as {\"project\":\"spring\"}";
        if !self.json.starts_with('{') {
            return Err(self.wants(WHAT));
        }
        let pairs = serde_json::from_str::<Pairs<'a>>(self.json).map_err(|_| self.wants(WHAT))?.0;
        if pairs.len() > MAX_METADATA {
            return Err(bad(self.pointer(), format!("`{}` has {} pairs; it may have 16", self.name, pairs.len())));
        }
        let mut read = BTreeMap::new();
        for (key, value) in pairs {
            let pointer = format!("{}/{}", self.pointer(), key.replace('~', "~0").replace('/', "~1"));
            if !value.get().starts_with('"') {
                let kind = kind(value.get());
                return Err(bad(pointer, format!("every value of `{}` must be a string; this is {kind}", self.name)));
            }
            let value = self.unescaped(value.get(), || pointer.clone())?;
            if key.chars().count() > MAX_METADATA_KEY || value.chars().count() > MAX_METADATA_VALUE {
                let most = format!("keys have at most {MAX_METADATA_KEY} characters, values {MAX_METADATA_VALUE}");
                return Err(bad(pointer, format!("`{}`: {most}", self.name)));
            }
            if read.insert(key.into_owned(), value.into_owned()).is_some() {
                return Err(bad(pointer, format!("the key stands twice in `{}`", self.name)));
            }
        }
        Ok(read)
    }

    /// The refusal that says what it is and what it should be.
    pub(super) fn wants(&self, what: &str) -> Refusal {
        bad(self.pointer(), format!("`{}` must be {what}; it is {}", self.name, self.seen()))
    }

    /// A refusal at this field.
    pub(super) fn refuse(&self, detail: impl Into<String>) -> Refusal {
        bad(self.pointer(), detail)
    }

    /// Its JSON pointer.
    pub(super) fn pointer(&self) -> String {
        format!("/{}", self.name)
    }

    /// Whether it is a number.
    pub(super) fn is_number(&self) -> bool {
        self.json.starts_with(|c: char| c == '-' || c.is_ascii_digit())
    }

    /// What it is, with as much of it as fits a sentence.
    fn seen(&self) -> String {
        const MOST: usize = 40;
        let kind = kind(self.json);
        if matches!(kind, "an array" | "an object") {
            return kind.to_owned();
        }
        let short: String = self.json.chars().take(MOST).collect();
        let more = if short.len() < self.json.len() { "…" } else { "" };
        match kind {
            "a string" => format!("the string {short}{more}"),
            _ => format!("{short}{more}"),
        }
    }
}

/// What a JSON text is, in a sentence.
pub(super) fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked just before")]
fn integral(value: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let fits = value.fract() == 0.0 && value.is_sign_positive() && value <= EXACT;
    fits.then_some(value as u64)
}

/// The pairs of an object in their order, doubles included.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a serde_json::value::RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> serde::de::Visitor<'de> for Each {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Text(key), value)) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value<'_> {
        Value { name: "x", json }
    }

    fn detail(refusal: Refusal) -> String {
        match refusal {
            Refusal::InvalidRequest { pointer, detail } => format!("{pointer}: {detail}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn integers_are_integers() {
        for (json, want) in [("7", 7), ("7.0", 7), ("1e1", 10), ("0", 0), ("0.0", 0)] {
            assert_eq!(value(json).integer(0..=10, 1), Ok(want), "{json}");
        }
        for json in ["-1", "-0", "-0.0", "7.5", "11", "1e400", "99999999999999999999999", "\"7\"", "true", "[7]"] {
            let text = detail(value(json).integer(0..=10, 3).unwrap_err());
            assert!(text.starts_with("/x: `x` must be an integer from 0 to 10, such as 3; it is "), "{text}");
        }
    }

    #[test]
    fn texts_are_text() {
        assert_eq!(value(r#""a\u00e9""#).text("a string").unwrap(), "aé");
        assert!(detail(value(r#""a\ud800""#).text("a string").unwrap_err()).contains("not Unicode text"));
        assert!(detail(value(r#""ab\u0000""#).text("a string").unwrap_err()).contains("as character 3"));
        assert_eq!(
            detail(value("7").text("a string such as \"a red fox\"").unwrap_err()),
            "/x: `x` must be a string such as \"a red fox\"; it is 7"
        );
    }

    #[test]
    fn pairs_are_pairs() {
        assert_eq!(value(r#"{"a":"b"}"#).pairs().unwrap().get("a").unwrap(), "b");
        assert!(detail(value(r#"{"a/b":1}"#).pairs().unwrap_err()).starts_with("/x/a~1b: "));
        assert!(detail(value(r#"{"a":"b","a":"c"}"#).pairs().unwrap_err()).contains("twice"));
        assert!(detail(value("[]").pairs().unwrap_err()).ends_with("it is an array"));
        let many: Vec<String> = (0..17).map(|at| format!("\"k{at}\":\"v\"")).collect();
        assert!(detail(value(&format!("{{{}}}", many.join(","))).pairs().unwrap_err()).contains("17 pairs"));
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        let long = format!("\"{}\"", "é".repeat(500));
        let text = detail(value(&long).flag().unwrap_err());
        assert!(text.ends_with('…') && text.len() < 200, "{text}");
    }
}
