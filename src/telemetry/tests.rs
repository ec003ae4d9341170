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
        shape: Some("single"),
        reasons: vec![("chosen", 1), ("floor", 7)],
        attempts: vec![failed, paid],
        images: vec![("png", 1000)],
        total: Duration::from_millis(5123),
        provider: Duration::from_millis(5116),
        stages: vec![("policy", Duration::from_micros(40))],
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
    has(&text, r#"tollgate_plans_total{shape="single",task="concept"} 3"#);
    has(&text, r#"tollgate_plan_candidates_total{reason="floor"} 21"#);
    has(&text, r#"tollgate_overhead_seconds_count{stage="policy"} 3"#);
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
fn names_beyond_the_cap_and_words_of_no_set_become_other() {
    let telemetry = Telemetry::new(false).unwrap();
    let most = Metric::QuotaDecisions.spec().labels.iter().find(|label| label.name == "window").unwrap().values;
    let Values::Named(most) = most else { panic!("{most:?}") };
    for at in 0..most + 3 {
        telemetry.quota("stability", &format!("limit{at}"), "denied");
    }
    telemetry.shed("a word that nobody knows");
    let text = telemetry.render();
    has(&text, r#"tollgate_quota_decisions_total{provider="stability",result="denied",window="other"} 3"#);
    has(&text, r#"tollgate_metric_label_overflow_total{label="window",metric="tollgate_quota_decisions_total"} 3"#);
    has(&text, r#"tollgate_shed_total{reason="other"} 1"#);
    has(&text, r#"tollgate_metric_label_overflow_total{label="reason",metric="tollgate_shed_total"} 1"#);
}

#[test]
fn every_series_of_closed_sets_begins_at_zero() {
    let telemetry = Telemetry::new(false).unwrap();
    telemetry.expect([("stability", "stability/core")]);
    telemetry.expect_policy(["drafts"], ["concept"]);
    let text = telemetry.render();
    for metric in Metric::ALL {
        let spec = metric.spec();
        let given = ["provider", "model", "rule", "task"];
        let named = spec.labels.iter().filter(|label| matches!(label.values, Values::Named(_)));
        let known = named.clone().all(|label| given.contains(&label.name));
        let together = !named.clone().any(|label| label.name == "task") || named.count() == 1;
        if spec.kind != Kind::Gauge && known && together {
            let suffix = if spec.kind == Kind::Counter { "" } else { "_count" };
            let begins = format!("{}{suffix}", spec.name);
            let of_this = |line: &&str| line.strip_prefix(&begins).is_some_and(|rest| rest.starts_with(['{', ' ']));
            let wanted: usize = spec
                .labels
                .iter()
                .map(|label| match label.values {
                    Values::Closed(set) => set.len(),
                    Values::Named(_) => 1,
                })
                .product();
            let series = text.lines().filter(of_this).count();
            // The model's own series bring a few that stand for odd words; rules begin with `none` too.
            assert!(series >= wanted, "{metric:?}: {series} of {wanted}");
        }
    }
    has(&text, r#"tollgate_plans_total{shape="upscaled",task="concept"} 0"#);
    has(&text, r#"tollgate_policy_decisions_total{result="no_plan",rule="none"} 0"#);
}

#[test]
fn shares_are_shown_as_shares_and_states_exclude_each_other() {
    let telemetry = Telemetry::new(false).unwrap();
    telemetry.pressure("requests", 1, 4);
    telemetry.quota_mode("shared");
    telemetry.quota_mode("local");
    telemetry.shadow("other_model", Money::from_micros(-20_000));
    telemetry.quality_score("stability", "stability/core", "verifier", 0.83);
    let prior = crate::domain::quality::Prior { mean: 0.75, weight: 8.0 };
    let belief = crate::domain::quality::Posterior::new(prior, 9.0, 3.0);
    telemetry.acceptance("stability/core", "concept", belief);
    let text = telemetry.render();
    has(&text, r#"tollgate_pressure_ratio{monitor="requests"} 0.25"#);
    has(&text, r#"tollgate_quota_mode{mode="shared"} 0"#);
    has(&text, r#"tollgate_quota_mode{mode="local"} 1"#);
    has(&text, r#"tollgate_policy_shadow_delta_usd_total{direction="cheaper"} 0.02"#);
    has(
        &text,
        r#"tollgate_quality_score_ratio_bucket{check="verifier",model="stability/core",provider="stability",le="0.85"} 1"#,
    );
    has(&text, r#"tollgate_acceptance_ratio{bound="mean",model="stability/core",task="concept"} 0.75"#);
    has(&text, r#"tollgate_acceptance_verdicts{model="stability/core",task="concept"} 12"#);
}

#[test]
fn the_process_accounts_for_itself() {
    let text = Telemetry::new(false).unwrap().render();
    let of = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(of("tollgate_process_resident_bytes ") > 1e6);
    assert!(of("tollgate_process_open_files ") >= 3.0);
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
