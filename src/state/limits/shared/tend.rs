//! What Redis is told between draws, and asked.
//!
//! Why it exists: a place that is free must be free for others soon, a provider's word must reach every replica, and the
//! planner's mirror must not grow old. What it refuses to know: how a draw decides.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::super::{Draw, micros};
use super::call::{Call, LEASE};
use super::{Clock, Inner, Tiding};
use crate::domain::quota::Cost;
use crate::state::redis::State;
use crate::telemetry::clock;

/// Between two looks around.
const PACE: Duration = Duration::from_millis(400);
/// What ended within this time is told together.
const TOGETHER: Duration = Duration::from_millis(2);

/// Tends until the last owner of the limits drops them.
pub(super) fn tend(inner: &Arc<Inner>) {
    let kept = Arc::downgrade(inner);
    let leases = Arc::clone(&inner.leases);
    #[expect(
        clippy::disallowed_methods,
        reason = "it writes nothing that a shutdown must wait for, and ends by itself"
    )]
    drop(tokio::spawn(async move {
        let (mut looked, mut renewed, mut up) = (Instant::now(), Instant::now(), false);
        loop {
            let rest = PACE.saturating_sub(looked.elapsed());
            if timeout(rest, leases.ended.notified()).await.is_ok() {
                sleep(TOGETHER).await;
            }
            let Some(inner) = Weak::upgrade(&kept) else { return };
            let was_up = std::mem::replace(&mut up, inner.redis.state() == State::Up);
            if !up {
                sleep(TOGETHER).await;
                looked = if looked.elapsed() >= PACE { Instant::now() } else { looked };
                continue;
            }
            if !was_up {
                inner.leases.reborn();
            }
            let renew = renewed.elapsed() > LEASE / 3;
            if renew {
                renewed = Instant::now();
            }
            inner.tell_all(renew).await;
            if looked.elapsed() >= PACE {
                looked = Instant::now();
                inner.look_around().await;
            }
        }
    }));
}

impl Inner {
    /// Tells what has ended, what goes on, and what providers said. What does not arrive is told again.
    async fn tell_all(&self, renew: bool) {
        for key in self.leases.keys(renew) {
            let mut call = Call::default();
            let told = self.leases.tell(&mut call, [&*key], renew);
            let done = self.send(call).await;
            self.leases.arrived(told, done);
        }
        let tidings = std::mem::take(&mut *self.tidings());
        for tiding in tidings {
            let mut call = Call::default();
            match &tiding {
                Tiding::Left(owner, limit, said) => {
                    call.at_least(owner, limit, limit.pace().tat_with(said.left.into(), 0));
                }
                Tiding::Shut(owner, until) => call.shut(owner, until.saturating_duration_since(Instant::now())),
            }
            if !self.send(call).await {
                self.tidings().push(tiding);
            }
        }
    }

    /// Asks how every owner stands that was ever asked for.
    async fn look_around(&self) {
        let owners: Vec<_> = self.owners().iter().map(|(name, limits)| (name.clone(), Arc::clone(limits))).collect();
        for (name, limits) in owners {
            let draws = [Draw { owner: &name, limits: &limits }];
            let mut call = Call::default();
            let now = self.now();
            let debts = self.debts(&mut call, &draws, now);
            call.draws(&draws, Cost::default());
            let given = (self.clock == Clock::Caller).then_some(now);
            let Ok(answer) = call.run(&self.redis, given, None, "").await else { return };
            if debts {
                self.mirror.forgive(&draws, now);
            }
            self.hear(&draws, &answer, now);
        }
    }

    /// Where the caller's clock decides, it is as late as the caller last said.
    fn now(&self) -> u64 {
        match self.clock {
            Clock::Caller => self.asked.load(Ordering::Relaxed),
            Clock::Server => micros(clock::now()),
        }
    }

    async fn send(&self, call: Call) -> bool {
        if call.is_empty() {
            return true;
        }
        let given = (self.clock == Clock::Caller).then(|| self.now());
        call.run(&self.redis, given, None, "").await.is_ok()
    }
}
