//! How long planning takes, all reasons included. Run: `cargo bench --bench plan`.
#![expect(clippy::expect_used, reason = "a market that cannot be made up stops the bench")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tollgate::domain::plan::explain::explain;
use tollgate::domain::plan::plan;

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

criterion_group!(benches, planning);
criterion_main!(benches);
