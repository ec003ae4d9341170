//! A compiled policy: immutable, whole, with the digest of its meaning.
//!
//! Why it exists: a request sees one snapshot from start to end, and everything in it was checked. What it refuses to
//! know: TOML, files, reloads.

use std::sync::Arc;
use std::time::Duration;

use super::classify::Classifier;
use super::condition::{Condition, Facts};
use super::diagnostic::Diagnostic;
use super::guess;
use super::text;
use crate::domain::breaker::Settings;
use crate::domain::budget::Budget;
use crate::domain::catalog::{Catalog, ModelIx, Place, ProviderIx, TaskIx};
use crate::domain::money::Money;
use crate::domain::native::Native;
use crate::domain::plan::cost::Retries;
use crate::domain::quota::Limit;
use crate::domain::request::{Ask, GenerationRequest, ModelChoice, Quality};
use crate::domain::rule::{Explore, Share, Source, Term, Terms};
use crate::transport::Endpoint;

/// A compiled policy.
#[derive(Debug)]
pub struct Snapshot {
    /// The first twelve hexadecimal digits of a SHA-256 over the meaning of the policy: comments and the order of keys
    /// do not change it, and neither do the environment and the settings.
    pub digest: Arc<str>,
    /// The meaning itself, as a tree: what two policies are compared by.
    pub meaning: serde_json::Value,
    /// Providers, models, prices, tasks.
    pub catalog: Catalog,
    /// Where each provider's calls go, by [`ProviderIx`].
    pub endpoints: Vec<Endpoint>,
    /// Where each verifier's calls go, by [`VerifierIx`](crate::domain::verify::VerifierIx), for those that make any.
    pub scorers: Vec<Option<Scorer>>,
    /// By name.
    pub tiers: Vec<Tier>,
    /// What holds when neither the request nor a rule says otherwise.
    pub defaults: Defaults,
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
    /// Callers' keys; without any, callers need none.
    pub keys: Vec<ApiKey>,
    /// Caps on money.
    pub budgets: Vec<Arc<Budget>>,
    /// When a provider or model is left alone.
    pub breaker: Settings,
    /// The pass-through: what it lets by, and for how much.
    pub native: Native,
    /// Providers and verifiers that the policy has on, and that lack an address or a credential in this process.
    pub lacking: Vec<Arc<str>>,
    /// What the operator should look at.
    pub warnings: Vec<Diagnostic>,
    classifier: Classifier,
}

/// Everything of a [`Snapshot`] that the compiler makes.
pub(super) struct Parts {
    pub(super) digest: Arc<str>,
    pub(super) meaning: serde_json::Value,
    pub(super) catalog: Catalog,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) scorers: Vec<Option<Scorer>>,
    pub(super) tiers: Vec<Tier>,
    pub(super) defaults: Defaults,
    pub(super) rules: Vec<Rule>,
    pub(super) keys: Vec<ApiKey>,
    pub(super) budgets: Vec<Arc<Budget>>,
    pub(super) breaker: Settings,
    pub(super) native: Native,
}

/// Where a verifier's calls go.
#[derive(Clone, Debug)]
pub struct Scorer {
    /// Its host, and the credential.
    pub endpoint: Endpoint,
    /// The path below, from its slash on.
    pub path: Arc<str>,
}

/// A name for a level of quality.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// Its name in requests.
    pub name: Arc<str>,
    /// One sentence for a person; may be empty.
    pub about: Arc<str>,
    /// The least lower bound of acceptance, 0 to 1.
    pub quality: f64,
    /// The most that one request may cost.
    pub max_cost: Option<Term<Money>>,
    /// From arrival to answer.
    pub deadline: Option<Term<Duration>>,
    /// Whether its requests may be used to learn.
    pub explore: bool,
    /// Which jobs go first: those of a greater number.
    pub priority: i64,
    /// Where its `quality` is written.
    pub place: Place,
}

/// A floor, and the tier that it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Floor {
    /// The least lower bound of acceptance, 0 to 1.
    pub value: f64,
    /// The tier's name.
    pub tier: Option<Arc<str>>,
    /// Where the number is written.
    pub place: Place,
}

impl Floor {
    pub(super) fn of(tier: &Tier) -> Self {
        Self { value: tier.quality, tier: Some(Arc::clone(&tier.name)), place: tier.place.clone() }
    }
}

/// What holds when neither the request nor a rule says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// The floor.
    pub quality: Floor,
    /// From arrival to answer.
    pub deadline: Term<Duration>,
    /// The most that one request may cost.
    pub max_cost: Option<Term<Money>>,
    /// What showing one image to a person costs.
    pub review_cost: Money,
    /// What a second of waiting for a limit costs; `None` when only what nothing else can do is waited for.
    pub wait_value: Option<Money>,
    /// How often a person asks again for one prompt, and how alike those tries are.
    pub retries: Retries,
    /// When identical requests share one purchase.
    pub share: Share,
    /// How the planner learns what it knows too little of.
    pub explore: Explore,
    /// Whether a negative prompt may be dropped.
    pub drop_negative_prompt: bool,
    /// Whether a moderated request goes on to the next provider.
    pub moderated_next: bool,
    /// Whether a purchase in doubt is bought again when its key comes again.
    pub buy_again: bool,
    /// For how long an identical request without a key is taken for a repeat.
    pub retry_window: Option<Duration>,
}

/// What holds for requests that match a condition.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub id: Arc<str>,
    pub(super) condition: Condition,
    /// The floor, for requests that name none.
    pub quality: Option<Floor>,
    /// The most that one request may cost.
    pub max_cost: Option<Term<Money>>,
    /// From arrival to answer.
    pub deadline: Option<Term<Duration>>,
    /// Only these models.
    pub only: Option<Term<Vec<ModelIx>>>,
    /// Never these models.
    pub never: Option<Term<Vec<ModelIx>>>,
    /// When identical requests share one purchase.
    pub share: Option<Share>,
    /// Whether a negative prompt may be dropped.
    pub drop_negative_prompt: Option<bool>,
    /// Whether a moderated request goes on to the next provider.
    pub moderated_next: Option<bool>,
    /// What showing one image to a person costs.
    pub review_cost: Option<Money>,
    /// Where the policy says so.
    pub place: Place,
}

/// A caller's key: its hash only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The caller's name.
    pub name: Arc<str>,
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// The name of its buckets: `key:` and the caller's name.
    pub owner: Arc<str>,
    /// What the caller may ask for.
    pub limits: Vec<Limit>,
    /// Whether it sees and judges every key's pictures in the studio.
    pub reviewer: bool,
    /// Where the policy says so.
    pub place: Place,
}

/// Why a request does not fit the policy: a field that names what is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// JSON pointer of the field.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl Snapshot {
    pub(super) fn new(parts: Parts, warnings: Vec<Diagnostic>) -> Self {
        let Parts {
            digest,
            meaning,
            catalog,
            endpoints,
            scorers,
            tiers,
            defaults,
            rules,
            keys,
            budgets,
            breaker,
            native,
        } = parts;
        let classifier = Classifier::new(&catalog.tasks, catalog.default_task);
        let lacking = guess::lacking(&meaning, &catalog);
        Self {
            digest,
            meaning,
            catalog,
            endpoints,
            scorers,
            tiers,
            defaults,
            rules,
            keys,
            budgets,
            breaker,
            native,
            lacking,
            warnings,
            classifier,
        }
    }

    /// Where a provider's calls go.
    pub fn endpoint(&self, provider: ProviderIx) -> Option<&Endpoint> {
        self.endpoints.get(usize::from(provider.0))
    }

    /// The task that claims a prompt: the first of the file whose signs it shows, else the default.
    pub fn classify(&self, prompt: &str) -> TaskIx {
        self.classifier.classify(prompt)
    }

    /// The tier of that name.
    pub fn tier(&self, name: &str) -> Option<&Tier> {
        self.tiers.iter().find(|tier| *tier.name == *name)
    }

    /// An ask with the policy's task, floor, caps and preferences filled in. The request's quality beats the rule's,
    /// which beats the default's; a request's cap can only tighten the policy's. `key_name` is empty where callers
    /// need no key.
    pub fn resolve(&self, ask: Ask, key_name: &str) -> Result<GenerationRequest, Unresolved> {
        let task = self.task(&ask)?;
        let pinned = self.pinned(&ask)?;
        let asked = self.floor(&ask)?;
        let tier = asked.as_ref().map_or(&self.defaults.quality.tier, |(_, tier)| tier).clone();
        let task_name = self.catalog.task(task).map_or("", |task| &task.name);
        let rule = self.rule(&Facts::of(task_name, tier.as_deref().unwrap_or_default(), key_name, &ask));
        let terms = self.terms(&ask, asked, rule);
        Ok(GenerationRequest { ask, task, pinned, terms, approved: None })
    }

    /// One line for each provider that is off: which, and why.
    pub fn off_lines(&self) -> Vec<String> {
        let line = |provider: &crate::domain::catalog::Provider| {
            provider.off.as_ref().map(|why| format!("provider {} is off: {why}", provider.name))
        };
        self.catalog.providers.iter().filter_map(line).collect()
    }

    /// Whether nothing can be made: no provider that is on has a generator that is on.
    pub fn is_empty_handed(&self) -> bool {
        let makes = |model: &crate::domain::catalog::Model| {
            let provider = self.catalog.provider(model.provider);
            model.sizes().is_some() && model.off.is_none() && provider.is_some_and(|provider| provider.off.is_none())
        };
        !self.catalog.models.iter().any(makes)
    }

    fn task(&self, ask: &Ask) -> Result<TaskIx, Unresolved> {
        let Some(name) = &ask.task else {
            return Ok(self.classify(ask.prompt.as_str()));
        };
        self.catalog.find_task(name).ok_or_else(|| {
            let names = self.catalog.tasks.iter().map(|task| &*task.name);
            Unresolved::new("/task", format!("the policy has no task `{name}`"), text::suggestion(name, names))
        })
    }

    fn pinned(&self, ask: &Ask) -> Result<Option<ModelIx>, Unresolved> {
        let ModelChoice::Pinned(id) = &ask.model else {
            return Ok(None);
        };
        match self.catalog.find_model(id) {
            Some((ix, model)) if model.sizes().is_some() => Ok(Some(ix)),
            Some(_) => {
                let detail = format!("`{id}` enlarges images and makes none");
                Err(Unresolved { pointer: "/model".to_owned(), detail })
            }
            None => {
                let generators = self.catalog.models.iter().filter(|model| model.sizes().is_some());
                let near =
                    text::nearest(id, generators.map(|model| &*model.id)).map(|id| format!("did you mean `{id}`?"));
                Err(Unresolved::new("/model", format!("the policy has no model `{id}`"), near))
            }
        }
    }

    /// The floor that the request itself names, and its tier.
    #[expect(clippy::type_complexity, reason = "a term and the tier behind it, taken apart at once")]
    fn floor(&self, ask: &Ask) -> Result<Option<(Term<f64>, Option<Arc<str>>)>, Unresolved> {
        match &ask.quality {
            None => Ok(None),
            Some(Quality::AtLeast(value)) => Ok(Some((Term { value: *value, source: Source::Request }, None))),
            Some(Quality::Tier(name)) => {
                let Some(tier) = self.tier(name) else {
                    let names = self.tiers.iter().map(|tier| &*tier.name);
                    let detail = format!("the policy has no tier `{name}`");
                    return Err(Unresolved::new("/quality", detail, text::suggestion(name, names)));
                };
                let term = Term { value: tier.quality, source: Source::Policy(tier.place.clone()) };
                Ok(Some((term, Some(Arc::clone(&tier.name)))))
            }
        }
    }

    /// The first rule whose condition holds.
    fn rule(&self, facts: &Facts<'_>) -> Option<&Rule> {
        if self.rules.is_empty() {
            return None;
        }
        let facts = facts.bind();
        self.rules.iter().find(|rule| rule.condition.holds(&facts))
    }

    fn terms(&self, ask: &Ask, asked: Option<(Term<f64>, Option<Arc<str>>)>, rule: Option<&Rule>) -> Terms {
        let (floor, tier) = asked.unwrap_or_else(|| {
            let floor = rule.and_then(|rule| rule.quality.as_ref()).unwrap_or(&self.defaults.quality);
            let term = Term { value: floor.value, source: Source::Policy(floor.place.clone()) };
            (term, floor.tier.clone())
        });
        let of_tier = tier.as_ref().and_then(|name| self.tier(name));
        let max_cost = rule
            .and_then(|rule| rule.max_cost.as_ref())
            .or_else(|| of_tier.and_then(|tier| tier.max_cost.as_ref()))
            .or(self.defaults.max_cost.as_ref());
        let deadline = rule
            .and_then(|rule| rule.deadline.as_ref())
            .or_else(|| of_tier.and_then(|tier| tier.deadline.as_ref()))
            .unwrap_or(&self.defaults.deadline);
        Terms {
            floor,
            max_cost: tighter(ask.max_cost, max_cost),
            deadline: tighter(ask.deadline, Some(deadline)).unwrap_or_else(|| deadline.clone()),
            only: rule.and_then(|rule| rule.only.clone()),
            never: rule.and_then(|rule| rule.never.clone()),
            drop_negative_prompt: rule
                .and_then(|rule| rule.drop_negative_prompt)
                .unwrap_or(self.defaults.drop_negative_prompt),
            moderated_next: rule.and_then(|rule| rule.moderated_next).unwrap_or(self.defaults.moderated_next),
            review_cost: rule.and_then(|rule| rule.review_cost).unwrap_or(self.defaults.review_cost),
            wait_value: self.defaults.wait_value,
            retries: self.defaults.retries,
            share: rule.and_then(|rule| rule.share).unwrap_or(self.defaults.share),
            explore: if of_tier.is_none_or(|tier| tier.explore) { self.defaults.explore } else { Explore::Off },
            rule: rule.map(|rule| Arc::clone(&rule.id)),
            tier,
        }
    }
}

impl Unresolved {
    fn new(pointer: &str, detail: String, help: Option<String>) -> Self {
        let detail = match help {
            Some(help) => format!("{detail}; {help}"),
            None => detail,
        };
        Self { pointer: pointer.to_owned(), detail }
    }
}

/// The request's cap, where it is below the policy's.
fn tighter<T: Copy + Ord>(asked: Option<T>, policy: Option<&Term<T>>) -> Option<Term<T>> {
    match (asked, policy) {
        (Some(asked), Some(policy)) if asked < policy.value => Some(Term { value: asked, source: Source::Request }),
        (Some(asked), None) => Some(Term { value: asked, source: Source::Request }),
        (_, policy) => policy.cloned(),
    }
}
