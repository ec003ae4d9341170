//! A plan as the table shows it, from a gateway's answer or from the planner itself.
//!
//! Why it exists: one table for both. What it refuses to know: how it looks.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::wire::Usd;
use crate::domain::catalog::Place;
use crate::domain::plan::explain::{Explained, Line, StepLine, Why};

/// A whole plan.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Shown {
    pub(super) task: String,
    #[serde(default)]
    pub(super) tier: Option<String>,
    #[serde(default)]
    pub(super) rule: Option<String>,
    #[serde(default)]
    pub(super) floor: f64,
    pub(super) candidates: Vec<Candidate>,
}

/// One candidate.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Candidate {
    pub(super) chosen: bool,
    pub(super) steps: Vec<Step>,
    pub(super) accept: f64,
    pub(super) accept_interval: (f64, f64),
    #[serde(default)]
    pub(super) verdicts: f64,
    pub(super) cost_usd: Usd,
    pub(super) worst_cost_usd: Usd,
    pub(super) cost_per_accepted_usd: Usd,
    pub(super) latency_ms: u64,
    pub(super) latency_p95_ms: u64,
    #[serde(default)]
    pub(super) reason: Option<Reason>,
}

/// Why it was not chosen.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Reason {
    pub(super) code: String,
    pub(super) text: String,
    /// `policies/default.toml:12`.
    #[serde(default, deserialize_with = "place")]
    pub(super) place: Option<String>,
}

/// One step.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Step {
    pub(super) op: String,
    #[serde(default)]
    pub(super) model: Option<String>,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// A place as text, or as an object of file and line.
fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        Value::Object(fields) => {
            let file = fields.get("file").and_then(Value::as_str);
            let line = fields.get("line").and_then(Value::as_u64);
            file.zip(line).map(|(file, line)| format!("{file}:{line}"))
        }
        _ => None,
    })
}

impl From<&Explained> for Shown {
    fn from(explained: &Explained) -> Self {
        Self {
            task: explained.task.to_string(),
            tier: explained.tier.as_deref().map(str::to_owned),
            rule: explained.rule.as_deref().map(str::to_owned),
            floor: explained.floor,
            candidates: explained.lines.iter().map(Candidate::from).collect(),
        }
    }
}

impl From<&Line> for Candidate {
    fn from(line: &Line) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            chosen: line.chosen,
            steps: line.steps.iter().map(Step::from).collect(),
            accept: line.accept,
            accept_interval: line.accept_interval,
            verdicts: line.verdicts,
            cost_usd: Usd(line.cost),
            worst_cost_usd: Usd(line.worst_cost),
            cost_per_accepted_usd: Usd(line.per_accepted),
            latency_ms: millis(line.latency),
            latency_p95_ms: millis(line.latency_p95),
            reason: line.reason.as_ref().map(Reason::from),
        }
    }
}

impl From<&StepLine> for Step {
    fn from(step: &StepLine) -> Self {
        let model = step.model.as_deref().map(str::to_owned);
        Self { op: step.op.to_owned(), model, width: step.size.width, height: step.size.height }
    }
}

impl From<&Why> for Reason {
    fn from(why: &Why) -> Self {
        Self { code: why.code.to_owned(), text: why.text.clone(), place: why.place.as_ref().map(Place::to_string) }
    }
}
