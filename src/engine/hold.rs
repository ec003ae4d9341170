//! A reservation: money held for one generation, durable before anything is sent.
//!
//! Why it exists: no paid call leaves without a ticket, and only a written reservation gives tickets. `dispatch` writes,
//! `bill` notes what came back, `close` ends it once; a reservation that is dropped unclosed (a panic, a shutdown) hands
//! its doubt to the ledger. It needs no engine: whoever has a ledger can buy through it. What it refuses to know:
//! providers, and how a plan is run.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::join::Departure;
use crate::domain::budget::{Ahead, Exhausted, Purse};
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
    departure: Departure,
    opening: Option<Box<Opening>>,
    /// How the plan was decided, where the opening does not say.
    decision: Option<String>,
    id: Arc<str>,
    attempts: Vec<Attempt>,
    purse: Purse,
    ahead: Ahead,
    /// Where the attempts of the plan under way begin.
    begun: usize,
    /// The budget that refused last.
    exhausted: Option<Exhausted>,
    started: Instant,
    written: bool,
    closed: bool,
    /// Time spent waiting for the ledger.
    pub(crate) waited: Duration,
}

/// Leave to send one paid call: its money is held durably.
#[derive(Debug)]
pub(crate) struct Ticket(usize);

impl Ticket {
    /// The number of its attempt.
    pub(crate) fn seq(&self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

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

/// The plan about to be run, as the books and the budgets see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    /// The model that generates.
    pub(crate) model: Arc<str>,
    /// The plan in words.
    pub(crate) words: String,
    /// Expected cost.
    pub(crate) expected_cost: Money,
    /// Expected acceptance, 0 to 1.
    pub(crate) expected_accept: f64,
    /// What it costs at most, and who is paid how much of it.
    pub(crate) ahead: Ahead,
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
    /// A reservation that is written with its first calls, within the budgets of `purse`.
    pub(crate) fn new(
        ledger: Arc<dyn Ledger>,
        telemetry: Arc<Telemetry>,
        opening: Opening,
        purse: Purse,
        started: Instant,
        departure: Departure,
    ) -> Self {
        let id = opening.id.clone();
        Self {
            ledger,
            telemetry,
            departure,
            opening: Some(Box::new(opening)),
            decision: None,
            id,
            attempts: Vec::new(),
            purse,
            ahead: Ahead::default(),
            begun: 0,
            exhausted: None,
            started,
            written: false,
            closed: false,
            waited: Duration::ZERO,
        }
    }

    /// A plan is about to be run: what follows is held for it. Before anything is written, the opening tells of it.
    pub(crate) fn set_out(&mut self, course: Course) {
        if let Some(opening) = &mut self.opening {
            (opening.model, opening.plan) = (course.model, course.words);
            (opening.expected_cost, opening.expected_accept) = (course.expected_cost, course.expected_accept);
            opening.reserved = course.ahead.worst;
        }
        (self.ahead, self.begun) = (course.ahead, self.attempts.len());
    }

    /// How the plan was decided: written with the end.
    pub(crate) fn decided(&mut self, decision: String) {
        self.decision = Some(decision);
    }

    /// Whether a plan may still fit the budget that refused last. The ledger has the last word.
    pub(crate) fn may_afford(&self, ahead: &Ahead) -> bool {
        let fits = |full: &Exhausted| self.written || ahead.share(&full.budget.scope) <= full.left;
        self.exhausted.as_ref().is_none_or(fits)
    }

    /// The budget that refused last.
    pub(crate) const fn exhausted(&self) -> Option<&Exhausted> {
        self.exhausted.as_ref()
    }

    /// Holds the worst price of these calls, durably: when it returns `Ok`, they may be sent.
    pub(crate) async fn dispatch(&mut self, intents: &[Intent]) -> Result<Vec<Ticket>, Refusal> {
        // Called off, or another replica's by now: nothing may be sent.
        if !self.written {
            self.departure.depart().await?;
        }
        let first = self.attempts.len();
        for (seq, intent) in (first..).zip(intents) {
            let seq = u32::try_from(seq).unwrap_or(u32::MAX);
            self.attempts.push(Attempt::held(seq, intent.provider.clone(), intent.model.clone(), intent.worst));
        }
        let begun = Instant::now();
        let new: Vec<Attempt> = self.attempts.iter().skip(first).cloned().collect();
        let earmarks = self.purse.earmarks(&self.attempts, self.begun, &self.ahead);
        let written = match self.opening.take() {
            Some(mut opening) => {
                // Another plan may fit where this one does not.
                self.opening = (!self.purse.is_empty()).then(|| opening.clone());
                (opening.attempts, opening.earmarks) = (new, earmarks);
                trace::room("hold", self.ledger.open(*opening)).await
            }
            None => trace::room("hold", self.ledger.hold(self.id.clone(), new, earmarks)).await,
        };
        self.note(begun);
        match written {
            Ok(()) => {
                self.written = true;
                self.opening = None;
                Ok((first..self.attempts.len()).map(Ticket).collect())
            }
            Err(fault) => Err(self.refused(first, &fault)),
        }
    }

    /// The calls from `first` on will not be sent.
    fn refused(&mut self, first: usize, fault: &LedgerFault) -> Refusal {
        if self.written && matches!(fault, LedgerFault::Unavailable(_)) {
            // They may have been written, for all that is known: their end says that they cost nothing.
            for attempt in self.attempts.iter_mut().skip(first) {
                attempt.end(Billed::No, Money::ZERO, Basis::PriceTable);
                attempt.outcome = "unsent";
            }
        } else {
            self.attempts.truncate(first);
        }
        let exhausted = match &fault {
            LedgerFault::Exhausted { account, left } => self.purse.exhausted(account, *left),
            _ => None,
        };
        if let Some(exhausted) = exhausted {
            self.exhausted = Some(exhausted.clone());
            return Refusal::BudgetExhausted(exhausted);
        }
        self.telemetry.ledger_error(word(fault));
        tracing::error!(%fault, "money could not be held");
        match fault {
            LedgerFault::Reused => Refusal::IdempotencyKeyReused,
            LedgerFault::Exhausted { .. } | LedgerFault::NotOpen(_) | LedgerFault::Unavailable(_) => {
                Refusal::LedgerUnavailable
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
            if let Err(fault) = trace::room("settle", self.ledger.close(closing.clone())).await {
                self.telemetry.ledger_error(word(&fault));
                tracing::error!(%fault, id = %self.id, "a generation could not be closed");
                // What passes by the time that it is its turn is settled after all.
                self.ledger.abandon(closing);
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
            decision: self.decision.take(),
            attempts: self.attempts.clone(),
            charges: self.purse.charges(&self.attempts),
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
        LedgerFault::Exhausted { .. } => "exhausted",
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
