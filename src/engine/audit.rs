//! The audit: models draw fixed prompts with fixed seeds again, and are held against what they drew first.
//!
//! Why it exists: a provider may put another model behind a name, and says so to nobody. Same prompt, same seed, another
//! picture is the sign. The pictures are bought like any other, by the tenant `audit`, through the plan, the limits and
//! the books. What it refuses to know: how often (the house says) and who is told (the alert).

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::finish;
use super::served::{Inbound, Repeat, ServedImage};
use super::{Engine, new_id};
use crate::domain::catalog::{Model, ModelIx};
use crate::domain::image::{Format, Size};
use crate::domain::request::{Ask, Fit, ModelChoice, Prompt};
use crate::domain::verify::likeness::{Likeness, compare};
use crate::domain::verify::structure::Grey;
use crate::policy::Snapshot;
use crate::state::LedgerFault;
use crate::state::audits::{self, Audit};
use crate::telemetry::clock;

/// Whose pictures they are in the books.
pub(super) const TENANT: &str = "audit";
/// The prompts, of which a model's pictures change with the model and not with fashion.
pub const SUBJECTS: [Subject; 3] = [
    Subject { number: 0, prompt: "a red bicycle against a white wall, photograph, daylight", seed: 1_234 },
    Subject { number: 1, prompt: "three green apples in a blue bowl, oil painting", seed: 5_678 },
    Subject { number: 2, prompt: "a sign that says 'OPEN', flat vector illustration", seed: 9_012 },
];

/// A fixed prompt with its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// By which it is kept; never given to another prompt.
    pub number: i64,
    /// What is drawn.
    pub prompt: &'static str,
    /// From which noise.
    pub seed: u32,
}

/// How a model's pictures compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Audited {
    /// The model's id.
    pub model: Arc<str>,
    /// The greatest dissimilarity of its subjects; `None` when none could be compared.
    pub dissimilarity: Option<f64>,
}

impl Engine {
    /// When the last audit drew something. What it found is told to the metrics again, so that neither a restart nor
    /// another gateway's audit silences an alert.
    pub async fn last_audit(&self) -> Result<Option<Timestamp>, LedgerFault> {
        let known = audits::all(&*self.ledger).await?;
        for pictures in known.chunk_by(|a, b| a.model == b.model) {
            self.tell_drift(pictures);
        }
        Ok(known.iter().map(|audit| audit.seen).max())
    }

    /// Draws every subject with every model that is on and takes a seed, one after the other.
    pub async fn audit(self: &Arc<Self>) -> Result<Vec<Audited>, LedgerFault> {
        let snapshot = self.snapshots.current();
        let known = audits::all(&*self.ledger).await?;
        let mut audited = Vec::new();
        for (ix, model) in snapshot.catalog.models().filter(|(_, model)| auditable(&snapshot, model)) {
            let mut drawn = Vec::with_capacity(SUBJECTS.len());
            for subject in SUBJECTS {
                let before = known.iter().find(|audit| audit.model == model.id && audit.subject == subject.number);
                drawn.extend(self.subject(ix, model, subject, before).await?);
            }
            self.tell_drift(&drawn);
            let worst = drawn.iter().map(|audit| audit.dissimilarity).reduce(f64::max);
            audited.push(Audited { model: model.id.clone(), dissimilarity: worst });
        }
        Ok(audited)
    }

    /// Tells the metrics what a model's pictures came to.
    fn tell_drift(&self, pictures: &[Audit]) {
        let Some(first) = pictures.first() else { return };
        let dissimilarity = pictures.iter().map(|audit| audit.dissimilarity).fold(0.0, f64::max);
        let hash_bits = pictures.iter().map(|audit| audit.hash_bits).max().unwrap_or_default();
        let changed = pictures.iter().filter(|audit| audit.is_another()).count();
        self.telemetry.drift(&first.model, dissimilarity, hash_bits, changed);
    }

    /// One picture, compared and kept; `None` when there is none to compare.
    async fn subject(
        self: &Arc<Self>,
        ix: ModelIx,
        model: &Model,
        subject: Subject,
        before: Option<&Audit>,
    ) -> Result<Option<Audit>, LedgerFault> {
        let drawn = self.picture_of(ix, subject.prompt, subject.seed).await;
        let found = match (drawn, before) {
            (Some(image), Some(before)) => self.compared(before, &image).await.map(|audit| (audit, None)),
            (Some(image), None) => Some((first(model, subject, &image), Some("baseline"))),
            (None, _) => None,
        };
        let Some((audit, word)) = found else {
            self.telemetry.drift_check("failed");
            return Ok(None);
        };
        audits::keep(&*self.ledger, &audit).await?;
        let changed = audit.is_another();
        self.telemetry.drift_check(word.unwrap_or(if changed { "changed" } else { "same" }));
        if changed {
            let Audit { model, dissimilarity, hash_bits, baseline, latest, .. } = &audit;
            tracing::warn!(%model, dissimilarity, hash_bits, baseline, latest, "a model draws unlike its baseline");
        }
        Ok(Some(audit))
    }

    async fn picture_of(self: &Arc<Self>, model: ModelIx, prompt: &str, seed: u32) -> Option<ServedImage> {
        let id = self.snapshots.current().catalog.model(model)?.id.clone();
        let ask = Ask {
            size: Size::new(1024, 1024),
            seed: Some(seed),
            model: ModelChoice::Pinned(id.to_string()),
            fit: Fit::Nearest,
            output_format: Format::Png,
            ..Ask::of(Prompt::new(prompt)?)
        };
        let inbound = Inbound {
            ask,
            key: None,
            request_id: new_id("audit-"),
            idempotency_key: None,
            repeat: Repeat::default(),
            share_never: true,
            warnings: Vec::new(),
            arrived: Instant::now(),
            received: clock::now(),
        };
        self.serve_as(TENANT.into(), inbound).await.ok()?.images.into_iter().next()
    }

    /// The picture held against the baseline; where they differ is drawn once and stored like any picture.
    async fn compared(&self, before: &Audit, image: &ServedImage) -> Option<Audit> {
        let audit = Audit { latest: image.sha256.to_string(), seen: clock::now(), ..before.clone() };
        if before.heat.is_some() && audit.latest == before.latest {
            return Some(audit);
        }
        let baseline = self.image(&before.baseline, Format::Png).await.ok()??;
        let (then, now) = (finish::grey(baseline).await.ok()?, finish::grey(image.bytes.clone()).await.ok()?);
        let Likeness { dissimilarity, hash_bits, places } = compare(&Grey(then), &Grey(now));
        let drawn = finish::heat(&*self.images, image.bytes.clone(), places).await;
        let heat = drawn.inspect_err(|why| tracing::warn!(why, "a heat map could not be made")).ok();
        Some(Audit { dissimilarity, hash_bits, heat, ..audit })
    }
}

/// A model's first picture of a subject: its baseline, and like itself.
fn first(model: &Model, subject: Subject, image: &ServedImage) -> Audit {
    let (sha256, now) = (image.sha256.to_string(), clock::now());
    Audit {
        model: model.id.clone(),
        subject: subject.number,
        baseline: sha256.clone(),
        latest: sha256,
        dissimilarity: 0.0,
        hash_bits: 0,
        heat: None,
        since: Some(now),
        seen: now,
    }
}

/// Whether a model is on and draws the same of the same seed.
fn auditable(snapshot: &Snapshot, model: &Model) -> bool {
    let provider = snapshot.catalog.provider(model.provider);
    let on = model.off.is_none() && provider.is_some_and(|provider| provider.off.is_none());
    let served = model.retired.is_none_or(|day| day > clock::today());
    on && served && model.seed && model.sizes().is_some()
}
