//! A user's own scorer: a picture in, a score out.
//!
//! Why it exists: whoever has a judge of pictures (an aesthetic model, a brand check) can put it behind one route. What it
//! refuses to know: whether a score is good enough.
//!
//! `POST` to the verifier's `url`, with JSON `{"prompt", "task", "media_type", "image"}`, the picture in base64; the
//! answer is 200 with `{"score": 0.87}`, from 0 to 1, and anything else beside it. A `key` of the policy comes as
//! `Authorization: Bearer`.

use bytes::Bytes;
use serde::Deserialize;

use super::common::{self, Failure};
use super::{Auth, Body, Call, Method, Reply, Stage, Target};
use crate::domain::fault::Fault;
use crate::domain::image::Format;

/// The call that asks for a score, at `path` of the scorer's host. It buys when the policy has a price for it: then it is sent once.
pub fn encode(path: &str, prompt: &str, task: &str, picture: (&Bytes, Format), buys: bool) -> Call {
    let (picture, format) = picture;
    let body = serde_json::json!({
        "prompt": prompt,
        "task": task,
        "media_type": format.media_type(),
        "image": base64_simd::STANDARD.encode_to_string(picture),
    });
    Call {
        stage: if buys { Stage::Submit } else { Stage::Poll },
        method: Method::Post,
        target: Target::Path(path.to_owned()),
        headers: Vec::new(),
        auth: Auth::Bearer,
        body: Body::json(&body),
    }
}

/// The score, 0 to 1.
pub fn decode(call: &Call, reply: &Reply) -> Result<f64, Fault> {
    #[derive(Deserialize)]
    struct Answer {
        score: f64,
    }
    if !(200..300).contains(&reply.status) {
        return Err(Failure::of(call, reply).by_status());
    }
    let Answer { score } = common::parse(reply)?;
    if (0.0..=1.0).contains(&score) { Ok(score) } else { Err(common::garbled("the score is not from 0 to 1")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(status: u16, body: &'static str) -> Result<f64, Fault> {
        let call = encode("/score", "a fox", "photo", (&Bytes::from_static(b"\x89PNG"), Format::Png), true);
        decode(&call, &Reply { status, body: Bytes::from_static(body.as_bytes()), ..Reply::default() })
    }

    #[test]
    fn a_score_comes_out_and_nothing_else() {
        assert_eq!(decoded(200, r#"{"score":0.87,"why":"sharp"}"#), Ok(0.87));
        for (status, body) in [(200, r#"{"score":7}"#), (200, "{}"), (200, "<html>"), (503, ""), (404, "{}")] {
            assert!(decoded(status, body).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn the_picture_goes_in_base64() {
        let call = encode("/score", "a fox", "photo", (&Bytes::from_static(b"\x89PNG"), Format::Png), false);
        assert!(!call.stage.buys());
        let Body::Json(body) = call.body else { panic!("{:?}", call.body) };
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["image"], "iVBORw==");
        assert_eq!(body["media_type"], "image/png");
    }
}
