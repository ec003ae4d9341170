//! Raw files into a [`Snapshot`], with every finding of the run.
//!
//! Why it exists: past this room nobody asks whether a name exists or a number is in range. One pass a kind of table;
//! each reports all that it finds and goes on with what is left, so that one run tells everything. What it refuses to
//! know: how files change (`watch.rs`), how conditions are evaluated (`condition.rs`).
//! To add a check: a function beside the table that it is about, a code in `diagnostic.rs`, a file in `tests/policies/`.

mod budgets;
mod floors;
mod limits;
mod models;
mod natives;
mod prices;
mod providers;
mod rules;
mod sizes;
mod tasks;
pub(crate) mod values;
mod verifiers;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use serde::Serialize;
use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::diagnostic::{Diagnostic, Severity, Sink, codes};
use super::raw::{self, At};
use super::shape;
use super::snapshot::{Parts, Snapshot};
use super::source::{Source, Span};
use super::{Env, Overrides};
use crate::domain::catalog::Catalog;
use crate::transport::Secret;

use values::Scope;

/// The largest policy file, in bytes.
pub(super) const MAX_FILE: usize = 1 << 20;

/// What the world says that the files do not.
pub(super) struct World<'a> {
    pub(super) env: &'a dyn Env,
    pub(super) overrides: &'a Overrides,
    pub(super) today: Date,
}

/// Compiles the files of one policy together.
pub(super) fn compile(files: &[Arc<Source>], world: &World<'_>) -> Result<Snapshot, Vec<Diagnostic>> {
    let sink = Sink::default();
    let schema = raw::schema();
    let parsed: Vec<File> = files.iter().filter_map(|source| parse(source, &schema, &sink)).collect();
    if parsed.len() < files.len() {
        return Err(sink.into_sorted());
    }
    let parts = assemble(&Merged::of(&parsed, &sink), world, &sink);
    let found = sink.into_sorted();
    match parts {
        Some(parts) if found.iter().all(|one| one.severity == Severity::Warning) => Ok(Snapshot::new(parts, found)),
        _ => Err(found),
    }
}

/// One file, in the right shape.
struct File {
    source: Arc<Source>,
    policy: raw::Policy,
}

/// Text into raw types; `None` when it is not TOML.
fn parse(source: &Arc<Source>, schema: &serde_json::Value, sink: &Sink) -> Option<File> {
    let (mut tree, errors) = DeTable::parse_recoverable(source.text());
    for error in &errors {
        let end = source.text().len();
        let span = error.span().unwrap_or(end..end);
        let found = Diagnostic::new(codes::E0001, "this is not TOML").label(source, &span, error.message());
        sink.report(found);
    }
    if !errors.is_empty() {
        return None;
    }
    shape::check(&mut tree, schema, source, sink);
    match <raw::Policy as serde::Deserialize>::deserialize(toml::Deserializer::from(tree)) {
        Ok(policy) => Some(File { source: Arc::clone(source), policy }),
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            sink.report(Diagnostic::new(codes::E0102, error.message()).label(source, &span, ""));
            None
        }
    }
}

/// A named table of some file.
struct Entry<'a, T> {
    scope: Scope<'a>,
    name: &'a At<String>,
    raw: &'a T,
}

/// The tables of every file, names unique; tasks and rules in the order in which they are written, the rest by name.
struct Merged<'a> {
    defaults: Option<Entry<'a, At<raw::Defaults>>>,
    breaker: Option<(Scope<'a>, &'a raw::Breaker)>,
    proxy: Option<(Scope<'a>, &'a At<raw::Proxy>)>,
    keys: Vec<(Scope<'a>, &'a raw::Key)>,
    budgets: Vec<(Scope<'a>, &'a At<raw::Budget>)>,
    tiers: Vec<Entry<'a, raw::Tier>>,
    rules: Vec<(Scope<'a>, &'a raw::Rule)>,
    tasks: Vec<Entry<'a, raw::Task>>,
    sizes: Vec<Entry<'a, At<Vec<At<String>>>>>,
    verifiers: Vec<Entry<'a, raw::Verifier>>,
    providers: Vec<Entry<'a, raw::Provider>>,
    models: Vec<Entry<'a, raw::Model>>,
    start: Option<Scope<'a>>,
}

static DEFAULTS: At<String> = At { value: String::new(), span: 0..0 };

impl<'a> Merged<'a> {
    fn of(files: &'a [File], sink: &'a Sink) -> Self {
        let scopes = || files.iter().map(|file| (Scope { source: &file.source, sink }, &file.policy));
        for (scope, policy) in scopes() {
            version(scope, policy);
        }
        let mut merged = Self {
            defaults: None,
            breaker: scopes().find_map(|(scope, policy)| Some((scope, policy.breaker.as_ref()?))),
            proxy: scopes().find_map(|(scope, policy)| Some((scope, policy.proxy.as_ref()?))),
            keys: scopes().flat_map(|(scope, policy)| policy.key.iter().map(move |key| (scope, key))).collect(),
            budgets: scopes().flat_map(|(scope, policy)| policy.budget.iter().map(move |row| (scope, row))).collect(),
            tiers: unique("tier", scopes().map(|(scope, policy)| (scope, &policy.tier))),
            rules: scopes().flat_map(|(scope, policy)| policy.rule.iter().map(move |rule| (scope, rule))).collect(),
            tasks: unique("task", scopes().map(|(scope, policy)| (scope, &policy.task))),
            sizes: unique("list of sizes", scopes().map(|(scope, policy)| (scope, &policy.sizes))),
            verifiers: unique("verifier", scopes().map(|(scope, policy)| (scope, &policy.verifier))),
            providers: unique("provider", scopes().map(|(scope, policy)| (scope, &policy.provider))),
            models: unique("model", scopes().map(|(scope, policy)| (scope, &policy.model))),
            start: scopes().next().map(|(scope, _)| scope),
        };
        for (scope, policy) in scopes() {
            let Some(raw) = &policy.defaults else {
                continue;
            };
            match &merged.defaults {
                None => merged.defaults = Some(Entry { scope, name: &DEFAULTS, raw }),
                Some(first) => twice(scope, "the table `defaults`", &raw.span, first.scope, &first.raw.span),
            }
        }
        merged.verifiers.sort_by_key(|entry| entry.name);
        merged.providers.sort_by_key(|entry| entry.name);
        merged.models.sort_by_key(|entry| entry.name);
        merged
    }

    /// What the files say: neither comments nor the order of keys nor which file says it take part.
    fn meaning(&self, workflows: &BTreeMap<String, serde_json::Value>) -> serde_json::Value {
        fn named<'e, T: Serialize>(entries: &[Entry<'e, T>]) -> Vec<(&'e str, &'e T)> {
            entries.iter().map(|entry| (entry.name.value.as_str(), entry.raw)).collect()
        }
        let by_name: BTreeMap<_, _> = named(&self.tiers).into_iter().collect();
        serde_json::json!({
            "defaults": self.defaults.as_ref().map(|entry| entry.raw),
            "breaker": self.breaker.map(|(_, raw)| raw),
            "proxy": self.proxy.map(|(_, raw)| raw),
            "key": self.keys.iter().map(|(_, key)| key).collect::<Vec<_>>(),
            "budget": self.budgets.iter().map(|(_, budget)| budget).collect::<Vec<_>>(),
            "tier": by_name,
            "rule": self.rules.iter().map(|(_, rule)| rule).collect::<Vec<_>>(),
            "task": named(&self.tasks),
            "sizes": named(&self.sizes).into_iter().collect::<BTreeMap<_, _>>(),
            "verifier": named(&self.verifiers),
            "provider": named(&self.providers),
            "model": named(&self.models),
            "workflows": workflows,
        })
    }
}

/// The first twelve digits of the SHA-256 of a meaning.
fn digest(meaning: &serde_json::Value) -> Arc<str> {
    let hash = Sha256::digest(meaning.to_string());
    let twelve = hash.iter().take(6).fold(0_u64, |digits, byte| digits << 8 | u64::from(*byte));
    format!("{twelve:012x}").into()
}

/// The tables of every file under one kind of name, in the order in which they are written.
fn unique<'a, T: 'a>(kind: &str, tables: impl Iterator<Item = (Scope<'a>, &'a raw::Named<T>)>) -> Vec<Entry<'a, T>> {
    let mut all: Vec<Entry<'a, T>> = Vec::new();
    for (scope, table) in tables {
        let mut here: Vec<Entry<'a, T>> = table.iter().map(|(name, raw)| Entry { scope, name, raw }).collect();
        here.sort_by_key(|entry| entry.name.span.start);
        for entry in here {
            match all.iter().find(|other| other.name == entry.name) {
                Some(first) => {
                    let what = format!("the {kind} `{}`", entry.name.value);
                    twice(scope, &what, &entry.name.span, first.scope, &first.name.span);
                }
                None => all.push(entry),
            }
        }
    }
    all
}

/// Reports a second definition.
fn twice(scope: Scope<'_>, what: &str, span: &Span, first: Scope<'_>, at: &Span) {
    let help = if scope.source == first.source {
        "keep one of the two"
    } else {
        "the files of a folder are one policy: keep one of the two"
    };
    let found = Diagnostic::new(codes::E0401, format!("{what} is defined twice"))
        .label(scope.source, span, "again here")
        .label(first.source, at, "first here")
        .help(help);
    scope.sink.report(found);
}

fn version(scope: Scope<'_>, policy: &raw::Policy) {
    if let Some(version) = policy.version.as_ref().filter(|version| version.value != 1) {
        let message = format!("version {} of the policy language is not supported", version.value);
        let help = "this build reads version 1; a newer build reads newer files";
        scope.error(codes::E0003, message, &version.span, "not 1", help);
    }
}

/// Compiles every kind of table; `None` when even that much is missing that nothing can be put together.
fn assemble(merged: &Merged<'_>, world: &World<'_>, sink: &Sink) -> Option<Parts> {
    let Some(start) = merged.start else {
        sink.report(Diagnostic::new(codes::E0002, "the policy has no file"));
        return None;
    };
    let Some(defaults) = &merged.defaults else {
        let help = "say at least `quality`, `deadline` and `task`: what holds when a request says nothing";
        start.error(codes::E0103, "the table `defaults` is missing".to_owned(), &(0..0), "needs [defaults]", help);
        return None;
    };
    let tasks = tasks::tasks(&merged.tasks);
    let default_task = tasks::default_task(defaults, &tasks);
    let tiers = tasks::tiers(&merged.tiers);
    let (providers, credentials) = providers::providers(&merged.providers, world);
    let weight = defaults.raw.value.prior_weight.as_ref();
    let weight = weight.and_then(|weight| defaults.scope.at_least("prior_weight", weight, 1.0));
    let prior_weight = weight.unwrap_or(DEFAULT_PRIOR_WEIGHT);
    let market = models::Market { tasks: &tasks, providers: &providers, sizes: &merged.sizes, prior_weight, world };
    let (models, workflows) = models::models(&merged.models, &market);
    providers::unused(&merged.providers, &merged.models, start);
    sizes::unused(&merged.sizes, &merged.models);
    let (verifiers, scorers) = verifiers::verifiers(&merged.verifiers, &tasks, world).into_iter().unzip();
    let default_task = default_task.unwrap_or_default();
    let catalog = Catalog { providers, models, tasks, default_task, verifiers };
    limits::bursts(&merged.providers, &merged.models, &catalog, world.today);
    let whole = rules::Whole { catalog: &catalog, written: &merged.models, tiers: &tiers };
    let resolved = rules::defaults(defaults, &whole);
    let rules = rules::rules(&merged.rules, &whole);
    if whole.is_complete() {
        floors::tiers(&merged.tiers, &catalog, &tiers, world.today);
    }
    let keys = providers::keys(&merged.keys);
    let budgets = budgets::budgets(&merged.budgets, &budgets::Named { catalog: &catalog, keys: &keys });
    let breaker = merged.breaker.map_or_else(Default::default, |(scope, raw)| limits::breaker(scope, raw));
    let native = natives::native(merged.proxy, &merged.providers, &catalog);
    let endpoints = providers::endpoints(&catalog, credentials);
    let meaning = merged.meaning(&workflows);
    let digest = digest(&meaning);
    Some(Parts {
        digest,
        meaning,
        endpoints,
        scorers,
        tiers,
        defaults: resolved?,
        rules,
        keys,
        budgets,
        breaker,
        native,
        catalog,
    })
}

/// Verdicts that the policy's `accept` numbers are worth unless it says otherwise.
const DEFAULT_PRIOR_WEIGHT: f64 = 20.0;

/// A provider's credential, in the order of [`Catalog::providers`].
type Credentials = Vec<Option<Secret>>;
