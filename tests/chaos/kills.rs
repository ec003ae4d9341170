//! kill -9, again and again, on a gateway at work.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tollgate::domain::ledger::MoneyState;
use tollgate::state::sqlite::SqliteLedger;
use tollgate::state::{Durability, Ledger, SpendBy};

use crate::number;
use crate::world::World;

const CLIENTS: usize = 12;
const MODEL: &str = "ideogram/v3-flash";

/// A gateway as users run it.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) url: String,
}

impl Gateway {
    fn start(world: &World, data: &Path) -> Self {
        Self::with(world, data, &[])
    }

    /// With further settings from the environment.
    pub(crate) fn with(world: &World, data: &Path, settings: &[(&str, &str)]) -> Self {
        let policy = world.policy(|text| text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.env_clear().args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]).arg(data);
        command
            .arg("--policy")
            .arg(policy)
            .env("TOLLGATE_LOG__LEVEL", "error")
            .env("TOLLGATE_LEDGER__DURABILITY", "process")
            .envs(settings.iter().copied());
        for (prefix, key) in tollgate::sandbox::providers() {
            let name = prefix.to_uppercase();
            command.env(
                format!("TOLLGATE_PROVIDERS__{name}__BASE_URL"),
                format!("http://{}/{prefix}", world.sandbox.addr()),
            );
            if !key.is_empty() {
                command.env(format!("TOLLGATE_PROVIDERS__{name}__KEY"), key);
            }
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines
            .find_map(|line| line.unwrap().strip_prefix("listening api ").map(str::to_owned))
            .expect("the gateway listens");
        // What else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    /// Ends it with `kill -9`.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What clients know: for each key, whether it is answered, and with what.
#[derive(Default)]
struct Known {
    answered: BTreeMap<String, BTreeSet<(String, String)>>,
    doubtful: BTreeSet<String>,
    begun: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_a_row_or_buys_twice() {
    let (kills, seed) = (number("TOLLGATE_KILLS", 200), number("TOLLGATE_SEED", 5));
    let world = World::open(100.0).await;
    let data = world.folder.path().join("data");
    let known = Arc::new(Mutex::new(Known::default()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut dice = StdRng::seed_from_u64(seed);
    let mut recovery = Vec::new();
    for round in 0..kills {
        let begun = Instant::now();
        let gateway = Gateway::start(&world, &data);
        recovery.push(begun.elapsed());
        let clients = work(&client, &gateway.url, &known, round, dice.random());
        tokio::time::sleep(Duration::from_millis(dice.random_range(10..110))).await;
        gateway.kill();
        drop(clients);
    }
    // One that lives: every key that was begun is asked for until it is answered.
    let gateway = Gateway::start(&world, &data);
    let keys: Vec<String> = known.lock().unwrap().begun.iter().cloned().collect();
    let asked = keys.iter().map(|key| ask(&client, &gateway.url, key, &known, true));
    futures_util::stream::iter(asked).buffer_unordered(16).collect::<Vec<()>>().await;
    gateway.kill();
    let ledger = SqliteLedger::open(data.join("tollgate.db"), Durability::Process).unwrap();
    let known = std::mem::take(&mut *known.lock().unwrap());
    let (mut lost, mut torn) = (0, 0);
    for answers in known.answered.values() {
        torn += u32::from(answers.len() != 1);
        for (id, _) in answers {
            let record = ledger.show(id).await.unwrap();
            let settled =
                record.and_then(|record| record.closing).is_some_and(|closing| closing.outcome == "succeeded");
            lost += u32::from(!settled);
        }
    }
    let (mut settled, mut doubtful) = (0, 0);
    for generation in generations(&ledger).await {
        let record = ledger.show(&generation).await.unwrap().unwrap();
        for attempt in record.closing.map_or(record.opening.attempts, |closing| closing.attempts) {
            settled += usize::from(attempt.state == MoneyState::Settled);
            doubtful += usize::from(attempt.state == MoneyState::Ambiguous);
        }
    }
    let bought = world.bought().await;
    let missing = bought.saturating_sub(settled + doubtful);
    let extra = bought.saturating_sub(keys.len());
    recovery.sort();
    let at = |percent: usize| recovery[(recovery.len() - 1) * percent / 100];
    println!(
        "{kills} kills, seed {seed}: {} keys, {} answered, {} in doubt; acknowledged rows lost {lost}; provider calls \
         {bought}, in the ledger {settled} settled + {doubtful} in doubt, missing {missing}; keys with several answers \
         {torn}; purchases beyond one a key {extra}; recovery p50 {:?}, p99 {:?}, worst {:?}",
        keys.len(),
        known.answered.len(),
        known.doubtful.len(),
        at(50),
        at(99),
        at(100),
    );
    assert_eq!((lost, torn, missing, extra), (0, 0, 0, 0));
    assert!(bought >= settled, "what is settled was bought");
    assert_eq!(known.answered.len() + known.doubtful.len(), keys.len(), "every key has an end");
    assert!(!known.answered.is_empty() && (kills < 50 || doubtful > 0));
}

async fn generations(ledger: &SqliteLedger) -> Vec<String> {
    assert!(!ledger.spend(SpendBy::Key, jiff::Timestamp::UNIX_EPOCH).await.unwrap().is_empty());
    let rows = ledger.rows("SELECT id FROM generation", Vec::new()).await.unwrap();
    rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect()
}

/// Clients that ask until they are stopped.
fn work(client: &reqwest::Client, url: &str, known: &Arc<Mutex<Known>>, round: u64, seed: u64) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for id in 0..CLIENTS {
        let (client, url, known) = (client.clone(), url.to_owned(), Arc::clone(known));
        let mut dice = StdRng::seed_from_u64(seed.wrapping_add(id as u64));
        clients.spawn(async move {
            for turn in 0.. {
                // Half of the asks are those of an earlier life.
                let again = {
                    let known = known.lock().unwrap();
                    let open: Vec<_> = known.begun.iter().filter(|key| !known.answered.contains_key(*key)).collect();
                    let all: Vec<_> = if open.is_empty() { known.begun.iter().collect() } else { open };
                    (!all.is_empty() && dice.random_bool(0.5)).then(|| all[dice.random_range(0..all.len())].clone())
                };
                let key = again.unwrap_or_else(|| format!("k-{round}-{id}-{turn}"));
                known.lock().unwrap().begun.insert(key.clone());
                ask(&client, &url, &key, &known, false).await;
            }
        });
    }
    clients
}

/// Whether money may have gone without an answer.
fn doubtful(answer: &Value) -> bool {
    let attempts = answer["attempts"].as_array().into_iter().flatten();
    answer["outcome"] == "ambiguous" || attempts.clone().any(|attempt| attempt["billed"] != "no")
}

/// Asks for a key once, or until there is an end to it.
async fn ask(client: &reqwest::Client, url: &str, key: &str, known: &Mutex<Known>, until_it_ends: bool) {
    let body = json!({"prompt": format!("a picture for {key}"), "width": 1024, "height": 1024, "model": MODEL});
    loop {
        let request = client.post(format!("{url}/generate")).header("content-type", "application/json");
        let sent = request.header("idempotency-key", key).body(body.to_string()).send().await;
        if let Ok(response) = sent {
            let status = response.status().as_u16();
            let text = response.text().await.unwrap_or_default();
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            match status {
                200 if answer["status"] == "succeeded" => {
                    let told = (answer["id"].as_str().unwrap().to_owned(), answer["images"][0]["sha256"].to_string());
                    known.lock().unwrap().answered.entry(key.to_owned()).or_default().insert(told);
                    return;
                }
                502 | 504 if doubtful(&answer) => {
                    assert!(!known.lock().unwrap().answered.contains_key(key), "{key} was answered: {text}");
                    known.lock().unwrap().doubtful.insert(key.to_owned());
                    return;
                }
                // The gateway died in the middle of its answer, or the provider has no room.
                200 | 429 | 502..=504 => {}
                _ => panic!("{status}: {text}"),
            }
        }
        if !until_it_ends {
            return tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
