//! How far the batch is: a bar on a terminal, a line each ten seconds elsewhere.
//!
//! Why it exists: a person wants to know when it ends, a log wants few lines. What it refuses to know: lines' ends
//! beyond their count.

use std::cell::Cell;
use std::fmt::Display;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::super::console::Console;

/// Between two lines of a log.
const EVERY: Duration = Duration::from_secs(10);

/// The progress of one run.
#[derive(Debug)]
pub(super) struct Progress {
    console: Console,
    bar: ProgressBar,
    total: usize,
    done: Cell<usize>,
    failed: Cell<usize>,
    told: Cell<Instant>,
}

impl Progress {
    /// Of `total` lines to send.
    pub(super) fn new(console: Console, total: usize) -> Self {
        // Hidden by itself when stderr is no terminal.
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} lines{msg}, {eta} left") {
            bar.set_style(style.progress_chars("━╸ "));
        }
        if total > 0 {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Self { console, bar, total, done: Cell::new(0), failed: Cell::new(0), told: Cell::new(Instant::now()) }
    }

    /// One more line has ended.
    pub(super) fn ended(&self, failed: bool) {
        self.done.set(self.done.get() + 1);
        if failed {
            self.failed.set(self.failed.get() + 1);
            self.bar.set_message(format!(", {} failed", self.failed.get()));
        }
        self.bar.inc(1);
    }

    /// Tells a log how far it is, when it is time.
    pub(super) fn tick(&self) {
        if self.bar.is_hidden() && self.told.get().elapsed() >= EVERY {
            self.told.set(Instant::now());
            self.console.say(format_args!("{}/{} lines, {} failed", self.done.get(), self.total, self.failed.get()));
        }
    }

    /// A message above the bar.
    pub(super) fn say(&self, text: impl Display) {
        self.bar.suspend(|| self.console.say(text));
    }

    /// A warning above the bar.
    pub(super) fn warn(&self, text: impl Display) {
        self.bar.suspend(|| self.console.warn(text));
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
