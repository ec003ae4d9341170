//! What the gateway adds, beside nginx, in one run: `cargo bench --bench end_to_end`.
//!
//! Every process is separate and on loopback: the sandbox as the provider; nginx and a bare Pingora as reverse proxies to
//! it; the gateway's native pass-through, priced and booked; the gateway with planning, limits, ledger, image store and
//! metrics on; and this load generator. What is measured has one core to itself, sandbox and load have the other, unless
//! `BENCH_CORES=all` lets the kernel choose. CPU is read from the kernel's account of each process; latency is taken from
//! the moment at which a request was due. `-- latency`, `-- cpu` or `-- memory` runs that part alone. Set `TOLLGATE_BIN` to
//! measure another binary than the one built here.
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

mod bare;
mod load;
mod stage;

use std::net::SocketAddr;
use std::time::Duration;

use load::{Load, Shot};
use stage::{Peer, Stage};

const PARTS: [&str; 3] = ["latency", "cpu", "memory"];
const CALLERS: usize = 32;
const RATE: u32 = 500;
/// Odd.
const ROUNDS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    // `cargo test --benches` asks only whether it starts.
    if args.iter().any(|arg| arg == "--test") {
        return;
    }
    if let [_, flag, to] = args.as_slice()
        && flag == stage::BARE
    {
        return bare::serve(to.parse().expect("an address"));
    }
    let parts: Vec<&str> = args.iter().skip(1).map(String::as_str).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(other) = parts.iter().find(|part| !PARTS.contains(*part)) {
        return println!("end_to_end has no part `{other}`; its parts are {}", PARTS.join(", "));
    }
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(Duration::from_secs(seconds), &parts));
}

/// Runs these parts, or all when none is named.
async fn run(span: Duration, parts: &[&str]) {
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    let stage = Stage::open().await;
    // First: what the large pictures leave for the disk to write must not stand in the way of anybody's time.
    if wanted("latency") {
        latency(&stage, span);
    }
    if wanted("cpu") {
        costs(&stage, span).await;
    }
    if wanted("memory") {
        memory(&stage).await;
    }
}

/// CPU per request, as ratios to nginx.
async fn costs(stage: &Stage, span: Duration) {
    let (small, large) = (stage.small_direct(), stage.large_direct());
    let gateway = |name, shot, target| Row { name, peer: &stage.process, address: stage.process.address, shot, target };
    let native = |name, shot: &Shot, target| Row {
        address: stage.process.native.expect("a pass-through"),
        ..gateway(name, stage.native(shot), target)
    };
    println!(
        "\nCPU per request, {CALLERS} callers (user + system, all of the peer's processes): the median of {ROUNDS}"
    );
    println!("rounds in which each peer has its turn, and of their ratios to nginx, from the least to the greatest\n");
    println!("{:<44} {:>10} {:>9} {:>7} {:>14} {:>8}", "", "CPU µs", "req/s", "ratio", "of all rounds", "target");
    compare(
        &[
            plain("nginx, 2 KiB image", &stage.nginx, &small),
            plain("a bare Pingora, 2 KiB image", &stage.bare, &small),
            native("tollgate, native pass-through, 2 KiB image", &small, "<= 2.5"),
            gateway("tollgate /generate, 2 KiB image", stage.small_generate(), "<= 6"),
            gateway("tollgate, joined flights", stage.small_joined(), "<= 2"),
            gateway("tollgate, replayed keys", stage.small_replayed().await, "<= 2"),
        ],
        span,
    )
    .await;
    compare(
        &[
            plain("nginx, 1 MiB image", &stage.nginx, &large),
            plain("a bare Pingora, 1 MiB image", &stage.bare, &large),
            native("tollgate, native pass-through, 1 MiB image", &large, "<= 1"),
            gateway("tollgate /generate, 1 MiB image", stage.large_generate(), "<= 3"),
            gateway("tollgate /generate, 1 MiB as raw bytes", stage.large_raw(), ""),
        ],
        span,
    )
    .await;
}

#[derive(Clone, Copy)]
struct Cost {
    micros: f64,
    rate: f64,
}

/// What is asked of a peer.
struct Row<'a> {
    name: &'static str,
    peer: &'a Peer,
    address: SocketAddr,
    shot: Shot,
    target: &'static str,
}

/// A proxy that passes on what it is asked.
fn plain<'a>(name: &'static str, peer: &'a Peer, shot: &Shot) -> Row<'a> {
    Row { name, peer, address: peer.address, shot: shot.clone(), target: "" }
}

/// Every row in turn, round after round: a bad second of the machine is nobody's. The first row is what the others are
/// held against, each round by itself.
async fn compare(rows: &[Row<'_>], span: Duration) {
    for row in rows {
        Load::closed(row.address, &row.shot, CALLERS, span / 4).await;
    }
    let mut costs: Vec<Vec<Cost>> = rows.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (row, costs) in rows.iter().zip(&mut costs) {
            costs.push(cpu(row, span / 2).await);
        }
    }
    for (row, own) in rows.iter().zip(&costs) {
        let mut ratios: Vec<f64> = own.iter().zip(&costs[0]).map(|(own, first)| own.micros / first.micros).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{:<44} {:>10.1} {:>9.0} {:>7.2} {:>14} {:>8}",
            row.name,
            median(own, |cost| cost.micros),
            median(own, |cost| cost.rate),
            ratios[ROUNDS / 2],
            format!("{:.2}-{:.2}", ratios[0], ratios[ROUNDS - 1]),
            row.target
        );
    }
}

async fn cpu(row: &Row<'_>, span: Duration) -> Cost {
    let before = row.peer.cpu();
    let done = Load::closed(row.address, &row.shot, CALLERS, span).await;
    let used = row.peer.cpu().saturating_sub(before);
    assert!(done.failed == 0, "{}: {} of {} failed: {}", row.name, done.failed, done.count, done.sample);
    Cost { micros: used.as_secs_f64() * 1e6 / done.count as f64, rate: done.count as f64 / span.as_secs_f64() }
}

/// The middle one of [`ROUNDS`].
fn median<T>(rounds: &[T], of: impl Fn(&T) -> f64) -> f64 {
    let mut all: Vec<f64> = rounds.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[ROUNDS / 2]
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

/// The median of a few rounds, and of what each peer adds to the sandbox's time of the same round: each is asked in turn,
/// so that a bad second of the machine is nobody's.
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
    for (at, (name, ..)) in peers.iter().enumerate() {
        let (p50, p99) = (median(&rounds, |round| round[at].0), median(&rounds, |round| round[at].1));
        let added50 = median(&rounds, |round| round[at].0 - round[0].0);
        let added99 = median(&rounds, |round| round[at].1 - round[0].1);
        println!("{name:<44} {p50:>9.2} {p99:>9.2} {added50:>11.2} {added99:>11.2}");
    }
    println!("\ntargets: process p50 <= 0.4 and p99 <= 2 ms added; power p50 <= 4 ms added");
}
