//! `GET /images/{sha256}.{ext}`: pictures by their content.
//!
//! Why it exists: a link that is ours, never changes and cannot run anything in a browser. The hash is the leave to read:
//! it cannot be guessed. What it refuses to know: where pictures are kept.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use super::door::Ended;
use super::payload::Payload;
use super::problem::Problem;
use super::routes;
use crate::domain::image::Format;
use crate::domain::refusal::Refusal;
use crate::engine::Engine;

/// The picture, or 304 when the caller has it.
pub(super) async fn serve(engine: &Arc<Engine>, file: &str, headers: &HeaderMap) -> Result<Response<Payload>, Problem> {
    let (sha256, format) = named(file).ok_or_else(missing)?;
    let answer = if let Some(known) = bare(headers, sha256) {
        known
    } else {
        let bytes = engine.image(sha256, format).await?.ok_or_else(missing)?;
        let mut answer = routes::text(format.media_type(), bytes);
        if let Ok(name) = format!("inline; filename=\"{sha256}.{}\"", format.name()).parse() {
            answer.headers_mut().insert(header::CONTENT_DISPOSITION, name);
        }
        answer
    };
    Ok(kept_for_ever(answer, sha256))
}

/// What this hash names never changes, and runs nothing in a browser.
pub(super) fn kept_for_ever(mut answer: Response<Payload>, sha256: &str) -> Response<Payload> {
    let fixed = [
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ];
    for (name, value) in fixed {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = format!("\"{sha256}\"").parse() {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

/// 304 when the caller has what this hash names.
pub(super) fn bare(headers: &HeaderMap, sha256: &str) -> Option<Response<Payload>> {
    has(headers, sha256).then(|| {
        let mut answer = Response::new(Payload::default());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer.extensions_mut().insert(Ended("ok"));
        answer
    })
}

/// What a hash without a picture is told.
pub(super) fn missing() -> Problem {
    Refusal::NotFound("There is no such image.".to_owned()).into()
}

/// The hash and format of a file name, which is both and nothing else.
pub(super) fn named(file: &str) -> Option<(&str, Format)> {
    let (sha256, extension) = file.split_once('.')?;
    let is_hash = sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hash.then_some((sha256, Format::from_name(extension)?))
}

/// Whether `If-None-Match` names this picture. What is immutable need not be looked up to be the same.
fn has(headers: &HeaderMap, sha256: &str) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'))
        .any(|tag| tag == sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_hash_and_a_format() {
        let hash = "ab".repeat(32);
        assert_eq!(named(&format!("{hash}.png")), Some((hash.as_str(), Format::Png)));
        assert_eq!(named(&format!("{hash}.jpg")), Some((hash.as_str(), Format::Jpeg)));
        for odd in ["ab.png", &hash, &format!("{hash}.svg"), &format!("{}.png", "AB".repeat(32)), "../../etc/passwd"] {
            assert_eq!(named(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_known_tag_is_known_in_every_form() {
        let hash = "ab".repeat(32);
        for (value, want) in [
            (format!("\"{hash}\""), true),
            (format!("W/\"{hash}\""), true),
            (format!("\"x\", \"{hash}\""), true),
            ("\"x\"".to_owned(), false),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
            assert_eq!(has(&headers, &hash), want, "{value}");
        }
    }
}
