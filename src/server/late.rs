//! Answers that take longer than clients wait for a first byte.
//!
//! Why it exists: several HTTP clients give up when a connection is silent for five minutes, and a purchase may take
//! longer. White space before a JSON document means nothing, so it is sent while the document is made. What it refuses
//! to know: why it takes so long.
//!
//! The price is the status: it must be 200 before it is known. A document that then turns out to be a refusal is sent as
//! it is, and the connection is broken off instead of ended, which every client takes for a failure; its repeat finds
//! the refusal with its true status.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use tokio::time::{sleep, timeout};

use super::door::Ended;
use super::payload::{Broken, Payload};
use super::problem::Problem;
use super::routes::json;
use super::wire::json::Json;
use super::wire::{answer, openai};
use crate::domain::refusal::Refusal;
use crate::domain::request::ResponseFormat;
use crate::engine::{Engine, Inbound, Served};

/// Between two bytes.
const BEAT: Duration = Duration::from_secs(15);

type Landed = Result<Served, Refusal>;

/// What the document will look like.
pub(super) enum Shape {
    Native(ResponseFormat),
    Openai(ResponseFormat, String),
}

impl Shape {
    fn document(&self, served: &Served) -> Payload {
        match self {
            Self::Native(carry) => answer::native(served, *carry),
            Self::Openai(carry, base) => openai::answer(served, *carry, base),
        }
    }
}

/// How a request was served.
pub(super) enum Late {
    /// In good time.
    No(Box<Landed>),
    /// The answer is under way, its document to come.
    Yes(Response<Payload>),
}

/// Serves a request, and begins its answer after `quiet` at the latest.
pub(super) async fn serve(engine: &Arc<Engine>, inbound: Inbound, quiet: Duration, shape: Shape) -> Late {
    let engine = Arc::clone(engine);
    let mut serving = Box::pin(async move { engine.serve(inbound).await });
    if let Ok(landed) = timeout(quiet, &mut serving).await {
        return Late::No(Box::new(landed));
    }
    let making = Making::Waiting(serving, shape);
    let pieces = stream::unfold(making, |making| async move { making.next().await });
    let mut answer = json(Payload::live(pieces));
    answer.extensions_mut().insert(Ended("late"));
    Late::Yes(answer)
}

enum Making {
    Waiting(std::pin::Pin<Box<dyn Future<Output = Landed> + Send>>, Shape),
    Sending(Payload, bool),
    Over,
}

impl Making {
    async fn next(self) -> Option<(Result<Bytes, Broken>, Self)> {
        match self {
            Self::Waiting(mut serving, shape) => {
                tokio::select! {
                    landed = &mut serving => {
                        let sending = match landed {
                            Ok(served) => Self::Sending(shape.document(&served), true),
                            Err(refusal) => Self::Sending(refused(refusal), false),
                        };
                        Some((Ok(Bytes::from_static(b"\n")), sending))
                    }
                    () = sleep(BEAT) => Some((Ok(Bytes::from_static(b" ")), Self::Waiting(serving, shape))),
                }
            }
            Self::Sending(mut document, whole) => match document.next() {
                Some(piece) => Some((Ok(piece), Self::Sending(document, whole))),
                None if whole => None,
                None => {
                    // What was written leaves before the connection is broken off.
                    tokio::task::yield_now().await;
                    Some((Err(Broken), Self::Over))
                }
            },
            Self::Over => None,
        }
    }
}

fn refused(refusal: Refusal) -> Payload {
    let mut text = Json::default();
    text.object(|json| Problem::from(refusal).told(json));
    Payload::of(text.finish())
}
