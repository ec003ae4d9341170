//! What a kind of plan costs for each image that a person accepts: `J = (C + H) / P`.
//!
//! Why it exists: the planner compares a dear model with a cheap one that is asked twice, or checked, or drafted in
//! parallel; all of them become one [`Cost`]. Formulas: routing notes 4.5. `C` is what is spent, `H` what showing
//! pictures to a person costs, `P` the probability that one is accepted. Failures on one prompt are correlated: the
//! tries of a model are beta-binomial with mean `p` and correlation `rho`, so the second try fails more often than the
//! first. What it refuses to know: models, requests, and who counts verdicts.
//! To add a kind: a function here, its Monte Carlo in `tests/plan_costs.rs`, a branch in `enumerate.rs`.

/// How often a person asks again for one prompt, and how alike those tries are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// The most tries, at least 1.
    pub tries: u8,
    /// Correlation of acceptance between the tries of a model on one prompt, 0 to 1 (`rho`).
    pub correlation: f64,
}

/// One try; .2 is where the routing notes start before anything is measured (.09 to .25 within a kind of prompt).
impl Default for Retries {
    fn default() -> Self {
        Self { tries: 1, correlation: 0.2 }
    }
}

/// How a verifier judges pictures of one task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Share of the pictures that a person would accept which pass (`TPR`), 0 to 1.
    pub good_pass: f64,
    /// Share of the others which pass (`FPR`), 0 to 1.
    pub bad_pass: f64,
}

/// What a plan costs on average. Money is in micro-dollars, as an expectation and not as a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Expected spend (`C`).
    pub spent: f64,
    /// Expected pictures shown to a person (`H / h`).
    pub looks: f64,
    /// Probability that a picture is accepted (`P`).
    pub accept: f64,
}

impl Cost {
    /// Expected micro-dollars for each accepted image, at `review` micro-dollars a look; lower is better.
    pub fn score(self, review: f64) -> f64 {
        (self.spent + self.looks * review) / self.accept.max(1e-6)
    }
}

/// The probability that `k` tries of a model all fail: `f_k`, the beta-binomial's. With correlation 0 they are
/// independent, with 1 they are one.
pub fn all_fail(accept: f64, correlation: f64, k: u8) -> f64 {
    let reject = 1.0 - accept;
    if correlation <= 0.0 {
        return reject.powi(i32::from(k));
    }
    let s = 1.0 / correlation.min(1.0) - 1.0;
    (0..k).map(f64::from).map(|i| if s + i > 0.0 { (reject * s + i) / (s + i) } else { reject }).product()
}

/// One model, asked until a person accepts or the tries are over; `each` is the price of a try.
pub fn direct(accept: f64, retries: Retries, each: f64) -> Cost {
    let Retries { tries, correlation } = retries;
    let attempts: f64 = (0..tries.max(1)).map(|k| all_fail(accept, correlation, k)).sum();
    Cost { spent: each * attempts, looks: attempts, accept: 1.0 - all_fail(accept, correlation, tries.max(1)) }
}

/// One generator of a cascade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The price of its picture, micro-dollars.
    pub each: f64,
    /// Acceptance of its picture on an unselected prompt.
    pub accept: f64,
    /// Acceptance of its picture after the stage before made one that no person would accept; ignored for the first.
    pub after_bad: f64,
}

/// What [`cascade`] expects of the way as a whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cascade {
    /// Spend, looks and acceptance of the picture that is shown at the end.
    pub cost: Cost,
    /// The probability that the stage after the first is bought.
    pub second: f64,
    /// The probability that the stage after that is bought.
    pub third: f64,
}

/// `A → verify → B`, and `→ verify → C` with a third stage: the next stage is bought when the verifier, at `check`
/// micro-dollars, turns the picture down; the last one is shown unchecked, and a person looks once.
///
/// A stage depends on those before it only through the last picture being good or bad.
pub fn cascade(stages: &[Stage], rates: Rates, check: f64) -> Cascade {
    let mut cost = Cost { spent: 0.0, looks: 1.0, accept: 0.0 };
    // Probabilities of being here with a good and with a bad picture, and of having come here at all.
    let (mut good, mut bad, mut here) = (0.0, 0.0, 1.0);
    let mut reached = [0.0; 2];
    let mut before: Option<f64> = None;
    for (at, stage) in stages.iter().enumerate() {
        if let Some(slot) = at.checked_sub(1).and_then(|at| reached.get_mut(at)) {
            *slot = here;
        }
        (good, bad) = match before {
            None => (stage.accept, 1.0 - stage.accept),
            Some(before) => {
                let after_bad = feasible(stage.after_bad, stage.accept, before);
                let after_good = ((stage.accept - (1.0 - before) * after_bad) / before.max(1e-9)).clamp(0.0, 1.0);
                let made = good * after_good + bad * after_bad;
                (made, here - made)
            }
        };
        cost.spent += here * stage.each;
        if at + 1 == stages.len() {
            cost.accept += good;
            break;
        }
        cost.spent += here * check;
        cost.accept += good * rates.good_pass;
        (good, bad) = (good * (1.0 - rates.good_pass), bad * (1.0 - rates.bad_pass));
        here = good + bad;
        before = Some(stage.accept);
    }
    let [second, third] = reached;
    Cascade { cost, second, third }
}

/// `P(B good | A bad)` within what the two acceptances allow: good pictures of B that are left over when A is good too
/// must fall where A is bad, and there cannot be more of them than there are.
fn feasible(after_bad: f64, accept: f64, before: f64) -> f64 {
    let bad = (1.0 - before).max(1e-9);
    let least = ((accept - before) / bad).clamp(0.0, 1.0);
    let most = (accept / bad).clamp(0.0, 1.0);
    after_bad.clamp(least, most)
}

/// `k` drafts made at once; the verifier picks the first that passes, or the first of all when none does; the pick is
/// enlarged and shown. `keeps` is P(final accepted | draft acceptable).
pub fn checked_drafts(draft: f64, accept: f64, correlation: f64, k: u8, check: (Rates, f64), up: (f64, f64)) -> Cost {
    let ((rates, check), (up, keeps)) = (check, up);
    let tries = u32::from(k.max(1));
    // Given the prompt's own chance q, a draft fails the check with chance a + b q, linear in q, so every expectation
    // is a polynomial in q and the beta distribution's moments are enough.
    let (a, b) = (1.0 - rates.bad_pass, rates.bad_pass - rates.good_pass);
    let moments = moments(accept, correlation, tries + 1);
    let expect = |failed: u32| -> f64 {
        let mut sum = 0.0;
        let mut choose = 1.0;
        for i in 0..=failed {
            let term = a.powi((failed - i).cast_signed()) * b.powi(i.cast_signed());
            sum += choose * term * moments.get(i as usize + 1).copied().unwrap_or_default();
            choose = choose * f64::from(failed - i) / f64::from(i + 1);
        }
        sum
    };
    let passed: f64 = (0..tries).map(|failed| rates.good_pass * expect(failed)).sum();
    let left_over = (1.0 - rates.good_pass) * expect(tries - 1);
    let accept = (passed + left_over) * keeps;
    Cost { spent: f64::from(k.max(1)) * (draft + check) + up, looks: 1.0, accept }
}

/// `k` drafts shown to a person at once, again and again until one is approved, and that one enlarged: the approve
/// flow, in the long run. `J` is `(k c_d / P_d + c_u + h / P_d) / s_u`.
pub fn approved_drafts(draft: f64, accept: f64, correlation: f64, k: u8, up: (f64, f64)) -> Cost {
    let (up, keeps) = up;
    let approved = (1.0 - all_fail(accept, correlation, k.max(1))).max(1e-6);
    Cost { spent: f64::from(k.max(1)) * draft / approved + up, looks: 1.0 / approved, accept: keeps }
}

/// `E[q^i]` for i from 0 to `most` of the beta distribution with mean `accept` and correlation `rho`.
fn moments(accept: f64, rho: f64, most: u32) -> Vec<f64> {
    let good_in_a_row = |k: u32| 1.0f64.min(all_fail(1.0 - accept, rho, u8::try_from(k).unwrap_or(u8::MAX)));
    (0..=most).map(good_in_a_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn one_try_is_price_over_acceptance() {
        let cost = direct(0.25, Retries::default(), 40_000.0);
        assert!(near(cost.score(0.0), 160_000.0) && near(cost.score(20_000.0), 240_000.0));
    }

    #[test]
    fn correlated_tries_help_less() {
        let retries = |correlation| Retries { tries: 3, correlation };
        let apart = direct(0.5, retries(0.0), 1.0);
        assert!(near(apart.accept, 0.875) && near(apart.spent, 1.75) && near(apart.score(0.0), 2.0));
        let alike = direct(0.5, retries(1.0), 1.0);
        assert!(near(alike.accept, 0.5) && near(alike.spent, 2.0));
        let between = direct(0.5, retries(0.3), 1.0);
        assert!(between.score(0.0) > apart.score(0.0) && between.score(0.0) < alike.score(0.0));
    }

    #[test]
    fn a_perfect_verifier_shows_only_what_is_good() {
        let stage = |each, accept| Stage { each, accept, after_bad: accept };
        let perfect = Rates { good_pass: 1.0, bad_pass: 0.0 };
        let way = cascade(&[stage(1.0, 0.4), stage(5.0, 0.9)], perfect, 0.5);
        assert!(near(way.cost.accept, 0.4 + 0.6 * 0.9) && near(way.second, 0.6));
        assert!(near(way.cost.spent, 1.0 + 0.5 + 0.6 * 5.0));
    }

    #[test]
    fn a_verifier_that_knows_nothing_changes_no_acceptance() {
        let blind = Rates { good_pass: 0.3, bad_pass: 0.3 };
        let stage = Stage { each: 1.0, accept: 0.6, after_bad: 0.5 };
        for stages in [vec![stage; 2], vec![stage; 3]] {
            assert!(near(cascade(&stages, blind, 0.0).cost.accept, 0.6));
        }
        let drafts = checked_drafts(1.0, 0.6, 0.2, 4, (blind, 0.0), (1.0, 1.0));
        assert!(near(drafts.accept, 0.6), "{drafts:?}");
    }

    #[test]
    fn impossible_conditions_are_brought_back() {
        // A is good one time in ten, B eight in ten: at least 7 of B's 8 fall where A is bad.
        assert!(near(feasible(0.1, 0.8, 0.1), 0.7 / 0.9));
        assert!(near(feasible(0.9, 0.3, 0.5), 0.6));
    }
}
