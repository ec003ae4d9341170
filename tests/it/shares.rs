//! Caps on one payee's share of plans: looks at pictures, and the specialist behind them, however many ask at once.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures_util::future::{join, join_all};
use jiff::Timestamp;
use serde_json::{Value, json};
use tollgate::domain::money::Money;
use tollgate::server::Bounds;
use tollgate::state::{Ledger as _, SpendBy};

use crate::checks::{CHEAP, SPECIALIST, scorer, sign, signs, usd};
use crate::harness::House;
use crate::raw::{Answer, Wire};
use crate::scorer::scores;

const CALLERS: u32 = 24;

/// Signs are drawn by a cheap model, looked at by a scorer on `port`, and drawn again by a specialist; `cap` is the most
/// that `provider` may be paid.
async fn capped(port: u16, provider: &str, cap: &str) -> House {
    let budget = format!("\n[[budget]]\nname = \"share\"\nusd = {cap}\nper = \"ever\"\nprovider = \"{provider}\"\n");
    let limit = |line: &str| !line.starts_with("limits = ");
    let unlimited = |policy: String| policy.lines().filter(|line| limit(line)).collect::<Vec<_>>().join("\n");
    House::with(Bounds::default(), |policy| signs(&unlimited(policy), &scorer(port)) + &budget).await
}

/// Everyone at once, each for a picture of their own.
async fn storm(house: &House) -> Vec<Answer> {
    let asks: Vec<Value> = (1..=CALLERS).map(sign).collect();
    join_all(asks.iter().map(|ask| house.post("/generate", ask))).await
}

/// The providers' own bill: for how many calls each charged, and what.
async fn bill(house: &House) -> BTreeMap<String, (usize, Money)> {
    let calls = Wire::connect(house.sandbox.addr()).await.get("/_sandbox/calls", &[]).await.json();
    let mut bill = BTreeMap::new();
    for call in calls.as_array().unwrap() {
        let (count, sum) = bill.entry(call["provider"].as_str().unwrap().to_owned()).or_insert((0, Money::ZERO));
        *count += usize::from(call["billed_micro_usd"] != 0);
        *sum += Money::from_micros(call["billed_micro_usd"].as_i64().unwrap());
    }
    bill
}

/// Every caller has a picture, and the answers, the ledger and the bills say the same of the money.
async fn all_served_and_booked(house: &House, answers: &[Answer], looks: Money) {
    let mut charged = Money::ZERO;
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        charged += usd(&answer.json()["cost"]["usd"]);
    }
    let billed = bill(house).await.values().map(|(_, sum)| *sum).sum::<Money>() + looks;
    let rows = house.ledger.spend(SpendBy::Model, Timestamp::UNIX_EPOCH).await.unwrap();
    let settled: Money = rows.iter().map(|row| row.settled).sum();
    assert_eq!((charged, settled), (billed, billed));
}

/// Why the plan with the check in it is not chosen.
async fn reason(house: &House) -> Value {
    let plan = house.post("/plan", &sign(CALLERS + 1)).await.json();
    let candidates = plan["candidates"].as_array().unwrap();
    let checked = |one: &&Value| {
        let steps = one["steps"].as_array().unwrap();
        steps.iter().any(|step| step["op"] == "verify") && steps[0]["model"] == CHEAP
    };
    candidates.iter().find(checked).unwrap_or_else(|| panic!("no check in {plan}"))["reason"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_worth_five_looks_buys_five() {
    let (port, looks) = scores("0.91").await;
    let house = capped(port, "verifier", "0.005").await;
    let answers = storm(&house).await;
    assert_eq!(looks.load(Ordering::Relaxed), 5);
    all_served_and_booked(&house, &answers, Money::from_micros(5_000)).await;
    let reason = reason(&house).await;
    assert_eq!(reason["code"], "budget_exhausted", "{reason}");
    let text = reason["text"].as_str().unwrap();
    assert!(text.contains("may cost $0.001") && text.contains("the budget `share` has $0.00 left"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_worth_three_escalations_buys_three() {
    let (port, looks) = scores("0.12").await;
    let house = capped(port, "ideogram", "0.27").await;
    let answers = storm(&house).await;
    let bill = bill(&house).await;
    assert_eq!(bill["ideogram"], (3, Money::from_micros(270_000)), "{bill:?}");
    let escalated = answers.iter().filter(|answer| answer.json()["model"] == SPECIALIST).count();
    let looked = looks.load(Ordering::Relaxed);
    assert_eq!(escalated, 3);
    all_served_and_booked(&house, &answers, Money::from_micros(1_000).times(i64::try_from(looked).unwrap())).await;
    assert_eq!(reason(&house).await["code"], "budget_exhausted");
}

/// A vendor's own calls and plans of the gateway draw on one cap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_worth_five_pictures_holds_over_both_doors() {
    let house = capped(1, "stability", "0.15").await;
    let form = b"--B\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na fox\r\n--B--\r\n";
    let native = async |_: u32| {
        let path = "/stability/v2beta/stable-image/generate/core";
        let kind = ("content-type", "multipart/form-data; boundary=B");
        Wire::connect(house.native.address()).await.post(path, &[kind], form).await.status
    };
    let made = async |seed: u32| {
        let ask = json!({"prompt": "a fox", "model": "stability/core", "quality": 0.1, "seed": seed});
        house.post("/generate", &ask).await.status
    };
    let (natives, made) = join(join_all((1..=12).map(native)), join_all((1..=12).map(made))).await;
    let mut statuses: Vec<u16> = natives.into_iter().chain(made).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200; 5], vec![402; 19]].concat());
    assert_eq!(bill(&house).await["stability"], (5, Money::from_micros(150_000)));
}
