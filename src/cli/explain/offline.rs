//! A plan without a gateway: the policy, and the planner with its guesses in the place of measurements.
//!
//! Why it exists: a policy can be tried before it runs anywhere. It reads the body and writes the answer as the API
//! does, and plans with the planner's own function. What it refuses to know: breakers, limits at work, verdicts.

use std::path::Path;

use serde_json::Value;

use super::super::ask::Body;
use super::super::exit::Failure;
use super::super::house;
use crate::domain::plan::explain::explain;
use crate::domain::plan::{Gate, ModelView, View, plan as planned};
use crate::domain::quality::{Posterior, Prior};
use crate::domain::refusal::Refusal;
use crate::domain::request::GenerationRequest;
use crate::policy::{self, Overrides, Process, Severity, Snapshot};
use crate::server;

/// For upscalers, whose own acceptance the planner does not ask for.
const NO_PRIOR: Prior = Prior { mean: 0.5, weight: 2.0 };

/// The answer of `/plan` by this policy alone.
pub(super) fn plan(body: &Body, path: Option<&Path>) -> Result<Value, Failure> {
    let snapshot = snapshot(path)?;
    let text = Value::Object(body.clone()).to_string();
    let (ask, warnings) = server::read_ask(text.as_bytes()).map_err(|refusal| wrong(&refusal))?;
    let request = snapshot
        .resolve(ask, "")
        .map_err(|wrong| Failure::usage(format!("{} (at {})", wrong.detail, wrong.pointer)))?;
    let view = view(&snapshot, &request);
    let planned = planned(&request, &snapshot.catalog, &view, house::today());
    let explained = explain(&planned, &request, &snapshot.catalog, &view);
    let answer = server::plan_answer(&explained, &snapshot.digest, &warnings);
    serde_json::from_str(&answer).map_err(|why| Failure::usage(format!("the plan cannot be read: {why}")))
}

fn wrong(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::InvalidRequest { pointer, detail } => Failure::usage(format!("{detail} (at {pointer})")),
        other => Failure::usage(other.code()),
    }
}

fn snapshot(path: Option<&Path>) -> Result<Snapshot, Failure> {
    let report = policy::check(&house::paths(path), &Process, &Overrides::default(), house::today());
    report.snapshot.ok_or_else(|| {
        let errors = report.diagnostics.iter().filter(|one| one.severity == Severity::Error);
        let text: Vec<_> = errors.map(|one| one.render(false)).collect();
        Failure::usage(format!("the policy has mistakes\n\n{}", text.join("\n\n")))
    })
}

/// The world as the policy guesses it: everything conducts, latencies and acceptance are as written.
fn view(snapshot: &Snapshot, request: &GenerationRequest) -> View {
    let task = usize::from(request.task.0);
    let model = |model: &crate::domain::catalog::Model| ModelView {
        gate: Gate::Open,
        latency: model.latency,
        accept: Posterior::new(model.priors.get(task).copied().unwrap_or(NO_PRIOR), 0.0, 0.0),
    };
    View { models: snapshot.catalog.models.iter().map(model).collect(), ..View::default() }
}
