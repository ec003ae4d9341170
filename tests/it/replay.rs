//! The past made again: a logged day under the policy that decided it, and under another one whose truth is known.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tollgate::domain::fault::Fault;
use tollgate::domain::fingerprint::sha256_hex;
use tollgate::domain::image::{Format, Size};
use tollgate::domain::money::Money;
use tollgate::domain::request::{Ask, Fit, Prompt, Quality};
use tollgate::engine::{Approval, Engine, Feedback, Parts, Served};
use tollgate::policy::replay::{Report, log, replay};
use tollgate::policy::watch::Settings;
use tollgate::policy::{Complete, Origin, Overrides, Snapshot, Snapshots, compile};
use tollgate::provider::{Call, Reply};
use tollgate::sandbox::{Options, Sandbox};
use tollgate::server::Bounds;
use tollgate::state::{
    Durability, Images, ImagesFault, Ledger, SpendBy, limits::LocalLimits, postgres::PostgresLedger, reader::Tesseract,
    sqlite::SqliteLedger,
};
use tollgate::telemetry::{Telemetry, clock};
use tollgate::transport::{Boxed, Endpoint, Transport};

use crate::harness::{House, inbound};
use crate::postgres::Server;
use crate::raw::Wire;

/// Callers of the logged day: the third has little money, the fourth little that is followed by cheaper plans.
const TEAMS: [&str; 4] = ["ann", "bob", "cid", "dee"];

fn secret(team: &str) -> String {
    format!("tg_of_{team}")
}

/// Four providers, of which one lacks its key; checks, an enlarger, budgets, a limit, and a planner that draws lots.
const DAY: &str = r#"
version = 1
[defaults]
quality = "usual"
deadline = "30s"
task = "concept"
review_cost_usd = 0.03
prior_weight = 8
explore = "sampled"
wait_value_usd_per_s = 0.005
[tier.usual]
quality = 0.2
[tier.careful]
quality = 0.45
explore = false
[task.typography]
quoted_text = true
[task.hero]
words = ["banner"]
[task.concept]
[[rule]]
id = "drafts"
when = "request.metadata.stage == 'draft' || key == 'dee'"
quality = "usual"
drop_negative_prompt = true
[[rule]]
id = "long"
when = "request.prompt_length > 60"
never = ["stability/core"]
[verifier.text]
kind = "text"
latency = { p50 = "500ms", p95 = "2s" }
passes = { typography = { good = 0.8, bad = 0.15 } }
[verifier.structure]
kind = "structure"
latency = { p50 = "30ms", p95 = "150ms" }
passes = { hero = { good = 0.99, bad = 0.5 } }
[verifier.scorer]
kind = "http"
url = "env:NO_SCORER_HERE"
latency = { p50 = "30ms", p95 = "150ms" }
passes_default = { good = 0.99, bad = 0.01 }
[provider.stability]
base_url = "https://api.stability.ai"
key = "env:STABILITY_API_KEY"
limits = [{ units = 12, unit = "requests", per = "1s", burst = 4 }]
[provider.ideogram]
base_url = "https://api.ideogram.ai"
key = "env:IDEOGRAM_API_KEY"
[provider.google]
base_url = "https://generativelanguage.googleapis.com"
key = "env:GEMINI_API_KEY"
[provider.elsewhere]
dialect = "openai"
base_url = "env:NO_SERVER_HERE"
[model."stability/sd3.5-flash"]
sizes = ["1:1 1024x1024"]
price = [{ from = 2026-01-01, usd = 0.025 }]
max_seed = 4294967294
negative_prompt = true
latency = { p50 = "1s", p95 = "3s" }
accept = { concept = 0.6, typography = 0.15, hero = 0.2 }
options = { route = "generate/sd3" }
[model."stability/core"]
sizes = ["1:1 1024x1024"]
price = [{ from = 2026-01-01, usd = 0.03 }]
max_seed = 4294967294
latency = { p50 = "2s", p95 = "4s" }
accept = { concept = 0.69, typography = 0.25, hero = 0.24 }
options = { route = "generate/core" }
[model."ideogram/v1"]
remote = "V_1"
sizes = ["1:1 1024x1024"]
price = [{ from = 2026-01-01, usd = 0.06 }]
max_seed = 2147483647
latency = { p50 = "2s", p95 = "4s" }
accept = { concept = 0.62, typography = 0.61, hero = 0.4 }
options = { route = "generate", magic_prompt = "OFF" }
[model."google/gemini-nano-banana-2.1"]
sizes = ["1:1 1024x1024"]
price = [{ from = 2026-10-07, usd = 0.0336 }]
usd_per_million_tokens = { text_in = 1.50, text_out = 7.50, image_out = 30 }
formats = ["png", "jpeg"]
latency = { p50 = "3s", p95 = "6s" }
accept = { concept = 0.84, typography = 0.74, hero = 0.66 }
options = { api = "generate-content", thinking = "minimal" }
[model."elsewhere/best"]
sizes = ["1:1 1024x1024"]
price = [{ from = 2026-01-01, usd = 0.001 }]
latency = { p50 = "1s", p95 = "2s" }
accept_default = 0.98
[model."stability/upscale-fast"]
upscale = { factor = 4, min_input_pixels = 1_024, max_input_pixels = 1_048_576, max_input_side = 1_536, keeps = 0.93 }
price = [{ from = 2026-08-21, usd = 0.02 }]
latency = { p50 = "1s", p95 = "3s" }
options = { route = "upscale/fast" }
[[budget]]
name = "little"
key = "cid"
usd = 1.20
per = "day"
# Plans of its dearest provider are then stood in for.
[[budget]]
name = "google"
provider = "google"
usd = 1.50
per = "day"
[[budget]]
name = "less"
key = "dee"
usd = 1.50
per = "day"
on_exhausted = "downgrade"
"#;

fn day() -> String {
    TEAMS.iter().fold(DAY.to_owned(), |mut text, team| {
        let hash = sha256_hex(secret(team).as_bytes());
        write!(text, "\n[[key]]\nname = \"{team}\"\nsha256 = \"{hash}\"\n").unwrap();
        text
    })
}

fn ask(at: usize) -> Ask {
    let prompt = match at % 12 {
        0 => format!("a neon sign that says \"OPEN {at}\" over a bar"),
        1 => format!("banner of mountain {at} — “Süd”"),
        2 => format!("banner of a castle, number {at}"),
        3 => format!("a wizard in the rain, number {at}, who looks for the way back to a tower by the sea"),
        4 | 8 => format!("a poster for jazz night {at} with the words 'Blue Hour'"),
        _ => format!("a harbour number {at} in the early fog, boats"),
    };
    let mut ask = Ask::of(Prompt::new(prompt).unwrap());
    // A resize is slow without optimisation: a few of them do.
    ask.size = if at % 8 == 3 { Size::new(512, 512) } else { Size::new(1024, 1024) };
    ask.fit = if at % 8 == 5 { Fit::Nearest } else { Fit::Exact };
    ask.n = if at.is_multiple_of(23) { 2 } else { 1 };
    ask.seed = (at.is_multiple_of(5)).then(|| u32::try_from(at).unwrap());
    ask.negative_prompt = (at.is_multiple_of(11)).then(|| "blurry, naïve".into());
    ask.quality = match at % 7 {
        0 => Some(Quality::AtLeast(0.1 + at as f64 / 3_000.0)),
        1 | 2 => Some(Quality::Tier("careful".to_owned())),
        _ => None,
    };
    ask.max_cost = (at.is_multiple_of(17)).then(|| Money::from_micros(150_000));
    ask.deadline = (at.is_multiple_of(19)).then(|| Duration::from_secs(25));
    if at.is_multiple_of(9) {
        ask.metadata.insert("stage".to_owned(), "draft".to_owned());
    }
    ask
}

/// One caller's request of the day: bought, judged by the sandbox's person, and when it is small and liked, enlarged.
async fn ask_once(house: &House, at: usize) -> &'static str {
    let (ask, key) = (ask(at), secret(TEAMS[at % TEAMS.len()]));
    let prompt = ask.prompt.as_str().to_owned();
    let served = match house.engine.serve(inbound(ask, Some(key.clone()))).await {
        Ok(served) => served,
        Err(refusal) => return refusal.code(),
    };
    let models: Vec<&str> = served.steps.iter().filter_map(|step| step.model.as_deref()).take(1).collect();
    let question = json!({"models": models, "prompt": prompt, "seed": served.images[0].seed}).to_string();
    let mut wire = Wire::connect(house.sandbox.addr()).await;
    let accepted = wire.post("/_sandbox/verdict", &[], question.as_bytes()).await.json()["accepted"] == true;
    let feedback = Feedback { accepted, rater: None, reason: None, image: 0 };
    house.engine.feedback(Some(&key), &served.id, feedback).await.unwrap();
    if accepted && at % 8 == 3 {
        let mut larger = Ask::of(Prompt::new("the same").unwrap());
        larger.size = Size::new(1024, 1024);
        let approval = Approval { generation: served.id.clone(), image: 0, names_data_policy: false };
        return match house.engine.second_pass(approval, inbound(larger, Some(key))).await {
            Ok(_) => "enlarged",
            Err(refusal) => refusal.code(),
        };
    }
    "served"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logged_day_under_its_own_policy_is_reproduced_to_the_micro_dollar() {
    const REQUESTS: usize = 240;
    let house = House::with(Bounds::default(), |_| day()).await;
    house
        .faults(&json!([
            {"provider": "stability", "status": 500, "ratio": 0.1}, {"provider": "google", "status": 400, "ratio": 0.15},
        ]))
        .await;
    let ends = futures_util::stream::iter(0..REQUESTS).map(|at| ask_once(&house, at)).buffer_unordered(6);
    let ends = ends.fold(BTreeMap::<_, usize>::new(), async |mut ends, end| {
        *ends.entry(end).or_default() += 1;
        ends
    });
    println!("{:?}", ends.await);
    house.engine.idle().await;

    let rows = log::read(&*house.ledger, Timestamp::UNIX_EPOCH).await.unwrap();
    let report = replay(&rows, &house.engine.snapshot());
    let stood_in = rows.iter().filter(|row| row.plan != row.ran).count();
    println!("{} decisions, {stood_in} served by another plan; {} of {}", report.decisions, report.same, rows.len());
    println!("plans: {:?}", rows.iter().map(|row| &*row.plan).collect::<std::collections::BTreeSet<_>>());
    let drawn = rows.iter().filter(|row| row.propensity < 1.0).count();
    println!("{drawn} were drawn by lot");
    assert!(rows.len() >= 150 && stood_in > 0 && drawn > 50, "{} rows, {stood_in} stood in, {drawn} drawn", rows.len());
    reproduced(&report, rows.len());

    let settled: Money =
        house.ledger.spend(SpendBy::Day, Timestamp::UNIX_EPOCH).await.unwrap().iter().map(|row| row.settled).sum();
    assert_eq!((report.before, report.after), (settled, settled));
    let calls = Wire::connect(house.sandbox.addr()).await.get("/_sandbox/calls", &[]).await.json();
    let billed: i64 = calls.as_array().unwrap().iter().map(|call| call["billed_micro_usd"].as_i64().unwrap()).sum();
    assert_eq!(settled + report.ambiguous, Money::from_micros(billed), "and every dollar was really billed");
    let told = replayed(house.policy.parent().unwrap().to_str().unwrap(), &house.policy);
    assert_eq!((&told["decisions"], &told["same"]), (&json!(rows.len()), &json!(rows.len())), "{told}");
    assert_eq!(told["usd"]["before"], told["usd"]["after"]);
    assert_eq!((&told["refused"], &told["switches"], &told["repriced"]), (&json!({}), &json!([]), &json!(0)));
}

fn reproduced(report: &Report, rows: usize) {
    for (moved, switch) in report.switches.iter().take(8) {
        println!("{moved:?}: {switch:?}");
    }
    assert_eq!((report.decisions, report.unreadable), (rows, 0));
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    assert_eq!((report.same, report.repriced), (rows, 0), "{:?}", report.largest);
    assert_eq!(report.before, report.after);
    assert_eq!(report.latency.0, report.latency.1);
}

/// What the command says, in an environment that lacks every key.
fn replayed(ledger: &str, policy: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_clear().args(["--json", "policy", "replay", "--ledger", ledger]).arg(policy);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A policy of two models that draws lots; small pictures, since nobody looks at them.
const LOTS: &str = r#"
version = 1
[defaults]
quality = "any"
deadline = "30s"
task = "concept"
review_cost_usd = 0.02
prior_weight = 8
explore = "sampled"
[tier.any]
quality = 0.0
[task.concept]
[provider.stability]
base_url = "https://api.stability.ai"
key = "env:STABILITY_API_KEY"
[model."stability/sd3.5-flash"]
sizes = ["1:1 64x64"]
price = [{ from = 2026-01-01, usd = 0.025 }]
max_seed = 4294967294
latency = { p50 = "1s", p95 = "2s" }
accept_default = 0.5
options = { route = "generate/sd3" }
[model."stability/sd3.5-large-turbo"]
sizes = ["1:1 64x64"]
price = [{ from = 2026-01-01, usd = 0.04 }]
max_seed = 4294967294
latency = { p50 = "1s", p95 = "2s" }
accept_default = 0.5
options = { route = "generate/sd3" }
"#;

const MODELS: [&str; 2] = ["stability/sd3.5-flash", "stability/sd3.5-large-turbo"];

/// The same with one model alone, and no lots.
fn only(model: &str) -> Snapshot {
    let text = LOTS.replace("\"sampled\"", "\"off\"");
    compiled(&format!("{text}\n[[rule]]\nid = \"one\"\nwhen = \"true\"\nonly = [\"{model}\"]\n"))
}

fn compiled(text: &str) -> Snapshot {
    compile(&[("lots.toml".to_owned(), text.to_owned())], &Complete, &Overrides::default(), clock::today()).unwrap()
}

/// Gives every call the same picture at once: what it shows is nothing to the sandbox's person.
struct AtOnce(Bytes);

impl Transport for AtOnce {
    fn send<'a>(&'a self, _: &'a Endpoint, _: &'a Call, _: tokio::time::Instant) -> Boxed<'a, Result<Reply, Fault>> {
        let headers =
            [("content-type", "image/png")].map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let reply = Reply { status: 200, headers: headers.into_iter().collect(), body: self.0.clone() };
        Box::pin(async { Ok(reply) })
    }
}

/// Pictures in memory.
#[derive(Default)]
struct InMemory(Mutex<HashMap<String, Bytes>>);

impl Images for InMemory {
    fn put<'a>(&'a self, sha256: &'a str, _: Format, bytes: Bytes) -> Boxed<'a, Result<(), ImagesFault>> {
        self.0.lock().unwrap().insert(sha256.to_owned(), bytes);
        Box::pin(async { Ok(()) })
    }

    fn get<'a>(&'a self, sha256: &'a str, _: Format) -> Boxed<'a, Result<Option<Bytes>, ImagesFault>> {
        let found = self.0.lock().unwrap().get(sha256).cloned();
        Box::pin(async { Ok(found) })
    }
}

fn picture() -> Bytes {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x, y, 90].map(|at| u8::try_from(at).unwrap())))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner().into()
}

/// The sandbox's person, over one connection.
struct Person(Wire);

impl Person {
    async fn judge(&mut self, model: &str, prompt: &str, seed: u64) -> (bool, f64) {
        let question = json!({"models": [model], "prompt": prompt, "seed": seed}).to_string();
        let verdict = self.0.post("/_sandbox/verdict", &[], question.as_bytes()).await.json();
        (verdict["accepted"].as_bool().unwrap(), verdict["p"].as_f64().unwrap())
    }
}

/// A gateway of small pictures on this ledger.
fn gateway(policy: &Arc<Snapshots>, ledger: Arc<dyn Ledger>, seed: u64) -> Arc<Engine> {
    Arc::new(Engine::new(Parts {
        snapshots: Arc::clone(policy),
        ledger,
        images: Arc::new(InMemory::default()),
        limits: Arc::new(LocalLimits::new()),
        reader: Arc::new(Tesseract::default()),
        transport: Arc::new(AtOnce(picture())),
        telemetry: Telemetry::new(false).unwrap(),
        keep_prompts: false,
        dice: Some(seed),
    }))
}

/// The policy that draws lots, and the folder where it is.
fn lots() -> (Arc<Snapshots>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lots.toml"), LOTS).unwrap();
    let settings = Settings {
        origin: Origin::of(&[folder.path().join("lots.toml")]),
        env: Arc::new(Complete),
        overrides: Overrides::default(),
        clock: Arc::new(clock::now),
        hook: Arc::new(()),
    };
    (Snapshots::load(settings).unwrap(), folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_ledger_is_replayed_by_its_address() {
    let (policy, folder) = lots();
    let url = Server::shared().database();
    let address = url.clone();
    let ledger = tokio::task::spawn_blocking(move || PostgresLedger::open(&address)).await.unwrap().unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(ledger);
    let engine = gateway(&policy, Arc::clone(&ledger), 7);
    for at in 0..6 {
        let mut ask = Ask::of(Prompt::new(format!("a harbour number {at}")).unwrap());
        ask.size = Size::new(64, 64);
        let served = engine.serve(inbound(ask, None)).await.unwrap();
        let feedback = Feedback { accepted: at % 2 == 0, rater: None, reason: None, image: 0 };
        engine.feedback(None, &served.id, feedback).await.unwrap();
    }
    let told = replayed(&url, &folder.path().join("lots.toml"));
    assert_eq!((&told["decisions"], &told["same"], &told["unreadable"]), (&json!(6), &json!(6), &json!(0)), "{told}");
    assert_eq!(told["usd"]["before"], told["usd"]["after"]);
    assert_eq!(told["accept"]["before"]["verdicts"], 6);
}

/// A day of one seed: what each plan's acceptance was replayed to be, and whether the truth lies in the interval.
async fn one_day(
    run: u64,
    requests: u64,
    policy: &Arc<Snapshots>,
    candidates: &[Snapshot],
    person: &mut Person,
) -> [bool; 2] {
    let data = tempfile::tempdir().unwrap();
    let ledger = Arc::new(SqliteLedger::open(data.path().join("tollgate.db"), Durability::Process).unwrap());
    let engine = gateway(policy, Arc::clone(&ledger) as Arc<dyn Ledger>, run);
    let mut truth = [0.0; 2];
    let mut dice = StdRng::seed_from_u64(run);
    for at in 0..requests {
        let prompt = format!("a harbour number {} in the early fog", dice.random_range(0..1_000_000));
        let mut ask = Ask::of(Prompt::new(prompt.as_str()).unwrap());
        ask.size = Size::new(64, 64);
        let served: Served = engine.serve(inbound(ask, None)).await.unwrap();
        for (truth, model) in truth.iter_mut().zip(MODELS) {
            let (accepted, chance) = person.judge(model, &prompt, at).await;
            *truth += chance / requests as f64;
            if *model == *served.model {
                let feedback = Feedback { accepted, rater: None, reason: None, image: 0 };
                engine.feedback(None, &served.id, feedback).await.unwrap();
            }
        }
    }
    let rows = log::read(&*ledger, Timestamp::UNIX_EPOCH).await.unwrap();
    let mut covered = [false; 2];
    for ((covered, candidate), truth) in covered.iter_mut().zip(candidates).zip(truth) {
        let report = replay(&rows, candidate);
        assert_eq!((report.decisions, report.unreadable), (rows.len(), 0));
        let interval = report.accept_after.interval;
        *covered = (interval.low..=interval.high).contains(&truth);
        if run < 6 {
            println!(
                "run {run}: truth {truth:.3}, replayed {:.3} [{:.3}, {:.3}], {} the same",
                report.accept_after.value, interval.low, interval.high, report.same
            );
        }
    }
    covered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_another_policy_the_interval_covers_the_truth_nine_times_in_ten() {
    const RUNS: u64 = 200;
    const REQUESTS: u64 = 60;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sandbox = Sandbox::start(listener, Options { seed: 20_261_123, speed: 1.0 }).await.unwrap();
    let (policy, _folder) = lots();
    let candidates = Arc::new(MODELS.map(only));
    let begun = std::time::Instant::now();
    let days = futures_util::stream::iter(0..RUNS).map(|run| {
        let (policy, candidates, address) = (Arc::clone(&policy), Arc::clone(&candidates), sandbox.addr());
        let day = async move {
            let mut person = Person(Wire::connect(address).await);
            one_day(run, REQUESTS, &policy, &*candidates, &mut person).await
        };
        async { tokio::spawn(day).await.unwrap() }
    });
    let covered: Vec<[bool; 2]> = days.buffer_unordered(2).collect().await;
    for (at, model) in MODELS.iter().enumerate() {
        let held = covered.iter().filter(|day| day[at]).count();
        println!("only {model}: the truth is in {held} of {RUNS} intervals, {:.1} s", begun.elapsed().as_secs_f64());
    }
    for at in 0..MODELS.len() {
        assert!(covered.iter().filter(|day| day[at]).count() >= 180, "fewer than nine in ten of {}", MODELS[at]);
    }
}
