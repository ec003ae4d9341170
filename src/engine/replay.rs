//! One ask, one purchase: which asks are the same, and what the ledger knows of them.
//!
//! Why it exists: a client that repeats itself must get the first answer and pay nothing. Two things make a repeat: an
//! idempotency key, in the scope of its owner and route; or, for clients that send none, the same ask again, marked as
//! a retry or within the policy's window. The claim stands in the ledger beside the money, so it survives a restart and
//! holds between replicas. What it refuses to know: flights under way (`join.rs` asks them first).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::draft::Draft;
use super::kept;
use super::served::{How, Inbound, Served};
use super::{Engine, Landed};
use crate::domain::fingerprint::Fingerprint;
use crate::domain::ledger::{Attempt, CLAIM_LIFE, Claim, Sums};
use crate::domain::money::Money;
use crate::domain::refusal::{Doubt, Refusal};
use crate::domain::request::GenerationRequest;
use crate::domain::rule::Share;
use crate::policy::Snapshot;
use crate::state::Record;
use crate::telemetry::clock;

/// How long a repeat that its client marks as one finds the first: longer than the SDKs' own time-outs and retries take.
const MARKED_WINDOW: Duration = Duration::from_mins(45);
/// Purchases of one key at most, where the policy buys again what is in doubt.
const MOST_TAKES: u32 = 4;
/// Between two looks at a purchase that another process makes.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// What makes an ask the same as another.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The ask, in its tenant's scope.
    pub(super) print: Fingerprint,
    /// The flight that it may share; `None` when it flies alone.
    pub(super) flight: Option<Fingerprint>,
    /// Whether it joins a flight that is under way; else it begins its own, which others may join.
    pub(super) joins: bool,
    /// What holds it in the ledger.
    pub(super) scope: Option<Scope>,
}

/// A place in the ledger that one purchase holds at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    base: Fingerprint,
    print: Fingerprint,
    life: Duration,
}

impl Scope {
    /// Whether no earlier purchase answers it.
    pub(super) const fn is_fresh(&self) -> bool {
        self.life.is_zero()
    }

    /// The claim of the purchase after `takes` others.
    pub(super) fn claim(&self, takes: u32) -> Claim {
        Claim { scope: self.base.take(takes).hex(), fingerprint: self.print, life: self.life }
    }
}

impl Identity {
    /// Of a request by `tenant`.
    pub(super) fn of(snapshot: &Snapshot, tenant: &str, inbound: &Inbound, request: &GenerationRequest) -> Self {
        let print = Fingerprint::of(tenant, &request.ask);
        // A key is an ask of its own: two keys with one body are two purchases, one key with two bodies is an error.
        if let Some(key) = &inbound.idempotency_key {
            let base = Fingerprint::of_key(tenant, inbound.repeat.route, key);
            return Self {
                print,
                flight: Some(base),
                joins: true,
                scope: Some(Scope { base, print, life: CLAIM_LIFE }),
            };
        }
        let shared = !inbound.share_never
            && match request.terms.share {
                Share::Identical => true,
                Share::Seeded => request.ask.seed.is_some(),
                Share::Never => false,
            };
        let marked = inbound.repeat.count.is_some_and(|count| count > 0);
        let window = snapshot.defaults.retry_window.filter(|_| !inbound.share_never);
        let life = if marked { MARKED_WINDOW.max(window.unwrap_or_default()) } else { window.unwrap_or_default() };
        // A client that counts its tries may come again: what it buys is kept where its next try finds it.
        let remembered = inbound.repeat.count.is_some() || window.is_some();
        let scope = remembered.then(|| Scope { base: Fingerprint::of_content(&print), print, life });
        let joins = shared || marked || window.is_some();
        Self { print, flight: (joins || remembered).then_some(print), joins, scope }
    }
}

/// What a claim has bought.
enum Recalled {
    /// Nothing: it is free to buy.
    Free,
    /// This.
    Answer(Box<Landed>),
    /// Perhaps something: its money is in doubt and there is no answer.
    Doubt(Refusal, Box<Record>),
}

/// Leave to buy.
#[derive(Clone, Default)]
pub(super) struct Free {
    /// The claim under which to buy.
    pub(super) claim: Option<Claim>,
    /// What an earlier purchase has bought and not delivered.
    pub(super) drafts: Vec<Draft>,
}

impl Engine {
    /// What `scope` has bought, waiting for another process that is buying; else leave to buy.
    pub(super) async fn recall(&self, snapshot: &Snapshot, scope: &Scope, deadline: Instant) -> Result<Free, Landed> {
        let (mut takes, mut drafts) = (0, Vec::new());
        loop {
            let claim = scope.claim(takes);
            if scope.life.is_zero() {
                return Ok(Free { claim: Some(claim), drafts });
            }
            match self.recall_one(&claim, deadline).await {
                Err(refusal) => return Err(Err(refusal)),
                Ok(Recalled::Free) => return Ok(Free { claim: Some(claim), drafts }),
                Ok(Recalled::Answer(landed)) => return Err(*landed),
                Ok(Recalled::Doubt(refusal, record)) => {
                    let found = self.pick_up(snapshot, &record, deadline).await;
                    let may_buy = found.is_some() || snapshot.defaults.buy_again;
                    if !may_buy || takes + 1 >= MOST_TAKES {
                        return Err(Err(refusal));
                    }
                    drafts = found.unwrap_or(drafts);
                    takes += 1;
                }
            }
        }
    }

    async fn recall_one(&self, claim: &Claim, deadline: Instant) -> Result<Recalled, Refusal> {
        let mut look = FIRST_LOOK;
        loop {
            let since = clock::now().checked_sub(claim.life).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            let recalled = self.ledger.recall(&claim.scope, since).await;
            let record = recalled.map_err(|fault| {
                self.telemetry.ledger_error(super::hold::word(&fault));
                Refusal::LedgerUnavailable
            })?;
            let Some(record) = record else { return Ok(Recalled::Free) };
            if record.opening.claim.as_ref().map(|held| held.fingerprint) != Some(claim.fingerprint) {
                return Err(Refusal::IdempotencyKeyReused);
            }
            if record.closing.is_some() || Instant::now() + look >= deadline {
                return Ok(self.replay(record).await);
            }
            // Another process buys it: its end will stand here.
            sleep(look).await;
            look = (look * 2).min(LONGEST_LOOK);
        }
    }

    async fn replay(&self, record: Record) -> Recalled {
        let kept = Box::new(record.clone());
        let outcome = record.closing.as_ref().map_or("running", |closing| closing.outcome);
        let (attempts, answer) = match record.closing {
            Some(closing) => (closing.attempts, closing.answer),
            None => (record.opening.attempts, None),
        };
        if let Some(text) = answer
            && let Some(landed) = self.restore(&text, Some(How::Replayed), Some(attempts.clone())).await
        {
            return Recalled::Answer(Box::new(landed));
        }
        let sums = Sums::of(&attempts);
        if sums.exposure() == Money::ZERO {
            return Recalled::Free;
        }
        // Bought or in doubt, and no answer to give.
        let refusal = match outcome {
            "providers_failed" => Refusal::ProvidersFailed(attempts),
            _ => Refusal::DeadlineExceeded { outcome: Doubt::Ambiguous, attempts },
        };
        Recalled::Doubt(refusal, kept)
    }
}

/// What the ledger keeps for replays of this end.
pub(super) fn answer(landed: &Landed) -> Option<String> {
    let lasts = landed.as_ref().err().is_none_or(kept::lasts);
    lasts.then(|| kept::keep_beside_attempts(landed)).flatten()
}

/// A replay in a caller's own words: what it asked is told to it, not what the first caller was warned of.
pub(super) fn told(landed: Landed, inbound: &Inbound) -> Landed {
    landed.map(|served| Served { warnings: inbound.warnings.clone(), ..served })
}

/// What a joined or replayed answer would have cost.
pub(super) fn worth(attempts: &[Attempt]) -> Money {
    Sums::of(attempts).settled
}
