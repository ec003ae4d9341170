//! Tasks and tiers.
//!
//! Why it exists: a task's words are cut here into what the classifier compares. What it refuses to know: prompts.

use std::sync::Arc;

use super::super::classify;
use super::super::diagnostic::codes;
use super::super::raw::{self, At};
use super::super::snapshot::Tier;
use super::super::text;
use super::Entry;
use crate::domain::catalog::{Claims, Task, TaskIx};

/// The tasks in the order of the files.
pub(super) fn tasks(entries: &[Entry<'_, raw::Task>]) -> Vec<Task> {
    let task = |entry: &Entry<'_, raw::Task>| {
        entry.scope.name("task", entry.name);
        Task {
            name: entry.name.value.as_str().into(),
            about: entry.raw.about.as_deref().unwrap_or_default().into(),
            claims: claims(entry),
            place: entry.scope.place(&entry.name.span),
        }
    };
    entries.iter().map(task).collect()
}

fn claims(entry: &Entry<'_, raw::Task>) -> Claims {
    let mut claims = Claims { quoted_text: entry.raw.quoted_text, ..Claims::default() };
    for phrase in &entry.raw.words {
        let mut words = classify::words(&phrase.value);
        match (words.len(), words.pop()) {
            (1, Some(word)) => claims.words.push(word.into()),
            (_, Some(last)) => {
                words.push(last);
                claims.phrases.push(words.join(" ").into());
            }
            (_, None) => {
                let message = format!("`{}` holds no word", phrase.value);
                let help = "words are letters and digits; the rest separates them";
                entry.scope.error(codes::E0402, message, &phrase.span, "matches nothing", help);
            }
        }
    }
    claims
}

/// The task of prompts that nobody claims.
pub(super) fn default_task(defaults: &Entry<'_, At<raw::Defaults>>, tasks: &[Task]) -> Option<TaskIx> {
    let name = defaults.raw.value.task.as_ref()?;
    let found = tasks.iter().position(|task| *task.name == *name.value);
    if found.is_none() {
        let help = text::suggestion(&name.value, tasks.iter().map(|task| &*task.name))
            .unwrap_or_else(|| "define it: [task.NAME]".to_owned());
        let message = format!("there is no task `{}`", name.value);
        defaults.scope.error(codes::E0303, message, &name.span, "not defined", &help);
    }
    found.and_then(|at| u16::try_from(at).ok()).map(TaskIx)
}

/// The tiers, by name.
pub(super) fn tiers(entries: &[Entry<'_, raw::Tier>]) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = entries.iter().filter_map(tier).collect();
    tiers.sort_by(|a, b| a.name.cmp(&b.name));
    tiers
}

fn tier(entry: &Entry<'_, raw::Tier>) -> Option<Tier> {
    let Entry { scope, name, raw } = entry;
    scope.name("tier", name);
    let quality = raw.quality.as_ref()?;
    Some(Tier {
        name: Arc::from(name.value.as_str()),
        about: Arc::from(raw.about.as_deref().unwrap_or_default()),
        // A bad number was reported; the tier goes on, so that what names it is not reported too.
        quality: scope.fraction("quality", quality).unwrap_or_default(),
        max_cost: scope.term(raw.max_cost_usd.as_ref(), |usd| scope.money("max_cost_usd", usd)),
        deadline: scope.term(raw.deadline.as_ref(), |text| scope.duration("deadline", text)),
        explore: raw.explore.unwrap_or(true),
        priority: raw.priority.as_ref().map_or(0, |number| number.value),
        place: scope.place(&quality.span),
    })
}
