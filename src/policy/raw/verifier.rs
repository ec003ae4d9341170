//! Verifiers as written: what looks at a picture before a person does, and how far it is to be believed.
//!
//! Why it exists: see `raw.rs` for the rules of the house.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Latency, Named};

/// What looks at a bought picture before a person does. A plan may buy another picture when one fails.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Verifier {
    /// What it looks at.
    #[schemars(required)]
    pub(in crate::policy) kind: Option<VerifierKind>,
    /// Switches it off; the text says why.
    pub(in crate::policy) off: Option<At<String>>,
    /// Where a scorer listens, for `kind = "http"`: scheme, host and path; or "env:NAME", and it is off while NAME is
    /// not set.
    pub(in crate::policy) url: Option<At<String>>,
    /// Where the scorer's credential is, `env:NAME` or `file:PATH`; never the credential itself.
    pub(in crate::policy) key: Option<At<String>>,
    /// Whether it may see what must stay on the premises; `structure` and `text` always may.
    #[serde(default)]
    pub(in crate::policy) local: bool,
    /// The price of one look at one picture; nothing when left out.
    pub(in crate::policy) usd: Option<At<f64>>,
    /// For `kind = "text"`: the share of the asked characters, 0 to 1, that may be wrong; 0.2 when left out.
    pub(in crate::policy) most_wrong: Option<At<f64>>,
    /// For `kind = "http"`: the least score, 0 to 1, that passes; 0.5 when left out.
    pub(in crate::policy) least_score: Option<At<f64>>,
    /// How long a look takes, before anything was measured.
    #[schemars(required)]
    pub(in crate::policy) latency: Option<At<Latency>>,
    /// How it judges, for each task that it is used for.
    #[serde(default)]
    pub(in crate::policy) passes: Named<At<Passes>>,
    /// The same for the tasks that `passes` leaves out; without it, they are not checked.
    pub(in crate::policy) passes_default: Option<At<Passes>>,
}

/// What a verifier looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum VerifierKind {
    /// A scorer of yours: the picture in, a score out.
    Http,
    /// The picture as such: not blank, not blurred away, not another one again.
    Structure,
    /// The text that the prompt quotes, read back by tesseract.
    Text,
}

/// How a verifier judges, as measured on pictures that people judged too.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Passes {
    /// Share of the pictures that a person would accept which pass, 0 to 1.
    #[schemars(required)]
    pub(in crate::policy) good: Option<At<f64>>,
    /// Share of the others which pass all the same, 0 to 1.
    #[schemars(required)]
    pub(in crate::policy) bad: Option<At<f64>>,
}
