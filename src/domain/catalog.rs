//! The market: providers, models, dated prices, tasks.
//!
//! Why it exists: models, sizes and prices are data of the policy, never code. What it refuses to know: TOML, keys,
//! sockets. To add a property of models: here, in `policy/raw.rs`, and where `policy/compile` fills it in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;

use super::image::{Format, Size};
use super::quality::Prior;
use super::quota::Limit;
use super::verify::{Verifier, VerifierIx};

pub use super::price::{Price, TokenRates, Unit};

/// Where in the policy something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as given on the command line or relative to the policy folder.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// `policies/default.toml:12`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Everything that can be bought, and what for.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Providers by index.
    pub providers: Vec<Provider>,
    /// Models, generators and upscalers, by index.
    pub models: Vec<Model>,
    /// Tasks by index, in the order in which they claim a prompt.
    pub tasks: Vec<Task>,
    /// The task of a prompt that no other task claims.
    pub default_task: TaskIx,
    /// Verifiers by index.
    pub verifiers: Vec<Verifier>,
}

impl Catalog {
    /// The provider at `ix`.
    pub fn provider(&self, ix: ProviderIx) -> Option<&Provider> {
        self.providers.get(usize::from(ix.0))
    }

    /// The model at `ix`.
    pub fn model(&self, ix: ModelIx) -> Option<&Model> {
        self.models.get(usize::from(ix.0))
    }

    /// The task at `ix`.
    pub fn task(&self, ix: TaskIx) -> Option<&Task> {
        self.tasks.get(usize::from(ix.0))
    }

    /// The verifier at `ix`.
    pub fn verifier(&self, ix: VerifierIx) -> Option<&Verifier> {
        self.verifiers.get(usize::from(ix.0))
    }

    /// The model of that id.
    pub fn find_model(&self, id: &str) -> Option<(ModelIx, &Model)> {
        self.models().find(|(_, model)| &*model.id == id)
    }

    /// The task of that name.
    pub fn find_task(&self, name: &str) -> Option<TaskIx> {
        let at = self.tasks.iter().position(|task| &*task.name == name)?;
        u16::try_from(at).ok().map(TaskIx)
    }

    /// Every model with its index.
    pub fn models(&self) -> impl Iterator<Item = (ModelIx, &Model)> {
        (0u16..).map(ModelIx).zip(&self.models)
    }

    /// Every provider with its index.
    pub fn providers(&self) -> impl Iterator<Item = (ProviderIx, &Provider)> {
        (0u16..).map(ProviderIx).zip(&self.providers)
    }
}

/// Index into [`Catalog::providers`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderIx(pub u16);

/// Index into [`Catalog::models`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelIx(pub u16);

/// Index into [`Catalog::tasks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskIx(pub u16);

/// The dialect that a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// AUTOMATIC1111 and its family: Forge, SD.Next, sd-server.
    Automatic1111,
    /// `ComfyUI`.
    Comfyui,
    /// Gemini API and Vertex.
    Google,
    /// Ideogram.
    Ideogram,
    /// In this process; no call at all.
    Local,
    /// `OpenAI` images and every compatible server.
    Openai,
    /// Stability v2beta.
    Stability,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 7] =
        [Self::Automatic1111, Self::Comfyui, Self::Google, Self::Ideogram, Self::Local, Self::Openai, Self::Stability];

    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automatic1111 => "automatic1111",
            Self::Comfyui => "comfyui",
            Self::Google => "google",
            Self::Ideogram => "ideogram",
            Self::Local => "local",
            Self::Openai => "openai",
            Self::Stability => "stability",
        }
    }
}

/// A host with an API.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The name before the slash of its models' ids.
    pub name: Arc<str>,
    /// Its wire format.
    pub dialect: Dialect,
    /// Scheme, host, port and path prefix, with no slash at the end. Empty for [`Dialect::Local`].
    pub base_url: Arc<str>,
    /// `None` when on; else one sentence that says why it is off.
    pub off: Option<Arc<str>>,
    /// Whether `data_policy: on-prem` may use it.
    pub local: bool,
    /// Whether only requests that must stay on the premises, or that pin its models, may use it.
    pub only_on_prem: bool,
    /// What its limits are.
    pub limits: Vec<Limit>,
    /// Dialect settings, such as Vertex's `project`.
    pub options: BTreeMap<String, serde_json::Value>,
    /// Where the policy says so.
    pub place: Place,
}

/// What a model does.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Makes an image of a prompt at one of these sizes.
    Generate(Sizes),
    /// Enlarges an image.
    Upscale(Reach),
}

/// The sizes at which a generator works.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// These and no other.
    Listed(Vec<Native>),
    /// Any size within bounds.
    Free {
        /// The shortest side.
        min: u32,
        /// The longest side.
        max: u32,
        /// Both sides are multiples of this.
        step: u32,
        /// The most pixels at which the model is at its best.
        max_pixels: u64,
        /// The greatest ratio of the longer to the shorter side.
        max_ratio: f64,
    },
}

/// One listed size.
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    /// Pixels that come back.
    pub size: Size,
    /// What the provider calls it, e.g. `16:9`; the dialect may need no label.
    pub label: Arc<str>,
    /// [`Size::log_ratio`] of `size`, computed once.
    pub log_ratio: f64,
    /// A further word of the provider for it, e.g. `2K`; empty where there is none.
    pub scale: Arc<str>,
}

/// What an upscaler takes and gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// The output.
    pub output: Enlarge,
    /// The least pixels of the input.
    pub min_input_pixels: u64,
    /// The most pixels of the input.
    pub max_input_pixels: u64,
    /// The longest side of the input.
    pub max_input_side: u32,
    /// The most pixels of the output.
    pub max_output_pixels: u64,
    /// Whether it needs the prompt again.
    pub needs_prompt: bool,
    /// P(final accepted | draft accepted), 0 to 1, at twice the draft's side; source: routing's `s_u`.
    pub keeps: f64,
}

/// How an upscaler chooses its output size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Enlarge {
    /// Each side times this.
    Factor(f64),
    /// The ratio of the input at this many pixels.
    ToPixels(u64),
    /// Any size asked, each side at most this many times the input's.
    Free(f64),
}

/// A model: something that can be bought by name.
#[derive(Clone, Debug)]
pub struct Model {
    /// `provider/name`.
    pub id: Arc<str>,
    /// Who sells it.
    pub provider: ProviderIx,
    /// The provider's own name for it.
    pub remote: Arc<str>,
    /// Generator or upscaler, with its sizes.
    pub role: Role,
    /// Prices, oldest first.
    pub prices: Vec<Price>,
    /// Rates by which the provider bills tokens; the price rows are then the expected cost.
    pub tokens: Option<TokenRates>,
    /// The date from which its provider no longer serves it.
    pub retired: Option<Date>,
    /// `Some` when the policy switches it off: the reason.
    pub off: Option<Arc<str>>,
    /// Takes a seed.
    pub seed: bool,
    /// The greatest seed that the provider takes.
    pub max_seed: u64,
    /// Takes a negative prompt.
    pub negative_prompt: bool,
    /// The most images of one call.
    pub max_images: u8,
    /// The longest prompt in characters, where the provider has a limit below ours.
    pub max_prompt_chars: Option<u32>,
    /// Formats that it can send.
    pub formats: Vec<Format>,
    /// Expected latency before anything was measured.
    pub latency: Latency,
    /// Acceptance before any verdict: one for each task of the catalog, in its order. Empty for upscalers.
    pub priors: Vec<Prior>,
    /// Limits of this model alone, beyond its provider's.
    pub limits: Vec<Limit>,
    /// Dialect settings of this model: `quality = "medium"`, `workflow = "sd35.json"`, ….
    pub options: BTreeMap<String, serde_json::Value>,
    /// Where the policy says so.
    pub place: Place,
}

impl Model {
    /// The sizes of a generator.
    pub fn sizes(&self) -> Option<&Sizes> {
        match &self.role {
            Role::Generate(sizes) => Some(sizes),
            Role::Upscale(_) => None,
        }
    }

    /// The reach of an upscaler.
    pub fn reach(&self) -> Option<&Reach> {
        match &self.role {
            Role::Generate(_) => None,
            Role::Upscale(reach) => Some(reach),
        }
    }

    /// A text option of the dialect.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).and_then(serde_json::Value::as_str)
    }

    /// The price in force on `today` for an image of `size`: the newest row, not of the future, that covers the size.
    /// Rows that name a size come before rows that do not.
    pub fn price(&self, size: Size, today: Date) -> Option<&Price> {
        let mut best: Option<&Price> = None;
        for row in self.prices.iter().filter(|row| row.from <= today && row.covers(size)) {
            let better = best.is_none_or(|held| (row.is_specific(), row.from) >= (held.is_specific(), held.from));
            if better {
                best = Some(row);
            }
        }
        best
    }
}

/// How long a model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half of the calls are faster.
    pub p50: Duration,
    /// Nineteen of twenty calls are faster.
    pub p95: Duration,
}

/// What an image is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name in requests.
    pub name: Arc<str>,
    /// One sentence for a person.
    pub about: Arc<str>,
    /// How it claims a prompt that names no task.
    pub claims: Claims,
    /// Where the policy says so.
    pub place: Place,
}

/// The signs by which a task claims a prompt: any one is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// A quoted span of 1 to 80 characters.
    pub quoted_text: bool,
    /// Lower-case words, each matched whole.
    pub words: Vec<Box<str>>,
    /// Lower-case phrases, matched at word boundaries.
    pub phrases: Vec<Box<str>>,
}
