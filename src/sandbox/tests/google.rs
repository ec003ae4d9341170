//! Black-box tests of the `google` routes.

#![expect(clippy::needless_pass_by_value, reason = "a request reads best with its body written in place")]

use serde_json::json;

use super::*;

const NANO: &str = "/google/v1beta/models/gemini-nano-banana-2.1:generateContent";
const KEY: &str = "AIzaSandboxGoogle";

fn content(prompt: &str, config: Value) -> Value {
    json!({ "contents": [{ "role": "user", "parts": [{ "text": prompt }] }], "generationConfig": config })
}

fn nano(bed: &Bed, body: &Value) -> RequestBuilder {
    bed.post(NANO, body).header("x-goog-api-key", KEY)
}

#[tokio::test]
async fn a_picture_with_its_tokens() {
    let bed = Bed::new().await;
    let config = json!({ "responseModalities": ["IMAGE"], "imageConfig": { "aspectRatio": "9:16", "imageSize": "1K" },
                         "thinkingConfig": { "thinkingLevel": "minimal" } });
    let (status, body) = answered(nano(&bed, &content("a red bicycle", config))).await;
    assert_eq!(status, 200);
    let part = &body["candidates"][0]["content"]["parts"][0]["inlineData"];
    assert_eq!(part["mimeType"], "image/png");
    assert_eq!(size(&decoded(&part["data"])), (768, 1376));
    assert_eq!(body["candidates"][0]["finishReason"], "STOP");
    assert_eq!(body["usageMetadata"]["candidatesTokenCount"], 1_120);
    assert!(body["usageMetadata"].get("thoughtsTokenCount").is_none());
    // 4 text tokens at 1.5 and 1,120 image tokens at 30 micro-dollars.
    assert_eq!(bed.billed().await, 33_606);
}

#[tokio::test]
async fn thinking_is_billed_and_makes_it_another_model() {
    let bed = Bed::new().await;
    let config = json!({ "thinking_config": { "thinking_level": "HIGH" }, "response_modalities": ["TEXT", "IMAGE"] });
    let (_, body) = answered(nano(&bed, &content("fox!", config))).await;
    assert_eq!(body["usageMetadata"]["thoughtsTokenCount"], 600);
    assert_eq!(body["candidates"][0]["content"]["parts"].as_array().unwrap().len(), 2);
    assert_eq!(bed.billed().await, 33_600 + 4_500 + 2, "one and a half micro-dollars of text are two");
    assert_eq!(bed.calls().await[0]["model"], "google/gemini-nano-banana-2.1-high");
}

#[tokio::test]
async fn the_pro_model_costs_by_size() {
    let bed = Bed::new().await;
    let path = "/google/v1beta/models/gemini-3-pro-image:generateContent";
    let config = json!({ "imageConfig": { "imageSize": "4K", "aspectRatio": "21:9" } });
    let (_, body) = answered(bed.post(path, &content("fox!", config)).header("x-goog-api-key", KEY)).await;
    let parts = body["candidates"][0]["content"]["parts"].as_array().unwrap();
    assert_eq!(size(&decoded(&parts.last().unwrap()["inlineData"]["data"])), (6336, 2688));
    assert_eq!(bed.billed().await, 240_002);
}

#[tokio::test]
async fn blocks_are_two_hundreds_and_free() {
    let bed = Bed::new().await;
    let (status, body) = answered(nano(&bed, &content("nsfw-output", json!({})))).await;
    assert_eq!((status, &body["candidates"][0]["finishReason"]), (200, &"IMAGE_SAFETY".into()));
    assert!(body["candidates"][0]["content"].get("parts").is_none());
    let (status, body) = answered(nano(&bed, &content("nsfw", json!({})))).await;
    assert_eq!((status, &body["promptFeedback"]["blockReason"]), (200, &"PROHIBITED_CONTENT".into()));
    assert!(body.get("candidates").is_none());
    assert_eq!(bed.billed().await, 0);
}

#[tokio::test]
async fn every_refusal_has_its_status() {
    let bed = Bed::new().await;
    let fine = content("fox", json!({}));
    let gone = |path: &str| bed.post(path, &fine).header("x-goog-api-key", KEY);
    for (request, code, status) in [
        (bed.post(NANO, &fine), 403, "PERMISSION_DENIED"),
        (bed.post(NANO, &fine).header("x-goog-api-key", "AIzawrong"), 400, "INVALID_ARGUMENT"),
        (nano(&bed, &json!({})), 400, "INVALID_ARGUMENT"),
        (nano(&bed, &content("fox", json!({ "imageConfig": { "imageSize": "1k" } }))), 400, "INVALID_ARGUMENT"),
        (nano(&bed, &content("fox", json!({ "imageConfig": { "aspectRatio": "7:3" } }))), 400, "INVALID_ARGUMENT"),
        (nano(&bed, &content("fox", json!({ "imageConfig": { "width": 7 } }))), 400, "INVALID_ARGUMENT"),
        (
            nano(&bed, &content("fox", json!({ "thinkingConfig": { "thinkingLevel": "deep" } }))),
            400,
            "INVALID_ARGUMENT",
        ),
        (gone("/google/v1beta/models/gemini-3.1-flash-image:generateContent"), 404, "NOT_FOUND"),
        (gone("/google/v1beta/models/imagen-4.0-generate-001:predict"), 404, "NOT_FOUND"),
        (
            bed.post(
                "/google/v1/projects/p/locations/l/publishers/google/models/gemini-3-pro-image:generateContent",
                &fine,
            ),
            401,
            "UNAUTHENTICATED",
        ),
    ] {
        let (got, body) = answered(request).await;
        assert_eq!((got, body["error"]["status"].as_str().unwrap()), (code, status), "{body}");
        assert_eq!(body["error"]["code"], code);
    }
    let (_, body) = answered(bed.post(NANO, &fine).header("x-goog-api-key", "AIzawrong")).await;
    assert_eq!(body["error"]["details"][0]["reason"], "API_KEY_INVALID");
    assert_eq!(bed.billed().await, 0);
}

#[tokio::test]
async fn a_throttled_call_says_when_in_a_detail() {
    let bed = Bed::new().await;
    let refused = content("nsfw", json!({}));
    for _ in 0..150 {
        assert_eq!(nano(&bed, &refused).send().await.unwrap().status(), 200);
    }
    let response = nano(&bed, &refused).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(!response.headers().contains_key("retry-after"));
    let body = json(response).await;
    assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
    let delay = body["error"]["details"][2]["retryDelay"].as_str().unwrap();
    let seconds: f64 = delay.strip_suffix('s').unwrap().parse().unwrap();
    assert!(delay.contains('.') && (0.0..60.0).contains(&seconds), "{delay}");
    bed.request(Method::DELETE, "/_sandbox").send().await.unwrap();
    bed.plan(json!([{ "provider": "google", "status": 429 }])).await;
    let (_, body) = answered(nano(&bed, &refused)).await;
    assert!(body["error"]["details"].as_array().unwrap().iter().all(|detail| detail.get("retryDelay").is_none()));
}

#[tokio::test]
async fn imagen_lives_on_vertex() {
    let bed = Bed::new().await;
    let path =
        "/google/v1/projects/p/locations/us-central1/publishers/google/models/imagen-4.0-fast-generate-001:predict";
    let ask = |prompt: &str, parameters: Value| {
        bed.post(path, &json!({ "instances": [{ "prompt": prompt }], "parameters": parameters }))
            .bearer_auth("ya29.token")
    };
    let (status, body) = answered(ask("fox", json!({ "sampleCount": 2, "aspectRatio": "4:3" }))).await;
    assert_eq!((status, body["predictions"].as_array().unwrap().len()), (200, 2));
    assert_eq!(size(&decoded(&body["predictions"][1]["bytesBase64Encoded"])), (1280, 896));
    assert_ne!(body["predictions"][0], body["predictions"][1]);
    let (_, body) = answered(ask("nsfw-output", json!({}))).await;
    assert!(body["predictions"][0]["raiFilteredReason"].as_str().unwrap().contains("not be charged"));
    assert_eq!(answered(ask("nsfw", json!({}))).await.0, 400);
    assert_eq!(answered(ask("fox", json!({ "seed": 4 }))).await.0, 400, "a watermark forbids a seed");
    assert_eq!(answered(ask("fox", json!({ "seed": 4, "addWatermark": false }))).await.0, 200);
    assert_eq!(bed.billed().await, 60_000);
}
