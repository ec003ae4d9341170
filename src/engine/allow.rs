//! What a caller's own limits allow.
//!
//! Why it exists: a key may have limits of requests, images, megapixels, dollars and calls in flight. They are drawn on
//! once a purchase is planned, so that what is free (replays, shared flights) stays free, and dollars are those of the
//! plan. What it refuses to know: headers and status codes.

use std::time::Duration;

use super::admit::authenticate;
use super::world::Bound;
use super::{Engine, Order, no_plan};
use crate::domain::plan::{Planned, View};
use crate::domain::quota::Cost;
use crate::domain::refusal::Refusal;
use crate::policy::{ApiKey, Snapshot};
use crate::state::limits::{Left, NEVER};
use crate::state::{Draw, Permit, Wait};
use crate::telemetry::clock;

impl Engine {
    /// The plans of a request, one of which may run, and leave by the caller's own limits.
    pub(super) async fn plan_allowed(
        &self,
        order: &mut Order,
        bound: &Bound,
    ) -> Result<(Planned, View, Permit), Refusal> {
        let (planned, view) = self.plan_now(&order.snapshot, bound, &order.request);
        order.usual = self.decide_beside(order, &planned, &view);
        match (planned.best(), planned.shortest_quota_wait()) {
            (Some(_), _) => {
                let permit = self.allow(order, &planned).await?;
                Ok((planned, view, permit))
            }
            (None, Some(retry_after)) => Err(Refusal::QuotaExhausted { retry_after }),
            (None, None) => Err(no_plan(order, &planned, &view)),
        }
    }

    /// Draws on the limits of the caller's key for a whole request, or refuses.
    async fn allow(&self, order: &Order, planned: &Planned) -> Result<Permit, Refusal> {
        let ask = &order.request.ask;
        let usd = planned.best().map(|best| best.quote.worst).unwrap_or_default();
        let cost = Cost { images: ask.n.into(), pixels: ask.size.pixels() * u64::from(ask.n), usd };
        self.allow_key(&order.house, &order.tenant, cost).await
    }

    /// Draws on the limits of a key, or refuses; a key without limits may do everything.
    pub(super) async fn allow_key(&self, snapshot: &Snapshot, tenant: &str, cost: Cost) -> Result<Permit, Refusal> {
        let Some(key) = limited(snapshot, tenant) else {
            return Ok(Permit::free());
        };
        let draws = [draw(key)];
        match self.limits.draw(&draws, cost, Duration::ZERO, clock::now()).await {
            Ok(permit) => {
                self.tell_draw(&draws, &permit);
                Ok(permit)
            }
            Err(Wait(wait)) => {
                self.tell_denied(&draws);
                if wait < NEVER {
                    return Err(Refusal::RateLimited { retry_after: wait });
                }
                let detail = "one request like this is more than the limits of the key let through at once".to_owned();
                Err(Refusal::InvalidRequest { pointer: String::new(), detail })
            }
        }
    }

    /// What is left of the limits of a key; empty when it has none, or is unknown.
    pub fn allowance(&self, key: Option<&str>) -> Vec<Left> {
        let snapshot = self.snapshots.current();
        if snapshot.keys.iter().all(|key| key.limits.is_empty()) {
            return Vec::new();
        }
        let tenant = authenticate(&snapshot, key).ok();
        let key = tenant.as_deref().and_then(|tenant| limited(&snapshot, tenant));
        key.map(|key| self.limits.left(&draw(key), clock::now())).unwrap_or_default()
    }
}

fn limited<'s>(snapshot: &'s Snapshot, tenant: &str) -> Option<&'s ApiKey> {
    snapshot.keys.iter().find(|key| *key.name == *tenant).filter(|key| !key.limits.is_empty())
}

fn draw(key: &ApiKey) -> Draw<'_> {
    Draw { owner: &key.owner, limits: &key.limits }
}
