//! The world as the policy alone knows it.
//!
//! Why it exists: a plan without a gateway, a replay and a note of what differed all start from the same guesses. What it
//! refuses to know: what was measured since.

use super::snapshot::Snapshot;
use crate::domain::catalog::{Model, TaskIx};
use crate::domain::plan::{Gate, ModelView, View};
use crate::domain::quality::{Posterior, Prior};

/// For upscalers, whose own acceptance the planner does not ask for.
const NO_PRIOR: Prior = Prior { mean: 0.5, weight: 2.0 };

impl Snapshot {
    /// The world as the policy alone guesses it, for a request of this task: everything conducts, latencies and
    /// acceptance are as written.
    pub fn guess(&self, task: TaskIx) -> View {
        let model = |model: &Model| ModelView {
            gate: Gate::Open,
            latency: model.latency,
            accept: Posterior::new(model.priors.get(usize::from(task.0)).copied().unwrap_or(NO_PRIOR), 0.0, 0.0),
        };
        View { models: self.catalog.models.iter().map(model).collect(), ..View::default() }
    }
}
