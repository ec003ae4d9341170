//! What waits for the writing thread.
//!
//! Why it exists: new work is bounded and is refused at once while there is no connection; ends are neither, because each
//! of them belongs to a generation that was let in. What it refuses to know: SQL.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::state::LedgerFault;
use crate::state::command::Command;

/// New work that may wait at once.
const MOST_WAITING: usize = 8_192;

/// The queue, shared by every caller and the one writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    line: Mutex<Line>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Command>,
    /// Why new work is refused.
    away: Option<LedgerFault>,
    shut: bool,
}

impl Queue {
    /// Lines up new work, unless too much waits or nothing can be written now.
    pub(super) fn offer(&self, command: Command) -> Result<(), LedgerFault> {
        let line = self.lock();
        if let Some(why) = &line.away {
            return Err(why.clone());
        }
        if line.waiting.len() >= MOST_WAITING {
            return Err(LedgerFault::Unavailable("too many writes wait".into()));
        }
        self.push(line, command)
    }

    /// Lines up the end of work that was let in. It is written as soon as it can be; while nothing can, whoever waits
    /// for it is told so.
    pub(super) fn end(&self, command: Command) -> Result<(), LedgerFault> {
        self.push(self.lock(), command)
    }

    fn push(&self, mut line: MutexGuard<'_, Line>, command: Command) -> Result<(), LedgerFault> {
        if line.shut {
            return Err(LedgerFault::Unavailable("it is shut".into()));
        }
        line.waiting.push_back(command);
        drop(line);
        self.filled.notify_one();
        Ok(())
    }

    /// Up to `most` commands, what has waited longest first.
    pub(super) fn take(&self, most: usize) -> Vec<Command> {
        let mut line = self.lock();
        let count = line.waiting.len().min(most);
        line.waiting.drain(..count).collect()
    }

    /// Waits until something may have been lined up, or the queue was shut.
    pub(super) async fn filled(&self) {
        let ready = {
            let line = self.lock();
            !line.waiting.is_empty() || line.shut
        };
        if !ready {
            self.filled.notified().await;
        }
    }

    /// From here on new work is refused, for this reason, until [`Queue::opens`].
    pub(super) fn closes(&self, why: &LedgerFault) {
        self.lock().away = Some(why.clone());
    }

    /// New work is taken.
    pub(super) fn opens(&self) {
        self.lock().away = None;
    }

    /// Takes no more; what waits is still written.
    pub(super) fn shut(&self) {
        self.lock().shut = true;
        self.filled.notify_one();
    }

    /// Whether it was shut.
    pub(super) fn is_shut(&self) -> bool {
        self.lock().shut
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
