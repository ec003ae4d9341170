//! A situation as the ledger keeps it, written as JSON with no tree in between.
//!
//! Why it exists: every purchase writes one. What it refuses to know: how it is read back ([`Situation::read`]). Only what
//! is not at the contract's default, or not as the policy guesses, is written.
//!
//! [`Situation::read`]: super::Situation::read

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use serde::{Serialize, Serializer};

use crate::domain::catalog::Catalog;
use crate::domain::image::Format;
use crate::domain::money::Money;
use crate::domain::plan::{Approved, Gate, ModelView, VerifierView, View};
use crate::domain::quoted;
use crate::domain::request::{Ask, DataPolicy, Fit, GenerationRequest, ModelChoice, Quality};

/// Everything that the planner read, but for the policy.
#[derive(Debug, Serialize)]
pub struct Note<'a> {
    ask: Asked<'a>,
    #[serde(serialize_with = "shown")]
    day: Date,
    #[serde(serialize_with = "named", skip_serializing_if = "Vec::is_empty")]
    models: Vec<(&'a str, SeenModel)>,
    #[serde(serialize_with = "named", skip_serializing_if = "Vec::is_empty")]
    verifiers: Vec<(&'a str, SeenVerifier)>,
    /// Maker, width, height, whether its prompt is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    approved: Option<(&'a str, u32, u32, bool)>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    lacking: &'a [Arc<str>],
}

impl<'a> Note<'a> {
    /// `guess` is the world as the policy alone knows it, `lacking` what this process has no address or credential for.
    pub fn of(
        request: &'a GenerationRequest,
        catalog: &'a Catalog,
        view: &View,
        (guess, lacking): (&View, &'a [Arc<str>]),
        day: Date,
    ) -> Self {
        let id = |ix| catalog.model(ix).map(|model| &*model.id);
        let task = catalog.task(request.task).map(|task| &*task.name);
        let asked = Asked::of(&request.ask, task.unwrap_or_default());
        // What was bought before may pin a model that the caller has not.
        let asked = Asked { model: request.pinned.and_then(id).or(asked.model), ..asked };
        let models = catalog.models.iter().zip(view.models.iter().zip(&guess.models));
        let verifiers = catalog.verifiers.iter().zip(&view.verifiers);
        let approved =
            |Approved { model, size, has_prompt }| (id(model).unwrap_or_default(), size.width, size.height, has_prompt);
        Self {
            ask: asked,
            day,
            models: models
                .filter(|(_, (seen, guessed))| seen != guessed)
                .map(|(model, (seen, _))| (&*model.id, SeenModel::of(seen)))
                .collect(),
            verifiers: verifiers
                .filter(|(verifier, seen)| seen.absent.is_some() || seen.latency != verifier.latency)
                .map(|(verifier, seen)| (&*verifier.name, SeenVerifier::of(seen)))
                .collect(),
            approved: request.approved.map(approved),
            lacking,
        }
    }
}

/// The fields that the planner, the rules or a price reads.
#[derive(Debug, Serialize)]
pub(super) struct Asked<'a> {
    task: &'a str,
    prompt: Length,
    size: (u32, u32),
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    negative: Option<Length>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Floor<'a>>,
    /// In micro-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_cost: Option<i64>,
    /// In nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "is_no")]
    on_prem: bool,
    #[serde(skip_serializing_if = "is_no")]
    nearest: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "is_no")]
    strict: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(ask: &'a Ask, task: &'a str) -> Self {
        Self {
            task,
            prompt: Length::of(ask.prompt.as_str()),
            size: (ask.size.width, ask.size.height),
            n: (ask.n != 1).then_some(ask.n),
            seed: ask.seed,
            negative: ask.negative_prompt.as_deref().map(Length::of),
            quality: ask.quality.as_ref().map(|quality| match quality {
                Quality::AtLeast(floor) => Floor::Least(*floor),
                Quality::Tier(tier) => Floor::Tier(tier),
            }),
            max_cost: ask.max_cost.map(Money::micros),
            deadline: ask.deadline.map(nanos),
            model: match &ask.model {
                ModelChoice::Pinned(model) => Some(model),
                ModelChoice::Auto => None,
            },
            on_prem: ask.data_policy == DataPolicy::OnPrem,
            nearest: ask.fit == Fit::Nearest,
            format: (ask.output_format != Format::Png).then(|| ask.output_format.name()),
            strict: ask.strict,
            metadata: &ask.metadata,
        }
    }
}

/// Of a text: bytes, characters, and `true` where it quotes something.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Length {
    Plain(usize, usize),
    Quoting(usize, usize, bool),
}

impl Length {
    pub(super) fn of(text: &str) -> Self {
        let (bytes, characters) = (text.len(), text.chars().count());
        if quoted::any(text) { Self::Quoting(bytes, characters, true) } else { Self::Plain(bytes, characters) }
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Floor<'a> {
    Least(f64),
    Tier(&'a str),
}

/// Gate, for ns, p50 ns, p95 ns, alpha, beta, verdicts, lift.
#[derive(Debug, Serialize)]
pub(super) struct SeenModel(&'static str, u64, u64, u64, f64, f64, f64, f64);

impl SeenModel {
    pub(super) fn of(view: &ModelView) -> Self {
        let (gate, wait) = match view.gate {
            Gate::Open => ("open", Duration::ZERO),
            Gate::Broken(wait) => ("broken", wait),
            Gate::Spent(wait) => ("spent", wait),
        };
        let (latency, accept) = (view.latency, view.accept);
        let (p50, p95) = (nanos(latency.p50), nanos(latency.p95));
        Self(gate, nanos(wait), p50, p95, accept.alpha, accept.beta, accept.verdicts, accept.lift)
    }
}

/// Whether it is absent, p50 ns, p95 ns.
#[derive(Debug, Serialize)]
pub(super) struct SeenVerifier(bool, u64, u64);

impl SeenVerifier {
    pub(super) fn of(view: &VerifierView) -> Self {
        Self(view.absent.is_some(), nanos(view.latency.p50), nanos(view.latency.p95))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_no(word: &bool) -> bool {
    !*word
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn shown<S: Serializer>(day: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}

/// Pairs as an object.
fn named<S: Serializer, T: Serialize>(pairs: &[(&str, T)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}
