//! `GET /studio/thumbs/{sha256}.{ext}`: the small copy of a picture.
//!
//! Why it exists: like the picture itself, it may be read by whoever knows its hash, since a page's pictures carry no
//! key. What it refuses to know: how it is made.

use std::sync::Arc;

use http::Response;
use http::header::{self, HeaderMap, HeaderValue};

use super::super::images::{bare, missing, named};
use super::super::payload::Payload;
use super::super::problem::Problem;
use super::super::routes;
use crate::domain::image::{Format, sniff};
use crate::engine::Engine;

pub(super) async fn serve(engine: &Arc<Engine>, file: &str, headers: &HeaderMap) -> Result<Response<Payload>, Problem> {
    let (sha256, format) = named(file).ok_or_else(missing)?;
    let mut answer = if let Some(known) = bare(headers, sha256) {
        known
    } else {
        let bytes = engine.thumb(sha256, format).await?.ok_or_else(missing)?;
        routes::text(sniff(&bytes).map_or(Format::Webp, |found| found.format).media_type(), bytes)
    };
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
    Ok(answer)
}
