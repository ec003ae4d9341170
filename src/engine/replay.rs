//! One idempotency key, one purchase: replays what a key has bought.
//!
//! Why it exists: a client that repeats a key must get the first answer and pay nothing. The claim stands in the ledger
//! beside the money, so it survives a restart. What it refuses to know: flights under way (`join` asks them first).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::served::{Expected, How, Served, ServedImage, Timings};
use super::{Engine, Inbound};
use crate::domain::fingerprint::Fingerprint;
use crate::domain::image::{Format, Size};
use crate::domain::ledger::{Attempt, CLAIM_LIFE, Claim, Sums};
use crate::domain::money::Money;
use crate::domain::plan::explain::{Judged, StepLine};
use crate::domain::refusal::{Doubt, Refusal};
use crate::state::Record;
use crate::telemetry::clock;

/// The claim of a request that carries a key.
pub(super) fn claim(tenant: &str, inbound: &Inbound, fingerprint: Fingerprint) -> Option<Claim> {
    let key = inbound.idempotency_key.as_deref()?;
    Some(Claim { scope: Fingerprint::of_key(tenant, key).hex(), fingerprint })
}

impl Engine {
    /// What the claim has bought: `None` when it is free to buy.
    pub(super) async fn recall(&self, claim: &Claim) -> Result<Option<Served>, Refusal> {
        let since = clock::now().checked_sub(CLAIM_LIFE).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let recalled = self.ledger.recall(&claim.scope, since).await;
        let record = recalled.map_err(|fault| {
            self.telemetry.ledger_error(super::hold::word(&fault));
            Refusal::LedgerUnavailable
        })?;
        let Some(record) = record else { return Ok(None) };
        let held = record.opening.claim.as_ref().map(|held| held.fingerprint);
        if held != Some(claim.fingerprint) {
            return Err(Refusal::IdempotencyKeyReused);
        }
        self.replay(record).await
    }

    async fn replay(&self, record: Record) -> Result<Option<Served>, Refusal> {
        let attempts = record.closing.as_ref().map_or(&record.opening.attempts, |closing| &closing.attempts);
        let exposure = Sums::of(attempts).exposure();
        let answer = record.closing.as_ref().and_then(|closing| closing.answer.as_deref());
        let kept = answer.and_then(|answer| serde_json::from_str::<Kept>(answer).ok());
        match kept {
            Some(kept) => self.restore(&record, kept).await.map(Some),
            None if exposure == Money::ZERO => Ok(None),
            // Bought or in doubt, and no answer to give: never buy it again by itself.
            None => Err(Refusal::DeadlineExceeded { outcome: Doubt::Ambiguous, attempts: attempts.clone() }),
        }
    }

    async fn restore(&self, record: &Record, kept: Kept) -> Result<Served, Refusal> {
        let mut images = Vec::with_capacity(kept.images.len());
        for image in &kept.images {
            let format = Format::from_name(&image.format).unwrap_or_default();
            let gone = || Refusal::NotFound(format!("the picture {} is no longer stored", image.sha256));
            let bytes = self.image(&image.sha256, format).await?.ok_or_else(gone)?;
            let size = Size::new(image.width, image.height);
            images.push(ServedImage { sha256: image.sha256.as_str().into(), format, size, seed: image.seed, bytes });
        }
        let closing = record.closing.as_ref();
        Ok(Served {
            id: record.opening.id.clone(),
            created: record.opening.created,
            images,
            model: closing.map(|closing| closing.model.clone()).unwrap_or_default(),
            task: record.opening.task.clone(),
            steps: kept.steps.iter().filter_map(KeptStep::restore).collect(),
            rule: record.opening.rule.clone(),
            expected: Expected {
                accept: record.opening.expected_accept,
                cost: record.opening.expected_cost,
                latency: Duration::from_millis(kept.expected_latency_ms),
            },
            cost: Money::ZERO,
            state: Sums::of(closing.map_or(&[][..], |closing| &closing.attempts)).state(),
            attempts: closing.map(|closing| closing.attempts.clone()).unwrap_or_default(),
            how: How::Replayed,
            adjustments: kept.adjustments,
            warnings: Vec::new(),
            policy: record.opening.policy.clone(),
            timings: Timings::default(),
        })
    }
}

/// The part of an answer that the ledger does not hold in columns.
#[derive(Serialize, Deserialize)]
struct Kept {
    images: Vec<KeptImage>,
    steps: Vec<KeptStep>,
    adjustments: Vec<String>,
    expected_latency_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct KeptImage {
    sha256: String,
    format: String,
    width: u32,
    height: u32,
    seed: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct KeptStep {
    op: String,
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
        let judged = |(passed, failed, seen): &(u32, u32, Vec<String>)| Judged {
            passed: *passed,
            failed: *failed,
            seen: seen.clone(),
        };
        Some(StepLine {
            op,
            model: self.model.clone(),
            size: Size::new(self.width, self.height),
            drafts: self.drafts,
            verifier: self.verifier.clone(),
            judged: self.judged.as_ref().map(judged),
            otherwise: self.otherwise.iter().filter_map(Self::restore).collect(),
        })
    }
}

/// The seed of a picture of a kept answer.
pub(super) fn seed(answer: &str, image: u8) -> Option<u64> {
    serde_json::from_str::<Kept>(answer).ok()?.images.get(usize::from(image))?.seed
}

/// What [`Engine::recall`] needs of an answer later.
pub(super) fn keep(served: &Served) -> Option<String> {
    let images = served.images.iter().map(|image| KeptImage {
        sha256: image.sha256.to_string(),
        format: image.format.name().to_owned(),
        width: image.size.width,
        height: image.size.height,
        seed: image.seed,
    });
    let steps = served.steps.iter().map(KeptStep::of);
    let kept = Kept {
        images: images.collect(),
        steps: steps.collect(),
        adjustments: served.adjustments.clone(),
        expected_latency_ms: u64::try_from(served.expected.latency.as_millis()).unwrap_or(u64::MAX),
    };
    serde_json::to_string(&kept).ok()
}

/// What a joined or replayed answer would have cost.
pub(super) fn worth(attempts: &[Attempt]) -> Money {
    Sums::of(attempts).settled
}
