//! Rate limits as providers enforce them: so many units in a sliding window, perhaps with a penalty on top, and so
//! many calls at once.
//!
//! It refuses to know status codes and bodies; a provider turns a [`Refused`] into its own words. A key that contains
//! `unlimited` stands for a customer with a negotiated limit and is never refused, so that load can be driven.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What was left after an admitted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) remaining: u32,
    /// Until the window is empty again.
    pub(super) reset: Duration,
}

/// How long until the same call would be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) wait: Duration,
    /// Units already spent in the window.
    pub(super) used: u32,
}

/// At most `limit` units in any `span`; passing it shuts the key out for `penalty`.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) limit: u32,
    span: Duration,
    penalty: Duration,
    keys: Mutex<HashMap<String, Spent>>,
}

#[derive(Debug, Default)]
struct Spent {
    units: VecDeque<(Instant, u32)>,
    total: u32,
    shut_until: Option<Instant>,
}

impl Window {
    pub(super) fn new(limit: u32, span: Duration, penalty: Duration) -> Self {
        Self { limit, span, penalty, keys: Mutex::default() }
    }

    pub(super) fn admit(&self, key: &str, units: u32, now: Instant) -> Result<Admitted, Refused> {
        if unlimited(key) {
            return Ok(Admitted { remaining: self.limit, reset: Duration::ZERO });
        }
        let mut keys = lock(&self.keys);
        let spent = keys.entry(key.to_owned()).or_default();
        if let Some(until) = spent.shut_until.filter(|until| *until > now) {
            return Err(Refused { wait: until - now, used: spent.total });
        }
        while let Some((at, freed)) = spent.units.front().copied().filter(|(at, _)| *at + self.span <= now) {
            spent.units.pop_front();
            spent.total -= freed;
            let _ = at;
        }
        if spent.total + units > self.limit {
            let wait = if self.penalty.is_zero() {
                spent.units.front().map_or(self.span, |(at, _)| *at + self.span - now)
            } else {
                spent.shut_until = Some(now + self.penalty);
                self.penalty
            };
            return Err(Refused { wait, used: spent.total });
        }
        spent.units.push_back((now, units));
        spent.total += units;
        Ok(Admitted { remaining: self.limit - spent.total, reset: self.span })
    }

    pub(super) fn forget(&self) {
        lock(&self.keys).clear();
    }
}

/// At most `limit` calls at once for a key.
#[derive(Debug, Clone)]
pub(super) struct Concurrency {
    limit: usize,
    keys: Arc<Mutex<HashMap<String, usize>>>,
}

impl Concurrency {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, keys: Arc::default() }
    }

    /// A place that is free again when it is dropped; `None` when all are taken.
    pub(super) fn enter(&self, key: &str) -> Option<Place> {
        let mut keys = lock(&self.keys);
        let inside = keys.entry(key.to_owned()).or_default();
        if *inside >= self.limit && !unlimited(key) {
            return None;
        }
        *inside += 1;
        Some(Place { key: key.to_owned(), keys: Arc::clone(&self.keys) })
    }
}

/// One place among the calls in flight.
#[derive(Debug)]
pub(super) struct Place {
    key: String,
    keys: Arc<Mutex<HashMap<String, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut keys = lock(&self.keys);
        if let Some(inside) = keys.get_mut(&self.key) {
            *inside = inside.saturating_sub(1);
        }
    }
}

fn unlimited(key: &str) -> bool {
    key.contains("unlimited")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_window_slides() {
        let window = Window::new(2, 10 * SECOND, Duration::ZERO);
        let start = Instant::now();
        assert_eq!(window.admit("k", 1, start).unwrap().remaining, 1);
        assert_eq!(window.admit("k", 1, start + 4 * SECOND).unwrap().remaining, 0);
        assert_eq!(window.admit("k", 1, start + 5 * SECOND), Err(Refused { wait: 5 * SECOND, used: 2 }));
        assert!(window.admit("other", 1, start + 5 * SECOND).is_ok());
        assert!(window.admit("k", 1, start + 10 * SECOND).is_ok());
        assert!(window.admit("k", 1, start + 11 * SECOND).is_err());
    }

    #[test]
    fn a_penalty_shuts_the_key_out() {
        let window = Window::new(1, SECOND, 60 * SECOND);
        let start = Instant::now();
        assert!(window.admit("k", 1, start).is_ok());
        assert_eq!(window.admit("k", 1, start).unwrap_err().wait, 60 * SECOND);
        assert_eq!(window.admit("k", 1, start + 59 * SECOND).unwrap_err().wait, SECOND);
        assert!(window.admit("k", 1, start + 60 * SECOND).is_ok());
        assert!(window.admit("sk-unlimited", 5, start).is_ok());
    }

    #[test]
    fn places_are_given_back() {
        let concurrency = Concurrency::new(2);
        let first = concurrency.enter("k").unwrap();
        let _second = concurrency.enter("k").unwrap();
        assert!(concurrency.enter("k").is_none());
        drop(first);
        assert!(concurrency.enter("k").is_some());
    }
}
