//! Reads a request's body, bounded in bytes and in time.
//!
//! Why it exists: hyper has no cap on a body's size and no timeout on its arrival, and we answer early all the time; a
//! body that nobody read must not become the next request. What it refuses to know: what a body says.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};

use super::Bounds;
use crate::domain::refusal::Refusal;

/// The most bytes of an unread body that are read to keep its connection.
const DRAIN_BYTES: u64 = 64 * 1024;
/// The longest that this may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// A request's body, not yet or partly read.
pub(super) struct Intake {
    body: Incoming,
    /// The client waits for `100 Continue` before it sends: hyper sends it when the body is first asked for.
    waits: bool,
    touched: bool,
}

impl Intake {
    pub(super) fn new(body: Incoming, headers: &HeaderMap) -> Self {
        let waits = headers.get(header::EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self { body, waits, touched: false }
    }

    /// The whole body. A body whose length is known to pass the cap is refused before a byte of it is asked for.
    pub(super) async fn read(&mut self, bounds: &Bounds) -> Result<Bytes, Refusal> {
        let most = bounds.body_bytes;
        if self.body.size_hint().lower() > most {
            return Err(Refusal::TooLarge(most));
        }
        self.touched = true;
        let end = Instant::now() + bounds.body_time;
        let (mut first, mut more) = (Bytes::new(), BytesMut::new());
        let mut length = 0_u64;
        loop {
            let patience = (Instant::now() + bounds.body_idle).min(end);
            let frame = match timeout_at(patience, self.body.frame()).await {
                Err(_) => return Err(Refusal::SlowRequest),
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(broken(&error)),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers say nothing that we read.
            let Ok(data) = frame.into_data() else { continue };
            length += data.len() as u64;
            if length > most {
                return Err(Refusal::TooLarge(most));
            }
            if first.is_empty() && more.is_empty() {
                first = data;
            } else {
                more.extend_from_slice(&std::mem::take(&mut first));
                more.extend_from_slice(&data);
            }
        }
        Ok(if more.is_empty() { first } else { more.freeze() })
    }

    /// Reads what is left, when it is little and comes at once. Whether the connection may carry a next request.
    pub(super) async fn settle(mut self) -> bool {
        if self.body.is_end_stream() {
            return true;
        }
        let hint = self.body.size_hint();
        if (self.waits && !self.touched) || hint.lower() > DRAIN_BYTES {
            return false;
        }
        timeout(DRAIN_TIME, self.drain()).await.unwrap_or(false)
    }

    async fn drain(&mut self) -> bool {
        let mut left = DRAIN_BYTES;
        loop {
            match self.body.frame().await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => match left.checked_sub(frame.data_ref().map_or(0, |data| data.len() as u64)) {
                    Some(rest) => left = rest,
                    None => return false,
                },
            }
        }
    }
}

fn broken(error: &hyper::Error) -> Refusal {
    let detail = if error.is_incomplete_message() {
        "the body ended before its announced length"
    } else {
        "the body could not be read: its chunks are malformed, or the connection broke off"
    };
    Refusal::InvalidRequest { pointer: String::new(), detail: detail.to_owned() }
}
