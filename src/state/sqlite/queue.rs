//! What waits for the writer thread.
//!
//! Why it exists: new work is bounded, so that a slow disk refuses instead of piling up; ends are not, because each of
//! them belongs to a generation that was let in, and refusing it would lose money's state. While many generations are
//! open, and were for some time, a batch waits for more: each commit writes the same few pages again. (`PostgreSQL`'s
//! `commit_delay` and `commit_siblings`.) What it refuses to know: SQL.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::state::LedgerFault;
use crate::state::command::Command;

/// Openings and holds that may wait at once.
const MOST_WAITING: usize = 8_192;
/// Generations that must be open, or have been of late, before a batch waits for more.
const SIBLINGS: usize = 8;
/// How many of them must be open in the mean, and over about how long: those who only queued up behind a slow disk would
/// wait once more.
const USUAL: f64 = 4.0;
const LATELY: Duration = Duration::from_millis(50);
/// How long after the batch before it goes at the latest: for each generation that is open, and at most. A picture takes
/// seconds. A write waits half of it on average: what that adds to the number of open ones grows slower than it, up to a
/// thousand generations a second.
const DELAY_EACH: Duration = Duration::from_millis(1);
const MOST_DELAY: Duration = Duration::from_millis(30);
/// After so long without a commit nobody is asking again.
const QUIET: Duration = Duration::from_millis(20);

/// How many generations are open, and were of late: callers that ask again after an answer would else each find nobody and
/// commit alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    open: usize,
    of_late: usize,
    mean: f64,
    seen: Instant,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { open: 0, of_late: 0, mean: 0.0, seen: Instant::now() }
    }
}

impl Crowd {
    /// So many are open after a commit. Each commit forgets a quarter of what was before.
    pub(super) fn saw(&mut self, open: usize) {
        let before = self.size();
        let of_late = open.max(before - before.div_ceil(4));
        *self = Self { open, of_late, mean: self.mean(), seen: Instant::now() };
    }

    /// Whether writers had better wait for each other.
    pub(super) fn is_dense(&self) -> bool {
        self.size() >= SIBLINGS && self.mean() >= USUAL
    }

    /// How many were open in the mean, the longer ago the less.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn mean(&self) -> f64 {
        let (span, lately) = (self.seen.elapsed().as_secs_f64(), LATELY.as_secs_f64());
        self.mean + (self.open as f64 - self.mean) * span / (span + lately)
    }

    fn size(&self) -> usize {
        if self.seen.elapsed() < QUIET { self.of_late } else { self.open }
    }
}

/// The queue, shared by every caller and the one writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    line: Mutex<Line>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Command>,
    /// How many the writer waits for.
    wanted: usize,
    shut: bool,
}

impl Line {
    /// Whether the writer waits for more.
    fn is_short(&mut self) -> bool {
        self.waiting.len() < self.wanted && !self.shut
    }
}

impl Queue {
    /// Lines up new work, unless too much waits.
    pub(super) fn offer(&self, command: Command) -> Result<(), LedgerFault> {
        let line = self.lock();
        if line.waiting.len() >= MOST_WAITING {
            return Err(LedgerFault::Unavailable("too many writes wait".into()));
        }
        self.push(line, command)
    }

    /// Lines up the end of work that was let in.
    pub(super) fn end(&self, command: Command) -> Result<(), LedgerFault> {
        self.push(self.lock(), command)
    }

    fn push(&self, mut line: MutexGuard<'_, Line>, command: Command) -> Result<(), LedgerFault> {
        if line.shut {
            return Err(LedgerFault::Unavailable("it is shut".into()));
        }
        line.waiting.push_back(command);
        // The writer sleeps until there are as many as it wants: waking it sooner is a system call for nothing.
        let due = line.waiting.len() == line.wanted;
        drop(line);
        if due {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves up to `most` commands into `batch`, waiting for the first, and in a `crowd` a moment for more. False when the
    /// queue is shut and empty.
    pub(super) fn take(&self, batch: &mut Vec<Command>, most: usize, crowd: Crowd) -> bool {
        // The moment begins now: in a crowd the first need not wake the writer either.
        let mut line = self.gather(self.lock(), most, crowd);
        if line.waiting.is_empty() {
            line.wanted = 1;
            line = self.filled.wait_while(line, Line::is_short).unwrap_or_else(PoisonError::into_inner);
            line = self.gather(line, most, crowd);
        }
        line.wanted = 0;
        let count = line.waiting.len().min(most);
        batch.extend(line.waiting.drain(..count));
        count > 0
    }

    /// Waits in a crowd until all of it, or `most`, have come; no longer than a moment.
    fn gather<'q>(&'q self, mut line: MutexGuard<'q, Line>, most: usize, crowd: Crowd) -> MutexGuard<'q, Line> {
        if !crowd.is_dense() {
            return line;
        }
        let size = crowd.size();
        line.wanted = size.min(most);
        let delay = DELAY_EACH.saturating_mul(u32::try_from(size).unwrap_or(u32::MAX)).min(MOST_DELAY);
        self.filled.wait_timeout_while(line, delay, Line::is_short).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Takes no more; what waits is still written.
    pub(super) fn shut(&self) {
        self.lock().shut = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_there_until_it_is_gone_or_quiet() {
        let mut crowd = Crowd::default();
        assert!(!crowd.is_dense());
        crowd.saw(32);
        tokio::time::advance(LATELY / 3).await;
        assert!(crowd.is_dense());
        crowd.saw(0);
        assert!(crowd.is_dense(), "they may ask again");
        let commits = (1..100).find(|_| {
            crowd.saw(0);
            !crowd.is_dense()
        });
        assert_eq!(commits, Some(4), "24, 18, 13, 9, 6");
        crowd.saw(32);
        crowd.saw(0);
        tokio::time::advance(QUIET).await;
        assert!(!crowd.is_dense(), "nobody asked again");
        crowd.saw(9);
        tokio::time::advance(LATELY).await;
        assert!(crowd.is_dense(), "nine wait for their pictures");
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_behind_a_slow_disk_is_no_crowd() {
        let mut crowd = Crowd::default();
        // One at a time for a second, then a stall of 20 ms, after which twelve are there at once.
        for _ in 0..1_000 {
            crowd.saw(1);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        tokio::time::advance(Duration::from_millis(20)).await;
        for open in (1..=12).chain((0..12).rev()) {
            crowd.saw(open);
            assert!(!crowd.is_dense(), "{open}");
            tokio::time::advance(Duration::from_micros(200)).await;
        }
    }
}
