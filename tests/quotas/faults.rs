//! Redis taken away in every way that it goes: limits go on, in time and in bounds, and come back by themselves.
//!
//! Each test prints one row: the fault, answers given and answers later than 100 ms, p99, and what was admitted beyond burst
//! + rate × time in the worst stretch, against the bound that `state/limits` states.

use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tollgate::domain::quota::{Allowance, Cost, Degrade, Limit, LimitUnit};
use tollgate::state::limits::{Clock, Counting, RedisLimits};
use tollgate::state::redis::{Redis, State, Trouble};
use tollgate::state::{Draw, Limits as _};
use tollgate::telemetry::clock;

use crate::proxy::{Proxy, Toxic};
use crate::replicas::{BURST, LONG, RATE, REPLICAS, Replicas, limit};
use crate::server::RedisServer;

/// Before the fault, during it, and after it.
const STRETCH: Duration = Duration::from_millis(1_200);

/// One burst and half a second of what others drew unseen, and one call for each replica.
#[expect(clippy::cast_precision_loss, reason = "a handful")]
fn bound() -> f64 {
    BURST as f64 + RATE / 2.0 + REPLICAS as f64
}

fn apart(counting: Counting) -> bool {
    matches!(counting, Counting::Apart { .. })
}

fn together(counting: Counting) -> bool {
    matches!(counting, Counting::Together { replicas } if replicas as usize == REPLICAS)
}

/// Prints the row and holds it to its bounds. While the limit degrades locally, at least half of it must go on being used.
async fn held(id: &str, replicas: Replicas, began: Instant) {
    let account = replicas.account(began).await;
    let allowed = RATE * account.lasted.as_secs_f64();
    let used = account.admitted as f64 / allowed;
    println!(
        "{id}: {} answers, 0 failed, {} later than 100 ms, p99 {:.1} ms, worst {:.1} ms, over-admission {:.0} of at most \
         {:.0}, {:.0} % of the rate used",
        account.answers,
        account.late,
        account.p99.as_secs_f64() * 1e3,
        account.worst.as_secs_f64() * 1e3,
        account.over.max(0.0),
        bound(),
        used * 100.0
    );
    assert!(account.p99 < Duration::from_millis(100), "p99 {:?}", account.p99);
    assert!(account.over <= bound(), "{} beyond the limit, {} at most", account.over, bound());
    assert!(used > 0.5, "{used}");
}

async fn through(
    id: &str,
    mut server: RedisServer,
    breaks: impl FnOnce(&mut RedisServer),
    mends: impl FnOnce(&mut RedisServer),
) {
    let replicas = Replicas::start(&server.url(), Degrade::Local).await;
    let began = Instant::now();
    sleep(STRETCH).await;
    breaks(&mut server);
    replicas.until(apart).await;
    sleep(STRETCH).await;
    mends(&mut server);
    replicas.until(together).await;
    sleep(STRETCH).await;
    held(id, replicas, began).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_killed_and_empty_again() {
    through("R1 kill -9, restart empty", RedisServer::start(), RedisServer::kill, |server| server.restart(&[])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_paused() {
    through("R2 SIGSTOP", RedisServer::start(), |server| server.pause(), |server| server.resume()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_loading() {
    let server =
        RedisServer::with(&["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"]);
    server.cli(&["DEBUG", "POPULATE", "4000", "key", "200"]);
    let breaks = |server: &mut RedisServer| {
        assert_eq!(server.cli(&["SAVE"]), "OK");
        server.kill();
        server.restart(&["--key-load-delay", "1000"]);
    };
    // It ends loading by itself.
    through("R3 LOADING", server, breaks, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_read_only() {
    let breaks = |server: &mut RedisServer| assert_eq!(server.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    let mends = |server: &mut RedisServer| assert_eq!(server.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    through("R4 READONLY", RedisServer::start(), breaks, mends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_no_memory() {
    let breaks = |server: &mut RedisServer| assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    let mends = |server: &mut RedisServer| assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    through("R5 OOM", RedisServer::start(), breaks, mends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_busy() {
    let server = RedisServer::with(&["--busy-reply-threshold", "200"]);
    let port = server.address().port().to_string();
    let breaks = |_: &mut RedisServer| {
        let mut endless = Command::new("redis-cli");
        endless.args(["-p", &port, "EVAL", "while true do end", "0"]).stdin(Stdio::null()).stdout(Stdio::null());
        endless.stderr(Stdio::null()).spawn().unwrap();
    };
    let mends = |server: &mut RedisServer| assert_eq!(server.cli(&["SCRIPT", "KILL"]), "OK");
    through("R7 BUSY", server, breaks, mends).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_scripts_forgotten_under_load() {
    let server = RedisServer::start();
    let replicas = Replicas::start(&server.url(), Degrade::Local).await;
    let began = Instant::now();
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
        assert!(replicas.connections.iter().all(|redis| redis.state() == State::Up), "a forgotten script is no outage");
    }
    let account = replicas.account(began).await;
    // A caller hears of its place a little after it was given.
    let heard_late = RATE * account.worst.as_secs_f64();
    println!(
        "R10 SCRIPT FLUSH ×20: {} answers, 0 failed, p99 {:.1} ms, over-admission {:.1} of at most {heard_late:.1}",
        account.answers,
        account.p99.as_secs_f64() * 1e3,
        account.over.max(0.0)
    );
    assert!(account.over <= heard_late, "{} beyond the limit", account.over);
    assert!(account.p99 < Duration::from_millis(100), "{:?}", account.p99);
}

/// Through a bad way: late, cut to bytes, cut off in the middle of replies, half open. A reply is never another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_bad_way() {
    let server = RedisServer::start();
    for (toxic, away) in [
        (Toxic::Late(Duration::from_millis(200)), true),
        (Toxic::Sliced, false),
        (Toxic::Cut(700), true),
        (Toxic::HalfOpen, true),
    ] {
        server.cli(&["FLUSHALL"]);
        let proxy = Proxy::before(server.address()).await;
        let url = format!("redis://{}", proxy.address);
        let replicas = Replicas::start(&url, Degrade::Local).await;
        let began = Instant::now();
        sleep(STRETCH / 2).await;
        proxy.turn(toxic);
        let (echoes, wrong) = echoes(&replicas.connections[0], STRETCH).await;
        if away {
            replicas.until(apart).await;
        }
        proxy.turn(Toxic::Clean);
        replicas.until(together).await;
        println!("R12 {toxic:?}: {echoes} replies matched to their requests, {wrong} wrong");
        assert_eq!(wrong, 0);
        sleep(STRETCH / 2).await;
        held(&format!("R12 {toxic:?}"), replicas, began).await;
    }
}

/// Asks for different words at once, and counts answers that are another's.
async fn echoes(redis: &Redis, time: Duration) -> (usize, usize) {
    let (until, mut good, mut wrong) = (Instant::now() + time, 0, 0);
    let mut word = 0u64;
    while Instant::now() < until {
        let asked: Vec<String> = (0..8).map(|n| format!("{}", word + n)).collect();
        word += 8;
        let one = |text: &String| {
            let (redis, mut command) = (redis.clone(), redis::cmd("ECHO"));
            command.arg(text);
            async move { redis.ask::<String>(&command).await.ok() }
        };
        let answers = futures_util::future::join_all(asked.iter().map(one)).await;
        for (asked, answer) in asked.iter().zip(answers) {
            match answer {
                Some(answer) if answer == *asked => good += 1,
                Some(_) => wrong += 1,
                None => {}
            }
        }
        sleep(Duration::from_millis(3)).await;
    }
    (good, wrong)
}

/// While Redis is away, `refuse` lets nothing through and `open` everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_degrades_as_it_says() {
    for (degrade, flows) in [(Degrade::Refuse, false), (Degrade::Open, true)] {
        let mut server = RedisServer::start();
        let replicas = Replicas::start(&server.url(), degrade).await;
        server.kill();
        replicas.until(apart).await;
        let began = Instant::now();
        let Counting::Apart { trouble, replicas: last } = replicas.limits[0].counting() else { panic!("together") };
        assert_eq!((trouble, last), (Trouble::Unreachable, 3));
        let fresh = Replicas::admits(&replicas.limits[0], degrade).await;
        assert_eq!(fresh, flows, "{degrade:?}");
        let account = replicas.account(began).await;
        assert!(account.worst < Duration::from_millis(100), "{:?}", account.worst);
    }
}

/// What a provider told one replica, the others know: its lock, and what is left of its limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_s_word_reaches_every_replica() {
    let server = RedisServer::start();
    let (one, two) = (lone(&server, Clock::Server).await, lone(&server, Clock::Server).await);
    let limits = [limit(Degrade::Local)];
    let draw = Draw { owner: "stability", limits: &limits };
    assert_eq!(two.wait(std::slice::from_ref(&draw), Cost::images(1), clock::now()), Duration::ZERO);
    one.correct(&draw, Allowance { left: 3, reset: Duration::from_secs(9) }, clock::now());
    // More comes back every five milliseconds, so that it is seen soon or not at all: the lock is what lasts.
    one.penalise("stability", Duration::from_mins(1), clock::now());
    let began = Instant::now();
    while two.shut("stability", clock::now()) < Duration::from_secs(50) {
        assert!(began.elapsed() < LONG);
        sleep(Duration::from_millis(5)).await;
    }
    println!("a lock of 60 s reached the other replica after {:?}", began.elapsed());
    let denied = two.draw(&[draw], Cost::images(1), Duration::ZERO, clock::now()).await.unwrap_err();
    assert!(denied.0 > Duration::from_secs(50), "{denied:?}");
}

/// A replica that dies keeps its places in flight until their lease ends, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_replica_s_places_lapse() {
    let server = RedisServer::start();
    let (dies, lives) = (lone(&server, Clock::Caller).await, lone(&server, Clock::Caller).await);
    let limits = [Limit { unit: LimitUnit::InFlight, units: 1, ..limit(Degrade::Local) }];
    let draws = [Draw { owner: "ideogram", limits: &limits }];
    let at = |second: i64| Timestamp::from_second(1_795_000_000 + second).unwrap();
    let take =
        async |from: &RedisLimits, second: i64| from.draw(&draws, Cost::images(1), Duration::ZERO, at(second)).await;
    std::mem::forget(take(&dies, 0).await.unwrap());
    drop(dies);
    assert!(take(&lives, 20).await.is_err());
    let permit = take(&lives, 31).await.unwrap();
    assert!(take(&lives, 32).await.is_err());
    drop(permit);
    assert!(take(&lives, 33).await.is_ok());
}

async fn lone(server: &RedisServer, clock: Clock) -> RedisLimits {
    let redis = Redis::open(&server.url()).unwrap();
    assert_eq!(redis.settled().await, State::Up);
    RedisLimits::new(redis, clock)
}
