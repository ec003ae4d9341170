//! A thousand clients that leave, come again, and ask for the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::number;
use crate::world::World;

const CLIENTS: u64 = 1_000;

/// One thing that is wanted: by a key, or by content from a client that counts its tries.
#[derive(Clone)]
struct Want {
    body: String,
    key: Option<String>,
}

/// What came of each: the generations and pictures that were answered.
type Answers = Mutex<BTreeMap<String, BTreeSet<(String, String)>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_restless_clients_pay_for_each_want_once() {
    let (seconds, seed) = (number("TOLLGATE_STORM_S", 20), number("TOLLGATE_SEED", 20_261_122));
    let world = World::open(100.0).await;
    let (engine, _ledger) = world.engine("storm");
    let engine = Arc::new(engine);
    let door = world.door(&engine).await;
    let url = format!("http://{}/generate", door.address());
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(256).build().unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    let answers = Arc::new(Answers::default());
    let (mut clients, mut left, mut posts) = (JoinSet::new(), 0_u64, 0_u64);
    for id in 0..CLIENTS {
        let (client, url, answers) = (client.clone(), url.clone(), Arc::clone(&answers));
        clients.spawn(async move { restless(id, seed, &client, &url, &answers, end).await });
    }
    while let Some(told) = clients.join_next().await {
        let (gone, sent) = told.unwrap();
        (left, posts) = (left + gone, posts + sent);
    }
    engine.idle().await;
    let answers = std::mem::take(&mut *answers.lock().unwrap());
    let bought = world.bought().await;
    let torn = answers.values().filter(|answers| answers.len() != 1).count();
    println!(
        "{CLIENTS} clients for {seconds} s, seed {seed}: {posts} posts, {left} left early, {} distinct wants, {bought} \
         bought, {torn} of {} wants answered in more than one way",
        answers.len(),
        answers.len()
    );
    assert_eq!((bought, torn), (answers.len(), 0));
    assert!(posts > CLIENTS && left > 100);
}

/// Sends wants until the time is up; each is repeated until it is answered. Gives departures and posts.
async fn restless(
    id: u64,
    seed: u64,
    client: &reqwest::Client,
    url: &str,
    answers: &Answers,
    end: Instant,
) -> (u64, u64) {
    let mut dice = StdRng::seed_from_u64(seed ^ (id << 20));
    let (mut left, mut posts) = (0, 0);
    let mut turn = 0;
    tokio::time::sleep(Duration::from_millis(dice.random_range(0..2_000))).await;
    while Instant::now() < end {
        turn += 1;
        // Keys are shared between clients; what has none is one client's own.
        let shared = dice.random_bool(0.8);
        let name = if shared { format!("want {}", dice.random_range(0..150)) } else { format!("own {id} {turn}") };
        let mut body = json!({"prompt": name, "width": 1024, "height": 1024, "model": "ideogram/v3-flash"});
        if name.len() % 2 == 0 {
            body["seed"] = json!(name.len());
        }
        let want = Want { body: body.to_string(), key: shared.then(|| name.replace(' ', "-")) };
        let mut tries = 0_u32;
        let answer = loop {
            posts += 1;
            let patience = if dice.random_bool(0.3) { dice.random_range(1..80) } else { 60_000 };
            match tokio::time::timeout(Duration::from_millis(patience), send(client, url, &want, tries)).await {
                Ok(Some(answer)) => break answer,
                Ok(None) => tokio::time::sleep(Duration::from_millis(dice.random_range(20..200))).await,
                Err(_) => left += 1,
            }
            tries += 1;
        };
        let told = (answer["id"].to_string(), answer["images"][0]["sha256"].to_string());
        answers.lock().unwrap().entry(name).or_default().insert(told);
        // People look at a picture before they ask for the next.
        tokio::time::sleep(Duration::from_millis(dice.random_range(500..6_000))).await;
    }
    (left, posts)
}

async fn send(client: &reqwest::Client, url: &str, want: &Want, tries: u32) -> Option<Value> {
    let mut request = client.post(url).header("content-type", "application/json").body(want.body.clone());
    request = match &want.key {
        Some(key) => request.header("idempotency-key", key),
        None => request.header("x-stainless-retry-count", tries),
    };
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let text = response.text().await.ok()?;
    match status {
        200 => serde_json::from_str(&text).ok(),
        429 | 502 | 503 => None,
        _ => panic!("{status}: {text}"),
    }
}
