//! What is kept of an answer, without its pictures: JSON for the ledger and for other replicas.
//!
//! Why it exists: a replay in a day and a follower on another machine get the same answer from the same few fields; the
//! pictures are in the store under their hashes. What it refuses to know: where the text is kept. To add a field of the
//! answer: here and in [`Served`].

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::served::{Expected, How, Served, ServedImage, Timings};
use super::{Engine, Landed};
use crate::domain::fault::{Billed, Class};
use crate::domain::image::{Format, Size};
use crate::domain::ledger::{Attempt, Basis, MoneyState, Sums};
use crate::domain::money::Money;
use crate::domain::plan::explain::{Judged, StepLine};
use crate::domain::refusal::{Doubt, Refusal};

/// An answer or a refusal, kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Served(Box<KeptServed>),
    Refused(KeptRefusal),
}

#[derive(Serialize, Deserialize)]
struct KeptServed {
    id: Arc<str>,
    created_us: i64,
    images: Vec<KeptImage>,
    model: Arc<str>,
    task: Arc<str>,
    steps: Vec<KeptStep>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<Arc<str>>,
    expected_accept: f64,
    expected_micros: i64,
    expected_latency_ms: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<KeptAttempt>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    adjustments: Vec<String>,
    policy: Arc<str>,
    /// What its own caller paid, and how it came about for that one.
    cost_micros: i64,
    how: String,
}

#[derive(Serialize, Deserialize)]
struct KeptImage {
    sha256: String,
    format: String,
    width: u32,
    height: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct KeptStep {
    op: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<Arc<str>>,
    width: u32,
    height: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drafts: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verifier: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged: Option<(u32, u32, Vec<String>)>,
    #[serde(default, rename = "else", skip_serializing_if = "Vec::is_empty")]
    otherwise: Vec<KeptStep>,
}

#[derive(Serialize, Deserialize)]
struct KeptAttempt {
    seq: u32,
    provider: Arc<str>,
    model: Arc<str>,
    held: i64,
    charged: i64,
    state: String,
    billed: String,
    basis: String,
    outcome: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    detail: String,
    latency_us: u64,
}

#[derive(Serialize, Deserialize)]
struct KeptRefusal {
    code: String,
    detail: String,
    ambiguous: bool,
    retry_after_ms: u64,
    attempts: Vec<KeptAttempt>,
}

/// The text of an answer; `None` for a refusal that says more than fits here, or that belongs to one caller only.
pub(super) fn keep(landed: &Landed) -> Option<String> {
    match landed {
        Ok(served) => text(&Kept::Served(Box::new(KeptServed::of(served, &served.attempts)))),
        Err(refusal) => text(&Kept::Refused(KeptRefusal::of(refusal)?)),
    }
}

/// The same for the ledger, which has the attempts of an answer in rows of their own.
pub(super) fn keep_beside_attempts(landed: &Landed) -> Option<String> {
    match landed {
        Ok(served) => text(&Kept::Served(Box::new(KeptServed::of(served, &[])))),
        Err(_) => keep(landed),
    }
}

fn text(kept: &Kept) -> Option<String> {
    serde_json::to_string(kept).ok()
}

/// The seed of a picture of a kept answer.
pub(super) fn seed(text: &str, image: u8) -> Option<u64> {
    match serde_json::from_str(text).ok()? {
        Kept::Served(kept) => kept.images.get(usize::from(image))?.seed,
        Kept::Refused(_) => None,
    }
}

/// Whether the same ask would be refused again in the same words: moderation, and what providers do not take.
pub(super) fn lasts(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::ContentRefused { .. } => true,
        Refusal::ProvidersFailed(attempts) => {
            !attempts.is_empty() && attempts.iter().all(|attempt| attempt.outcome == Class::Reject.name())
        }
        _ => false,
    }
}

impl Engine {
    /// The answer of such a text, its pictures from the store; `None` when the text is of another version. `attempts`
    /// stand in for those of the text where the ledger has them, and may know better by now; `how` is `None` for the
    /// first caller itself.
    pub(super) async fn restore(&self, text: &str, how: Option<How>, attempts: Option<Vec<Attempt>>) -> Option<Landed> {
        match serde_json::from_str(text).ok()? {
            Kept::Refused(refusal) => refusal.restore().map(Err),
            Kept::Served(kept) => {
                let attempts = attempts.unwrap_or_else(|| kept.attempts.iter().map(KeptAttempt::restore).collect());
                Some(self.restore_served(*kept, how, attempts).await)
            }
        }
    }

    async fn restore_served(&self, kept: KeptServed, how: Option<How>, attempts: Vec<Attempt>) -> Landed {
        let mut images = Vec::with_capacity(kept.images.len());
        for image in &kept.images {
            let format = Format::from_name(&image.format).unwrap_or_default();
            let gone = || Refusal::NotFound(format!("the picture {} is no longer stored", image.sha256));
            let bytes = self.image(&image.sha256, format).await?.ok_or_else(gone)?;
            let size = Size::new(image.width, image.height);
            images.push(ServedImage { sha256: image.sha256.as_str().into(), format, size, seed: image.seed, bytes });
        }
        // Its own caller is told the price; whoever repeats it pays nothing.
        let own = [How::Fresh, How::Joined, How::Replayed].into_iter().find(|how| how.name() == kept.how);
        let (how, cost) = match how {
            Some(how) => (how, Money::ZERO),
            None => (own.unwrap_or(How::Replayed), Money::from_micros(kept.cost_micros)),
        };
        Ok(Served {
            id: kept.id,
            created: Timestamp::from_microsecond(kept.created_us).unwrap_or_default(),
            images,
            model: kept.model,
            task: kept.task,
            steps: kept.steps.iter().filter_map(KeptStep::restore).collect(),
            rule: kept.rule,
            expected: Expected {
                accept: kept.expected_accept,
                cost: Money::from_micros(kept.expected_micros),
                latency: Duration::from_millis(kept.expected_latency_ms),
            },
            cost,
            state: Sums::of(&attempts).state(),
            attempts,
            how,
            adjustments: kept.adjustments,
            warnings: Vec::new(),
            policy: kept.policy,
            timings: Timings::default(),
        })
    }
}

impl KeptServed {
    fn of(served: &Served, attempts: &[Attempt]) -> Self {
        let image = |image: &ServedImage| KeptImage {
            sha256: image.sha256.to_string(),
            format: image.format.name().to_owned(),
            width: image.size.width,
            height: image.size.height,
            seed: image.seed,
        };
        Self {
            id: served.id.clone(),
            created_us: served.created.as_microsecond(),
            images: served.images.iter().map(image).collect(),
            model: served.model.clone(),
            task: served.task.clone(),
            steps: served.steps.iter().map(KeptStep::of).collect(),
            rule: served.rule.clone(),
            expected_accept: served.expected.accept,
            expected_micros: served.expected.cost.micros(),
            expected_latency_ms: u64::try_from(served.expected.latency.as_millis()).unwrap_or(u64::MAX),
            attempts: attempts.iter().map(KeptAttempt::of).collect(),
            adjustments: served.adjustments.clone(),
            policy: served.policy.clone(),
            cost_micros: served.cost.micros(),
            how: served.how.name().to_owned(),
        }
    }
}

impl KeptStep {
    fn of(step: &StepLine) -> Self {
        Self {
            op: step.op.to_owned(),
            model: step.model.clone(),
            width: step.size.width,
            height: step.size.height,
            drafts: step.drafts,
            verifier: step.verifier.clone(),
            judged: step.judged.as_ref().map(|one| (one.passed, one.failed, one.seen.clone())),
            otherwise: step.otherwise.iter().map(Self::of).collect(),
        }
    }

    fn restore(&self) -> Option<StepLine> {
        let op = ["generate", "verify", "upscale", "resize"].into_iter().find(|op| *op == self.op)?;
        let judged = self.judged.clone().map(|(passed, failed, seen)| Judged { passed, failed, seen });
        Some(StepLine {
            op,
            model: self.model.clone(),
            size: Size::new(self.width, self.height),
            drafts: self.drafts,
            verifier: self.verifier.clone(),
            judged,
            otherwise: self.otherwise.iter().filter_map(Self::restore).collect(),
        })
    }
}

impl KeptAttempt {
    fn of(attempt: &Attempt) -> Self {
        Self {
            seq: attempt.seq,
            provider: attempt.provider.clone(),
            model: attempt.model.clone(),
            held: attempt.held.micros(),
            charged: attempt.charged.micros(),
            state: attempt.state.name().to_owned(),
            billed: attempt.billed.name().to_owned(),
            basis: attempt.basis.name().to_owned(),
            outcome: attempt.outcome.to_owned(),
            detail: attempt.detail.clone(),
            latency_us: u64::try_from(attempt.latency.as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn restore(&self) -> Attempt {
        let words = Class::ALL.map(Class::name).into_iter().chain(["ok", "sent", "unsent", "abandoned", "crashed"]);
        let held = Money::from_micros(self.held);
        let mut attempt = Attempt::held(self.seq, self.provider.clone(), self.model.clone(), held);
        attempt.charged = Money::from_micros(self.charged);
        attempt.state = MoneyState::from_name(&self.state).unwrap_or(MoneyState::Ambiguous);
        let billed = [Billed::No, Billed::Unknown, Billed::Yes].into_iter().find(|word| word.name() == self.billed);
        attempt.billed = billed.unwrap_or(Billed::Unknown);
        let basis = [Basis::PriceTable, Basis::ProviderUsage].into_iter().find(|word| word.name() == self.basis);
        attempt.basis = basis.unwrap_or(Basis::PriceTable);
        attempt.outcome = words.into_iter().find(|word| *word == self.outcome).unwrap_or("unknown");
        attempt.detail.clone_from(&self.detail);
        attempt.latency = Duration::from_micros(self.latency_us);
        attempt
    }
}

impl KeptRefusal {
    fn of(refusal: &Refusal) -> Option<Self> {
        let (mut detail, mut ambiguous, mut wait) = (String::new(), false, Duration::ZERO);
        match refusal {
            Refusal::ContentRefused { detail: said, .. } => detail.clone_from(said),
            Refusal::DeadlineExceeded { outcome, .. } => ambiguous = *outcome == Doubt::Ambiguous,
            Refusal::QuotaExhausted { retry_after } => wait = *retry_after,
            Refusal::ProvidersFailed(_) | Refusal::IdempotencyKeyReused | Refusal::LedgerUnavailable => {}
            _ => return None,
        }
        Some(Self {
            code: refusal.code().to_owned(),
            detail,
            ambiguous,
            retry_after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            attempts: refusal.attempts().iter().map(KeptAttempt::of).collect(),
        })
    }

    fn restore(self) -> Option<Refusal> {
        let attempts = self.attempts.iter().map(KeptAttempt::restore).collect();
        Some(match self.code.as_str() {
            "content_refused" => Refusal::ContentRefused { detail: self.detail, attempts },
            "deadline_exceeded" => {
                let outcome = if self.ambiguous { Doubt::Ambiguous } else { Doubt::NotStarted };
                Refusal::DeadlineExceeded { outcome, attempts }
            }
            "idempotency_key_reused" => Refusal::IdempotencyKeyReused,
            "ledger_unavailable" => Refusal::LedgerUnavailable,
            "providers_failed" => Refusal::ProvidersFailed(attempts),
            "quota_exhausted" => Refusal::QuotaExhausted { retry_after: Duration::from_millis(self.retry_after_ms) },
            _ => return None,
        })
    }
}
