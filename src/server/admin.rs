//! The admin plane: health, metrics, the policy in force, how providers stand.
//!
//! Why it exists: what an operator or a probe asks, read from the engine's own state. It shows no secret: credentials
//! are of a type that nothing prints, and keys are shown by name. What it refuses to know: callers.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Response;

use super::payload::Payload;
use super::problem;
use super::routes::{json, text};
use super::wire::json::Json;
use crate::domain::canary::Arm;
use crate::domain::catalog::{Catalog, Model, Price, Provider, Role, Unit};
use crate::domain::money::Money;
use crate::domain::quota::Mode;
use crate::engine::trial::Mode as TrialMode;
use crate::engine::{BudgetStanding, Engine, ModelStanding, Standing, TrialStanding};
use crate::policy::Snapshot;
use crate::policy::watch::{Cause, ReloadReport};
use crate::state::limits::{Counting, Left};

/// `GET /healthz`: the process runs.
pub(super) fn health(engine: &Arc<Engine>) -> Response<Payload> {
    let mut body = Json::default();
    body.object(|body| {
        body.key("status").text("ok");
        body.key("version").text(env!("CARGO_PKG_VERSION"));
        body.key("policy").text(&engine.snapshot().digest);
    });
    json(Payload::of(body.finish()))
}

/// `GET /readyz`: it can serve.
pub(super) fn ready(engine: &Arc<Engine>) -> Response<Payload> {
    let (ready, snapshot) = (engine.ready(), engine.snapshot());
    let mut body = Json::default();
    body.object(|body| {
        body.key("status").text(if ready { "ready" } else { "not ready" });
        if !ready {
            body.key("why").text("no provider that is on has a generator that is on");
            body.key("off").texts(snapshot.off_lines().iter().map(String::as_str));
        }
    });
    let mut answer = json(Payload::of(body.finish()));
    if !ready {
        *answer.status_mut() = problem::NOT_READY;
    }
    answer
}

/// `GET /metrics`: what stands now is read now, the rest was told as it happened.
pub(super) async fn metrics(engine: &Arc<Engine>) -> Response<Payload> {
    let telemetry = engine.telemetry();
    let standings = engine.standings();
    match engine.doubt().await {
        Ok(sums) => {
            // What was in doubt and no longer is goes back to zero.
            for standing in &standings {
                telemetry.doubt(&standing.name, Money::ZERO, None);
            }
            for doubt in &sums {
                telemetry.doubt(&doubt.provider, doubt.sum, Some(doubt.oldest));
            }
        }
        Err(_) => telemetry.ledger_error("unavailable"),
    }
    telemetry.budgets_anew();
    match engine.budgets().await {
        Ok(budgets) => budgets.iter().for_each(|budget| {
            telemetry.budget(&budget.name, budget.budget.cap, budget.total, budget.resets, budget.forecast);
        }),
        Err(_) => telemetry.ledger_error("unavailable"),
    }
    for standing in standings {
        telemetry.breaker(&standing.name, standing.breaker);
        for left in &standing.quota {
            telemetry.quota_left(&standing.name, &left.name, left.left, left.capacity);
        }
        for model in &standing.models {
            for left in &model.quota {
                telemetry.quota_left(&model.id, &left.name, left.left, left.capacity);
            }
        }
        for model in &standing.models {
            model.price.iter().for_each(|price| telemetry.price(&standing.name, &model.id, *price));
            model.accept.iter().for_each(|accept| telemetry.acceptance(&model.id, &accept.task, accept.posterior));
        }
    }
    let trial = engine.trial();
    let tried = trial.as_ref().and_then(|trial| Some((trial.policy.as_deref()?, trial.mode.name())));
    telemetry.trial(tried, trial.as_ref().map_or("off", |trial| trial.state));
    let counting = engine.counting();
    let (replicas, redis) = heard(counting);
    telemetry.quota_mode(counting.name());
    telemetry.counting(replicas, redis);
    text("text/plain; version=0.0.4; charset=utf-8", telemetry.render())
}

/// `POST /-/reload`.
pub(super) async fn reload(engine: &Arc<Engine>) -> Response<Payload> {
    let report = engine.snapshots().reload(Cause::Asked).await;
    let trial = engine.reload_trial().await;
    let mut body = Json::default();
    body.object(|body| {
        last_reload(body, &report);
        if let Some(report) = &trial {
            body.key("trial").object(|body| last_reload(body, report));
        }
    });
    let mut answer = json(Payload::of(body.finish()));
    if !report.ok {
        *answer.status_mut() = problem::NOT_APPLIED;
    }
    answer
}

/// `GET /providers`.
pub(super) async fn providers(engine: &Arc<Engine>) -> Response<Payload> {
    let budgets = engine.budgets().await;
    let mut body = Json::default();
    body.object(|body| {
        body.key("providers").array(&engine.standings(), |body, standing| {
            body.object(|body| provider(body, standing));
        });
        body.key("limits").object(|body| counting(body, engine.counting()));
        match &budgets {
            Ok(budgets) => body.key("budgets").array(budgets, |body, standing| {
                body.object(|body| budget(body, standing));
            }),
            // What cannot be read now is not shown as nothing.
            Err(_) => body.key("budgets").raw("null"),
        };
        body.key("policy").text(&engine.snapshot().digest);
    });
    json(Payload::of(body.finish()))
}

fn budget(body: &mut Json, standing: &BudgetStanding) {
    let budget = &standing.budget;
    body.key("name").text(&standing.name);
    body.key("counts").text(&budget.scope.words());
    body.key("per").text(budget.period.name());
    body.key("on_exhausted").text(budget.on_exhausted.name());
    body.key("limit_usd").usd(budget.cap);
    body.key("spent_usd").usd(standing.total.settled);
    body.key("reserved_usd").usd(standing.total.reserved);
    body.key("ambiguous_usd").usd(standing.total.ambiguous);
    body.key("left_usd").usd(standing.left);
    body.key("forecast_usd");
    match standing.forecast {
        Some(forecast) => body.usd(forecast),
        None => body.raw("null"),
    };
    body.key("resets_at").text_or_null(standing.resets.map(|at| at.to_string()).as_deref());
    body.key("at").text(&budget.place.to_string());
}

fn provider(body: &mut Json, standing: &Standing) {
    body.key("name").text(&standing.name);
    body.key("on").raw(standing.off.is_none());
    body.key("why").text_or_null(standing.off.as_deref());
    body.key("breaker").text(standing.breaker);
    quota(body, &standing.quota);
    body.key("models").array(&standing.models, |body, standing| {
        body.object(|body| model_standing(body, standing));
    });
}

fn quota(body: &mut Json, limits: &[Left]) {
    body.key("quota").array(limits, |body, limit| {
        body.object(|body| {
            body.key("limit").text(&limit.name);
            body.key("unit").text(limit.unit.name());
            body.key("left").number(limit.left);
            body.key("capacity").number(limit.capacity);
            body.key("reset_ms").millis(limit.reset);
            body.key("mode").text(if limit.mode == Mode::Enforce { "enforce" } else { "shadow" });
        });
    });
}

/// Who counts what limits allow, and how Redis is.
fn counting(body: &mut Json, counting: Counting) {
    body.key("counted").text(counting.name());
    let (replicas, redis) = heard(counting);
    body.key("replicas").raw(replicas);
    body.key("redis").text_or_null(redis);
}

/// The replicas that were heard last, and how Redis is where there is one.
const fn heard(counting: Counting) -> (u32, Option<&'static str>) {
    match counting {
        Counting::Alone => (1, None),
        Counting::Together { replicas } => (replicas, Some("up")),
        Counting::Apart { replicas, trouble } => (replicas, Some(trouble.name())),
    }
}

fn model_standing(body: &mut Json, standing: &ModelStanding) {
    body.key("id").text(&standing.id);
    body.key("on").raw(standing.off.is_none());
    body.key("why").text_or_null(standing.off.as_deref());
    body.key("breaker").text(standing.breaker);
    quota(body, &standing.quota);
    body.key("latency_ms").object(|body| {
        body.key("p50").millis(standing.latency.p50);
        body.key("p95").millis(standing.latency.p95);
    });
    body.key("accept").array(&standing.accept, |body, accept| {
        body.object(|body| {
            body.key("task").text(&accept.task);
            body.key("mean").number(accept.posterior.mean());
            body.key("interval").array([accept.posterior.lower(), accept.posterior.upper()], |body, bound| {
                body.number(bound);
            });
            body.key("verdicts").number(accept.posterior.verdicts);
        });
    });
}

/// `GET /policy`.
pub(super) fn policy(engine: &Arc<Engine>) -> Response<Payload> {
    let snapshot = engine.snapshot();
    let mut body = Json::default();
    body.object(|body| {
        body.key("digest").text(&snapshot.digest);
        body.key("files").texts(files(&snapshot.catalog));
        body.key("last_reload").object(|body| last_reload(body, &engine.snapshots().last_reload()));
        body.key("trial");
        match engine.trial() {
            Some(standing) => body.object(|body| trial(body, &standing)),
            None => body.raw("null"),
        };
        body.key("warnings").array(&snapshot.warnings, |body, warning| {
            body.text(&warning.to_string());
        });
        terms(body, &snapshot);
        body.key("tasks").texts(snapshot.catalog.tasks.iter().map(|task| &*task.name));
        body.key("providers").array(&snapshot.catalog.providers, |body, provider| {
            body.object(|body| seller(body, provider));
        });
        body.key("models").array(&snapshot.catalog.models, |body, model| {
            body.object(|body| offer(body, model));
        });
        body.key("keys").texts(snapshot.keys.iter().map(|key| &*key.name));
    });
    json(Payload::of(body.finish()))
}

fn files(catalog: &Catalog) -> BTreeSet<&str> {
    let of_providers = catalog.providers.iter().map(|provider| &*provider.place.file);
    let of_models = catalog.models.iter().map(|model| &*model.place.file);
    of_providers.chain(of_models).chain(catalog.tasks.iter().map(|task| &*task.place.file)).collect()
}

fn last_reload(body: &mut Json, report: &ReloadReport) {
    body.key("ok").raw(report.ok);
    body.key("at").text(&report.at.to_string());
    body.key("policy").text(&report.digest);
    body.key("diagnostics").text(&report.diagnostics);
}

/// The policy on trial, with the evidence of its canary.
fn trial(body: &mut Json, standing: &TrialStanding) {
    body.key("policy").text_or_null(standing.policy.as_deref());
    body.key("mode").text(standing.mode.name());
    body.key("state").text(standing.state);
    if let TrialMode::Canary { percent, .. } = standing.mode {
        body.key("percent").raw(percent);
        body.key("in_force").object(|body| arm(body, &standing.in_force));
        body.key("on_trial").object(|body| arm(body, &standing.candidate));
    }
    body.key("stopped");
    match &standing.stopped {
        Some(stopped) => body.object(|body| {
            body.key("why").text(&stopped.why);
            body.key("at").text(&stopped.at.to_string());
        }),
        None => body.raw("null"),
    };
    body.key("last_reload").object(|body| last_reload(body, &standing.reload));
}

fn arm(body: &mut Json, arm: &Arm) {
    let ((requests, failed), (verdicts, accepted)) = (arm.requests(), arm.verdicts());
    body.key("requests").raw(requests);
    body.key("failed").raw(failed);
    let (each, usual) = arm.cost().map_or((None, None), |(each, usual)| (Some(each), Some(usual)));
    for (name, micros) in [("each_usd", each), ("usual_usd", usual)] {
        body.key(name);
        match micros {
            Some(micros) => body.number(micros / 1e6),
            None => body.raw("null"),
        };
    }
    body.key("verdicts").raw(verdicts);
    body.key("accepted").raw(accepted);
}

fn terms(body: &mut Json, snapshot: &Snapshot) {
    let defaults = &snapshot.defaults;
    body.key("defaults").object(|body| {
        body.key("floor").number(defaults.quality.value);
        body.key("tier").text_or_null(defaults.quality.tier.as_deref());
        body.key("deadline_ms").millis(defaults.deadline.value);
        body.key("max_cost_usd");
        match &defaults.max_cost {
            Some(cap) => body.usd(cap.value),
            None => body.raw("null"),
        };
        body.key("review_cost_usd").usd(defaults.review_cost);
    });
    body.key("tiers").array(&snapshot.tiers, |body, tier| {
        body.object(|body| {
            body.key("name").text(&tier.name);
            body.key("floor").number(tier.quality);
            body.key("at").text(&tier.place.to_string());
        });
    });
    body.key("rules").array(&snapshot.rules, |body, rule| {
        body.object(|body| {
            body.key("id").text(&rule.id);
            body.key("at").text(&rule.place.to_string());
        });
    });
}

fn seller(body: &mut Json, provider: &Provider) {
    body.key("name").text(&provider.name);
    body.key("dialect").text(provider.dialect.name());
    body.key("local").raw(provider.local);
    body.key("on").raw(provider.off.is_none());
    body.key("why").text_or_null(provider.off.as_deref());
    body.key("at").text(&provider.place.to_string());
}

fn offer(body: &mut Json, model: &Model) {
    body.key("id").text(&model.id);
    body.key("role").text(match model.role {
        Role::Generate(_) => "generate",
        Role::Upscale(_) => "upscale",
    });
    body.key("on").raw(model.off.is_none());
    body.key("why").text_or_null(model.off.as_deref());
    body.key("retired").text_or_null(model.retired.map(|day| day.to_string()).as_deref());
    body.key("prices").array(&model.prices, |body, row| {
        body.object(|body| price(body, row));
    });
    body.key("at").text(&model.place.to_string());
}

fn price(body: &mut Json, row: &Price) {
    body.key("usd").usd(row.usd);
    body.key("per").text(match row.unit {
        Unit::Image => "image",
        Unit::Megapixel { .. } => "first megapixel",
        Unit::Second => "second",
    });
    if let Unit::Megapixel { extra } = row.unit {
        body.key("extra_usd").usd(extra);
    }
    body.key("from").text(&row.from.to_string());
    body.key("size").text_or_null(row.size.map(|size| size.to_string()).as_deref());
    body.key("at").text(&row.place.to_string());
}
