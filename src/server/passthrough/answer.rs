//! A provider's answer as it streams by: its status, and as much of it as tells what it cost.
//!
//! Why it exists: the books want a failure's reason and a success's usage, and neither the picture nor its memory. What it
//! refuses to know: what a dialect makes of it.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use pingora::http::ResponseHeader;

use super::skeleton::Skeleton;
use crate::provider::Reply;

/// The most that is kept of an answer.
const KEPT: usize = 64 * 1024;
/// Enough of a picture to know that it is one.
const MAGIC: usize = 64;

/// An answer on its way.
#[derive(Debug, Default)]
pub(super) struct Answer {
    head: Option<Reply>,
    look: Look,
}

#[derive(Debug, Default)]
enum Look {
    /// What nobody asks about.
    #[default]
    Away,
    /// A picture, or so it seems.
    Picture(Vec<u8>),
    /// JSON that may hold pictures.
    Json(Box<Skeleton>),
    /// An error: whatever it is, up to a bound.
    Text(Vec<u8>),
}

impl Answer {
    /// Its head came. `metered`: whether its words may tell what it cost.
    pub(super) fn begin(&mut self, head: &ResponseHeader, metered: bool) {
        let status = head.status.as_u16();
        let json = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.contains("json"));
        self.look = match status {
            200..300 if metered && json => Look::Json(Box::new(Skeleton::of_at_most(KEPT))),
            200..300 if metered => Look::Picture(Vec::new()),
            200..300 => Look::Away,
            _ => Look::Text(Vec::new()),
        };
        let headers = match self.look {
            // A success in JSON says everything in its body, wherever it comes from.
            Look::Away | Look::Json(_) => HeaderMap::new(),
            Look::Picture(_) | Look::Text(_) => head.headers.clone(),
        };
        self.head = Some(Reply { status, headers, body: Bytes::new() });
    }

    /// A piece of its body.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        match &mut self.look {
            Look::Away => {}
            Look::Json(skeleton) => skeleton.feed(piece),
            Look::Picture(seen) => keep(seen, piece, MAGIC),
            Look::Text(seen) => keep(seen, piece, KEPT),
        }
    }

    /// Its status, once its head came.
    pub(super) fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.status)
    }

    /// What was seen of it; `None` when no head came.
    pub(super) fn end(self) -> Option<Reply> {
        let body = match self.look {
            Look::Away => Bytes::new(),
            Look::Json(skeleton) => skeleton.whole().map(Bytes::from).unwrap_or_default(),
            Look::Picture(seen) | Look::Text(seen) => seen.into(),
        };
        self.head.map(|head| Reply { body, ..head })
    }
}

fn keep(seen: &mut Vec<u8>, piece: &[u8], most: usize) {
    let room = most.saturating_sub(seen.len());
    seen.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
}
