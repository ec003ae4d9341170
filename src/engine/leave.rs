//! Leave to call: of the breakers, and of every limit of the provider and the model.
//!
//! Why it exists: whether a plan waits for room or makes way for the next one is one decision, made here as the planner
//! priced it. What it refuses to know: how limits are counted. To add a gate: before the limits, since what they gave is
//! spent.
//!
//! A limit gives room for now or books it for later; a plan books as far ahead as its wait is worth
//! ([`Planned::worth_waiting`](crate::domain::plan::Planned::worth_waiting)), and when no other is left, as far as the
//! deadline allows.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::Engine;
use super::buy::Unit;
use super::execute::{Ended, Run};
use super::world::draws;
use crate::domain::catalog::{Model, ModelIx, Provider};
use crate::domain::quota::Cost;
use crate::state::{Draw, Permit};

/// How long a plan may wait in any case: less than asking another provider takes.
const QUOTA_PATIENCE: Duration = Duration::from_millis(50);

impl Run<'_> {
    /// Leave of breakers and limits for every unit.
    pub(super) async fn leave(
        &mut self,
        ix: ModelIx,
        model: &Model,
        provider: &Provider,
        units: &[Unit],
        has_next: bool,
    ) -> Result<Vec<Permit>, Ended> {
        loop {
            self.conducted(ix, model, has_next).await?;
            let until = self.patience(ix, has_next);
            let mut permits = Vec::with_capacity(units.len());
            let mut waited = false;
            for unit in units {
                match self.permit(ix, model, provider, unit, until).await {
                    Ok(permit) => {
                        waited |= !permit.delay().is_zero();
                        permits.push(permit);
                    }
                    Err(ended) => {
                        self.bound.withdraw(ix, model);
                        return Err(ended);
                    }
                }
            }
            if !waited {
                return Ok(permits);
            }
            // Much may have happened during the wait: the breakers are asked again.
            self.bound.withdraw(ix, model);
            if self.bound.admit(ix, model, Self::now()).is_ok() {
                return Ok(permits);
            }
        }
    }

    /// Takes leave of both breakers. A provider that asked for a pause is waited for like a limit; one that fails only
    /// when there is no other.
    async fn conducted(&mut self, ix: ModelIx, model: &Model, has_next: bool) -> Result<(), Ended> {
        loop {
            let Err(wait) = self.bound.admit(ix, model, Self::now()) else { return Ok(()) };
            let asked = !self.bound.pause(ix, model, Self::now()).is_zero();
            let last = match (has_next, asked) {
                (false, _) => self.deadline,
                (true, true) => self.patience(ix, has_next),
                (true, false) => return Err(Ended::NextPlan),
            };
            if Instant::now() + wait >= last {
                if asked {
                    self.denied = Some(self.denied.map_or(wait, |held| held.min(wait)));
                }
                return Err(Ended::NextPlan);
            }
            sleep(wait).await;
        }
    }

    /// Until when a call of this model may wait for its limits.
    fn patience(&self, ix: ModelIx, has_next: bool) -> Instant {
        let least = Instant::now() + QUOTA_PATIENCE;
        let last = self.deadline.checked_sub(self.bound.latency(ix).p50).unwrap_or(least);
        if !has_next {
            return last.max(least);
        }
        let worth = self.worth.and_then(|worth| self.begun.checked_add(worth));
        worth.map_or(least, |worth| worth.min(last).max(least))
    }

    async fn permit(
        &mut self,
        ix: ModelIx,
        model: &Model,
        provider: &Provider,
        unit: &Unit,
        until: Instant,
    ) -> Result<Permit, Ended> {
        let (draws, cost) = (draws(provider, model), self.drawn_by(ix, model, unit));
        loop {
            let patience = until.saturating_duration_since(Instant::now());
            let again = match self.engine.limits.draw(&draws, cost, patience, Self::now()).await {
                Ok(permit) => {
                    // Even a sleep of no time lasts until the clock's next tick, a millisecond.
                    if !permit.delay().is_zero() {
                        sleep(permit.delay()).await;
                    }
                    // A provider that asks to be left alone asks it of those that are waiting too.
                    let shut = draws.iter().map(|draw| self.engine.limits.shut(draw.owner, Self::now())).max();
                    match shut.filter(|shut| !shut.is_zero()) {
                        None => {
                            self.engine.tell_draw(&draws, &permit);
                            return Ok(permit);
                        }
                        Some(shut) => shut,
                    }
                }
                Err(wait) => wait.0.max(Duration::from_millis(1)),
            };
            if Instant::now() + again > until {
                self.engine.tell_denied(&draws);
                self.denied = Some(self.denied.map_or(again, |held| held.min(again)));
                return Err(Ended::NextPlan);
            }
            sleep_until(Instant::now() + again).await;
        }
    }

    /// What a unit draws.
    fn drawn_by(&self, ix: ModelIx, model: &Model, unit: &Unit) -> Cost {
        let images = u32::try_from(unit.indices.len()).unwrap_or(u32::MAX);
        let usd = self.price(ix, model, unit).worst;
        Cost { images, pixels: unit.size.pixels() * u64::from(images), usd }
    }
}

impl Engine {
    /// Counts a draw that was given.
    pub(super) fn tell_draw(&self, draws: &[Draw<'_>], permit: &Permit) {
        for draw in draws {
            for limit in draw.limits {
                let shadowed = permit.over().contains(&limit.name);
                self.telemetry.quota(draw.owner, &limit.name, if shadowed { "shadow_denied" } else { "allowed" });
            }
        }
    }

    /// Counts a draw that was refused.
    pub(super) fn tell_denied(&self, draws: &[Draw<'_>]) {
        for draw in draws {
            for limit in draw.limits {
                self.telemetry.quota(draw.owner, &limit.name, "denied");
            }
        }
    }
}
