//! Pictures on their way to the answer, and what a plan's stage has made.
//!
//! Why it exists: a picture that was bought for one plan may serve the next, so it carries who made it and what a
//! verifier said of it. What it refuses to know: how it is bought, judged or stored.

use super::ServedImage;
use super::finish::Artifact;
use crate::domain::catalog::ModelIx;
use crate::domain::plan::explain::Judged;
use crate::domain::plan::{Candidate, Placed};
use crate::domain::verify::VerifierIx;

/// A picture on its way to the answer.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) index: u8,
    /// Who generated it; enlarging does not change that.
    pub(super) model: ModelIx,
    pub(super) artifact: Artifact,
    /// Its position among all of the run.
    pub(super) number: usize,
    pub(super) verdict: Option<Verdict>,
}

/// What a verifier said of a draft.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) verifier: VerifierIx,
    pub(super) passed: bool,
}

impl Draft {
    /// One that nobody has looked at.
    pub(super) const fn new(index: u8, model: ModelIx, artifact: Artifact) -> Self {
        Self { index, model, artifact, number: 0, verdict: None }
    }

    /// Itself, enlarged: still the picture of its own seed, whatever the upscaler calls its.
    pub(super) fn enlarged(self, artifact: Artifact) -> Self {
        Self { artifact: Artifact { seed: self.artifact.seed, ..artifact }, ..self }
    }

    pub(super) fn passed(&self) -> bool {
        self.verdict.is_some_and(|verdict| verdict.passed)
    }

    pub(super) fn failed(&self) -> bool {
        self.verdict.is_some_and(|verdict| !verdict.passed)
    }

    pub(super) fn was_seen_by(&self, verifier: VerifierIx) -> bool {
        self.verdict.is_some_and(|verdict| verdict.verifier == verifier)
    }
}

/// What a stage of a plan has a generator make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Make {
    pub(super) model: ModelIx,
    pub(super) native: Placed,
    /// Of each missing picture at once.
    pub(super) copies: u8,
    /// Whether a picture of this model that failed a check is one too few.
    pub(super) again: bool,
}

impl Make {
    /// The generator with which a plan begins.
    pub(super) const fn first(candidate: &Candidate) -> Self {
        Self { model: candidate.model, native: candidate.native, copies: candidate.drafts, again: false }
    }
}

/// What a run made, and by which plan.
pub(super) struct Made {
    pub(super) candidate: Candidate,
    pub(super) images: Vec<ServedImage>,
    /// Who generated the first of them.
    pub(super) model: ModelIx,
    pub(super) adjustments: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// How each check of the plan went, in its order.
    pub(super) judged: Vec<Judged>,
}

/// What the plans so far have brought.
#[derive(Default)]
pub(super) struct Way {
    /// Each picture's index, who generated it, and itself.
    pub(super) images: Vec<(u8, ModelIx, ServedImage)>,
    pub(super) adjustments: Vec<String>,
}

impl Made {
    /// With one more thing to tell.
    pub(super) fn declaring(mut self, note: String) -> Self {
        self.adjustments.push(note);
        self
    }
}
