//! The buckets as the mirror of Redis, and as its reserve.
//!
//! Why it exists: the planner looks at limits without waiting, so what Redis said last is kept here; and when Redis is
//! away, each replica goes on from there with its share. What it refuses to know: the wire to Redis.
//!
//! A share is slower by the number of replicas and owes the same *time* as the whole: so the bucket that Redis said was
//! empty is empty for every replica, and what a replica drew alone is one `replicas`-th as much time when it comes back.

use std::sync::atomic::Ordering;

use super::super::Draw;
use super::LocalLimits;
use super::buckets::{Bucket, Place};

/// What was drawn from one window while Redis was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state::limits) struct Outage {
    /// TAT when it began.
    pub(in crate::state::limits) seed: u64,
    /// Microseconds of the share's pace drawn since.
    pub(in crate::state::limits) drawn: u64,
}

/// What Redis says of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state::limits) enum Heard {
    /// Calls in flight, of all replicas.
    Flying(u32),
    /// TAT, by this process's clock.
    Tat(u64),
}

impl Heard {
    /// The same by another clock.
    pub(in crate::state::limits) fn map_tat(self, time: impl Fn(u64) -> u64) -> Self {
        match self {
            Self::Flying(calls) => Self::Flying(calls),
            Self::Tat(tat) => Self::Tat(time(tat)),
        }
    }
}

impl LocalLimits {
    /// Stores what Redis said of these draws' limits, in their order.
    pub(in crate::state::limits) fn hear(&self, draws: &[Draw<'_>], heard: &[Heard], now: u64) {
        let mut heard = heard.iter();
        self.at(now).each(draws, now, None, |_, _, bucket| match (bucket, heard.next()) {
            (Bucket::Window(window), Some(Heard::Tat(tat))) => window.learn(*tat),
            (Bucket::InFlight(flight), Some(Heard::Flying(all))) => {
                flight.others = all.saturating_sub(flight.own.load(Ordering::Acquire));
            }
            _ => {}
        });
    }

    /// Takes places in flight for a call that Redis let through.
    pub(in crate::state::limits) fn take_places(&self, draws: &[Draw<'_>], now: u64) -> Vec<Place> {
        let mut places = Vec::new();
        self.at(now).each(draws, now, None, |_, _, bucket| {
            if let Bucket::InFlight(flight) = bucket {
                places.push(Place::take(&flight.own));
            }
        });
        places
    }

    /// Stores until when an owner is shut.
    pub(in crate::state::limits) fn hear_shut(&self, owner: &str, until: u64, now: u64) {
        let mut buckets = self.at(now);
        let owner = buckets.owner(owner);
        owner.shut_until = owner.shut_until.max(until);
    }

    /// For each limit of these draws, in their order: what was drawn alone, with what of it is still owed in the whole's
    /// time.
    pub(in crate::state::limits) fn debts(&self, draws: &[Draw<'_>], now: u64, replicas: u32) -> Vec<Option<Outage>> {
        let mut debts = Vec::new();
        self.at(now).each(draws, now, Some(replicas), |_, _, bucket| {
            debts.push(match bucket {
                Bucket::Window(window) => window.outage.map(|outage| {
                    let drawn = outage.drawn.min(window.owed(now)) / u64::from(replicas.max(1));
                    Outage { drawn, ..outage }
                }),
                Bucket::InFlight(_) => None,
            });
        });
        debts
    }

    /// What was drawn alone has been told.
    pub(in crate::state::limits) fn forgive(&self, draws: &[Draw<'_>], now: u64) {
        self.at(now).each(draws, now, None, |_, _, bucket| {
            if let Bucket::Window(window) = bucket {
                window.outage = None;
            }
        });
    }
}
