//! Acceptance of a policy that was not in force, from the log of one that was.
//!
//! Why it exists: people judged what was bought, not what another policy would have bought. Inverse propensity weights
//! need no model and much luck; the planner's belief needs no luck and may be wrong; the doubly robust estimate takes
//! the belief and corrects it where the log shows its errors, and is right when either is. Source: Dudík, Langford and
//! Li, "Doubly Robust Policy Evaluation and Learning" (2011), equations 1 to 3. What it refuses to know: policies.

use crate::domain::quality::Posterior;

/// A share with its interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The estimate, 0 to 1.
    pub value: f64,
    /// Two-sided 95 %.
    pub interval: Interval,
    /// Verdicts behind it.
    pub verdicts: usize,
}

/// Bounds of a share.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    /// The lower bound, 0 to 1.
    pub low: f64,
    /// The upper bound, 0 to 1.
    pub high: f64,
}

/// One decision, made twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// What a person said of what was bought.
    pub(super) verdict: Option<bool>,
    /// With which probability it was bought.
    pub(super) propensity: f64,
    /// Whether the candidate buys the same.
    pub(super) same: bool,
    /// Whether the log has tried what the candidate buys.
    pub(super) supported: bool,
    /// The belief in what was bought.
    pub(super) before: Posterior,
    /// The belief in what the candidate buys.
    pub(super) after: Posterior,
}

/// Normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.96;
/// A smaller propensity than this weighs as this one: one lucky draw must not decide a week.
const LEAST_PROPENSITY: f64 = 0.02;

/// What people said of what was bought.
pub(super) fn observed(trials: &[Trial]) -> Estimate {
    let verdicts: Vec<f64> = trials.iter().filter_map(|one| one.verdict).map(|yes| f64::from(u8::from(yes))).collect();
    wilson(&verdicts)
}

/// The belief in the candidate's choices, corrected by the verdicts on those that it shares with the log. What the belief
/// is wrong by there is taken to be wrong of every choice that the log has tried; of the others the belief's own doubt
/// stays, all in one direction at worst.
pub(super) fn doubly_robust(trials: &[Trial]) -> Estimate {
    if trials.is_empty() {
        return unknown();
    }
    let all = trials.len() as f64;
    let belief = trials.iter().map(|one| one.after.mean()).sum::<f64>() / all;
    let shared = weighed(trials, |one| one.before.mean());
    // Without a verdict that speaks of it, nothing is known but the belief.
    let in_the_dark = |one: &&Trial| shared.is_none() || !one.supported;
    let (mut below, mut above, mut dark) = (0.0, 0.0, 0.0);
    for one in trials.iter().filter(in_the_dark) {
        below += one.after.mean() - one.after.lower();
        above += one.after.upper() - one.after.mean();
        dark += 1.0;
    }
    let lit = 1.0 - dark / all;
    let (shift, reach, verdicts) =
        shared.map_or((0.0, 0.0, 0), |shared| (lit * shared.mean, lit * shared.reach, shared.verdicts));
    let value = belief + shift;
    let interval = Interval {
        low: (value - reach - below / all).clamp(0.0, 1.0),
        high: (value + reach + above / all).clamp(0.0, 1.0),
    };
    Estimate { value: value.clamp(0.0, 1.0), interval, verdicts }
}

/// By the weights alone; `None` where the log has no verdict on a shared choice, or where the candidate's choices were
/// never tried.
pub(super) fn inverse_propensity(trials: &[Trial]) -> Option<Estimate> {
    if trials.iter().any(|one| !one.supported) {
        return None;
    }
    let Weighed { mean, reach, verdicts } = weighed(trials, |_| 0.0)?;
    let interval = Interval { low: (mean - reach).max(0.0), high: (mean + reach).min(1.0) };
    Some(Estimate { value: mean, interval, verdicts })
}

/// A weighted mean and how far from the truth it may be, two-sided 95 %.
struct Weighed {
    mean: f64,
    reach: f64,
    verdicts: usize,
}

/// Of a variance that few verdicts have not shown yet, this many are taken to be as uneven as verdicts can be.
const UNSEEN: f64 = 2.0;
/// The variance of a coin.
const COIN: f64 = 0.25;

/// The verdicts on shared choices, less `than`, each weighted by the inverse of its propensity and all of them by the sum
/// of the weights (Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning", 2015): a few
/// unlikely choices would else decide alone. Their doubt is Student's over the effective number of verdicts (Kish).
fn weighed(trials: &[Trial], than: impl Fn(&Trial) -> f64) -> Option<Weighed> {
    let rows: Vec<(f64, f64)> = trials
        .iter()
        .filter(|one| one.same)
        .filter_map(|one| Some((one, f64::from(u8::from(one.verdict?)))))
        .map(|(one, yes)| (1.0 / one.propensity.max(LEAST_PROPENSITY), yes - than(one)))
        .collect();
    let total: f64 = rows.iter().map(|(weight, _)| weight).sum();
    if rows.is_empty() {
        return None;
    }
    let mean = rows.iter().map(|(weight, value)| weight * value).sum::<f64>() / total;
    let seen = rows.iter().map(|(weight, value)| weight * (value - mean).powi(2)).sum::<f64>() / total;
    let effective = total * total / rows.iter().map(|(weight, _)| weight * weight).sum::<f64>();
    let variance = (seen * effective + UNSEEN * COIN) / (effective + UNSEEN);
    Some(Weighed { mean, reach: student(effective) * (variance / effective).sqrt(), verdicts: rows.len() })
}

/// The 97.5 % quantile of Student's distribution (Abramowitz and Stegun 26.7.5).
fn student(freedom: f64) -> f64 {
    let n = freedom.max(1.0);
    Z + (Z.powi(3) + Z) / (4.0 * n) + (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * n * n)
}

/// Wilson's interval (1927): stays inside 0 and 1, also for few verdicts.
fn wilson(verdicts: &[f64]) -> Estimate {
    if verdicts.is_empty() {
        return unknown();
    }
    let n = verdicts.len() as f64;
    let p = verdicts.iter().sum::<f64>() / n;
    let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let reach = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt() / (1.0 + Z * Z / n);
    Estimate { value: p, interval: Interval { low: centre - reach, high: centre + reach }, verdicts: verdicts.len() }
}

fn unknown() -> Estimate {
    Estimate { value: f64::NAN, interval: Interval { low: 0.0, high: 1.0 }, verdicts: 0 }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::domain::quality::Prior;

    /// Two models, accepted with .3 and .6; the log draws between them, the candidate takes the second; the belief in
    /// both is wrong on purpose.
    fn week(dice: &mut StdRng, rows: usize, share_of_second: f64) -> Vec<Trial> {
        let belief = |mean: f64| Posterior::new(Prior { mean, weight: 8.0 }, 0.0, 0.0);
        (0..rows)
            .map(|_| {
                let second = dice.random_bool(share_of_second);
                let accepted = dice.random_bool(if second { 0.6 } else { 0.3 });
                Trial {
                    verdict: Some(accepted),
                    propensity: if second { share_of_second } else { 1.0 - share_of_second },
                    same: second,
                    supported: true,
                    before: belief(if second { 0.45 } else { 0.5 }),
                    after: belief(0.45),
                }
            })
            .collect()
    }

    #[test]
    fn intervals_cover_the_truth_nine_times_in_ten() {
        let (mut robust, mut weighted) = (0, 0);
        let seed = 20_261_123;
        println!("seed {seed}");
        let mut dice = StdRng::seed_from_u64(seed);
        for _ in 0..200 {
            let trials = week(&mut dice, 400, 0.25);
            let covers = |estimate: Estimate| estimate.interval.low <= 0.6 && 0.6 <= estimate.interval.high;
            robust += usize::from(covers(doubly_robust(&trials)));
            weighted += usize::from(covers(inverse_propensity(&trials).unwrap()));
        }
        assert!(robust >= 180 && weighted >= 180, "of 200: doubly robust {robust}, by weights {weighted}");
    }

    #[test]
    fn a_choice_that_was_never_tried_is_not_told_by_weights() {
        let mut trials = week(&mut StdRng::seed_from_u64(1), 50, 0.5);
        for one in &mut trials {
            (one.same, one.supported) = (false, false);
        }
        assert_eq!(inverse_propensity(&trials), None);
        let estimate = doubly_robust(&trials);
        assert!((estimate.value - 0.45).abs() < 1e-9, "the belief stands alone: {estimate:?}");
        assert!(estimate.interval.high - estimate.interval.low > 0.3, "and says how little it knows: {estimate:?}");
    }

    #[test]
    fn nothing_is_known_of_an_empty_log() {
        let estimate = doubly_robust(&[]);
        assert!(estimate.value.is_nan());
        assert_eq!(estimate.interval, Interval { low: 0.0, high: 1.0 });
    }
}
