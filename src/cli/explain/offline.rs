//! A plan without a gateway: the policy, and the planner with its guesses in the place of measurements.
//!
//! Why it exists: a policy can be tried before it runs anywhere. It reads the body and writes the answer as the API
//! does, and plans with the planner's own function. What it refuses to know: breakers, limits at work, verdicts.

use std::path::Path;

use serde_json::Value;

use super::super::ask::Body;
use super::super::exit::Failure;
use super::super::house;
use super::super::policy;
use crate::domain::plan::explain::explain;
use crate::domain::plan::plan as planned;
use crate::server;

/// The answer of `/plan` by this policy alone.
pub(super) fn plan(body: &Body, path: Option<&Path>) -> Result<Value, Failure> {
    let snapshot = policy::read_all(&house::paths(path))?;
    let text = Value::Object(body.clone()).to_string();
    let (ask, warnings) =
        server::read_ask(text.as_bytes()).map_err(|refusal| Failure::usage(policy::refused(&refusal)))?;
    let request = snapshot
        .resolve(ask, "")
        .map_err(|wrong| Failure::usage(format!("{} (at {})", wrong.detail, wrong.pointer)))?;
    let view = snapshot.guess(request.task);
    let planned = planned(&request, &snapshot.catalog, &view, house::today());
    let explained = explain(&planned, &request, &snapshot.catalog, &view);
    let answer = server::plan_answer(&explained, &snapshot.digest, &warnings);
    serde_json::from_str(&answer).map_err(|why| Failure::usage(format!("the plan cannot be read: {why}")))
}
