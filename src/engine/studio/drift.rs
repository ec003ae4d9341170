//! What the audit found, by model.
//!
//! Why it exists: a page shows each model with its pictures side by side, those first that draw otherwise than they did.
//! What it refuses to know: how pictures are compared (`domain::verify::likeness`), and whose they are: the prompts are
//! fixed, so they are shown to everyone.

use std::sync::Arc;

use crate::domain::refusal::Refusal;
use crate::engine::Engine;
use crate::state::audits::{self, Audit};

/// A model under audit.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Its id.
    pub model: Arc<str>,
    /// Whether the policy still has it.
    pub known: bool,
    /// The greatest dissimilarity of its pictures, 0 to 1.
    pub dissimilarity: f64,
    /// The most bits in which a picture's hash differs, of 64.
    pub hash_bits: u32,
    /// Whether one of them is another picture, and so perhaps of another model.
    pub changed: bool,
    /// Each subject, in their order.
    pub pictures: Vec<Audit>,
}

impl Engine {
    /// Every model that drew the fixed prompts: those that changed first, then the most unlike their baseline.
    pub async fn watched(&self) -> Result<Vec<Watched>, Refusal> {
        let snapshot = self.snapshots.current();
        let all = self.read(audits::all(&*self.ledger).await)?;
        let mut watched: Vec<Watched> = all
            .chunk_by(|a, b| a.model == b.model)
            .filter_map(|pictures| {
                let model = Arc::clone(&pictures.first()?.model);
                let known = snapshot.catalog.models.iter().any(|known| known.id == model);
                let dissimilarity = pictures.iter().map(|audit| audit.dissimilarity).fold(0.0, f64::max);
                let hash_bits = pictures.iter().map(|audit| audit.hash_bits).max().unwrap_or_default();
                let changed = pictures.iter().any(Audit::is_another);
                Some(Watched { model, known, dissimilarity, hash_bits, changed, pictures: pictures.to_vec() })
            })
            .collect();
        watched.sort_by(|a, b| {
            let unlike = b.changed.cmp(&a.changed).then(b.dissimilarity.total_cmp(&a.dissimilarity));
            unlike.then_with(|| a.model.cmp(&b.model))
        });
        Ok(watched)
    }
}
