//! The words in which Stability refuses: one body shape for every error.

use serde_json::json;

use super::super::super::dice::{digest, hex};
use super::super::super::wire::Answer;

pub(super) const LOCKED: &str = "You have exceeded the rate limit of 150 requests within a 10 second period, and have been timed \
                      out for 60 seconds.";
pub(super) const BROKE: &str = "You lack sufficient credits to make this request. Please purchase more credits at \
                     https://platform.stability.ai/account/credits and try again.";
pub(super) const FLAGGED: &str = "Your request was flagged by our content moderation system, as a result your request was denied \
                       and you were not charged.";

pub(super) fn proxy_page(status: u16) -> String {
    format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body><center><h1>{status}</h1></center></body>\r\n</html>\r\n"
    )
}

pub(super) fn refusal(status: u16, name: &str, message: &str) -> Answer {
    // The id of a throttled call is the literal name; every other error has one of its own.
    let id = if status == 429 { name.to_owned() } else { hex(&digest(&[name.as_bytes(), message.as_bytes()])) };
    Answer::json(status, &json!({ "id": id, "name": name, "errors": [message] }))
}

pub(super) fn bad(message: &str) -> Answer {
    refusal(400, "bad_request", message)
}

pub(super) fn undecodable() -> Answer {
    bad("image: could not be decoded")
}
