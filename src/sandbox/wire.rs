//! What comes in from a caller and what goes out to it, before and after any provider's dialect.
//!
//! It refuses to know a provider: a [`Call`] is a request with its body read, an [`Answer`] is a status, headers, a
//! body and how the connection treats that body.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

/// A request with its body read.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The path below the provider's prefix, beginning with a slash.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The token of `Authorization: Bearer TOKEN`.
    pub(super) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// A query parameter, percent-decoded.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| percent_decoded(value))
        })
    }

    /// The media type of the body in lower case, without parameters.
    pub(super) fn media_type(&self) -> Option<String> {
        let value = self.header("content-type")?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// The parts of a multipart body; `None` when it is not one or is broken.
    pub(super) async fn form(&self) -> Option<Form> {
        let boundary = multer::parse_boundary(self.header("content-type")?).ok()?;
        let body = self.body.clone();
        let stream = futures_util::stream::once(async move { Ok::<Bytes, std::convert::Infallible>(body) });
        let mut parts = multer::Multipart::new(stream, boundary);
        let mut form = Form::default();
        while let Some(field) = parts.next_field().await.ok()? {
            let name = field.name().unwrap_or_default().to_owned();
            let file_name = field.file_name().map(str::to_owned);
            form.parts.push(Part { name, file_name, bytes: field.bytes().await.ok()? });
        }
        Some(form)
    }
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let pair: Vec<u8> = bytes.by_ref().take(2).collect();
                let code = std::str::from_utf8(&pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
                match code {
                    Some(code) => out.push(code),
                    None => out.extend_from_slice(&pair),
                }
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The parts of a multipart body, in order.
#[derive(Debug, Default)]
pub(super) struct Form {
    parts: Vec<Part>,
}

/// One part.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) bytes: Bytes,
}

impl Form {
    pub(super) fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// A text field; an empty one counts as absent, as multipart readers of these providers have it.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let part = self.part(name)?;
        let text = String::from_utf8_lossy(&part.bytes).into_owned();
        (!text.is_empty()).then_some(text)
    }

    /// A file that has bytes.
    pub(super) fn file(&self, name: &str) -> Option<Bytes> {
        self.part(name).map(|part| part.bytes.clone()).filter(|bytes| !bytes.is_empty())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.name.as_str())
    }
}

/// What goes back to the caller.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    pub(super) delivery: Delivery,
}

/// How the connection treats an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// As it should be.
    Whole,
    /// Half of the body, a pause, the rest.
    Stalled(Duration),
    /// Half of the body under the full content-length, then the end.
    Truncated,
    /// Half of the body, then a TCP reset.
    ResetInBody,
    /// A TCP reset and not one byte.
    Reset,
}

impl Answer {
    pub(super) fn new(status: u16, media_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type", media_type.to_owned())],
            body: body.into(),
            delivery: Delivery::Whole,
        }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    pub(super) fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.into())
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), delivery: Delivery::Whole }
    }

    /// JSON in which each [`PICTURE`] string, in order, becomes the base64 of the next picture. Megabytes of base64
    /// are spliced in as they are; a JSON writer would look at every one of their bytes for nothing.
    pub(super) fn json_with_pictures(status: u16, body: &Value, pictures: &[Bytes]) -> Self {
        let text = body.to_string();
        let size = pictures.iter().map(|picture| picture.len() * 4 / 3 + 4).sum::<usize>() + text.len();
        let mut out = String::with_capacity(size);
        let mut pictures = pictures.iter();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(PICTURE) {
            out.push_str(before);
            if let Some(picture) = pictures.next() {
                base64_simd::STANDARD.encode_append(picture, &mut out);
            }
            rest = after;
        }
        out.push_str(rest);
        Self::new(status, "application/json", out)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Bytes of the body that this delivery sends.
    pub(super) fn sent(&self) -> u64 {
        let all = self.body.len() as u64;
        match self.delivery {
            Delivery::Whole | Delivery::Stalled(_) => all,
            Delivery::Truncated | Delivery::ResetInBody => all / 2,
            Delivery::Reset => 0,
        }
    }
}

/// Sets a field of a JSON object.
pub(super) fn set(body: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(fields) = body.as_object_mut() {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Stands for a picture in JSON until [`Answer::json_with_pictures`]; a private-use character keeps it apart from
/// any text that a caller sends in good faith.
pub(super) const PICTURE: &str = "\u{f8ff}picture";

/// The bytes of standard base64 text, with a `data:` header if there is one, padded or not.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let data = if text.starts_with("data:") { text.split_once(',')?.1 } else { text };
    let data = data.trim().trim_end_matches('=');
    base64_simd::STANDARD_NO_PAD.decode_to_vec(data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_spliced_in_order() {
        let body = serde_json::json!({ "data": [{ "b64": PICTURE }, { "b64": PICTURE }], "prompt": "x" });
        let answer = Answer::json_with_pictures(200, &body, &[Bytes::from("one"), Bytes::from("two!")]);
        let back: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(from_base64(back["data"][0]["b64"].as_str().unwrap()).unwrap(), b"one");
        assert_eq!(from_base64(back["data"][1]["b64"].as_str().unwrap()).unwrap(), b"two!");
    }

    #[test]
    fn query_values_are_decoded() {
        assert_eq!(percent_decoded("a+b%20c%2Fd%zz"), "a b c/dzz");
    }

    #[test]
    fn base64_comes_with_and_without_decoration() {
        assert_eq!(from_base64("data:image/png;base64,aGk=").unwrap(), b"hi");
        assert_eq!(from_base64("aGk").unwrap(), b"hi");
        assert!(from_base64("a b").is_none());
    }
}
