//! Limits and the breaker's numbers.
//!
//! Why it exists: a limit that can never admit a call, or a burst below one call's need, would stall requests forever;
//! both are found here. What it refuses to know: how limits are enforced.

use std::sync::Arc;
use std::time::Duration;

use super::super::diagnostic::codes;
use super::super::raw::{self, At};
use super::values::Scope;
use super::{Entry, twice};
use crate::domain::breaker::Settings;
use crate::domain::catalog::{Catalog, Model};
use crate::domain::quota::{Limit, LimitUnit};
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
    for (key, number) in [("units", units), ("burst", burst)] {
        if number.value == 0 {
            let help = "a limit of nothing refuses everything: switch the provider off with `off = \"why\"` instead";
            scope.error(codes::E0701, format!("the limit `{name}` allows nothing"), &number.span, key, help);
            return None;
        }
    }
    let per = window(scope, &name, unit, row)?;
    let burst = if unit == LimitUnit::InFlight { units.value } else { burst.value };
    Some(Limit { name, unit, units: units.value, per, burst })
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
        raw::LimitUnit::Requests => LimitUnit::Requests,
    }
}

/// Reports every limit in images whose burst is below what one call of its models may draw.
pub(super) fn bursts(providers: &[Entry<'_, raw::Provider>], models: &[Entry<'_, raw::Model>], catalog: &Catalog) {
    for entry in providers {
        let of_provider = |model: &&Model| model.id.split('/').next() == Some(entry.name.value.as_str());
        burst(entry.scope, &entry.raw.limits, catalog.models.iter().filter(of_provider));
    }
    for entry in models {
        let same = |model: &&Model| *model.id == *entry.name.value;
        burst(entry.scope, &entry.raw.limits, catalog.models.iter().filter(same));
    }
}

fn burst<'m>(scope: Scope<'_>, limits: &[At<raw::Limit>], models: impl Iterator<Item = &'m Model>) {
    let Some(largest) = models.max_by_key(|model| model.max_images.min(MAX_IMAGES)) else {
        return;
    };
    let most = largest.max_images.min(MAX_IMAGES);
    for row in limits {
        let held = row.value.burst.as_ref().or(row.value.units.as_ref());
        let (Some(raw::LimitUnit::Images), Some(held)) = (row.value.unit, held) else {
            continue;
        };
        if (1..u32::from(most)).contains(&held.value) {
            let message = format!("one call of `{}` can never pass this limit", largest.id);
            let label = format!("a call may make {most} images");
            let help = format!("raise it to {most}, or lower the model's `max_images`");
            scope.error(codes::E0702, message, &held.span, &label, &help);
        }
    }
}

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
