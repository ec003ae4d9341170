//! A demo with traffic, watched by a real Prometheus: every panel shows something, and faults ring the named alerts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::boards::queries;
use super::prometheus::{Prometheus, replace, send};
use super::rules::files;
use super::support::{PATIENCE, Serving, folder, tollgate};

/// What is measured only with Redis, with jobs, or with a verifier that gives scores: their series are there, and without
/// a measurement the quantile or the mean of a histogram is not a number.
const UNMEASURED: [&str; 4] = [
    "tollgate_redis_operation_duration_seconds",
    "tollgate_job_wait_seconds",
    "tollgate_policy_canary_images_total",
    "tollgate_quality_score_ratio",
];

/// The alerts of what is done to the demo.
const NAMED: [&str; 3] =
    ["TollgateAllProvidersUnavailable", "TollgateErrorBudgetBurnFast", "TollgatePolicyReloadFailed"];

/// A demo that audits, on a policy of its own with a budget, so that it can be spoilt.
fn demo() -> Serving {
    let folder = folder();
    let policy = std::fs::read_to_string("policies/default.toml").unwrap();
    let budget = "\n[[budget]]\nname = \"studio\"\nusd = 10000000\nper = \"day\"\n";
    std::fs::write(folder.path().join("policy.toml"), policy + budget).unwrap();
    let any = "127.0.0.1:0";
    let mut command = tollgate(folder.path());
    command.env("TOLLGATE_AUDIT__HOURS", "24");
    command.args(["demo", "--listen", any, "--admin", any, "--proxy", any, "--sandbox", any, "--speed", "200"]);
    command.args(["--data", "data", "--policy", "policy.toml"]);
    Serving::start(command, folder, 4)
}

/// One request, as one of many different people would send it.
fn ask(api: SocketAddr, number: u32) -> u16 {
    let tasks = ["concept", "photo", "typography", "character"];
    let task = tasks[number as usize % tasks.len()];
    // Every fifth is the one before it again.
    let prompt = format!("a fox, study {}", number - number / 5 % 2);
    let mut body = json!({ "prompt": prompt, "task": task, "width": 256, "height": 256, "response_format": "url" });
    if number % 4 == 1 {
        // Those who keep their prompts at home, so that the providers on the premises are asked too.
        body["data_policy"] = json!("on-prem");
        body["quality"] = json!(0.1);
    }
    let key = format!("idempotency-key: \"k{}\"\r\n", number / 2);
    send(api, "POST", "/generate", if number.is_multiple_of(7) { &key } else { "" }, &body.to_string()).0
}

/// People who ask until the flag falls.
fn people<'scope>(scope: &'scope std::thread::Scope<'scope, '_>, api: SocketAddr, on: &'scope AtomicBool) {
    for person in 0..3u32 {
        scope.spawn(move || {
            for number in 0.. {
                if !on.load(Ordering::Acquire) {
                    break;
                }
                ask(api, person * 100_000 + number);
                // A person's pause: load, and not a way to wait for something.
                std::thread::sleep(Duration::from_millis(60));
            }
        });
    }
}

/// Sends everybody home when dropped.
struct Home<'a>(&'a AtomicBool);

impl Drop for Home<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[test]
fn boards_show_and_alerts_ring() {
    let mut house = demo();
    let prometheus = Prometheus::scraping(&[house.admin], &files_of_one_node());
    let on = AtomicBool::new(true);
    let (api, sandbox) = (house.api, house.sandbox.unwrap());
    std::thread::scope(|scope| {
        // Also when a check fails: the people would wait for each other's end otherwise.
        let _home = Home(&on);
        people(scope, api, &on);
        every_panel_shows_something(&prometheus);
        let calm = prometheus.firing();
        assert!(!calm.iter().any(|alert| NAMED.contains(&&**alert)), "nothing is wrong, and yet: {calm:?}");
        let providers: Vec<_> = tollgate::sandbox::providers()
            .map(|(provider, _)| json!({ "provider": provider, "status": 503, "at": "headers" }))
            .collect();
        let (status, said) = send(sandbox, "PUT", "/_sandbox/faults", "", &json!(providers).to_string());
        assert!(status < 300, "{said}");
        replace(&house.folder.path().join("policy.toml"), "version = 1\nnonsense = true\n");
        rings(&prometheus, &NAMED);
    });
    house.child.kill().unwrap();
    rings(&prometheus, &["TollgateDown"]);
}

/// The rules for replicas are not for a node that is alone.
fn files_of_one_node() -> Vec<std::path::PathBuf> {
    files().into_iter().filter(|file| !file.ends_with("replicas.yml")).collect()
}

fn every_panel_shows_something(prometheus: &Prometheus) {
    let queries = queries();
    assert!(queries.len() > 80, "{}", queries.len());
    let number = |query: &str| !UNMEASURED.iter().any(|metric| query.contains(metric));
    let empty = |query: &str| {
        let found = prometheus.panel(query);
        found.is_empty() || (number(query) && found.iter().all(|(_, value)| value.is_nan()))
    };
    // No limit of the demo is small enough to deny anybody.
    let mut left: Vec<_> = queries.into_iter().filter(|(_, _, query)| !query.contains("result=\"denied\"")).collect();
    let began = Instant::now();
    while began.elapsed() < Duration::from_mins(1) && !left.is_empty() {
        left.retain(|(_, _, query)| empty(query));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(left.is_empty(), "panels that show nothing: {left:#?}");
}

/// Waits until each of these has fired.
fn rings(prometheus: &Prometheus, alerts: &[&str]) {
    let mut silent: BTreeSet<&str> = alerts.iter().copied().collect();
    let began = Instant::now();
    while began.elapsed() < PATIENCE && !silent.is_empty() {
        let firing = prometheus.firing();
        silent.retain(|alert| !firing.iter().any(|name| name == alert));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(silent.is_empty(), "these have not fired: {silent:?}");
}
