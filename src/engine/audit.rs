//! The audit: models draw fixed prompts with fixed seeds again, and are held against what they drew first.
//!
//! Why it exists: a provider may put another model behind a name, and says so to nobody. Same prompt, same seed, another
//! picture is the sign. The pictures are bought like any other, by the tenant `audit`, through the plan, the limits and
//! the books. What it refuses to know: how often (the house says) and who is told (the alert).

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Engine;
use super::finish;
use super::served::{Inbound, Repeat, ServedImage};
use crate::domain::catalog::{Model, ModelIx};
use crate::domain::image::{Format, Size};
use crate::domain::request::{Ask, Fit, ModelChoice, Prompt};
use crate::domain::verify::likeness::dissimilarity;
use crate::domain::verify::structure::Grey;
use crate::policy::Snapshot;
use crate::state::LedgerFault;
use crate::state::audits::{self, Audit};
use crate::telemetry::clock;

/// Whose pictures they are in the books.
const TENANT: &str = "audit";
/// The prompts, of which a model's pictures change with the model and not with fashion; each with its seed.
const SUBJECTS: [(i64, &str, u32); 3] = [
    (0, "a red bicycle against a white wall, photograph, daylight", 1_234),
    (1, "three green apples in a blue bowl, oil painting", 5_678),
    (2, "a sign that says 'OPEN', flat vector illustration", 9_012),
];
/// A picture beyond this is another one; what re-encoding and rounding on other hardware change stays far below it.
const CHANGED: f64 = 0.2;

/// How a model's pictures compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Audited {
    /// The model's id.
    pub model: Arc<str>,
    /// The greatest dissimilarity of its subjects; `None` when none could be compared.
    pub dissimilarity: Option<f64>,
}

impl Engine {
    /// When the last audit drew something.
    pub async fn last_audit(&self) -> Result<Option<Timestamp>, LedgerFault> {
        Ok(audits::all(&*self.ledger).await?.iter().map(|audit| audit.seen).max())
    }

    /// Draws every subject with every model that is on and takes a seed, one after the other.
    pub async fn audit(self: &Arc<Self>) -> Result<Vec<Audited>, LedgerFault> {
        let snapshot = self.snapshots.current();
        let known = audits::all(&*self.ledger).await?;
        let mut audited = Vec::new();
        for (ix, model) in snapshot.catalog.models().filter(|(_, model)| auditable(&snapshot, model)) {
            let mut worst: Option<f64> = None;
            for (subject, prompt, seed) in SUBJECTS {
                let before = known.iter().find(|audit| audit.model == model.id && audit.subject == subject);
                if let Some(found) = self.subject(ix, model, (subject, prompt, seed), before).await? {
                    worst = Some(worst.map_or(found, |worst| worst.max(found)));
                }
            }
            if let Some(worst) = worst {
                self.telemetry.drift(&model.id, worst);
            }
            audited.push(Audited { model: model.id.clone(), dissimilarity: worst });
        }
        Ok(audited)
    }

    /// One picture: how unlike its baseline it is; `None` when there is none to compare.
    async fn subject(
        self: &Arc<Self>,
        ix: ModelIx,
        model: &Model,
        (subject, prompt, seed): (i64, &str, u32),
        before: Option<&Audit>,
    ) -> Result<Option<f64>, LedgerFault> {
        let Some(image) = self.picture_of(ix, prompt, seed).await else {
            self.telemetry.drift_check("failed");
            return Ok(None);
        };
        let found = match before {
            Some(before) => self.compared(before, &image).await,
            None => Some(0.0),
        };
        let Some(dissimilarity) = found else {
            self.telemetry.drift_check("failed");
            return Ok(None);
        };
        let (model, latest) = (model.id.clone(), image.sha256.to_string());
        let baseline = before.map_or_else(|| latest.clone(), |before| before.baseline.clone());
        let audit = Audit { model, subject, baseline, latest, dissimilarity, seen: clock::now() };
        audits::keep(&*self.ledger, &audit).await?;
        let word = match before {
            None => "baseline",
            Some(_) if dissimilarity > CHANGED => "changed",
            Some(_) => "same",
        };
        self.telemetry.drift_check(word);
        if word == "changed" {
            let (baseline, latest) = (&*audit.baseline, &*audit.latest);
            tracing::warn!(model = &*audit.model, dissimilarity, baseline, latest, "a model draws unlike its baseline");
        }
        Ok(Some(dissimilarity))
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
            request_id: format!("audit-{}", uuid::Uuid::now_v7().simple()).into(),
            idempotency_key: None,
            repeat: Repeat::default(),
            share_never: true,
            warnings: Vec::new(),
            arrived: Instant::now(),
            received: clock::now(),
        };
        self.serve_as(TENANT.into(), inbound).await.ok()?.images.into_iter().next()
    }

    async fn compared(&self, before: &Audit, image: &ServedImage) -> Option<f64> {
        if before.baseline == *image.sha256 {
            return Some(0.0);
        }
        let baseline = self.image(&before.baseline, Format::Png).await.ok()??;
        let (then, now) = (finish::grey(baseline).await.ok()?, finish::grey(image.bytes.clone()).await.ok()?);
        Some(dissimilarity(&Grey(then), &Grey(now)))
    }
}

/// Whether a model is on and draws the same of the same seed.
fn auditable(snapshot: &Snapshot, model: &Model) -> bool {
    let provider = snapshot.catalog.provider(model.provider);
    let on = model.off.is_none() && provider.is_some_and(|provider| provider.off.is_none());
    let served = model.retired.is_none_or(|day| day > clock::today());
    on && served && model.seed && model.sizes().is_some()
}
