//! Models: what can be bought.
//!
//! Why it exists: a model is complete when it leaves this file: a size, a price, a latency and an acceptance for every
//! task. What it refuses to know: which plan will use it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::super::diagnostic::codes;
use super::super::raw::{self, At};
use super::super::text;
use super::{Entry, World, limits, prices, sizes};
use crate::domain::catalog::{Dialect, Latency, Model, Provider, ProviderIx, Role, Task};
use crate::domain::image::{Format, Size};
use crate::domain::quality::Prior;

/// The largest workflow, in bytes.
const MAX_WORKFLOW: usize = 1 << 20;

/// What models refer to.
pub(super) struct Market<'a> {
    pub(super) tasks: &'a [Task],
    pub(super) providers: &'a [Provider],
    pub(super) sizes: &'a [Entry<'a, At<Vec<At<String>>>>],
    pub(super) prior_weight: f64,
    pub(super) world: &'a World<'a>,
}

/// Workflows by the path that names them: the files that are part of the policy's meaning.
type Workflows = BTreeMap<String, Value>;

/// The models in the order of their ids, and the workflows that they use.
pub(super) fn models(entries: &[Entry<'_, raw::Model>], market: &Market<'_>) -> (Vec<Model>, Workflows) {
    let mut workflows = Workflows::new();
    let models = entries.iter().filter_map(|entry| model(entry, market, &mut workflows)).collect();
    (models, workflows)
}

fn model(entry: &Entry<'_, raw::Model>, market: &Market<'_>, workflows: &mut Workflows) -> Option<Model> {
    let Entry { scope, name, raw } = entry;
    let provider = provider(entry, market.providers);
    let dialect = provider.map_or(Dialect::Openai, |(_, provider)| provider.dialect);
    let role = role(entry, market);
    let rows = prices::prices(entry, dialect);
    let rates = raw.usd_per_million_tokens.as_ref().and_then(|rates| prices::token_rates(*scope, rates));
    let latency = raw.latency.as_ref().and_then(|latency| self::latency(entry, latency));
    let generates = raw.upscale.is_none();
    let priors = if generates { priors(entry, market) } else { Vec::new() };
    let own_name = name.value.split_once('/').map_or(name.value.as_str(), |(_, own)| own);
    let model = Model {
        id: name.value.as_str().into(),
        provider: provider.map(|(ix, _)| ix).unwrap_or_default(),
        remote: raw.remote.as_ref().map_or(own_name, |remote| &remote.value).into(),
        role: role?,
        prices: rows,
        tokens: rates,
        retired: raw.retired.as_ref().map(|day| day.value.0),
        off: raw.off.as_ref().map(|why| Arc::from(why.value.as_str())),
        seed: raw.max_seed.is_some(),
        max_seed: raw.max_seed.as_ref().map_or(0, |seed| seed.value),
        negative_prompt: raw.negative_prompt,
        max_images: max_images(entry),
        max_prompt_chars: raw.max_prompt_chars.as_ref().map(|chars| chars.value),
        formats: formats(&raw.formats),
        latency: latency.unwrap_or_default(),
        priors,
        limits: limits::limits(*scope, &raw.limits),
        options: options(entry, market.world, workflows),
        place: scope.place(&name.span),
    };
    let today = market.world.today;
    let priced = |size: Size| model.price(size, today).is_some();
    prices::coverage(entry, &model.role, &model.prices, priced, today);
    provider.is_some().then_some(model)
}

fn provider<'p>(entry: &Entry<'_, raw::Model>, providers: &'p [Provider]) -> Option<(ProviderIx, &'p Provider)> {
    let Entry { scope, name, .. } = entry;
    let Some((provider, own)) = name.value.split_once('/').filter(|(_, own)| !own.is_empty()) else {
        let help = "write provider and name: [model.\"stability/core\"]";
        scope.error(codes::E0402, format!("`{}` is no model id", name.value), &name.span, "no slash", help);
        return None;
    };
    scope.name("model", &At { value: own.to_owned(), span: name.span.clone() });
    let found = (0u16..).map(ProviderIx).zip(providers).find(|(_, known)| *known.name == *provider);
    if found.is_none() {
        let help = text::suggestion(provider, providers.iter().map(|provider| &*provider.name))
            .unwrap_or_else(|| format!("define it: [provider.{provider}]"));
        let message = format!("there is no provider `{provider}`");
        scope.error(codes::E0302, message, &name.span, "before the slash stands the provider", &help);
    }
    found
}

fn role(entry: &Entry<'_, raw::Model>, market: &Market<'_>) -> Option<Role> {
    let Entry { scope, name, raw } = entry;
    let given = usize::from(raw.sizes.is_some()) + usize::from(raw.free.is_some()) + usize::from(raw.upscale.is_some());
    if given == 0 && scope.is_excused(&name.span, &["sizes", "free", "upscale"]) {
        return None;
    }
    if given != 1 {
        let message = format!("model `{}` must have exactly one of `sizes`, `free` and `upscale`", name.value);
        let label = if given == 0 { "has none" } else { "has more than one" };
        let help = "`sizes` lists what it makes, `free` bounds it, `upscale` makes it an upscaler";
        scope.error(codes::E0504, message, &name.span, label, help);
        return None;
    }
    let listed = raw.sizes.as_ref().map(|list| Role::Generate(sizes::listed(*scope, list, market.sizes)));
    let free = raw.free.as_ref().and_then(|bounds| sizes::free(*scope, bounds)).map(Role::Generate);
    let upscale = raw.upscale.as_ref().and_then(|up| sizes::reach(*scope, up)).map(Role::Upscale);
    listed.or(free).or(upscale)
}

fn max_images(entry: &Entry<'_, raw::Model>) -> u8 {
    let Some(most) = &entry.raw.max_images else {
        return 1;
    };
    if most.value == 0 {
        let help = "leave it out for one image a call";
        entry.scope.error(codes::E0205, "`max_images` is zero".to_owned(), &most.span, "at least 1", help);
    }
    most.value.max(1)
}

fn formats(raw: &[raw::Format]) -> Vec<Format> {
    if raw.is_empty() {
        return vec![Format::Png];
    }
    let format = |format: &raw::Format| match format {
        raw::Format::Jpeg => Format::Jpeg,
        raw::Format::Png => Format::Png,
        raw::Format::Webp => Format::Webp,
    };
    raw.iter().map(format).collect()
}

fn latency(entry: &Entry<'_, raw::Model>, raw: &At<raw::Latency>) -> Option<Latency> {
    let half = raw.value.p50.as_ref().and_then(|text| entry.scope.duration("p50", text));
    let most = raw.value.p95.as_ref().and_then(|text| entry.scope.duration("p95", text));
    let latency = Latency { p50: half?, p95: most? };
    if latency.p95 < latency.p50 {
        let help = "nineteen of twenty calls cannot be faster than half of them";
        entry.scope.error(codes::E0205, "`p95` is below `p50`".to_owned(), &raw.span, "swapped?", help);
    }
    Some(latency)
}

/// One prior a task, in the catalog's order.
fn priors(entry: &Entry<'_, raw::Model>, market: &Market<'_>) -> Vec<Prior> {
    let Entry { scope, name, raw } = entry;
    let usual = raw.accept_default.as_ref().and_then(|number| scope.fraction("accept_default", number));
    for (task, number) in &raw.accept {
        scope.fraction(&format!("accept.{}", task.value), number);
        if !market.tasks.iter().any(|known| *known.name == *task.value) {
            let help = text::suggestion(&task.value, market.tasks.iter().map(|task| &*task.name))
                .unwrap_or_else(|| format!("define it: [task.{}]", task.value));
            scope.error(codes::E0303, format!("there is no task `{}`", task.value), &task.span, "not defined", &help);
        }
    }
    let of = |task: &Task| raw.accept.iter().find(|(name, _)| name.value == *task.name).map(|(_, number)| number.value);
    let missing: Vec<&str> = market.tasks.iter().filter(|task| of(task).is_none()).map(|task| &*task.name).collect();
    let excused = scope.is_excused(&name.span, &["accept", "accept_default"]);
    if raw.accept_default.is_none() && !missing.is_empty() && !excused {
        let message = format!("model `{}` has no acceptance for {}", name.value, missing.join(", "));
        let help = "say how likely a person accepts its images: accept = { … }, or accept_default for the rest";
        scope.error(codes::E0506, message, &name.span, "not judged for every task", help);
    }
    let mean = |task: &Task| of(task).or(usual).unwrap_or_default();
    market.tasks.iter().map(|task| Prior { mean: mean(task), weight: market.prior_weight }).collect()
}

/// The dialect's settings; a `workflow` is the file's JSON instead of its path.
fn options(entry: &Entry<'_, raw::Model>, world: &World<'_>, workflows: &mut Workflows) -> BTreeMap<String, Value> {
    let mut options: BTreeMap<String, Value> =
        entry.raw.options.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect();
    let written = entry.raw.options.iter().find(|(name, _)| name.value == "workflow").map(|(_, value)| value);
    let Some(path) =
        written.and_then(|value| Some(At { value: value.value.as_str()?.to_owned(), span: value.span.clone() }))
    else {
        return options;
    };
    match workflow(entry.scope.source.name(), &path.value, world) {
        Ok(graph) => {
            workflows.insert(path.value.clone(), graph.clone());
            options.insert("workflow".to_owned(), graph);
        }
        Err(why) => {
            let help = "name a file beside the policy, or one of the built-in workflows: \"builtin:sd35-large\"";
            let message = format!("the workflow `{}` cannot be used", path.value);
            entry.scope.error(codes::E0507, message, &path.span, &why, help);
        }
    }
    options
}

fn workflow(policy: &str, path: &str, world: &World<'_>) -> Result<Value, String> {
    let text = if let Some(name) = path.strip_prefix("builtin:") {
        super::super::builtin::workflow(name).ok_or_else(|| "no such built-in workflow".to_owned())?.to_owned()
    } else {
        let beside = Path::new(policy).parent().unwrap_or_else(|| Path::new("")).join(path);
        world.env.read(&beside.to_string_lossy()).map_err(|error| error.to_string())?
    };
    if text.len() > MAX_WORKFLOW {
        return Err("larger than 1 MiB".to_owned());
    }
    let graph: Value = serde_json::from_str(&text).map_err(|error| format!("not JSON: {error}"))?;
    if graph.is_object() { Ok(graph) } else { Err("not a JSON object".to_owned()) }
}
