//! A small logistic model over a prompt's signs, learned one verdict at a time.
//!
//! Why it exists: cells know kinds of prompts only; within a kind, a sign such as "two colours and an `and`" still tells
//! models apart. Each weight is a normal with its own precision (a diagonal Laplace approximation): a verdict moves what
//! is doubtful and hardly moves what is known, so there is no learning rate and no second pass. Weights are a shared
//! part, which is the prompt's difficulty for every model alike, and a part of each model. What it refuses to know:
//! categories, cells. Source of the update: Chapelle and Li, "An empirical evaluation of Thompson sampling", 2011,
//! algorithm 3, with the step shortened to the exact one along the example.

use super::prompt::{HAND_MADE, SLOTS};
use super::sigmoid;

/// Variance of a model's weight before any verdict, in squared logits.
const OWN: f64 = 0.3;
/// Variance of a shared weight.
const SHARED: f64 = 0.5;
/// A word's weight has this share of the variance of a hand-made sign's.
const WORD: f64 = 0.1;
/// Information of one verdict about log odds, `p (1 - p)`, at a typical `p` of .7.
pub(super) const INFORMATION: f64 = 0.21;

/// Weights of signs with their precisions.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    variance: f64,
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    mean: f64,
    precision: f64,
}

/// A model's own part.
#[derive(Clone, Debug)]
pub(super) struct Own {
    intercept: Slot,
    /// The intercept's precision before any verdict.
    doubt: f64,
    weights: Weights,
}

impl Weights {
    pub(super) fn shared() -> Self {
        Self::new(SHARED)
    }

    fn new(variance: f64) -> Self {
        let slots = (0..usize::from(SLOTS)).map(|at| Slot { mean: 0.0, precision: fresh(variance, at) });
        Self { variance, slots: slots.collect() }
    }

    fn sum(&self, signs: &[u16]) -> f64 {
        self.lit(signs).map(|slot| slot.mean).sum()
    }

    fn lit(&self, signs: &[u16]) -> impl Iterator<Item = &Slot> {
        signs.iter().filter_map(|at| self.slots.get(usize::from(*at)))
    }

    fn move_by(&mut self, signs: &[u16], step: f64, information: f64, keep: f64) {
        for at in signs.iter().map(|at| usize::from(*at)) {
            if let Some(slot) = self.slots.get_mut(at) {
                slot.move_by(step, information, keep, fresh(self.variance, at));
            }
        }
    }

    /// Keeps this share of what was learned beyond the beginning.
    pub(super) fn doubt(&mut self, share: f64) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let fresh = fresh(self.variance, at);
            slot.precision = fresh + share * (slot.precision - fresh);
        }
    }
}

impl Own {
    /// A model whose level is believed as much as `weight` verdicts.
    pub(super) fn new(weight: f64) -> Self {
        let doubt = weight.max(0.5) * INFORMATION;
        Self { intercept: Slot { mean: 0.0, precision: doubt }, doubt, weights: Weights::new(OWN) }
    }

    /// Log odds beyond the prior's.
    pub(super) fn odds(&self, shared: &Weights, signs: &[u16]) -> f64 {
        self.intercept.mean + shared.sum(signs) + self.weights.sum(signs)
    }

    /// Hears of a verdict where the prior's log odds were `base`. `keep` is the share of old information that stays.
    pub(super) fn hear(&mut self, shared: &mut Weights, signs: &[u16], base: f64, verdict: Verdict, keep: f64) {
        let p = sigmoid(base + self.odds(shared, signs));
        let information = verdict.weight * p * (1.0 - p);
        let variance = 1.0 / self.intercept.precision
            + shared.lit(signs).chain(self.weights.lit(signs)).map(|slot| 1.0 / slot.precision).sum::<f64>();
        let step = verdict.weight * (f64::from(u8::from(verdict.accepted)) - p) / (1.0 + information * variance);
        self.intercept.move_by(step, information, keep, self.doubt);
        shared.move_by(signs, step, information, keep);
        self.weights.move_by(signs, step, information, keep);
    }

    /// Keeps this share of what was learned beyond the beginning.
    pub(super) fn doubt(&mut self, share: f64) {
        self.intercept.precision = self.doubt + share * (self.intercept.precision - self.doubt);
        self.weights.doubt(share);
    }

    /// What was learned of signs becomes a prior: the level is another's to set.
    pub(super) fn as_prior(&mut self, weight: f64, share: f64) {
        self.weights.doubt(share);
        *self = Self { weights: self.weights.clone(), ..Self::new(weight) };
    }
}

/// What a person said, as much as it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) accepted: bool,
    pub(super) weight: f64,
}

impl Slot {
    fn move_by(&mut self, step: f64, information: f64, keep: f64, fresh: f64) {
        self.mean += step / self.precision;
        self.precision = fresh + keep * (self.precision - fresh) + information;
    }
}

fn fresh(variance: f64, at: usize) -> f64 {
    if at < usize::from(HAND_MADE) { 1.0 / variance } else { 1.0 / (variance * WORD) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_what_a_sign_says_of_one_model_and_leaves_the_other() {
        let mut shared = Weights::shared();
        let (mut a, mut b) = (Own::new(2.0), Own::new(2.0));
        for turn in 0..400 {
            let signs: &[u16] = if turn % 2 == 0 { &[1, 60] } else { &[2, 61] };
            let good = turn % 2 == 0;
            a.hear(&mut shared, signs, 0.0, Verdict { accepted: good, weight: 1.0 }, 1.0);
            b.hear(&mut shared, signs, 0.0, Verdict { accepted: turn % 4 < 2, weight: 1.0 }, 1.0);
        }
        let at = |own: &Own, signs: &[u16]| sigmoid(own.odds(&shared, signs));
        assert!(at(&a, &[1, 60]) > 0.9 && at(&a, &[2, 61]) < 0.1);
        assert!((0.35..0.65).contains(&at(&b, &[1, 60])), "{}", at(&b, &[1, 60]));
    }
}
