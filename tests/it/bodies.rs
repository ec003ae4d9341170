//! Bad input: every row is refused with its status, code and place, all over one connection, which then still serves.

use serde_json::json;

use crate::harness::{House, SWORD};

/// A body, where it is wrong.
const BODIES: &[(&str, u16, &str, &str)] = &[
    ("", 415, "unsupported_media_type", "-"),
    ("prompt", 400, "invalid_request", ""),
    ("[]", 400, "invalid_request", ""),
    ("\"a red fox\"", 400, "invalid_request", ""),
    ("null", 400, "invalid_request", ""),
    ("{", 400, "invalid_request", ""),
    ("{}", 400, "invalid_request", "/prompt"),
    ("{\"prompt\":\"x\"", 400, "invalid_request", ""),
    ("{\"prompt\":\"x\",}", 400, "invalid_request", ""),
    ("{\"prompt\":\"x\"} x", 400, "invalid_request", ""),
    ("{'prompt':'x'}", 400, "invalid_request", ""),
    ("{\"prompt\":\"x\",\"n\":1,\"n\":1}", 400, "invalid_request", "/n"),
    ("{\"prompt\":\"x\",\"prompt\":null}", 400, "invalid_request", "/prompt"),
    ("{\"prompt\":null}", 400, "invalid_request", "/prompt"),
    ("{\"prompt\":\"\"}", 400, "invalid_request", "/prompt"),
    ("{\"prompt\":[\"x\"]}", 400, "invalid_request", "/prompt"),
    ("{\"prompt\":\"\\ud800\"}", 400, "invalid_request", "/prompt"),
    ("{\"prompt\":\"a\\u0000b\"}", 400, "invalid_request", "/prompt"),
    ("{\"prompt\":\"a\tb\"}", 400, "invalid_request", "/prompt"),
    ("{\"prompt\":\"x\",\"width\":\"512\",\"height\":512}", 400, "invalid_request", "/width"),
    ("{\"prompt\":\"x\",\"width\":512}", 400, "invalid_request", "/width"),
    ("{\"prompt\":\"x\",\"width\":512.5,\"height\":512}", 400, "invalid_request", "/width"),
    ("{\"prompt\":\"x\",\"width\":63,\"height\":512}", 400, "invalid_request", "/width"),
    ("{\"prompt\":\"x\",\"width\":512,\"height\":4097}", 400, "invalid_request", "/height"),
    ("{\"prompt\":\"x\",\"w\":512,\"h\":512,\"width\":640}", 400, "invalid_request", "/w"),
    ("{\"prompt\":\"x\",\"size\":\"99999x1\"}", 400, "invalid_request", "/size"),
    ("{\"prompt\":\"x\",\"size\":\"auto\"}", 400, "invalid_request", "/size"),
    ("{\"prompt\":\"x\",\"size\":512}", 400, "invalid_request", "/size"),
    ("{\"prompt\":\"x\",\"size\":\"512x512\",\"w\":512,\"h\":640}", 400, "invalid_request", "/size"),
    ("{\"prompt\":\"x\",\"aspect_ratio\":\"wide\"}", 400, "invalid_request", "/aspect_ratio"),
    ("{\"prompt\":\"x\",\"aspect_ratio\":\"1:99\"}", 400, "invalid_request", "/aspect_ratio"),
    ("{\"prompt\":\"x\",\"aspect_ratio\":\"16:9\",\"size\":\"512x512\"}", 400, "invalid_request", "/aspect_ratio"),
    ("{\"prompt\":\"x\",\"n\":0}", 400, "invalid_request", "/n"),
    ("{\"prompt\":\"x\",\"n\":9}", 400, "invalid_request", "/n"),
    ("{\"prompt\":\"x\",\"n\":1e9}", 400, "invalid_request", "/n"),
    ("{\"prompt\":\"x\",\"n\":true}", 400, "invalid_request", "/n"),
    ("{\"prompt\":\"x\",\"seed\":-1}", 400, "invalid_request", "/seed"),
    ("{\"prompt\":\"x\",\"seed\":-0}", 400, "invalid_request", "/seed"),
    ("{\"prompt\":\"x\",\"seed\":4294967295}", 400, "invalid_request", "/seed"),
    ("{\"prompt\":\"x\",\"seed\":123456789012345678901234567890}", 400, "invalid_request", "/seed"),
    ("{\"prompt\":\"x\",\"seed\":NaN}", 400, "invalid_request", "/seed"),
    ("{\"prompt\":\"x\",\"negative_prompt\":false}", 400, "invalid_request", "/negative_prompt"),
    ("{\"prompt\":\"x\",\"task\":\"no-such-task\"}", 400, "invalid_request", "/task"),
    ("{\"prompt\":\"x\",\"task\":7}", 400, "invalid_request", "/task"),
    ("{\"prompt\":\"x\",\"quality\":1.5}", 400, "invalid_request", "/quality"),
    ("{\"prompt\":\"x\",\"quality\":-0.1}", 400, "invalid_request", "/quality"),
    ("{\"prompt\":\"x\",\"quality\":\"no-such-tier\"}", 400, "invalid_request", "/quality"),
    ("{\"prompt\":\"x\",\"quality\":\"0.9\"}", 400, "invalid_request", "/quality"),
    ("{\"prompt\":\"x\",\"max_cost_usd\":\"0.05\"}", 400, "invalid_request", "/max_cost_usd"),
    ("{\"prompt\":\"x\",\"max_cost_usd\":-1}", 400, "invalid_request", "/max_cost_usd"),
    ("{\"prompt\":\"x\",\"deadline_ms\":0}", 400, "invalid_request", "/deadline_ms"),
    ("{\"prompt\":\"x\",\"deadline_ms\":\"1s\"}", 400, "invalid_request", "/deadline_ms"),
    ("{\"prompt\":\"x\",\"model\":\"no/such-model\"}", 400, "invalid_request", "/model"),
    ("{\"prompt\":\"x\",\"model\":[]}", 400, "invalid_request", "/model"),
    ("{\"prompt\":\"x\",\"data_policy\":\"on_prem\"}", 400, "invalid_request", "/data_policy"),
    ("{\"prompt\":\"x\",\"fit\":\"crop\"}", 400, "invalid_request", "/fit"),
    ("{\"prompt\":\"x\",\"output_format\":\"gif\"}", 400, "invalid_request", "/output_format"),
    ("{\"prompt\":\"x\",\"response_format\":\"path\"}", 400, "invalid_request", "/response_format"),
    ("{\"prompt\":\"x\",\"webhook\":{\"url\":\"https://x.test\"}}", 400, "invalid_request", "/webhook"),
    ("{\"prompt\":\"x\",\"metadata\":[]}", 400, "invalid_request", "/metadata"),
    ("{\"prompt\":\"x\",\"metadata\":{\"a\":{}}}", 400, "invalid_request", "/metadata/a"),
    ("{\"prompt\":\"x\",\"metadata\":{\"a\":\"1\",\"a\":\"2\"}}", 400, "invalid_request", "/metadata/a"),
    ("{\"prompt\":\"x\",\"strict\":\"yes\"}", 400, "invalid_request", "/strict"),
    ("{\"prompt\":\"x\",\"max_cost_usd\":0.000001}", 422, "no_plan", "-"),
    ("{\"prompt\":\"x\",\"quality\":1}", 422, "no_plan", "-"),
];

/// A header of a good body, and where it is wrong.
const HEADERS: &[(&str, &str, u16, &str, &str)] = &[
    ("content-type", "text/xml", 415, "unsupported_media_type", "-"),
    ("content-type", "multipart/form-data; boundary=x", 415, "unsupported_media_type", "-"),
    ("content-encoding", "gzip", 415, "unsupported_media_type", "-"),
    ("idempotency-key", "a b", 400, "invalid_request", "header:Idempotency-Key"),
    ("idempotency-key", "\"unclosed", 400, "invalid_request", "header:Idempotency-Key"),
    ("idempotency-key", "\"\"", 400, "invalid_request", "header:Idempotency-Key"),
    ("tollgate-share", "always", 400, "invalid_request", "header:Tollgate-Share"),
];

#[tokio::test]
async fn every_bad_request_is_refused_at_its_place_and_the_connection_lives() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    let json_type = ("content-type", "application/json");
    for path in ["/generate", "/plan"] {
        for (body, status, code, param) in BODIES {
            // A plan that does not fit is an answer there, and a webhook is nothing that it would use.
            if path == "/plan" && (*code == "no_plan" || *param == "/webhook") {
                continue;
            }
            let label: &[(&str, &str)] = if body.is_empty() { &[] } else { &[json_type] };
            let answer = wire.post(path, label, body.as_bytes()).await;
            assert_eq!(answer.error(), (*status, (*code).to_owned(), (*param).to_owned()), "{path} {body}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body}");
            assert!(answer.header("x-request-id").is_some() && answer.header("tollgate-policy").is_some(), "{body}");
            assert_eq!(answer.header("connection"), None, "{body}");
        }
    }
    let good = json!({"prompt": SWORD}).to_string();
    for (name, value, status, code, param) in HEADERS {
        let mut headers = vec![(*name, *value)];
        if *name != "content-type" {
            headers.push(json_type);
        }
        let answer = wire.post("/generate", &headers, good.as_bytes()).await;
        assert_eq!(answer.error(), (*status, (*code).to_owned(), (*param).to_owned()), "{name}: {value}");
    }
    let accept = [json_type, ("accept", "image/png")];
    let answer = wire.post("/generate", &accept, br#"{"prompt":"x","n":2}"#).await;
    assert_eq!(answer.error().2, "header:Accept");
    let answer = wire.post("/generate", &accept, br#"{"prompt":"x","output_format":"webp"}"#).await;
    assert_eq!(answer.error().2, "header:Accept");
    let answer = wire.post("/generate", &[json_type], b"{\"prompt\":\"\xff\"}").await;
    assert_eq!(answer.error(), (400, "invalid_request".to_owned(), String::new()));
    assert_eq!(house.bought().await, 0, "nothing of it was bought");

    let answer = wire.post("/generate", &[json_type], good.as_bytes()).await;
    assert_eq!((answer.status, answer.json()["status"].clone()), (200, "succeeded".into()));
    assert_eq!(house.bought().await, 1);
}

#[tokio::test]
async fn what_is_strange_but_right_is_served_with_a_warning() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    let body = json!({"prompt": SWORD, "w": 512, "h": 512, "seed": 0, "negative_prompt": null, "sede": 7}).to_string();
    let curl = [("content-type", "application/x-www-form-urlencoded"), ("prefer", "return=minimal")];
    let answer = wire.post("/generate", &curl, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let warnings = answer.json()["warnings"].to_string();
    for part in ["`sede` ignored; did you mean `seed`?", "x-www-form-urlencoded"] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    assert_eq!(answer.json()["images"][0]["width"], 512);
    // A browser's page may send such a body anywhere; it does not buy.
    let page = [("content-type", "application/x-www-form-urlencoded"), ("origin", "https://elsewhere.test")];
    let answer = wire.post("/generate", &page, body.as_bytes()).await;
    assert_eq!(answer.error().1, "unsupported_media_type");
    assert_eq!(house.bought().await, 1);
}

#[tokio::test]
async fn the_way_is_told_to_the_lost() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    for (method, path, status, part) in [
        ("GET", "/generate", 405, "/generate takes POST"),
        ("POST", "/generat", 404, "Did you mean /generate?"),
        ("GET", "/metrics", 404, "admin address"),
        ("DELETE", "/images/x", 405, "GET, HEAD"),
        ("GET", "/images/../../etc/passwd", 404, "There is no"),
        ("GET", "/images/zz.png", 404, "There is no such image."),
        ("GET", "/v1/models/none", 404, "not in the policy"),
    ] {
        let answer = wire.request(method, path, &[], b"").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.text().contains(part), "{}", answer.text());
    }
    let guide = wire.get("/", &[]).await;
    assert!(guide.text().contains("POST /generate"), "{}", guide.text());
}
