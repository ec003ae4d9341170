//! The branches of a plan with a check in it.
//!
//! Why it exists: what fails a check is made again by the next stage, and a reader must see that loop as it sees the
//! loop over plans. Each turn: look at what was bought, keep what passed, buy the next stage for the rest, as far as
//! cap and deadline allow. A picture that failed is never thrown away while nothing better came of it: it was paid for.
//! What it refuses to know: how a picture is judged (`verify.rs`) or bought (`buy.rs`).

use tokio::time::Instant;

use super::draft::{Draft, Made, Make, Verdict, Way};
use super::execute::{Ended, Run};
use crate::domain::money::Money;
use crate::domain::plan::explain::Judged;
use crate::domain::plan::{Candidate, Check, Otherwise};
use crate::domain::refusal::Refusal;
use crate::domain::verify::Judgement;

impl Run<'_> {
    /// Runs `check` over the generator's drafts and the stages behind it: the drafts to go on with, at most one for each
    /// missing picture, and how the last purchase ended.
    pub(super) async fn checked(
        &mut self,
        candidate: &Candidate,
        check: &Check,
        missing: &[u8],
        has_next: bool,
    ) -> (Vec<Draft>, Result<(), Ended>) {
        let mut kept: Vec<Draft> = Vec::new();
        let mut stage = Make::first(candidate);
        let mut stages = check.stages();
        let mut turn = 0;
        loop {
            let drafts = self.matching(stage, &open(missing, &kept));
            let next = stages.next();
            if turn > 0 && next.is_none() {
                // The last stage is shown unchecked.
                kept.extend(one_each(drafts, |_| true));
                return (kept, Ok(()));
            }
            if let Err(ended) = self.look(check, turn, drafts).await {
                return (kept, Err(ended));
            }
            kept.extend(one_each(self.matching(stage, &open(missing, &kept)), Draft::passed));
            let failed = open(missing, &kept);
            let Some(next) = next else {
                // Drafts at once, and none passed: the first of each is as good as any.
                kept.extend(one_each(self.matching(stage, &failed), |_| true));
                return (kept, Ok(()));
            };
            if failed.is_empty() {
                return (kept, Ok(()));
            }
            if let Err(why) = self.reaches(next, &failed) {
                // What does not fit here fits no other plan: each begins with a purchase too.
                self.cut = Some(why);
                return (kept, Err(Ended::Stop));
            }
            stage = Make { model: next.model, native: next.native, copies: 1, again: true };
            let is_last = stages.clone().next().is_none();
            if let Err(ended) = self.generate(stage, &failed, has_next).await {
                kept.extend(one_each(self.matching(stage, &failed), |_| is_last));
                return (kept, Err(ended));
            }
            turn += 1;
        }
    }

    /// Judges the drafts that this verifier has not seen, and notes it on them and in the answer.
    async fn look(&mut self, check: &Check, turn: usize, drafts: Vec<Draft>) -> Result<(), Ended> {
        let fresh: Vec<Draft> = drafts.into_iter().filter(|draft| !draft.was_seen_by(check.verifier)).collect();
        let judgements = self.judge(check.verifier, &fresh).await?;
        for (draft, Judgement { passed, seen }) in fresh.iter().zip(judgements) {
            if !passed && let Some(model) = self.snapshot.catalog.model(draft.model) {
                let provider = model.id.split_once('/').map_or("", |(provider, _)| provider);
                self.engine.telemetry.image_rejected(provider, "verifier");
            }
            let verdict = Verdict { verifier: check.verifier, passed };
            let same = |one: &&mut Draft| one.number == draft.number;
            if let Some(held) = self.drafts.iter_mut().find(same) {
                held.verdict = Some(verdict);
            }
            while self.judged.len() <= turn {
                self.judged.push(Judged::default());
            }
            if let Some(judged) = self.judged.get_mut(turn) {
                judged.passed += u32::from(passed);
                judged.failed += u32::from(!passed);
                judged.seen.push(seen);
            }
        }
        Ok(())
    }

    /// Whether the next stage still fits the cap and the time.
    fn reaches(&self, next: &Otherwise, failed: &[u8]) -> Result<(), &'static str> {
        let images = i64::from(self.request.ask.n.max(1));
        let share = i64::try_from(failed.len()).unwrap_or(images);
        let worst = Money::from_micros((next.quote.worst.micros() * share + images - 1) / images);
        let cap = self.request.terms.max_cost.as_ref();
        if cap.is_some_and(|cap| self.hold.exposure() + worst > cap.value) {
            return Err("the price cap leaves no room for another try");
        }
        if Instant::now() + self.bound.latency(next.model).p50 >= self.deadline {
            return Err("the deadline leaves no time for another try");
        }
        Ok(())
    }

    /// The pictures in order. Where nothing better came, one that failed its check is better than none: it was paid for,
    /// and the answer says what is wrong with it.
    pub(super) async fn conclude(&mut self, candidate: &Candidate, mut way: Way) -> Result<Made, Refusal> {
        let failed = self.bettered_by_nothing(&self.missing(&way));
        let mut warnings = Vec::new();
        if !failed.is_empty() {
            let why = match (&self.moderated, self.cut) {
                (Some(said), _) => format!("another try was refused by moderation: {said}"),
                (None, Some(cut)) => cut.to_owned(),
                (None, None) => "no other try delivered".to_owned(),
            };
            warnings.push(format!("{} pictures did not pass their check, and {why}", failed.len()));
            // A picture that cannot be stored is missing like any other; that was logged.
            drop(self.finish(candidate, &failed, &mut way).await);
        }
        way.images.sort_by_key(|(index, ..)| *index);
        let Some(model) = way.images.first().map(|(_, model, _)| *model) else { return Err(self.refusal()) };
        way.adjustments.dedup();
        let images = way.images.into_iter().map(|(.., image)| image).collect();
        let judged = std::mem::take(&mut self.judged);
        Ok(Made { candidate: *candidate, images, model, adjustments: way.adjustments, warnings, judged })
    }

    /// The indices of the pictures that are not there yet.
    pub(super) fn missing(&self, way: &Way) -> Vec<u8> {
        let done = |index: u8| way.images.iter().any(|(have, ..)| *have == index);
        (0..self.request.ask.n).filter(|&index| !done(index)).collect()
    }

    /// Whether this plan would show what failed a check already.
    pub(super) fn has_failed(&self, candidate: &Candidate) -> bool {
        let same = |draft: &Draft| draft.model == candidate.model && draft.artifact.asked == candidate.native.size;
        candidate.check.is_none() && self.drafts.iter().any(|draft| same(draft) && draft.failed())
    }

    /// The pictures that failed their check and were never bettered, at most one for each index in `missing`, the
    /// latest first. Plans that would enlarge are left out: their drafts are not what was asked.
    fn bettered_by_nothing(&self, missing: &[u8]) -> Vec<Draft> {
        let failed = self.drafts.iter().rev().filter(|draft| missing.contains(&draft.index));
        let failed = failed.filter(|draft| draft.failed());
        one_each(failed.cloned().collect(), |draft| draft.artifact.size.covers(self.request.ask.size))
    }
}

/// The indices in `missing` that nothing in `kept` serves.
fn open(missing: &[u8], kept: &[Draft]) -> Vec<u8> {
    missing.iter().copied().filter(|index| kept.iter().all(|draft| draft.index != *index)).collect()
}

/// The first draft of each index that `fits`.
fn one_each(drafts: Vec<Draft>, fits: impl Fn(&Draft) -> bool) -> Vec<Draft> {
    let mut kept: Vec<Draft> = Vec::new();
    for draft in drafts.into_iter().filter(|draft| fits(draft)) {
        if kept.iter().all(|one| one.index != draft.index) {
            kept.push(draft);
        }
    }
    kept
}
