use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::budget::{Budget, OnExhausted, Period, Scope};
use crate::domain::catalog::Place;
use crate::domain::fault::Billed;
use crate::domain::ledger::Basis;
use crate::server::wire::answer::tests::{attempt, read};
use crate::server::wire::plan::tests::explained;

fn doubtful() -> Attempt {
    let mut attempt = attempt();
    attempt.end(Billed::Unknown, Money::ZERO, Basis::PriceTable);
    (attempt.outcome, attempt.detail) = ("timed_out", "no headers within 60 s.".to_owned());
    attempt
}

fn released() -> Attempt {
    let mut attempt = attempt();
    attempt.end(Billed::No, Money::ZERO, Basis::PriceTable);
    (attempt.outcome, attempt.detail) = ("unavailable", "502 Bad Gateway".to_owned());
    attempt
}

fn full() -> Exhausted {
    let budget = Budget {
        name: "team".into(),
        cap: Money::from_micros(2_000_000),
        period: Period::Day,
        scope: Scope::default(),
        on_exhausted: OnExhausted::Refuse,
        place: Place { file: "p.toml".into(), line: 3, column: 8 },
    };
    let resets = "2026-11-23T00:00:00Z".parse().unwrap();
    Exhausted { budget: Arc::new(budget), left: Money::from_micros(30_000), resets: Some(resets) }
}

#[test]
fn a_spent_budget_says_what_is_left_and_when_it_resets() {
    let problem = Problem::from(Refusal::BudgetExhausted(full()));
    let body: serde_json::Value = serde_json::from_str(&problem.body("r1")).unwrap();
    let budget = serde_json::json!({"name": "team", "per": "day", "limit_usd": 2.0, "left_usd": 0.03,
        "resets_at": "2026-11-23T00:00:00Z", "at": "p.toml:3"});
    assert_eq!((&body["status"], &body["budget"]), (&402.into(), &budget));
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("$0.03 of $2.00 left") && detail.contains("2026-11-23T00:00:00Z"), "{detail}");
}

fn every() -> Vec<(Refusal, u16)> {
    let text = String::from;
    vec![
        (Refusal::BudgetExhausted(full()), 402),
        (Refusal::ContentRefused { detail: text("safety."), attempts: vec![released()] }, 422),
        (Refusal::DeadlineExceeded { outcome: Doubt::Ambiguous, attempts: vec![doubtful()] }, 504),
        (Refusal::DeadlineExceeded { outcome: Doubt::NotStarted, attempts: vec![] }, 504),
        (Refusal::Forbidden(text("This key may not read the policy.")), 403),
        (Refusal::IdempotencyKeyReused, 422),
        (Refusal::Internal, 500),
        (Refusal::InvalidRequest { pointer: text("/n"), detail: text("`n` is wrong") }, 400),
        (Refusal::LedgerUnavailable, 503),
        (Refusal::NoPlan(Arc::new(explained())), 422),
        (Refusal::NotFound(text("There is no such thing.")), 404),
        (Refusal::Overloaded, 503),
        (Refusal::ProvidersFailed(vec![released(), doubtful()]), 502),
        (Refusal::ProvidersFailed(vec![]), 502),
        (Refusal::QuotaExhausted { retry_after: Duration::from_millis(11_200) }, 503),
        (Refusal::QuotaExhausted { retry_after: Duration::from_hours(5) }, 503),
        (Refusal::SlowRequest, 408),
        (Refusal::TooLarge(16), 413),
        (Refusal::Unauthenticated(text("No key.")), 401),
        (Refusal::UnsupportedMediaType(text("Only JSON.")), 415),
    ]
}

#[test]
fn one_body_serves_both_families_of_readers() {
    for (refusal, status) in every() {
        let problem = Problem::from(refusal.clone());
        let answer = problem.answer(Readers::Native, "r1");
        assert_eq!(answer.status(), status, "{refusal:?}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body: serde_json::Value = serde_json::from_str(&read(answer.into_body())).unwrap();
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("urn:tollgate:problem:{}", refusal.code()));
        assert_eq!(body["instance"], "urn:tollgate:request:r1");
        assert_eq!(body["error"]["code"], refusal.code());
        assert_eq!(body["error"]["message"], body["detail"]);
        assert_eq!(body["detail"], problem.detail());
        for key in ["title", "detail"] {
            assert!(!body[key].as_str().unwrap().is_empty(), "{refusal:?}");
        }
        assert!(body["error"]["type"].is_string() && body["error"].get("param").is_some());
    }
}

#[test]
fn the_words_are_these() {
    let words: Vec<String> = every()
        .into_iter()
        .map(|(refusal, status)| format!("{status} {}: {}\n", refusal.code(), Problem::from(refusal).detail()))
        .collect();
    insta::assert_snapshot!(words.concat());
}

#[test]
fn waits_are_bounded_and_doubt_is_not_repeated() {
    let headers = |refusal: Refusal| Problem::from(refusal).answer(Readers::Native, "r1").headers().clone();
    let wait = |ms| headers(Refusal::QuotaExhausted { retry_after: Duration::from_millis(ms) })["retry-after"].clone();
    assert_eq!(wait(0), "1");
    assert_eq!(wait(11_200), "12");
    assert_eq!(wait(10_000_000), "120");
    let ambiguous = headers(Refusal::DeadlineExceeded { outcome: Doubt::Ambiguous, attempts: vec![doubtful()] });
    assert_eq!(ambiguous["x-should-retry"], "false");
    let clear = headers(Refusal::DeadlineExceeded { outcome: Doubt::NotStarted, attempts: vec![] });
    assert_eq!(clear.get("x-should-retry"), None);
    assert_eq!(headers(Refusal::ProvidersFailed(vec![doubtful()]))["x-should-retry"], "false");
    assert_eq!(headers(Refusal::ProvidersFailed(vec![released()])).get("x-should-retry"), None);
    assert_eq!(headers(Refusal::ProvidersFailed(vec![attempt()]))["tollgate-cost-usd"], "0.035");
}

#[test]
fn extensions_stand_where_they_are_promised() {
    let body = |refusal: Refusal| -> serde_json::Value {
        serde_json::from_str(&read(Problem::from(refusal).answer(Readers::Openai, "r1").into_body())).unwrap()
    };
    let late = body(Refusal::DeadlineExceeded { outcome: Doubt::Ambiguous, attempts: vec![doubtful()] });
    assert_eq!((&late["outcome"], &late["attempts"][0]["billed"]), (&"ambiguous".into(), &"unknown".into()));
    let none = body(Refusal::NoPlan(Arc::new(explained())));
    assert_eq!(none["candidates"][1]["reason"]["at"], "policies/default.toml:12");
    assert_eq!(body(Refusal::Overloaded).get("attempts"), None);
}

#[test]
fn a_known_path_with_another_method_says_which_it_takes() {
    let answer = Problem::method("/generate", "GET", "POST").answer(Readers::Native, "r1");
    assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &"POST".parse().unwrap()));
}
