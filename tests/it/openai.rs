//! What `openai-python` sends, and what it reads of the answer.

use serde_json::json;

use crate::harness::{House, SWORD};

/// The headers of openai-python 3.
const SDK: [(&str, &str); 7] = [
    ("content-type", "application/json"),
    ("accept", "application/json"),
    ("authorization", "Bearer sk-anything"),
    ("user-agent", "OpenAI/Python 3.3.1"),
    ("x-stainless-lang", "python"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-read-timeout", "600"),
];

#[tokio::test]
async fn the_sdk_s_call_is_answered_in_its_shape() {
    let house = House::open().await;
    let ask = json!({"prompt": SWORD, "model": "auto", "n": 2, "size": "1024x1024", "quality": "auto", "user": "u1",
        "response_format": "b64_json", "seed": 3, "metadata": {"stage": "draft"}});
    let answer = house.wire().await.post("/v1/images/generations", &SDK, ask.to_string().as_bytes()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.text());
    let body = answer.json();
    assert!(body["created"].as_i64() > Some(1_700_000_000));
    let data = body["data"].as_array().unwrap();
    assert_eq!(data.len(), 2);
    for image in data {
        let keys: Vec<_> = image.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["b64_json"]);
    }
    assert_eq!((&body["size"], &body["output_format"]), (&json!("1024x1024"), &json!("png")));
    assert_eq!(body["tollgate"]["plan"]["rule"], "drafts", "a rule saw the metadata of extra_body");
    assert!(body["tollgate"]["warnings"].to_string().contains("`user`"));
    assert!(answer.header("x-request-id").is_some());
}

#[tokio::test]
async fn a_link_is_whole() {
    let house = House::open().await;
    let ask = json!({"prompt": SWORD, "response_format": "url", "quality": "low"}).to_string();
    let mut wire = house.wire().await;
    let answer = wire.post("/v1/images/generations", &SDK, ask.as_bytes()).await;
    let url = answer.json()["data"][0]["url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("http://gateway.test").unwrap();
    assert_eq!(wire.get(path, &[]).await.status, 200);
}

#[tokio::test]
async fn errors_are_those_that_the_sdk_knows() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    for (body, status, code, param) in [
        (json!({"prompt": SWORD, "model": "dall-e-3"}), 404, "model_not_found", "model"),
        (json!({"prompt": SWORD, "stream": true}), 400, "invalid_request", "/stream"),
        (json!({"prompt": SWORD, "n": 10}), 400, "invalid_request", "/n"),
        (json!({"model": "auto"}), 400, "invalid_request", "/prompt"),
    ] {
        let answer = wire.post("/v1/images/generations", &SDK, body.to_string().as_bytes()).await;
        assert_eq!(answer.error(), (status, code.to_owned(), param.to_owned()), "{body}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
    assert_eq!(house.bought().await, 0);
}

#[tokio::test]
async fn models_are_listed_and_can_be_asked_for() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    let list = wire.get("/v1/models", &SDK).await.json();
    let data = list["data"].as_array().unwrap();
    assert_eq!((&list["object"], &data[0]["id"]), (&json!("list"), &json!("auto")));
    assert!(data.len() > 5);
    for entry in data {
        let id = entry["id"].as_str().unwrap();
        let one = wire.get(&format!("/v1/models/{}", id.replace('/', "%2F")), &SDK).await;
        assert_eq!(&one.json(), entry);
    }
    let pinned = data[1]["id"].as_str().unwrap();
    let ask = json!({"prompt": SWORD, "model": pinned, "quality": 0.1}).to_string();
    let answer = wire.post("/v1/images/generations", &SDK, ask.as_bytes()).await;
    assert_eq!(answer.json()["tollgate"]["model"], pinned, "{}", answer.text());
}
