//! Every owner's buckets, and a decision over several of them.
//!
//! Why it exists: all or nothing, over windows and calls in flight, stands here once. What it refuses to know: Redis.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::Draw;
use super::Asked;
use super::window::Window;
use crate::domain::quota::{Degrade, Limit, LimitUnit, Mode};

/// A clock that steps back by more was set back; less is the disorder of threads.
const STEP_BACK: u64 = 1_000_000;

/// Buckets by owner.
#[derive(Debug, Default)]
pub(in crate::state::limits) struct Buckets {
    /// Where each owner is, by name.
    places: HashMap<Box<str>, usize>,
    owners: Vec<Owner>,
    /// The latest time seen.
    last: u64,
}

/// A provider, a model or a caller: its buckets by limit name, which outlive a reload.
#[derive(Debug, Default)]
pub(super) struct Owner {
    /// Microseconds since 1970; zero when it asked for nothing.
    pub(super) shut_until: u64,
    buckets: Vec<(Arc<str>, Bucket)>,
}

/// What a limit counts with.
#[derive(Debug)]
pub(super) enum Bucket {
    Window(Window),
    InFlight(Flight),
}

/// Calls in flight.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// Of this process.
    pub(super) own: Arc<AtomicU32>,
    /// Of other replicas, when they were last counted.
    pub(super) others: u32,
}

/// When there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// In so many microseconds.
    In(u64),
    /// When something ends.
    Unknown,
    /// The call is larger than the limit.
    Never,
}

impl Room {
    /// The later of the two.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::In(a), Self::In(b)) => Self::In(a.max(b)),
        }
    }
}

impl Buckets {
    /// A clock that was set back takes every time with it: what was owed is still owed.
    pub(super) fn bring_to(&mut self, now: u64) {
        if now + STEP_BACK < self.last {
            let back = self.last - now;
            for owner in &mut self.owners {
                owner.shut_until = owner.shut_until.saturating_sub(back);
                for (_, bucket) in &mut owner.buckets {
                    if let Bucket::Window(window) = bucket {
                        window.shift(back);
                    }
                }
            }
            self.last = now;
        }
        self.last = self.last.max(now);
    }

    pub(super) fn owner(&mut self, name: &str) -> &mut Owner {
        let at = self.places.get(name).copied().unwrap_or_else(|| {
            self.places.insert(name.into(), self.owners.len());
            self.owners.push(Owner::default());
            self.owners.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "`at` was found or made above, and owners stay")]
        &mut self.owners[at]
    }

    /// When every limit that denies has room.
    pub(super) fn room(&mut self, asked: Asked<'_>) -> Room {
        let mut room = Room::In(0);
        for draw in asked.draws {
            let owner = self.owner(draw.owner);
            room = room.and(Room::In(owner.shut_until.saturating_sub(asked.now)));
            for limit in draw.limits.iter().filter(|limit| counts(limit, asked.apart) && limit.mode == Mode::Enforce) {
                room = room.and(if asked.apart.is_some() && limit.degrade == Degrade::Refuse {
                    Room::Unknown
                } else {
                    owner.bucket(limit, asked.now, asked.apart).room(limit, asked, asked.now)
                });
            }
        }
        room
    }

    /// Draws from everything at `at`, when there is room: the places taken, and the limits in shadow that had none.
    pub(super) fn commit(&mut self, asked: Asked<'_>, at: u64) -> (Vec<Place>, Vec<Arc<str>>) {
        let (mut places, mut over) = (Vec::new(), Vec::new());
        for draw in asked.draws.iter().filter(|draw| !draw.limits.is_empty()) {
            let owner = self.owner(draw.owner);
            for limit in draw.limits.iter().filter(|limit| counts(limit, asked.apart)) {
                let bucket = owner.bucket(limit, asked.now, asked.apart);
                let fits = bucket.room(limit, asked, at) == Room::In(0);
                match bucket {
                    Bucket::Window(window) if fits => window.draw(limit.cost(asked.cost), asked.apart.is_some()),
                    Bucket::Window(_) => {}
                    Bucket::InFlight(flight) => places.push(Place::take(&flight.own)),
                }
                if !fits {
                    over.push(limit.name.clone());
                }
            }
        }
        (places, over)
    }

    /// The owners' windows and calls in flight of these draws, with their limits.
    pub(super) fn each<'a>(
        &mut self,
        draws: &[Draw<'a>],
        now: u64,
        apart: Option<u32>,
        mut visit: impl FnMut(&str, &'a Limit, &mut Bucket),
    ) {
        for draw in draws {
            let owner = self.owner(draw.owner);
            for limit in draw.limits {
                visit(draw.owner, limit, owner.bucket(limit, now, apart));
            }
        }
    }
}

/// Whether a limit is counted at all: an open one is not while replicas count apart.
fn counts(limit: &Limit, apart: Option<u32>) -> bool {
    apart.is_none() || limit.degrade != Degrade::Open
}

impl Owner {
    fn at(&self, limit: &Limit) -> Option<usize> {
        let flies = limit.unit == LimitUnit::InFlight;
        self.buckets
            .iter()
            .position(|(name, bucket)| *name == limit.name && flies == matches!(bucket, Bucket::InFlight(_)))
    }

    /// The bucket of `limit`, new or as it was left, in the limit's present shape.
    pub(super) fn bucket(&mut self, limit: &Limit, now: u64, apart: Option<u32>) -> &mut Bucket {
        let pace = || limit.pace_of(apart.unwrap_or(1));
        let at = self.at(limit).unwrap_or_else(|| {
            let bucket = match limit.unit {
                LimitUnit::InFlight => Bucket::InFlight(Flight::default()),
                _ => Bucket::Window(Window::new(pace())),
            };
            self.buckets.push((limit.name.clone(), bucket));
            self.buckets.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "`at` was found or made above")]
        let bucket = &mut self.buckets[at].1;
        if let Bucket::Window(window) = bucket {
            window.reshape(limit, pace(), now);
        }
        bucket
    }
}

impl Bucket {
    fn room(&mut self, limit: &Limit, asked: Asked<'_>, at: u64) -> Room {
        match self {
            Self::Window(window) => window.room(limit.cost(asked.cost), at, asked.apart.is_some()),
            Self::InFlight(_) if limit.units == 0 => Room::Never,
            Self::InFlight(flight) if flight.left(limit, asked.apart) > 0 => Room::In(0),
            Self::InFlight(_) => Room::Unknown,
        }
    }
}

impl Flight {
    /// Places that are free, of the whole or of one replica's share, which is at least one.
    pub(super) fn left(&self, limit: &Limit, apart: Option<u32>) -> u64 {
        let own = u64::from(self.own.load(Ordering::Acquire));
        match apart {
            Some(replicas) => (limit.units / u64::from(replicas.max(1))).max(1).saturating_sub(own),
            None => limit.units.saturating_sub(own + u64::from(self.others)),
        }
    }
}

/// A call in flight, given back on drop.
#[derive(Debug)]
pub(in crate::state::limits) struct Place(Arc<AtomicU32>);

impl Place {
    pub(super) fn take(flying: &Arc<AtomicU32>) -> Self {
        flying.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(flying))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
