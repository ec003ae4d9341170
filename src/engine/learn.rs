//! What the engine has learned of acceptance, and how verdicts reach it.
//!
//! Why it exists: the planner's view of acceptance is the estimator's, and the estimator's is the ledger's: verdicts are
//! written there first, read back by every replica, and replayed into a fresh estimator at start, when the policy
//! changes, and when somebody changes their mind. What it refuses to know: how beliefs are formed (`domain/quality`).
//! Before the first verdict nothing is explored: whoever does not answer is not asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;
use serde::Serialize;
use serde_json::Value;

use crate::domain::catalog::{Catalog, Model, ModelIx, TaskIx};
use crate::domain::plan::explain::{steps, words};
use crate::domain::plan::{Planned, View};
use crate::domain::quality::prompt::EDITION;
use crate::domain::quality::{
    ArmPrior, Category, Estimator, Heard, Pending, Posterior, Prior, Reading, Settings, beta, thompson,
};
use crate::domain::request::GenerationRequest;
use crate::domain::rule::Explore;
use crate::policy::Snapshot;
use crate::state::verdicts::Judgement;

/// Verdicts of a model after which one counts half. Drift is caught sooner (`domain/quality/drift.rs`).
const HALF_LIFE: f64 = 1_000.0;
/// Verdicts that a model's level over all tasks counts before any was given. Source: routing notes 4.2 (`n1`).
const LEVEL: f64 = 6.0;
/// What a verdict on an earlier version of a model counts.
const EARLIER: f64 = 0.5;
/// An image that nobody judged for this long is not expected to be judged.
const SILENCE: Duration = Duration::from_hours(7 * 24);
/// The most verdicts that are kept to be replayed; the oldest go first.
const MOST: usize = 100_000;
/// Draws by which the chance of a sampled choice is estimated.
const DRAWS: u32 = 100;

/// The beliefs of one engine.
pub(crate) struct Learner {
    state: RwLock<State>,
}

struct State {
    digest: Arc<str>,
    estimator: Estimator,
    pending: Pending,
    heard: Ledgered,
}

/// Verdicts by the moment they were given, and where each rater's on each image stands.
#[derive(Default)]
struct Ledgered {
    by_time: BTreeMap<(Timestamp, Key), Judgement>,
    given: HashMap<Key, Timestamp>,
}

type Key = (Arc<str>, u8, Arc<str>);

/// What a prompt is to the estimator.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    task: TaskIx,
    /// `None` when the caller named the task: their word overrides the rule.
    category: Option<Category>,
    reading: Reading,
}

impl Learner {
    pub(crate) fn new() -> Self {
        let none = Estimator::new(Settings { tasks: 0, half_life: HALF_LIFE }, []);
        let pending = Pending::new(SILENCE);
        Self {
            state: RwLock::new(State { digest: Arc::default(), estimator: none, pending, heard: Ledgered::default() }),
        }
    }

    /// Puts what was learned into the planner's view, lifted where the request's terms let the planner explore.
    pub(crate) fn inform(
        &self,
        view: &mut View,
        snapshot: &Snapshot,
        request: &GenerationRequest,
        dice: Option<&mut dyn Rng>,
    ) {
        self.follow(snapshot);
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.heard.given.is_empty() {
            return;
        }
        let Kind { task, category, reading } = Kind::of(request);
        let mut dice = dice;
        for ((ix, model), seen) in snapshot.catalog.models().zip(&mut view.models) {
            if model.sizes().is_none() {
                continue;
            }
            let belief = state.estimator.believe(ix.0, task.0, category, &reading.signs);
            seen.accept = match (request.terms.explore, &mut dice) {
                (Explore::Sampled, Some(dice)) => thompson(belief, dice),
                (Explore::Optimistic, _) => belief.optimistic(state.pending.count(ix.0, task.0, category)),
                (Explore::Off | Explore::Sampled, _) => belief,
            };
        }
    }

    /// What is believed of a model for a task.
    pub(crate) fn of_task(&self, snapshot: &Snapshot, ix: ModelIx, model: &Model, task: TaskIx) -> Posterior {
        self.follow(snapshot);
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.heard.given.is_empty() {
            return super::world::posterior(model, task);
        }
        state.estimator.of_task(ix.0, task.0)
    }

    /// An image was shown; its verdict is out.
    pub(crate) fn shown(&self, id: Arc<str>, snapshot: &Snapshot, kind: &Kind, model: &str, now: Timestamp) {
        if let Some((ix, _)) = snapshot.catalog.find_model(model) {
            self.written().pending.shown(id, ix.0, kind.task.0, kind.category, now);
        }
    }

    /// Hears of verdicts, in the order in which they were given; those known already change nothing. `each` is told of
    /// every image that is judged for the first time by somebody.
    pub(crate) fn hear(&self, snapshot: &Snapshot, judgements: Vec<Judgement>, mut each: impl FnMut(&Judgement)) {
        self.follow(snapshot);
        let mut state = self.written();
        let mut again = false;
        for judgement in judgements {
            let state = &mut *state;
            state.pending.judged(&judgement.generation);
            match state.heard.note(judgement) {
                Noted::Known => {}
                Noted::New(judgement) => {
                    hear(&mut state.estimator, &snapshot.catalog, &judgement);
                    each(&judgement);
                }
                Noted::Changed => again = true,
            }
        }
        if again {
            let state = &mut *state;
            state.estimator = state.heard.replayed(&snapshot.catalog);
        }
    }

    /// The moment of the newest verdict known.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.heard.by_time.last_key_value().map(|((given, _), _)| *given)
    }

    /// Numbers of models and tasks are those of one policy: another one begins again from the verdicts.
    fn follow(&self, snapshot: &Snapshot) {
        let same = self.state.read().unwrap_or_else(PoisonError::into_inner).digest == snapshot.digest;
        if same {
            return;
        }
        let mut state = self.written();
        state.estimator = state.heard.replayed(&snapshot.catalog);
        state.pending = Pending::new(SILENCE);
        state.digest = Arc::clone(&snapshot.digest);
    }

    fn written(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a verdict that was noted.
enum Noted {
    Known,
    New(Judgement),
    Changed,
}

impl Ledgered {
    fn note(&mut self, judgement: Judgement) -> Noted {
        let key: Key = (Arc::clone(&judgement.generation), judgement.image, Arc::clone(&judgement.rater));
        let before = self.given.insert(key.clone(), judgement.given);
        if before == Some(judgement.given) {
            return Noted::Known;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, key.clone()));
        }
        self.by_time.insert((judgement.given, key), judgement.clone());
        if self.by_time.len() > MOST
            && let Some(((_, oldest), _)) = self.by_time.pop_first()
        {
            self.given.remove(&oldest);
        }
        if before.is_some() { Noted::Changed } else { Noted::New(judgement) }
    }

    /// A fresh estimator that has heard all of it.
    fn replayed(&self, catalog: &Catalog) -> Estimator {
        let settings = Settings { tasks: catalog.tasks.len(), half_life: HALF_LIFE };
        let mut estimator = Estimator::new(settings, catalog.models.iter().map(prior));
        self.by_time.values().for_each(|judgement| hear(&mut estimator, catalog, judgement));
        estimator
    }
}

/// What the policy says of a model before any verdict.
fn prior(model: &Model) -> ArmPrior {
    let count = model.priors.len().max(1) as f64;
    let mean = model.priors.iter().map(|prior| prior.mean).sum::<f64>() / count;
    let level = if model.priors.is_empty() { 0.5 } else { mean };
    ArmPrior { tasks: model.priors.clone(), ..ArmPrior::flat(level, LEVEL, Prior { mean, weight: LEVEL }.weight, 0) }
}

fn hear(estimator: &mut Estimator, catalog: &Catalog, judgement: &Judgement) {
    let (Some((ix, model)), Some(task)) = (catalog.find_model(&judgement.model), catalog.find_task(&judgement.task))
    else {
        return;
    };
    let decision: Value =
        judgement.decision.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let word = |name: &str| decision.get(name).and_then(Value::as_str);
    let same_edition = decision.get("edition").and_then(Value::as_u64) == Some(u64::from(EDITION));
    let signs = decision.get("signs").and_then(Value::as_array).filter(|_| same_edition);
    let signs: Vec<u16> = signs.into_iter().flatten().filter_map(|slot| u16::try_from(slot.as_u64()?).ok()).collect();
    // The version noted is the chosen model's; where another one made the image in its stead, nothing is known of it.
    let earlier = word("model") == Some(&*model.id) && word("version").is_some_and(|version| *version != *model.remote);
    let weight = if earlier { EARLIER } else { 1.0 };
    let category = word("category").and_then(Category::from_name);
    let (arm, task, accepted) = (ix.0, task.0, judgement.accepted);
    if estimator.hear(Heard { arm, task, category, signs: &signs, accepted, weight }) {
        tracing::warn!(model = &*model.id, "the model is accepted far less than before: its old verdicts were dropped");
    }
}

impl Kind {
    /// Reads the prompt of a request.
    pub(crate) fn of(request: &GenerationRequest) -> Self {
        let reading = Reading::of(request.ask.prompt.as_str());
        let category = request.ask.task.is_none().then_some(reading.category);
        Self { task: request.task, category, reading }
    }
}

/// What the learner must know of a decision later, and what judging the policy by its log needs: which plan it chose (what
/// ran may be another one that stood in for it), at what price, and how likely the choice was.
#[derive(Debug, Serialize)]
pub(crate) struct Choice<'a> {
    plan: Option<String>,
    /// In micro-dollars.
    expected: Option<i64>,
    model: Option<&'a str>,
    version: Option<&'a str>,
    category: Option<&'static str>,
    signs: &'a [u16],
    edition: u32,
    method: &'static str,
    propensity: f64,
}

impl<'a> Choice<'a> {
    /// Of what was planned for a request of this kind.
    pub(crate) fn of(
        catalog: &'a Catalog,
        request: &GenerationRequest,
        kind: &'a Kind,
        planned: &Planned,
        dice: &mut dyn Rng,
    ) -> Self {
        let best = planned.best();
        let chosen = best.and_then(|best| catalog.model(best.model));
        let sampled = request.terms.explore == Explore::Sampled && best.is_some_and(|best| best.accept.lift != 0.0);
        Self {
            plan: best.map(|best| words(&steps(best, catalog))),
            expected: best.map(|best| best.quote.expected.micros()),
            model: chosen.map(|model| &*model.id),
            version: chosen.map(|model| &*model.remote),
            category: kind.category.map(Category::name),
            signs: &kind.reading.signs,
            edition: EDITION,
            method: if sampled { "sampled" } else { request.terms.explore.name() },
            propensity: if sampled { propensity(planned, dice) } else { 1.0 },
        }
    }
}

/// How likely a fresh sample would choose the same plan: draws, each plan's score moved to what was drawn of its model.
fn propensity(planned: &Planned, dice: &mut dyn Rng) -> f64 {
    let mut same = 0u32;
    for _ in 0..DRAWS {
        let mut drawn: Vec<(ModelIx, f64)> = Vec::new();
        let mut best: Option<(f64, usize)> = None;
        for (at, candidate) in planned.feasible().enumerate() {
            let known = drawn.iter().find(|(model, _)| *model == candidate.model).map(|(_, ratio)| *ratio);
            let ratio = known.unwrap_or_else(|| {
                let draw = beta(candidate.accept.alpha, candidate.accept.beta, dice).clamp(0.001, 0.999);
                drawn.push((candidate.model, draw / candidate.accept.mean().max(1e-6)));
                draw / candidate.accept.mean().max(1e-6)
            });
            let score = candidate.score * candidate.accept.hoped() / (candidate.accept.mean() * ratio).max(1e-6);
            if best.is_none_or(|(least, _)| score < least) {
                best = Some((score, at));
            }
        }
        same += u32::from(best.is_some_and(|(_, at)| at == 0));
    }
    f64::from(same + 1) / f64::from(DRAWS + 1)
}
