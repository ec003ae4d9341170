//! Learning by the numbers: how soon the better model is found, what fades, what a prior is worth.
#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "the functions that tests are made of are tests too"
)]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tollgate::domain::quality::{ArmPrior, Category, Estimator, Heard, Posterior, Prior, Reading, Settings, thompson};

const WHERE: Option<Category> = Some(Category::Typography);

fn estimator(priors: Vec<ArmPrior>, half_life: f64) -> Estimator {
    Estimator::new(Settings { tasks: 1, half_life }, priors)
}

fn flat(arms: usize) -> Vec<ArmPrior> {
    (0..arms).map(|_| ArmPrior::flat(0.5, 2.0, 2.0, 1)).collect()
}

fn heard(arm: u16, accepted: bool) -> Heard<'static> {
    Heard { arm, task: 0, category: WHERE, signs: &[], accepted, weight: 1.0 }
}

fn best(estimator: &Estimator, arms: u16, by: impl FnMut(Posterior) -> f64) -> u16 {
    let mut by = by;
    let beliefs: Vec<f64> = (0..arms).map(|arm| by(estimator.believe(arm, 0, WHERE, &[]))).collect();
    (0..arms).max_by(|a, b| beliefs[usize::from(*a)].total_cmp(&beliefs[usize::from(*b)])).unwrap()
}

/// The share of 2,000 runs in which the better of two models is believed to be it, after so many verdicts.
fn right(verdicts: [usize; 3], mut choose: impl FnMut(&Estimator, &mut StdRng) -> u16) -> [f64; 3] {
    const RUNS: u64 = 2_000;
    let mut right = [0.0; 3];
    for run in 0..RUNS {
        let mut dice = StdRng::seed_from_u64(run);
        // Ties go to the last: which arm is the better one must not matter.
        let better = u16::from(run % 2 == 0);
        let mut estimator = estimator(flat(2), 1_000.0);
        for verdict in 1..=verdicts[2] {
            let arm = choose(&estimator, &mut dice);
            let truth = if arm == better { 0.61 } else { 0.28 };
            estimator.hear(heard(arm, dice.random::<f64>() < truth));
            if let Some(at) = verdicts.iter().position(|count| *count == verdict) {
                right[at] += f64::from(u8::from(best(&estimator, 2, Posterior::mean) == better)) / RUNS as f64;
            }
        }
    }
    right
}

#[test]
fn the_better_of_two_models_is_found_in_tens_of_verdicts() {
    let verdicts = [20, 50, 100];
    let bound = right(verdicts, |estimator, _| best(estimator, 2, |belief| belief.optimistic(0.0).hoped()));
    println!("upper bound: {bound:?}");
    assert!(bound[0] >= 0.78 && bound[1] >= 0.88 && bound[2] >= 0.95, "{bound:?}");
    let drawn = right(verdicts, |estimator, dice| best(estimator, 2, |belief| thompson(belief, dice).hoped()));
    println!("sampled: {drawn:?}");
    assert!(drawn[0] >= 0.75 && drawn[1] >= 0.85 && drawn[2] >= 0.92, "{drawn:?}");
}

#[test]
fn without_a_verdict_the_prior_stands() {
    let tasks = vec![Prior { mean: 0.78, weight: 20.0 }, Prior { mean: 0.28, weight: 20.0 }];
    let prior = ArmPrior { tasks, ..ArmPrior::flat(0.5, 6.0, 20.0, 0) };
    let estimator = Estimator::new(Settings { tasks: 2, half_life: 500.0 }, [prior]);
    let reading = Reading::of("a sign that says \"HELLO\", two red foxes");
    for (task, mean) in [(0, 0.78), (1, 0.28)] {
        let belief = estimator.believe(0, task, Some(reading.category), &reading.signs);
        assert!((belief.mean() - mean).abs() < 1e-9 && belief.verdicts == 0.0);
        assert!((belief.alpha + belief.beta - 20.0).abs() < 1e-9);
    }
}

#[test]
fn a_kind_of_prompt_borrows_from_the_model_and_not_from_others() {
    let mut estimator = estimator(flat(2), 1_000.0);
    for _ in 0..40 {
        estimator.hear(heard(0, true));
    }
    let elsewhere = estimator.believe(0, 0, Some(Category::Scene), &[]);
    let there = estimator.believe(0, 0, WHERE, &[]);
    let other = estimator.believe(1, 0, WHERE, &[]);
    assert!(there.mean() > elsewhere.mean() && elsewhere.mean() > 0.6, "{there:?} {elsewhere:?}");
    assert!((other.mean() - 0.5).abs() < 1e-9, "another model is not judged by it: {other:?}");
    assert!(there.verdicts > 39.0 && elsewhere.verdicts == 0.0);
}

#[test]
fn old_verdicts_fade_and_half_a_verdict_counts_half() {
    let (mut short, mut long) = (estimator(flat(1), 20.0), estimator(flat(1), f64::INFINITY));
    for estimator in [&mut short, &mut long] {
        (0..40).for_each(|_| {
            estimator.hear(heard(0, true));
        });
    }
    assert!((long.believe(0, 0, WHERE, &[]).verdicts - 40.0).abs() < 1e-9);
    let faded = short.believe(0, 0, WHERE, &[]).verdicts;
    // The sum of 2^(-k/20) for k from 0 to 39.
    let wanted: f64 = (0..40).map(|k| (-f64::from(k) / 20.0).exp2()).sum();
    assert!((faded - wanted).abs() < 1e-6, "{faded} for {wanted}");
    let mut half = estimator(flat(1), f64::INFINITY);
    (0..40).for_each(|_| {
        half.hear(Heard { weight: 0.5, ..heard(0, true) });
    });
    assert!((half.believe(0, 0, WHERE, &[]).verdicts - 20.0).abs() < 1e-9);
}

#[test]
fn a_model_that_changes_is_believed_anew() {
    let mut dice = StdRng::seed_from_u64(3);
    let mut estimator = estimator(flat(1), 1_000.0);
    (0..300).for_each(|_| {
        estimator.hear(heard(0, dice.random::<f64>() < 0.8));
    });
    let noticed = (0..40).position(|_| estimator.hear(heard(0, dice.random::<f64>() < 0.15)));
    assert!(noticed.is_some_and(|after| after < 25), "{noticed:?}");
    (0..30).for_each(|_| {
        estimator.hear(heard(0, dice.random::<f64>() < 0.15));
    });
    assert!(estimator.believe(0, 0, WHERE, &[]).mean() < 0.4);
}
