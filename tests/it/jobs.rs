//! Jobs over HTTP: asked for, waited for, listened to, called off, told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{House, SWORD};
use crate::raw::Answer;

const ASYNC: (&str, &str) = ("prefer", "respond-async");

fn body(prompt: &str) -> Value {
    json!({"prompt": prompt, "width": 512, "height": 512})
}

async fn post(house: &House, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    house.wire().await.post("/generate", &all, body.to_string().as_bytes()).await
}

async fn delete(house: &House, path: &str) -> Answer {
    house.wire().await.request("DELETE", path, &[], b"").await
}

#[tokio::test]
async fn a_job_is_accepted_waited_for_and_paid_once() {
    let house = House::working().await;
    let accepted = post(&house, &[ASYNC], &body(SWORD)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let place = accepted.header("location").unwrap().to_owned();
    assert_eq!(accepted.header("preference-applied"), Some("respond-async"));
    let first = accepted.json();
    assert_eq!(place, format!("/jobs/{}", first["id"].as_str().unwrap()));
    assert!(["queued", "running", "succeeded"].contains(&first["status"].as_str().unwrap()));
    let done = house.get(&format!("{place}?wait=30")).await.json();
    assert_eq!((&done["status"], &done["id"], &done["served"]), (&json!("succeeded"), &first["id"], &json!("fresh")));
    assert!(done["images"][0]["b64_json"].as_str().unwrap().len() > 1000 && done["cost"]["usd"].as_f64() > Some(0.0));
    assert_eq!(house.get(&place).await.json()["images"], done["images"], "it stays there");
    assert_eq!(house.bought().await, 1);
    for lost in ["/jobs/job_none", "/jobs/job_none/events"] {
        assert_eq!(house.get(lost).await.status, 404);
    }
    assert_eq!(house.get(&format!("{place}?wait=soon")).await.status, 400);
}

#[tokio::test]
async fn who_prefers_to_wait_a_while_gets_the_answer_or_the_job() {
    let house = House::working().await;
    let answer = post(&house, &[("prefer", "wait=30")], &body(SWORD)).await;
    assert_eq!((answer.status, answer.json()["served"].clone()), (200, json!("fresh")), "{}", answer.text());
    // Whichever provider is asked, it takes longer than the caller waits.
    let stalled = ["stability", "google", "ideogram", "openai"];
    let stalled = stalled.map(|provider| json!({"provider": provider, "stall_ms": 3_000, "at": "headers"}));
    house.faults(&json!(stalled)).await;
    let later = post(&house, &[("prefer", "wait=1")], &body("a quiet harbour")).await;
    assert_eq!(later.status, 202, "{}", later.text());
    let refused = post(&house, &[("prefer", "wait=30")], &body("nsfw scene")).await;
    assert_eq!(refused.json()["error"]["code"], "content_refused");
}

#[tokio::test]
async fn a_key_is_one_job_and_one_purchase_waited_for_or_not() {
    let house = House::working().await;
    let key = ("idempotency-key", "k1");
    let first = post(&house, &[ASYNC, key], &body(SWORD)).await.json();
    let again = post(&house, &[ASYNC, key], &body(SWORD)).await.json();
    assert_eq!(first["id"], again["id"]);
    let other = post(&house, &[ASYNC, key], &body("else")).await;
    assert_eq!((other.status, other.json()["error"]["code"].clone()), (422, json!("idempotency_key_reused")));
    let now = post(&house, &[key], &body(SWORD)).await.json();
    assert!(["joined", "replayed"].contains(&now["served"].as_str().unwrap()), "{now}");
    assert_eq!(house.bought().await, 1);
}

#[tokio::test]
async fn events_come_in_order_and_go_on_where_they_were() {
    let house = House::working().await;
    let id = post(&house, &[ASYNC], &body(SWORD)).await.json()["id"].as_str().unwrap().to_owned();
    let events = |seen: &'static str| {
        let headers: Vec<(&str, &str)> = if seen.is_empty() { vec![] } else { vec![("last-event-id", seen)] };
        let path = format!("/jobs/{id}/events");
        let house = &house;
        async move { house.wire().await.live().get(&path, &headers).await }
    };
    let all = events("").await;
    assert_eq!(all.header("content-type"), Some("text/event-stream"));
    let all = all.text();
    let last = all.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("id: 6\nevent: succeeded\ndata: {"), "{all}");
    assert_eq!(events("2").await.text().trim_end(), last);
    assert_eq!(events("6").await.text(), "");
}

#[tokio::test]
async fn what_is_called_off_before_it_was_sent_costs_nothing() {
    // Nobody takes jobs up here.
    let house = House::open().await;
    let id = post(&house, &[ASYNC], &body(SWORD)).await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(house.get(&format!("/jobs/{id}?wait=0.05")).await.json()["status"], "queued");
    let cancelled = delete(&house, &format!("/jobs/{id}")).await;
    assert_eq!((cancelled.status, cancelled.json()["status"].clone()), (200, json!("cancelled")));
    house.work();
    let other = post(&house, &[("prefer", "wait=30")], &body("a fox")).await;
    assert_eq!(other.status, 200);
    assert_eq!(delete(&house, &format!("/jobs/{id}")).await.json()["status"], "cancelled", "once");
    assert_eq!(house.bought().await, 1);
}

/// One slot, two keys: the one that came last with little does not wait for the other's pile.
#[tokio::test]
async fn keys_take_turns_and_the_urgent_go_first() {
    let keys = ["a", "b"].map(|name| {
        let hash = tollgate::domain::fingerprint::sha256_hex(format!("key-{name}").as_bytes());
        format!("[[key]]\nname = \"{name}\"\nsha256 = \"{hash}\"\n")
    });
    let house = House::with(crate::harness::bounds(), |policy| {
        let urgent = policy.replacen("[tier.hero]", "[tier.hero]\npriority = 5", 1);
        assert_ne!(urgent, policy);
        format!("{urgent}\n{}", keys.concat())
    })
    .await;
    let ask = |key: &'static str, prompt: String, tier: &'static str| {
        let house = &house;
        async move {
            let auth = format!("Bearer key-{key}");
            let mut body = body(&prompt);
            if !tier.is_empty() {
                body["quality"] = json!(tier);
            }
            let answer = post(house, &[ASYNC, ("authorization", &auth)], &body).await;
            assert_eq!(answer.status, 202, "{}", answer.text());
            (key, answer.json()["id"].as_str().unwrap().to_owned())
        }
    };
    let mut jobs = Vec::new();
    for n in 0..4 {
        jobs.push(ask("a", format!("a cat {n}"), "").await);
    }
    for n in 0..2 {
        jobs.push(ask("b", format!("a dog {n}"), "").await);
    }
    jobs.push(ask("a", "a queen".to_owned(), "hero").await);
    house.work_at_once(1);
    let mut order = BTreeMap::new();
    for (key, id) in &jobs {
        let auth = format!("Bearer key-{key}");
        let job = house.wire().await.get(&format!("/jobs/{id}?wait=30"), &[("authorization", &auth)]).await.json();
        assert_eq!(job["status"], "succeeded", "{job}");
        order.insert(house.started(id).await, *key);
        // Another's job is none.
        let foreign = if *key == "a" { "Bearer key-b" } else { "Bearer key-a" };
        let peek = house.wire().await.get(&format!("/jobs/{id}"), &[("authorization", foreign)]).await;
        assert_eq!(peek.status, 404);
    }
    let order: String = order.into_values().collect();
    assert!(order.starts_with("ab") && order.matches("ba").count() >= 2, "the urgent first, then by turns: {order}");
}

#[tokio::test]
async fn an_end_is_told_signed_and_told_again_until_it_arrives() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let sink = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", sink.local_addr().unwrap());
    let house = House::telling(SECRET, &origin).await;
    house.work();
    let mut ask = body(SWORD);
    ask["webhook"] = json!({"url": format!("{origin}/hook")});
    let accepted = post(&house, &[ASYNC], &ask).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let (head, told) = hook(&sink, "204 No Content").await;
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.trim().to_owned()
    };
    let secret = tollgate::transport::Secret::new(SECRET).unwrap();
    let signers = tollgate::transport::webhook::Signers::read(&secret).unwrap();
    let timestamp = header("webhook-timestamp").parse().unwrap();
    assert_eq!(header("webhook-signature"), signers.sign(&header("webhook-id"), timestamp, &told));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["type"], &told["data"]["id"]), (&json!("job.succeeded"), &accepted.json()["id"]));
    assert!(
        told["data"]["images"][0]["url"].as_str().unwrap().starts_with("/images/") && told.to_string().len() < 20_000
    );
    house.until("tollgate_webhook_deliveries_total{outcome=\"delivered\"}", Some(1.0)).await;
    for (url, headers) in [("http://169.254.169.254/", vec![ASYNC]), (origin.as_str(), vec![])] {
        ask["webhook"] = json!({ "url": url });
        let refused = post(&house, &headers, &ask).await;
        assert_eq!((refused.status, refused.json()["error"]["param"].clone()), (400, json!("/webhook")));
    }
}

/// Answers one webhook, and gives its head and body.
pub(crate) async fn hook(sink: &TcpListener, status: &str) -> (String, String) {
    let (mut tcp, _): (TcpStream, _) =
        tokio::time::timeout(Duration::from_secs(30), sink.accept()).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = tcp.read(&mut piece).await.unwrap();
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                tcp.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
                return (head.to_owned(), body.to_owned());
            }
        }
        assert!(read > 0, "{text}");
    }
}

/// White space keeps the connection alive, then comes the document; a refusal breaks the connection off.
#[tokio::test]
async fn an_answer_that_takes_long_begins_before_it_is_there() {
    let bounds = tollgate::server::Bounds { quiet_time: Duration::from_millis(30), ..crate::harness::bounds() };
    let house = House::with(bounds, |policy| policy).await;
    let providers = ["stability", "google", "ideogram", "openai", "comfyui", "automatic1111"];
    let stalled = json!(providers.map(|name| json!({"provider": name, "stall_ms": 400, "at": "headers"})));
    house.faults(&stalled).await;
    let json = [("content-type", "application/json")];
    let answer = house.wire().await.live().post("/generate", &json, body(SWORD).to_string().as_bytes()).await;
    let text = answer.text();
    assert_eq!((answer.status, answer.header("content-length")), (200, None));
    assert!(text.starts_with([' ', '\n']), "{}", &text[..20]);
    assert_eq!(answer.json()["status"], "succeeded");
    let mut tcp = TcpStream::connect(house.api).await.unwrap();
    let refused = body("nsfw scene").to_string();
    let head = format!(
        "POST /generate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        refused.len()
    );
    tcp.write_all((head + &refused).as_bytes()).await.unwrap();
    let mut all = Vec::new();
    // A reset is an end as well.
    let _ = tcp.read_to_end(&mut all).await;
    let text = String::from_utf8_lossy(&all);
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("content_refused") && !text.ends_with("0\r\n\r\n"),
        "{text}"
    );
    drop(Arc::new(house));
}
