//! A plan as the table shows it, from a gateway's answer or from the planner itself.
//!
//! Why it exists: one table for both. What it refuses to know: how it looks.

use serde::Deserialize;

use super::super::wire::Usd;

/// A whole plan.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Shown {
    /// Absent in a refusal.
    #[serde(default)]
    pub(super) task: Option<String>,
    #[serde(default)]
    pub(super) tier: Option<String>,
    #[serde(default)]
    pub(super) rule: Option<String>,
    #[serde(default)]
    pub(super) floor: Option<f64>,
    pub(super) candidates: Vec<Candidate>,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
}

/// One candidate.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Candidate {
    pub(super) chosen: bool,
    pub(super) steps: Vec<Step>,
    pub(super) expected: Expected,
    #[serde(default)]
    pub(super) verdicts: f64,
    /// How long it would wait for a limit.
    #[serde(default)]
    pub(super) wait_ms: u64,
    #[serde(default)]
    pub(super) reason: Option<Reason>,
}

/// What is expected of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Expected {
    pub(super) accept: f64,
    pub(super) accept_interval: (f64, f64),
    pub(super) cost_usd: Usd,
    pub(super) worst_cost_usd: Usd,
    pub(super) per_accepted_usd: Usd,
    pub(super) latency_ms: u64,
    pub(super) latency_p95_ms: u64,
}

/// Why it was not chosen.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Reason {
    pub(super) code: String,
    pub(super) text: String,
    /// `policies/default.toml:12`.
    #[serde(default)]
    pub(super) at: Option<String>,
}

/// One step.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Step {
    pub(super) op: String,
    #[serde(default)]
    pub(super) model: Option<String>,
    /// Absent for a check, which changes no pixels.
    #[serde(default)]
    pub(super) width: Option<u32>,
    #[serde(default)]
    pub(super) height: Option<u32>,
    /// Pictures made at once for each one asked.
    #[serde(default)]
    pub(super) drafts: Option<u8>,
    /// Who checks.
    #[serde(default)]
    pub(super) verifier: Option<String>,
    /// What is done instead of the rest when a picture fails its check.
    #[serde(default, rename = "else")]
    pub(super) otherwise: Vec<Step>,
}
