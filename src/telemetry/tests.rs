use super::*;
use crate::domain::fault::Billed;
use crate::domain::ledger::{Attempt, Basis};

/// A receipt with a failed and a paid attempt.
pub(super) fn bought() -> Receipt {
    let mut failed = Attempt::held(0, "openai".into(), "openai/gpt-image-2".into(), Money::from_micros(53_000));
    failed.end(Billed::No, Money::ZERO, Basis::PriceTable);
    failed.outcome = "unavailable";
    failed.detail = "502 \u{1b}[31mBad Gateway".to_owned();
    failed.latency = Duration::from_millis(12);
    let mut paid = Attempt::held(1, "stability".into(), "stability/sd3.5-medium".into(), Money::from_micros(35_000));
    paid.end(Billed::Yes, Money::from_micros(35_000), Basis::PriceTable);
    paid.outcome = "ok";
    paid.latency = Duration::from_millis(5104);
    Receipt {
        request_id: "r1".into(),
        generation: Some("gen_1".into()),
        key: "-".into(),
        task: "concept".into(),
        model: "stability/sd3.5-medium".into(),
        rule: Some("drafts".into()),
        policy: "3f9c0a17be42".into(),
        outcome: Outcome::Fresh,
        cost: Money::from_micros(35_000),
        ambiguous: Money::ZERO,
        avoided: Money::ZERO,
        attempts: vec![failed, paid],
        images: vec![("png", 1000)],
        total: Duration::from_millis(5123),
        provider: Duration::from_millis(5116),
        stages: vec![("plan", Duration::from_micros(40))],
        prompt: "a red fox\u{1b}[2J\u{202e}\n".into(),
    }
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
}

#[test]
fn a_receipt_counts_attempts_images_and_exact_money() {
    let telemetry = Telemetry::new(false).unwrap();
    for _ in 0..3 {
        telemetry.receipt(&bought());
    }
    let text = telemetry.render();
    has(
        &text,
        r#"tollgate_cost_usd_total{basis="price_table",model="stability/sd3.5-medium",provider="stability"} 0.105"#,
    );
    has(
        &text,
        r#"tollgate_provider_attempts_total{model="openai/gpt-image-2",outcome="unavailable",provider="openai"} 3"#,
    );
    has(
        &text,
        r#"tollgate_provider_attempts_total{model="stability/sd3.5-medium",outcome="ok",provider="stability"} 3"#,
    );
    has(&text, r#"tollgate_images_total{format="png",model="stability/sd3.5-medium",provider="stability"} 3"#);
    has(&text, r#"tollgate_image_bytes_total{direction="out"} 3000"#);
    has(&text, r#"tollgate_policy_decisions_total{result="planned",rule="drafts"} 3"#);
    has(&text, r#"tollgate_overhead_seconds_count{stage="plan"} 3"#);
    has(&text, r#"tollgate_overhead_seconds_bucket{stage="total",le="0.01"} 3"#);
}

#[test]
fn what_was_shared_is_avoided_and_not_spent() {
    let telemetry = Telemetry::new(false).unwrap();
    let joined = Receipt {
        outcome: Outcome::Joined,
        cost: Money::ZERO,
        avoided: Money::from_micros(35_000),
        attempts: Vec::new(),
        ..bought()
    };
    telemetry.receipt(&joined);
    let text = telemetry.render();
    has(&text, r#"tollgate_cost_avoided_usd_total{why="coalesced"} 0.035"#);
    assert!(!text.contains(
        r#"tollgate_cost_usd_total{basis="price_table",model="stability/sd3.5-medium",provider="stability"} 0.035"#
    ));
}

#[test]
fn configured_models_begin_at_zero() {
    let telemetry = Telemetry::new(false).unwrap();
    telemetry.expect([("stability", "stability/sd3.5-medium")]);
    telemetry.policy_in_force("3f9c0a17be42");
    let text = telemetry.render();
    has(
        &text,
        r#"tollgate_provider_attempts_total{model="stability/sd3.5-medium",outcome="timed_out",provider="stability"} 0"#,
    );
    has(&text, r#"tollgate_retries_total{provider="stability",result="no_budget"} 0"#);
    has(&text, r#"tollgate_policy_info{hash="3f9c0a17be42"} 1"#);
    has(&text, r#"tollgate_shed_total{reason="overloaded"} 0"#);
}

#[test]
fn only_one_policy_is_in_force() {
    let telemetry = Telemetry::new(false).unwrap();
    telemetry.policy_in_force("aaaa");
    telemetry.policy_reload(true, "bbbb");
    telemetry.policy_reload(false, "bbbb");
    let text = telemetry.render();
    assert!(!text.contains("aaaa"), "{text}");
    has(&text, r#"tollgate_policy_info{hash="bbbb"} 1"#);
    has(&text, r#"tollgate_policy_reloads_total{result="failed"} 1"#);
    has(&text, "tollgate_policy_last_reload_success 0");
}

#[test]
fn names_beyond_the_cap_become_other() {
    let telemetry = Telemetry::new(false).unwrap();
    for at in 0..NAMES + 3 {
        telemetry.quota("stability", &format!("limit{at}"), "denied");
    }
    let text = telemetry.render();
    has(&text, r#"tollgate_quota_decisions_total{provider="stability",result="denied",window="other"} 3"#);
    has(&text, r#"tollgate_metric_label_overflow_total{label="window"} 3"#);
}

#[test]
fn a_request_is_in_flight_until_its_guard_drops() {
    let telemetry = Telemetry::new(false).unwrap();
    let guard = telemetry.in_flight("generate");
    has(&telemetry.render(), r#"tollgate_requests_in_flight{route="generate"} 1"#);
    drop(guard);
    has(&telemetry.render(), r#"tollgate_requests_in_flight{route="generate"} 0"#);
}

#[test]
fn an_exchange_is_counted_by_code_and_outcome() {
    let telemetry = Telemetry::new(false).unwrap();
    let duration = Duration::from_millis(3);
    telemetry.http(&Exchange { route: "generate", method: "POST", status: 422, outcome: "no_plan", duration });
    let text = telemetry.render();
    has(&text, r#"tollgate_http_requests_total{code="422",method="POST",route="generate"} 1"#);
    has(&text, r#"tollgate_request_duration_seconds_bucket{outcome="no_plan",route="generate",le="0.005"} 1"#);
}

#[test]
fn a_breaker_is_in_one_state() {
    let telemetry = Telemetry::new(false).unwrap();
    telemetry.breaker("google", "closed");
    telemetry.breaker("google", "open");
    let text = telemetry.render();
    has(&text, r#"tollgate_provider_circuit_state{provider="google",state="closed"} 0"#);
    has(&text, r#"tollgate_provider_circuit_state{provider="google",state="open"} 1"#);
}
