//! A policy on trial: in the shadow it decides and buys nothing; as a canary it serves a few keys until it goes badly.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::domain::canary::Bars;
use tollgate::domain::fingerprint::sha256_hex;
use tollgate::domain::refusal::Refusal;
use tollgate::domain::request::{Ask, Prompt};
use tollgate::engine::trial::{Mode, Trial};
use tollgate::engine::{Engine, Feedback, Inbound, Served};
use tollgate::policy::Snapshots;
use tollgate::state::Ledger as _;
use tollgate::telemetry::{Telemetry, clock};

use crate::harness::{self, House};

/// A cheap model and a dear one; the cheap one is good enough for everything, and nothing is tried out.
fn cheap() -> String {
    include_str!("../../benches/nothing_known.toml")
        .replace("prior_weight = 2\n", "prior_weight = 20\nexplore = \"off\"\n")
}

const GENERAL: &str = "stability/sd3.5-flash";
const SPECIALIST: &str = "ideogram/v1";

/// The same with a rule that takes what matches to the dear model.
fn dear(when: &str) -> String {
    format!("{}\n[[rule]]\nid = \"dear\"\nwhen = \"{when}\"\nonly = [\"{SPECIALIST}\"]\n", cheap())
}

/// The same for these callers.
fn with_keys(policy: &str, count: usize) -> String {
    (0..count).fold(policy.to_owned(), |mut text, at| {
        write!(text, "\n[[key]]\nname = \"team-{at}\"\nsha256 = \"{}\"\n", sha256_hex(secret(at).as_bytes())).unwrap();
        text
    })
}

fn secret(at: usize) -> String {
    format!("tg_of_team_{at}")
}

fn inbound(key: Option<usize>, prompt: &str) -> Inbound {
    harness::inbound(Ask::of(Prompt::new(prompt).unwrap()), key.map(secret))
}

fn canary(percent: u8) -> Mode {
    Mode::Canary { percent, bars: Bars { evidence: 12, ..Bars::default() } }
}

async fn agreements(house: &House) -> BTreeMap<&'static str, f64> {
    house.engine.idle().await;
    let mut counted = BTreeMap::new();
    for name in ["same", "other_model", "other_plan", "refused", "served"] {
        let series = format!("tollgate_policy_shadow_decisions_total{{agreement=\"{name}\"}}");
        counted.insert(name, house.metric(&series).await.unwrap());
    }
    counted.retain(|_, count| *count > 0.0);
    counted
}

async fn reload(house: &House) -> Value {
    crate::raw::Wire::connect(house.admin).await.request("POST", "/-/reload", &[], b"").await.json()
}

#[tokio::test]
async fn a_shadow_decides_every_request_and_buys_nothing() {
    let house = House::trying(&cheap(), &dear("task == 'typography'"), Mode::Shadow).await;
    let prompts =
        (0..4).map(|n| format!("a sign that says \"NORTH {n}\"")).chain((0..3).map(|n| format!("a fox, {n}")));
    let prompts: Vec<String> = prompts.collect();
    let served = join_all(prompts.iter().map(|prompt| house.engine.serve(inbound(None, prompt)))).await;
    let live = house.engine.snapshot().digest.clone();
    for one in &served {
        let one = one.as_ref().unwrap();
        assert_eq!((&*one.model, &one.policy), (GENERAL, &live), "the policy in force serves");
    }
    assert_eq!(agreements(&house).await, BTreeMap::from([("same", 3.0), ("other_model", 4.0)]));
    let delta = |direction: &str| format!("tollgate_policy_shadow_delta_usd_total{{direction=\"{direction}\"}}");
    assert_eq!(house.metric(&delta("dearer")).await, Some(0.14), "four times six cents for two and a half");
    assert_eq!(house.metric(&delta("cheaper")).await, Some(0.0));
    assert_eq!(house.bought().await, 7);

    let shown = house.ops("/policy").await.json()["trial"].clone();
    assert_eq!(
        (&shown["state"], &shown["mode"], &shown["stopped"]),
        (&json!("shadow"), &json!("shadow"), &Value::Null)
    );
    assert_ne!(shown["policy"], *live);
    assert_eq!(house.metric("tollgate_policy_trial_state{state=\"shadow\"}").await, Some(1.0));
    let series = format!("tollgate_policy_trial_info{{hash={},mode=\"shadow\"}}", shown["policy"]);
    assert_eq!(house.metric(&series).await, Some(1.0));
}

#[tokio::test]
async fn a_candidate_s_mistakes_are_told_and_change_nothing() {
    let house = House::trying(&cheap(), "version = 1\n[defaults]\nqualty = 3\n", Mode::Shadow).await;
    let shown = house.ops("/policy").await.json()["trial"].clone();
    assert_eq!((&shown["state"], &shown["policy"]), (&json!("broken"), &Value::Null));
    assert!(shown["last_reload"]["diagnostics"].as_str().unwrap().contains("did you mean `quality`"), "{shown}");
    house.engine.serve(inbound(None, "a fox")).await.unwrap();
    assert_eq!(agreements(&house).await, BTreeMap::new());
    assert_eq!(house.ops("/readyz").await.status, 200);

    // What cannot make it is refused in the shadow only.
    std::fs::write(house.candidate(), cheap() + "\n[[rule]]\nid = \"cap\"\nwhen = \"true\"\nmax_cost_usd = 0.001\n")
        .unwrap();
    let reloaded = reload(&house).await;
    assert_eq!((&reloaded["ok"], &reloaded["trial"]["ok"]), (&json!(true), &json!(true)), "{reloaded}");
    house.engine.serve(inbound(None, "a fox")).await.unwrap();
    assert_eq!(agreements(&house).await, BTreeMap::from([("refused", 1.0)]));

    // Once it is the policy in force, there is nothing to try.
    std::fs::write(house.candidate(), cheap()).unwrap();
    reload(&house).await;
    assert_eq!(house.ops("/policy").await.json()["trial"]["state"], "same");
    assert_eq!(house.metric("tollgate_policy_trial_state{state=\"same\"}").await, Some(1.0));
}

#[tokio::test]
async fn a_key_sees_one_policy_and_a_share_of_the_keys_the_candidate() {
    let house = House::trying(&with_keys(&cheap(), 1_000), &dear("true"), canary(5)).await;
    let live = house.engine.snapshot().digest.clone();
    let policy = |at: usize| house.engine.snapshot_for(Some(&secret(at))).digest.clone();
    let few: Vec<usize> = (0..1_000).filter(|at| policy(*at) != live).collect();
    println!("{} of 1,000 keys see the candidate", few.len());
    assert!((30..=70).contains(&few.len()), "{} of 1,000 at 5 %", few.len());

    let other = (0..1_000).find(|at| !few.contains(at)).unwrap();
    for (key, model) in [(few[0], SPECIALIST), (other, GENERAL), (few[0], SPECIALIST), (other, GENERAL)] {
        let served = house.engine.serve(inbound(Some(key), "a fox")).await.unwrap();
        assert_eq!((&*served.model, &served.policy), (model, &policy(key)));
        let record = house.ledger.show(&served.id).await.unwrap().unwrap();
        assert_eq!(record.opening.policy, policy(key), "the books name the policy that decided");
    }
    let auth = format!("Bearer {}", secret(few[0]));
    let headers = [("content-type", "application/json"), ("authorization", auth.as_str()), ("tollgate-policy", &*live)];
    let plan = house.wire().await.post("/plan", &headers, br#"{"prompt":"a fox"}"#).await.json();
    assert_eq!((&plan["policy"], &plan["candidates"][0]["model"]), (&json!(*policy(few[0])), &json!(SPECIALIST)));
    assert_eq!(agreements(&house).await, BTreeMap::from([("other_model", 4.0)]), "both decide every purchase");
    assert!((0..1_000).all(|at| (policy(at) != live) == few.contains(&at)));

    let unkeyed = House::trying(&cheap(), &dear("true"), canary(100)).await;
    assert_eq!(&*unkeyed.engine.serve(inbound(None, "a fox")).await.unwrap().model, GENERAL, "nobody is a few");
}

/// Twenty keys, half of them among the few, ask in turn until the candidate is stopped; at most so many rounds.
async fn until_stopped(
    house: &House,
    rounds: usize,
    mut tell: impl AsyncFnMut(usize, Result<Served, Refusal>),
) -> Value {
    for round in 0..rounds {
        let prompt = format!("a fox, {round}");
        let asked = (0..20).map(|key| house.engine.serve(inbound(Some(key), &prompt)));
        for (key, landed) in join_all(asked).await.into_iter().enumerate() {
            tell(key, landed).await;
        }
        let shown = house.ops("/policy").await.json()["trial"].clone();
        if shown["state"] == "stopped" {
            return shown;
        }
    }
    panic!("it went on: {}", house.ops("/policy").await.json()["trial"]);
}

#[tokio::test]
async fn a_candidate_that_fails_is_stopped_and_stays_stopped() {
    let house = House::trying(&with_keys(&cheap(), 20), &dear("true"), canary(50)).await;
    house.faults(&json!([{"provider": "ideogram", "status": 503}])).await;
    let live = house.engine.snapshot().digest.clone();
    let (mut failed, mut fine) = (0, 0);
    let shown = until_stopped(&house, 8, async |_, landed| match landed {
        Ok(served) => fine += u32::from(served.policy == live),
        Err(refusal) => {
            assert_eq!(refusal.code(), "providers_failed");
            failed += 1;
        }
    })
    .await;
    println!("stopped after {failed} failures: {shown}");
    assert_eq!(shown["stopped"]["why"], "errors");
    assert_eq!(
        (&shown["on_trial"]["failed"], &shown["in_force"]["failed"]),
        (&shown["on_trial"]["requests"], &json!(0))
    );
    assert!((12..=60).contains(&failed) && fine >= 12, "{failed} failed, {fine} did not");
    assert_eq!(house.metric("tollgate_policy_canary_stops_total{why=\"errors\"}").await, Some(1.0));
    assert_eq!(house.metric("tollgate_policy_trial_state{state=\"stopped\"}").await, Some(1.0));
    let counted = "tollgate_policy_canary_requests_total{outcome=\"failed\",policy=\"on_trial\"}";
    assert!(house.metric(counted).await >= Some(12.0));

    for landed in join_all((0..20).map(|key| house.engine.serve(inbound(Some(key), "a hare")))).await {
        assert_eq!(landed.unwrap().policy, live, "everybody is back with the policy in force");
    }
    reload(&house).await;
    assert_eq!(house.engine.trial().unwrap().state, "stopped", "the same files are the same policy");

    // Another gateway on the same books, or this one after a restart.
    let again = another(&house);
    assert_eq!(again.trial().unwrap().state, "canary");
    again.learn().await.unwrap();
    let standing = again.trial().unwrap();
    assert_eq!((standing.state, &*standing.stopped.unwrap().why), ("stopped", "errors"));

    std::fs::write(house.candidate(), dear("task == 'typography'")).unwrap();
    reload(&house).await;
    let standing = house.engine.trial().unwrap();
    assert_eq!((standing.state, standing.candidate.requests()), ("canary", (0, 0)), "another policy begins anew");
}

/// Another engine on the same books and policies.
fn another(house: &House) -> Engine {
    let telemetry = Telemetry::new(false).unwrap();
    let engine = house.another(Arc::clone(&telemetry));
    let settings = tollgate::policy::watch::Settings {
        origin: tollgate::policy::Origin::of(&[house.candidate()]),
        env: Arc::new(tollgate::policy::Process),
        overrides: house.overrides(),
        clock: Arc::new(clock::now),
        hook: Arc::new(()),
    };
    let snapshots = Snapshots::load_beside(settings, engine.snapshot());
    engine.trying(Trial::new(snapshots, canary(50), telemetry))
}

#[tokio::test]
async fn a_dearer_candidate_is_stopped() {
    let house = House::trying(&with_keys(&cheap(), 20), &dear("true"), canary(50)).await;
    let shown = until_stopped(&house, 4, async |_, landed| drop(landed.unwrap())).await;
    println!("{shown}");
    assert_eq!(shown["stopped"]["why"], "cost");
    assert_eq!((&shown["on_trial"]["each_usd"], &shown["on_trial"]["usual_usd"]), (&json!(0.06), &json!(0.025)));
    assert_eq!(shown["in_force"]["each_usd"], 0.025);
    assert_eq!(house.metric("tollgate_policy_canary_stops_total{why=\"cost\"}").await, Some(1.0));
    let each = "tollgate_policy_canary_cost_usd_total{policy=\"on_trial\"}";
    assert!(house.metric(each).await >= Some(0.72), "twelve at six cents");
}

#[tokio::test]
async fn a_candidate_that_people_reject_is_stopped() {
    let bars = Bars { evidence: 12, cost: 10.0, ..Bars::default() };
    let house = House::trying(&with_keys(&cheap(), 20), &dear("true"), Mode::Canary { percent: 50, bars }).await;
    let live = house.engine.snapshot().digest.clone();
    let mut asked = 0;
    let shown = until_stopped(&house, 12, async |key, landed| {
        let served = landed.unwrap();
        asked += 1;
        // Of the candidate's images one in five is accepted, of the others four.
        let accepted = (asked % 5 == 0) ^ (served.policy == live);
        let feedback = Feedback { accepted, rater: None, reason: None, image: 0 };
        house.engine.feedback(Some(&secret(key)), &served.id, feedback).await.unwrap();
    })
    .await;
    println!("{shown}");
    assert_eq!(shown["stopped"]["why"], "acceptance");
    let accepted = "tollgate_policy_canary_verdicts_total{policy=\"on_trial\",verdict=\"rejected\"}";
    assert!(house.metric(accepted).await >= Some(8.0));
}
