//! What waits for the writer thread.
//!
//! Why it exists: new work is bounded, so that a slow disk refuses instead of piling up; ends are not, because each of
//! them belongs to a generation that was let in, and refusing it would lose money's state. What it refuses to know:
//! SQL.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::state::LedgerFault;
use crate::state::command::Command;

/// Openings and holds that may wait at once.
const MOST_WAITING: usize = 8_192;

/// The queue, shared by every caller and the one writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    line: Mutex<Line>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Command>,
    shut: bool,
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
        // The writer sleeps only on an empty line: waking it otherwise is a system call for nothing.
        let asleep = line.waiting.is_empty();
        line.waiting.push_back(command);
        drop(line);
        if asleep {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves up to `most` commands into `batch`, waiting for the first. False when the queue is shut and empty.
    pub(super) fn take(&self, batch: &mut Vec<Command>, most: usize) -> bool {
        let line = self.lock();
        let mut line = self
            .filled
            .wait_while(line, |line| line.waiting.is_empty() && !line.shut)
            .unwrap_or_else(PoisonError::into_inner);
        let count = line.waiting.len().min(most);
        batch.extend(line.waiting.drain(..count));
        count > 0
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
