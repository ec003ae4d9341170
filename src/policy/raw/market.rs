//! Providers and models as written: what can be bought, from whom and at what price.
//!
//! Why it exists: the greater half of the language; see `raw.rs` for the rules of the house.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Day, Named, Route};

/// A host with an API and a key.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Provider {
    /// Its wire format; the provider's own name when left out.
    pub(in crate::policy) dialect: Option<At<String>>,
    /// Scheme, host and path prefix; or "env:NAME", and the provider is off while NAME is not set.
    pub(in crate::policy) base_url: Option<At<String>>,
    /// Where the credential is, `env:NAME` or `file:PATH`; never the credential itself.
    pub(in crate::policy) key: Option<At<String>>,
    /// Switches it off; the text says why.
    pub(in crate::policy) off: Option<At<String>>,
    /// Whether requests with `data_policy: on-prem` may use it.
    #[serde(default)]
    pub(in crate::policy) local: bool,
    /// Whether only requests with `data_policy: on-prem`, or that pin its models, may use it.
    #[serde(default)]
    pub(in crate::policy) only_on_prem: bool,
    /// What it allows.
    #[serde(default)]
    pub(in crate::policy) limits: Vec<At<Limit>>,
    /// Settings of its dialect.
    #[serde(default)]
    pub(in crate::policy) options: BTreeMap<String, serde_json::Value>,
    /// Calls of its own API that the pass-through lets by; every other is refused.
    #[serde(default)]
    pub(in crate::policy) route: Vec<At<Route>>,
}

/// A limit, counted as its provider counts.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Limit {
    /// Its name; the unit's when left out.
    pub(in crate::policy) name: Option<At<String>>,
    /// How many in each window, or at the same moment for `in_flight`.
    #[schemars(required)]
    pub(in crate::policy) units: Option<At<f64>>,
    /// What is counted.
    #[schemars(required)]
    pub(in crate::policy) unit: Option<LimitUnit>,
    /// The window, such as "10s"; none for `in_flight`.
    pub(in crate::policy) per: Option<At<String>>,
    /// How many at once; `units` when left out. One window sees at most `units + burst`.
    pub(in crate::policy) burst: Option<At<f64>>,
    /// Whether it denies, or only counts what it would deny; `enforce` when left out.
    pub(in crate::policy) mode: Option<LimitMode>,
    /// What holds while replicas cannot count together; `local` when left out.
    pub(in crate::policy) degrade: Option<Degrade>,
}

/// Whether a limit denies.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum LimitMode {
    /// It does.
    Enforce,
    /// It counts what it would have denied, and denies nothing.
    Shadow,
}

/// What holds of a limit while Redis is away.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum Degrade {
    /// Each replica has its share.
    Local,
    /// Nothing is counted.
    Open,
    /// Nothing is let through.
    Refuse,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum LimitUnit {
    /// Images made.
    Images,
    /// Calls that run at the same moment.
    InFlight,
    /// Millions of pixels made.
    Megapixels,
    /// Calls begun.
    Requests,
    /// Dollars, at the worst price of each call.
    Usd,
}

/// Something that can be bought: a generator (with `sizes` or `free`) or an upscaler (with `upscale`).
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Model {
    /// The provider's own name for it; the part after the slash when left out.
    pub(in crate::policy) remote: Option<At<String>>,
    /// Switches it off; the text says why.
    pub(in crate::policy) off: Option<At<String>>,
    /// The day from which its provider no longer serves it.
    pub(in crate::policy) retired: Option<At<Day>>,
    /// Sizes that it makes: "1024x1024", with the provider's words before it where it has them ("16:9 1344x768",
    /// "16:9 2K 2752x1536"), or the name of a list in `[sizes]`.
    pub(in crate::policy) sizes: Option<At<Vec<At<String>>>>,
    /// Bounds, for a model that makes any size within them.
    pub(in crate::policy) free: Option<At<Free>>,
    /// What it takes and gives, for a model that enlarges.
    pub(in crate::policy) upscale: Option<At<Upscale>>,
    /// Prices, oldest first; the newest that is not of the future holds.
    #[serde(default)]
    pub(in crate::policy) price: Vec<At<Price>>,
    /// Rates of a model that is billed by tokens; its prices are then what a picture is expected to cost.
    pub(in crate::policy) usd_per_million_tokens: Option<At<TokenRates>>,
    /// The greatest seed that it takes; it takes none when left out.
    pub(in crate::policy) max_seed: Option<At<u64>>,
    /// Whether it takes a negative prompt.
    #[serde(default)]
    pub(in crate::policy) negative_prompt: bool,
    /// The most images of one call; 1 when left out.
    pub(in crate::policy) max_images: Option<At<u8>>,
    /// The longest prompt in characters, where it takes fewer than 10,000.
    pub(in crate::policy) max_prompt_chars: Option<At<u32>>,
    /// Formats that it can send; png when left out.
    #[serde(default)]
    pub(in crate::policy) formats: Vec<Format>,
    /// How long it takes, before anything was measured.
    #[schemars(required)]
    pub(in crate::policy) latency: Option<At<Latency>>,
    /// How likely a person accepts its image at first look, 0 to 1, for each task, before any verdict.
    #[serde(default)]
    pub(in crate::policy) accept: Named<At<f64>>,
    /// The same for the tasks that `accept` leaves out.
    pub(in crate::policy) accept_default: Option<At<f64>>,
    /// Limits of this model alone, beyond its provider's.
    #[serde(default)]
    pub(in crate::policy) limits: Vec<At<Limit>>,
    /// Settings of the dialect for this model.
    #[serde(default)]
    pub(in crate::policy) options: BTreeMap<At<String>, At<serde_json::Value>>,
}

/// Any size within bounds.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Free {
    /// The shortest side in pixels.
    #[schemars(required)]
    pub(in crate::policy) min: Option<At<u32>>,
    /// The longest side in pixels.
    #[schemars(required)]
    pub(in crate::policy) max: Option<At<u32>>,
    /// Both sides are multiples of this.
    #[schemars(required)]
    pub(in crate::policy) step: Option<At<u32>>,
    /// The most pixels at which the model is at its best.
    #[schemars(required)]
    pub(in crate::policy) max_pixels: Option<At<u64>>,
    /// The greatest ratio of the longer to the shorter side.
    #[schemars(required)]
    pub(in crate::policy) max_ratio: Option<At<f64>>,
}

/// What an upscaler takes and gives. Exactly one of `factor`, `to_pixels` and `up_to` says what comes out.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Upscale {
    /// Each side times this.
    pub(in crate::policy) factor: Option<At<f64>>,
    /// The ratio of the input at this many pixels.
    pub(in crate::policy) to_pixels: Option<At<u64>>,
    /// Any size asked, each side at most this many times the input's.
    pub(in crate::policy) up_to: Option<At<f64>>,
    /// The least pixels of the input.
    pub(in crate::policy) min_input_pixels: Option<At<u64>>,
    /// The most pixels of the input.
    pub(in crate::policy) max_input_pixels: Option<At<u64>>,
    /// The longest side of the input.
    pub(in crate::policy) max_input_side: Option<At<u32>>,
    /// The most pixels of the output.
    pub(in crate::policy) max_output_pixels: Option<At<u64>>,
    /// Whether it needs the prompt again.
    #[serde(default)]
    pub(in crate::policy) needs_prompt: bool,
    /// How likely, 0 to 1, an accepted draft is still accepted at twice its side.
    #[schemars(required)]
    pub(in crate::policy) keeps: Option<At<f64>>,
}

/// A dated price.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Price {
    /// The first day on which it holds.
    #[schemars(required)]
    pub(in crate::policy) from: Option<At<Day>>,
    /// The price of one unit in dollars, to a millionth.
    #[schemars(required)]
    pub(in crate::policy) usd: Option<At<f64>>,
    /// What it is for; one image when left out.
    pub(in crate::policy) per: Option<At<Per>>,
    /// Only for this size.
    pub(in crate::policy) size: Option<At<String>>,
    /// Only up to this many pixels.
    pub(in crate::policy) max_pixels: Option<At<u64>>,
    /// With `per = "megapixel"`: the price of each further million pixels; `usd` when left out.
    pub(in crate::policy) extra_usd: Option<At<f64>>,
}

/// What a price is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum Per {
    /// One image.
    #[default]
    Image,
    /// A million pixels, begun.
    Megapixel,
    /// A second of the model's own time.
    Second,
}

/// Dollars a million tokens.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct TokenRates {
    /// Text of the prompt.
    pub(in crate::policy) text_in: Option<At<f64>>,
    /// Pictures sent.
    pub(in crate::policy) image_in: Option<At<f64>>,
    /// Text and thoughts made.
    pub(in crate::policy) text_out: Option<At<f64>>,
    /// Pictures made.
    pub(in crate::policy) image_out: Option<At<f64>>,
}

/// A picture format.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::policy) enum Format {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
}

/// How long a call takes.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::policy) struct Latency {
    /// Half of the calls are faster, such as "5s".
    #[schemars(required)]
    pub(in crate::policy) p50: Option<At<String>>,
    /// Nineteen of twenty calls are faster.
    #[schemars(required)]
    pub(in crate::policy) p95: Option<At<String>>,
}
