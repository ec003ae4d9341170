//! The budget storm: whatever happens to processes and servers, a cap worth 37 images buys 37 and never 38.
#![allow(
    clippy::disallowed_methods,
    clippy::zombie_processes,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the functions that tests are made of are tests too"
)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/scorer.rs"]
mod scorer;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use postgres::{Server, query};
use scorer::scores;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

const IMAGES: i64 = 37;
const PRICE: i64 = 35_000;
const CALLERS: usize = 500;

/// One model at one price, and a budget worth 37 of its images.
const POLICY: &str = r#"version = 1

[defaults]
quality = 0.3
deadline = "60s"
task = "concept"
share = "never"

[[budget]]
name = "storm"
usd = 1.295
per = "ever"

[task.concept]

[provider.stability]
base_url = "https://api.stability.ai"
key = "env:STABILITY_API_KEY"

[model."stability/sd3.5-medium"]
sizes = ["1:1 1024x1024"]
options = { route = "generate/sd3" }
price = [{ from = 2026-01-01, usd = 0.035 }]
latency = { p50 = "5s", p95 = "9s" }
accept = { concept = 0.71 }
"#;

/// A picture of the cheap model that `scorer` does not pass is made again by the dear one, whose provider may be paid for
/// five of them; looks are paid for too.
const ESCALATING: &str = r#"
[[budget]]
name = "specialist"
usd = 0.45
per = "ever"
provider = "ideogram"

[verifier.scorer]
kind = "http"
url = "SCORER"
usd = 0.001
latency = { p50 = "20ms", p95 = "200ms" }
passes_default = { good = 0.9, bad = 0.05 }

[provider.ideogram]
base_url = "https://api.ideogram.ai"
key = "env:IDEOGRAM_API_KEY"

[model."ideogram/v3-quality"]
remote = "ideogram-v3"
sizes = ["1:1 1024x1024"]
options = { route = "v3", rendering_speed = "QUALITY" }
price = [{ from = 2026-01-01, usd = 0.09 }]
latency = { p50 = "14s", p95 = "24s" }
accept = { concept = 0.95 }
"#;

/// A process that prints where it listens; killed when dropped.
struct Process {
    child: Child,
    addresses: BTreeMap<String, String>,
}

impl Process {
    fn start(mut command: Command, planes: usize) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut addresses = BTreeMap::new();
        while addresses.len() < planes {
            let line = lines.next().expect("it ended before it listened").unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            addresses.insert(words[1].to_owned(), words[2].to_owned());
        }
        Self { child, addresses }
    }

    fn sandbox() -> Self {
        // The client of these tests speaks no TLS, and wants a provider of it all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["sandbox", "--listen", "127.0.0.1:0", "--speed", "4"]);
        Self::start(command, 1)
    }

    /// A gateway on the data folder `folder/name`, its books there or in Postgres.
    fn gateway(folder: &Path, name: &str, sandbox: &Self, ledger: Option<&str>) -> Self {
        Self::gateway_on(POLICY, folder, name, sandbox, ledger)
    }

    /// The same on another policy, whose providers are all the sandbox.
    fn gateway_on(text: &str, folder: &Path, name: &str, sandbox: &Self, ledger: Option<&str>) -> Self {
        let policy = folder.join("policy.toml");
        std::fs::write(&policy, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.env_clear().current_dir(folder);
        let known = tollgate::sandbox::providers();
        for (prefix, key) in known.filter(|(prefix, _)| text.contains(&format!("[provider.{prefix}]"))) {
            let variable = |what: &str| format!("TOLLGATE_PROVIDERS__{}__{what}", prefix.to_uppercase());
            command.env(variable("BASE_URL"), format!("{}/{prefix}", sandbox.at("sandbox")));
            command.env(variable("KEY"), key);
        }
        command.env("TOLLGATE_LOG__LEVEL", "error");
        if let Some(url) = ledger {
            command.env("TOLLGATE_LEDGER__URL", url);
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", name, "--policy"]);
        command.arg(policy);
        Self::start(command, 2)
    }

    fn at(&self, plane: &str) -> &str {
        &self.addresses[plane]
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everyone at once, spread over the gateways: how many got which status; 0 is a connection that broke.
async fn storm(callers: usize, gateways: &[&str]) -> BTreeMap<u16, usize> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
    let mut requests = JoinSet::new();
    for n in 0..callers {
        let url = format!("{}/generate", gateways[n % gateways.len()]);
        let client = client.clone();
        requests.spawn(async move {
            let body = json!({"prompt": format!("storm {n}"), "size": "1024x1024", "response_format": "url"});
            let asked = client.post(url).header("content-type", "application/json").body(body.to_string());
            asked.send().await.map_or(0, |answer| answer.status().as_u16())
        });
    }
    let mut statuses = BTreeMap::new();
    for status in requests.join_all().await {
        *statuses.entry(status).or_insert(0) += 1;
    }
    statuses
}

async fn get(url: &str) -> Value {
    let answer = reqwest::get(url).await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// Images that the provider has charged for.
async fn bought(sandbox: &Process) -> i64 {
    let calls = get(&format!("{}/_sandbox/calls", sandbox.at("sandbox"))).await;
    calls.as_array().unwrap().iter().map(|call| call["billed_micro_usd"].as_i64().unwrap()).sum::<i64>() / PRICE
}

/// The budget as `/providers` shows it: settled, reserved, ambiguous, left, in micro-dollars.
async fn budget(gateway: &Process) -> [i64; 4] {
    let providers = get(&format!("{}/providers", gateway.at("admin"))).await;
    let budget = &providers["budgets"][0];
    #[expect(clippy::cast_possible_truncation, reason = "a few dollars")]
    let micros = |key: &str| (budget[key].as_f64().unwrap() * 1e6).round() as i64;
    ["spent_usd", "reserved_usd", "ambiguous_usd", "left_usd"].map(micros)
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Asks until the budget refuses: then all of it is spent, reserved or in doubt.
async fn exhaust(gateways: &[&str]) {
    until("the budget is exhausted", async || {
        let statuses = storm(gateways.len() * 2, gateways).await;
        statuses.get(&402) == Some(&(gateways.len() * 2))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_one_postgres_buy_37() {
    let (folder, sandbox, server) = (tempfile::tempdir().unwrap(), Process::sandbox(), Server::start(true));
    let url = server.database();
    let start = |name| Process::gateway(folder.path(), name, &sandbox, Some(&url));
    let gateways = [start("one"), start("two"), start("three")];
    let urls: Vec<&str> = gateways.iter().map(|gateway| gateway.at("api")).collect();
    let statuses = storm(CALLERS, &urls).await;
    println!("{CALLERS} callers, 3 processes, Postgres: {statuses:?}, the provider billed {}", bought(&sandbox).await);
    assert_eq!(statuses, [(200, 37), (402, CALLERS - 37)].into());
    assert_eq!(bought(&sandbox).await, IMAGES);
    assert_eq!(budget(&gateways[1]).await, [IMAGES * PRICE, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_and_a_restarted_postgres_never_make_38() {
    let (folder, sandbox, server) = (tempfile::tempdir().unwrap(), Process::sandbox(), Server::start(true));
    let url = server.database();
    let start = |name| Process::gateway(folder.path(), name, &sandbox, Some(&url));
    let (one, two, mut three) = (start("one"), start("two"), start("three"));
    let urls = [one.at("api").to_owned(), two.at("api").to_owned(), three.at("api").to_owned()];
    let stormed = tokio::spawn(async move {
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        storm(CALLERS, &urls).await
    });
    let held = || query(&url, "SELECT COUNT(*) FROM attempt WHERE state = 'held'").parse::<i64>().unwrap();
    until("calls are under way", async || held() >= 12).await;
    three.kill();
    server.stop();
    server.restart();
    let statuses = stormed.await.unwrap();
    exhaust(&[one.at("api"), two.at("api")]).await;
    // What the dead one was buying is in doubt when its lease has ended; until then it is held. Both count.
    until("nothing is held any more", async || held() == 0).await;
    let billed = bought(&sandbox).await;
    let [settled, reserved, ambiguous, left] = budget(&one).await;
    println!(
        "kill -9 and a restart of Postgres: {statuses:?}; the provider billed {billed}, the books have {} settled and \
         {} in doubt",
        settled / PRICE,
        ambiguous / PRICE
    );
    assert!(billed <= IMAGES, "{billed}");
    assert_eq!((settled + ambiguous, reserved, left), (IMAGES * PRICE, 0, 0));
    assert!(settled <= billed * PRICE && billed * PRICE <= settled + ambiguous, "the doubt covers what was billed");
    let counted = query(
        &url,
        "SELECT SUM(CASE state WHEN 'settled' THEN charged WHEN 'ambiguous' THEN held ELSE 0 END) FROM attempt",
    );
    assert_eq!(counted, (IMAGES * PRICE).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_on_a_file_buys_37() {
    let (folder, sandbox) = (tempfile::tempdir().unwrap(), Process::sandbox());
    let gateway = Process::gateway(folder.path(), "one", &sandbox, None);
    let statuses = storm(CALLERS, &[gateway.at("api")]).await;
    println!("{CALLERS} callers, 1 process, SQLite: {statuses:?}, the provider billed {}", bought(&sandbox).await);
    assert_eq!(statuses, [(200, 37), (402, CALLERS - 37)].into());
    assert_eq!(bought(&sandbox).await, IMAGES);
    assert_eq!(budget(&gateway).await, [IMAGES * PRICE, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_on_a_file_never_makes_38() {
    let (folder, sandbox) = (tempfile::tempdir().unwrap(), Process::sandbox());
    let mut gateway = Process::gateway(folder.path(), "one", &sandbox, None);
    let api = gateway.at("api").to_owned();
    let stormed = tokio::spawn(async move { storm(CALLERS, &[&api]).await });
    until("something is billed", async || bought(&sandbox).await >= 3).await;
    gateway.kill();
    stormed.await.unwrap();
    let gateway = Process::gateway(folder.path(), "one", &sandbox, None);
    exhaust(&[gateway.at("api")]).await;
    let billed = bought(&sandbox).await;
    let [settled, reserved, ambiguous, left] = budget(&gateway).await;
    println!(
        "kill -9 on a file: the provider billed {billed}, settled {}, in doubt {}",
        settled / PRICE,
        ambiguous / PRICE
    );
    assert!(billed <= IMAGES, "{billed}");
    assert_eq!((settled + ambiguous, reserved, left), (IMAGES * PRICE, 0, 0));
    assert!(settled <= billed * PRICE && billed * PRICE <= settled + ambiguous);
}

/// A cap on one provider, far down in plans that begin with another's pictures: five escalations over three processes, and
/// never six.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_one_postgres_escalate_five_times() {
    let (folder, sandbox, server) = (tempfile::tempdir().unwrap(), Process::sandbox(), Server::start(true));
    let (port, looks) = scores("0.12").await;
    let policy = POLICY.replace("usd = 1.295", "usd = 100").replace("[defaults]", "[defaults]\nreview_cost_usd = 0.5")
        + ESCALATING;
    let policy = policy.replace("SCORER", &format!("http://127.0.0.1:{port}/score"));
    let url = server.database();
    let start = |name| Process::gateway_on(&policy, folder.path(), name, &sandbox, Some(&url));
    let gateways = [start("one"), start("two"), start("three")];
    let urls: Vec<&str> = gateways.iter().map(|gateway| gateway.at("api")).collect();
    assert_eq!(storm(60, &urls).await, [(200, 60)].into(), "whoever is not escalated has the cheap picture");
    let calls = get(&format!("{}/_sandbox/calls", sandbox.at("sandbox"))).await;
    let billed = |provider: &str| -> i64 {
        let ours = calls.as_array().unwrap().iter().filter(|call| call["provider"] == provider);
        ours.map(|call| call["billed_micro_usd"].as_i64().unwrap()).sum()
    };
    let looked = i64::try_from(looks.load(Ordering::Relaxed)).unwrap();
    println!("60 callers, 3 processes: {looked} looks, ideogram billed {}", billed("ideogram"));
    assert_eq!(billed("ideogram"), 5 * 90_000);
    let settled = query(&url, "SELECT SUM(charged) FROM attempt");
    assert_eq!(settled, (billed("ideogram") + billed("stability") + looked * 1_000).to_string());
}
