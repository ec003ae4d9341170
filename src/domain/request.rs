//! What a caller asks, valid by construction.
//!
//! Why it exists: past this type nothing checks a range again. [`Ask`] is the body as written, each field in its range;
//! [`GenerationRequest`] is the ask with the policy's task, floor and caps filled in. What it refuses to know: JSON.
//! To add a field: here, in `server/wire/ask.rs` that parses it, and in `domain/fingerprint.rs` if it shapes the image.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::catalog::{ModelIx, TaskIx};
use super::image::{Format, Size};
use super::money::Money;
use super::plan::Approved;
use super::rule::Terms;

/// The longest prompt, in characters.
pub const MAX_PROMPT_CHARS: usize = 10_000;
/// The shortest side, in pixels.
pub const MIN_SIDE: u32 = 64;
/// The longest side, in pixels.
pub const MAX_SIDE: u32 = 4096;
/// The most images one request may ask for.
pub const MAX_IMAGES: u8 = 8;
/// The largest seed: what every provider's range has room for after mapping.
pub const MAX_SEED: u32 = 4_294_967_294;
/// The most metadata pairs.
pub const MAX_METADATA: usize = 16;

/// One to ten thousand characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prompt(Arc<str>);

impl Prompt {
    /// `None` when empty or too long.
    pub fn new(text: impl Into<Arc<str>>) -> Option<Self> {
        let text = text.into();
        let fits = !text.is_empty() && (text.len() <= MAX_PROMPT_CHARS || text.chars().count() <= MAX_PROMPT_CHARS);
        fits.then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How good the image must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Quality {
    /// The least probability, 0 to 1, that a person accepts the image at first look.
    AtLeast(f64),
    /// A tier of the policy.
    Tier(String),
}

/// Which model may make it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModelChoice {
    /// The planner's choice.
    #[default]
    Auto,
    /// This model id and no other.
    Pinned(String),
}

/// Where the prompt may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DataPolicy {
    /// Anywhere.
    #[default]
    Any,
    /// Only to providers that the policy marks local.
    OnPrem,
}

/// Whether the image must have exactly the asked pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fit {
    /// Resized or centre-cropped here to the asked size, and declared.
    #[default]
    Exact,
    /// As the model made it, at the nearest ratio.
    Nearest,
}

/// How the answer carries the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResponseFormat {
    /// In the JSON.
    #[default]
    B64Json,
    /// As a link to the gateway's own `/images`.
    Url,
}

/// A request body, each field in its range, before the policy has spoken.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// What to draw.
    pub prompt: Prompt,
    /// Asked pixels; sides from [`MIN_SIDE`] to [`MAX_SIDE`].
    pub size: Size,
    /// 1 to [`MAX_IMAGES`] different images.
    pub n: u8,
    /// 0 is a seed like any other.
    pub seed: Option<u32>,
    /// What not to draw.
    pub negative_prompt: Option<Arc<str>>,
    /// A task by name; classified from the prompt when absent.
    pub task: Option<String>,
    /// The policy's default when absent.
    pub quality: Option<Quality>,
    /// The most that all images of this request together may cost.
    pub max_cost: Option<Money>,
    /// From the request's arrival to its answer.
    pub deadline: Option<Duration>,
    /// Which model.
    pub model: ModelChoice,
    /// Where the prompt may go.
    pub data_policy: DataPolicy,
    /// Exactly the asked pixels, or nearly.
    pub fit: Fit,
    /// The format of the answer's bytes.
    pub output_format: Format,
    /// Bytes or link.
    pub response_format: ResponseFormat,
    /// Kept in the ledger; rules may read it.
    pub metadata: BTreeMap<String, String>,
    /// An adjustment is an error.
    pub strict: bool,
}

impl Ask {
    /// The ask of a bare prompt: every field at the contract's default.
    pub fn of(prompt: Prompt) -> Self {
        Self {
            prompt,
            size: Size::new(1024, 1024),
            n: 1,
            seed: None,
            negative_prompt: None,
            task: None,
            quality: None,
            max_cost: None,
            deadline: None,
            model: ModelChoice::Auto,
            data_policy: DataPolicy::Any,
            fit: Fit::Exact,
            output_format: Format::Png,
            response_format: ResponseFormat::B64Json,
            metadata: BTreeMap::new(),
            strict: false,
        }
    }
}

/// An ask with everything resolved against one policy snapshot: what the planner reads.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// The fields that the caller wrote.
    pub ask: Ask,
    /// The task, named or classified.
    pub task: TaskIx,
    /// The pinned model, if any.
    pub pinned: Option<ModelIx>,
    /// Floor, caps and preferences: the caller's, else the matching rule's, else the policy's defaults.
    pub terms: Terms,
    /// The draft with which the plans begin, when a person approved one: nothing is generated then.
    pub approved: Option<Approved>,
}
