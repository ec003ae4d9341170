//! The limits port: what every implementation must do.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tollgate::domain::money::Money;
use tollgate::domain::quota::{Allowance, Cost, Degrade, Limit, LimitUnit, Mode};
use tollgate::state::limits::{Clock, Left, LocalLimits, NEVER, RedisLimits};
use tollgate::state::redis::{Redis, State};
use tollgate::state::{Draw, Limits, Permit, Wait};

use crate::samples::at;
use crate::server::RedisServer;

pub(crate) fn window(name: &str, unit: LimitUnit, units: u64, per: Duration, burst: u64) -> Limit {
    Limit { name: name.into(), unit, units, per, burst, mode: Mode::Enforce, degrade: Degrade::Local }
}

pub(crate) fn in_flight(name: &str, units: u64) -> Limit {
    window(name, LimitUnit::InFlight, units, Duration::ZERO, units)
}

fn later(millis: i64) -> Timestamp {
    at(millis * 1_000)
}

const SECOND: Duration = Duration::from_secs(1);

async fn draw(limits: &dyn Limits, draws: &[Draw<'_>], images: u32, now: Timestamp) -> Result<Permit, Wait> {
    limits.draw(draws, Cost::images(images), Duration::ZERO, now).await
}

fn wait(limits: &dyn Limits, draws: &[Draw<'_>], now: Timestamp) -> Duration {
    limits.wait(draws, Cost::images(1), now)
}

/// Name, units left and capacity.
fn left(limits: &dyn Limits, draw: &Draw<'_>, now: Timestamp) -> Vec<(String, f64, f64)> {
    let row = |left: Left| (left.name.to_string(), left.left, left.capacity);
    limits.left(draw, now).into_iter().map(row).collect()
}

async fn a_window_gives_its_burst_and_then_its_rate(limits: &dyn Limits) {
    let rate = [window("rate", LimitUnit::Requests, 2, SECOND, 3)];
    let draws = [Draw { owner: "p", limits: &rate }];
    for spare in [2.0, 1.0, 0.0] {
        assert_eq!(wait(limits, &draws, at(0)), Duration::ZERO);
        draw(limits, &draws, 1, at(0)).await.unwrap();
        assert_eq!(left(limits, &draws[0], at(0)), [("rate".to_owned(), spare, 3.0)]);
    }
    assert_eq!(draw(limits, &draws, 1, at(0)).await.unwrap_err(), Wait(SECOND / 2));
    assert_eq!(wait(limits, &draws, later(200)), Duration::from_millis(300));
    draw(limits, &draws, 1, later(500)).await.unwrap();
    assert!(draw(limits, &draws, 1, later(500)).await.is_err());
    assert_eq!(left(limits, &draws[0], later(60_000))[0].1, 3.0);
}

async fn images_draw_their_number_and_never_more_than_a_burst(limits: &dyn Limits) {
    let rate = [window("images", LimitUnit::Images, 60, Duration::from_mins(1), 4)];
    let draws = [Draw { owner: "p", limits: &rate }];
    assert_eq!(draw(limits, &draws, 5, at(0)).await.unwrap_err(), Wait(NEVER));
    draw(limits, &draws, 3, at(0)).await.unwrap();
    assert_eq!(left(limits, &draws[0], at(0))[0].1, 1.0);
    assert_eq!(draw(limits, &draws, 3, at(0)).await.unwrap_err(), Wait(2 * SECOND));
    draw(limits, &draws, 1, at(0)).await.unwrap();
}

async fn pixels_and_dollars_are_measured(limits: &dyn Limits) {
    let rates = [
        window("pixels", LimitUnit::Megapixels, 10_000_000, SECOND, 4_000_000),
        window("money", LimitUnit::Usd, 36_000_000, Duration::from_hours(1), 500_000),
    ];
    let draws = [Draw { owner: "p", limits: &rates }];
    let cost = |pixels, micros| Cost { images: 1, pixels, usd: Money::from_micros(micros) };
    let take = async |cost, now| limits.draw(&draws, cost, Duration::ZERO, now).await.map(drop);
    take(cost(1_048_576, 35_000), at(0)).await.unwrap();
    take(cost(2_000_000, 0), at(0)).await.unwrap();
    assert_eq!(take(cost(2_000_000, 0), at(0)).await.unwrap_err(), Wait(Duration::from_nanos(104_858_000)));
    take(cost(0, 465_000), at(0)).await.unwrap();
    // A cent a second comes back.
    assert_eq!(take(cost(0, 20_000), at(0)).await.unwrap_err(), Wait(2 * SECOND));
    let spare = limits.left(&draws[0], later(1_000));
    assert_eq!((spare[0].left, spare[1].left), (4.0, 0.01));
    assert_eq!(take(cost(0, 500_001), later(3_600_000)).await.unwrap_err(), Wait(NEVER));
}

async fn a_draw_takes_from_all_or_from_none(limits: &dyn Limits) {
    let wide = [window("wide", LimitUnit::Requests, 100, SECOND, 100), in_flight("slots", 9)];
    let narrow = [window("narrow", LimitUnit::Requests, 1, SECOND, 1)];
    let draws = [Draw { owner: "provider", limits: &wide }, Draw { owner: "provider/model", limits: &narrow }];
    let permit = draw(limits, &draws, 1, at(0)).await.unwrap();
    for _ in 0..50 {
        assert!(draw(limits, &draws, 1, at(0)).await.is_err());
    }
    let spare = |limits: &dyn Limits| left(limits, &draws[0], at(0)).into_iter().map(|l| l.1).collect::<Vec<_>>();
    assert_eq!(spare(limits), [99.0, 8.0]);
    drop(permit);
    assert_eq!(spare(limits), [99.0, 9.0]);
}

async fn calls_in_flight_come_back_on_drop(limits: &dyn Limits) {
    let slots = [in_flight("slots", 2)];
    let draws = [Draw { owner: "p", limits: &slots }];
    let first = draw(limits, &draws, 8, at(0)).await.unwrap();
    let second = draw(limits, &draws, 1, at(0)).await.unwrap();
    assert!(draw(limits, &draws, 1, at(0)).await.is_err());
    assert!(wait(limits, &draws, at(0)) > Duration::ZERO);
    drop(first);
    let third = draw(limits, &draws, 1, at(0)).await.unwrap();
    drop((second, third));
    assert_eq!(left(limits, &draws[0], at(0)), [("slots".to_owned(), 2.0, 2.0)]);
}

async fn patience_books_a_place_in_the_queue(limits: &dyn Limits) {
    let rate = [window("rate", LimitUnit::Requests, 10, SECOND, 1), in_flight("slots", 5)];
    let draws = [Draw { owner: "p", limits: &rate }];
    let book = |patience| limits.draw(&draws, Cost::images(1), patience, at(0));
    let mut held = Vec::new();
    for place in 0..4 {
        let permit = book(SECOND).await.unwrap();
        assert_eq!(permit.delay(), Duration::from_millis(100 * place));
        held.push(permit);
    }
    // The queue is as long as its wait says, and who will not stand so long takes nothing.
    assert_eq!(wait(limits, &draws, at(0)), Duration::from_millis(400));
    assert_eq!(book(Duration::from_millis(399)).await.unwrap_err(), Wait(Duration::from_millis(400)));
    held.push(book(Duration::from_millis(400)).await.unwrap());
    // Places in flight are not booked.
    assert!(book(SECOND).await.unwrap_err().0 < SECOND);
}

async fn a_limit_in_shadow_counts_and_denies_nothing(limits: &dyn Limits) {
    let shadow = Limit { mode: Mode::Shadow, ..window("trial", LimitUnit::Requests, 1, SECOND, 1) };
    let rate = [window("rate", LimitUnit::Requests, 10, SECOND, 3), shadow];
    let draws = [Draw { owner: "p", limits: &rate }];
    assert!(draw(limits, &draws, 1, at(0)).await.unwrap().over().is_empty());
    for _ in 0..2 {
        let permit = draw(limits, &draws, 1, at(0)).await.unwrap();
        assert_eq!(permit.over(), [Arc::from("trial")]);
    }
    assert_eq!(wait(limits, &draws, at(0)), Duration::from_millis(100), "only the other limit is waited for");
    assert!(
        draw(limits, &draws, 1, later(1_000)).await.unwrap().over().is_empty(),
        "what it would deny it does not count"
    );
}

async fn a_penalty_shuts_the_owner_until_it_ends(limits: &dyn Limits) {
    let none: [Limit; 0] = [];
    let (shunned, other) = (Draw { owner: "p", limits: &none }, Draw { owner: "q", limits: &none });
    limits.penalise("p", 10 * SECOND, at(0));
    // A shorter penalty does not shorten a longer one.
    limits.penalise("p", SECOND, at(0));
    assert_eq!(limits.shut("p", later(4_000)), 6 * SECOND);
    assert_eq!(wait(limits, std::slice::from_ref(&shunned), later(4_000)), 6 * SECOND);
    let both = [other.clone(), shunned.clone()];
    assert_eq!(draw(limits, &both, 1, later(9_999)).await.unwrap_err(), Wait(Duration::from_millis(1)));
    draw(limits, &[other], 1, at(0)).await.unwrap();
    draw(limits, &both, 1, later(10_000)).await.unwrap();
}

async fn a_provider_s_own_count_corrects_ours_downwards(limits: &dyn Limits) {
    let rate = [window("rate", LimitUnit::Requests, 60, Duration::from_mins(1), 60), in_flight("slots", 9)];
    let owner = Draw { owner: "p", limits: &rate };
    limits.correct(&owner, Allowance { left: 7, reset: 53 * SECOND }, at(0));
    assert_eq!(left(limits, &owner, at(0))[0].1, 7.0);
    limits.correct(&owner, Allowance { left: 50, reset: 10 * SECOND }, at(0));
    assert_eq!(left(limits, &owner, at(0))[0].1, 7.0, "never upwards: calls of ours may be on their way");
}

async fn a_reload_keeps_what_was_spent(limits: &dyn Limits) {
    let old = [window("rate", LimitUnit::Requests, 10, SECOND, 10), in_flight("slots", 3)];
    let mut permits = Vec::new();
    for _ in 0..3 {
        permits.push(draw(limits, &[Draw { owner: "p", limits: &old }], 1, at(0)).await.unwrap());
    }
    // Another order, another pace, another size: three are spent and three fly.
    let new = [in_flight("slots", 4), window("rate", LimitUnit::Requests, 1, SECOND, 5)];
    let after = [Draw { owner: "p", limits: &new }];
    assert_eq!(left(limits, &after[0], at(0)), [("slots".to_owned(), 1.0, 4.0), ("rate".to_owned(), 2.0, 5.0)]);
    permits.push(draw(limits, &after, 1, at(0)).await.unwrap());
    assert_eq!(left(limits, &after[0], at(0))[1].1, 1.0);
    drop(permits);
    assert_eq!(left(limits, &after[0], at(0))[0].1, 4.0);
    assert_eq!(left(limits, &after[0], later(4_000))[1].1, 5.0);
}

async fn a_clock_set_back_keeps_what_is_owed_and_no_more(limits: &dyn Limits) {
    let rate = [window("rate", LimitUnit::Requests, 1, SECOND, 2)];
    let draws = [Draw { owner: "p", limits: &rate }];
    draw(limits, &draws, 1, later(3_600_000)).await.unwrap();
    draw(limits, &draws, 1, later(3_600_000)).await.unwrap();
    assert_eq!(draw(limits, &draws, 1, at(0)).await.unwrap_err(), Wait(SECOND));
    draw(limits, &draws, 1, later(1_000)).await.unwrap();
}

/// A call of a random history: how long after the last, how many images, how long it would wait, and whether an earlier
/// permit ends first.
type Event = (u64, u32, u64, bool);

#[derive(Clone, Debug)]
struct History {
    rates: Vec<(u64, u64, u64)>,
    slots: u64,
    events: Vec<Event>,
}

fn histories() -> impl Strategy<Value = History> {
    let rate = (1..50u64, 1..5_000_000u64, 1..12u64);
    let patience = prop_oneof![Just(0), 0..2_000_000u64];
    let event = (0..300_000u64, 1..5u32, patience, any::<bool>());
    (prop::collection::vec(rate, 1..4), 1..6u64, prop::collection::vec(event, 1..120))
        .prop_map(|(rates, slots, events)| History { rates, slots, events })
}

fn windows(history: &History) -> Vec<Limit> {
    let limit = |(n, (units, per, burst)): (usize, &(u64, u64, u64))| {
        let unit = if n % 2 == 0 { LimitUnit::Images } else { LimitUnit::Requests };
        window(&format!("w{n}"), unit, *units, Duration::from_micros(*per), *burst)
    };
    history.rates.iter().enumerate().map(limit).collect()
}

/// The longest call of a history, in microseconds: shorter than a lease, which a clock that leaps does not renew.
const FLIGHT: u64 = 10_000_000;

/// In every stretch of any history, a window admits at most its burst and what its rate gives; a refusal takes nothing;
/// and after the wait that it names there is room. Gives every decision: the delay, or the wait.
async fn decisions(limits: &dyn Limits, history: &History) -> Vec<Result<Duration, Duration>> {
    let windows = windows(history);
    let slots = [in_flight("slots", history.slots)];
    let draws = [Draw { owner: "p", limits: &slots }, Draw { owner: "p/model", limits: &windows }];
    let (mut now, mut admitted, mut flying) = (0u64, Vec::new(), std::collections::VecDeque::new());
    let mut told = Vec::new();
    for &(pause, images, patience, lands) in &history.events {
        now += pause;
        if lands {
            flying.pop_front();
        }
        flying.retain(|(since, _)| now - since < FLIGHT);
        let moment = instant(now);
        let before = (limits.left(&draws[0], moment), limits.left(&draws[1], moment));
        match limits.draw(&draws, Cost::images(images), Duration::from_micros(patience), moment).await {
            Ok(permit) => {
                assert!(permit.delay() <= Duration::from_micros(patience));
                admitted.push((now + micros(permit.delay()), images));
                told.push(Ok(permit.delay()));
                flying.push_back((now, permit));
            }
            Err(Wait(wait)) => {
                assert!(wait > Duration::from_micros(patience) || flying.len() == slots[0].units as usize);
                assert_eq!((limits.left(&draws[0], moment), limits.left(&draws[1], moment)), before);
                told.push(Err(wait));
                if flying.len() < slots[0].units as usize && wait < NEVER {
                    now += micros(wait);
                    flying.retain(|(since, _)| now - since < FLIGHT);
                    flying.push_back((now, draw(limits, &draws, images, instant(now)).await.unwrap()));
                    admitted.push((now, images));
                }
            }
        }
        assert!(flying.len() <= slots[0].units as usize);
    }
    admitted.sort_unstable();
    for limit in &windows {
        within_the_rate(limit, &admitted);
    }
    told
}

fn micros(time: Duration) -> u64 {
    assert_eq!(time.subsec_nanos() % 1_000, 0);
    u64::try_from(time.as_micros()).unwrap()
}

fn instant(micros: u64) -> Timestamp {
    at(0) + SignedDuration::from_micros(i64::try_from(micros).unwrap())
}

fn within_the_rate(limit: &Limit, admitted: &[(u64, u32)]) {
    let per = limit.per.as_micros();
    for (first, (start, _)) in admitted.iter().enumerate() {
        let mut drawn = 0u128;
        for (end, images) in &admitted[first..] {
            drawn += u128::from(limit.cost(Cost::images(*images)));
            let allowed = u128::from(limit.burst) * per + u128::from(limit.units) * u128::from(end - start);
            assert!(drawn * per <= allowed, "{limit:?}: {drawn} units in {} µs", end - start);
        }
    }
}

/// Everything that an implementation stands on, and the implementation.
struct InRedis {
    limits: RedisLimits,
    _server: Arc<RedisServer>,
}

impl InRedis {
    async fn on(server: Arc<RedisServer>) -> Self {
        let redis = Redis::open(&server.url()).unwrap();
        assert_eq!(redis.settled().await, State::Up);
        Self { limits: RedisLimits::new(redis, Clock::Caller), _server: server }
    }

    async fn new() -> Self {
        Self::on(Arc::new(RedisServer::start())).await
    }
}

impl AsRef<dyn Limits> for InRedis {
    fn as_ref(&self) -> &(dyn Limits + 'static) {
        &self.limits
    }
}

struct InProcess(LocalLimits);

impl InProcess {
    async fn new() -> Self {
        Self(LocalLimits::new())
    }
}

impl AsRef<dyn Limits> for InProcess {
    fn as_ref(&self) -> &(dyn Limits + 'static) {
        &self.0
    }
}

macro_rules! suite {
    ($implementation:ident: $limits:ident => $($case:ident)*) => {
        mod $implementation {
            use super::*;

            $(
                #[tokio::test]
                async fn $case() {
                    super::$case($limits::new().await.as_ref()).await;
                }
            )*
        }
    };
}

macro_rules! implementations {
    ($($implementation:ident: $limits:ident;)*) => {
        $(suite!($implementation: $limits =>
            a_window_gives_its_burst_and_then_its_rate
            images_draw_their_number_and_never_more_than_a_burst
            pixels_and_dollars_are_measured
            a_draw_takes_from_all_or_from_none
            calls_in_flight_come_back_on_drop
            patience_books_a_place_in_the_queue
            a_limit_in_shadow_counts_and_denies_nothing
            a_penalty_shuts_the_owner_until_it_ends
            a_provider_s_own_count_corrects_ours_downwards
            a_reload_keeps_what_was_spent
            a_clock_set_back_keeps_what_is_owed_and_no_more
        );)*
    };
}

// The table of implementations.
implementations! {
    local: InProcess;
    redis: InRedis;
}

/// Any history is admitted within its limits by both implementations, and by both alike, decision by decision.
#[test]
fn equal_histories_are_decided_equally_and_within_the_rate() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Arc::new(RedisServer::start());
    let config = ProptestConfig { cases: 96, ..ProptestConfig::default() };
    proptest!(config, |(history in histories())| {
        let (local, redis) = runtime.block_on(async {
            server.cli(&["FLUSHALL"]);
            let redis = InRedis::on(Arc::clone(&server)).await;
            (decisions(&LocalLimits::new(), &history).await, decisions(redis.as_ref(), &history).await)
        });
        prop_assert_eq!(local, redis);
    });
}

/// Threads that draw at once from one bucket get its burst between them and no more.
#[test]
fn threads_share_one_burst() {
    let limits = Arc::new(LocalLimits::new());
    let rate = [window("rate", LimitUnit::Requests, 1, SECOND, 500), in_flight("slots", 300)];
    let admitted: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    let draws = [Draw { owner: "p", limits: &rate }];
                    let drawn = |_: &i32| runtime.block_on(draw(&*limits, &draws, 1, at(0))).ok();
                    (0..200).filter_map(|n| drawn(&n)).collect::<Vec<_>>()
                })
            })
            .collect();
        let permits: Vec<Vec<Permit>> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        permits.iter().map(Vec::len).sum()
    });
    assert_eq!(admitted, 300);
    let draws = Draw { owner: "p", limits: &rate };
    let spare: Vec<_> = left(&*limits, &draws, at(0)).into_iter().map(|row| row.1).collect();
    assert_eq!(spare, [200.0, 300.0]);
}
