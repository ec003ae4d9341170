//! What a request's headers say.
//!
//! Why it exists: each header that we read is read here, once, with its own rules for odd forms. What it refuses to
//! know: bodies and routes. To add a header: a function, and its faults at `header:Name`.

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};

use super::value::bad;
use crate::domain::image::Format;
use crate::domain::refusal::Refusal;
use crate::engine::new_id;

/// The key of `Authorization: Bearer KEY`; another scheme is no key.
pub(in crate::server) fn bearer(headers: &HeaderMap) -> Option<Arc<str>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then(|| key.into())
}

/// The caller's request id when it is short and plain, else a new one.
pub(in crate::server) fn request_id(headers: &HeaderMap) -> Arc<str> {
    let plain = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
    };
    match headers.get("x-request-id").and_then(|id| id.to_str().ok()).filter(plain) {
        Some(id) => id.into(),
        None => new_id("req_"),
    }
}

/// `Idempotency-Key`: bare, or a quoted string of RFC 8941; 1 to 255 visible ASCII characters.
pub(in crate::server) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Refusal> {
    const NAME: &str = "header:Idempotency-Key";
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(bad(NAME, "`Idempotency-Key` stands twice; send one"));
    }
    let key = value.to_str().ok().and_then(unquoted);
    let fits = |key: &String| (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    match key.filter(fits) {
        Some(key) => Ok(Some(key.into())),
        None => Err(bad(
            NAME,
            "`Idempotency-Key` must be 1 to 255 visible ASCII characters, bare or in quotes, such as 8e03978e-40d5",
        )),
    }
}

fn unquoted(text: &str) -> Option<String> {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('"') else {
        return Some(text.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut key = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            _ => key.push(c),
        }
    }
    Some(key)
}

/// How often the client has tried before: `OpenAI`'s SDKs count it, and send no idempotency key.
pub(in crate::server) fn retry_count(headers: &HeaderMap) -> Option<u32> {
    headers.get("x-stainless-retry-count")?.to_str().ok()?.trim().parse().ok()
}

/// Whether `Tollgate-Share: never` stands there.
pub(in crate::server) fn share_never(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get("tollgate-share") {
        None => Ok(false),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"never") => Ok(true),
        Some(_) => Err(bad("header:Tollgate-Share", "`Tollgate-Share` knows one word: never")),
    }
}

/// How long the caller wants to wait on this connection (RFC 7240): `respond-async` not at all, `wait=N` for so many
/// seconds, and no preference to the end. Preferences that we do not know may be ignored.
pub(in crate::server) fn prefer(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut wait = None;
    let mut asynchronous = false;
    for preference in values.flat_map(|value| value.split([',', ';'])) {
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        if name.trim().eq_ignore_ascii_case("respond-async") {
            asynchronous = true;
        } else if name.trim().eq_ignore_ascii_case("wait") {
            wait = value.trim().trim_matches('"').parse().ok().map(Duration::from_secs).or(wait);
        }
    }
    // Together they mean: wait so long, and go on without me.
    wait.or(asynchronous.then_some(Duration::ZERO))
}

/// How the caller wants the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Accept {
    /// In JSON.
    Json,
    /// Its bytes, in this format or in the body's.
    Raw(Option<Format>),
}

/// The most wanted type of `Accept`: raw bytes only when a picture stands first.
pub(in crate::server) fn accept(headers: &HeaderMap) -> Accept {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut best = (0.0, Accept::Json);
    for entry in values.flat_map(|value| value.split(',')) {
        let mut parts = entry.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let weight: f32 = weight.map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if weight > best.0 {
            best = (weight, wanted(&media));
        }
    }
    best.1
}

fn wanted(media: &str) -> Accept {
    match media {
        "image/*" => Accept::Raw(None),
        "image/jpg" => Accept::Raw(Some(Format::Jpeg)),
        _ => Format::ALL
            .into_iter()
            .find(|format| format.media_type() == media)
            .map_or(Accept::Json, |format| Accept::Raw(Some(format))),
    }
}

/// Whether a body so labelled is read as JSON. `Ok(Some)` carries a warning.
///
/// A page in a browser may send a form or plain text to any address without being asked, but not JSON. So a body that is
/// not labelled JSON is taken only from a client that names no `Origin`, which every browser does.
pub(in crate::server) fn takes_json(headers: &HeaderMap, body: &[u8]) -> Result<Option<String>, Refusal> {
    let label = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let media = label.map(|label| String::from_utf8_lossy(label).to_ascii_lowercase());
    let media = media.as_deref().map(|media| media.split(';').next().unwrap_or_default().trim());
    let looks_like_json = body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let from_page = headers.contains_key(header::ORIGIN);
    match media {
        Some("application/json" | "text/json") => Ok(None),
        Some(media) if media.starts_with("application/") && media.ends_with("+json") => Ok(None),
        None | Some("") if looks_like_json && !from_page => Ok(None),
        Some(media @ ("application/x-www-form-urlencoded" | "text/plain")) if looks_like_json && !from_page => {
            Ok(Some(format!("the body was labelled {media} and read as JSON; send Content-Type: application/json")))
        }
        _ => Err(Refusal::UnsupportedMediaType(not_json(media.unwrap_or_default()))),
    }
}

fn not_json(media: &str) -> String {
    let media: String = media.chars().take(100).collect();
    let label = if media.is_empty() { "has no Content-Type".to_owned() } else { format!("is labelled {media}") };
    format!(
        "The body {label}, and JSON is wanted. With curl: curl --json '{{\"prompt\":\"a red fox\"}}' URL, or add \
         -H 'Content-Type: application/json'."
    )
}

/// Where the caller reaches this gateway, with no slash at the end: as configured, else by the `Host` they named.
pub(in crate::server) fn base_url(headers: &HeaderMap, public: Option<&str>) -> String {
    if let Some(public) = public {
        return public.trim_end_matches('/').to_owned();
    }
    let plain = |host: &&str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]_".contains(&b));
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    match text("host").filter(plain) {
        Some(host) => format!("{scheme}://{host}"),
        None => String::new(),
    }
}

/// Refuses an encoded body: a small one could unpack to any size.
pub(in crate::server) fn not_encoded(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            let encoding: String = String::from_utf8_lossy(encoding.as_bytes()).chars().take(40).collect();
            Err(Refusal::UnsupportedMediaType(format!("The body is encoded ({encoding}); send it as it is.")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<Vec<_>>()
            .into_iter()
            .fold(HeaderMap::new(), |mut map, (name, value): (header::HeaderName, HeaderValue)| {
                map.append(name, value);
                map
            })
    }

    #[test]
    fn a_bearer_key_is_a_key() {
        assert_eq!(bearer(&headers(&[("authorization", "Bearer tg_1")])).as_deref(), Some("tg_1"));
        assert_eq!(bearer(&headers(&[("authorization", "bearer  tg_1 ")])).as_deref(), Some("tg_1"));
        for other in ["Basic dXNlcg==", "Bearer ", "tg_1", ""] {
            assert_eq!(bearer(&headers(&[("authorization", other)])), None, "{other}");
        }
    }

    #[test]
    fn a_sane_request_id_is_kept_and_another_is_replaced() {
        assert_eq!(&*request_id(&headers(&[("x-request-id", "abc-1.2:3_4")])), "abc-1.2:3_4");
        for odd in ["", "a b", "a\"b", &"x".repeat(129)] {
            assert!(request_id(&headers(&[("x-request-id", odd)])).starts_with("req_"), "{odd}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn idempotency_keys_are_bare_or_quoted() {
        let key =
            |value: &str| idempotency_key(&headers(&[("idempotency-key", value)])).map(|key| key.unwrap().to_string());
        assert_eq!(key("abc"), Ok("abc".to_owned()));
        assert_eq!(key("\"abc\""), Ok("abc".to_owned()));
        assert_eq!(key(r#""a\"b\\""#), Ok("a\"b\\".to_owned()));
        assert!(key(&"x".repeat(255)).is_ok());
        for odd in ["", "\"\"", "a b", "\"a b\"", "\"abc", "\"a\"b\"", r#""a\x""#, &"x".repeat(256), "a\tb"] {
            assert!(
                matches!(key(odd), Err(Refusal::InvalidRequest { ref pointer, .. }) if pointer == "header:Idempotency-Key"),
                "{odd}"
            );
        }
        assert!(idempotency_key(&headers(&[("idempotency-key", "a"), ("idempotency-key", "b")])).is_err());
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn only_a_picture_wanted_first_is_raw() {
        for (value, want) in [
            ("image/png", Accept::Raw(Some(Format::Png))),
            ("image/webp;q=0.9, application/json;q=0.5", Accept::Raw(Some(Format::Webp))),
            ("image/*", Accept::Raw(None)),
            ("application/json, image/png", Accept::Json),
            ("*/*", Accept::Json),
            ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", Accept::Json),
            ("image/gif", Accept::Json),
            ("image/png;q=0", Accept::Json),
        ] {
            assert_eq!(accept(&headers(&[("accept", value)])), want, "{value}");
        }
    }

    #[test]
    fn preferences_are_lenient() {
        for (value, wait) in [
            ("respond-async", Some(0)),
            ("Respond-Async, wait=10", Some(10)),
            ("wait=10; foo", Some(10)),
            ("wait=\"7\"", Some(7)),
            ("wait=soon", None),
            ("return=minimal", None),
        ] {
            assert_eq!(prefer(&headers(&[("prefer", value)])), wait.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn labels_that_clients_send_are_taken() {
        let takes = |label: &[(&'static str, &str)], body: &str| takes_json(&headers(label), body.as_bytes());
        let json = "{\"prompt\":\"x\"}";
        assert_eq!(takes(&[("content-type", "application/json")], json), Ok(None));
        assert_eq!(takes(&[("content-type", "Application/JSON; charset=utf-8")], json), Ok(None));
        assert_eq!(takes(&[("content-type", "application/vnd.api+json")], json), Ok(None));
        assert_eq!(takes(&[], json), Ok(None));
        let curl = ("content-type", "application/x-www-form-urlencoded");
        assert!(takes(&[curl], " {\"prompt\":\"x\"}").unwrap().is_some());
        assert!(takes(&[curl], "prompt=x").is_err());
        assert!(takes(&[curl, ("origin", "https://evil.example")], json).is_err());
        assert!(takes(&[("content-type", "text/plain"), ("origin", "null")], json).is_err());
        assert!(takes(&[("content-type", "multipart/form-data; boundary=x")], json).is_err());
        assert!(takes(&[], "prompt").is_err());
    }
}
