//! A model's cells: accepts and rejects by kind of prompt, fading, pooled to the task and the model.
//!
//! Why it exists: a kind of prompt with three verdicts borrows from the model's others. What it refuses to know: words,
//! other models. Formulas: routing notes 4.2 (pooling, offsets) and 4.4 (decay: each verdict of a model fades its older
//! ones by `2^(-1/half-life)`; here newer ones weigh more instead, which is the same and touches one cell).

use super::{Category, logit, sigmoid};

/// Pseudo-verdicts of the pooled mean in a cell.
pub(super) const CELL: f64 = 8.0;
/// Cells of a task: prompts whose task the caller named, and one for each category.
pub(super) const CELLS: usize = 1 + Category::ALL.len();
/// Units beyond which counts are rescaled, far within what a float holds.
const LARGEST_UNIT: f64 = 1e12;

/// Accepts and rejects, faded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) accepts: f64,
    pub(super) rejects: f64,
}

impl Counts {
    pub(super) fn sum(self) -> f64 {
        self.accepts + self.rejects
    }

    /// The mean with `weight` pseudo-verdicts of `mean`.
    pub(super) fn pooled(self, mean: f64, weight: f64) -> f64 {
        (self.accepts + weight * mean) / (self.sum() + weight)
    }

    fn add(&mut self, accepted: bool, amount: f64) {
        *if accepted { &mut self.accepts } else { &mut self.rejects } += amount;
    }

    fn times(self, factor: f64) -> Self {
        Self { accepts: self.accepts * factor, rejects: self.rejects * factor }
    }
}

/// Every cell of a model, and what is believed before them.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    /// Tasks by [`CELLS`], in raw units.
    kinds: Vec<Counts>,
    tasks: Vec<Counts>,
    whole: Counts,
    /// What one verdict counts now, in raw units.
    unit: f64,
}

impl Cells {
    pub(super) fn new(tasks: usize) -> Self {
        let none = Counts::default();
        Self { kinds: vec![none; tasks * CELLS], tasks: vec![none; tasks], whole: none, unit: 1.0 }
    }

    pub(super) fn whole(&self) -> Counts {
        self.whole.times(1.0 / self.unit)
    }

    pub(super) fn task(&self, task: u16) -> Counts {
        self.tasks.get(usize::from(task)).copied().unwrap_or_default().times(1.0 / self.unit)
    }

    pub(super) fn cell(&self, task: u16, category: Option<Category>) -> Counts {
        self.kinds.get(cell(task, category)).copied().unwrap_or_default().times(1.0 / self.unit)
    }

    /// Counts of a category over every task.
    pub(super) fn category(&self, category: Category) -> Counts {
        let of_task = |task| self.kinds.get(cell(task, Some(category))).copied().unwrap_or_default();
        let tasks = u16::try_from(self.tasks.len()).unwrap_or(u16::MAX);
        (0..tasks).map(of_task).fold(Counts::default(), |sum, counts| Counts {
            accepts: sum.accepts + counts.accepts / self.unit,
            rejects: sum.rejects + counts.rejects / self.unit,
        })
    }

    /// Hears a verdict; older ones fade by `fade`, a little below one.
    pub(super) fn hear(&mut self, task: u16, category: Option<Category>, accepted: bool, weight: f64, fade: f64) {
        self.unit /= fade;
        let amount = weight * self.unit;
        self.whole.add(accepted, amount);
        let own = self.tasks.get_mut(usize::from(task)).into_iter();
        own.chain(self.kinds.get_mut(cell(task, category))).for_each(|counts| counts.add(accepted, amount));
        if self.unit > LARGEST_UNIT {
            self.rescale(1.0 / self.unit);
            self.unit = 1.0;
        }
    }

    /// Keeps this share of every count.
    pub(super) fn keep(&mut self, share: f64) {
        self.rescale(share);
    }

    fn rescale(&mut self, factor: f64) {
        self.whole = self.whole.times(factor);
        self.tasks.iter_mut().chain(&mut self.kinds).for_each(|counts| *counts = counts.times(factor));
    }
}

/// The place of a cell among all.
pub(super) fn cell(task: u16, category: Option<Category>) -> usize {
    usize::from(task) * CELLS + category.map_or(0, |category| 1 + usize::from(category.index()))
}

/// `mean` moved by an offset of log odds.
pub(super) fn shifted(mean: f64, offset: f64) -> f64 {
    if offset == 0.0 { mean } else { sigmoid(logit(mean) + offset) }
}
