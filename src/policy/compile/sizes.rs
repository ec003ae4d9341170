//! Lists of sizes, bounds of free sizes, and what upscalers reach.
//!
//! Why it exists: sixty-nine sizes are written once and named by thirteen models. What it refuses to know: which size
//! serves a request (`domain::plan`).

use std::sync::Arc;

use super::super::diagnostic::codes;
use super::super::raw::{self, At};
use super::super::text;
use super::Entry;
use super::values::Scope;
use crate::domain::catalog::{Enlarge, Native, Reach, Sizes};

type List<'a> = Entry<'a, At<Vec<At<String>>>>;

/// A model's sizes: its own entries and those of the lists that it names.
pub(super) fn listed(scope: Scope<'_>, entries: &At<Vec<At<String>>>, lists: &[List<'_>]) -> Sizes {
    let mut natives: Vec<Native> = Vec::new();
    for entry in &entries.value {
        if !is_name(&entry.value) {
            natives.extend(native(scope, entry));
        } else if let Some(list) = lists.iter().find(|list| list.name.value == entry.value) {
            natives.extend(list.raw.value.iter().filter_map(|entry| native(list.scope, entry)));
        } else {
            let help = text::suggestion(&entry.value, lists.iter().map(|list| list.name.value.as_str()))
                .unwrap_or_else(|| "define it in [sizes], or write a size: \"1024x1024\"".to_owned());
            let message = format!("there is no list of sizes `{}`", entry.value);
            scope.error(codes::E0306, message, &entry.span, "not defined", &help);
        }
    }
    if entries.value.is_empty() {
        let help = "write at least one: sizes = [\"1024x1024\"]";
        scope.error(codes::E0504, "a model without sizes makes nothing".to_owned(), &entries.span, "empty", help);
    }
    Sizes::Listed(natives)
}

/// A single word that does not begin like a size.
fn is_name(entry: &str) -> bool {
    !entry.contains(char::is_whitespace) && !entry.starts_with(|c: char| c.is_ascii_digit())
}

/// `[LABEL [SCALE] ]WIDTHxHEIGHT`.
fn native(scope: Scope<'_>, entry: &At<String>) -> Option<Native> {
    let mut words = entry.value.split_whitespace().rev();
    let size = scope.size(words.next().unwrap_or_default(), &entry.span)?;
    let (first, second) = (words.next(), words.next());
    let (label, scale) = if second.is_some() { (second, first) } else { (first, None) };
    if words.next().is_some() {
        let help = "at most two words before the size: label and scale, \"16:9 2K 2752x1536\"";
        scope.error(codes::E0204, format!("`{}` is not a size", entry.value), &entry.span, "too many words", help);
    }
    let word = |word: Option<&str>| Arc::from(word.unwrap_or_default());
    Some(Native { size, label: word(label), log_ratio: size.log_ratio(), scale: word(scale) })
}

/// Checks the lists that no model names, too.
pub(super) fn unused(lists: &[List<'_>], models: &[Entry<'_, raw::Model>]) {
    for Entry { scope, name, raw } in lists {
        let named = |entry: &At<String>| entry.value == name.value;
        let used =
            models.iter().filter_map(|model| model.raw.sizes.as_ref()).any(|sizes| sizes.value.iter().any(named));
        if !used {
            raw.value.iter().for_each(|entry| drop(native(*scope, entry)));
            let message = format!("no model uses the list of sizes `{}`", name.value);
            scope.error(
                codes::W0302,
                message,
                &name.span,
                "never used",
                "name it in a model's `sizes`, or take it out",
            );
        }
    }
}

/// Bounds of free sizes.
pub(super) fn free(scope: Scope<'_>, raw: &At<raw::Free>) -> Option<Sizes> {
    let At { value: bounds, span } = raw;
    let (min, max) = (bounds.min.as_ref()?.value, bounds.max.as_ref()?.value);
    let (step, max_pixels) = (bounds.step.as_ref()?.value, bounds.max_pixels.as_ref()?.value);
    let max_ratio = scope.at_least("max_ratio", bounds.max_ratio.as_ref()?, 1.0)?;
    let wrong = if step == 0 {
        Some("`step` is zero")
    } else if max / step * step < min.div_ceil(step).max(1) * step {
        Some("no multiple of `step` lies between `min` and `max`")
    } else if max_pixels < u64::from(min) * u64::from(min) {
        Some("`max_pixels` has no room for the smallest square")
    } else {
        None
    };
    if let Some(label) = wrong {
        let help = "such as { min = 256, max = 1440, step = 16, max_pixels = 1_048_576, max_ratio = 3 }";
        scope.error(codes::E0508, "no size lies within these bounds".to_owned(), span, label, help);
        return None;
    }
    Some(Sizes::Free { min, max, step, max_pixels, max_ratio })
}

/// What an upscaler takes and gives.
pub(super) fn reach(scope: Scope<'_>, raw: &At<raw::Upscale>) -> Option<Reach> {
    let At { value: up, span } = raw;
    let keeps = scope.fraction("keeps", up.keeps.as_ref()?)?;
    let least = |number: &Option<At<u64>>, usual| number.as_ref().map_or(usual, |number| number.value);
    let reach = Reach {
        output: output(scope, raw)?,
        min_input_pixels: least(&up.min_input_pixels, 1),
        max_input_pixels: least(&up.max_input_pixels, u64::MAX),
        max_input_side: up.max_input_side.as_ref().map_or(u32::MAX, |side| side.value),
        max_output_pixels: least(&up.max_output_pixels, u64::MAX),
        needs_prompt: up.needs_prompt,
        keeps,
    };
    let enlarges = match reach.output {
        Enlarge::Factor(factor) | Enlarge::Free(factor) => factor > 1.0,
        Enlarge::ToPixels(pixels) => pixels > reach.min_input_pixels,
    };
    let wrong = if !enlarges {
        Some("it gives no more pixels than it takes")
    } else if reach.min_input_pixels > reach.max_input_pixels || reach.max_input_side == 0 {
        Some("no input is within its limits")
    } else if reach.max_output_pixels <= reach.min_input_pixels {
        Some("`max_output_pixels` is below its smallest input")
    } else {
        None
    };
    if let Some(label) = wrong {
        let help = "such as { factor = 4, max_input_pixels = 1_048_576, keeps = 0.95 }";
        scope.error(codes::E0505, "this upscaler enlarges nothing".to_owned(), span, label, help);
        return None;
    }
    Some(reach)
}

fn output(scope: Scope<'_>, raw: &At<raw::Upscale>) -> Option<Enlarge> {
    let At { value: up, span } = raw;
    let given = [
        up.factor.as_ref().map(|factor| Enlarge::Factor(factor.value)),
        up.to_pixels.as_ref().map(|pixels| Enlarge::ToPixels(pixels.value)),
        up.up_to.as_ref().map(|factor| Enlarge::Free(factor.value)),
    ];
    let mut given = given.into_iter().flatten();
    let (first, second) = (given.next(), given.next());
    if first.is_none() || second.is_some() {
        let label = if second.is_some() { "says it more than once" } else { "does not say what comes out" };
        let help = "one of `factor` (each side times this), `to_pixels` (this many pixels), `up_to` (any size up to this \
                    many times the side)";
        scope.error(codes::E0505, "an upscaler needs exactly one reach".to_owned(), span, label, help);
        return None;
    }
    first
}
