//! Rules and `[defaults]`: names become indices, conditions become programs.
//!
//! Why it exists: a rule that cannot match, or never gets its turn, is a mistake that no request would show. What it
//! refuses to know: how a condition is evaluated or searched (`condition/`).

use super::super::condition::{Condition, Reach, World};
use super::super::diagnostic::{Diagnostic, codes};
use super::super::raw::{self, At, Level, OnModeration, Takeover};
use super::super::snapshot::{Defaults, Floor, Rule, Tier};
use super::super::source::Span;
use super::super::text;
use super::values::Scope;
use super::{Entry, floors, twice};
use crate::domain::catalog::{Catalog, ModelIx};
use crate::domain::money::Money;
use crate::domain::plan::cost::Retries;
use crate::domain::rule::{Explore, Share, Source, Term};

/// What rules refer to.
pub(super) struct Whole<'a> {
    pub(super) catalog: &'a Catalog,
    /// Every model that is written, compiled or not.
    pub(super) written: &'a [Entry<'a, raw::Model>],
    pub(super) tiers: &'a [Tier],
}

impl Whole<'_> {
    /// Whether every model that is written was compiled: only then is a floor that none meets a mistake of its own.
    pub(super) const fn is_complete(&self) -> bool {
        self.catalog.models.len() == self.written.len()
    }
}

/// What holds when neither the request nor a rule says otherwise; `None` when a required key is missing or wrong.
pub(super) fn defaults(entry: &Entry<'_, At<raw::Defaults>>, whole: &Whole<'_>) -> Option<Defaults> {
    let (scope, raw) = (entry.scope, &entry.raw.value);
    let quality = raw.quality.as_ref().and_then(|level| floor(scope, level, whole));
    let deadline = scope.term(raw.deadline.as_ref(), |text| scope.duration("deadline", text));
    let max_cost = scope.term(raw.max_cost_usd.as_ref(), |usd| scope.money("max_cost_usd", usd));
    let review_cost = raw.review_cost_usd.as_ref().and_then(|usd| scope.money("review_cost_usd", usd));
    Some(Defaults {
        quality: quality?,
        deadline: deadline?,
        max_cost,
        review_cost: review_cost.unwrap_or(Money::ZERO),
        wait_value: raw.wait_value_usd_per_s.as_ref().and_then(|usd| scope.money("wait_value_usd_per_s", usd)),
        retries: retries(scope, raw),
        share: raw.share.map(share).unwrap_or_default(),
        explore: raw.explore.map(explore).unwrap_or_default(),
        drop_negative_prompt: raw.drop_negative_prompt.unwrap_or(false),
        moderated_next: matches!(raw.on_moderation, Some(OnModeration::NextPlan)),
        buy_again: matches!(raw.takeover, Some(Takeover::BuyAgain)),
        retry_window: raw.retry_window.as_ref().and_then(|text| scope.duration("retry_window", text)),
    })
}

/// How often a person asks again, and how alike the tries are.
fn retries(scope: Scope<'_>, raw: &raw::Defaults) -> Retries {
    let usual = Retries::default();
    let tries = raw.tries.as_ref().map_or(usual.tries, |tries| {
        if !(1..=MAX_TRIES).contains(&tries.value) {
            let help = "a person who never asks again tries once";
            scope.error(codes::E0205, "`tries` is out of range".to_owned(), &tries.span, "from 1 to 8", help);
        }
        tries.value
    });
    let correlation = raw.retry_correlation.as_ref();
    let correlation = correlation.and_then(|number| scope.fraction("retry_correlation", number));
    Retries { tries, correlation: correlation.unwrap_or(usual.correlation) }
}

/// The most tries that a policy may count with.
const MAX_TRIES: u8 = 8;

/// The rules, in the order of the files.
pub(super) fn rules(rows: &[(Scope<'_>, &raw::Rule)], whole: &Whole<'_>) -> Vec<Rule> {
    let tasks: Vec<&str> = whole.catalog.tasks.iter().map(|task| &*task.name).collect();
    let tiers: Vec<&str> = whole.tiers.iter().map(|tier| &*tier.name).collect();
    let world = World { tasks: &tasks, tiers: &tiers };
    let mut always: Option<(Scope<'_>, &Span)> = None;
    let mut rules = Vec::new();
    for (at, (scope, row)) in rows.iter().enumerate() {
        let id = row.id.as_ref();
        if let Some(id) = id {
            scope.name("rule", id);
            let earlier = rows.iter().take(at).find(|(_, other)| other.id.as_ref() == Some(id));
            if let Some((first, span)) = earlier.and_then(|(first, other)| Some((*first, &other.id.as_ref()?.span))) {
                twice(*scope, &format!("the rule `{}`", id.value), &id.span, first, span);
            }
        }
        let rule = rule(*scope, row, whole);
        let condition = row.when.as_ref().and_then(|when| condition(*scope, when, &world));
        if let (Some(id), Some(when)) = (id, &row.when) {
            reachable(*scope, id, when, condition.as_ref(), &world, &mut always);
        }
        if let (Some(mut rule), Some(condition)) = (rule, condition) {
            rule.condition = condition;
            rules.push(rule);
        }
    }
    rules
}

fn rule(scope: Scope<'_>, row: &raw::Rule, whole: &Whole<'_>) -> Option<Rule> {
    let quality = row.quality.as_ref().and_then(|level| floor(scope, level, whole));
    let only = row.only.as_ref().map(|patterns| models(scope, patterns, whole));
    let never = row.never.as_ref().map(|patterns| models(scope, patterns, whole));
    let rule = Rule {
        id: row.id.as_ref().map_or("", |id| &id.value).into(),
        condition: Condition::never(),
        deadline: scope.term(row.deadline.as_ref(), |text| scope.duration("deadline", text)),
        max_cost: scope.term(row.max_cost_usd.as_ref(), |usd| scope.money("max_cost_usd", usd)),
        only,
        never,
        share: row.share.map(share),
        drop_negative_prompt: row.drop_negative_prompt,
        moderated_next: row.on_moderation.map(|choice| matches!(choice, OnModeration::NextPlan)),
        review_cost: row.review_cost_usd.as_ref().and_then(|usd| scope.money("review_cost_usd", usd)),
        quality,
        place: scope.place(&row.id.as_ref()?.span),
    };
    if whole.is_complete() {
        floors::rule(scope, row, &rule, whole.catalog);
    }
    Some(rule)
}

/// A tier's floor, or a number.
fn floor(scope: Scope<'_>, level: &At<Level>, whole: &Whole<'_>) -> Option<Floor> {
    match &level.value {
        Level::Number(number) => {
            let value = scope.fraction_of("quality", *number, &level.span)?;
            Some(Floor { value, tier: None, place: scope.place(&level.span) })
        }
        Level::Tier(name) => {
            let tier = whole.tiers.iter().find(|tier| *tier.name == **name);
            if tier.is_none() {
                let help = text::suggestion(name, whole.tiers.iter().map(|tier| &*tier.name))
                    .unwrap_or_else(|| format!("define it: [tier.{name}]; or write a number from 0 to 1"));
                let message = format!("there is no tier `{name}`");
                scope.error(codes::E0304, message, &level.span, "not defined", &help);
            }
            tier.map(Floor::of)
        }
    }
}

/// The models that any of the patterns matches.
fn models(scope: Scope<'_>, patterns: &At<Vec<At<String>>>, whole: &Whole<'_>) -> Term<Vec<ModelIx>> {
    let mut chosen: Vec<ModelIx> = Vec::new();
    for pattern in &patterns.value {
        let matched = whole.catalog.models().filter(|(_, model)| text::matches(&pattern.value, &model.id));
        chosen.extend(matched.map(|(ix, _)| ix));
        let mut written = whole.written.iter().map(|model| model.name.value.as_str());
        if !written.clone().any(|id| text::matches(&pattern.value, id)) {
            let help = text::nearest(&pattern.value, &mut written).map_or_else(
                || "write a model's id, or a pattern such as \"ideogram/*\"".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("no model matches `{}`", pattern.value);
            scope.error(codes::E0305, message, &pattern.span, "matches nothing", &help);
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    Term { value: chosen, source: Source::Policy(scope.place(&patterns.span)) }
}

fn condition(scope: Scope<'_>, when: &At<String>, world: &World<'_>) -> Option<Condition> {
    match Condition::compile(&when.value, world) {
        Ok(condition) => Some(condition),
        Err(flaws) => {
            for flaw in flaws {
                let span = within(scope, when, flaw.span.as_ref());
                let code = if flaw.costly { codes::E0602 } else { codes::E0601 };
                scope.report(code, flaw.message, &span, &flaw.label, flaw.help);
            }
            None
        }
    }
}

/// The place of a part of the text, where the file has it literally; else the place of the whole.
fn within(scope: Scope<'_>, text: &At<String>, part: Option<&Span>) -> Span {
    let written = scope.source.slice(&text.span);
    let (Some(part), Some(start)) = (part, written.find(&text.value)) else {
        return text.span.clone();
    };
    let shifted = text.span.start + start + part.start..text.span.start + start + part.end;
    if part.end <= text.value.len() && shifted.start < shifted.end { shifted } else { text.span.clone() }
}

/// Reports a rule that never matches, or stands behind one that always does.
fn reachable<'a>(
    scope: Scope<'a>,
    id: &At<String>,
    when: &'a At<String>,
    condition: Option<&Condition>,
    world: &World<'_>,
    always: &mut Option<(Scope<'a>, &'a Span)>,
) {
    if let Some((first, span)) = *always {
        let found = Diagnostic::new(codes::E0604, format!("the rule `{}` never gets its turn", id.value))
            .label(scope.source, &id.span, "never reached")
            .label(first.source, span, "this always matches")
            .help("the first matching rule decides: move this one up, or narrow the other");
        scope.sink.report(found);
        return;
    }
    match condition.map(|condition| condition.reach(world)) {
        Some(Reach::Never) => {
            let message = format!("the rule `{}` can never match", id.value);
            let help = "no task, tier, size or other value that a request can have makes it true";
            scope.error(codes::E0603, message, &when.span, "always false", help);
        }
        Some(Reach::Always) => *always = Some((scope, &when.span)),
        Some(Reach::Sometimes) | None => {}
    }
}

const fn explore(raw: raw::Explore) -> Explore {
    match raw {
        raw::Explore::Off => Explore::Off,
        raw::Explore::Optimistic => Explore::Optimistic,
        raw::Explore::Sampled => Explore::Sampled,
    }
}

const fn share(raw: raw::Share) -> Share {
    match raw {
        raw::Share::Identical => Share::Identical,
        raw::Share::Seeded => Share::Seeded,
        raw::Share::Never => Share::Never,
    }
}
