//! EXPLAIN as JSON: the answer of `/plan`, and the candidates of a `no_plan`.
//!
//! Why it exists: both are one rendering of the planner's own result. What it refuses to know: why.

use super::super::payload::Payload;
use super::answer;
use super::json::Json;
use crate::domain::plan::explain::{Explained, Line};

/// The answer of `/plan`.
pub(in crate::server) fn plan(explained: &Explained, policy: &str, warnings: &[String]) -> Payload {
    Payload::of(text(explained, policy, warnings))
}

/// The same as text.
pub(in crate::server) fn text(explained: &Explained, policy: &str, warnings: &[String]) -> String {
    let mut json = Json::default();
    json.object(|json| {
        json.key("task").text(&explained.task);
        json.key("tier").text_or_null(explained.tier.as_deref());
        json.key("rule").text_or_null(explained.rule.as_deref());
        json.key("floor").number(explained.floor);
        candidates(json, explained);
        json.key("warnings").texts(warnings.iter().map(String::as_str));
        json.key("policy").text(policy);
    });
    json.finish()
}

/// The key `candidates`.
pub(in crate::server) fn candidates(json: &mut Json, explained: &Explained) {
    json.key("candidates").array(&explained.lines, |json, line| {
        json.object(|json| candidate(json, line));
    });
}

fn candidate(json: &mut Json, line: &Line) {
    json.key("chosen").raw(line.chosen);
    json.key("model").text(&line.model);
    answer::steps(json, &line.steps);
    json.key("expected").object(|json| {
        json.key("accept").number(line.accept);
        json.key("accept_interval").array([line.accept_interval.0, line.accept_interval.1], |json, bound| {
            json.number(bound);
        });
        json.key("cost_usd").usd(line.cost);
        json.key("worst_cost_usd").usd(line.worst_cost);
        json.key("per_accepted_usd").usd(line.per_accepted);
        json.key("latency_ms").millis(line.latency);
        json.key("latency_p95_ms").millis(line.latency_p95);
    });
    json.key("verdicts").number(line.verdicts);
    json.key("breaker").text(line.breaker);
    json.key("quota").text(line.quota);
    json.key("wait_ms").millis(line.wait);
    json.key("reason");
    match &line.reason {
        None => json.raw("null"),
        Some(why) => json.object(|json| {
            json.key("code").text(why.code);
            json.key("text").text(&why.text);
            json.key("at").text_or_null(why.place.as_ref().map(ToString::to_string).as_deref());
        }),
    };
}

#[cfg(test)]
pub(in crate::server) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::catalog::Place;
    use crate::domain::image::Size;
    use crate::domain::money::Money;
    use crate::domain::plan::explain::{StepLine, Why};

    pub(in crate::server) fn explained() -> Explained {
        let line = |chosen, model: &str, reason| Line {
            chosen,
            model: model.into(),
            steps: vec![StepLine {
                op: "generate",
                model: Some(model.into()),
                size: Size::new(1024, 1024),
                ..StepLine::default()
            }],
            accept: 0.71,
            accept_interval: (0.6, 0.8),
            verdicts: 12.0,
            cost: Money::from_micros(35_000),
            worst_cost: Money::from_micros(35_000),
            per_accepted: Money::from_micros(49_296),
            latency: Duration::from_millis(5200),
            latency_p95: Duration::from_secs(9),
            breaker: "closed",
            quota: "ok",
            wait: Duration::ZERO,
            reason,
        };
        let place = Some(Place { file: "policies/default.toml".into(), line: 12, column: 3 });
        Explained {
            task: "concept".into(),
            tier: Some("draft".into()),
            rule: None,
            floor: 0.6,
            lines: vec![
                line(true, "stability/sd3.5-medium", None),
                line(false, "openai/gpt-image-2", Some(Why { code: "floor", text: "too low".to_owned(), place })),
            ],
        }
    }

    #[test]
    fn every_candidate_says_its_numbers_and_why_not() {
        let text = answer::tests::read(plan(&explained(), "3f9c0a17be42", &[]));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let want = serde_json::json!({
            "task": "concept", "tier": "draft", "rule": null, "floor": 0.6,
            "candidates": [
                {"chosen": true, "model": "stability/sd3.5-medium",
                 "steps": [{"op": "generate", "model": "stability/sd3.5-medium", "width": 1024, "height": 1024}],
                 "expected": {"accept": 0.71, "accept_interval": [0.6, 0.8], "cost_usd": 0.035, "worst_cost_usd": 0.035,
                              "per_accepted_usd": 0.049_296, "latency_ms": 5200, "latency_p95_ms": 9000},
                 "verdicts": 12.0, "breaker": "closed", "quota": "ok", "wait_ms": 0, "reason": null},
                {"chosen": false, "model": "openai/gpt-image-2",
                 "steps": [{"op": "generate", "model": "openai/gpt-image-2", "width": 1024, "height": 1024}],
                 "expected": {"accept": 0.71, "accept_interval": [0.6, 0.8], "cost_usd": 0.035, "worst_cost_usd": 0.035,
                              "per_accepted_usd": 0.049_296, "latency_ms": 5200, "latency_p95_ms": 9000},
                 "verdicts": 12.0, "breaker": "closed", "quota": "ok", "wait_ms": 0,
                 "reason": {"code": "floor", "text": "too low", "at": "policies/default.toml:12"}}],
            "warnings": [], "policy": "3f9c0a17be42"});
        assert_eq!(json.to_string().replace("12.0", "12"), want.to_string().replace("12.0", "12"));
    }
}
