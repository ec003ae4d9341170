//! What is believed of every model for a prompt: cells and logistic model together.
//!
//! Why it exists: live planning, `evaluate` and tests ask one estimator. The mean of the two views beats either on prompts
//! not seen before: cells know how often, the logistic model knows where within a kind. What it
//! refuses to know: names, clocks, dice, plans; models ("arms") and tasks are numbers. With no verdict it says what its
//! priors say.

use super::arm::{CELL, Cells, shifted};
use super::drift::Drift;
use super::logistic::{Own, Verdict, Weights};
use super::{Category, Posterior, Prior, Scores, logit, sigmoid};

/// Verdicts that stay behind a model that has changed.
const LEFT: f64 = 10.0;

/// How to learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Tasks that models are judged for.
    pub tasks: usize,
    /// Verdicts of a model after which one counts half; infinite where nothing ages.
    pub half_life: f64,
}

/// What is believed of a model before any verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmPrior {
    /// Acceptance over everything, 0 to 1.
    pub level: f64,
    /// Verdicts that the level counts (`n1`).
    pub weight: f64,
    /// Acceptance for each task, with the verdicts that it counts.
    pub tasks: Vec<Prior>,
    /// How much better or worse than its level it is at each category, in log odds.
    pub categories: [f64; Category::ALL.len()],
}

impl ArmPrior {
    /// Of a model that is expected to do everything alike.
    pub fn flat(level: f64, weight: f64, cell_weight: f64, tasks: usize) -> Self {
        let task = Prior { mean: level, weight: cell_weight };
        Self { level, weight, tasks: vec![task; tasks], categories: [0.0; Category::ALL.len()] }
    }

    fn task(&self, task: u16) -> Prior {
        self.tasks.get(usize::from(task)).copied().unwrap_or(Prior { mean: self.level, weight: CELL })
    }

    fn category(&self, category: Option<Category>) -> f64 {
        category.and_then(|category| self.categories.get(usize::from(category.index()))).copied().unwrap_or_default()
    }
}

/// One verdict, in numbers.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// The model that made the image.
    pub arm: u16,
    /// The task.
    pub task: u16,
    /// The prompt's kind; `None` when the caller named the task.
    pub category: Option<Category>,
    /// The prompt's signs; none when they are not known.
    pub signs: &'a [u16],
    /// What the person said.
    pub accepted: bool,
    /// How much it counts: one, or less when it may no longer hold.
    pub weight: f64,
}

/// Beliefs about every model.
#[derive(Clone, Debug)]
pub struct Estimator {
    fade: f64,
    arms: Vec<Arm>,
    shared: Weights,
    /// Whether the logistic weights already say what the priors' categories say.
    warm: bool,
}

#[derive(Clone, Debug)]
struct Arm {
    prior: ArmPrior,
    cells: Cells,
    own: Own,
    drift: Drift,
}

impl Estimator {
    /// Before any verdict.
    pub fn new(settings: Settings, priors: impl IntoIterator<Item = ArmPrior>) -> Self {
        let arm = |prior: ArmPrior| Arm {
            cells: Cells::new(settings.tasks),
            own: Own::new(prior.weight),
            drift: Drift::default(),
            prior,
        };
        Self {
            fade: fade(settings.half_life),
            arms: priors.into_iter().map(arm).collect(),
            shared: Weights::shared(),
            warm: false,
        }
    }

    /// What is believed of a model for a prompt.
    pub fn believe(&self, arm: u16, task: u16, category: Option<Category>, signs: &[u16]) -> Posterior {
        let Some(arm) = self.arms.get(usize::from(arm)) else {
            return Posterior::new(Prior { mean: 0.5, weight: 2.0 }, 0.0, 0.0);
        };
        let cell = arm.cells.cell(task, category);
        let pooled = shifted(arm.of_task(task).mean(), arm.prior.category(category));
        let from_cells = cell.pooled(pooled, CELL);
        let from_signs = arm.base(task, category, self.warm) + arm.own.odds(&self.shared, signs);
        let mean = f64::midpoint(from_cells, sigmoid(from_signs)).clamp(0.01, 0.99);
        let weight = cell.sum() + arm.prior.task(task).weight;
        Posterior { alpha: mean * weight, beta: (1.0 - mean) * weight, verdicts: cell.sum(), lift: 0.0 }
    }

    /// What is believed of a model for a task as a whole, by its cells.
    pub fn of_task(&self, arm: u16, task: u16) -> Posterior {
        let arm = self.arms.get(usize::from(arm));
        arm.map_or_else(|| Posterior::new(Prior { mean: 0.5, weight: 2.0 }, 0.0, 0.0), |arm| arm.of_task(task))
    }

    /// Hears a verdict; true when the model turns out to have changed, and most of what was believed of it was dropped.
    pub fn hear(&mut self, heard: Heard<'_>) -> bool {
        let expected = self.believe(heard.arm, heard.task, heard.category, heard.signs).mean();
        let (fade, warm) = (self.fade, self.warm);
        let Some(arm) = self.arms.get_mut(usize::from(heard.arm)) else {
            return false;
        };
        let base = arm.base(heard.task, heard.category, warm);
        arm.cells.hear(heard.task, heard.category, heard.accepted, heard.weight, fade);
        let verdict = Verdict { accepted: heard.accepted, weight: heard.weight };
        arm.own.hear(&mut self.shared, heard.signs, base, verdict, fade);
        // Where nothing fades, nothing changes either: a table of ratings has no order.
        let changed = fade < 1.0 && arm.drift.hear(expected, heard.accepted, heard.weight);
        if changed {
            arm.doubt(LEFT);
        }
        changed
    }

    /// What was learned elsewhere becomes a prior: levels and offsets of categories as given, logistic weights with
    /// this share of their precision, and no verdict of it is counted.
    #[must_use]
    pub fn as_prior(self, priors: Vec<ArmPrior>, share: f64, half_life: f64) -> Self {
        let Self { arms, mut shared, .. } = self;
        shared.doubt(share);
        let arm = |(mut arm, prior): (Arm, ArmPrior)| {
            arm.own.as_prior(prior.weight, share);
            Arm { cells: Cells::new(prior.tasks.len()), own: arm.own, drift: Drift::default(), prior }
        };
        Self { fade: fade(half_life), arms: arms.into_iter().zip(priors).map(arm).collect(), shared, warm: true }
    }

    /// Accepts and rejects of a model by category, and over all: what it scored on these prompts.
    pub fn tally(&self, arm: u16) -> Option<Scores> {
        let cells = &self.arms.get(usize::from(arm))?.cells;
        let pair = |counts: super::arm::Counts| (counts.accepts, counts.rejects);
        Some(Scores {
            overall: pair(cells.whole()),
            categories: Category::ALL.map(|category| pair(cells.category(category))),
        })
    }
}

impl Arm {
    /// The task's posterior: its own counts, pooled to the model's level as its prior is placed against it.
    fn of_task(&self, task: u16) -> Posterior {
        let prior = self.prior.task(task);
        let level = self.cells.whole().pooled(self.prior.level, self.prior.weight);
        let offset = logit(prior.mean) - logit(self.prior.level);
        let counts = self.cells.task(task);
        Posterior::new(Prior { mean: shifted(level, offset), ..prior }, counts.accepts, counts.rejects)
    }

    /// The prior's log odds, on which the logistic weights stand.
    fn base(&self, task: u16, category: Option<Category>, warm: bool) -> f64 {
        let base = logit(self.prior.task(task).mean);
        if warm { base } else { base + self.prior.category(category) }
    }

    fn doubt(&mut self, left: f64) {
        let whole = self.cells.whole().sum();
        let share = (left / whole.max(left)).min(1.0);
        self.cells.keep(share);
        self.own.doubt(share);
    }
}

/// What is left of a verdict after the next one of its model.
fn fade(half_life: f64) -> f64 {
    (-1.0 / half_life.max(1.0)).exp2()
}
