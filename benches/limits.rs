//! What a draw costs, in the process and with Redis on loopback: `cargo bench --bench limits`. Needs `redis-server`.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tollgate::domain::quota::{Cost, Degrade, Limit, LimitUnit, Mode};
use tollgate::state::limits::{Clock, LocalLimits, RedisLimits};
use tollgate::state::redis::{Redis, State};
use tollgate::state::{Draw, Limits};
use tollgate::telemetry::clock;

/// Draws of one caller.
const DRAWS: usize = 20_000;
/// The port of the bench's own server.
const PORT: &str = "16399";

fn main() {
    // `cargo test --benches` asks only whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for callers in [1, 64] {
            measure("governor", Arc::new(LocalLimits::new()), callers, None).await;
        }
        let server = Server::start();
        for callers in [1, 64] {
            let redis = server.connection().await;
            measure("redis", Arc::new(RedisLimits::new(redis.clone(), Clock::Server)), callers, Some(redis)).await;
        }
    });
}

/// A provider's three limits and a model's one: a call of the shipped policy at its fullest.
fn limits() -> ([Limit; 3], [Limit; 1]) {
    let limit = |name: &str, unit, units| Limit {
        name: name.into(),
        unit,
        units,
        per: Duration::from_secs(1),
        burst: units,
        mode: Mode::Enforce,
        degrade: Degrade::Local,
    };
    let many = 1_000_000_000;
    let provider = [
        limit("rate", LimitUnit::Requests, many),
        limit("money", LimitUnit::Usd, many),
        limit("day", LimitUnit::Images, many),
    ];
    (provider, [limit("model", LimitUnit::Images, many)])
}

async fn measure(name: &str, limits_of: Arc<dyn Limits>, callers: usize, redis: Option<Redis>) {
    let each = DRAWS / callers.min(16);
    let (before, began, sent) = (cpu(), Instant::now(), redis.as_ref().map_or(0, Redis::round_trips));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let limits_of = Arc::clone(&limits_of);
        tasks.spawn(async move {
            let (provider, model) = limits();
            let draws =
                [Draw { owner: "stability", limits: &provider }, Draw { owner: "stability/ultra", limits: &model }];
            let mut times = Vec::with_capacity(each);
            for _ in 0..each {
                let began = Instant::now();
                let drawn = limits_of.draw(&draws, Cost::images(1), Duration::from_secs(1), clock::now()).await;
                times.push(began.elapsed());
                drop(drawn.expect("room"));
                tokio::task::coop::consume_budget().await;
            }
            times
        });
    }
    let mut times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    let (took, cpu) = (began.elapsed(), cpu().saturating_sub(before));
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default().as_secs_f64() * 1e6;
    let count = f64::from(u32::try_from(times.len()).unwrap());
    println!(
        "{name}, {callers} callers: p50 {:.1} µs, p99 {:.1} µs, {:.0} draws/s, {:.2} µs of CPU a draw",
        at(50),
        at(99),
        count / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count
    );
    if let Some(redis) = redis {
        let trips = f64::from(u32::try_from(redis.round_trips() - sent).unwrap()) / count;
        println!("{name}, {callers} callers: {trips:.3} round trips a draw, the look around every 0.4 s included");
    }
}

struct Server(Child);

impl Server {
    fn start() -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--port", PORT, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("redis-server"))
    }

    async fn connection(&self) -> Redis {
        loop {
            let redis = Redis::open(&format!("redis://127.0.0.1:{PORT}")).expect("an address");
            if redis.settled().await == State::Up {
                return redis;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU that this process has used.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let nanos = |stat: String| stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(tasks.map(|task| nanos(read(task))).sum())
}
