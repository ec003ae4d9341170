//! Places in flight that this process holds in Redis.
//!
//! Why it exists: a place lapses when nobody says that it is in use, so that a process that dies blocks nobody for long;
//! and an end is told with the next draw, or soon without one. What it refuses to know: how either is sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::call::Call;

/// What is held, and what has ended and is not told yet, by key.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: Mutex<Held>,
    /// Something has ended.
    pub(super) ended: Notify,
}

#[derive(Debug, Default)]
struct Held {
    keys: HashMap<Arc<str>, OfKey>,
    /// How often Redis came back: what was told before may be lost.
    life: u64,
}

#[derive(Debug, Default)]
struct OfKey {
    /// By name, the life of Redis in which it was told last.
    alive: HashMap<Arc<str>, u64>,
    ended: Vec<Arc<str>>,
}

/// The places of one call; given back on drop.
#[derive(Debug)]
pub(super) struct Lease {
    id: Arc<str>,
    keys: Vec<Arc<str>>,
    leases: Arc<Leases>,
}

/// What a call has told; put back when it failed.
#[derive(Debug, Default)]
pub(super) struct Told {
    ended: Vec<(Arc<str>, Arc<str>)>,
    alive: Vec<(Arc<str>, Arc<str>)>,
    life: u64,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Redis came back, and may have forgotten.
    pub(super) fn reborn(&self) {
        self.lock().life += 1;
    }

    /// Places of the call `id`; `told` when Redis has them already.
    pub(super) fn take(self: &Arc<Self>, id: &Arc<str>, keys: Vec<Arc<str>>, told: bool) -> Lease {
        let mut held = self.lock();
        // Zero is a life that never was: it is told again.
        let life = if told { held.life + 1 } else { 0 };
        for key in &keys {
            held.keys.entry(Arc::clone(key)).or_default().alive.insert(Arc::clone(id), life);
        }
        Lease { id: Arc::clone(id), keys, leases: Arc::clone(self) }
    }

    /// Keys with anything to tell; with `renew`, all that have calls in flight.
    pub(super) fn keys(&self, renew: bool) -> Vec<Arc<str>> {
        let held = self.lock();
        let due = |of: &OfKey| {
            !of.ended.is_empty()
                || of.alive.values().any(|life| *life != held.life + 1)
                || (renew && !of.alive.is_empty())
        };
        held.keys.iter().filter(|(_, of)| due(of)).map(|(key, _)| Arc::clone(key)).collect()
    }

    /// Adds what is to be told of these keys to a call.
    pub(super) fn tell<'a>(&self, call: &mut Call, keys: impl IntoIterator<Item = &'a str>, renew: bool) -> Told {
        let mut held = self.lock();
        let mut told = Told { life: held.life + 1, ..Told::default() };
        for key in keys {
            let Some((key, of)) = held.keys.get_key_value(key).map(|(key, _)| Arc::clone(key)).and_then(|key| {
                let of = held.keys.get_mut(&key)?;
                Some((key, of))
            }) else {
                continue;
            };
            for id in of.ended.drain(..) {
                call.ended(&key, &id);
                told.ended.push((Arc::clone(&key), id));
            }
            for (id, life) in &mut of.alive {
                if renew || *life != told.life {
                    call.goes_on(&key, id);
                    told.alive.push((Arc::clone(&key), Arc::clone(id)));
                }
            }
        }
        told
    }

    /// The call arrived, or did not.
    pub(super) fn arrived(&self, told: Told, done: bool) {
        let mut held = self.lock();
        if done {
            for (key, id) in told.alive {
                if let Some(life) = held.keys.get_mut(&key).and_then(|of| of.alive.get_mut(&id)) {
                    *life = told.life;
                }
            }
        } else {
            for (key, id) in told.ended {
                held.keys.entry(key).or_default().ended.push(id);
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.lock();
        for key in &self.keys {
            if let Some(of) = held.keys.get_mut(key) {
                of.alive.remove(&self.id);
                of.ended.push(Arc::clone(&self.id));
            }
        }
        drop(held);
        self.leases.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_told_once_and_again_when_it_was_lost() {
        let leases = Arc::new(Leases::default());
        let key: Arc<str> = "k".into();
        drop(leases.take(&"a".into(), vec![Arc::clone(&key)], true));
        let mut call = Call::default();
        let told = leases.tell(&mut call, ["k"], false);
        assert_eq!(told.ended.len(), 1);
        assert!(leases.keys(false).is_empty());
        leases.arrived(told, false);
        assert_eq!(leases.keys(false), [Arc::clone(&key)]);
    }

    #[test]
    fn what_goes_on_is_told_again_when_redis_came_back() {
        let leases = Arc::new(Leases::default());
        let _lease = leases.take(&"a".into(), vec!["k".into()], true);
        assert!(leases.keys(false).is_empty());
        leases.reborn();
        let told = leases.tell(&mut Call::default(), ["k"], false);
        assert_eq!(told.alive.len(), 1);
        leases.arrived(told, true);
        assert!(leases.keys(false).is_empty());
        assert_eq!(leases.keys(true).len(), 1);
    }
}
