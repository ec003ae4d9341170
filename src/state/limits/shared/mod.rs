//! Limits that replicas share through Redis, and what is left of them without it.
//!
//! Why it exists: a provider counts the calls of an account, not of a process. One script decides over all limits of a call
//! in one round trip, by the server's clock; the answer is kept as a mirror for the planner, which waits for nobody. What
//! it refuses to know: governor; the mirror ([`LocalLimits`]) is also the reserve. To share another kind of limit: an item
//! in `draw.lua` and its line in `call.rs`.
//!
//! # Without Redis
//!
//! The first command that fails puts Redis away for everybody ([`Redis`]), so an outage costs one short wait, and then
//! every limit does as its `degrade` says. With `local`, each of the `N` replicas that were last seen goes on with one
//! `N`-th of the rate, from the state that Redis told last: a bucket that was empty is empty. When Redis is back, the first
//! draw of each replica tells what it drew alone; a Redis that has forgotten everything is told the old state with it.
//!
//! So, for a limit of `burst` and `rate`, over any time `t` with a failover in it,
//!
//! > admitted ≤ 2 × burst + rate × (t + 1/2 s) + N × the cost of one call
//!
//! One burst is the limit's own. The second covers what replicas drew from each other's view: a mirror is at most half a
//! second old, and a bucket cannot hide more than its burst. A share that is smaller than one call lets one call through
//! when nothing is owed, in each replica. A failover of Redis itself to a replica that missed writes costs the same second
//! burst. While Redis stays away and `N` stays right, the rate is kept exactly. Money never rests on this.

mod call;
mod leases;
mod tend;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::local::Asked;
use super::{Counting, Draw, LOOK_AGAIN, Left, Limits, LocalLimits, NEVER, Permit, Wait, micros, whole};
use crate::domain::quota::{Allowance, Cost, Limit, LimitUnit};
use crate::state::redis::{Away, Redis, State};
use crate::transport::Boxed;
use call::{Answer, Call, Verdict, flight_key};
use leases::Leases;

/// Whose time decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// That of the process that asks: its `now`.
    Caller,
    /// The server's, which all replicas share.
    #[default]
    Server,
}

/// The limits of many processes.
#[derive(Clone)]
pub struct RedisLimits {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Redis,
    clock: Clock,
    mirror: LocalLimits,
    leases: Arc<Leases>,
    /// What each owner's limits were when they were last drawn from.
    owners: Mutex<HashMap<Box<str>, Arc<[Limit]>>>,
    /// The caller's time when it last asked, in microseconds since 1970.
    asked: AtomicU64,
    /// How far the server's clock is ahead, in microseconds.
    offset: AtomicI64,
    /// For the names of draws.
    name: String,
    draws: AtomicU64,
    /// Shuts and corrections that are not told yet.
    tidings: Mutex<Vec<Tiding>>,
}

/// What a provider said, on its way to the others.
#[derive(Clone, Debug)]
enum Tiding {
    Left(Box<str>, Limit, Allowance),
    Shut(Box<str>, Instant),
}

impl fmt::Debug for RedisLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisLimits").field(&self.inner.redis).finish()
    }
}

impl RedisLimits {
    /// Limits in this Redis; must be called within a runtime.
    pub fn new(redis: Redis, clock: Clock) -> Self {
        let inner = Arc::new(Inner {
            redis,
            clock,
            mirror: LocalLimits::new(),
            leases: Arc::default(),
            owners: Mutex::default(),
            asked: AtomicU64::new(0),
            offset: AtomicI64::new(0),
            name: uuid::Uuid::now_v7().simple().to_string(),
            draws: AtomicU64::new(0),
            tidings: Mutex::default(),
        });
        tend::tend(&inner);
        Self { inner }
    }
}

impl Inner {
    async fn draw(&self, asked: Asked<'_>) -> Result<Permit, Wait> {
        self.remember(asked.draws);
        self.asked.store(asked.now, Ordering::Relaxed);
        if asked.draws.iter().all(|draw| draw.limits.is_empty()) {
            return self.mirror.take(asked);
        }
        let flights = flights(asked.draws);
        let id: Arc<str> = format!("{}-{}", self.name, self.draws.fetch_add(1, Ordering::Relaxed)).into();
        if let Ok(answer) = self.ask(asked, &flights, &id).await {
            let permit = self.decided(asked, &answer, flights, &id);
            // Heard after the places are taken: what Redis counts has them in it.
            self.hear(asked.draws, &answer, asked.now);
            return permit;
        }
        let apart = Some(self.redis.replicas());
        let permit = self.mirror.take(Asked { apart, ..asked })?;
        let (delay, over) = (permit.delay(), permit.over().to_vec());
        // A command that timed out may have taken its places: they are given back under the same name.
        let lease = self.leases.take(&id, flights, false);
        Ok(Permit::holding((permit, lease)).booked(delay, over))
    }

    /// Asks Redis, with everything that it is not told yet.
    async fn ask(&self, asked: Asked<'_>, flights: &[Arc<str>], id: &Arc<str>) -> Result<Answer, Away> {
        let mut call = Call::default();
        let debts = self.debts(&mut call, asked.draws, asked.now);
        let told = self.leases.tell(&mut call, flights.iter().map(|key| &**key), false);
        call.draws(asked.draws, asked.cost);
        let now = (self.clock == Clock::Caller).then_some(asked.now);
        let answer = call.run(&self.redis, now, Some(asked.patience), id).await;
        self.leases.arrived(told, answer.is_ok());
        let answer = answer?;
        if debts {
            self.mirror.forgive(asked.draws, asked.now);
        }
        Ok(answer)
    }

    /// Adds what was drawn apart to a call; whether there was any.
    fn debts(&self, call: &mut Call, draws: &[Draw<'_>], now: u64) -> bool {
        let limits = draws.iter().flat_map(|draw| draw.limits.iter().map(move |limit| (draw.owner, limit)));
        let offset = self.offset.load(Ordering::Relaxed);
        let mut any = false;
        for ((owner, limit), debt) in limits.zip(self.mirror.debts(draws, now, self.redis.replicas())) {
            if let Some(debt) = debt {
                call.debt(owner, limit, debt, offset);
                any = true;
            }
        }
        any
    }

    /// Keeps what Redis said, by this process's clock.
    fn hear(&self, draws: &[Draw<'_>], answer: &Answer, now: u64) {
        let offset = i64::try_from(answer.now).unwrap_or(0) - i64::try_from(now).unwrap_or(0);
        self.offset.store(offset, Ordering::Relaxed);
        let here = |time: u64| time.saturating_add_signed(-offset);
        let mut heard = Vec::new();
        for (draw, (shut, limits)) in draws.iter().zip(&answer.owners) {
            if *shut > answer.now {
                self.mirror.hear_shut(draw.owner, here(*shut), now);
            }
            heard.extend(limits.iter().map(|limit| limit.map_tat(here)));
        }
        self.mirror.hear(draws, &heard, now);
    }

    fn decided(
        &self,
        asked: Asked<'_>,
        answer: &Answer,
        flights: Vec<Arc<str>>,
        id: &Arc<str>,
    ) -> Result<Permit, Wait> {
        let delay = match answer.verdict {
            Verdict::Drawn(delay) => delay,
            Verdict::Full => return Err(Wait(LOOK_AGAIN)),
            Verdict::Never => return Err(Wait(NEVER)),
            Verdict::Wait(wait) => return Err(Wait(Duration::from_micros(wait))),
        };
        let names = asked.draws.iter().flat_map(|draw| draw.limits).map(|limit| &limit.name);
        let over = names.zip(&answer.over).filter(|(_, over)| **over).map(|(name, _)| name.clone()).collect();
        let permit = if flights.is_empty() {
            Permit::free()
        } else {
            let places = self.mirror.take_places(asked.draws, asked.now);
            Permit::holding((places, self.leases.take(id, flights, true)))
        };
        Ok(permit.booked(Duration::from_micros(delay), over))
    }

    /// Remembers which limits an owner has, for the look around.
    fn remember(&self, draws: &[Draw<'_>]) {
        let mut owners = self.owners();
        for draw in draws {
            if owners.get(draw.owner).is_none_or(|held| **held != *draw.limits) {
                owners.insert(draw.owner.into(), draw.limits.into());
            }
        }
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<[Limit]>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tidings(&self) -> MutexGuard<'_, Vec<Tiding>> {
        self.tidings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, tiding: Tiding) {
        self.tidings().push(tiding);
        self.leases.ended.notify_one();
    }

    /// The replicas that count apart, while they do.
    fn apart(&self) -> Option<u32> {
        (self.redis.state() != State::Up).then(|| self.redis.replicas())
    }
}

/// The keys of a call's limits on calls in flight.
fn flights(draws: &[Draw<'_>]) -> Vec<Arc<str>> {
    let each = draws.iter().flat_map(|draw| draw.limits.iter().map(move |limit| (draw.owner, limit)));
    let flying = each.filter(|(_, limit)| limit.unit == LimitUnit::InFlight);
    flying.map(|(owner, limit)| flight_key(owner, limit).into()).collect()
}

impl Limits for RedisLimits {
    fn draw<'a>(
        &'a self,
        draws: &'a [Draw<'a>],
        cost: Cost,
        patience: Duration,
        now: Timestamp,
    ) -> Boxed<'a, Result<Permit, Wait>> {
        let asked = Asked { draws, cost, patience: whole(patience), now: micros(now), apart: None };
        Box::pin(self.inner.draw(asked))
    }

    fn wait(&self, draws: &[Draw<'_>], cost: Cost, now: Timestamp) -> Duration {
        self.inner.remember(draws);
        let apart = self.inner.apart();
        self.inner.mirror.wait_for(Asked { draws, cost, patience: 0, now: micros(now), apart })
    }

    fn left(&self, draw: &Draw<'_>, now: Timestamp) -> Vec<Left> {
        self.inner.mirror.remainder(draw, micros(now), self.inner.apart())
    }

    fn penalise(&self, owner: &str, wait: Duration, now: Timestamp) {
        self.inner.mirror.penalise(owner, wait, now);
        self.inner.tell(Tiding::Shut(owner.into(), Instant::now() + wait));
    }

    fn correct(&self, draw: &Draw<'_>, said: Allowance, now: Timestamp) {
        self.inner.mirror.correct(draw, said, now);
        for limit in draw.limits.iter().filter(|limit| limit.unit == LimitUnit::Requests) {
            self.inner.tell(Tiding::Left(draw.owner.into(), limit.clone(), said));
        }
    }

    fn shut(&self, owner: &str, now: Timestamp) -> Duration {
        self.inner.mirror.shut(owner, now)
    }

    fn counting(&self) -> Counting {
        let replicas = self.inner.redis.replicas();
        match self.inner.redis.state() {
            State::Up => Counting::Together { replicas },
            State::Down(trouble) => Counting::Apart { replicas, trouble },
            State::Unknown => Counting::Apart { replicas, trouble: crate::state::redis::Trouble::Unreachable },
        }
    }
}
