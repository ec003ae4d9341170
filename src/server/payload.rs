//! What an answer's body is made of: text as it stands, and pictures that become base64 as they are sent.
//!
//! Why it exists: a picture is megabytes. It stays the bytes that the store holds until the connection takes the next
//! piece, so an answer's memory is its pictures and one piece, its length is known before its first byte, and no second
//! copy of it is ever whole. What it refuses to know: JSON and HTTP.
//! A body may also be live: pieces that come when they come, of a length that nobody knows.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};

/// Bytes encoded at once: a multiple of three, so that the pieces' base64 is the whole's, and its 128 KiB is what the
/// connection buffers.
const PIECE: usize = 96 * 1024;

/// Pieces that come over time. An error ends the connection without an end of the body, so that no client takes what
/// came for the whole.
pub(super) type Live = Pin<Box<dyn Stream<Item = Result<Bytes, Broken>> + Send>>;

/// The answer cannot be finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer ends here, unfinished")
    }
}

impl std::error::Error for Broken {}

/// A body: of known length, unless it is live.
#[derive(Default)]
pub(super) struct Payload {
    parts: VecDeque<Part>,
    left: u64,
    live: Option<Live>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("left", &self.left).field("live", &self.live.is_some()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Part {
    Text(Bytes),
    Base64(Bytes),
}

impl Payload {
    /// A body that is these bytes.
    pub(super) fn of(bytes: impl Into<Bytes>) -> Self {
        let mut payload = Self::default();
        payload.push(bytes);
        payload
    }

    /// A body that comes over time.
    pub(super) fn live(pieces: impl Stream<Item = Result<Bytes, Broken>> + Send + 'static) -> Self {
        Self { live: Some(Box::pin(pieces)), ..Self::default() }
    }

    /// Appends bytes as they stand.
    pub(super) fn push(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.left += bytes.len() as u64;
            self.parts.push_back(Part::Text(bytes));
        }
    }

    /// Appends the base64 of bytes.
    pub(super) fn push_base64(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.left += base64_simd::STANDARD.encoded_length(bytes.len()) as u64;
            self.parts.push_back(Part::Base64(bytes));
        }
    }

    /// The next piece of what is here; `None` at its end.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let piece = match self.parts.front_mut()? {
            Part::Text(bytes) => std::mem::take(bytes),
            Part::Base64(rest) if rest.len() > PIECE => {
                let piece = base64(&rest.split_to(PIECE));
                self.left = self.left.saturating_sub(piece.len() as u64);
                return Some(piece);
            }
            Part::Base64(rest) => base64(rest),
        };
        self.parts.pop_front();
        self.left = self.left.saturating_sub(piece.len() as u64);
        Some(piece)
    }
}

fn base64(bytes: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(base64_simd::STANDARD.encoded_length(bytes.len()));
    base64_simd::STANDARD.encode_append(bytes, &mut text);
    text.into()
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        match (this.next(), &mut this.live) {
            (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            (None, Some(live)) => live.as_mut().poll_next(cx).map_ok(Frame::data),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && self.live.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.live.is_some() { SizeHint::default() } else { SizeHint::with_exact(self.left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mut payload: Payload) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = payload.next() {
            assert!(piece.len() <= PIECE / 3 * 4, "a piece of {}", piece.len());
            all.extend_from_slice(&piece);
            assert_eq!(payload.is_end_stream(), payload.left == 0);
        }
        all
    }

    proptest::proptest! {
        #[test]
        fn pieces_are_the_whole(
            sizes in proptest::collection::vec(0..PIECE * 2 + 7, 1..4),
        ) {
            let mut payload = Payload::of("[\"");
            let mut want = b"[\"".to_vec();
            for size in sizes {
                let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
                want.extend_from_slice(base64_simd::STANDARD.encode_to_string(&bytes).as_bytes());
                want.extend_from_slice(b"\",\"");
                payload.push_base64(bytes.into());
                payload.push("\",\"");
            }
            proptest::prop_assert_eq!(payload.left, want.len() as u64);
            proptest::prop_assert_eq!(drain(payload), want);
        }
    }
}
