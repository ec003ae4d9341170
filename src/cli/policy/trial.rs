//! `tollgate policy test`: cases that a policy must decide as they say.
//!
//! Why it exists: a policy is code that spends money, so its decisions are pinned like any other code's: a request, a
//! world, and the plan, the rule, the reasons or the cap that must come of them. It plans with the planner's own
//! function. What it refuses to know: gateways.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::args::TestArgs;
use super::super::console::{Console, Style};
use super::super::exit::{Exit, Failure};
use super::super::house;
use super::read;
use crate::domain::plan::explain::{Explained, explain};
use crate::domain::plan::{Gate, View, plan};
use crate::domain::quality::{Posterior, Prior};
use crate::policy::Snapshot;
use crate::policy::replay::words;
use crate::server;

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The policy, beside the file.
    policy: Option<PathBuf>,
    #[serde(default)]
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The body of a request.
    request: toml::Table,
    /// The caller's key, by name.
    #[serde(default)]
    key: String,
    #[serde(default)]
    world: World,
    expect: Expect,
}

/// How the world differs from the policy's own guesses.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct World {
    /// The day for prices and retirements; today when absent.
    date: Option<String>,
    /// Models and providers whose limits have no room.
    #[serde(default)]
    spent: Vec<String>,
    /// Models and providers whose breaker is open.
    #[serde(default)]
    broken: Vec<String>,
    /// Accepts and rejects of people, by model.
    #[serde(default)]
    verdicts: BTreeMap<String, (f64, f64)>,
    /// Median latency in seconds, by model.
    #[serde(default)]
    seconds: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// In words, `model → upscaler`; without the resize at the end, if one follows.
    plan: Option<String>,
    model: Option<String>,
    task: Option<String>,
    rule: Option<String>,
    /// The plan's worst price is at most this.
    max_cost_usd: Option<f64>,
    /// Reasons against models, by code.
    #[serde(default)]
    refused: BTreeMap<String, String>,
    /// True: no plan is left.
    #[serde(default)]
    none: bool,
}

struct Verdict {
    file: String,
    name: String,
    rule: Option<String>,
    wrong: Vec<String>,
}

/// Exit 1 when a case fails.
pub(super) fn run(args: &TestArgs, console: Console) -> Result<Exit, Failure> {
    let mut verdicts = Vec::new();
    let mut idle = BTreeSet::new();
    for path in &args.files {
        let file = parse(path)?;
        let beside = |policy: &PathBuf| path.parent().unwrap_or(Path::new("")).join(policy);
        let place = args.policy.clone().or_else(|| file.policy.as_ref().map(beside));
        let place = place.ok_or_else(|| {
            Failure::usage(format!("{} names no policy", path.display()))
                .help("write `policy = \"…\"` at its top, or give --policy")
        })?;
        let snapshot = read(&place)?;
        idle.extend(snapshot.rules.iter().map(|rule| rule.id.to_string()));
        for case in &file.case {
            verdicts.push(judge(case, &snapshot, path)?);
        }
    }
    for verdict in &verdicts {
        verdict.rule.as_ref().map(|rule| idle.remove(rule));
    }
    report(&verdicts, &idle, console)?;
    Ok(if verdicts.iter().all(|verdict| verdict.wrong.is_empty()) { Exit::Ok } else { Exit::Usage })
}

fn parse(path: &Path) -> Result<File, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|why| Failure::usage(format!("{} cannot be read: {why}", path.display())))?;
    toml::from_str(&text).map_err(|wrong| {
        let before = text.get(..wrong.span().map_or(0, |span| span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Failure::usage(format!("{}:{line}:{column}: {}", path.display(), wrong.message()))
    })
}

fn judge(case: &Case, snapshot: &Snapshot, file: &Path) -> Result<Verdict, Failure> {
    let wrong = |what: String| Failure::usage(format!("{}, case `{}`: {what}", file.display(), case.name));
    let body = serde_json::to_string(&case.request).map_err(|why| wrong(why.to_string()))?;
    let (ask, _) = server::read_ask(body.as_bytes()).map_err(|refusal| wrong(super::refused(&refusal)))?;
    let request =
        snapshot.resolve(ask, &case.key).map_err(|one| wrong(format!("{} (at {})", one.detail, one.pointer)))?;
    let day = match &case.world.date {
        None => house::today(),
        Some(date) => date.parse::<Date>().map_err(|why| wrong(format!("the date {date}: {why}")))?,
    };
    let view = world(&case.world, snapshot, snapshot.guess(request.task)).map_err(wrong)?;
    let planned = plan(&request, &snapshot.catalog, &view, day);
    let explained = explain(&planned, &request, &snapshot.catalog, &view);
    let found = planned.best().map(|best| words(best, &snapshot.catalog));
    Ok(Verdict {
        file: file.display().to_string(),
        name: case.name.clone(),
        rule: explained.rule.as_deref().map(str::to_owned),
        wrong: differences(&case.expect, found.as_deref(), &explained),
    })
}

/// The policy's guesses with the case's differences put over them.
fn world(world: &World, snapshot: &Snapshot, mut view: View) -> Result<View, String> {
    let catalog = &snapshot.catalog;
    let minute = Duration::from_mins(1);
    let named = world.spent.iter().chain(&world.broken).chain(world.verdicts.keys()).chain(world.seconds.keys());
    for name in named {
        let known = catalog.find_model(name).is_some() || catalog.providers.iter().any(|one| *one.name == **name);
        if !known {
            return Err(format!("the policy has no model or provider `{name}`"));
        }
    }
    for (model, seen) in catalog.models.iter().zip(&mut view.models) {
        let provider = catalog.provider(model.provider).map_or("", |provider| &provider.name);
        let has = |names: &[String]| names.iter().any(|name| **name == *model.id || name == provider);
        if has(&world.spent) {
            seen.gate = Gate::Spent(minute);
        }
        if has(&world.broken) {
            seen.gate = Gate::Broken(minute);
        }
        if let Some((accepts, rejects)) = world.verdicts.get(&*model.id) {
            let prior = Prior { mean: seen.accept.mean(), weight: seen.accept.alpha + seen.accept.beta };
            seen.accept = Posterior::new(prior, *accepts, *rejects);
        }
        if let Some(seconds) = world.seconds.get(&*model.id) {
            seen.latency.p50 = Duration::try_from_secs_f64(*seconds).map_err(|why| why.to_string())?;
            seen.latency.p95 = seen.latency.p95.max(seen.latency.p50);
        }
    }
    Ok(view)
}

fn differences(expect: &Expect, found: Option<&str>, explained: &Explained) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut same = |what: &str, expected: Option<&str>, found: Option<&str>| {
        if let Some(expected) = expected
            && found != Some(expected)
        {
            wrong.push(format!("{what}: expected {expected}, found {}", found.unwrap_or("none")));
        }
    };
    let chosen = explained.lines.iter().find(|line| line.chosen);
    let trimmed = found.map(|found| found.trim_end_matches(" → resize"));
    let plan = expect.plan.as_deref();
    same("plan", plan, if plan == found { found } else { trimmed });
    same("model", expect.model.as_deref(), chosen.map(|line| &*line.model));
    same("task", expect.task.as_deref(), Some(&explained.task));
    same("rule", expect.rule.as_deref(), explained.rule.as_deref());
    for (model, code) in &expect.refused {
        let lines = || explained.lines.iter().filter(|line| *line.model == **model);
        let reasons: BTreeSet<&str> = lines().filter_map(|line| line.reason.as_ref()).map(|why| why.code).collect();
        if !reasons.contains(code.as_str()) {
            let listed: Vec<&str> = reasons.into_iter().collect();
            wrong.push(format!("{model}: expected against it {code}, found {}", listed.join(", ")));
        }
    }
    if let (Some(most), Some(line)) = (expect.max_cost_usd, chosen)
        && line.worst_cost.micros() as f64 > most * 1e6
    {
        wrong.push(format!("cost: expected at most ${most}, may be ${}", line.worst_cost));
    }
    if expect.none && found.is_some() {
        wrong.push(format!("expected no plan, found {}", found.unwrap_or_default()));
    }
    wrong
}

fn report(verdicts: &[Verdict], idle: &BTreeSet<String>, console: Console) -> Result<(), Failure> {
    let failed = verdicts.iter().filter(|verdict| !verdict.wrong.is_empty()).count();
    if console.json {
        let cases: Vec<Value> = verdicts
            .iter()
            .map(|one| json!({"file": one.file, "case": one.name, "ok": one.wrong.is_empty(), "wrong": one.wrong}))
            .collect();
        return console.value(&json!({"cases": cases, "failed": failed, "untested_rules": idle}));
    }
    for verdict in verdicts {
        let ok = verdict.wrong.is_empty();
        let (style, word) = if ok { (Style::Green, "ok  ") } else { (Style::Red, "FAIL") };
        console.data(format_args!("{} {}", style.paint(word, console.styles_data()), verdict.name))?;
        verdict.wrong.iter().try_for_each(|wrong| console.data(format_args!("       {wrong}")))?;
    }
    if !idle.is_empty() {
        let names: Vec<&str> = idle.iter().map(String::as_str).collect();
        console.say(format_args!("no case reaches these rules: {}", names.join(", ")));
    }
    console.say(format_args!("{} cases, {failed} failed", verdicts.len()));
    Ok(())
}
