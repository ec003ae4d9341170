//! Answers from a script, for rehearsals and tests of what stands on a transport.
//!
//! Why it exists: to try the engine against exact replies and faults in an exact order without a socket. What it refuses
//! to know: dialects; the script says what comes back, whatever was asked.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Boxed, Endpoint, Transport};
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::provider::{Call, Reply};

/// What one call gets.
#[derive(Clone, Debug)]
pub struct Turn {
    /// How long it takes.
    pub after: Duration,
    /// What comes back.
    pub outcome: Result<Reply, Fault>,
}

/// A transport that gives each call the next turn of its script, in the order in which calls are sent.
#[derive(Debug, Default)]
pub struct Scripted {
    turns: Mutex<VecDeque<Turn>>,
    calls: Mutex<Vec<(Endpoint, Call)>>,
}

impl Scripted {
    /// A transport with this script.
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self { turns: Mutex::new(turns.into_iter().collect()), calls: Mutex::default() }
    }

    /// Every call so far, in order, with where it was sent.
    pub fn calls(&self) -> Vec<(Endpoint, Call)> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Turns that no call has taken.
    pub fn left(&self) -> usize {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Transport for Scripted {
    fn send<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        call: &'a Call,
        deadline: Instant,
    ) -> Boxed<'a, Result<Reply, Fault>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push((endpoint.clone(), call.clone()));
        let turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        Box::pin(async move {
            let Some(turn) = turn else {
                return Err(Fault::new(Class::Unavailable, Blame::Ourselves, Billed::No, "the script has ended"));
            };
            let due = Instant::now() + turn.after;
            sleep_until(due.min(deadline)).await;
            if due > deadline {
                let billed = if call.stage.buys() { Billed::Unknown } else { Billed::No };
                return Err(Fault::new(Class::TimeOut, Blame::Provider, billed, "no answer in time"));
            }
            turn.outcome
        })
    }
}
