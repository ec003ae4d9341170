//! What plans cost, held against simulated prompts, people and verifiers.

#![cfg(test)]

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tollgate::domain::plan::cost::{Cost, Rates, Retries, Stage, approved_drafts, cascade, checked_drafts, direct};

const SEED: u64 = 20_261_123;
const RUNS: u32 = 250_000;
const REVIEW: f64 = 20_000.0;

/// A prompt's own chance: beta-distributed with this mean and correlation, drawn as a Pólya urn's first shares would be.
struct Prompt<'r> {
    accept: f64,
    s: f64,
    good: f64,
    tries: f64,
    dice: &'r mut StdRng,
}

impl<'r> Prompt<'r> {
    fn new(accept: f64, correlation: f64, dice: &'r mut StdRng) -> Self {
        let s = if correlation <= 0.0 { f64::INFINITY } else { 1.0 / correlation - 1.0 };
        Self { accept, s, good: 0.0, tries: 0.0, dice }
    }

    /// The next try of a beta-binomial model, by the urn: what came before moves the chance.
    fn next(&mut self) -> bool {
        let chance = if self.s.is_infinite() {
            self.accept
        } else if self.s + self.tries > 0.0 {
            (self.s * self.accept + self.good) / (self.s + self.tries)
        } else {
            self.accept
        };
        let good = self.dice.random::<f64>() < chance;
        self.tries += 1.0;
        self.good += f64::from(u8::from(good));
        good
    }
}

fn passes(good: bool, rates: Rates, dice: &mut StdRng) -> bool {
    dice.random::<f64>() < if good { rates.good_pass } else { rates.bad_pass }
}

/// Sums over runs: spend, looks, accepted.
#[derive(Default)]
struct Sums(f64, f64, f64);

impl Sums {
    /// Within one per cent in every part, and in what the planner ranks by.
    fn agree(&self, computed: Cost, what: &str) {
        let runs = f64::from(RUNS);
        let simulated = Cost { spent: self.0 / runs, looks: self.1 / runs, accept: self.2 / runs };
        let near = |a: f64, b: f64| (a - b).abs() <= 0.01 * b.abs().max(1e-9);
        println!("{what}: computed {computed:?}, simulated {simulated:?}");
        assert!(
            near(computed.spent, simulated.spent)
                && near(computed.looks, simulated.looks)
                && near(computed.accept, simulated.accept)
                && near(computed.score(REVIEW), simulated.score(REVIEW)),
            "{what}, seed {SEED}: computed {computed:?}, simulated {simulated:?}"
        );
    }
}

#[test]
fn direct_with_retries_costs_what_simulated_people_pay() {
    let mut dice = StdRng::seed_from_u64(SEED);
    for accept in [0.28, 0.61] {
        for correlation in [0.0, 0.1, 0.3] {
            for tries in [1u8, 3, 5] {
                let mut sums = Sums::default();
                for _ in 0..RUNS {
                    let mut prompt = Prompt::new(accept, correlation, &mut dice);
                    for _ in 0..tries {
                        sums.0 += 40_000.0;
                        sums.1 += 1.0;
                        if prompt.next() {
                            sums.2 += 1.0;
                            break;
                        }
                    }
                }
                let computed = direct(accept, Retries { tries, correlation }, 40_000.0);
                sums.agree(computed, &format!("direct, p {accept}, rho {correlation}, {tries} tries"));
            }
        }
    }
}

/// The chance of B's picture by A's: what [`Stage::after_bad`] says, and what then follows for the good ones.
fn after(good: bool, before: f64, stage: &Stage) -> f64 {
    if good { (stage.accept - (1.0 - before) * stage.after_bad) / before } else { stage.after_bad }
}

#[test]
fn cascades_cost_what_simulated_checks_buy() {
    let mut dice = StdRng::seed_from_u64(SEED + 1);
    let check = 1_500.0;
    let stage = |each, accept, after_bad| Stage { each, accept, after_bad };
    let ways = [
        vec![stage(20_000.0, 0.4, 0.0), stage(60_000.0, 0.8, 0.68)],
        vec![stage(20_000.0, 0.7, 0.0), stage(20_000.0, 0.7, 0.7 * 0.8)],
        vec![stage(10_000.0, 0.5, 0.0), stage(35_000.0, 0.7, 0.55), stage(130_000.0, 0.9, 0.75)],
    ];
    for rates in [Rates { good_pass: 0.64, bad_pass: 0.056 }, Rates { good_pass: 0.95, bad_pass: 0.4 }] {
        for stages in &ways {
            let mut sums = Sums::default();
            let mut bought = [0.0; 3];
            for _ in 0..RUNS {
                sums.1 += 1.0;
                let mut before: Option<(bool, f64)> = None;
                for (at, stage) in stages.iter().enumerate() {
                    bought[at] += 1.0;
                    sums.0 += stage.each;
                    let chance = before.map_or(stage.accept, |(good, accept)| after(good, accept, stage));
                    let good = dice.random::<f64>() < chance;
                    let last = at + 1 == stages.len();
                    if !last {
                        sums.0 += check;
                    }
                    if last || passes(good, rates, &mut dice) {
                        sums.2 += f64::from(u8::from(good));
                        break;
                    }
                    before = Some((good, stage.accept));
                }
            }
            let way = cascade(stages, rates, check);
            sums.agree(way.cost, &format!("cascade of {}, {rates:?}", stages.len()));
            for (computed, simulated) in [way.second, way.third].iter().zip(&bought[1..]) {
                assert!((computed - simulated / f64::from(RUNS)).abs() < 0.005, "seed {}", SEED + 1);
            }
        }
    }
}

#[test]
fn drafts_cost_what_simulated_picks_cost() {
    let mut dice = StdRng::seed_from_u64(SEED + 2);
    let rates = Rates { good_pass: 0.8, bad_pass: 0.15 };
    for correlation in [0.0, 0.1, 0.3] {
        for k in [1u8, 2, 4] {
            let mut sums = Sums::default();
            for _ in 0..RUNS {
                let mut goods = Vec::new();
                let mut prompt = Prompt::new(0.45, correlation, &mut dice);
                for _ in 0..k {
                    goods.push(prompt.next());
                }
                let picked = goods.iter().copied().find(|good| passes(*good, rates, &mut dice)).unwrap_or(goods[0]);
                sums.0 += f64::from(k) * (8_000.0 + 500.0) + 20_000.0;
                sums.1 += 1.0;
                sums.2 += f64::from(u8::from(picked && dice.random::<f64>() < 0.95));
            }
            let computed = checked_drafts(8_000.0, 0.45, correlation, k, (rates, 500.0), (20_000.0, 0.95));
            sums.agree(computed, &format!("checked drafts, rho {correlation}, k {k}"));
        }
    }
}

/// A round is drafted for a prompt of its own: a person who sees nothing good changes the words.
#[test]
fn drafts_until_approval_cost_what_simulated_people_ask_for() {
    let mut dice = StdRng::seed_from_u64(SEED + 3);
    for (correlation, k) in [(0.0, 1u8), (0.1, 4), (0.3, 4)] {
        let mut sums = Sums::default();
        for _ in 0..RUNS {
            loop {
                sums.0 += f64::from(k) * 8_000.0;
                sums.1 += 1.0;
                let mut prompt = Prompt::new(0.28, correlation, &mut dice);
                if (0..k).fold(false, |any, _| prompt.next() || any) {
                    break;
                }
            }
            sums.0 += 20_000.0;
            sums.2 += f64::from(u8::from(dice.random::<f64>() < 0.95));
        }
        let computed = approved_drafts(8_000.0, 0.28, correlation, k, (20_000.0, 0.95));
        sums.agree(computed, &format!("approved drafts, rho {correlation}, k {k}"));
    }
}
