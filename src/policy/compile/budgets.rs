//! Caps on money.
//!
//! Why it exists: a budget that names what is not there would silently never hold, and one below a single image refuses
//! everything; both are mistakes. What it refuses to know: what was spent.

use std::sync::Arc;

use super::super::diagnostic::{Diagnostic, codes};
use super::super::raw::{self, At};
use super::super::snapshot::ApiKey;
use super::super::text;
use super::twice;
use super::values::Scope;
use crate::domain::budget::{Budget, EACH, OnExhausted, Period, Scope as Covers};
use crate::domain::catalog::Catalog;
use crate::domain::money::Money;
use crate::domain::verify::PAYEE;

/// What budgets may name.
pub(super) struct Named<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) keys: &'a [ApiKey],
}

/// The budgets that make sense, in the order in which they are written.
pub(super) fn budgets(rows: &[(Scope<'_>, &At<raw::Budget>)], named: &Named<'_>) -> Vec<Arc<Budget>> {
    let mut budgets: Vec<(Budget, Scope<'_>, &At<raw::Budget>)> = Vec::new();
    for (scope, row) in rows {
        let Some(budget) = budget(*scope, row, named) else { continue };
        for (other, first, at) in &budgets {
            if other.name == budget.name {
                twice(*scope, &format!("the budget `{}`", budget.name), &row.span, *first, &at.span);
            } else if (&other.scope, other.period) == (&budget.scope, budget.period) {
                let message = format!("the budgets `{}` and `{}` count the same money", other.name, budget.name);
                let found = Diagnostic::new(codes::E0803, message)
                    .label(scope.source, &row.span, "the same again")
                    .label(first.source, &at.span, "first here")
                    .help("keep the lower one: both are hard");
                scope.sink.report(found);
            }
        }
        budgets.push((budget, *scope, row));
    }
    budgets.into_iter().map(|(budget, ..)| Arc::new(budget)).collect()
}

fn budget(scope: Scope<'_>, row: &At<raw::Budget>, named: &Named<'_>) -> Option<Budget> {
    let raw = &row.value;
    let covers = covers(scope, raw, named);
    let (name, usd, per) = (raw.name.as_ref()?, raw.usd.as_ref()?, raw.per?);
    let sound = scope.name("budget", name);
    let cap = scope.money("usd", usd)?;
    if cap == Money::ZERO {
        let help =
            "a budget of nothing refuses everything: switch the provider or model off with `off = \"why\"` instead";
        scope.error(codes::E0801, format!("the budget `{}` allows nothing", name.value), &usd.span, "zero", help);
        return None;
    }
    if let Some((id, least)) = dearer(cap, covers.provider.as_deref(), named.catalog) {
        let message = format!("the budget `{}` is below every price", name.value);
        let what = if covers.provider.as_deref() == Some(PAYEE) { "look" } else { "image" };
        let help = format!("the cheapest {what} costs ${least} ({id}); a smaller budget buys nothing");
        scope.error(codes::E0801, message, &usd.span, &format!("${cap}"), &help);
    }
    sound.then(|| Budget {
        name: name.value.as_str().into(),
        cap,
        period: match per {
            raw::Period::Day => Period::Day,
            raw::Period::Ever => Period::Ever,
            raw::Period::Month => Period::Month,
        },
        scope: covers,
        on_exhausted: match raw.on_exhausted {
            Some(raw::OnExhausted::Downgrade) => OnExhausted::Downgrade,
            Some(raw::OnExhausted::Refuse) | None => OnExhausted::Refuse,
        },
        place: scope.place(&name.span),
    })
}

/// What it counts; each name that is not in the policy is reported.
fn covers(scope: Scope<'_>, raw: &raw::Budget, named: &Named<'_>) -> Covers {
    let known = |kind: &str, written: &Option<At<String>>, names: Vec<&str>| -> Option<Arc<str>> {
        let written = written.as_ref()?;
        if !names.contains(&written.value.as_str()) {
            let message = format!("there is no {kind} `{}`", written.value);
            let help = match text::nearest(&written.value, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => format!("the policy has no {kind}"),
                None => format!("the policy has {}", names.join(", ")),
            };
            scope.error(codes::E0802, message, &written.span, "never holds", &help);
        }
        Some(written.value.as_str().into())
    };
    let each = raw.key.as_ref().is_some_and(|key| key.value == EACH);
    let keys = || named.keys.iter().map(|key| &*key.name).collect();
    let covers = Covers {
        key: if each { Some(EACH.into()) } else { known("key", &raw.key, keys()) },
        task: known("task", &raw.task, named.catalog.tasks.iter().map(|task| &*task.name).collect()),
        provider: known("provider", &raw.provider, payees(named.catalog)),
        metadata: raw
            .metadata
            .iter()
            .next()
            .map(|(name, value)| (name.value.as_str().into(), value.value.as_str().into())),
    };
    if let Some((name, _)) = raw.metadata.iter().nth(1) {
        let help = "budget by one pair; requests may carry more";
        scope.error(
            codes::E0804,
            "a budget counts by one pair of metadata".to_owned(),
            &name.span,
            "one too many",
            help,
        );
    }
    covers
}

/// Who is paid: the providers, and whoever looks at pictures for money.
fn payees(catalog: &Catalog) -> Vec<&str> {
    let looks = catalog.verifiers.iter().any(|verifier| verifier.price > Money::ZERO).then_some(PAYEE);
    catalog.providers.iter().map(|provider| &*provider.name).chain(looks).collect()
}

/// The cheapest model, or for looks the cheapest verifier, that a budget could pay, when the budget is below even that.
fn dearer(cap: Money, provider: Option<&str>, catalog: &Catalog) -> Option<(Arc<str>, Money)> {
    if provider == Some(PAYEE) {
        let prices = catalog.verifiers.iter().map(|one| (Arc::clone(&one.name), one.price));
        let paid = prices.filter(|(_, usd)| *usd > Money::ZERO);
        return paid.min_by_key(|(_, usd)| *usd).filter(|(_, least)| *least > cap);
    }
    let ours = catalog.models.iter().filter(|model| {
        let of = catalog.provider(model.provider).map(|provider| &*provider.name);
        model.sizes().is_some() && provider.is_none_or(|name| of == Some(name))
    });
    let priced = ours.filter_map(|model| Some((Arc::clone(&model.id), model.prices.iter().map(|row| row.usd).min()?)));
    priced.min_by_key(|(_, usd)| *usd).filter(|(_, least)| *least > cap)
}
