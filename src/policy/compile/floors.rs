//! Floors that no model can meet.
//!
//! Why it exists: a tier that refuses every request of some task is a mistake of the policy, whatever keys are set. The
//! test is the planner's own: the lower bound of the prior. What it refuses to know: verdicts; they may lift a model
//! later, and until then every request would be refused.

use jiff::civil::Date;

use super::super::diagnostic::{Diagnostic, codes};
use super::super::raw::{self, Level};
use super::super::snapshot::{Rule, Tier};
use super::Entry;
use super::values::Scope;
use crate::domain::catalog::{Catalog, Model, ModelIx};
use crate::domain::quality::Posterior;

/// Reports every tier and task for which no model is good enough.
pub(super) fn tiers(entries: &[Entry<'_, raw::Tier>], catalog: &Catalog, tiers: &[Tier], today: Date) {
    let on: Vec<&Model> = catalog.models.iter().filter(|model| usable(model, today)).collect();
    if on.is_empty() {
        return;
    }
    for Entry { scope, name, raw } in entries {
        let (Some(tier), Some(quality)) = (tiers.iter().find(|tier| *tier.name == *name.value), &raw.quality) else {
            continue;
        };
        for (at, task) in catalog.tasks.iter().enumerate() {
            let Some((bound, best)) = best(on.iter().copied(), at).filter(|(bound, _)| *bound < tier.quality) else {
                continue;
            };
            let message = format!("no model meets tier `{}` for task `{}`", tier.name, task.name);
            let label = format!("the best, `{}`, is sure of {bound:.2} only", best.id);
            let help = "lower the tier, add a better model, or raise an `accept` that is too modest";
            scope
                .sink
                .report(Diagnostic::new(codes::E0605, message).label(scope.source, &quality.span, label).help(help));
        }
    }
}

/// Reports a rule's own number that none of the models it allows meets for any task.
pub(super) fn rule(scope: Scope<'_>, raw: &raw::Rule, rule: &Rule, catalog: &Catalog) {
    let Some(quality) = raw.quality.as_ref().filter(|quality| matches!(quality.value, Level::Number(_))) else {
        return;
    };
    let allowed = |ix: ModelIx| {
        rule.only.as_ref().is_none_or(|only| only.value.contains(&ix))
            && !rule.never.as_ref().is_some_and(|never| never.value.contains(&ix))
    };
    let floor = rule.quality.as_ref().map_or(0.0, |floor| floor.value);
    let tasks = 0..catalog.tasks.len();
    let models = || catalog.models().filter(|(ix, model)| allowed(*ix) && model.sizes().is_some());
    let best = tasks.filter_map(|task| best(models().map(|(_, model)| model), task)).max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((bound, best)) = best.filter(|(bound, _)| *bound < floor) {
        let message = format!("no model that rule `{}` allows meets its quality for any task", rule.id);
        let label = format!("the best, `{}`, is sure of {bound:.2} only", best.id);
        scope.report(codes::E0605, message, &quality.span, &label, Some("lower it, or allow better models".to_owned()));
    }
}

/// On as far as the policy says: a missing key is not the policy's doing.
fn usable(model: &Model, today: Date) -> bool {
    model.off.is_none() && model.retired.is_none_or(|day| day > today) && model.sizes().is_some()
}

fn best<'m>(models: impl Iterator<Item = &'m Model>, task: usize) -> Option<(f64, &'m Model)> {
    let bound = |model: &'m Model| Some((Posterior::new(*model.priors.get(task)?, 0.0, 0.0).lower(), model));
    models.filter_map(bound).max_by(|a, b| a.0.total_cmp(&b.0))
}
