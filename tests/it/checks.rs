//! Plans with a check in them, and the second pass: each branch, and its money against the providers' own bill.
use serde_json::{Value, json};
use tollgate::domain::money::Money;
use tollgate::server::Bounds;

use crate::harness::{House, nobody};
use crate::raw::Wire;
use crate::scorer::scores;

pub(crate) const CHEAP: &str = "stability/sd3.5-medium";
pub(crate) const SPECIALIST: &str = "ideogram/v3-quality";

/// The shipped policy, in which signs are drawn by a cheap model or a specialist, and a look is dear. `verifier` stands
/// in place of the shipped ones.
pub(crate) fn signs(policy: &str, verifier: &str) -> String {
    let rule = format!(
        "[[rule]]\nid = \"signs\"\nwhen = \"task == 'typography'\"\nquality = 0.3\nonly = [\"{CHEAP}\", \"{SPECIALIST}\"]\n\
         review_cost_usd = 0.2\n\n"
    );
    let at = policy.find("[[rule]]").unwrap();
    let policy = format!("{}{rule}{}", &policy[..at], &policy[at..]);
    let (before, rest) = policy.split_once("[verifier.text]").unwrap();
    let after = &rest[rest.find("# ──").unwrap()..];
    let policy = format!("{before}{verifier}\n{after}");
    let medium = policy.find("[model.\"stability/sd3.5-medium\"]").unwrap();
    let (head, tail) = policy.split_at(medium);
    format!("{head}{}", tail.replacen("typography = 0.22", "typography = 0.55", 1))
}

const TEXT: &str = "[verifier.text]\nkind = \"text\"\nmost_wrong = 0.4\nlatency = { p50 = \"300ms\", p95 = \"2s\" }\n\
                    passes = { typography = { good = 0.90, bad = 0.05 } }\n";

pub(crate) fn scorer(port: u16) -> String {
    format!(
        "[verifier.scorer]\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}/score\"\nusd = 0.001\n\
         latency = {{ p50 = \"20ms\", p95 = \"200ms\" }}\npasses = {{ typography = {{ good = 0.90, bad = 0.05 }} }}\n"
    )
}

async fn house(verifier: &str) -> House {
    House::with(Bounds::default(), |policy| signs(&policy, verifier)).await
}

pub(crate) fn sign(seed: u32) -> Value {
    json!({"prompt": "a shop sign that says \"OPEN LATE\"", "size": "1024x1024", "seed": seed, "response_format": "url"})
}

/// The providers' own bill.
async fn bill(house: &House) -> Money {
    let calls = Wire::connect(house.sandbox.addr()).await.get("/_sandbox/calls", &[]).await.json();
    let micros = calls.as_array().unwrap().iter().map(|call| call["billed_micro_usd"].as_i64().unwrap()).sum();
    Money::from_micros(micros)
}

pub(crate) fn usd(value: &Value) -> Money {
    value.to_string().parse().unwrap()
}

/// What the answer charges is the sum of its attempts.
fn charged(body: &Value) -> Money {
    let attempts = body["cost"]["attempts"].as_array().unwrap();
    let sum: Money = attempts.iter().map(|attempt| usd(&attempt["usd"])).sum();
    assert_eq!(sum, usd(&body["cost"]["usd"]), "{body}");
    sum
}

fn check(body: &Value) -> &Value {
    let steps = body["plan"]["steps"].as_array().unwrap();
    steps.iter().find(|step| step["op"] == "verify").unwrap_or_else(|| panic!("no check in {body}"))
}

#[tokio::test]
async fn a_sign_goes_from_the_cheap_model_to_the_specialist_when_it_cannot_be_read() {
    let house = house(TEXT).await;
    let (mut passed, mut failed) = (0, 0);
    for seed in 1..=12 {
        let before = bill(&house).await;
        let answer = house.post("/generate", &sign(seed)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        assert_eq!(Money::from_micros(bill(&house).await.micros() - before.micros()), charged(&body), "seed {seed}");
        let check = check(&body);
        assert_eq!((&check["verifier"], &check["else"][0]["model"]), (&json!("text"), &json!(SPECIALIST)));
        let bought: Vec<_> = body["cost"]["attempts"].as_array().unwrap().iter().map(|a| a["model"].clone()).collect();
        if check["passed"] == 1 {
            passed += 1;
            assert_eq!((bought, &body["model"]), (vec![json!(CHEAP)], &json!(CHEAP)));
        } else {
            failed += 1;
            assert_eq!((bought, &body["model"]), (vec![json!(CHEAP), json!(SPECIALIST)], &json!(SPECIALIST)));
            let seen = check["seen"][0].as_str().unwrap();
            println!("seed {seed}: {seen}");
            assert!(seen.contains("\"OPEN LATE\" read as"), "{seen}");
        }
    }
    println!("{passed} passed, {failed} failed");
    assert!(passed > 0 && failed > 0, "{passed} passed, {failed} failed");
}

#[tokio::test]
async fn a_cap_below_the_branches_takes_the_cascade_away() {
    let house = house(TEXT).await;
    let mut ask = sign(1);
    ask["max_cost_usd"] = json!(0.1);
    let body = house.post("/plan", &ask).await.json();
    let cascades = body["candidates"].as_array().unwrap().iter();
    let reasons: Vec<_> =
        cascades.filter(|one| one["steps"][1]["op"] == "verify").map(|one| &one["reason"]["code"]).collect();
    assert!(!reasons.is_empty() && reasons.contains(&&json!("max_cost")), "{reasons:?}");
    let body = house.post("/generate", &ask).await.json();
    assert!(charged(&body) <= Money::from_micros(100_000));
    assert_eq!(charged(&body), bill(&house).await);
}

#[tokio::test]
async fn a_cascade_that_the_deadline_cuts_gives_what_it_has() {
    // No picture passes, and the specialist usually takes two seconds.
    let strict = TEXT.replace("most_wrong = 0.4", "most_wrong = 0.0");
    let house = House::with(Bounds::default(), |policy| {
        let policy = signs(&policy, &strict);
        let policy = policy
            .replace("latency = { p50 = \"300ms\", p95 = \"2s\" }", "latency = { p50 = \"100ms\", p95 = \"300ms\" }");
        let (head, tail) = policy.split_at(policy.find("[model.\"stability/sd3.5-medium\"]").unwrap());
        let policy = format!(
            "{head}{}",
            tail.replacen("{ p50 = \"5s\", p95 = \"9s\" }", "{ p50 = \"20ms\", p95 = \"50ms\" }", 1)
        );
        policy.replace("{ p50 = \"14s\", p95 = \"24s\" }", "{ p50 = \"2s\", p95 = \"2100ms\" }")
    })
    .await;
    house.faults(&json!([{"provider": "stability", "stall_ms": 2500, "at": "headers"}])).await;
    let mut ask = sign(3);
    ask["prompt"] = json!("a shop sign that says \"EXTRAORDINARY MARZIPAN CONFECTIONERY\"");
    ask["deadline_ms"] = json!(4000);
    let answer = house.post("/generate", &ask).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["model"], &check(&body)["failed"]), (&json!(CHEAP), &json!(1)), "{body}");
    let warning = body["warnings"][0].as_str().unwrap();
    assert!(warning.contains("did not pass their check, and the deadline leaves no time"), "{warning}");
    assert_eq!(charged(&body), bill(&house).await);
}

#[tokio::test]
async fn moderation_in_the_middle_ends_the_cascade_and_not_the_answer() {
    let house = house(&TEXT.replace("most_wrong = 0.4", "most_wrong = 0.0")).await;
    house.faults(&json!([{"provider": "ideogram", "status": 422}])).await;
    let mut ask = sign(3);
    ask["prompt"] = json!("a shop sign that says \"EXTRAORDINARY MARZIPAN CONFECTIONERY\"");
    let answer = house.post("/generate", &ask).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["model"], CHEAP);
    let warning = body["warnings"][0].as_str().unwrap();
    assert!(warning.contains("another try was refused by moderation"), "{warning}");
    let outcomes: Vec<_> = body["cost"]["attempts"].as_array().unwrap().iter().map(|a| a["outcome"].clone()).collect();
    assert_eq!(outcomes, ["ok", "moderated"]);
    assert_eq!(charged(&body), bill(&house).await);
}

#[tokio::test]
async fn a_scorer_that_is_down_passes_nothing_and_then_loses_its_plans() {
    let (_held, nobody) = nobody();
    let house = house(&scorer(nobody.port())).await;
    let answer = house.post("/generate", &sign(1)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["model"], SPECIALIST, "{body}");
    assert!(check(&body)["seen"][0].as_str().unwrap().starts_with("could not be judged"), "{body}");
    assert_eq!(charged(&body), bill(&house).await, "a look that was not had costs nothing");
    let mut seed = 2;
    let gone = loop {
        let plan = house.post("/plan", &sign(seed)).await.json();
        let candidates = plan["candidates"].as_array().unwrap().clone();
        if let Some(gone) = candidates.iter().find(|one| one["reason"]["code"] == "verifier_absent") {
            break gone.clone();
        }
        assert!(seed < 20, "the scorer is still believed in");
        assert_eq!(house.post("/generate", &sign(seed)).await.status, 200);
        seed += 1;
    };
    let text = gone["reason"]["text"].as_str().unwrap();
    assert!(text.contains("`scorer` is not there"), "{text}");
    let body = house.post("/generate", &sign(seed)).await.json();
    assert!(body["plan"]["steps"].as_array().unwrap().iter().all(|step| step["op"] != "verify"), "{body}");
}

#[tokio::test]
async fn a_paid_look_stands_in_the_books_beside_the_providers() {
    for (score, model) in [("0.91", CHEAP), ("0.12", SPECIALIST)] {
        let house = house(&scorer(scores(score).await.0)).await;
        let body = house.post("/generate", &sign(1)).await.json();
        assert_eq!(body["model"], model, "{body}");
        assert!(check(&body)["seen"][0].as_str().unwrap().starts_with(&format!("scored {score}")), "{body}");
        let look = Money::from_micros(1_000);
        assert_eq!(charged(&body), bill(&house).await + look);
        let attempts = body["cost"]["attempts"].as_array().unwrap();
        assert_eq!((&attempts[1]["provider"], &attempts[1]["model"]), (&json!("verifier"), &json!("verifier/scorer")));
    }
}

#[tokio::test]
async fn an_approved_draft_is_finished_large() {
    let house = House::open().await;
    let draft = json!({"prompt": "a lighthouse at dawn", "size": "512x512", "seed": 9, "n": 2, "quality": "draft"});
    let draft = house.post("/generate", &draft).await.json();
    let before = bill(&house).await;
    let path = format!("/generations/{}/upscale", draft["id"].as_str().unwrap());
    let answer = house.post(&path, &json!({"width": 2048, "height": 2048, "image": 1})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let image = &body["images"][0];
    assert_eq!((&image["width"], &image["height"], &image["seed"]), (&json!(2048), &json!(2048), &json!(10)));
    assert_eq!(body["plan"]["steps"][0]["op"], "upscale", "nothing is generated again: {body}");
    assert_eq!(body["model"], draft["model"]);
    assert_eq!(charged(&body).micros(), bill(&house).await.micros() - before.micros());
    assert!(charged(&body) < usd(&draft["cost"]["usd"]));
}

#[tokio::test]
async fn what_cannot_be_finished_says_why() {
    let house = House::open().await;
    let draft = json!({"prompt": "a lighthouse at dawn", "size": "512x512", "quality": "draft"});
    let draft = house.post("/generate", &draft).await.json();
    let path = format!("/generations/{}/upscale", draft["id"].as_str().unwrap());
    for (path, body, status, word) in [
        ("/generations/gen_nothing/upscale", json!({"width": 2048, "height": 2048}), 404, "no generation gen_nothing"),
        (&*path, json!({"width": 512, "height": 512}), 400, "is 512x512 already"),
        (&*path, json!({"width": 2048, "height": 2048, "image": 3}), 400, "counts from 0"),
        (&*path, json!({}), 400, "Say how large"),
        (&*path, json!({"width": 2048, "height": 2048, "quality": 0.999}), 422, "needs"),
    ] {
        let answer = house.post(path, &body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        if word != "needs" {
            assert!(answer.text().contains(word), "{}", answer.text());
        } else {
            assert!(answer.text().contains("the prompt was not kept"), "{}", answer.text());
        }
    }
    assert_eq!(house.post(&path, &json!({"width": 2048, "height": 2048})).await.json()["images"][0]["width"], 2048);
}
