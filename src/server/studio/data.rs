//! The studio's data as JSON.
//!
//! Why it exists: the page adds and draws; what it adds is written here, money in whole micro-dollars so that its sums
//! are exact. What it refuses to know: how it is read, and how it looks.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::problem::Problem;
use super::super::wire::{answer, json::Json};
use super::query::Query;
use crate::domain::money::Money;
use crate::domain::refusal::Refusal;
use crate::engine::Engine;
use crate::engine::studio::{Outlook, Point, Viewer};
use crate::state::Record;
use crate::state::studio::gallery::{Generation, Shot, Stage, Verdict, Wanted, Window};
use crate::state::studio::sums::Sum;

/// Who looks, and what the policy offers.
pub(super) fn about(engine: &Arc<Engine>, viewer: &Viewer) -> String {
    let snapshot = engine.snapshot();
    let mut json = Json::default();
    json.object(|json| {
        json.key("name").text(&viewer.name);
        json.key("sees").text(if viewer.owner.is_none() { "all" } else { "own" });
        json.key("keys").raw(!snapshot.keys.is_empty());
        json.key("tasks").array(&snapshot.catalog.tasks, |json, task| {
            json.object(|json| {
                json.key("name").text(&task.name);
                json.key("about").text(&task.about);
            });
        });
        let generators = snapshot.catalog.models.iter().filter(|model| model.sizes().is_some());
        json.key("models").texts(generators.map(|model| &*model.id));
        json.key("tiers").array(&snapshot.tiers, |json, tier| {
            json.object(|json| {
                json.key("name").text(&tier.name);
                json.key("about").text(&tier.about);
                json.key("quality").number(tier.quality);
            });
        });
        json.key("quality").number(snapshot.defaults.quality.value);
        json.key("tier").text_or_null(snapshot.defaults.quality.tier.as_deref());
        json.key("review_micros").raw(snapshot.defaults.review_cost.micros());
        json.key("best").array(engine.best_models(), |json, best| {
            json.object(|json| {
                json.key("task").text(&best.task);
                json.key("model").text(&best.model);
                json.key("accept").number(best.accept);
                json.key("micros").raw(best.cost.micros());
            });
        });
        json.key("policy").text(&snapshot.digest);
        json.key("version").text(env!("CARGO_PKG_VERSION"));
    });
    json.finish()
}

/// A window of the wall.
pub(super) async fn wall(engine: &Arc<Engine>, viewer: Viewer, asked: &Query) -> Result<String, Problem> {
    let stage = Stage::from_name(asked.text("stage"));
    let wanted = Wanted {
        owner: viewer.owner,
        task: asked.text("task").to_owned(),
        model: asked.text("model").to_owned(),
        project: asked.text("project").to_owned(),
        prompt: asked.text("prompt").to_owned(),
        stage: stage.ok_or_else(|| Query::bad("stage", "any, open, accepted or rejected"))?,
    };
    let first = asked.number("first", 0..=u64::from(u32::MAX), 0)?;
    let most = asked.number("most", 1..=500, 200)?;
    let Window { total, first, shots, generations } = engine.wall(&wanted, first, most).await?;
    let mut json = Json::default();
    json.object(|json| {
        json.key("total").raw(total);
        json.key("first").raw(first);
        json.key("pictures").array(&shots, |json, shot| {
            json.object(|json| picture(json, shot));
        });
        json.key("generations").object(|json| {
            for (id, generation) in &generations {
                json.key(id).object(|json| common(json, generation));
            }
        });
    });
    Ok(json.finish())
}

fn picture(json: &mut Json, shot: &Shot) {
    json.key("id").text(&shot.generation);
    json.key("image").raw(shot.image);
    json.key("file").text(&shot.file);
    json.key("verdict");
    match &shot.newest {
        None => json.raw("null"),
        Some(newest) => json.object(|json| verdict(json, newest)),
    };
}

fn common(json: &mut Json, generation: &Generation) {
    json.key("at").raw(generation.created.as_millisecond());
    json.key("key").text(&generation.key);
    json.key("task").text(&generation.task);
    json.key("model").text(&generation.model);
    json.key("plan").text(&generation.plan);
    json.key("prompt").text_or_null(generation.prompt.as_deref());
    json.key("prompt_sha256").text(&generation.prompt_sha256);
    json.key("metadata").raw(text_pairs(&generation.metadata));
    json.key("images").raw(generation.images);
    json.key("micros").raw(generation.cost.micros());
}

fn verdict(json: &mut Json, verdict: &Verdict) {
    json.key("image").raw(verdict.image);
    json.key("rater").text(&verdict.rater);
    json.key("accepted").raw(verdict.accepted);
    json.key("reason").text(&verdict.reason);
    json.key("at").raw(verdict.given.as_millisecond());
}

/// One generation, whole.
pub(super) async fn story(engine: &Arc<Engine>, viewer: &Viewer, id: &str) -> Result<String, Problem> {
    let found = engine.story(viewer, id).await?;
    let (record, said) = found.ok_or_else(|| Refusal::NotFound("There is no such generation.".to_owned()))?;
    let Record { opening, closing } = record;
    let attempts = closing.as_ref().map_or(&opening.attempts, |closing| &closing.attempts);
    let mut json = Json::default();
    json.object(|json| {
        json.key("id").text(&opening.id);
        json.key("at").raw(opening.created.as_millisecond());
        json.key("key").text(&opening.key);
        json.key("task").text(&opening.task);
        json.key("plan").text(&opening.plan);
        json.key("rule").text_or_null(opening.rule.as_deref());
        json.key("policy").text(&opening.policy);
        json.key("prompt").text_or_null(opening.prompt.as_deref());
        json.key("prompt_sha256").text(&opening.prompt_sha256);
        json.key("metadata").raw(text_pairs(&opening.metadata));
        json.key("expected").object(|json| {
            json.key("accept").number(opening.expected_accept);
            json.key("micros").raw(opening.expected_cost.micros());
        });
        // How it was decided is JSON already.
        json.key("decision").raw(opening.decision.as_deref().unwrap_or("null"));
        json.key("reserved_micros").raw(opening.reserved.micros());
        let sums = crate::domain::ledger::Sums::of(attempts);
        json.key("settled_micros").raw(sums.settled.micros());
        json.key("ambiguous_micros").raw(sums.ambiguous.micros());
        answer::attempts(json, attempts);
        if let Some(closing) = &closing {
            json.key("outcome").text(closing.outcome);
            json.key("model").text(&closing.model);
            json.key("latency_ms").millis(closing.latency);
            json.key("files").texts(closing.images.iter().map(String::as_str));
            // What the engine kept of its answer is JSON already.
            json.key("answer").raw(closing.answer.as_deref().unwrap_or("null"));
        }
        json.key("verdicts").array(&said, |json, said| {
            json.object(|json| verdict(json, said));
        });
    });
    Ok(json.finish())
}

/// Microseconds of an hour and of a day.
const SLOTS: (i64, i64) = (3_600_000_000, 86_400_000_000);

/// Money and verdicts of the last days, in hours or days of UTC.
pub(super) async fn spend(
    engine: &Arc<Engine>,
    viewer: &Viewer,
    asked: &Query,
    now: Timestamp,
) -> Result<String, Problem> {
    let days = asked.number("days", 1..=366, 7)?;
    let slot = if days <= 2 { SLOTS.0 } else { SLOTS.1 };
    let span = i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(SLOTS.1);
    let last = now.as_microsecond().div_euclid(slot) * slot;
    let since = Timestamp::from_microsecond((last + slot).saturating_sub(span)).unwrap_or(Timestamp::UNIX_EPOCH);
    let sums = engine.sums(viewer, since, slot).await?;
    let budgets = engine.outlooks(viewer).await?;
    let mut json = Json::default();
    json.object(|json| {
        json.key("since").raw(since.as_millisecond());
        json.key("until").raw((last + slot) / 1_000);
        json.key("slot_ms").raw(slot / 1_000);
        json.key("sums").array(&sums, |json, row| {
            json.object(|json| sum(json, row));
        });
        json.key("budgets").array(&budgets, |json, outlook| {
            json.object(|json| budget(json, outlook));
        });
    });
    Ok(json.finish())
}

fn budget(json: &mut Json, Outlook { standing, end, exhausted }: &Outlook) {
    json.key("name").text(&standing.name);
    json.key("period").text(standing.budget.period.name());
    json.key("cap").raw(standing.budget.cap.micros());
    json.key("settled").raw(standing.total.settled.micros());
    json.key("reserved").raw(standing.total.reserved.micros());
    json.key("ambiguous").raw(standing.total.ambiguous.micros());
    let or_null = |number: Option<i64>| number.map_or_else(|| "null".to_owned(), |number| number.to_string());
    json.key("forecast").raw(or_null(end.map(Money::micros)));
    json.key("exhausted_at").raw(or_null(exhausted.map(Timestamp::as_millisecond)));
}

fn sum(json: &mut Json, sum: &Sum) {
    json.key("at").raw(sum.at.as_millisecond());
    json.key("task").text(&sum.task);
    json.key("model").text(&sum.model);
    json.key("project").text(&sum.project);
    json.key("settled").raw(sum.settled.micros());
    json.key("ambiguous").raw(sum.ambiguous.micros());
    json.key("generations").raw(sum.generations);
    json.key("images").raw(sum.images);
    json.key("expected").number(sum.expected);
    json.key("judged").raw(sum.judged);
    json.key("accepted").raw(sum.accepted);
}

/// What each floor would buy for a task.
pub(super) async fn what_if(engine: &Arc<Engine>, viewer: &Viewer, asked: &Query) -> Result<String, Problem> {
    let task = asked.text("task");
    let found = engine.what_if(viewer, task).await?;
    let found = found.ok_or_else(|| Query::bad("task", "a task of the policy"))?;
    let mut json = Json::default();
    json.object(|json| {
        json.key("task").text(task);
        json.key("requests").raw(found.requests);
        json.key("points").array(&found.points, |json, at| {
            json.object(|json| point(json, at));
        });
    });
    Ok(json.finish())
}

fn point(json: &mut Json, point: &Point) {
    json.key("floor").number(f64::from(point.floor) / 100.0);
    json.key("met").number(point.met);
    json.key("micros").raw(point.cost.micros());
    json.key("accept").number(point.accept);
    json.key("per_accepted_micros").raw(point.per_accepted.micros());
    json.key("mix").array(&point.mix, |json, (model, share)| {
        json.object(|json| {
            json.key("model").text(model);
            json.key("share").number(*share);
        });
    });
}

/// An object whose names are the caller's, so they are escaped too.
fn text_pairs(pairs: &std::collections::BTreeMap<String, String>) -> String {
    serde_json::to_string(pairs).unwrap_or_else(|_| "{}".to_owned())
}
