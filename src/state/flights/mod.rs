//! Flights: at most one purchase of a key is under way at a time.
//!
//! Why it exists: a second caller with the same ask waits for the first one's answer instead of paying. A flight
//! belongs to this registry and not to a caller: a caller that leaves strands nobody, and a flight that everybody has
//! left is called off, as long as nothing was sent. What it refuses to know: what is flown. Flights of other replicas
//! are in [`board`]; to add a place where replicas meet, implement [`board::Board`].
//!
//! ```text
//! boarding ── depart ──▶ departed ── land ──▶ landed
//!     └── the last caller leaves ──▶ grounded
//! ```

pub mod board;
pub mod redis;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::domain::fingerprint::Fingerprint;

/// Landed values that are remembered at most.
const MOST_REMEMBERED: usize = 4_096;

/// The flights of this process, each landing with a `T`.
#[derive(Debug)]
pub struct Flights<T> {
    tower: Arc<Mutex<Tower<T>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { tower: Arc::new(Mutex::new(Tower { aloft: HashMap::new(), remembered: HashMap::new() })) }
    }
}

/// What every decision is made over, under one lock: who joins, who leaves and what departs never cross.
#[derive(Debug)]
struct Tower<T> {
    aloft: HashMap<Fingerprint, Arc<Flight<T>>>,
    remembered: HashMap<Fingerprint, Remembered<T>>,
}

#[derive(Debug)]
struct Remembered<T> {
    ask: Fingerprint,
    value: T,
    until: Instant,
}

#[derive(Debug)]
struct Flight<T> {
    /// Where it is listed; `None` when nobody may join.
    key: Option<Fingerprint>,
    ask: Fingerprint,
    /// Changed only under the tower's lock.
    standing: Mutex<Standing>,
    called_off: Notify,
    landing: watch::Sender<End<T>>,
}

/// `None` while it is aloft; the inner `None` when it crashed.
type End<T> = Option<Option<T>>;

#[derive(Clone, Copy, Debug)]
struct Standing {
    callers: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Boarding,
    Departed,
    Grounded,
    Landed,
}

/// A caller's part in a flight.
#[derive(Debug)]
pub enum Joined<T> {
    /// The first: it must fly. The seat is the caller's, the lead goes with the work.
    Lead(Lead<T>, Seat<T>),
    /// Another flies; wait for its landing.
    Follow(Landing<T>),
    /// It landed a moment ago with a value that holds for a while.
    Landed(T),
    /// The key flies with another ask.
    Other,
}

/// The flight was called off, because every caller had left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grounded;

impl<T: Clone> Flights<T> {
    /// Joins the flight of `key`, or begins it. `ask` is what is flown: a key that flies with another ask is
    /// [`Joined::Other`].
    pub fn join(&self, key: Fingerprint, ask: Fingerprint) -> Joined<T> {
        let mut tower = lock(&self.tower);
        if let Some(flight) = tower.aloft.get(&key) {
            if flight.ask != ask {
                return Joined::Other;
            }
            flight.standing().callers += 1;
            let landing = flight.landing.subscribe();
            let seat = Seat { tower: Arc::clone(&self.tower), flight: Arc::clone(flight) };
            return Joined::Follow(Landing { landing, _seat: seat });
        }
        match tower.remembered.get(&key) {
            Some(held) if held.until > Instant::now() && held.ask == ask => return Joined::Landed(held.value.clone()),
            Some(held) if held.until > Instant::now() => {}
            Some(_) => drop(tower.remembered.remove(&key)),
            None => {}
        }
        let (lead, seat) = self.launch(&mut tower, Some(key), ask);
        Joined::Lead(lead, seat)
    }

    /// Begins a flight of `key` beside any other: those who join from now on follow this one.
    pub fn begin(&self, key: Fingerprint, ask: Fingerprint) -> (Lead<T>, Seat<T>) {
        self.launch(&mut lock(&self.tower), Some(key), ask)
    }

    /// Begins a flight that nobody may join.
    pub fn alone(&self, ask: Fingerprint) -> (Lead<T>, Seat<T>) {
        self.launch(&mut lock(&self.tower), None, ask)
    }

    /// Flights that may be joined.
    pub fn aloft(&self) -> usize {
        lock(&self.tower).aloft.len()
    }

    fn launch(&self, tower: &mut Tower<T>, key: Option<Fingerprint>, ask: Fingerprint) -> (Lead<T>, Seat<T>) {
        let flight = Arc::new(Flight {
            key,
            ask,
            standing: Mutex::new(Standing { callers: 1, phase: Phase::Boarding }),
            called_off: Notify::new(),
            landing: watch::Sender::new(None),
        });
        if let Some(key) = key {
            tower.aloft.insert(key, Arc::clone(&flight));
        }
        let seat = Seat { tower: Arc::clone(&self.tower), flight: Arc::clone(&flight) };
        (Lead { tower: Arc::clone(&self.tower), flight }, seat)
    }
}

impl<T> Tower<T> {
    /// Takes a flight off the list, unless another one has its place by now.
    fn delist(&mut self, flight: &Arc<Flight<T>>) {
        if let Some(key) = flight.key
            && self.aloft.get(&key).is_some_and(|listed| Arc::ptr_eq(listed, flight))
        {
            self.aloft.remove(&key);
        }
    }

    fn remember(&mut self, key: Fingerprint, held: Remembered<T>) {
        if self.remembered.len() >= MOST_REMEMBERED {
            let now = Instant::now();
            self.remembered.retain(|_, held| held.until > now);
        }
        if self.remembered.len() < MOST_REMEMBERED {
            self.remembered.insert(key, held);
        }
    }
}

impl<T> Flight<T> {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        lock(&self.standing)
    }
}

/// A caller's place in a flight, given back when dropped.
#[derive(Debug)]
pub struct Seat<T> {
    tower: Arc<Mutex<Tower<T>>>,
    flight: Arc<Flight<T>>,
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        let mut tower = lock(&self.tower);
        let mut standing = self.flight.standing();
        standing.callers = standing.callers.saturating_sub(1);
        if standing.callers == 0 && standing.phase == Phase::Boarding {
            standing.phase = Phase::Grounded;
            tower.delist(&self.flight);
            self.flight.called_off.notify_one();
        }
    }
}

/// The duty to fly: landed with a value, or crashed when dropped.
#[derive(Debug)]
pub struct Lead<T> {
    tower: Arc<Mutex<Tower<T>>>,
    flight: Arc<Flight<T>>,
}

impl<T> Lead<T> {
    /// From here on the flight goes to its end, whoever leaves; call it before anything is paid for.
    pub fn depart(&self) -> Result<(), Grounded> {
        let _tower = lock(&self.tower);
        let mut standing = self.flight.standing();
        match standing.phase {
            Phase::Grounded => Err(Grounded),
            Phase::Boarding => {
                standing.phase = Phase::Departed;
                Ok(())
            }
            Phase::Departed | Phase::Landed => Ok(()),
        }
    }

    /// Whether it was called off.
    pub fn is_grounded(&self) -> bool {
        self.flight.standing().phase == Phase::Grounded
    }

    /// Resolves when every caller has left before departure; never when it departs first.
    pub async fn grounded(&self) {
        while !self.is_grounded() {
            self.flight.called_off.notified().await;
        }
    }

    /// Ends the flight: every follower gets `value`; the next ask of the key flies anew, or for `remember` gets it too.
    pub fn land(&self, value: T, remember: Option<Duration>)
    where
        T: Clone,
    {
        let mut tower = lock(&self.tower);
        // Off the list first, so that nobody joins a flight that has landed.
        tower.delist(&self.flight);
        self.flight.standing().phase = Phase::Landed;
        if let (Some(key), Some(life)) = (self.flight.key, remember) {
            let held = Remembered { ask: self.flight.ask, value: value.clone(), until: Instant::now() + life };
            tower.remember(key, held);
        }
        drop(tower);
        self.flight.landing.send_replace(Some(Some(value)));
    }
}

impl<T> Drop for Lead<T> {
    fn drop(&mut self) {
        let mut tower = lock(&self.tower);
        let mut standing = self.flight.standing();
        if standing.phase == Phase::Landed {
            return;
        }
        standing.phase = Phase::Landed;
        tower.delist(&self.flight);
        drop(standing);
        drop(tower);
        self.flight.landing.send_replace(Some(None));
    }
}

/// A flight's end, awaited.
#[derive(Debug)]
pub struct Landing<T> {
    landing: watch::Receiver<End<T>>,
    _seat: Seat<T>,
}

impl<T: Clone> Landing<T> {
    /// The flight's value; `None` when it crashed.
    pub async fn landed(mut self) -> Option<T> {
        let end = self.landing.wait_for(Option::is_some).await.ok()?;
        end.clone().flatten()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
