//! What a good request gets: JSON, bytes, links, the plan, keys.

use std::sync::Arc;

use base64_simd::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use tollgate::domain::fingerprint::sha256_hex;
use tollgate::domain::image::{Format, Size, sniff};
use tollgate::server::Bounds;
use tollgate::state::{Images, ImagesFault};
use tollgate::transport::Boxed;

use crate::harness::{House, SWORD};
use crate::raw::Wire;

#[tokio::test]
async fn an_answer_is_the_image_its_price_and_why() {
    let house = House::open().await;
    let ask = json!({"prompt": SWORD, "size": "512x512", "n": 2, "seed": 7, "metadata": {"project": "spring"}});
    let answer = house.post("/generate", &ask).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let images = body["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    for image in images {
        let bytes = STANDARD.decode_to_vec(image["b64_json"].as_str().unwrap()).unwrap();
        assert_eq!(sniff(&bytes).unwrap().size, Size::new(512, 512));
        assert_eq!(sha256_hex(&bytes), image["sha256"].as_str().unwrap());
        let link = image["url"].as_str().unwrap();
        assert_eq!(house.get(link).await.body, bytes, "{link}");
    }
    assert_ne!(images[0]["sha256"], images[1]["sha256"]);
    // What the answer says of money, its headers, its attempts and the metrics say too.
    let usd = body["cost"]["usd"].as_f64().unwrap();
    assert_eq!(answer.header("tollgate-cost-usd").unwrap().parse::<f64>().unwrap(), usd);
    let attempts: f64 = body["cost"]["attempts"].as_array().unwrap().iter().map(|a| a["usd"].as_f64().unwrap()).sum();
    assert!((attempts - usd).abs() < 1e-9);
    let model = body["model"].as_str().unwrap();
    let provider = model.split('/').next().unwrap();
    let mut counted = 0.0;
    for basis in ["price_table", "provider_usage"] {
        let labels = format!("{{basis=\"{basis}\",model=\"{model}\",provider=\"{provider}\"}}");
        counted += house.metric(&format!("tollgate_cost_usd_total{labels}")).await.unwrap();
    }
    assert_eq!(counted, usd);
    for (header, value) in [
        ("tollgate-model", body["model"].as_str()),
        ("tollgate-served", body["served"].as_str()),
        ("tollgate-policy", body["policy"].as_str()),
        ("tollgate-id", body["id"].as_str()),
    ] {
        assert_eq!(answer.header(header), value, "{header}");
    }
    assert!(answer.header("server-timing").unwrap().starts_with("total;dur="));
}

#[tokio::test]
async fn the_body_is_json_to_the_last_byte_whatever_the_size() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    for (size, n) in [("64x64", 1), ("1024x1024", 1), ("1536x1024", 3)] {
        let ask = json!({"prompt": "a \"quoted\" \u{1f98a} fox\n", "size": size, "n": n, "quality": "draft"});
        let answer = wire.post("/generate", &[("content-type", "application/json")], ask.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{size}: {}", answer.text());
        let body = answer.json();
        // Compact JSON has one form, but for numbers and the order of keys: the lengths tell whether anything strayed.
        let stored = body["images"].as_array().unwrap().iter().map(|i| i["b64_json"].as_str().unwrap().len());
        assert!(answer.body.len() > stored.sum::<usize>());
        assert_eq!(answer.body.first(), Some(&b'{'));
        assert_eq!(answer.body.last(), Some(&b'}'));
    }
    assert_eq!(wire.unread(), 0, "nothing stands between two answers");
}

#[tokio::test]
async fn a_caller_that_wants_bytes_gets_bytes() {
    let house = House::open().await;
    for (accept, format) in [("image/png", Format::Png), ("image/webp", Format::Webp), ("image/jpeg", Format::Jpeg)] {
        let ask = json!({"prompt": SWORD, "size": "256x256"}).to_string();
        let headers = [("content-type", "application/json"), ("accept", accept)];
        let answer = house.wire().await.post("/generate", &headers, ask.as_bytes()).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(accept)));
        assert_eq!(sniff(&answer.body).unwrap().format, format);
        assert!(answer.header("tollgate-cost-usd").is_some() && answer.header("tollgate-model").is_some());
    }
}

#[tokio::test]
async fn a_link_is_immutable_and_cannot_run() {
    let house = House::open().await;
    let answer = house.post("/generate", &json!({"prompt": SWORD, "response_format": "url"})).await;
    let image = answer.json()["images"][0].clone();
    assert_eq!(image.get("b64_json"), None);
    let link = image["url"].as_str().unwrap();
    let mut wire = house.wire().await;
    let got = wire.get(link, &[]).await;
    assert_eq!((got.status, got.header("content-type")), (200, Some("image/png")));
    assert_eq!(got.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    let tag = got.header("etag").unwrap().to_owned();
    let known = wire.get(link, &[("if-none-match", &tag)]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    let head = wire.request("HEAD", link, &[], b"").await;
    assert_eq!(head.header("content-length").unwrap().parse::<usize>().unwrap(), got.body.len());
    let missing = wire.get(&format!("/images/{}.png", "0".repeat(64)), &[]).await;
    assert_eq!(missing.error(), (404, "not_found".to_owned(), "-".to_owned()));
}

#[tokio::test]
async fn a_plan_spends_nothing_and_tells_every_reason() {
    let house = House::open().await;
    let answer = house.post("/plan", &json!({"prompt": SWORD, "size": "512x512", "junk": 1})).await;
    let body = answer.json();
    let candidates = body["candidates"].as_array().unwrap();
    let chosen: Vec<&Value> = candidates.iter().filter(|candidate| candidate["chosen"] == true).collect();
    assert_eq!(chosen.len(), 1, "{}", answer.text());
    assert!(chosen[0]["reason"].is_null());
    for other in candidates.iter().filter(|candidate| candidate["chosen"] == false) {
        assert!(!other["reason"]["text"].as_str().unwrap().is_empty(), "{other}");
        let interval = other["expected"]["accept_interval"].as_array().unwrap();
        assert!(interval[0].as_f64() <= interval[1].as_f64());
    }
    let placed = |candidate: &&Value| candidate["reason"]["at"].as_str().is_some_and(|at| at.contains("policy.toml:"));
    assert!(candidates.iter().any(|candidate| placed(&candidate)), "{}", answer.text());
    assert_eq!(body["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(house.bought().await, 0);
    // What was planned is what is done.
    let served = house.post("/generate", &json!({"prompt": SWORD, "size": "512x512"})).await.json();
    assert_eq!(served["model"], chosen[0]["model"]);
    assert_eq!(served["plan"]["steps"], chosen[0]["steps"]);
}

#[tokio::test]
async fn a_refusal_by_the_planner_has_every_candidate() {
    let house = House::open().await;
    let answer = house.post("/generate", &json!({"prompt": SWORD, "max_cost_usd": 0.000_001})).await;
    assert_eq!(answer.error().1, "no_plan");
    let candidates = answer.json()["candidates"].as_array().unwrap().clone();
    assert!(candidates.len() > 5 && candidates.iter().all(|candidate| candidate["reason"]["code"].is_string()));
}

#[tokio::test]
async fn one_key_buys_once() {
    let house = House::open().await;
    let ask = json!({"prompt": SWORD}).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", "\"line-1\"")];
    let mut wire = house.wire().await;
    let first = wire.post("/generate", &headers, ask.as_bytes()).await;
    let again = wire.post("/generate", &headers, ask.as_bytes()).await;
    assert_eq!((first.header("tollgate-served"), again.header("tollgate-served")), (Some("fresh"), Some("replayed")));
    assert_eq!((again.header("tollgate-cost-usd"), again.header("idempotent-replayed")), (Some("0.00"), Some("true")));
    assert_eq!(first.json()["images"], again.json()["images"]);
    let other = wire.post("/generate", &headers, br#"{"prompt":"another"}"#).await;
    assert_eq!(other.error().1, "idempotency_key_reused");
    assert_eq!(house.bought().await, 1);
}

#[tokio::test]
async fn keys_let_in_those_who_have_one() {
    let key = "tg_a_secret_for_the_test";
    let rows = format!("\n[[key]]\nname = \"alice\"\nsha256 = \"{}\"\n", sha256_hex(key.as_bytes()));
    let house = House::with(Bounds::default(), |policy| policy + &rows).await;
    let mut wire = house.wire().await;
    let ask = json!({"prompt": SWORD}).to_string();
    let json_type = ("content-type", "application/json");
    let refused = wire.post("/generate", &[json_type], ask.as_bytes()).await;
    assert_eq!(refused.error(), (401, "unauthenticated".to_owned(), "-".to_owned()));
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
    let wrong = wire.post("/v1/images/generations", &[json_type, ("authorization", "Bearer nope")], b"{}").await;
    assert_eq!((wrong.status, wrong.header("content-type")), (401, Some("application/json")));
    assert_eq!(wrong.json()["error"]["type"], "authentication_error");
    assert_eq!(wire.get("/v1/models", &[]).await.status, 401);
    assert_eq!(wire.post("/plan", &[json_type], ask.as_bytes()).await.status, 401);
    assert_eq!(house.bought().await, 0);
    let bearer = format!("Bearer {key}");
    let served = wire.post("/generate", &[json_type, ("authorization", &bearer)], ask.as_bytes()).await;
    assert_eq!(served.status, 200, "{}", served.text());
    assert_eq!(house.metric("tollgate_auth_failures_total{reason=\"missing\"}").await, Some(3.0));
    assert_eq!(house.metric("tollgate_auth_failures_total{reason=\"unknown\"}").await, Some(1.0));
    let policy = Wire::connect(house.admin).await.get("/policy", &[]).await;
    assert_eq!(policy.json()["keys"], json!(["alice"]));
    assert!(!policy.text().contains(&sha256_hex(key.as_bytes())) && !policy.text().contains(key));
}

/// A store that panics on reading.
struct Torn(Arc<dyn Images>);

impl Images for Torn {
    fn put<'a>(&'a self, sha256: &'a str, format: Format, bytes: Bytes) -> Boxed<'a, Result<(), ImagesFault>> {
        self.0.put(sha256, format, bytes)
    }

    fn get<'a>(&'a self, _: &'a str, _: Format) -> Boxed<'a, Result<Option<Bytes>, ImagesFault>> {
        panic!("torn")
    }
}

#[tokio::test]
async fn a_panic_is_one_request_s_500() {
    let house = House::keeping(Bounds::default(), |policy| policy, |store| Arc::new(Torn(store))).await;
    let mut wire = house.wire().await;
    let answer = wire.get(&format!("/images/{}.png", "0".repeat(64)), &[("x-request-id", "r-1")]).await;
    assert_eq!(answer.error(), (500, "internal".to_owned(), "-".to_owned()));
    assert_eq!((answer.header("x-request-id"), answer.header("connection")), (Some("r-1"), None));
    assert_eq!(wire.get("/", &[]).await.status, 200, "the connection lives");
    assert_eq!(house.metric("tollgate_requests_in_flight{route=\"images\"}").await, Some(0.0));
}

#[tokio::test]
async fn a_sane_request_id_is_kept() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    let kept = wire.get("/nowhere", &[("x-request-id", "abc-123")]).await;
    assert_eq!(kept.header("x-request-id"), Some("abc-123"));
    assert_eq!(kept.json()["instance"], "urn:tollgate:request:abc-123");
    let replaced = wire.get("/nowhere", &[("x-request-id", "a b\"c")]).await;
    assert!(replaced.header("x-request-id").unwrap().starts_with("req_"));
}
