//! How long planning takes, all reasons included. Run: `cargo bench --bench plan`.
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a market that cannot be made up stops the bench, which measures real time"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tollgate::domain::plan::explain::explain;
use tollgate::domain::plan::plan;
use tollgate::domain::quality::{ArmPrior, Estimator, Heard, Reading, Settings};

#[path = "../tests/support/market.rs"]
mod market;

fn planning(criterion: &mut Criterion) {
    for (name, generators, upscalers, side, is_checked) in [
        ("12 models", 12, 0, 512, false),
        ("12 models, checked", 12, 0, 512, true),
        ("12 models x 3 upscalers, 2048 px", 12, 3, 2048, false),
        ("40 models x 8 upscalers, 512 px", 40, 8, 512, false),
        ("40 models x 8 upscalers, 512 px, checked", 40, 8, 512, true),
        ("40 models x 8 upscalers, 2048 px, checked", 40, 8, 2048, true),
    ] {
        let market = market::many(generators, upscalers);
        let catalog = if is_checked { market::checked(market, 0.8, 0.1) } else { market };
        let (view, request) = (market::view(&catalog), market::request(side, 0.4));
        criterion.bench_function(&format!("plan {name}"), |bencher| {
            bencher.iter(|| plan(black_box(&request), black_box(&catalog), black_box(&view), market::TODAY));
        });
        let planned = plan(&request, &catalog, &view, market::TODAY);
        criterion.bench_function(&format!("explain {name}"), |bencher| {
            bencher.iter(|| explain(black_box(&planned), &request, &catalog, &view));
        });
    }
}

/// A request from its words to its plan, as the live gateway makes it once it has heard verdicts: the prompt is read,
/// every model's acceptance is looked up, every plan is ranked. The slowest one in a hundred is what counts.
fn learned(criterion: &mut Criterion) {
    let catalog = market::many(5, 3);
    let (request, quiet) = (market::request(2048, 0.1), market::view(&catalog));
    let priors = catalog.models.iter().map(|_| ArmPrior::flat(0.6, 6.0, 20.0, 1));
    let mut estimator = Estimator::new(Settings { tasks: 1, half_life: 1_000.0 }, priors);
    let prompt = request.ask.prompt.as_str();
    for verdict in 0..2_000u16 {
        let Reading { category, signs } = Reading::of(&format!("{prompt} number {verdict}"));
        let (arm, accepted) = (verdict % 5, verdict % 3 != 0);
        estimator.hear(Heard { arm, task: 0, category: Some(category), signs: &signs, accepted, weight: 1.0 });
    }
    let whole = || {
        let Reading { category, signs } = Reading::of(black_box(prompt));
        let mut view = quiet.clone();
        for (arm, seen) in (0u16..).zip(&mut view.models) {
            seen.accept = estimator.believe(arm, 0, Some(category), &signs).optimistic(0.0);
        }
        plan(black_box(&request), black_box(&catalog), &view, market::TODAY)
    };
    criterion.bench_function("plan 5 models, 3 upscalers, 20 plans, learned", |bencher| bencher.iter(whole));
    let mut times: Vec<Duration> = (0..20_000)
        .map(|_| {
            let begun = Instant::now();
            black_box(whole());
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!("{} plans: p50 {:?}, p99 {:?} (at most 20 µs)", whole().candidates.len(), at(50), at(99));
}

criterion_group!(benches, planning, learned);
criterion_main!(benches);
