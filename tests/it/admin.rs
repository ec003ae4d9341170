//! The admin plane.

use serde_json::json;

use crate::harness::{House, SWORD};
use crate::raw::Wire;

#[tokio::test]
async fn probes_and_tables_answer() {
    let house = House::open().await;
    assert_eq!(house.ops("/healthz").await.json()["status"], "ok");
    assert_eq!(house.ops("/readyz").await.status, 200);
    let providers = house.ops("/providers").await.json();
    let stability = providers["providers"].as_array().unwrap().iter().find(|p| p["name"] == "stability").unwrap();
    assert_eq!((&stability["on"], &stability["breaker"]), (&json!(true), &json!("closed")));
    assert!(!stability["quota"].as_array().unwrap().is_empty());
    let accept = &stability["models"][0]["accept"];
    assert!(accept.as_array().unwrap().iter().any(|row| row["task"] == "concept"), "{accept}");
    let policy = house.ops("/policy").await.json();
    assert_eq!(policy["digest"], *house.engine.snapshot().digest);
    assert_eq!(policy["last_reload"]["ok"], true);
    let priced = |model: &&serde_json::Value| model["prices"][0]["usd"].is_number();
    assert!(policy["models"].as_array().unwrap().iter().filter(priced).count() > 5);
    assert_eq!(house.ops("/generate").await.status, 404);
}

#[tokio::test]
async fn metrics_are_whole_lines_that_count() {
    let house = House::open().await;
    house.post("/generate", &json!({"prompt": SWORD})).await;
    house.post("/generate", &json!({"prompt": SWORD, "n": 0})).await;
    let answer = house.ops("/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for line in answer.text().lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(series.starts_with("tollgate_") && value.parse::<f64>().is_ok(), "{line}");
    }
    let requests =
        |code: u16| format!("tollgate_http_requests_total{{code=\"{code}\",method=\"POST\",route=\"generate\"}}");
    assert_eq!(house.metric(&requests(200)).await, Some(1.0));
    assert_eq!(house.metric(&requests(400)).await, Some(1.0));
    assert_eq!(house.metric("tollgate_requests_in_flight{route=\"generate\"}").await, Some(0.0));
    assert_eq!(
        house.metric("tollgate_request_duration_seconds_count{outcome=\"fresh\",route=\"generate\"}").await,
        Some(1.0)
    );
    assert_eq!(house.metric("tollgate_flights_total{role=\"leader\"}").await, Some(1.0));
    let closed = "tollgate_provider_circuit_state{provider=\"stability\",state=\"closed\"}";
    assert_eq!(house.metric(closed).await, Some(1.0));
}

#[tokio::test]
async fn a_reload_takes_effect_or_says_why_not() {
    let house = House::open().await;
    let before = house.engine.snapshot().digest.clone();
    let text = std::fs::read_to_string(&house.policy).unwrap();
    let mut wire = Wire::connect(house.admin).await;

    std::fs::write(&house.policy, text.replace("review_cost_usd = 0.02", "review_cost_usd = 0.05")).unwrap();
    let good = wire.post("/-/reload", &[], b"").await;
    assert_eq!((good.status, &good.json()["ok"]), (200, &json!(true)), "{}", good.text());
    assert_ne!(good.json()["policy"], *before);

    std::fs::write(&house.policy, text.replace("review_cost_usd = 0.02", "review_cost = 0.05")).unwrap();
    let bad = wire.post("/-/reload", &[], b"").await;
    assert_eq!((bad.status, &bad.json()["ok"]), (422, &json!(false)));
    assert!(bad.json()["diagnostics"].as_str().unwrap().contains("policy.toml:"), "{}", bad.text());
    assert_eq!(bad.json()["policy"], good.json()["policy"], "the last good one stays");
    assert_eq!(wire.get("/policy", &[]).await.json()["last_reload"]["ok"], false);
    assert_eq!(house.post("/generate", &json!({"prompt": SWORD})).await.status, 200);
}
