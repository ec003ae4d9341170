//! A person's verdict on an image that was served.
//!
//! Why it exists: a verdict is worth as much as a purchase: it is checked, written durably, and only then believed.
//! What it refuses to know: how it is believed (`learn.rs`), and wires.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Engine;
use crate::domain::refusal::Refusal;
use crate::policy::Snapshot;
use crate::state::LedgerFault;
use crate::state::tally::Tally;
use crate::state::verdicts::{self, Judgement, Verdict};
use crate::telemetry::clock;

/// How far back a start reads: older verdicts have faded.
const MEMORY: SignedDuration = SignedDuration::from_hours(180 * 24);
/// Replicas' clocks differ, and a commit takes a moment: each reading begins this long before the newest one known.
const OVERLAP: SignedDuration = SignedDuration::from_secs(60);

/// What a person says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// Taken at first look, or not.
    pub accepted: bool,
    /// Who says so; the caller's key when it is not said.
    pub rater: Option<Arc<str>>,
    /// Why.
    pub reason: Option<String>,
    /// Which image, from 0.
    pub image: u8,
}

/// A verdict as it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The generation.
    pub generation: Arc<str>,
    /// Who said it.
    pub rater: Arc<str>,
    /// The model that it is about.
    pub model: Arc<str>,
    /// The task that it counts for.
    pub task: Arc<str>,
    /// Whether it replaces an earlier one of the same rater.
    pub replaced: bool,
}

impl Engine {
    /// Takes a verdict on an image of a generation of this caller; durable on return, and already believed here.
    pub async fn feedback(&self, key: Option<&str>, id: &str, feedback: Feedback) -> Result<Taken, Refusal> {
        let snapshot = self.snapshot();
        let viewer = self.viewer(key)?;
        let tenant = Arc::clone(&viewer.name);
        let record = self.ledger.show(id).await.map_err(unavailable)?;
        let record = record.filter(|record| viewer.sees(&record.opening.key));
        let Some(record) = record else {
            return Err(Refusal::NotFound(format!("there is no generation {id}")));
        };
        let images = record.closing.as_ref().map_or(0, |closing| closing.images.len());
        let Some(closing) = record.closing.filter(|_| images > usize::from(feedback.image)) else {
            let detail = match images {
                0 => format!("generation {id} has no image to judge"),
                1 => format!("generation {id} has one image, number 0"),
                _ => format!("generation {id} has images 0 to {}", images - 1),
            };
            return Err(Refusal::InvalidRequest { pointer: "/image".to_owned(), detail });
        };
        let rater = feedback.rater.unwrap_or(tenant);
        let verdict = Verdict {
            generation: record.opening.id.clone(),
            image: feedback.image,
            rater: Arc::clone(&rater),
            accepted: feedback.accepted,
            reason: feedback.reason,
            given: self.after_the_newest(clock::now()),
        };
        let replaced = verdicts::give(&*self.ledger, &verdict).await.map_err(unavailable)?;
        let judgement = Judgement {
            generation: verdict.generation.clone(),
            image: verdict.image,
            rater: verdict.rater,
            accepted: verdict.accepted,
            given: verdict.given,
            model: closing.model.clone(),
            task: record.opening.task.clone(),
            decision: record.opening.decision,
        };
        self.believe(&snapshot, vec![judgement]);
        if let Some(tally) = self.tally.clone() {
            self.tasks.spawn(async move { tally.add().await });
        }
        self.telemetry.verdict(&closing.model, &record.opening.task, feedback.accepted);
        Ok(Taken { generation: verdict.generation, rater, model: closing.model, task: record.opening.task, replaced })
    }

    /// The same, counting its verdicts together with those of the other replicas.
    #[must_use]
    pub fn tallying(mut self, tally: Arc<dyn Tally>) -> Self {
        self.tally = Some(tally);
        self
    }

    /// Resolves when another replica has taken verdicts that [`Engine::learn`] would find; never without replicas.
    pub async fn judged_elsewhere(&self) {
        match &self.tally {
            Some(tally) => tally.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Reads what other replicas took: verdicts (the first time, all that still count), and whether the policy on trial was
    /// stopped; how many verdicts were read.
    pub async fn learn(&self) -> Result<usize, LedgerFault> {
        let since = match self.learner.newest() {
            Some(newest) => newest.saturating_sub(OVERLAP),
            None => clock::now().saturating_sub(MEMORY),
        };
        let since = since.unwrap_or(Timestamp::UNIX_EPOCH);
        let read = verdicts::since(&*self.ledger, since).await?;
        let count = read.len();
        self.believe(&self.snapshot(), read);
        self.recall_stop().await?;
        Ok(count)
    }

    /// Tells verdicts to whoever learns from them.
    fn believe(&self, snapshot: &Snapshot, judgements: Vec<Judgement>) {
        let trial = self.trial.as_ref();
        if let Some(stopped) = trial.and_then(|trial| trial.judged(snapshot, judgements.clone())) {
            self.keep_stop(stopped);
        }
        self.learner.hear(snapshot, judgements, |_| {});
    }

    /// Two verdicts of one microsecond would be one to a reader.
    fn after_the_newest(&self, now: Timestamp) -> Timestamp {
        // The books keep whole microseconds.
        let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        match self.learner.newest() {
            Some(newest) if newest >= now && newest.duration_since(now) < SignedDuration::from_secs(1) => {
                newest.saturating_add(SignedDuration::from_micros(1)).unwrap_or(now)
            }
            _ => now,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an error's end")]
fn unavailable(fault: LedgerFault) -> Refusal {
    tracing::error!(%fault, "a verdict could not be kept");
    Refusal::LedgerUnavailable
}
