//! `GET /studio/thumbs/{sha256}.{ext}`: the small copy of a picture.
//!
//! Why it exists: like the picture itself, it may be read by whoever knows its hash, since a page's pictures carry no
//! key. What it refuses to know: how it is made.

use std::sync::Arc;

use http::Response;
use http::header::HeaderMap;

use super::super::images::{bare, kept_for_ever, missing, named};
use super::super::payload::Payload;
use super::super::problem::Problem;
use super::super::routes;
use crate::domain::image::{Format, sniff};
use crate::engine::Engine;

pub(super) async fn serve(engine: &Arc<Engine>, file: &str, headers: &HeaderMap) -> Result<Response<Payload>, Problem> {
    let (sha256, format) = named(file).ok_or_else(missing)?;
    let answer = if let Some(known) = bare(headers, sha256) {
        known
    } else {
        let bytes = engine.thumb(sha256, format).await?.ok_or_else(missing)?;
        routes::text(sniff(&bytes).map_or(Format::Webp, |found| found.format).media_type(), bytes)
    };
    Ok(kept_for_ever(answer, sha256))
}
