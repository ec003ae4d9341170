//! Log lines: how they look and where they go.
//!
//! Why it exists: one subscriber, set once; JSON for machines, colour for a person at a terminal. Lines go to stderr:
//! stdout is for data. What it refuses to know: secrets; no type that holds one prints it.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry};

use super::receipt::Receipt;
use super::trace;
use crate::domain::ledger::Attempt;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// Human at a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text, coloured at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// Sets the process's subscriber: our lines from `level` on, other crates' from `WARN` on. False when one was set
/// already.
pub fn init(look: Look, level: LevelFilter) -> bool {
    let at_terminal = std::io::stderr().is_terminal();
    let human = look == Look::Human || (look == Look::Auto && at_terminal);
    tracing_subscriber::registry().with(layer(human, at_terminal, level, std::io::stderr)).try_init().is_ok()
}

fn layer<W>(human: bool, colour: bool, level: LevelFilter, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ours = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("tollgate", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    if human {
        lines.with_ansi(colour).with_target(false).with_filter(ours).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).with_filter(ours).boxed()
    }
}

/// The log line of a request.
pub(super) fn receipt(receipt: &Receipt, keep_prompt: bool) {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        target: "tollgate::receipt",
        request_id = &*receipt.request_id,
        trace_id = trace::id(),
        generation = receipt.generation.as_deref(),
        key = &*receipt.key,
        task = &*receipt.task,
        model = &*receipt.model,
        rule = receipt.rule.as_deref(),
        policy = &*receipt.policy,
        outcome = receipt.outcome.name(),
        cost_usd = %receipt.cost,
        ambiguous_usd = %receipt.ambiguous,
        avoided_usd = %receipt.avoided,
        attempts = attempts(&receipt.attempts),
        images = receipt.images.len(),
        total_ms = millis(receipt.total),
        provider_ms = millis(receipt.provider),
        prompt = keep_prompt.then(|| plain(&receipt.prompt)),
        "request"
    );
}

/// `stability/sd3.5-medium ok yes $0.035 5104ms`, one for each attempt, with what went wrong.
fn attempts(attempts: &[Attempt]) -> String {
    let mut text = String::new();
    for attempt in attempts {
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{separator}{} {} {} ${} {}ms",
            attempt.model,
            attempt.outcome,
            attempt.billed.name(),
            attempt.exposure(),
            attempt.latency.as_millis()
        );
        if !attempt.detail.is_empty() {
            let _ = write!(text, " ({})", plain(&attempt.detail));
        }
    }
    text
}

/// Text of others, safe in a terminal: control characters and those that reorder text are shown as `�`.
fn plain(text: &str) -> String {
    let odd = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if odd(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::super::tests::bought;
    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(human: bool, keep_prompt: bool) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::registry().with(layer(human, false, LevelFilter::INFO, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "hyper", "chatter of a library");
            receipt(&bought(), keep_prompt);
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_receipt_is_one_line_of_json() {
        let text = logged(false, false);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["outcome"], "fresh");
        assert_eq!(line["cost_usd"], "0.035");
        assert_eq!(line["model"], "stability/sd3.5-medium");
        assert_eq!(line.get("prompt"), None, "a prompt is kept only on demand");
        let attempts = line["attempts"].as_str().unwrap();
        assert!(attempts.starts_with("openai/gpt-image-2 unavailable no $0.00 12ms (502"), "{attempts}");
        assert!(attempts.ends_with("stability/sd3.5-medium ok yes $0.035 5104ms"), "{attempts}");
    }

    #[test]
    fn a_kept_prompt_cannot_drive_a_terminal() {
        let text = logged(true, true);
        assert!(text.contains("a red fox"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
