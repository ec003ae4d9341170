//! The world as the policy alone knows it.
//!
//! Why it exists: a plan without a gateway, a replay and a note of what differed all start from the same guesses. What it
//! refuses to know: what was measured since.

use std::sync::Arc;

use serde_json::Value;

use super::snapshot::Snapshot;
use crate::domain::catalog::{Catalog, Model, TaskIx};
use crate::domain::plan::{Gate, ModelView, View};
use crate::domain::quality::{Posterior, Prior};
use crate::domain::verify::Verifier;

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

/// Providers and verifiers that are off although the policy does not say so: they lack an address or a credential.
pub(super) fn lacking(meaning: &Value, catalog: &Catalog) -> Vec<Arc<str>> {
    let switched_off = |kind: &str, name: &str| {
        let rows = meaning.get(kind).and_then(Value::as_array).into_iter().flatten();
        let row = rows.filter(|row| row.get(0).and_then(Value::as_str) == Some(name)).find_map(|row| row.get(1));
        row.is_some_and(|row| row.get("off").is_some_and(|off| !off.is_null()))
    };
    let providers = catalog.providers.iter().filter(|one| one.off.is_some() && !switched_off("provider", &one.name));
    let silent = |one: &&Verifier| one.rates.iter().all(Option::is_none) && !switched_off("verifier", &one.name);
    let verifiers = catalog.verifiers.iter().filter(silent);
    providers.map(|one| one.name.clone()).chain(verifiers.map(|one| one.name.clone())).collect()
}
