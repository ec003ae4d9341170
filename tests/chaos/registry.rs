//! Randomised interleavings of the flight registry: every operation of it is one step under one lock, so a schedule of
//! operations is a schedule of threads.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tollgate::domain::fingerprint::Fingerprint;
use tollgate::state::flights::{Flights, Joined, Landing, Lead, Seat};

use crate::number;

struct Flying {
    key: usize,
    lead: Option<Lead<u64>>,
    seat: Option<Seat<u64>>,
    departed: bool,
    followers: usize,
    value: u64,
}

struct Waiting {
    flight: u64,
    landing: Landing<u64>,
}

/// What one schedule has seen.
#[derive(Default)]
struct Seen {
    led: u64,
    followed: u64,
    grounded: u64,
    crashed: u64,
    landed: u64,
}

#[test]
fn no_schedule_breaks_a_flight() {
    let (schedules, seed) = (number("TOLLGATE_SCHEDULES", 4_000), number("TOLLGATE_SEED", 7));
    let mut total = Seen::default();
    for schedule in 0..schedules {
        let seen = run(seed.wrapping_mul(1_000_003).wrapping_add(schedule));
        total.led += seen.led;
        total.followed += seen.followed;
        total.grounded += seen.grounded;
        total.crashed += seen.crashed;
        total.landed += seen.landed;
    }
    println!(
        "{schedules} schedules, seed {seed}: {} leads, {} follows, {} landed, {} called off, {} crashed; 0 violations",
        total.led, total.followed, total.landed, total.grounded, total.crashed
    );
    assert!(total.followed > 0 && total.grounded > 0 && total.crashed > 0);
}

/// What a flight landed with answers those who come later for as long as it says, and only its own ask.
#[tokio::test(start_paused = true)]
async fn a_landing_is_remembered_for_seconds() {
    let seconds = std::time::Duration::from_secs;
    let flights = Flights::<u64>::default();
    let print = |name: &str| Fingerprint::of_key("t", "r", name);
    let (key, ask) = (print("key"), print("ask"));
    let Joined::Lead(lead, _seat) = flights.join(key, ask) else { panic!("nobody flew before") };
    lead.land(7, Some(seconds(15)));
    tokio::time::advance(seconds(14)).await;
    assert!(matches!(flights.join(key, ask), Joined::Landed(7)));
    assert!(matches!(flights.join(print("another's key"), ask), Joined::Lead(..)));
    tokio::time::advance(seconds(2)).await;
    let Joined::Lead(lead, _seat) = flights.join(key, ask) else { panic!("it was remembered for too long") };
    // A failure is told to those who wait, and to nobody after them.
    lead.land(8, None);
    assert!(matches!(flights.join(key, ask), Joined::Lead(..)));
}

fn run(seed: u64) -> Seen {
    let mut dice = StdRng::seed_from_u64(seed);
    let flights = Flights::<u64>::default();
    let key = |n: usize| Fingerprint::of_key("t", "r", &n.to_string());
    let asks = [Fingerprint::of_key("t", "r", "ask"), Fingerprint::of_key("t", "r", "other")];
    let (mut flying, mut waiting) = (BTreeMap::<u64, Flying>::new(), Vec::<Waiting>::new());
    // The flight that the registry should have, by key.
    let mut listed = BTreeMap::<usize, u64>::new();
    let (mut next, mut seen) = (0, Seen::default());
    for _ in 0..dice.random_range(10..60) {
        let k = dice.random_range(0..3);
        match dice.random_range(0..8) {
            0..3 => match flights.join(key(k), asks[0]) {
                Joined::Lead(lead, seat) => {
                    assert!(!listed.contains_key(&k), "seed {seed}: two flights of one key");
                    listed.insert(k, next);
                    flying.insert(
                        next,
                        Flying {
                            key: k,
                            lead: Some(lead),
                            seat: Some(seat),
                            departed: false,
                            followers: 0,
                            value: next,
                        },
                    );
                    next += 1;
                    seen.led += 1;
                }
                Joined::Follow(landing) => {
                    let flight = listed[&k];
                    flying.get_mut(&flight).unwrap().followers += 1;
                    waiting.push(Waiting { flight, landing });
                    seen.followed += 1;
                }
                Joined::Landed(_) | Joined::Other => panic!("seed {seed}: nothing was remembered, and one ask flies"),
            },
            3 => match flights.join(key(k), asks[1]) {
                Joined::Other => assert!(listed.contains_key(&k), "seed {seed}"),
                Joined::Lead(lead, seat) => {
                    assert!(!listed.contains_key(&k), "seed {seed}");
                    drop((lead, seat));
                }
                _ => panic!("seed {seed}: another ask was joined"),
            },
            4 => {
                if let Some((_, flight)) = pick(&mut dice, &mut flying)
                    && let Some(lead) = &flight.lead
                {
                    let alone = flight.seat.is_none() && flight.followers == 0 && !flight.departed;
                    assert_eq!(
                        lead.depart().is_err(),
                        alone,
                        "seed {seed}: what everybody left departed, or the reverse"
                    );
                    flight.departed |= !alone;
                }
            }
            5 => {
                // The leader's own caller leaves.
                if let Some((id, flight)) = pick(&mut dice, &mut flying)
                    && flight.seat.take().is_some()
                    && flight.followers == 0
                    && !flight.departed
                {
                    assert!(flight.lead.as_ref().unwrap().is_grounded(), "seed {seed}");
                    listed.retain(|_, listed| *listed != id);
                    seen.grounded += 1;
                }
            }
            6 if !waiting.is_empty() => {
                let gone = waiting.swap_remove(dice.random_range(0..waiting.len()));
                if let Some(flight) = flying.get_mut(&gone.flight) {
                    flight.followers -= 1;
                    drop(gone.landing);
                    if flight.followers == 0 && flight.seat.is_none() && !flight.departed {
                        assert!(flight.lead.as_ref().unwrap().is_grounded(), "seed {seed}");
                        listed.retain(|_, listed| *listed != gone.flight);
                        seen.grounded += 1;
                    }
                }
            }
            6 => {}
            _ => {
                let Some(id) = pick(&mut dice, &mut flying).map(|(id, _)| id) else { continue };
                let mut flight = flying.remove(&id).unwrap();
                let lead = flight.lead.take().unwrap();
                let grounded = lead.is_grounded();
                let crashes = dice.random_bool(0.3);
                if crashes {
                    drop(lead);
                    seen.crashed += 1;
                } else {
                    lead.land(flight.value, None);
                    seen.landed += 1;
                }
                listed.retain(|_, listed| *listed != id);
                let (mine, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|waiting| waiting.flight == id);
                waiting = rest;
                assert!(!grounded || mine.is_empty(), "seed {seed}: someone joined what was called off");
                for follower in mine {
                    let told = follower.landing.landed().now_or_never();
                    assert_eq!(told, Some((!crashes).then_some(flight.value)), "seed {seed}: exactly one answer");
                }
                let _ = flight.key;
            }
        }
        assert_eq!(flights.aloft(), listed.len(), "seed {seed}");
    }
    for waiting in waiting {
        assert_eq!(waiting.landing.landed().now_or_never(), None, "seed {seed}: an answer from nowhere");
    }
    seen
}

fn pick<'a>(dice: &mut StdRng, flying: &'a mut BTreeMap<u64, Flying>) -> Option<(u64, &'a mut Flying)> {
    let count = flying.len();
    (count > 0).then(|| flying.iter_mut().nth(dice.random_range(0..count)).map(|(id, flight)| (*id, flight)))?
}

/// The same registry under real threads: each value that is bought is bought once at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_share_flights() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    const CALLERS: usize = 400;
    let flights = Arc::new(Flights::<u64>::default());
    let (bought, at_once) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let ask = Fingerprint::of_key("t", "r", "ask");
    let callers = (0..CALLERS).map(|_| {
        let (flights, bought, at_once) = (Arc::clone(&flights), Arc::clone(&bought), Arc::clone(&at_once));
        tokio::spawn(async move {
            for _ in 0..50 {
                match flights.join(ask, ask) {
                    Joined::Lead(lead, _seat) => {
                        lead.depart().unwrap();
                        assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "two leaders at once");
                        tokio::task::yield_now().await;
                        let value = bought.fetch_add(1, Ordering::SeqCst);
                        at_once.fetch_sub(1, Ordering::SeqCst);
                        lead.land(value, None);
                    }
                    Joined::Follow(landing) => assert!(landing.landed().await.is_some()),
                    Joined::Landed(_) | Joined::Other => unreachable!(),
                }
            }
        })
    });
    for caller in futures_util::future::join_all(callers).await {
        caller.unwrap();
    }
    println!("{CALLERS} callers x 50: {} bought", bought.load(Ordering::SeqCst));
}
