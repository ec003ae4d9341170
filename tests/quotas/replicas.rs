//! Replicas that draw as fast as they can from one limit in one Redis, and what they were given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tollgate::domain::quota::{Cost, Degrade, Limit, LimitUnit, Mode};
use tollgate::state::limits::{Clock, Counting, RedisLimits};
use tollgate::state::redis::{Redis, State};
use tollgate::state::{Draw, Limits};
use tollgate::telemetry::clock;

/// Replicas.
pub(crate) const REPLICAS: usize = 3;
/// Requests a second, of all of them.
pub(crate) const RATE: f64 = 200.0;
/// Requests at once.
pub(crate) const BURST: u64 = 20;
/// Callers of each replica.
const CALLERS: usize = 4;
/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// The limit that all draw from.
pub(crate) fn limit(degrade: Degrade) -> Limit {
    let per = Duration::from_secs(1);
    Limit {
        name: "rate".into(),
        unit: LimitUnit::Requests,
        units: 200,
        per,
        burst: BURST,
        mode: Mode::Enforce,
        degrade,
    }
}

/// Replicas at work.
pub(crate) struct Replicas {
    pub(crate) limits: Vec<RedisLimits>,
    pub(crate) connections: Vec<Redis>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<Drawn>,
}

/// What one caller saw: when it was let through, and how long each answer took.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    admitted: Vec<Instant>,
    took: Vec<Duration>,
}

/// What a run came to.
pub(crate) struct Account {
    pub(crate) admitted: usize,
    pub(crate) lasted: Duration,
    pub(crate) p99: Duration,
    pub(crate) worst: Duration,
    /// Answers that took longer than 100 ms.
    pub(crate) late: usize,
    pub(crate) answers: usize,
    /// The most that was admitted beyond burst + rate × time in any stretch.
    pub(crate) over: f64,
}

impl Replicas {
    /// Starts them, each with a connection of its own to `url`, and waits until each counts all of them.
    pub(crate) async fn start(url: &str, degrade: Degrade) -> Self {
        let mut replicas =
            Self { limits: Vec::new(), connections: Vec::new(), stop: Arc::default(), callers: JoinSet::new() };
        for _ in 0..REPLICAS {
            let redis = Redis::open(url).unwrap();
            assert_eq!(timeout(LONG, redis.settled()).await.unwrap(), State::Up);
            replicas.limits.push(RedisLimits::new(redis.clone(), Clock::Server));
            replicas.connections.push(redis);
        }
        replicas.until(|counting| counting == Counting::Together { replicas: 3 }).await;
        for limits in &replicas.limits {
            for _ in 0..CALLERS {
                replicas.callers.spawn(call(limits.clone(), Arc::clone(&replicas.stop), degrade));
            }
        }
        replicas
    }

    /// Waits until every replica counts so.
    pub(crate) async fn until(&self, wanted: impl Fn(Counting) -> bool) {
        let began = Instant::now();
        while !self.limits.iter().all(|limits| wanted(limits.counting())) {
            assert!(began.elapsed() < LONG, "{:?}", self.limits[0].counting());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops them.
    pub(crate) async fn account(self, began: Instant) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        let drawn = self.callers.join_all().await;
        let lasted = began.elapsed();
        let mut admitted: Vec<Instant> = drawn.iter().flat_map(|drawn| drawn.admitted.iter().copied()).collect();
        let mut took: Vec<Duration> = drawn.iter().flat_map(|drawn| drawn.took.iter().copied()).collect();
        admitted.sort_unstable();
        took.sort_unstable();
        Account {
            admitted: admitted.len(),
            lasted,
            p99: took[took.len() * 99 / 100],
            worst: *took.last().unwrap(),
            late: took.iter().filter(|took| **took > Duration::from_millis(100)).count(),
            answers: took.len(),
            over: over(&admitted),
        }
    }
}

/// Beyond burst + rate × time, at most, in any stretch: the greatest gap between what came and what may.
fn over(admitted: &[Instant]) -> f64 {
    let Some(&start) = admitted.first() else { return 0.0 };
    // With f(i) = i − rate × tᵢ, a stretch from i to j admits j − i + 1; the least f so far gives the worst start.
    let (mut least, mut worst) = (f64::INFINITY, f64::NEG_INFINITY);
    for (at, moment) in admitted.iter().enumerate() {
        let ahead = at as f64 - RATE * (*moment - start).as_secs_f64();
        least = least.min(ahead);
        worst = worst.max(ahead - least + 1.0);
    }
    worst - BURST as f64
}

async fn call(limits: RedisLimits, stop: Arc<AtomicBool>, degrade: Degrade) -> Drawn {
    let limits_of = [limit(degrade)];
    let draws = [Draw { owner: "stability", limits: &limits_of }];
    let mut drawn = Drawn::default();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = limits.draw(&draws, Cost::images(1), Duration::ZERO, clock::now()).await;
        let now = Instant::now();
        drawn.took.push(now - began);
        match answer {
            Ok(_) => {
                drawn.admitted.push(now);
                // An open limit answers without a pause, and would keep the others from theirs.
                sleep(Duration::from_millis(1)).await;
            }
            Err(wait) => sleep(wait.0.clamp(Duration::from_millis(1), Duration::from_millis(10))).await,
        }
    }
    drawn
}

impl Replicas {
    /// Whether ten bursts in a row are let through.
    pub(crate) async fn admits(limits: &RedisLimits, degrade: Degrade) -> bool {
        let limits_of = [limit(degrade)];
        let draws = [Draw { owner: "other", limits: &limits_of }];
        for _ in 0..10 * BURST {
            if limits.draw(&draws, Cost::images(1), Duration::ZERO, clock::now()).await.is_err() {
                return false;
            }
        }
        true
    }
}
