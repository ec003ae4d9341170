//! Published scores into priors: levels and offsets.
//!
//! Why it exists: a model's score differs from .34 to .95 by who measures it, so a level is worth little and a
//! difference within one benchmark much (routing notes 2 and 4.2). What it refuses to know: files, names.

use super::{ArmPrior, Category, Prior, logit, sigmoid};

/// Scores of one model on one benchmark, as accepts and rejects.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// Over everything.
    pub overall: (f64, f64),
    /// By category; zeros where it was not measured.
    pub categories: [(f64, f64); Category::ALL.len()],
}

/// Log odds of an unknown model's acceptance of .7.
const USUAL: f64 = 0.847;
/// How much of the difference between models' levels is carried over.
const CARRIED: f64 = 0.7;
/// Verdicts that a carried level counts.
const LEVEL: f64 = 12.0;
/// Verdicts that a level without any measurement counts.
const UNKNOWN: f64 = 2.0;
/// Pseudo-verdicts that pull a category's score to the model's overall.
const PULL: f64 = 8.0;

/// Priors of models from their scores on one benchmark; `None` where a model was not measured there. Levels keep their
/// differences and are moved together to a usual acceptance; `cell` is what a category's prior counts in verdicts.
pub fn level_and_offsets(scores: &[Option<Scores>], cell: f64) -> Vec<ArmPrior> {
    let level = |scores: &Scores| logit((scores.overall.0 + 1.0) / (scores.overall.0 + scores.overall.1 + 2.0));
    let levels: Vec<f64> = scores.iter().flatten().map(level).collect();
    let middle = levels.iter().sum::<f64>() / levels.len().max(1) as f64;
    let prior = |scores: &Option<Scores>| {
        let Some(scores) = scores else {
            return ArmPrior::flat(sigmoid(USUAL), UNKNOWN, cell, 1);
        };
        let own = level(scores);
        let mean = sigmoid(USUAL + CARRIED * (own - middle));
        let overall = sigmoid(own);
        let offset = |(accepts, rejects): (f64, f64)| {
            logit((accepts + PULL * overall) / (accepts + rejects + PULL)) - logit(overall)
        };
        ArmPrior {
            level: mean,
            weight: LEVEL,
            tasks: vec![Prior { mean, weight: cell }],
            categories: scores.categories.map(offset),
        }
    };
    scores.iter().map(prior).collect()
}
