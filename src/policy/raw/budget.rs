//! Caps on money, as written.
//!
//! Why it exists: see `raw.rs`. What it refuses to know: what was spent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Named};

/// A hard cap on what matching requests may spend; what is in doubt and what is under way count like what is spent.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Budget {
    /// Its name in answers and metrics.
    #[schemars(required)]
    pub(in crate::policy) name: Option<At<String>>,
    /// The most that may be spent.
    #[schemars(required)]
    pub(in crate::policy) usd: Option<At<f64>>,
    /// When it begins anew, in UTC.
    #[schemars(required)]
    pub(in crate::policy) per: Option<Period>,
    /// Only requests of this key; "*" gives each key this budget for itself.
    pub(in crate::policy) key: Option<At<String>>,
    /// Only requests with this pair in their metadata, such as { project = "spring" }.
    #[serde(default)]
    pub(in crate::policy) metadata: Named<At<String>>,
    /// Only requests of this task.
    pub(in crate::policy) task: Option<At<String>>,
    /// Only calls to this provider; `verifier` counts paid looks at pictures.
    pub(in crate::policy) provider: Option<At<String>>,
    /// What happens to a request that does not fit; refused when left out.
    pub(in crate::policy) on_exhausted: Option<OnExhausted>,
}

/// When a budget begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum Period {
    /// At midnight.
    Day,
    /// At the first midnight of a month.
    Month,
    /// Never.
    Ever,
}

/// What happens to a request that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum OnExhausted {
    /// It is refused.
    Refuse,
    /// The cheapest plan above its tier's own floor is bought, if that fits.
    Downgrade,
}
