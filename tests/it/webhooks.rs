//! Webhooks as their receivers see them: signed by the letter, tried for a day, and never led elsewhere.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tollgate::state::Ledger;
use tollgate::state::sql::Statement;
use tollgate::telemetry::clock;

use crate::harness::{House, SWORD};
use crate::jobs::hook;

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// HMAC-SHA256 by the letter of RFC 2104, apart from the one that signs.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64);
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(block, key)| *block ^= key);
        block
    };
    let inner = Sha256::digest([pad(0x36).as_slice(), message].concat());
    Sha256::digest([pad(0x5c).as_slice(), inner.as_slice()].concat()).to_vec()
}

/// `webhook-signature` as the specification has it.
fn signature(secret: &str, id: &str, timestamp: &str, body: &str) -> String {
    let key = base64_simd::STANDARD.decode_to_vec(secret.trim_start_matches("whsec_")).unwrap();
    let mac = hmac(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", base64_simd::STANDARD.encode_to_string(mac))
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
    line.unwrap_or_else(|| panic!("{head} has no {name}")).split_once(": ").unwrap().1.trim()
}

/// A house that tells, with a job whose end is told to `origin`.
async fn telling(secrets: &str, origin: &str) -> House {
    let house = House::telling(secrets, origin).await;
    house.work();
    let ask = json!({"prompt": SWORD, "width": 512, "height": 512, "webhook": {"url": format!("{origin}/hook")}});
    let headers = [("content-type", "application/json"), ("prefer", "respond-async")];
    let accepted = house.wire().await.post("/generate", &headers, ask.to_string().as_bytes()).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    house
}

/// Tries so far, and seconds until the next.
async fn standing(house: &House) -> (i64, f64) {
    let rows = house.ledger.rows("SELECT tries, next_us FROM webhook", Vec::new()).await.unwrap();
    let wait = rows[0].int(1).unwrap() - clock::now().as_microsecond();
    (rows[0].int(0).unwrap(), wait as f64 / 1e6)
}

async fn write(house: &House, sql: &'static str) {
    house.ledger.write(vec![Statement::new(sql, [])]).await.unwrap();
}

async fn outcome(house: &House, outcome: &str, times: f64) {
    house.until(&format!("tollgate_webhook_deliveries_total{{outcome=\"{outcome}\"}}"), Some(times)).await;
}

#[tokio::test]
async fn a_message_is_tried_for_a_day_and_then_given_up() {
    let sink = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = telling(&format!("{NEW} {OLD}"), &format!("http://{}", sink.local_addr().unwrap())).await;
    let redirect = format!("302 Found\r\nlocation: http://{}/", elsewhere.local_addr().unwrap());
    let statuses = ["500 Internal Server Error", &redirect, "429 Too Many Requests"];
    let (mut first, mut day, mut tries) = (None, 0.0, 0);
    let waits = [30, 60, 300, 1_800, 3_600, 7_200].into_iter().chain(std::iter::repeat(14_400));
    for (wait, status) in waits.map(f64::from).zip(statuses.iter().cycle()) {
        let (head, body) = hook(&sink, status).await;
        tries += 1;
        outcome(&house, "retried", f64::from(tries)).await;
        let (id, timestamp) = (header(&head, "webhook-id"), header(&head, "webhook-timestamp"));
        let signed = [NEW, OLD].map(|secret| signature(secret, id, timestamp, &body)).join(" ");
        assert_eq!(header(&head, "webhook-signature"), signed);
        let now = clock::now().as_second();
        assert!((now - 60..=now).contains(&timestamp.parse().unwrap()), "a receiver refuses what is old: {timestamp}");
        let sent = (id.to_owned(), body);
        assert_eq!(*first.get_or_insert(sent.clone()), sent, "the same message each time");
        let (counted, left) = standing(&house).await;
        assert_eq!(counted, i64::from(tries));
        assert!(left <= wait * 1.1 && left > wait - 20.0, "try {tries}: {left} s until the next, {wait} and a tenth");
        day += wait;
        if day > 86_400.0 {
            break;
        }
        write(&house, "UPDATE webhook SET next_us = 0").await;
    }
    println!("{tries} tries in a day of {day} s");
    // The day is over: one more, and no more.
    write(&house, "UPDATE webhook SET next_us = 0, created_us = created_us - 86401000000").await;
    hook(&sink, "503 Service Unavailable").await;
    outcome(&house, "gave_up", 1.0).await;
    let waiting = "SELECT COUNT(*) FROM webhook WHERE state <> 'given_up'";
    assert_eq!(house.ledger.rows(waiting, Vec::new()).await.unwrap()[0].int(0).unwrap(), 0);
    let followed = tokio::time::timeout(Duration::from_millis(1), elsewhere.accept()).await;
    assert!(followed.is_err(), "a redirect is a failure");
}

#[tokio::test]
async fn who_wants_no_more_gets_no_more() {
    let sink = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = telling(OLD, &format!("http://{}", sink.local_addr().unwrap())).await;
    let (head, body) = hook(&sink, "410 Gone").await;
    let (id, timestamp) = (header(&head, "webhook-id"), header(&head, "webhook-timestamp"));
    assert_eq!(header(&head, "webhook-signature"), signature(OLD, id, timestamp, &body));
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["type"], "job.succeeded");
    outcome(&house, "gave_up", 1.0).await;
}
