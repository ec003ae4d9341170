//! What the gateway adds, beside nginx, in one run: `cargo bench --bench end_to_end`.
//!
//! Every process is separate and on loopback: the sandbox as the provider, nginx as a reverse proxy to it, the gateway's
//! native pass-through, priced and booked, the gateway with planning, limits, ledger, image store and metrics on, and this load generator. CPU is read from the kernel's
//! account of each process; latency is taken from the moment at which a request was due. Set `TOLLGATE_BIN` to measure
//! another binary than the one built here.
//!
//! Leave five minutes between two runs: ext4 passes over inodes that were freed within that time, and the search for
//! others would count as the gateway's CPU.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unused_self,
    reason = "a bench stops at the first surprise"
)]

mod load;
mod stage;

use std::time::Duration;

use load::{Load, Shot};
use stage::{Peer, Stage};

const CALLERS: usize = 32;
const RATE: u32 = 500;
/// Odd.
const ROUNDS: usize = 3;

fn main() {
    // `cargo test --benches` asks only whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(Duration::from_secs(seconds)));
}

async fn run(span: Duration) {
    let stage = Stage::open().await;
    // First: what the large pictures leave for the disk to write must not stand in the way of anybody's time.
    latency(&stage, span);
    println!(
        "\nCPU per request, {CALLERS} callers, {} s each (user + system, all of the peer's processes)\n",
        span.as_secs()
    );
    println!("{:<44} {:>10} {:>9} {:>7} {:>8}", "", "CPU µs", "req/s", "ratio", "target");
    for (size, direct, generate) in [
        ("2 KiB image", stage.small_direct(), stage.small_generate()),
        ("1 MiB image", stage.large_direct(), stage.large_generate()),
    ] {
        let small = size.starts_with('2');
        let nginx = cpu(&stage.nginx, &direct, span).await;
        row(&format!("nginx, {size}"), nginx, nginx.micros, "");
        let native = cpu_at(&stage.process, stage.process.native, &stage.native(&direct), span).await;
        row(
            &format!("tollgate, native pass-through, {size}"),
            native,
            nginx.micros,
            if small { "<= 2.5" } else { "<= 1" },
        );
        let gateway = cpu(&stage.process, &generate, span).await;
        row(&format!("tollgate /generate, {size}"), gateway, nginx.micros, if small { "<= 6" } else { "<= 3" });
        if small {
            let joins = cpu(&stage.process, &stage.small_joined(), span).await;
            row("tollgate, joined flights", joins, nginx.micros, "<= 2");
            let replays = cpu(&stage.process, &stage.small_replayed().await, span).await;
            row("tollgate, replayed keys", replays, nginx.micros, "<= 2");
        } else {
            let raw = cpu(&stage.process, &stage.large_raw(), span).await;
            row("tollgate /generate, 1 MiB as raw bytes", raw, nginx.micros, "");
        }
    }
    memory(&stage).await;
}

#[derive(Clone, Copy)]
struct Cost {
    micros: f64,
    rate: f64,
}

fn row(name: &str, cost: Cost, nginx: f64, target: &str) {
    println!("{name:<44} {:>10.1} {:>9.0} {:>7.2} {target:>8}", cost.micros, cost.rate, cost.micros / nginx);
}

async fn cpu(peer: &Peer, shot: &Shot, span: Duration) -> Cost {
    cpu_at(peer, Some(peer.address), shot, span).await
}

/// At one of the peer's addresses.
async fn cpu_at(peer: &Peer, address: Option<std::net::SocketAddr>, shot: &Shot, span: Duration) -> Cost {
    let address = address.expect("an address");
    Load::closed(address, shot, CALLERS, span / 4).await;
    let before = peer.cpu();
    let done = Load::closed(address, shot, CALLERS, span).await;
    let used = peer.cpu().saturating_sub(before);
    assert!(done.failed == 0, "{} of {} requests failed: {}", done.failed, done.count, done.sample);
    Cost { micros: used.as_secs_f64() * 1e6 / done.count as f64, rate: done.count as f64 / span.as_secs_f64() }
}

async fn memory(stage: &Stage) {
    let peer = stage.fresh();
    let idle = peer.peak_memory();
    let shot = stage.large_generate();
    let done = Load::closed(peer.address, &shot, CALLERS, Duration::from_secs(4)).await;
    let (peak, in_flight) = (peer.peak_memory(), CALLERS as f64 * done.image_bytes);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!(
        "\npeak memory, {CALLERS} x 1 MiB in flight: {:.0} MiB (idle {:.0}); images in flight {:.0} MiB; target 3x + 60 = {:.0} MiB",
        mib(peak),
        mib(idle),
        mib(in_flight),
        3.0 * mib(in_flight) + 60.0
    );
}

/// The median of a few rounds: each peer is asked in turn, so that a bad second of the machine is nobody's.
fn latency(stage: &Stage, span: Duration) {
    println!("latency at {RATE} requests/s, 2 KiB image, from the moment each was due, median of {ROUNDS} rounds\n");
    println!("{:<44} {:>9} {:>9} {:>11} {:>11}", "", "p50 ms", "p99 ms", "added p50", "added p99");
    let peers = [
        ("sandbox, direct", &stage.sandbox, stage.small_direct()),
        ("nginx", &stage.nginx, stage.small_direct()),
        ("tollgate, durability = \"process\"", &stage.process, stage.small_generate()),
        ("tollgate, durability = \"power\"", &stage.power, stage.small_generate()),
    ];
    let ask = |(name, peer, shot): &(&str, &Peer, Shot), span| {
        let done = Load::open(peer.address, shot, RATE, span);
        assert!(done.failed == 0, "{name}: {} failed: {}", done.failed, done.sample);
        (done.percentile(0.5), done.percentile(0.99))
    };
    // Connections, caches and files are made once.
    for peer in &peers {
        ask(peer, span / 4);
    }
    let rounds: Vec<Vec<_>> = (0..ROUNDS).map(|_| peers.iter().map(|peer| ask(peer, span)).collect()).collect();
    let median = |at: usize, of: fn(&(f64, f64)) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(|round| of(&round[at])).collect();
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 2]
    };
    let (base50, base99) = (median(0, |(p50, _)| *p50), median(0, |(_, p99)| *p99));
    for (at, (name, ..)) in peers.iter().enumerate() {
        let (p50, p99) = (median(at, |(p50, _)| *p50), median(at, |(_, p99)| *p99));
        println!("{name:<44} {p50:>9.2} {p99:>9.2} {:>11.2} {:>11.2}", p50 - base50, p99 - base99);
    }
    println!("\ntargets: process p50 <= 0.4 and p99 <= 2 ms added; power p50 <= 4 ms added");
}
