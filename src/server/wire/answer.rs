//! A served request as the contract's answer: JSON with the pictures in it, or the picture alone.
//!
//! Why it exists: the JSON around the pictures is written once, in the order of the contract; the pictures join it as
//! they are sent. What it refuses to know: who asked. The `OpenAI` shape stands in `openai.rs` and shares [`about`].

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::super::payload::Payload;
use super::json::Json;
use crate::domain::ledger::{Attempt, MoneyState};
use crate::domain::plan::explain::StepLine;
use crate::domain::request::ResponseFormat;
use crate::engine::{Served, ServedImage, Timings};

/// The answer of `/generate`.
pub(in crate::server) fn native(served: &Served, carry: ResponseFormat) -> Payload {
    let (mut json, mut payload) = (Json::default(), Payload::default());
    json.open('{');
    head(&mut json, served);
    images(&mut json, &mut payload, served, carry);
    about(&mut json, served);
    json.close('}');
    payload.push(json.finish());
    payload
}

/// The key `images`.
pub(in crate::server) fn images(json: &mut Json, payload: &mut Payload, served: &Served, carry: ResponseFormat) {
    json.key("images").open('[');
    for image in &served.images {
        json.open('{');
        if carry == ResponseFormat::B64Json {
            base64(json, payload, image);
        }
        json.key("url").text(&path(image));
        json.key("media_type").text(image.format.media_type());
        json.key("width").raw(image.size.width);
        json.key("height").raw(image.size.height);
        json.key("seed");
        match image.seed {
            Some(seed) => json.raw(seed),
            None => json.raw("null"),
        };
        json.key("sha256").text(&image.sha256);
        json.close('}');
    }
    json.close(']');
}

/// The key `b64_json` with the picture.
pub(super) fn base64(json: &mut Json, payload: &mut Payload, image: &ServedImage) {
    json.key("b64_json").open_text();
    payload.push(json.take());
    payload.push_base64(image.bytes.clone());
    json.close_text();
}

/// The fields before the pictures.
pub(super) fn head(json: &mut Json, served: &Served) {
    json.key("id").text(&served.id);
    json.key("created").raw(served.created.as_second());
    json.key("status").text("succeeded");
}

/// The fields after the pictures.
pub(in crate::server) fn about(json: &mut Json, served: &Served) {
    json.key("model").text(&served.model);
    json.key("task").text(&served.task);
    json.key("plan").object(|json| {
        steps(json, &served.steps);
        json.key("rule").text_or_null(served.rule.as_deref());
        json.key("expected").object(|json| {
            json.key("accept").number(served.expected.accept);
            json.key("cost_usd").usd(served.expected.cost);
            json.key("latency_ms").millis(served.expected.latency);
        });
    });
    json.key("cost").object(|json| {
        json.key("usd").usd(served.cost);
        json.key("state").text(served.state.name());
        attempts(json, &served.attempts);
    });
    json.key("served").text(served.how.name());
    json.key("adjustments").texts(served.adjustments.iter().map(String::as_str));
    json.key("warnings").texts(served.warnings.iter().map(String::as_str));
    json.key("policy").text(&served.policy);
    json.key("timings_ms").object(|json| {
        json.key("total").number(millis(served.timings.total));
        json.key("provider").number(millis(served.timings.provider));
        json.key("gateway").number(millis(served.timings.gateway));
    });
}

/// The key `steps`.
pub(super) fn steps(json: &mut Json, steps: &[StepLine]) {
    array_of_steps(json, "steps", steps);
}

fn array_of_steps(json: &mut Json, key: &str, steps: &[StepLine]) {
    json.key(key).array(steps, |json, step| {
        json.object(|json| {
            json.key("op").text(step.op);
            if let Some(model) = &step.model {
                json.key("model").text(model);
            }
            if let Some(drafts) = step.drafts {
                json.key("drafts").raw(drafts);
            }
            if let Some(verifier) = &step.verifier {
                check(json, step, verifier);
                return;
            }
            json.key("width").raw(step.size.width);
            json.key("height").raw(step.size.height);
        });
    });
}

/// A check: who looked, what was seen, and what is done instead of the rest when a picture fails.
fn check(json: &mut Json, step: &StepLine, verifier: &str) {
    json.key("verifier").text(verifier);
    if let Some(judged) = &step.judged {
        json.key("passed").raw(judged.passed);
        json.key("failed").raw(judged.failed);
        json.key("seen").texts(judged.seen.iter().map(String::as_str));
    }
    if !step.otherwise.is_empty() {
        array_of_steps(json, "else", &step.otherwise);
    }
}

/// The key `attempts`.
pub(in crate::server) fn attempts(json: &mut Json, attempts: &[Attempt]) {
    json.key("attempts").array(attempts, |json, attempt| {
        json.object(|json| {
            json.key("provider").text(&attempt.provider);
            json.key("model").text(&attempt.model);
            json.key("outcome").text(attempt.outcome);
            json.key("usd").usd(attempt.charged);
            if attempt.state == MoneyState::Ambiguous {
                json.key("held_usd").usd(attempt.held);
            }
            json.key("billed").text(attempt.billed.name());
            json.key("latency_ms").millis(attempt.latency);
            if !attempt.detail.is_empty() {
                json.key("detail").text(&attempt.detail);
            }
        });
    });
}

/// Where the gateway serves a picture.
pub(super) fn path(image: &ServedImage) -> String {
    format!("/images/{}.{}", image.sha256, image.format.name())
}

/// The headers that every answer with an image carries.
pub(in crate::server) fn headers(served: &Served) -> Vec<(HeaderName, HeaderValue)> {
    let cost = served.cost.to_string();
    let all = [
        ("tollgate-model", &*served.model),
        ("tollgate-cost-usd", &*cost),
        ("tollgate-served", served.how.name()),
        ("tollgate-policy", &*served.policy),
        ("tollgate-id", &*served.id),
        ("server-timing", &*server_timing(served.timings)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((HeaderName::from_static(name), value.parse().ok()?))).collect()
}

/// `Server-Timing`: total, and within it providers and ourselves.
fn server_timing(timings: Timings) -> String {
    format!(
        "total;dur={}, provider;dur={}, gateway;dur={}",
        millis(timings.total),
        millis(timings.provider),
        millis(timings.gateway)
    )
}

/// Milliseconds to a tenth.
pub(in crate::server) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
pub(in crate::server) mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http_body_util::BodyExt as _;
    use jiff::Timestamp;

    use super::*;
    use crate::domain::fault::Billed;
    use crate::domain::image::{Format, Size};
    use crate::domain::ledger::Basis;
    use crate::domain::money::Money;
    use crate::engine::{Expected, How};

    pub(in crate::server) fn attempt() -> Attempt {
        let cost = Money::from_micros(35_000);
        let mut attempt = Attempt::held(0, "stability".into(), "stability/sd3.5-medium".into(), cost);
        attempt.end(Billed::Yes, cost, Basis::PriceTable);
        attempt.outcome = "ok";
        attempt.latency = Duration::from_millis(5104);
        attempt
    }

    pub(in crate::server) fn served(images: &[Bytes]) -> Served {
        let image = |bytes: &Bytes| ServedImage {
            sha256: "ab".repeat(32).into(),
            format: Format::Png,
            size: Size::new(512, 512),
            seed: Some(7),
            bytes: bytes.clone(),
        };
        let model: Arc<str> = "stability/sd3.5-medium".into();
        Served {
            id: "gen_1".into(),
            created: Timestamp::from_second(1_795_000_000).unwrap(),
            images: images.iter().map(image).collect(),
            model: model.clone(),
            task: "concept".into(),
            steps: vec![
                StepLine { op: "generate", model: Some(model), size: Size::new(1024, 1024), ..StepLine::default() },
                StepLine { op: "resize", size: Size::new(512, 512), ..StepLine::default() },
            ],
            rule: Some("drafts".into()),
            expected: Expected { accept: 0.71, cost: Money::from_micros(35_000), latency: Duration::from_millis(5200) },
            cost: Money::from_micros(35_000),
            state: MoneyState::Settled,
            attempts: vec![attempt()],
            how: How::Fresh,
            adjustments: vec!["rendered at 1024x1024, resized to 512x512".to_owned()],
            warnings: vec![],
            policy: "3f9c0a17be42".into(),
            timings: Timings {
                total: Duration::from_millis(5123),
                provider: Duration::from_millis(5104),
                gateway: Duration::from_micros(1_900),
            },
        }
    }

    pub(in crate::server) fn read(payload: Payload) -> String {
        let length = http_body::Body::size_hint(&payload).exact().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(payload.collect()).unwrap().to_bytes();
        assert_eq!(bytes.len() as u64, length);
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn the_answer_is_the_contract_s_to_the_byte() {
        let text = read(native(&served(&[Bytes::from_static(b"\x89PNG")]), ResponseFormat::B64Json));
        let want = concat!(
            r#"{"id":"gen_1","created":1795000000,"status":"succeeded","images":[{"b64_json":"iVBORw==","url":"/images/"#,
            "abababababababababababababababababababababababababababababababab",
            r#".png","media_type":"image/png","width":512,"height":512,"seed":7,"sha256":""#,
            "abababababababababababababababababababababababababababababababab",
            r#""}],"model":"stability/sd3.5-medium","task":"concept","plan":{"steps":[{"op":"generate","model":"stability/sd3.5-medium","width":1024,"height":1024},{"op":"resize","width":512,"height":512}],"rule":"drafts","expected":{"accept":0.71,"cost_usd":0.035,"latency_ms":5200}},"cost":{"usd":0.035,"state":"settled","attempts":[{"provider":"stability","model":"stability/sd3.5-medium","outcome":"ok","usd":0.035,"billed":"yes","latency_ms":5104}]},"served":"fresh","adjustments":["rendered at 1024x1024, resized to 512x512"],"warnings":[],"policy":"3f9c0a17be42","timings_ms":{"total":5123,"provider":5104,"gateway":1.9}}"#,
        );
        assert_eq!(text, want);
    }

    #[test]
    fn a_link_carries_no_picture() {
        let text = read(native(&served(&vec![Bytes::from_static(b"\x89PNG"); 3]), ResponseFormat::Url));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["images"].as_array().unwrap().len(), 3);
        assert_eq!(json["images"][0].get("b64_json"), None);
    }

    #[test]
    fn headers_say_what_it_cost() {
        let headers = headers(&served(&[]));
        let value = |name: &str| headers.iter().find(|(n, _)| n == name).unwrap().1.to_str().unwrap().to_owned();
        assert_eq!(value("tollgate-cost-usd"), "0.035");
        assert_eq!(value("server-timing"), "total;dur=5123, provider;dur=5104, gateway;dur=1.9");
    }
}
