//! The studio: the page where people judge pictures and see what they cost.
//!
//! Why it exists: an art director has no terminal. The page is plain files in the binary, loaded from this address and
//! no other; its data comes from the routes of `data.rs`, its verdicts and purchases go through the routes that every
//! caller uses, with the caller's key. What it refuses to know: how pictures and sums come about. To add a file of the
//! page: a line in [`FILES`]. To add data: a variant of [`Room`], its line in [`find`] and its function in `data.rs`,
//! or in a file beside it.

mod data;
mod drift;
mod query;
mod thumbs;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use super::door::{Arrival, Ended};
use super::payload::Payload;
use super::problem::Problem;
use super::routes;
use super::wire::headers::bearer;
use crate::domain::fingerprint::sha256_hex;
use crate::engine::Engine;

/// A place in the studio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Who looks, and what the policy offers.
    About,
    /// Models held against what they drew before.
    Drift,
    /// A file of the page.
    File(usize),
    /// Money and verdicts.
    Spend,
    /// One generation.
    Story(String),
    /// A small copy of a picture.
    Thumb(String),
    /// Pictures, newest first.
    Wall,
    /// What other floors would buy.
    WhatIf,
}

/// The page: name, media type, bytes. The first is the page itself.
const FILES: [(&str, &str, &[u8]); 15] = [
    ("", "text/html; charset=utf-8", include_bytes!("page/index.html")),
    ("studio.css", "text/css; charset=utf-8", include_bytes!("page/studio.css")),
    ("icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
    ("app.js", SCRIPT, include_bytes!("page/app.js")),
    ("dom.js", SCRIPT, include_bytes!("page/dom.js")),
    ("gateway.js", SCRIPT, include_bytes!("page/gateway.js")),
    ("plot.js", SCRIPT, include_bytes!("page/plot.js")),
    ("words.js", SCRIPT, include_bytes!("page/words.js")),
    ("wall.js", SCRIPT, include_bytes!("page/wall.js")),
    ("viewer.js", SCRIPT, include_bytes!("page/viewer.js")),
    ("review.js", SCRIPT, include_bytes!("page/review.js")),
    ("spend.js", SCRIPT, include_bytes!("page/spend.js")),
    ("planner.js", SCRIPT, include_bytes!("page/planner.js")),
    ("drift.js", SCRIPT, include_bytes!("page/drift.js")),
    ("play.js", SCRIPT, include_bytes!("page/play.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// The place of a path below `/studio`.
pub(super) fn find(path: &[&str]) -> Option<Room> {
    Some(match path {
        [] => Room::File(0),
        ["api", "about"] => Room::About,
        ["api", "drift"] => Room::Drift,
        ["api", "generations", id] => Room::Story((*id).to_owned()),
        ["api", "pictures"] => Room::Wall,
        ["api", "spend"] => Room::Spend,
        ["api", "whatif"] => Room::WhatIf,
        ["thumbs", file] => Room::Thumb((*file).to_owned()),
        [name] => Room::File(FILES.iter().position(|(file, ..)| !file.is_empty() && file == name)?),
        _ => return None,
    })
}

/// The answer of a place.
pub(super) async fn answer(
    engine: &Arc<Engine>,
    room: Room,
    arrival: &Arrival,
    headers: &HeaderMap,
) -> Result<Response<Payload>, Problem> {
    let answer = match room {
        Room::File(at) => file(at, headers),
        Room::Thumb(file) => thumbs::serve(engine, &file, headers).await?,
        room => {
            let viewer = engine.viewer(bearer(headers).as_deref())?;
            let asked = query::Query::of(&arrival.query);
            let body = match room {
                Room::About => data::about(engine, &viewer),
                Room::Drift => drift::drift(engine).await?,
                Room::Spend => data::spend(engine, &viewer, &asked, arrival.received).await?,
                Room::Story(id) => data::story(engine, &viewer, &id).await?,
                Room::WhatIf => data::what_if(engine, &viewer, &asked).await?,
                Room::Wall | Room::File(_) | Room::Thumb(_) => data::wall(engine, viewer, &asked).await?,
            };
            tagged("application/json", Bytes::from(body), "private, no-cache", headers)
        }
    };
    Ok(answer)
}

fn file(at: usize, headers: &HeaderMap) -> Response<Payload> {
    let (_, media, bytes) = FILES.get(at).copied().unwrap_or_default();
    let mut answer = tagged(media, Bytes::from_static(bytes), "no-cache", headers);
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// An answer that a poller need not read twice: 304 while its bytes are the same.
fn tagged(media: &'static str, body: Bytes, keep: &'static str, headers: &HeaderMap) -> Response<Payload> {
    let digest = sha256_hex(&body);
    let tag = format!("\"{}\"", digest.get(..20).unwrap_or_default());
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut answer = if known {
        let mut answer = Response::new(Payload::default());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer.extensions_mut().insert(Ended("ok"));
        answer
    } else {
        routes::text(media, body)
    };
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    if let Ok(tag) = tag.parse() {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found() {
        assert_eq!(find(&[]), Some(Room::File(0)));
        assert_eq!(find(&["api", "pictures"]), Some(Room::Wall));
        assert_eq!(find(&["api", "drift"]), Some(Room::Drift));
        assert_eq!(find(&["api", "generations", "gen_1"]), Some(Room::Story("gen_1".to_owned())));
        assert_eq!(find(&["thumbs", "ab.png"]), Some(Room::Thumb("ab.png".to_owned())));
        for (at, (name, ..)) in FILES.iter().enumerate().skip(1) {
            assert_eq!(find(&[name]), Some(Room::File(at)));
        }
        assert_eq!(find(&["index.html"]), None);
        assert_eq!(find(&["api", "nothing"]), None);
    }

    #[test]
    fn the_page_names_its_files_and_nothing_elsewhere() {
        let page = std::str::from_utf8(FILES[0].2).unwrap();
        for (name, ..) in &FILES[1..4] {
            assert!(page.contains(&format!("/studio/{name}")), "{name}");
        }
        for (name, _, bytes) in FILES {
            let text = std::str::from_utf8(bytes).unwrap();
            let elsewhere = text.replace("http://www.w3.org/", "");
            assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{name}");
            for risk in ["innerHTML", "insertAdjacentHTML", "eval(", "style=\"", "onclick="] {
                assert!(!text.contains(risk), "{name} has {risk}");
            }
        }
    }

    #[test]
    fn the_script_is_small() {
        let script: usize = FILES.iter().filter(|(_, media, _)| *media == SCRIPT).map(|(.., bytes)| bytes.len()).sum();
        assert!(script < 150 * 1024, "{script} bytes of script");
    }
}
