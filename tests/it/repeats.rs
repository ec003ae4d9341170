//! Repeats over HTTP by clients that send no key, and by callers who must not share.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;
use tollgate::domain::fingerprint::sha256_hex;
use tollgate::server::Bounds;

use crate::harness::{House, SWORD};
use crate::raw::Answer;

async fn post(house: &House, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    house.wire().await.post("/generate", &all, body.to_string().as_bytes()).await
}

fn served(answer: &Answer) -> (&str, &str) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    (answer.header("tollgate-served").unwrap(), answer.header("tollgate-cost-usd").unwrap())
}

fn picture() -> Value {
    json!({"prompt": SWORD, "width": 1024, "height": 1024, "model": "ideogram/v3-flash"})
}

/// The client's own time-out is shorter than the provider: its retry joins what it had begun, and the next replays it.
#[tokio::test]
async fn a_marked_retry_joins_and_then_replays() {
    let house = House::open().await;
    house.faults(&json!([{"provider": "ideogram", "at": "headers", "stall_ms": 500, "times": 1}])).await;
    let count = |count: &'static str| [("x-stainless-retry-count", count)];
    let ask = picture();
    let (zero, one) = (count("0"), count("1"));
    let impatient = tokio::time::timeout(Duration::from_millis(200), post(&house, &zero, &ask));
    assert!(impatient.await.is_err(), "it stalls");
    let joined = post(&house, &one, &ask).await;
    assert!(["joined", "replayed"].contains(&served(&joined).0), "{:?}", served(&joined));
    let replayed = post(&house, &count("2"), &ask).await;
    assert_eq!(served(&replayed), ("replayed", "0.00"));
    assert_eq!(joined.json()["id"], replayed.json()["id"]);
    assert_eq!(house.bought().await, 1);
    // A new ask of the same words is a new picture.
    assert_eq!(served(&post(&house, &count("0"), &ask).await).0, "fresh");
    assert_eq!(house.bought().await, 2);
}

/// What failed and cost nothing is not kept: the same key, and the same words, are bought as soon as it is well again.
#[tokio::test]
async fn failures_and_throttles_are_not_remembered() {
    let (key, count) = ([("idempotency-key", "k")], [("x-stainless-retry-count", "1")]);
    // A 503 that proves nothing is money in doubt, which its own key is told again; other asks of the same are not.
    join_all([well_again(429, &key), well_again(429, &count), well_again(429, &[]), well_again(503, &[])]).await;
}

async fn well_again(status: u16, headers: &[(&str, &str)]) {
    let house = House::open().await;
    house.faults(&json!([{"provider": "ideogram", "status": status}])).await;
    let model = "ideogram/v3-flash";
    let ask = json!({"prompt": SWORD, "width": 1024, "height": 1024, "model": model, "deadline_ms": 12_000});
    let refused = post(&house, headers, &ask).await;
    assert!([429, 502, 503, 504].contains(&refused.status), "{status}: {}", refused.text());
    assert!(house.calls().await > 0, "it was asked");
    house.faults(&json!([])).await;
    let begun = Instant::now();
    let answer = loop {
        let answer = post(&house, headers, &ask).await;
        // A breaker may stand in the way for a while; a remembered refusal would for as long as its key. A pause that the
        // provider asked for is waited for.
        if answer.status == 200 || status == 429 || begun.elapsed() > Duration::from_secs(30) {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    println!("{status} with {headers:?}: bought {:?} after it was well again", begun.elapsed());
    assert_eq!(served(&answer).0, "fresh");
    assert_eq!(house.bought().await, 1);
}

/// One key's pictures, keys and retries are nothing to another's.
#[tokio::test]
async fn tenants_never_share() {
    let row = |name: &str| format!("\n[[key]]\nname = \"{name}\"\nsha256 = \"{}\"\n", sha256_hex(name.as_bytes()));
    let rows = format!("{}{}", row("alice-secret"), row("bob-secret"));
    let house = House::with(Bounds::default(), |policy| {
        policy.replacen("[defaults]", "[defaults]\nretry_window = \"5m\"", 1) + &rows
    })
    .await;
    let mut ask = picture();
    ask["seed"] = json!(7);
    let cases: [&[(&str, &str)]; 3] = [&[], &[("idempotency-key", "k")], &[("x-stainless-retry-count", "1")]];
    let mut bought = 0;
    for (n, headers) in cases.into_iter().enumerate() {
        // A prompt for each, since the last case would find what the first has bought.
        ask["prompt"] = json!(format!("{SWORD} {n}"));
        let ask_as = |name: &'static str| {
            let (house, ask) = (&house, &ask);
            async move {
                let bearer = format!("Bearer {name}");
                let mut all = headers.to_vec();
                all.push(("authorization", &bearer));
                post(house, &all, ask).await
            }
        };
        let (alice, bob) = tokio::join!(ask_as("alice-secret"), ask_as("bob-secret"));
        assert_eq!((served(&alice).0, served(&bob).0), ("fresh", "fresh"), "{headers:?}");
        assert_ne!(alice.json()["id"], bob.json()["id"]);
        assert_eq!(served(&ask_as("alice-secret").await), ("replayed", "0.00"), "{headers:?}");
        bought += 2;
        assert_eq!(house.bought().await, bought, "{headers:?}");
    }
}

/// A client, or what stands before it, that gives up after five silent minutes hears something before.
#[test]
fn a_first_byte_comes_before_clients_give_up() {
    assert!(Bounds::default().quiet_time < Duration::from_mins(5));
}
