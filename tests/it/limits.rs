//! A caller's own limits, at the door.

use serde_json::json;
use tollgate::domain::fingerprint::sha256_hex;
use tollgate::server::Bounds;

use crate::harness::{House, SWORD};
use crate::raw::{Answer, Wire};

const KEY: &str = "tg_of_ada";

async fn house() -> House {
    let row = format!(
        "\n[[key]]\nname = \"ada\"\nsha256 = \"{}\"\nlimits = [{{ name = \"rate\", units = 2, unit = \"requests\", per = \
         \"1m\" }}, {{ units = 9, unit = \"in_flight\" }}, {{ name = \"trial\", units = 1, unit = \"images\", per = \"1h\", \
         mode = \"shadow\" }}]\n",
        sha256_hex(KEY.as_bytes())
    );
    House::with(Bounds::default(), |policy| policy + &row).await
}

async fn generate(house: &House, prompt: &str, idempotency: &str) -> Answer {
    let bearer = format!("Bearer {KEY}");
    let headers = [("content-type", "application/json"), ("authorization", &bearer), ("idempotency-key", idempotency)];
    let body = json!({"prompt": prompt, "response_format": "url"}).to_string();
    Wire::connect(house.api).await.post("/generate", &headers, body.as_bytes()).await
}

#[tokio::test]
async fn a_key_over_its_limit_is_told_when_to_come_back() {
    let house = house().await;
    let first = generate(&house, SWORD, "one").await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(
        first.header("ratelimit-policy"),
        Some("\"rate\";q=2;w=60, \"in_flight\";q=9;qu=\"concurrent-requests\"")
    );
    assert!(first.header("ratelimit").unwrap().starts_with("\"rate\";r=1;t="), "{:?}", first.header("ratelimit"));
    assert_eq!(generate(&house, "another sword", "two").await.status, 200);

    let third = generate(&house, "a third sword", "three").await;
    assert_eq!((third.status, third.error().1.as_str()), (429, "rate_limited"), "{}", third.text());
    let wait: u64 = third.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert!(third.header("ratelimit").unwrap().starts_with("\"rate\";r=0;t="));

    // What was bought already is free, and no limit is drawn on for it.
    let again = generate(&house, SWORD, "one").await;
    assert_eq!((again.status, again.json()["served"].as_str()), (200, Some("replayed")));
    let denied = "tollgate_quota_decisions_total{provider=\"key:ada\",result=\"denied\",window=\"rate\"}";
    assert_eq!(house.metric(denied).await, Some(1.0));
    let shadowed = "tollgate_quota_decisions_total{provider=\"key:ada\",result=\"shadow_denied\",window=\"trial\"}";
    assert_eq!(house.metric(shadowed).await, Some(1.0));
    assert_eq!(house.metric("tollgate_quota_mode{mode=\"local\"}").await, Some(1.0));
}
