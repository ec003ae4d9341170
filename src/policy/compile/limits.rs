//! Limits and the breaker's numbers.
//!
//! Why it exists: a limit that can never admit a call, or a burst below one call's need, would stall requests forever;
//! both are found here. What it refuses to know: how limits are enforced.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;

use super::super::diagnostic::codes;
use super::super::raw::{self, At};
use super::values::Scope;
use super::{Entry, twice};
use crate::domain::breaker::Settings;
use crate::domain::catalog::{Catalog, Model, Role, Sizes};
use crate::domain::image::Size;
use crate::domain::quota::{Degrade, Limit, LimitUnit, Mode};
use crate::domain::quote::quote;
use crate::domain::request::MAX_IMAGES;

/// The limits of one table, those that make sense.
pub(super) fn limits(scope: Scope<'_>, raw: &[At<raw::Limit>]) -> Vec<Limit> {
    let mut limits: Vec<(Limit, &At<raw::Limit>)> = Vec::new();
    for row in raw {
        let Some(limit) = limit(scope, row) else {
            continue;
        };
        match limits.iter().find(|(other, _)| other.name == limit.name) {
            Some((_, first)) => {
                twice(scope, &format!("the limit `{}`", limit.name), &row.span, scope, &first.span);
            }
            None => limits.push((limit, row)),
        }
    }
    limits.into_iter().map(|(limit, _)| limit).collect()
}

fn limit(scope: Scope<'_>, row: &At<raw::Limit>) -> Option<Limit> {
    let (units, unit) = (row.value.units.as_ref()?, unit(row.value.unit?));
    let name: Arc<str> = row.value.name.as_ref().map_or(unit.name(), |name| &name.value).into();
    let burst = row.value.burst.as_ref().unwrap_or(units);
    if let Some(name) = &row.value.name
        && !scope.name("limit", name)
    {
        return None;
    }
    let units = grains(scope, &name, unit, "units", units)?;
    let burst = grains(scope, &name, unit, "burst", burst)?;
    let per = window(scope, &name, unit, row)?;
    let burst = if unit == LimitUnit::InFlight { units } else { burst };
    let mode = row.value.mode.map_or(Mode::Enforce, |mode| match mode {
        raw::LimitMode::Enforce => Mode::Enforce,
        raw::LimitMode::Shadow => Mode::Shadow,
    });
    let degrade = row.value.degrade.map_or(Degrade::Local, |degrade| match degrade {
        raw::Degrade::Local => Degrade::Local,
        raw::Degrade::Open => Degrade::Open,
        raw::Degrade::Refuse => Degrade::Refuse,
    });
    Some(Limit { name, unit, units, per, burst, mode, degrade })
}

/// The most of anything that a limit may allow; beyond it lies no provider, and the arithmetic stays exact.
const MOST: f64 = 1e9;

/// A number of the unit in its grains.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10¹⁵, as was just checked")]
fn grains(scope: Scope<'_>, name: &str, unit: LimitUnit, key: &str, number: &At<f64>) -> Option<u64> {
    if number.value == 0.0 {
        let help = "a limit of nothing refuses everything: switch the provider off with `off = \"why\"` instead";
        scope.error(codes::E0701, format!("the limit `{name}` allows nothing"), &number.span, key, help);
        return None;
    }
    let grains = (number.value * unit.grains() as f64).round();
    let whole = (grains / unit.grains() as f64 - number.value).abs() < 1e-9;
    if grains >= 1.0 && number.value <= MOST && whole {
        return Some(grains as u64);
    }
    let (label, help) = match unit {
        LimitUnit::Megapixels | LimitUnit::Usd => ("not an amount", "write a number above zero, to a millionth"),
        _ => ("not a count", "write a whole number above zero"),
    };
    scope.error(codes::E0205, format!("`{key}` of the limit `{name}` is out of range"), &number.span, label, help);
    None
}

fn window(scope: Scope<'_>, name: &str, unit: LimitUnit, row: &At<raw::Limit>) -> Option<Duration> {
    match (&row.value.per, unit) {
        (None, LimitUnit::InFlight) => Some(Duration::ZERO),
        (Some(per), LimitUnit::InFlight) => {
            let help = "`in_flight` counts calls at the same moment: leave `per` out";
            scope.error(codes::E0703, format!("the limit `{name}` has a window"), &per.span, "no window here", help);
            None
        }
        (None, _) => {
            let help = "say in which time: `per = \"1m\"`";
            scope.error(codes::E0703, format!("the limit `{name}` has no window"), &row.span, "needs `per`", help);
            None
        }
        (Some(per), _) => scope.duration("per", per),
    }
}

const fn unit(raw: raw::LimitUnit) -> LimitUnit {
    match raw {
        raw::LimitUnit::Images => LimitUnit::Images,
        raw::LimitUnit::InFlight => LimitUnit::InFlight,
        raw::LimitUnit::Megapixels => LimitUnit::Megapixels,
        raw::LimitUnit::Requests => LimitUnit::Requests,
        raw::LimitUnit::Usd => LimitUnit::Usd,
    }
}

/// Reports every limit whose burst is below what one call of its models may draw.
pub(super) fn bursts(
    providers: &[Entry<'_, raw::Provider>],
    models: &[Entry<'_, raw::Model>],
    catalog: &Catalog,
    today: Date,
) {
    for entry in providers {
        let of_provider = |model: &&Model| model.id.split('/').next() == Some(entry.name.value.as_str());
        burst(entry.scope, &entry.raw.limits, &catalog.models.iter().filter(of_provider), today);
    }
    for entry in models {
        let same = |model: &&Model| *model.id == *entry.name.value;
        burst(entry.scope, &entry.raw.limits, &catalog.models.iter().filter(same), today);
    }
}

fn burst<'m>(
    scope: Scope<'_>,
    limits: &[At<raw::Limit>],
    models: &(impl Iterator<Item = &'m Model> + Clone),
    today: Date,
) {
    for row in limits {
        let held = row.value.burst.as_ref().or(row.value.units.as_ref());
        let (Some(unit), Some(held)) = (row.value.unit.map(unit), held) else {
            continue;
        };
        let need = |model: &'m Model| Some((need(model, unit, today)?, model));
        let Some((need, largest)) = models.clone().filter_map(need).max_by_key(|(need, _)| *need) else {
            continue;
        };
        let need = need as f64 / unit.grains() as f64;
        if held.value > 0.0 && held.value < need {
            let message = format!("one call of `{}` can never pass this limit", largest.id);
            let label = match unit {
                LimitUnit::Usd => format!("a call may cost ${need}"),
                unit => format!("a call may make {need} {}", unit.name()),
            };
            let help = format!("raise it to {need}, or lower the model's `max_images`");
            scope.error(codes::E0702, message, &held.span, &label, &help);
        }
    }
}

/// The most grains that one call of a model may draw; `None` where every burst is enough.
fn need(model: &Model, unit: LimitUnit, today: Date) -> Option<u64> {
    let images = model.max_images.min(MAX_IMAGES);
    let largest = match &model.role {
        Role::Generate(Sizes::Listed(sizes)) => sizes.iter().map(|native| native.size).max_by_key(|size| size.pixels()),
        Role::Generate(Sizes::Free { max, max_pixels, .. }) => {
            let side = u32::try_from(max_pixels.isqrt()).unwrap_or(*max).min(*max);
            Some(Size::new(side, side))
        }
        Role::Upscale(_) => None,
    };
    match unit {
        LimitUnit::InFlight | LimitUnit::Requests => None,
        LimitUnit::Images => Some(images.into()),
        LimitUnit::Megapixels => largest.map(|size| size.pixels() * u64::from(images)),
        LimitUnit::Usd => {
            let worst = quote(model, largest?, images, LONGEST_PROMPT, model.latency, today)?.worst;
            u64::try_from(worst.micros()).ok()
        }
    }
}

/// Bytes of the longest prompt: ten thousand characters of four bytes.
const LONGEST_PROMPT: usize = 40_000;

/// The breaker's numbers, each at its default when left out.
pub(super) fn breaker(scope: Scope<'_>, raw: &raw::Breaker) -> Settings {
    let usual = Settings::default();
    let count = |key: &str, number: &Option<At<u32>>, usual: u32| match number {
        Some(number) if number.value == 0 => {
            scope.error(codes::E0205, format!("`{key}` is zero"), &number.span, "at least 1", "count from 1");
            usual
        }
        Some(number) => number.value,
        None => usual,
    };
    let time = |key: &str, text: &Option<At<String>>, usual: Duration| {
        text.as_ref().and_then(|text| scope.duration(key, text)).unwrap_or(usual)
    };
    let share = raw.success_share.as_ref().and_then(|share| scope.fraction("success_share", share));
    Settings {
        consecutive: count("consecutive", &raw.consecutive, usual.consecutive),
        success_share: share.unwrap_or(usual.success_share),
        min_samples: count("min_samples", &raw.min_samples, usual.min_samples),
        window: time("window", &raw.window, usual.window),
        open_for: time("open_for", &raw.open_for, usual.open_for),
        open_at_most: time("open_at_most", &raw.open_at_most, usual.open_at_most),
    }
}
