//! The limits port: what every implementation must do.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tollgate::domain::quota::{Limit, LimitUnit};
use tollgate::state::limits::{LocalLimits, NEVER};
use tollgate::state::{Draw, Limits, Permit, Wait};

use crate::samples::at;

fn window(name: &str, unit: LimitUnit, units: u32, per: Duration, burst: u32) -> Limit {
    Limit { name: name.into(), unit, units, per, burst }
}

fn in_flight(name: &str, units: u32) -> Limit {
    Limit { name: name.into(), unit: LimitUnit::InFlight, units, per: Duration::ZERO, burst: units }
}

fn later(millis: i64) -> Timestamp {
    at(millis * 1_000)
}

const SECOND: Duration = Duration::from_secs(1);

async fn draw(limits: &dyn Limits, draws: &[Draw<'_>], images: u8, now: Timestamp) -> Result<Permit, Wait> {
    limits.draw(draws, images, now).await
}

async fn a_window_gives_its_burst_and_then_its_rate(limits: &dyn Limits) {
    let rate = [window("rate", LimitUnit::Requests, 2, SECOND, 3)];
    let draws = [Draw { owner: "p", limits: &rate }];
    for left in (0..3).rev() {
        assert_eq!(limits.wait(&draws, at(0)), Duration::ZERO);
        draw(limits, &draws, 1, at(0)).await.unwrap();
        assert_eq!(limits.left(&draws[0], at(0)), [("rate".into(), left, 3)]);
    }
    assert_eq!(draw(limits, &draws, 1, at(0)).await.unwrap_err(), Wait(SECOND / 2));
    assert_eq!(limits.wait(&draws, later(200)), Duration::from_millis(300));
    draw(limits, &draws, 1, later(500)).await.unwrap();
    assert!(draw(limits, &draws, 1, later(500)).await.is_err());
    assert_eq!(limits.left(&draws[0], later(60_000))[0].1, 3);
}

async fn images_draw_their_number_and_never_more_than_a_burst(limits: &dyn Limits) {
    let rate = [window("images", LimitUnit::Images, 60, Duration::from_mins(1), 4)];
    let draws = [Draw { owner: "p", limits: &rate }];
    assert_eq!(draw(limits, &draws, 5, at(0)).await.unwrap_err(), Wait(NEVER));
    draw(limits, &draws, 3, at(0)).await.unwrap();
    assert_eq!(limits.left(&draws[0], at(0))[0].1, 1);
    assert_eq!(draw(limits, &draws, 3, at(0)).await.unwrap_err(), Wait(2 * SECOND));
    draw(limits, &draws, 1, at(0)).await.unwrap();
}

async fn a_draw_takes_from_all_or_from_none(limits: &dyn Limits) {
    let wide = [window("wide", LimitUnit::Requests, 100, SECOND, 100), in_flight("slots", 9)];
    let narrow = [window("narrow", LimitUnit::Requests, 1, SECOND, 1)];
    let draws = [Draw { owner: "provider", limits: &wide }, Draw { owner: "model", limits: &narrow }];
    let permit = draw(limits, &draws, 1, at(0)).await.unwrap();
    for _ in 0..50 {
        assert!(draw(limits, &draws, 1, at(0)).await.is_err());
    }
    let left = |limits: &dyn Limits| limits.left(&draws[0], at(0)).into_iter().map(|l| l.1).collect::<Vec<_>>();
    assert_eq!(left(limits), [99, 8]);
    drop(permit);
    assert_eq!(left(limits), [99, 9]);
}

async fn calls_in_flight_come_back_on_drop(limits: &dyn Limits) {
    let slots = [in_flight("slots", 2)];
    let draws = [Draw { owner: "p", limits: &slots }];
    let first = draw(limits, &draws, 8, at(0)).await.unwrap();
    let second = draw(limits, &draws, 1, at(0)).await.unwrap();
    assert!(draw(limits, &draws, 1, at(0)).await.is_err());
    assert!(limits.wait(&draws, at(0)) > Duration::ZERO);
    drop(first);
    let third = draw(limits, &draws, 1, at(0)).await.unwrap();
    drop((second, third));
    assert_eq!(limits.left(&draws[0], at(0)), [("slots".into(), 2, 2)]);
}

async fn a_penalty_shuts_the_owner_until_it_ends(limits: &dyn Limits) {
    let none: [Limit; 0] = [];
    let (shunned, other) = (Draw { owner: "p", limits: &none }, Draw { owner: "q", limits: &none });
    limits.penalise("p", 10 * SECOND, at(0));
    // A shorter penalty does not shorten a longer one.
    limits.penalise("p", SECOND, at(0));
    assert_eq!(limits.wait(std::slice::from_ref(&shunned), later(4_000)), 6 * SECOND);
    let both = [other.clone(), shunned.clone()];
    assert_eq!(draw(limits, &both, 1, later(9_999)).await.unwrap_err(), Wait(Duration::from_millis(1)));
    draw(limits, &[other], 1, at(0)).await.unwrap();
    draw(limits, &both, 1, later(10_000)).await.unwrap();
}

async fn a_reload_keeps_what_was_spent(limits: &dyn Limits) {
    let old = [window("rate", LimitUnit::Requests, 10, SECOND, 10), in_flight("slots", 3)];
    let mut permits = Vec::new();
    for _ in 0..3 {
        permits.push(draw(limits, &[Draw { owner: "p", limits: &old }], 1, at(0)).await.unwrap());
    }
    // Another order, another pace, another size: three are spent and three fly.
    let new = [in_flight("slots", 4), window("rate", LimitUnit::Requests, 1, SECOND, 5)];
    let after = Draw { owner: "p", limits: &new };
    assert_eq!(limits.left(&after, at(0)), [("slots".into(), 1, 4), ("rate".into(), 2, 5)]);
    drop(permits);
    assert_eq!(limits.left(&after, at(0))[0].1, 4);
    assert_eq!(limits.left(&after, later(3_000))[1].1, 5);
}

async fn a_clock_set_back_costs_at_most_a_full_burst(limits: &dyn Limits) {
    let rate = [window("rate", LimitUnit::Requests, 1, SECOND, 2)];
    let draws = [Draw { owner: "p", limits: &rate }];
    draw(limits, &draws, 1, later(3_600_000)).await.unwrap();
    assert!(limits.wait(&draws, at(0)) <= 2 * SECOND);
}

/// A call of a random history: how long after the last, how many images, and whether an earlier permit ends first.
type Event = (u64, u8, bool);

#[derive(Clone, Debug)]
struct History {
    rates: Vec<(u32, u64, u32)>,
    slots: u32,
    events: Vec<Event>,
}

fn histories() -> impl Strategy<Value = History> {
    let rate = (1..50u32, 1..5_000_000_000u64, 1..12u32);
    let event = (0..300_000_000u64, 1..5u8, any::<bool>());
    (prop::collection::vec(rate, 1..4), 1..6u32, prop::collection::vec(event, 1..150))
        .prop_map(|(rates, slots, events)| History { rates, slots, events })
}

/// In every stretch of any history, a window admits at most its burst and what its rate gives; a refusal takes nothing;
/// and after the wait that it names there is room.
async fn no_history_is_over_admitted(limits: &dyn Limits, history: History) {
    let windows: Vec<Limit> = history
        .rates
        .iter()
        .enumerate()
        .map(|(n, (units, per, burst))| {
            let unit = if n % 2 == 0 { LimitUnit::Images } else { LimitUnit::Requests };
            window(&format!("w{n}"), unit, *units, Duration::from_nanos(*per), *burst)
        })
        .collect();
    let slots = [in_flight("slots", history.slots)];
    let draws = [Draw { owner: "model", limits: &windows }, Draw { owner: "provider", limits: &slots }];
    let (mut now, mut admitted, mut flying) = (0u64, Vec::new(), std::collections::VecDeque::new());
    for (pause, images, lands) in history.events {
        now += pause;
        if lands {
            flying.pop_front();
        }
        let moment = instant(now);
        let before = (limits.left(&draws[0], moment), limits.left(&draws[1], moment));
        match draw(limits, &draws, images, moment).await {
            Ok(permit) => {
                admitted.push((now, images));
                flying.push_back(permit);
            }
            Err(Wait(wait)) => {
                assert!(wait > Duration::ZERO);
                assert_eq!((limits.left(&draws[0], moment), limits.left(&draws[1], moment)), before);
                let full = flying.len() == history.slots as usize;
                if !full && wait < NEVER {
                    now += u64::try_from(wait.as_nanos()).unwrap();
                    flying.push_back(draw(limits, &draws, images, instant(now)).await.unwrap());
                    admitted.push((now, images));
                }
            }
        }
        assert!(flying.len() <= history.slots as usize);
    }
    for limit in &windows {
        within_the_rate(limit, &admitted);
    }
}

fn instant(nanos: u64) -> Timestamp {
    at(0) + SignedDuration::from_nanos(i64::try_from(nanos).unwrap())
}

fn within_the_rate(limit: &Limit, admitted: &[(u64, u8)]) {
    let per = limit.per.as_nanos();
    for (first, (start, _)) in admitted.iter().enumerate() {
        let mut drawn = 0u128;
        for (end, images) in &admitted[first..] {
            drawn += u128::from(limit.cost(*images));
            let allowed = u128::from(limit.burst) * per + u128::from(limit.units) * u128::from(end - start);
            assert!(drawn * per <= allowed, "{limit:?}: {drawn} units in {} ns", end - start);
        }
    }
}

macro_rules! suite {
    ($implementation:ident: $limits:expr => $($case:ident)*) => {
        mod $implementation {
            use super::*;

            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&$limits).await;
                }
            )*

            proptest! {
                #[test]
                fn no_history_is_over_admitted(history in histories()) {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(super::no_history_is_over_admitted(&$limits, history));
                }
            }
        }
    };
}

macro_rules! implementations {
    ($($implementation:ident: $limits:expr;)*) => {
        $(suite!($implementation: $limits =>
            a_window_gives_its_burst_and_then_its_rate
            images_draw_their_number_and_never_more_than_a_burst
            a_draw_takes_from_all_or_from_none
            calls_in_flight_come_back_on_drop
            a_penalty_shuts_the_owner_until_it_ends
            a_reload_keeps_what_was_spent
            a_clock_set_back_costs_at_most_a_full_burst
        );)*
    };
}

// The table of implementations.
implementations! {
    local: LocalLimits::new();
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
                    let drawn = |_: &i32| runtime.block_on(limits.draw(&draws, 1, at(0))).ok();
                    (0..200).filter_map(|n| drawn(&n)).collect::<Vec<_>>()
                })
            })
            .collect();
        let permits: Vec<Vec<Permit>> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        permits.iter().map(Vec::len).sum()
    });
    assert_eq!(admitted, 300);
    let draws = Draw { owner: "p", limits: &rate };
    assert_eq!(limits.left(&draws, at(0)), [("rate".into(), 200, 500), ("slots".into(), 300, 300)]);
}
