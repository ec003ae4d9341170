//! A Beta distribution over acceptance, with its bounds.
//!
//! Why it exists: the planner compares probabilities together with their doubt, so both live in one type. What it
//! refuses to know: where verdicts come from. Formulas: routing notes 4.2 and 4.3 (bounds by normal approximation).

/// What is believed before any verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// Expected acceptance, 0 to 1.
    pub mean: f64,
    /// Pseudo-verdicts behind it (`n0`).
    pub weight: f64,
}

/// A Beta distribution over the probability of acceptance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Posterior {
    /// Accepts, prior included.
    pub alpha: f64,
    /// Rejects, prior included.
    pub beta: f64,
    /// Verdicts behind it, without the prior.
    pub verdicts: f64,
    /// What ranking adds to the mean while it learns: the way to an upper bound, or to a sample. Zero when it does not.
    pub lift: f64,
}

/// Standard normal quantile of a one-sided 90 % bound.
pub const Z: f64 = 1.28;

impl Posterior {
    /// The prior with `accepts` and `rejects` (decayed counts) on top.
    pub fn new(prior: Prior, accepts: f64, rejects: f64) -> Self {
        let mean = prior.mean.clamp(0.02, 0.98);
        Self {
            alpha: accepts + prior.weight * mean,
            beta: rejects + prior.weight * (1.0 - mean),
            verdicts: accepts + rejects,
            lift: 0.0,
        }
    }

    /// Expected acceptance, 0 to 1.
    pub fn mean(self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// What ranking takes for the acceptance: the mean, lifted while it learns.
    pub fn hoped(self) -> f64 {
        (self.mean() + self.lift).clamp(0.001, 0.999)
    }

    /// The lower one-sided 90 % bound, `p - z sqrt(p(1-p)/(n+1))`; the floor is tested against it.
    pub fn lower(self) -> f64 {
        (self.mean() - self.spread()).max(0.0)
    }

    /// The upper one-sided 90 % bound.
    pub fn upper(self) -> f64 {
        (self.mean() + self.spread()).min(1.0)
    }

    /// Of an image of which only this share survives a further step: the same doubt, a lower mean.
    #[must_use]
    pub fn weakened(self, share: f64) -> Self {
        let share = share.clamp(0.0, 1.0);
        let (weight, alpha) = (self.alpha + self.beta, self.alpha * share);
        Self { alpha, beta: weight - alpha, lift: self.lift * share, ..self }
    }

    /// Lifted to the optimistic end of what is believed, `p + z sqrt(p(1-p)/(n + pending))`: Bayes-UCB. Images that are
    /// shown and not yet judged count as if they were, so that slow raters do not draw the same wager many times.
    #[must_use]
    pub fn optimistic(self, pending: f64) -> Self {
        let (p, n) = (self.mean(), self.alpha + self.beta + pending);
        Self { lift: Z * (p * (1.0 - p) / n.max(1e-9)).sqrt(), ..self }
    }

    fn spread(self) -> f64 {
        let (p, n) = (self.mean(), self.alpha + self.beta);
        Z * (p * (1.0 - p) / (n + 1.0)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_move_the_mean_and_narrow_the_interval() {
        let prior = Prior { mean: 0.5, weight: 8.0 };
        let (before, after) = (Posterior::new(prior, 0.0, 0.0), Posterior::new(prior, 30.0, 10.0));
        assert!((before.mean() - 0.5).abs() < 1e-12);
        assert!((after.mean() - 34.0 / 48.0).abs() < 1e-12);
        assert!(after.upper() - after.lower() < before.upper() - before.lower());
        assert!(after.lower() < after.mean() && after.mean() < after.upper());
    }

    #[test]
    fn hope_shrinks_with_verdicts_and_with_images_that_wait_for_one() {
        let prior = Prior { mean: 0.5, weight: 8.0 };
        let (few, many) = (Posterior::new(prior, 1.0, 1.0), Posterior::new(prior, 50.0, 50.0));
        assert_eq!(few.hoped().to_bits(), few.mean().to_bits(), "nothing is lifted unless asked");
        assert!(few.optimistic(0.0).hoped() > many.optimistic(0.0).hoped());
        assert!(few.optimistic(20.0).hoped() < few.optimistic(0.0).hoped());
        let weak = few.optimistic(0.0).weakened(0.5);
        assert!((weak.hoped() - few.optimistic(0.0).hoped() / 2.0).abs() < 1e-12);
    }
}
