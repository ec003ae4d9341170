//! The pass-through as written: whether it is on, and what a provider's own calls cost.
//!
//! Why it exists: calls that are passed on have no plan, so the policy says by route what they buy; see `raw.rs` for the
//! rules of the house.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::At;

/// The native pass-through: vendors' own APIs, metered.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Proxy {
    /// Whether it runs; it needs a restart to begin, and none to end.
    #[schemars(required)]
    pub(in crate::policy) on: Option<At<bool>>,
    /// The longest silence of a provider, such as "5m"; ten minutes when left out.
    pub(in crate::policy) patience: Option<At<String>>,
}

/// A call of the provider's own API that may pass, and what it costs: `usd`, or the price of the model that it names.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Route {
    /// Method and path: "POST /v1/images/generations", "POST /v1/models/{model}:generate", "GET /v2beta/results/**".
    #[schemars(required)]
    pub(in crate::policy) call: Option<At<String>>,
    /// What it costs; 0 is free.
    pub(in crate::policy) usd: Option<At<f64>>,
    /// Where it names the model by the provider's own name: `path:model`, `json:/model`, `form:model=sd3.5-large` with
    /// what holds when it is left out; or that name itself.
    pub(in crate::policy) model: Option<At<String>>,
    /// Where it says how many images: `json:/n`.
    pub(in crate::policy) images: Option<At<String>>,
    /// Where it says the size in pixels: `json:/size`.
    pub(in crate::policy) size: Option<At<String>>,
    /// What else tells models of one name apart: an option of theirs, and where the call says it.
    #[serde(default)]
    pub(in crate::policy) tell: BTreeMap<String, At<String>>,
}
