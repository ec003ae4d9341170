//! The arithmetic of the books: what is held, what is charged, what is in doubt.
//!
//! Why it exists: money held is settled, released, or ambiguous and visible, and nothing else; the sums here are the
//! only ones. What it refuses to know: databases. The states of an attempt's money:
//! `held` → `settled` | `released` | `ambiguous`, and later `ambiguous` → `settled` | `released`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::budget::{Charge, Earmark};
use super::fault::Billed;
use super::fingerprint::Fingerprint;
use super::money::Money;

/// Where the money of one attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MoneyState {
    /// It may have been charged; held until someone knows.
    Ambiguous,
    /// Held for a call that was sent or is about to be.
    Held,
    /// Not charged.
    Released,
    /// Charged.
    Settled,
}

impl MoneyState {
    /// The name in the ledger and in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::Held => "held",
            Self::Released => "released",
            Self::Settled => "settled",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ambiguous, Self::Held, Self::Released, Self::Settled].into_iter().find(|state| state.name() == name)
    }
}

/// How an amount is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// The policy's price.
    PriceTable,
    /// The provider's own count in its answer.
    ProviderUsage,
}

impl Basis {
    /// The name in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PriceTable => "price_table",
            Self::ProviderUsage => "provider_usage",
        }
    }
}

/// What a call came to. Only what is `Unsent` may be repeated by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptClass {
    /// It may have been charged, and nobody knows.
    Ambiguous,
    /// It was charged.
    Billed,
    /// The provider looked at it and declined, free of charge.
    Refused,
    /// It did not reach the provider, or was turned away at the door.
    Unsent,
}

impl AttemptClass {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::Billed => "billed",
            Self::Refused => "refused",
            Self::Unsent => "unsent",
        }
    }
}

/// One call to a provider, as the books know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// From 0, unique within its generation.
    pub seq: u32,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The model's id.
    pub model: Arc<str>,
    /// Held before the call.
    pub held: Money,
    /// Charged; zero unless settled.
    pub charged: Money,
    /// Where the money is.
    pub state: MoneyState,
    /// Whether the provider charged.
    pub billed: Billed,
    /// How `charged` is known.
    pub basis: Basis,
    /// `ok`, or the fault's class by name.
    pub outcome: &'static str,
    /// One sentence on the failure; empty when it worked.
    pub detail: String,
    /// From the first byte sent to the last received.
    pub latency: Duration,
}

impl Attempt {
    /// An attempt about to be sent, its worst price held.
    pub fn held(seq: u32, provider: Arc<str>, model: Arc<str>, held: Money) -> Self {
        Self {
            seq,
            provider,
            model,
            held,
            charged: Money::ZERO,
            state: MoneyState::Held,
            billed: Billed::Unknown,
            basis: Basis::PriceTable,
            outcome: "sent",
            detail: String::new(),
            latency: Duration::ZERO,
        }
    }

    /// Ends it: charged for `cost` when billed, in doubt when unknown, freed when not.
    pub fn end(&mut self, billed: Billed, cost: Money, basis: Basis) {
        (self.billed, self.basis) = (billed, basis);
        (self.state, self.charged) = match billed {
            Billed::No => (MoneyState::Released, Money::ZERO),
            Billed::Unknown => (MoneyState::Ambiguous, Money::ZERO),
            Billed::Yes => (MoneyState::Settled, cost),
        };
    }

    /// What is known of the call, in one word.
    pub fn class(&self) -> AttemptClass {
        match (self.billed, self.outcome) {
            (Billed::Yes, _) => AttemptClass::Billed,
            (Billed::Unknown, _) => AttemptClass::Ambiguous,
            // What failed without a word on the ask, and was not charged, never came to work there.
            (Billed::No, "timed_out" | "unavailable" | "throttled" | "unsent") => AttemptClass::Unsent,
            (Billed::No, _) => AttemptClass::Refused,
        }
    }

    /// What it counts against a cap: charged, or held while nobody knows better.
    pub fn exposure(&self) -> Money {
        match self.state {
            MoneyState::Released => Money::ZERO,
            MoneyState::Settled => self.charged,
            MoneyState::Held | MoneyState::Ambiguous => self.held,
        }
    }
}

/// The sums over a generation's attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Charged.
    pub settled: Money,
    /// In doubt.
    pub ambiguous: Money,
    /// Still held.
    pub held: Money,
}

impl Sums {
    /// Over these attempts.
    pub fn of(attempts: &[Attempt]) -> Self {
        let mut sums = Self::default();
        for attempt in attempts {
            match attempt.state {
                MoneyState::Released => {}
                MoneyState::Settled => sums.settled += attempt.charged,
                MoneyState::Ambiguous => sums.ambiguous += attempt.held,
                MoneyState::Held => sums.held += attempt.held,
            }
        }
        sums
    }

    /// `ambiguous` while any doubt is left, else `settled`.
    pub fn state(self) -> MoneyState {
        if self.ambiguous > Money::ZERO { MoneyState::Ambiguous } else { MoneyState::Settled }
    }

    /// What counts against a cap.
    pub fn exposure(self) -> Money {
        self.settled + self.ambiguous + self.held
    }
}

/// A generation as the ledger opens it: written before anything is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// `gen_…`.
    pub id: Arc<str>,
    /// When the request arrived.
    pub created: Timestamp,
    /// The tenant, by key name; `-` when no keys are configured.
    pub key: Arc<str>,
    /// The task's name.
    pub task: Arc<str>,
    /// The chosen plan's model.
    pub model: Arc<str>,
    /// The plan in words, e.g. `stability/sd3.5-medium → local/lanczos`.
    pub plan: String,
    /// The rule that decided, if one.
    pub rule: Option<Arc<str>>,
    /// Policy digest.
    pub policy: Arc<str>,
    /// SHA-256 of the prompt, in hex; the text itself is kept only when the settings say so.
    pub prompt_sha256: String,
    /// The prompt's text, when the settings keep it.
    pub prompt: Option<String>,
    /// The caller's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Expected cost of the plan.
    pub expected_cost: Money,
    /// Expected acceptance of the plan, 0 to 1.
    pub expected_accept: f64,
    /// The worst price of the chosen plan: reserved.
    pub reserved: Money,
    /// The idempotency key that it answers, if one was sent.
    pub claim: Option<Claim>,
    /// The plan's first calls, held: they may be sent once the opening is durable.
    pub attempts: Vec<Attempt>,
    /// What the budgets must have room for; not read back.
    pub earmarks: Vec<Earmark>,
    /// How the plan was decided, as one JSON object: what learning and replaying need later. `None` when the closing is
    /// to say it, or nothing was decided.
    pub decision: Option<String>,
}

/// How long a claim is remembered.
pub const CLAIM_LIFE: Duration = Duration::from_hours(24);

/// An idempotency key in its caller's scope: one key, one purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Digest of tenant, route and key, in hex.
    pub scope: String,
    /// The ask that the key first came with.
    pub fingerprint: Fingerprint,
    /// How long an earlier purchase holds the scope against this one: [`CLAIM_LIFE`] for a key, a window for a repeat
    /// that is told by its content, nothing for an ask that wants a purchase of its own.
    pub life: Duration,
}

impl Claim {
    /// The latest creation, in microseconds, of a purchase that no longer holds the scope against one of `created`.
    pub fn passes_until(&self, created: Timestamp) -> i64 {
        if self.life.is_zero() {
            return i64::MAX;
        }
        created.as_microsecond().saturating_sub(i64::try_from(self.life.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A generation as the ledger closes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Closing {
    /// The opening's id.
    pub id: Arc<str>,
    /// When it ended.
    pub ended: Timestamp,
    /// `succeeded`, or the refusal's code.
    pub outcome: &'static str,
    /// The model that made the answer's images.
    pub model: Arc<str>,
    /// From arrival to answer.
    pub latency: Duration,
    /// SHA-256 of each stored image, in hex, with its extension: `ab…cd.png`.
    pub images: Vec<String>,
    /// What a replay answers, as JSON without the pictures; `None` when the same ask may end otherwise next time.
    pub answer: Option<String>,
    /// How the plan was decided, if the opening did not say; read back there.
    pub decision: Option<String>,
    /// Every attempt, none of them held any more.
    pub attempts: Vec<Attempt>,
    /// What is left in the budgets; not read back.
    pub charges: Vec<Charge>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(billed: Billed, held: i64, cost: i64) -> Attempt {
        let mut attempt = Attempt::held(0, "p".into(), "p/m".into(), Money::from_micros(held));
        attempt.end(billed, Money::from_micros(cost), Basis::PriceTable);
        attempt
    }

    #[test]
    fn every_call_is_of_one_class() {
        let class = |billed, outcome| Attempt { outcome, ..attempt(billed, 1, 1) }.class();
        assert_eq!(class(Billed::Yes, "garbled"), AttemptClass::Billed);
        assert_eq!(class(Billed::Unknown, "timed_out"), AttemptClass::Ambiguous);
        assert_eq!(class(Billed::No, "unavailable"), AttemptClass::Unsent);
        assert_eq!(class(Billed::No, "moderated"), AttemptClass::Refused);
        // A call that was only held is in doubt: it may have left.
        assert_eq!(Attempt::held(0, "p".into(), "p/m".into(), Money::ZERO).class(), AttemptClass::Ambiguous);
    }

    #[test]
    fn every_held_dollar_goes_to_exactly_one_place() {
        let attempts = [attempt(Billed::Yes, 50, 35), attempt(Billed::Unknown, 40, 40), attempt(Billed::No, 60, 60)];
        let sums = Sums::of(&attempts);
        assert_eq!(
            sums,
            Sums { settled: Money::from_micros(35), ambiguous: Money::from_micros(40), held: Money::ZERO }
        );
        assert_eq!(sums.state(), MoneyState::Ambiguous);
        assert_eq!(sums.exposure(), attempts.iter().map(Attempt::exposure).sum());
    }
}
