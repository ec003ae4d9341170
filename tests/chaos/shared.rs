//! Two gateways on one Postgres: keys and jobs are the same ones at both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tollgate::engine::Engine;
use tollgate::server::Server;
use tollgate::state::redis::Redis;
use tollgate::state::tally::RedisTally;

use crate::postgres::{self, query};
use crate::redis::RedisServer;
use crate::world::World;

const MODEL: &str = "ideogram/v3-flash";

/// Two replicas and a client of both.
struct Pair {
    world: World,
    ledger: String,
    engines: Vec<Arc<Engine>>,
    doors: Vec<Server>,
    client: reqwest::Client,
}

impl Pair {
    async fn open(edit: impl FnOnce(String) -> String) -> Self {
        let world = World::open(100.0).await;
        world.policy(edit);
        let ledger = postgres::Server::shared().database();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut pair = Self { world, ledger, engines: Vec::new(), doors: Vec::new(), client };
        pair.start().await;
        pair
    }

    /// Both anew, as after a restart.
    async fn start(&mut self) {
        self.doors.clear();
        self.engines.clear();
        for _ in 0..2 {
            let engine = self.world.replica(&self.ledger);
            self.doors.push(self.world.door(&engine).await);
            self.engines.push(engine);
        }
    }

    fn work(&self, most: usize) {
        for engine in &self.engines {
            tokio::spawn(Arc::clone(engine).work(most, false));
        }
    }

    /// Asks a replica; status and document.
    async fn ask(&self, at: usize, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.doors[at % self.doors.len()].address());
        let mut request = self.client.request(method, url).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    async fn generate(&self, at: usize, key: &str, prompt: &str) -> (u16, Value) {
        self.ask(at, Method::POST, "/generate", &[("idempotency-key", key)], &picture(prompt)).await
    }

    async fn queue(&self, at: usize, prompt: &str) -> String {
        let headers = [("prefer", "respond-async")];
        let (status, job) = self.ask(at, Method::POST, "/generate", &headers, &picture(prompt)).await;
        assert_eq!(status, 202, "{job}");
        job["id"].as_str().unwrap().to_owned()
    }

    async fn job(&self, at: usize, id: &str) -> Value {
        self.ask(at, Method::GET, &format!("/jobs/{id}?wait=60"), &[], &Value::Null).await.1
    }

    fn rows(&self, sql: &str) -> String {
        query(&self.ledger, sql)
    }

    async fn until(&self, sql: &str, rows: &str) {
        let begun = Instant::now();
        while self.rows(sql) != rows {
            assert!(begun.elapsed() < Duration::from_mins(1), "{sql} is {} and never {rows}", self.rows(sql));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn picture(prompt: &str) -> Value {
    json!({"prompt": prompt, "width": 1024, "height": 1024, "model": MODEL})
}

/// What an answer is, and what was paid for it.
fn told(answer: &(u16, Value)) -> (&str, &str, f64) {
    let (status, answer) = answer;
    assert_eq!(*status, 200, "{answer}");
    let text = |value: &'_ Value| value.as_str().map(str::len).unwrap_or_default();
    assert!(text(&answer["images"][0]["b64_json"]) > 1_000);
    (answer["id"].as_str().unwrap(), answer["served"].as_str().unwrap(), answer["cost"]["usd"].as_f64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_one_purchase_over_replicas_and_restarts() {
    const KEYS: usize = 20;
    const EACH: usize = 6;
    let mut pair = Pair::open(|text| text).await;
    let first = pair.generate(0, "k", "a fox").await;
    let again = pair.generate(1, "k", "a fox").await;
    let (id, how, paid) = told(&first);
    assert!(how == "fresh" && paid > 0.0);
    assert_eq!(told(&again), (id, "replayed", 0.0));
    assert_eq!(again.1["images"], first.1["images"]);
    let reused = |(status, answer): (u16, Value)| {
        assert_eq!((status, &answer["error"]["code"]), (422, &json!("idempotency_key_reused")));
    };
    reused(pair.generate(1, "k", "a wolf").await);
    // While the first is under way at one replica, the other waits for it, and refuses another body at once.
    pair.world.stall("headers", Duration::from_secs(2)).await;
    let leads = pair.generate(0, "slow", "a slow fox");
    let follows = async {
        pair.until("SELECT COUNT(*) FROM generation WHERE ended_us IS NULL", "1").await;
        let begun = Instant::now();
        reused(pair.generate(1, "slow", "a slow wolf").await);
        assert!(begun.elapsed() < Duration::from_secs(1), "another body does not wait: {:?}", begun.elapsed());
        pair.generate(1, "slow", "a slow fox").await
    };
    let (led, followed) = tokio::join!(leads, follows);
    assert_eq!(told(&led).1, "fresh");
    assert_eq!(told(&followed), (told(&led).0, "replayed", 0.0));
    assert_eq!(pair.world.bought().await, 2);
    // A crowd: each key from both replicas at once.
    let asks = (0..KEYS * EACH).map(|n| {
        let (pair, key) = (&pair, format!("crowd-{}", n / EACH));
        async move { pair.generate(n, &key, &format!("a crowd of {key}")).await }
    });
    let answers = join_all(asks).await;
    let ids: BTreeSet<&str> = answers.iter().map(|answer| told(answer).0).collect();
    let fresh = answers.iter().filter(|answer| told(answer).1 == "fresh").count();
    let bought = pair.world.bought().await - 2;
    println!("{KEYS} keys, {EACH} posts of each over 2 replicas on Postgres: {bought} bought, {fresh} paid");
    assert_eq!((bought, fresh, ids.len()), (KEYS, KEYS, KEYS));
    pair.start().await;
    assert_eq!(told(&pair.generate(1, "k", "a fox").await), (id, "replayed", 0.0));
    reused(pair.generate(0, "k", "a wolf").await);
    assert_eq!(pair.world.bought().await, KEYS + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_done_once_by_one_of_two_replicas() {
    const JOBS: usize = 24;
    let pair = Pair::open(|text| text).await;
    // Nobody works yet: what is called off at the other replica was never sent.
    let unwanted = pair.queue(0, "nobody wants this").await;
    let (status, cancelled) = pair.ask(1, Method::DELETE, &format!("/jobs/{unwanted}"), &[], &Value::Null).await;
    assert_eq!((status, &cancelled["status"]), (200, &json!("cancelled")));
    let jobs = join_all((0..JOBS).map(|n| {
        let pair = &pair;
        async move { pair.queue(n, &format!("job {n}")).await }
    }))
    .await;
    pair.work(4);
    let done = join_all(jobs.iter().enumerate().map(|(n, id)| pair.job(n + 1, id))).await;
    assert!(done.iter().all(|job| job["status"] == "succeeded" && job["served"] == "fresh"), "{done:?}");
    let bought = pair.world.bought().await;
    let held = "SELECT COUNT(DISTINCT replica) FROM generation";
    println!("{JOBS} jobs, 2 replicas on Postgres: {bought} bought, by {} replicas", pair.rows(held));
    assert_eq!((bought, pair.rows("SELECT MAX(runs), COUNT(*) FROM job WHERE runs > 0")), (JOBS, format!("1|{JOBS}")));
    assert_eq!(pair.job(0, &unwanted).await["status"], "cancelled");
    assert_eq!(pair.rows(held), "2", "both had their share");
}

/// Under way at one replica, waiting for its limit, and called off at the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_for_its_turn_is_called_off_from_the_other_replica() {
    let pair = Pair::open(|text| {
        let limits = |limits: &str| format!("limits = [{{ {limits} }}]\n\n[[provider.ideogram.route]]");
        let usual = limits("units = 10, unit = \"in_flight\"");
        assert!(text.contains(&usual));
        text.replacen(&usual, &limits("units = 1, unit = \"requests\", per = \"25s\", burst = 1"), 1)
    })
    .await;
    tokio::spawn(Arc::clone(&pair.engines[0]).work(4, false));
    let first = pair.queue(0, "the first takes the only turn").await;
    assert_eq!(pair.job(0, &first).await["status"], "succeeded");
    let second = pair.queue(0, "the second waits").await;
    pair.until("SELECT COUNT(*) FROM job WHERE state = 'running'", "1").await;
    let (_, cancelled) = pair.ask(1, Method::DELETE, &format!("/jobs/{second}"), &[], &Value::Null).await;
    assert_eq!(cancelled["status"], "cancelled");
    // Called off before it was sent: nothing is under way, long before its turn would have come.
    let begun = Instant::now();
    pair.engines[0].idle().await;
    println!("called off at the other replica: {:?} until it stopped", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!((pair.world.bought().await, pair.rows("SELECT COUNT(*) FROM attempt")), (1, "1".to_owned()));
}

/// The count in Redis says that there is something to read; what it is stands in the ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_at_one_replica_is_believed_at_the_other() {
    let mut pair = Pair::open(|policy| policy).await;
    let redis = RedisServer::start();
    (pair.doors, pair.engines) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let meeting = Redis::open(&redis.url()).unwrap();
        meeting.settled().await;
        let tally = Arc::new(RedisTally::new(meeting));
        let engine = pair.world.replica_with(&pair.ledger, |engine| engine.tallying(tally));
        pair.doors.push(pair.world.door(&engine).await);
        let listening = Arc::clone(&engine);
        tokio::spawn(async move {
            loop {
                listening.judged_elsewhere().await;
                listening.learn().await.unwrap();
            }
        });
        pair.engines.push(engine);
    }
    let heard = |engine: &Engine| -> f64 {
        let models = engine.standings().into_iter().flat_map(|provider| provider.models);
        models.flat_map(|model| model.accept).map(|row| row.posterior.verdicts).sum()
    };
    let begun = Instant::now();
    let mut given = 0;
    while heard(&pair.engines[1]) < 1.0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "{given} verdicts, and none was heard of");
        let (status, made) = pair.generate(0, &format!("judged-{given}"), &format!("a lantern, study {given}")).await;
        assert_eq!(status, 200, "{made}");
        let path = format!("/generations/{}/feedback", made["id"].as_str().unwrap());
        assert_eq!(pair.ask(0, Method::POST, &path, &[], &json!({"accepted": false})).await.0, 200);
        given += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{given} verdicts at one replica, heard of at the other after {:?}", begun.elapsed());
    assert!(heard(&pair.engines[0]) >= 1.0);
}
