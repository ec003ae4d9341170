//! The story, on the sandbox: a team's one fixed model against the planner. `cargo bench --bench story`.
//!
//! The team makes hero pictures of 2048 pixels with a title in them. As it began: its own script calls SD3.5 Large
//! until someone accepts a picture, then pays for the conservative upscaler. With the gateway: it asks for the same
//! picture, says how good and how soon, and takes what the planner buys. Providers, prices, latencies and people are
//! simulated: nothing here is measured on a real provider. Every dollar is read from the sandbox's own bill. Set
//! `TOLLGATE_BIN` to try another binary than the one built here.
//!
//! Then the same from nothing: two models of which the policy believes the same, and a verdict on every picture.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench stops at the first surprise"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::Client;
use serde_json::{Value, json};

/// Assets for shares and dollars, at fifty times the speed.
const ASSETS: usize = 60;
/// Pictures for seconds, in real time.
const TIMED: usize = 12;
/// What showing a picture to a person costs: eleven seconds of someone at $25 an hour.
const LOOK_USD: f64 = 0.075;
const MOST_TRIES: u32 = 40;
/// Pictures that are judged, from nothing.
const JUDGED: usize = 300;
/// How fast time passes while they are.
const FAST: f64 = 20.0;
const NOTHING_KNOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/nothing_known.toml");

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    // A provider that is installed already serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    println!("A simulation: providers, prices, latencies and people are the sandbox's. A look costs ${LOOK_USD}.\n");
    let (mut before, mut after) = (Row::default(), Row::default());
    for (assets, speed, timed) in [(ASSETS, "50", false), (TIMED, "1", true)] {
        before.add(&play(Team::Fixed, assets, speed, timed).await);
        after.add(&play(Team::Planned, assets, speed, timed).await);
    }
    println!("{:<44} {:>16} {:>16} {:>9}", "", "one fixed model", "tollgate's plan", "better");
    let line = |name: &str, before: String, after: String, change: f64| {
        println!("{name:<44} {before:>16} {after:>16} {change:>8.2}x");
    };
    let (seconds, usd) = (|s: f64| format!("{s:.1} s"), |usd: f64| format!("${usd:.2}"));
    for (name, show, before, after) in [
        ("mean time per finished image", &seconds as &dyn Fn(f64) -> String, before.seconds(), after.seconds()),
        ("dollars per accepted hero asset", &usd, before.per_accepted(), after.per_accepted()),
        ("  of which providers", &usd, before.provider_per_accepted(), after.provider_per_accepted()),
    ] {
        line(name, show(before), show(after), before / after);
    }
    let share = |row: &Row| format!("{:.0} %", row.first_share() * 100.0);
    line("accepted at first look", share(&before), share(&after), after.first_share() / before.first_share());
    println!("\n{ASSETS} assets for shares and dollars, {TIMED} pictures in real time for seconds; what was bought:");
    println!("  before  {}\n  after   {}", before.plan, after.plan);
    println!("targets: at least 3x faster (4.1 s or less), 0.61 or more at first look, $0.52 or less\n");
    learned().await;
}

/// Signs and scenes in turn, each bought once, looked at once and judged.
async fn learned() {
    let demo = Demo::start(&FAST.to_string(), &["--policy", NOTHING_KNOWN]);
    println!("learned from nothing: signs and scenes in turn, a verdict on each\n");
    println!(
        "{:<14} {:>13} {:>22} {:>9} {:>26}",
        "verdicts", "first accept", "$ per accepted asset", "seconds", "signs to the specialist"
    );
    let (mut accepted, mut paid, mut seconds, mut signs, mut well) = (0usize, 0.0, 0.0, 0usize, 0usize);
    for at in 0..JUDGED {
        let is_sign = at % 2 == 0;
        let prompt = if is_sign { prompt(at) } else { format!("a harbour number {at} in the early fog, boats") };
        let bought = demo.bought_and_judged(&prompt, at).await;
        accepted += usize::from(bought.accepted);
        (paid, seconds) = (paid + bought.usd, seconds + bought.seconds);
        (signs, well) = (signs + usize::from(is_sign), well + usize::from(is_sign && bought.model == "ideogram/v1"));
        if (at + 1) % 100 == 0 {
            println!(
                "{:<14} {:>11} % {:>22.3} {:>9.1} {:>24} %",
                format!("{} to {}", at - 98, at + 1),
                accepted,
                (paid + 100.0 * LOOK_USD) / accepted.max(1) as f64,
                seconds / 100.0,
                100 * well / signs
            );
            (accepted, paid, seconds, signs, well) = (0, 0.0, 0.0, 0, 0);
        }
    }
}

/// One picture of the second table.
struct Bought {
    accepted: bool,
    usd: f64,
    /// Simulated.
    seconds: f64,
    model: String,
}

#[derive(Clone, Copy)]
enum Team {
    Fixed,
    Planned,
}

#[derive(Default)]
struct Row {
    assets: usize,
    accepted: usize,
    at_first: usize,
    looks: u32,
    bill_usd: f64,
    seconds: Vec<f64>,
    plan: String,
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.assets += other.assets;
        self.accepted += other.accepted;
        self.at_first += other.at_first;
        self.looks += other.looks;
        self.bill_usd += other.bill_usd;
        self.seconds.extend(&other.seconds);
        self.plan.clone_from(&other.plan);
    }

    fn seconds(&self) -> f64 {
        self.seconds.iter().sum::<f64>() / self.seconds.len() as f64
    }

    fn first_share(&self) -> f64 {
        self.at_first as f64 / self.assets as f64
    }

    fn provider_per_accepted(&self) -> f64 {
        self.bill_usd / self.accepted as f64
    }

    fn per_accepted(&self) -> f64 {
        self.provider_per_accepted() + f64::from(self.looks) * LOOK_USD / self.accepted as f64
    }
}

/// What became of one asset.
struct Fate {
    tries: u32,
    accepted: bool,
    seconds: Vec<f64>,
    plan: String,
}

/// A demo of its own for each play, so that its bill is the play's bill.
async fn play(team: Team, assets: usize, speed: &str, timed: bool) -> Row {
    let demo = Demo::start(speed, &[]);
    // As many as there are cores: the simulators draw real pictures, and a queue for the processor is not the story.
    let together = 2;
    let fates: Vec<Fate> = stream::iter((0..assets).map(|at| demo.asset(team, prompt(at), timed)))
        .buffer_unordered(together)
        .collect()
        .await;
    let mut row = Row { assets, bill_usd: demo.bill().await, ..Row::default() };
    for fate in fates {
        row.accepted += usize::from(fate.accepted);
        row.at_first += usize::from(fate.accepted && fate.tries == 1);
        row.looks += fate.tries;
        row.plan = fate.plan;
        if timed {
            row.seconds.extend(fate.seconds);
        }
    }
    if timed {
        // The timed pictures are for seconds alone.
        (row.assets, row.accepted, row.at_first, row.looks, row.bill_usd) = (0, 0, 0, 0, 0.0);
    }
    row
}

fn prompt(at: usize) -> String {
    let subjects = ["a lone swordsman", "a city of glass", "a fox in the snow", "two ships at war", "a dragon asleep"];
    let moods = ["at dawn", "under a red moon", "in heavy rain", "lit by torches", "in autumn fog", "at high noon"];
    let titles =
        ["EMBERFALL", "THE LAST TIDE", "NORTH OF IRON", "VELVET WAR", "SALT AND STARS", "HOLLOW CROWN", "RIVER OF ASH"];
    let (subject, mood, title) = (subjects[at % 5], moods[at % 6], titles[at % 7]);
    format!("hero banner number {at}: {subject} {mood}, with the title \"{title}\" above")
}

struct Demo {
    child: Child,
    api: String,
    sandbox: String,
    client: Client,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Demo {
    fn start(speed: &str, more: &[&str]) -> Self {
        let free = "127.0.0.1:0";
        let flags = [
            "demo",
            "--listen",
            free,
            "--admin",
            free,
            "--proxy",
            free,
            "--sandbox",
            free,
            "--seed",
            "7",
            "--speed",
            speed,
        ];
        let mut command =
            Command::new(std::env::var("TOLLGATE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tollgate").to_owned()));
        command.args(flags).args(more).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the demo");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut listener = |plane: &str| loop {
            let line = lines.next().expect("a listening line").expect("text");
            if let Some(url) = line.strip_prefix(&format!("listening {plane} ")) {
                break url.to_owned();
            }
        };
        let (api, sandbox) = (listener("api"), listener("sandbox"));
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { child, api, sandbox, client }
    }

    async fn asset(&self, team: Team, prompt: String, timed: bool) -> Fate {
        let mut fate = Fate { tries: 0, accepted: false, seconds: Vec::new(), plan: String::new() };
        while !fate.accepted && fate.tries < MOST_TRIES {
            fate.tries += 1;
            let (accepted, seconds, plan) = match team {
                Team::Fixed => self.fixed(&prompt, timed).await,
                Team::Planned => self.planned(&prompt, fate.tries).await,
            };
            fate.accepted = accepted;
            fate.seconds.extend(seconds);
            fate.plan = plan;
            if timed {
                break;
            }
        }
        fate
    }

    /// The team's own script: SD3.5 Large, and the conservative upscaler for a picture that was accepted. The time is
    /// of a finished picture, so a timed run finishes each.
    async fn fixed(&self, prompt: &str, timed: bool) -> (bool, Option<f64>, String) {
        let begun = Instant::now();
        let (draft, seed) = self.stability("generate/sd3", &[("prompt", prompt), ("model", "sd3.5-large")], None).await;
        let seed: u32 = seed.expect("a seed").parse().expect("a number");
        let accepted = timed || self.accepts(&["stability/sd3.5-large"], prompt, seed.into()).await;
        if accepted {
            self.stability("upscale/conservative", &[("prompt", prompt)], Some(draft)).await;
        }
        let seconds = timed.then(|| begun.elapsed().as_secs_f64());
        (accepted, seconds, "stability/sd3.5-large; stability/upscale-conservative once accepted".to_owned())
    }

    async fn stability(
        &self,
        route: &str,
        fields: &[(&str, &str)],
        image: Option<Vec<u8>>,
    ) -> (Vec<u8>, Option<String>) {
        let mut form = reqwest::multipart::Form::new();
        for (name, value) in fields {
            form = form.text((*name).to_owned(), (*value).to_owned());
        }
        if let Some(image) = image {
            form = form.part("image", reqwest::multipart::Part::bytes(image).file_name("draft.png"));
        }
        let url = format!("{}/stability/v2beta/stable-image/{route}", self.sandbox);
        let request = self.client.post(url).header("authorization", "Bearer sk-unlimited").header("accept", "image/*");
        let reply = request.multipart(form).send().await.expect("a reply");
        assert!(reply.status().is_success(), "{}", reply.status());
        let seed = reply.headers().get("seed").and_then(|seed| seed.to_str().ok()).map(str::to_owned);
        (reply.bytes().await.expect("a picture").to_vec(), seed)
    }

    /// The same picture by what it must be: how good, how soon.
    async fn planned(&self, prompt: &str, attempt: u32) -> (bool, Option<f64>, String) {
        let body = json!({
            "prompt": prompt, "width": 2048, "height": 2048, "quality": 0.48, "deadline_ms": 8000,
            "seed": 1_000 + attempt, "response_format": "url",
        });
        let begun = Instant::now();
        let request = self.client.post(format!("{}/generate", self.api)).body(body.to_string());
        let reply = request.header("content-type", "application/json").send().await.expect("a reply");
        let text = reply.text().await.expect("a body");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let steps = answer["plan"]["steps"].as_array().unwrap_or_else(|| panic!("{text}"));
        let models: Vec<&str> = steps.iter().filter_map(|step| step["model"].as_str()).collect();
        let accepted = self.accepts(&models, prompt, (1_000 + attempt).into()).await;
        (accepted, Some(begun.elapsed().as_secs_f64()), models.join("; "))
    }

    async fn bought_and_judged(&self, prompt: &str, at: usize) -> Bought {
        let body = json!({"prompt": prompt, "fit": "nearest", "seed": 1 + at, "response_format": "url"});
        let (begun, url) = (Instant::now(), format!("{}/generate", self.api));
        let answer = self.post(&url, &body).await;
        let seconds = begun.elapsed().as_secs_f64() * FAST;
        let model = answer["model"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let accepted = self.accepts(&[&model], prompt, 1 + at as u64).await;
        let url = format!("{}/generations/{}/feedback", self.api, answer["id"].as_str().expect("an id"));
        self.post(&url, &json!({ "accepted": accepted })).await;
        Bought { accepted, usd: answer["cost"]["usd"].as_f64().expect("a price"), seconds, model }
    }

    async fn post(&self, url: &str, body: &Value) -> Value {
        let request = self.client.post(url).header("content-type", "application/json").body(body.to_string());
        let text = request.send().await.expect("a reply").text().await.expect("a body");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn accepts(&self, models: &[&str], prompt: &str, seed: u64) -> bool {
        let ask = json!({"models": models, "prompt": prompt, "seed": seed}).to_string();
        let request = self.client.post(format!("{}/_sandbox/verdict", self.sandbox)).body(ask);
        let text =
            request.timeout(Duration::from_secs(10)).send().await.expect("a verdict").text().await.expect("text");
        let verdict: Value = serde_json::from_str(&text).expect("JSON");
        verdict["accepted"].as_bool().unwrap_or_else(|| panic!("{text}"))
    }

    async fn bill(&self) -> f64 {
        let url = format!("{}/_sandbox/calls", self.sandbox);
        let text = self.client.get(url).send().await.expect("a bill").text().await.expect("text");
        let calls: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        calls.iter().filter_map(|call| call["billed_micro_usd"].as_f64()).sum::<f64>() / 1e6
    }
}
