//! What a call says of itself: the fields that tell its price, in its path and in the beginning of its body.
//!
//! Why it exists: the price is known before anything is sent, and a body may be megabytes of pictures. What it refuses to
//! know: prices. A field that was not seen in a body that goes on is said to be beyond, and never to be absent.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::rest::Watch;
use super::skeleton::Skeleton;
use crate::domain::native::{Captures, Field, Place, Reading};

/// The most of a body that is looked at.
pub(super) const LOOK: usize = 64 * 1024;

/// A body of words alone, or as good as that.
const WORDS: usize = 8 * 1024;

/// A call that was looked at.
pub(super) struct Fields<'a> {
    captures: Captures<'a>,
    boundary: Option<String>,
    body: Look,
}

/// What a look at the beginning of a body showed.
enum Look {
    /// The wanted members of a JSON object; whether it is whole.
    Json(Value, bool),
    /// Text parts of a form by name; whether it is whole.
    Form(Vec<(String, String)>, bool),
    /// Nothing that can be read.
    Nothing,
}

impl<'a> Fields<'a> {
    /// Reads what `wanted` asks of the beginning of a body, or of all of it when it is `whole`.
    pub(super) fn of(
        wanted: &[&Field],
        captures: Captures<'a>,
        content_type: Option<&str>,
        seen: &[u8],
        whole: bool,
    ) -> Self {
        let boundary = content_type.and_then(boundary);
        let body = match &boundary {
            Some(boundary) => Look::Form(parts(seen, boundary), whole),
            None => json(wanted, seen, whole),
        };
        Self { captures, boundary, body }
    }

    /// What the rest of a body may not take back; `None` when there is no rest.
    pub(super) fn watch(&self, fields: &[&Field]) -> Option<Watch> {
        match (&self.body, &self.boundary) {
            (Look::Form(_, false), Some(boundary)) => {
                let told = fields.iter().filter(|field| field.place == Place::Form);
                Some(Watch::form(boundary, told.map(|field| field.name.to_string()).collect()))
            }
            (Look::Json(_, false), _) => {
                let told = fields.iter().filter(|field| field.place == Place::Json);
                let text = |field: &&&Field| match self.read(field) {
                    Reading::Is(text) => Some((field.name.to_string(), text)),
                    Reading::Absent | Reading::Beyond => None,
                };
                Some(Watch::json(LOOK, told.filter_map(|field| text(&field)).collect()))
            }
            _ => None,
        }
    }

    /// What a field says.
    pub(super) fn read(&self, field: &Field) -> Reading {
        let name = &*field.name;
        let found = match (field.place, &self.body) {
            (Place::Here, _) => return Reading::Is(name.to_owned()),
            (Place::Path, _) => self.captures.iter().find(|(part, _)| *part == name).map(|(_, value)| decoded(value)),
            (Place::Json, Look::Json(object, _)) => at(object, name).and_then(said),
            (Place::Form, Look::Form(parts, _)) => every(parts, name),
            (Place::Json | Place::Form, _) => None,
        };
        let ended = matches!(self.body, Look::Json(_, true) | Look::Form(_, true) | Look::Nothing);
        match found {
            Some(value) if !value.is_empty() => Reading::Is(value),
            _ if ended || field.place == Place::Path => Reading::Absent,
            _ => Reading::Beyond,
        }
    }
}

/// All that a form says under one name: two texts are no name of anything, and the price then is not known.
fn every(parts: &[(String, String)], name: &str) -> Option<String> {
    let said: Vec<&str> = parts.iter().filter(|(part, _)| part == name).map(|(_, value)| value.as_str()).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// A number or a text; anything else says nothing.
pub(super) fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The value at a JSON pointer. Most name a member of the outermost object, which is read without unescaping.
pub(super) fn at<'v>(object: &'v Value, pointer: &str) -> Option<&'v Value> {
    match (pointer.strip_prefix('/'), object) {
        (Some(name), Value::Object(members)) if !name.contains(['/', '~']) => members.get(name),
        _ => object.pointer(pointer),
    }
}

fn json(wanted: &[&Field], seen: &[u8], whole: bool) -> Look {
    let members = |text: &[u8]| {
        let mut json = serde_json::Deserializer::from_slice(text);
        let members = Wanted(wanted).deserialize(&mut json).ok()?;
        json.end().ok().map(|()| Value::Object(members))
    };
    // What holds no picture has nothing to leave out.
    if whole && seen.len() <= WORDS {
        return members(seen).map_or(Look::Nothing, |object| Look::Json(object, true));
    }
    let mut skeleton = Skeleton::of_at_most(LOOK);
    skeleton.feed(seen);
    let (kept, whole) = if whole { (skeleton.whole(), true) } else { (skeleton.so_far(), false) };
    match (kept.and_then(|kept| members(&kept)), whole) {
        (Some(object), whole) => Look::Json(object, whole),
        (None, true) => Look::Nothing,
        (None, false) => Look::Json(Value::Null, false),
    }
}

/// Reads the members of an object to which a pointer of these fields leads.
#[derive(Clone, Copy)]
struct Wanted<'w>(&'w [&'w Field]);

impl Wanted<'_> {
    fn has(&self, member: &str) -> bool {
        let leads = |pointer: &str| {
            let after = pointer.strip_prefix('/').and_then(|pointer| pointer.strip_prefix(member));
            // A pointer with an escape may lead anywhere.
            after.is_some_and(|after| after.is_empty() || after.starts_with('/')) || pointer.contains('~')
        };
        self.0.iter().any(|field| field.place == Place::Json && leads(&field.name))
    }
}

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key_seed(Name(self))? {
            match name {
                Some(name) => drop(members.insert(name, object.next_value()?)),
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(members)
    }
}

/// Reads a member's name, if it is wanted.
struct Name<'w>(Wanted<'w>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.has(name).then(|| name.to_owned()))
    }
}

/// The boundary of a multipart body.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    rest.split(';').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"').to_owned())
    })
}

/// The whole text parts of a form's beginning.
fn parts(seen: &[u8], boundary: &str) -> Vec<(String, String)> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut rest = match find(seen, delimiter.as_bytes()) {
        Some(at) => seen.get(at + delimiter.len()..).unwrap_or_default(),
        None => return parts,
    };
    let delimiter = format!("\r\n{delimiter}");
    while let Some(end) = find(rest, delimiter.as_bytes()) {
        let (part, after) = rest.split_at(end);
        parts.extend(text_part(part));
        rest = after.get(delimiter.len()..).unwrap_or_default();
    }
    parts
}

/// A part that is no file: its name and text.
fn text_part(part: &[u8]) -> Option<(String, String)> {
    let end = find(part, b"\r\n\r\n")?;
    let (name, _) = part_head(part.get(..end)?).filter(|(_, file)| !file)?;
    let value = part.get(end + 4..).filter(|value| value.len() <= 1024)?;
    Some((name, std::str::from_utf8(value).ok()?.trim().to_owned()))
}

/// The name in the head of a form's part, and whether it is a file's.
pub(super) fn part_head(head: &[u8]) -> Option<(String, bool)> {
    let head = std::str::from_utf8(head).ok()?;
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let mut parameters = disposition.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
    let file = parameters.clone().any(|(name, _)| name.eq_ignore_ascii_case("filename"));
    let (_, name) = parameters.find(|(name, _)| name.eq_ignore_ascii_case("name"))?;
    Some((name.trim_matches('"').to_owned(), file))
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    within.windows(what.len().max(1)).position(|window| window == what)
}

/// A part of a path without its escapes, where they are whole.
fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let code = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (first, rest) = code.zip(piece.get(2..)).unwrap_or((b'%', piece));
        bytes.push(first);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(place: Place, name: &str) -> Field {
        Field { place, name: name.into(), default: None }
    }

    /// Of a call whose fields are all wanted.
    fn of<'a>(captures: Captures<'a>, kind: Option<&str>, body: &[u8], whole: bool) -> Fields<'a> {
        let wanted = ["/deep/size", "/n", "/quality", "/model", "/a~1b"].map(|name| field(Place::Json, name));
        Fields::of(&wanted.each_ref(), captures, kind, body, whole)
    }

    #[test]
    fn a_form_is_read_as_far_as_it_came() {
        let body = "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsd3.5-large\r\n\
                    --B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n\x00\x01\r\n\
                    --B\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n2";
        let kind = Some("multipart/form-data; boundary=\"B\"");
        let fields = of(Vec::new(), kind, body.as_bytes(), false);
        assert_eq!(fields.read(&field(Place::Form, "model")), Reading::Is("sd3.5-large".into()));
        assert_eq!(fields.read(&field(Place::Form, "image")), Reading::Beyond, "a file is no text");
        assert_eq!(fields.read(&field(Place::Form, "n")), Reading::Beyond);
        let whole = format!("{body}\r\n--B--\r\n");
        let fields = of(Vec::new(), kind, whole.as_bytes(), true);
        assert_eq!(fields.read(&field(Place::Form, "n")), Reading::Is("2".into()));
        assert_eq!(fields.read(&field(Place::Form, "image")), Reading::Absent);
        let twice = format!("{body}\r\n--B\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n7\r\n--B--");
        let fields = of(Vec::new(), kind, twice.as_bytes(), true);
        assert_eq!(fields.read(&field(Place::Form, "n")), Reading::Is("2, 7".into()), "which no price knows");
    }

    #[test]
    fn json_is_read_as_far_as_it_came() {
        let body = br#"{"model":"m","deep":{"size":"1024x1024"},"n":3,"prompt":"a fo"#;
        let fields = of(Vec::new(), Some("application/json"), body, false);
        assert_eq!(fields.read(&field(Place::Json, "/deep/size")), Reading::Is("1024x1024".into()));
        assert_eq!(fields.read(&field(Place::Json, "/n")), Reading::Is("3".into()));
        assert_eq!(fields.read(&field(Place::Json, "/quality")), Reading::Beyond);
        let fields = of(Vec::new(), None, br#"{"model":null}"#, true);
        assert_eq!(fields.read(&field(Place::Json, "/model")), Reading::Absent);
        let fields = of(Vec::new(), None, br#"{"n":{"n":1},"a/b":"x","n":[2],"nn":{"n":3},"n":4}"#, true);
        assert_eq!(fields.read(&field(Place::Json, "/n")), Reading::Is("4".into()), "the last is what counts");
        assert_eq!(fields.read(&field(Place::Json, "/a~1b")), Reading::Is("x".into()));
        for broken in [r#"{"n":1"#, r#"{"n":1} {}"#, r#"{"x":[}"#, r#"["n"]"#, "1", ""] {
            let fields = of(Vec::new(), None, broken.as_bytes(), true);
            assert_eq!(fields.read(&field(Place::Json, "/n")), Reading::Absent, "{broken}");
        }
        let fields = of(vec![("model", "a%2Fb%zz")], None, b"", true);
        assert_eq!(fields.read(&field(Place::Path, "model")), Reading::Is("a/b%zz".into()));
    }
}
