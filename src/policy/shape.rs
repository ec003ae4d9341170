//! The shape of a policy file: every unknown key, every wrong type and every missing key at once.
//!
//! Why it exists: serde stops at the first mistake. This walker holds the parsed file against the JSON Schema of
//! `raw.rs`, reports each mistake and takes it out, so that what remains always deserialises and is checked further in
//! the same run. What it refuses to know: the language; it knows JSON Schema's few words that the schema uses.

use std::sync::Arc;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostic::{Diagnostic, Sink, codes};
use super::source::{Source, Span};
use super::text;

/// Reports what does not fit `schema` and removes it.
pub(super) fn check(tree: &mut Spanned<DeTable<'_>>, schema: &Value, source: &Arc<Source>, sink: &Sink) {
    let walker = Walker { source, sink };
    walker.table(tree.get_mut(), schema, &Where { name: "the policy".to_owned(), span: 0..0 });
}

/// How much of a value can be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// All of it.
    Whole,
    /// A list without some of its items.
    Partly,
    /// Nothing.
    Not,
}

struct Walker<'a> {
    source: &'a Arc<Source>,
    sink: &'a Sink,
}

/// What is being looked at: `model."a/b".price`, and the place to point at when something is missing in it.
struct Where {
    name: String,
    span: Span,
}

impl Where {
    fn child(&self, key: &str, span: Span) -> Self {
        let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        let key = if plain { key.to_owned() } else { format!("{key:?}") };
        let name = if self.span.is_empty() { key } else { format!("{}.{key}", self.name) };
        Self { name, span }
    }
}

impl Walker<'_> {
    fn table(&self, table: &mut DeTable<'_>, schema: &Value, here: &Where) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let other = schema.get("additionalProperties").filter(|other| other.as_bool() != Some(false));
        let mut drop: Vec<String> = Vec::new();
        for (key, value) in table.iter_mut() {
            let name = key.get_ref().as_ref();
            let fit = if let Some(schema) = properties.and_then(|known| known.get(name)).or(other) {
                self.value(value, schema, &here.child(name, key.span()))
            } else {
                let known = properties.into_iter().flat_map(|known| known.keys().map(String::as_str));
                self.unknown(name, key.span(), known, here);
                Fit::Not
            };
            if fit != Fit::Whole {
                self.sink.excuse(self.source, here.span.start, name);
            }
            if fit == Fit::Not {
                drop.push(name.to_owned());
            }
        }
        for name in drop {
            table.remove(name.as_str());
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for name in required {
            if !table.contains_key(name) && !self.sink.is_excused(self.source, here.span.start, name) {
                self.missing(name, properties.and_then(|known| known.get(name)), here);
            }
        }
    }

    fn value(&self, value: &mut Spanned<DeValue<'_>>, schema: &Value, here: &Where) -> Fit {
        let span = value.span();
        if !of_type(value.get_ref(), schema) {
            self.wrong_type(value.get_ref(), span, schema, here);
            return Fit::Not;
        }
        match value.get_mut() {
            DeValue::Table(table) if schema.is_object() => self.table(table, schema, here),
            DeValue::Array(items) => {
                if let Some(schema) = schema.get("items") {
                    return self.list(items, schema, here);
                }
            }
            DeValue::String(word) => return self.word(word, span, schema, here),
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                return self.whole(number, span, schema, here);
            }
            _ => {}
        }
        Fit::Whole
    }

    fn list<'i>(&self, items: &mut DeArray<'i>, schema: &Value, here: &Where) -> Fit {
        let before = items.len();
        let all = std::mem::replace(items, DeArray::from_iter([]));
        let fits = |mut item: Spanned<DeValue<'i>>| {
            let span = if header(item.get_ref()) { item.span() } else { here.span.clone() };
            let inside = Where { name: here.name.clone(), span };
            (self.value(&mut item, schema, &inside) != Fit::Not).then_some(item)
        };
        *items = all.into_iter().filter_map(fits).collect();
        if items.len() == before { Fit::Whole } else { Fit::Partly }
    }

    fn unknown<'k>(&self, name: &str, span: Span, known: impl Iterator<Item = &'k str> + Clone, here: &Where) {
        let near = text::nearest(name, known.clone());
        if let Some(near) = near {
            self.sink.excuse(self.source, here.span.start, near);
        }
        let help = near.map_or_else(
            || format!("known here: {}", known.collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        let message = if here.span.is_empty() {
            format!("unknown key `{name}`")
        } else {
            format!("unknown key `{name}` in `{}`", here.name)
        };
        let label = if near.is_some() { "no such key" } else { "the language has no such key here" };
        self.sink.report(Diagnostic::new(codes::E0101, message).label(self.source, &span, label).help(help));
    }

    fn missing(&self, name: &str, schema: Option<&Value>, here: &Where) {
        let message = if here.span.is_empty() {
            format!("the key `{name}` is missing")
        } else {
            format!("the key `{name}` is missing in `{}`", here.name)
        };
        let found = Diagnostic::new(codes::E0103, message).label(self.source, &here.span, format!("needs `{name}`"));
        self.sink.report(match describe(schema) {
            Some(sentence) => found.help(format!("`{name}`: {sentence}")),
            None => found,
        });
    }

    fn wrong_type(&self, value: &DeValue<'_>, span: Span, schema: &Value, here: &Where) {
        let message = format!("`{}` must be {}", here.name, expected(schema));
        let found = Diagnostic::new(codes::E0102, message).label(
            self.source,
            &span,
            format!("this is {}", text::with_article(kind(value))),
        );
        self.sink.report(match describe(Some(schema)) {
            Some(sentence) => found.help(sentence),
            None => found,
        });
    }

    /// A word of a closed list.
    fn word(&self, word: &str, span: Span, schema: &Value, here: &Where) -> Fit {
        let words = choices(schema);
        if words.is_empty() || words.contains(&word) {
            return Fit::Whole;
        }
        let help = text::nearest(word, words.iter().copied()).map_or_else(
            || format!("one of: {}", words.join(", ")),
            |near| format!("did you mean `{near}`? One of: {}", words.join(", ")),
        );
        let message = format!("`{word}` is not a value of `{}`", here.name);
        self.sink.report(Diagnostic::new(codes::E0104, message).label(self.source, &span, "unknown").help(help));
        Fit::Not
    }

    /// A whole number within the range of its field.
    fn whole(&self, number: Option<i64>, span: Span, schema: &Value, here: &Where) -> Fit {
        let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
        let most = match schema.get("format").and_then(Value::as_str) {
            Some("uint8") => u8::MAX.into(),
            Some("uint32") => u32::MAX.into(),
            _ => i64::MAX,
        };
        let (least, most) = (bound("minimum").unwrap_or(i64::MIN), bound("maximum").unwrap_or(most));
        let fits = number.is_some_and(|number| number >= least && number <= most);
        if !fits {
            let message = format!("`{}` is out of range", here.name);
            let label = format!("from {least} to {most}");
            self.sink.report(Diagnostic::new(codes::E0205, message).label(self.source, &span, label));
        }
        if fits { Fit::Whole } else { Fit::Not }
    }
}

fn of_type(value: &DeValue<'_>, schema: &Value) -> bool {
    let one = |wanted: &str| match (wanted, value) {
        ("string", DeValue::Datetime(when)) => {
            is_date(schema) && when.date.is_some() && when.time.is_none() && when.offset.is_none()
        }
        ("string", DeValue::String(_)) => !is_date(schema),
        ("number", DeValue::Integer(_) | DeValue::Float(_))
        | ("integer", DeValue::Integer(_))
        | ("boolean", DeValue::Boolean(_))
        | ("array", DeValue::Array(_))
        | ("object", DeValue::Table(_)) => true,
        _ => false,
    };
    match schema.get("type") {
        Some(Value::String(wanted)) => one(wanted),
        Some(Value::Array(wanted)) => wanted.iter().filter_map(Value::as_str).any(one),
        _ if !choices(schema).is_empty() => matches!(value, DeValue::String(_)),
        _ => !matches!(value, DeValue::Datetime(_)),
    }
}

/// The words of a closed list: `enum`, or `oneOf` with a `const` or an `enum` each.
fn choices(schema: &Value) -> Vec<&str> {
    let alternatives = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    std::iter::once(schema).chain(alternatives).flat_map(words).collect()
}

fn words(schema: &Value) -> impl Iterator<Item = &str> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    schema.get("const").into_iter().chain(listed).filter_map(Value::as_str)
}

fn is_date(schema: &Value) -> bool {
    schema.get("format").is_some_and(|format| format == "date")
}

/// Whether the value is a table or list of its own, at whose start a mark makes sense.
const fn header(value: &DeValue<'_>) -> bool {
    matches!(value, DeValue::Table(_) | DeValue::Array(_))
}

/// The sentence for the operator, on one line.
fn describe(schema: Option<&Value>) -> Option<String> {
    Some(schema?.get("description")?.as_str()?.replace('\n', " "))
}

fn expected(schema: &Value) -> String {
    let one = |wanted: &str| match wanted {
        "string" if is_date(schema) => "a date such as 2026-11-22, without quotes",
        "string" => "text in quotes",
        "number" => "a number",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "array" => "a list in [ ]",
        "object" => "a table",
        _ => "another type",
    };
    match schema.get("type") {
        Some(Value::String(wanted)) => one(wanted).to_owned(),
        Some(Value::Array(wanted)) => wanted.iter().filter_map(Value::as_str).map(one).collect::<Vec<_>>().join(" or "),
        _ => one("string").to_owned(),
    }
}

const fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "whole number",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "date or time",
        DeValue::Array(_) => "list",
        DeValue::Table(_) => "table",
    }
}
