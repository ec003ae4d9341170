//! Black-box tests of the `openai` routes.

#![expect(clippy::needless_pass_by_value, reason = "a request reads best with its body written in place")]

use serde_json::json;

use super::*;

const PATH: &str = "/openai/v1/images/generations";
const KEY: &str = "sk-sandbox-openai";

fn ask(bed: &Bed, body: Value) -> RequestBuilder {
    bed.post(PATH, &body).bearer_auth(KEY)
}

#[tokio::test]
async fn pictures_with_their_tokens() {
    let bed = Bed::new().await;
    let sent = ask(
        &bed,
        json!({ "model": "gpt-image-2", "prompt": "a red bicycle", "n": 2, "size": "1536x1024", "quality": "medium" }),
    );
    let sent = sent.send().await.unwrap();
    assert_eq!(sent.status(), 200);
    assert!(sent.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    assert_eq!(sent.headers()["x-ratelimit-remaining-requests"], "248");
    assert!(sent.headers().contains_key("openai-processing-ms"));
    let body = json(sent).await;
    assert_eq!(body["data"].as_array().unwrap().len(), 2);
    assert_eq!(size(&decoded(&body["data"][0]["b64_json"])), (1536, 1024));
    assert_ne!(body["data"][0], body["data"][1]);
    assert_eq!((&body["quality"], &body["size"]), (&"medium".into(), &"1536x1024".into()));
    assert_eq!(body["usage"]["output_tokens"], 2 * 1_372);
    assert_eq!(body["usage"]["total_tokens"], 2 * 1_372 + 4);
    assert_eq!(bed.billed().await, 2 * 1_372 * 30 + 4 * 5);
    assert_eq!(bed.calls().await[0]["model"], "openai/gpt-image-2-medium");
}

#[tokio::test]
async fn formats_and_streams() {
    let bed = Bed::new().await;
    let (_, body) = answered(ask(&bed, json!({ "model": "gpt-image-2.6-flare", "prompt": "fox", "quality": "low", "size": "512x512", "output_format": "jpeg" }))).await;
    assert!(decoded(&body["data"][0]["b64_json"]).starts_with(b"\xff\xd8"));
    let sent = ask(&bed, json!({ "model": "gpt-image-1.5", "prompt": "fox", "quality": "low", "stream": true }))
        .send()
        .await
        .unwrap();
    let text = sent.text().await.unwrap();
    let data = text.strip_prefix("event: image_generation.completed\ndata: ").unwrap();
    let event: Value = serde_json::from_str(data.trim()).unwrap();
    assert_eq!(event["type"], "image_generation.completed");
    assert_eq!(size(&decoded(&event["b64_json"])), (1024, 1024));
    assert_eq!(bed.calls().await[1]["billed_micro_usd"], 272 * 32 + 5);
}

#[tokio::test]
async fn every_refusal_has_its_code_and_no_price() {
    let bed = Bed::new().await;
    let with = |extra: Value| {
        let mut body = json!({ "model": "gpt-image-2", "prompt": "fox" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        ask(&bed, body)
    };
    let fine = json!({ "model": "gpt-image-2", "prompt": "fox" });
    for (request, status, code) in [
        (bed.post(PATH, &fine), 401, Value::Null),
        (bed.post(PATH, &fine).bearer_auth("sk-wrong-key-1234"), 401, json!("invalid_api_key")),
        (bed.post(PATH, &fine).bearer_auth("sk-broke"), 429, json!("insufficient_quota")),
        (with(json!({ "response_format": "b64_json" })), 400, json!("unknown_parameter")),
        (with(json!({ "seed": 4 })), 400, json!("unknown_parameter")),
        (with(json!({ "size": "1000x1000" })), 400, json!("invalid_value")),
        (with(json!({ "size": "3200x640" })), 400, json!("invalid_value")),
        (with(json!({ "quality": "hd" })), 400, json!("invalid_value")),
        (with(json!({ "n": 11 })), 400, json!("integer_out_of_range")),
        (ask(&bed, json!({ "prompt": "fox" })), 400, json!("missing_required_parameter")),
        (with(json!({ "model": "dall-e-3" })), 404, json!("model_not_found")),
        (with(json!({ "model": "gpt-image-1" })), 404, json!("model_not_found")),
        (with(json!({ "prompt": "nsfw" })), 400, json!("moderation_blocked")),
        (with(json!({ "prompt": "nsfw-output" })), 400, json!("moderation_blocked")),
    ] {
        let sent = request.send().await.unwrap();
        assert!(sent.headers().contains_key("x-request-id"));
        let got = sent.status().as_u16();
        let body = json(sent).await;
        assert_eq!((got, &body["error"]["code"]), (status, &code), "{body}");
        assert!(body["error"]["message"].is_string() && body["error"].get("param").is_some());
    }
    let (_, body) = answered(bed.post(PATH, &fine).bearer_auth("sk-wrong-key-1234")).await;
    assert!(!body["error"]["message"].as_str().unwrap().contains("sk-wrong-key-1234"), "a key is never echoed whole");
    assert_eq!(bed.billed().await, 0);
}

#[tokio::test]
async fn images_a_minute_are_limited_with_a_hint() {
    let bed = Bed::new().await;
    for _ in 0..25 {
        let (status, _) = answered(ask(&bed, json!({ "model": "gpt-image-2", "prompt": "nsfw", "n": 10 }))).await;
        assert_eq!(status, 400);
    }
    let sent = ask(&bed, json!({ "model": "gpt-image-2", "prompt": "fox" })).send().await.unwrap();
    assert_eq!(sent.status(), 429);
    let seconds: u64 = sent.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(sent.headers()["x-ratelimit-remaining-requests"], "0");
    assert_eq!(json(sent).await["error"]["code"], "rate_limit_exceeded");
    assert_eq!(bed.billed().await, 0);
    let free = bed.post(PATH, &json!({ "model": "gpt-image-2", "prompt": "nsfw" })).bearer_auth("sk-unlimited");
    assert_eq!(answered(free).await.0, 400);
}

#[tokio::test]
async fn models_tell_their_end() {
    let bed = Bed::new().await;
    let (_, body) = answered(bed.get("/openai/v1/models").bearer_auth(KEY)).await;
    assert!(body["data"].as_array().unwrap().iter().any(|model| model["shutdown_date"] == "2026-12-01"));
}
