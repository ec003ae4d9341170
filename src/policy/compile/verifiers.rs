//! Verifiers: their kinds, their rates, and where a scorer listens.
//!
//! Why it exists: a verifier that lets bad pictures pass more often than good ones would make every plan with it worse,
//! and no request would show why. What it refuses to know: how a picture is judged.

use std::sync::Arc;

use super::super::diagnostic::codes;
use super::super::raw::{self, At};
use super::super::snapshot::Scorer;
use super::super::text;
use super::values::base_url;
use super::{Entry, World, providers};
use crate::domain::catalog::{Latency, Task};
use crate::domain::money::Money;
use crate::domain::plan::cost::Rates;
use crate::domain::verify::{Kind, Verifier};
use crate::transport::Endpoint;

/// The share of the asked characters that may be wrong unless the policy says otherwise.
const MOST_WRONG: f64 = 0.2;
/// The least score that passes unless the policy says otherwise.
const LEAST_SCORE: f64 = 0.5;

/// A verifier, and where its calls go when it makes any. One that is off has no rates, and so no plans.
pub(super) type Compiled = (Verifier, Option<Scorer>);

/// The verifiers in the order of their names.
pub(super) fn verifiers(entries: &[Entry<'_, raw::Verifier>], tasks: &[Task], world: &World<'_>) -> Vec<Compiled> {
    entries.iter().filter_map(|entry| verifier(entry, tasks, world)).collect()
}

fn verifier(entry: &Entry<'_, raw::Verifier>, tasks: &[Task], world: &World<'_>) -> Option<Compiled> {
    let Entry { scope, name, raw } = entry;
    scope.name("verifier", name);
    let latency = raw.latency.as_ref().and_then(|latency| {
        let half = latency.value.p50.as_ref().and_then(|text| scope.duration("p50", text));
        let most = latency.value.p95.as_ref().and_then(|text| scope.duration("p95", text));
        Some(Latency { p50: half?, p95: most? })
    });
    let usd = raw.usd.as_ref().map_or(Some(Money::ZERO), |usd| scope.money("usd", usd));
    let rates = rates(entry, tasks);
    misplaced(entry);
    let bound = |key: &str, number: Option<&At<f64>>, usual: f64| {
        number.map_or(Some(usual), |number| scope.fraction(key, number))
    };
    let (kind, scorer) = match raw.kind? {
        raw::VerifierKind::Structure => (Kind::Structure, Ok(None)),
        raw::VerifierKind::Text => {
            (Kind::Text { most_wrong: bound("most_wrong", raw.most_wrong.as_ref(), MOST_WRONG)? }, Ok(None))
        }
        raw::VerifierKind::Http => {
            let least_score = bound("least_score", raw.least_score.as_ref(), LEAST_SCORE)?;
            (Kind::Http { least_score }, scorer(entry, world).map(Some))
        }
    };
    let off = raw.off.is_some() || scorer.is_err();
    let verifier = Verifier {
        name: name.value.as_str().into(),
        kind,
        price: usd?,
        latency: latency?,
        rates: if off { vec![None; tasks.len()] } else { rates },
        local: raw.local || kind == Kind::Structure || matches!(kind, Kind::Text { .. }),
        place: scope.place(&name.span),
    };
    Some((verifier, scorer.ok().flatten()))
}

/// One a task, in the catalog's order.
fn rates(entry: &Entry<'_, raw::Verifier>, tasks: &[Task]) -> Vec<Option<Rates>> {
    let Entry { scope, name, raw } = entry;
    for task in raw.passes.keys() {
        if !tasks.iter().any(|known| *known.name == *task.value) {
            let help = text::suggestion(&task.value, tasks.iter().map(|task| &*task.name))
                .unwrap_or_else(|| format!("define it: [task.{}]", task.value));
            scope.error(codes::E0303, format!("there is no task `{}`", task.value), &task.span, "not defined", &help);
        }
    }
    if raw.passes.is_empty() && raw.passes_default.is_none() && !scope.is_excused(&name.span, &["passes"]) {
        let help = "say how it judges: passes = { typography = { good = 0.8, bad = 0.1 } }";
        let message = format!("verifier `{}` has no rates", name.value);
        scope.error(codes::E0510, message, &name.span, "how far is it to be believed?", help);
    }
    let one = |passes: &At<raw::Passes>| {
        let good = passes.value.good.as_ref().and_then(|number| scope.fraction("good", number))?;
        let bad = passes.value.bad.as_ref().and_then(|number| scope.fraction("bad", number))?;
        if bad > good {
            let help = "swapped? A verifier is of use when good pictures pass more often than bad ones";
            let message = "bad pictures pass more often than good ones".to_owned();
            scope.error(codes::E0510, message, &passes.span, "`bad` is above `good`", help);
        }
        Some(Rates { good_pass: good, bad_pass: bad })
    };
    let usual = raw.passes_default.as_ref().and_then(one);
    let named: Vec<_> = raw.passes.iter().map(|(task, passes)| (&task.value, one(passes))).collect();
    let of = |task: &Task| named.iter().find(|(name, _)| **name == *task.name).map_or(usual, |(_, rates)| *rates);
    tasks.iter().map(of).collect()
}

/// Keys that this kind does not read.
fn misplaced(entry: &Entry<'_, raw::Verifier>) {
    let Entry { scope, raw, .. } = entry;
    let Some(kind) = raw.kind else { return };
    let wrong = |key: &str, belongs: &str, span: &super::Span| {
        let message = format!("`{key}` says nothing of this kind of verifier");
        let help = format!("`{key}` belongs to kind = \"{belongs}\"");
        scope.error(codes::E0510, message, span, "not read", &help);
    };
    if let Some(most) = raw.most_wrong.as_ref().filter(|_| kind != raw::VerifierKind::Text) {
        wrong("most_wrong", "text", &most.span);
    }
    if kind != raw::VerifierKind::Http {
        for (key, span) in [
            ("least_score", raw.least_score.as_ref().map(|one| &one.span)),
            ("url", raw.url.as_ref().map(|one| &one.span)),
            ("key", raw.key.as_ref().map(|one| &one.span)),
        ] {
            if let Some(span) = span {
                wrong(key, "http", span);
            }
        }
    }
}

/// Where a scorer listens; `Err` while that is not known, which switches it off.
fn scorer(entry: &Entry<'_, raw::Verifier>, world: &World<'_>) -> Result<Scorer, ()> {
    let Entry { scope, name, raw } = entry;
    // Looked at first: a secret in the file is told whatever else is wrong.
    let credential = raw.key.as_ref().map_or(Ok(None), |key| providers::secret(*scope, key, None, world));
    let Some(written) = &raw.url else {
        if !scope.is_excused(&name.span, &["url"]) {
            let help = "url = \"http://127.0.0.1:7000/score\", or \"env:NAME\"";
            let message = format!("verifier `{}` has no address", name.value);
            scope.error(codes::E0103, message, &name.span, "needs `url`", help);
        }
        return Err(());
    };
    let text = match written.value.strip_prefix("env:") {
        None => written.value.clone(),
        Some(variable) => world.env.var(variable).filter(|value| !value.trim().is_empty()).ok_or(())?,
    };
    let url = base_url(text.trim()).map_err(|wrong| {
        let help = "write scheme, host and path: \"http://127.0.0.1:7000/score\"";
        scope.error(codes::E0203, "`url` is not a URL".to_owned(), &written.span, wrong, help);
    })?;
    let credential = credential.map_err(drop)?;
    // Behind the scheme's slashes the path begins with the next one.
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(host..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| host + at);
    let (base_url, path) = url.split_at(path);
    let endpoint = Endpoint { provider: Arc::from(name.value.as_str()), base_url: base_url.into(), credential };
    Ok(Scorer { endpoint, path: if path.is_empty() { "/" } else { path }.into() })
}
