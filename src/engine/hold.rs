//! A reservation: money held for one generation, durable before anything is sent.
//!
//! Why it exists: no paid call leaves without a ticket, and only a written reservation gives tickets. `dispatch` writes,
//! `bill` notes what came back, `close` ends it once; a reservation that is dropped unclosed (a panic, a shutdown) hands
//! its doubt to the ledger. What it refuses to know: providers and plans.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::fault::Billed;
use crate::domain::ledger::{Attempt, Basis, Closing, MoneyState, Opening, Sums};
use crate::domain::money::Money;
use crate::domain::refusal::Refusal;
use crate::state::{Ledger, LedgerFault};
use crate::telemetry::{Telemetry, clock, trace};

/// Money held for one generation.
pub(crate) struct Reservation {
    ledger: Arc<dyn Ledger>,
    telemetry: Arc<Telemetry>,
    opening: Option<Box<Opening>>,
    id: Arc<str>,
    attempts: Vec<Attempt>,
    started: Instant,
    written: bool,
    closed: bool,
    /// Time spent waiting for the ledger.
    pub(crate) waited: Duration,
}

/// Leave to send one paid call: its money is held durably.
#[derive(Debug)]
pub(crate) struct Ticket(usize);

/// A call about to be made.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) provider: Arc<str>,
    pub(crate) model: Arc<str>,
    pub(crate) worst: Money,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(crate) struct Bill {
    pub(crate) billed: Billed,
    pub(crate) cost: Money,
    pub(crate) basis: Basis,
    pub(crate) outcome: &'static str,
    pub(crate) detail: String,
    pub(crate) latency: Duration,
}

/// How a generation ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct End {
    pub(crate) outcome: &'static str,
    pub(crate) model: Arc<str>,
    pub(crate) images: Vec<String>,
    pub(crate) answer: Option<String>,
}

impl Reservation {
    /// A reservation that is written with its first calls.
    pub(crate) fn new(ledger: Arc<dyn Ledger>, telemetry: Arc<Telemetry>, opening: Opening, started: Instant) -> Self {
        let id = opening.id.clone();
        Self {
            ledger,
            telemetry,
            opening: Some(Box::new(opening)),
            id,
            attempts: Vec::new(),
            started,
            written: false,
            closed: false,
            waited: Duration::ZERO,
        }
    }

    /// Holds the worst price of these calls, durably: when it returns `Ok`, they may be sent.
    pub(crate) async fn dispatch(&mut self, intents: &[Intent]) -> Result<Vec<Ticket>, Refusal> {
        let first = self.attempts.len();
        for (seq, intent) in (first..).zip(intents) {
            let seq = u32::try_from(seq).unwrap_or(u32::MAX);
            self.attempts.push(Attempt::held(seq, intent.provider.clone(), intent.model.clone(), intent.worst));
        }
        let begun = Instant::now();
        let new: Vec<Attempt> = self.attempts.iter().skip(first).cloned().collect();
        let written = match self.opening.take() {
            Some(mut opening) => {
                opening.attempts = new;
                trace::room("hold", self.ledger.open(*opening)).await
            }
            None => trace::room("hold", self.ledger.hold(self.id.clone(), new)).await,
        };
        self.note(begun);
        match written {
            Ok(()) => {
                self.written = true;
                Ok((first..self.attempts.len()).map(Ticket).collect())
            }
            Err(fault) => {
                self.attempts.truncate(first);
                self.telemetry.ledger_error(word(&fault));
                tracing::error!(%fault, "money could not be held");
                Err(match fault {
                    LedgerFault::Reused => Refusal::IdempotencyKeyReused,
                    LedgerFault::NotOpen(_) | LedgerFault::Unavailable(_) => Refusal::LedgerUnavailable,
                })
            }
        }
    }

    /// Notes how a call ended.
    pub(crate) fn bill(&mut self, ticket: &Ticket, bill: Bill) {
        if let Some(attempt) = self.attempts.get_mut(ticket.0) {
            attempt.end(bill.billed, bill.cost, bill.basis);
            (attempt.outcome, attempt.detail, attempt.latency) = (bill.outcome, bill.detail, bill.latency);
        }
    }

    /// The generation's id.
    pub(crate) fn id(&self) -> Arc<str> {
        self.id.clone()
    }

    /// What counts against the cap so far.
    pub(crate) fn exposure(&self) -> Money {
        Sums::of(&self.attempts).exposure()
    }

    /// Every attempt so far.
    pub(crate) fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Ends the generation: charges the billed, keeps the doubtful, frees the rest. A ledger that fails now takes
    /// nothing from the caller: the money stays held and becomes doubt at the next start.
    pub(crate) async fn close(mut self, end: End) -> (Vec<Attempt>, Duration) {
        self.closed = true;
        if self.written {
            let closing = self.closing(end);
            let begun = Instant::now();
            if let Err(fault) = trace::room("settle", self.ledger.close(closing)).await {
                self.telemetry.ledger_error(word(&fault));
                tracing::error!(%fault, id = %self.id, "a generation could not be closed");
            }
            self.note(begun);
        }
        (std::mem::take(&mut self.attempts), self.waited)
    }

    fn closing(&mut self, end: End) -> Closing {
        for attempt in &mut self.attempts {
            if attempt.state == MoneyState::Held {
                attempt.end(Billed::Unknown, Money::ZERO, Basis::PriceTable);
                attempt.outcome = "abandoned";
            }
        }
        Closing {
            id: self.id.clone(),
            ended: clock::now(),
            outcome: end.outcome,
            model: end.model,
            latency: self.started.elapsed(),
            images: end.images,
            answer: end.answer,
            attempts: self.attempts.clone(),
        }
    }

    fn note(&mut self, begun: Instant) {
        let time = begun.elapsed();
        self.waited += time;
        self.telemetry.ledger_commit(time);
    }
}

/// A ledger fault in metrics.
pub(super) const fn word(fault: &LedgerFault) -> &'static str {
    match fault {
        LedgerFault::NotOpen(_) => "not_open",
        LedgerFault::Reused => "reused",
        LedgerFault::Unavailable(_) => "unavailable",
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.written && !self.closed {
            let closing = self.closing(End { outcome: "abandoned", ..End::default() });
            self.ledger.abandon(closing);
        }
    }
}
