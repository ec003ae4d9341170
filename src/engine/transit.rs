//! A call of a provider's own API on its way through: leave, money held, what came of it.
//!
//! Why it exists: the pass-through streams bodies that it does not understand, and owes the same account as a generation:
//! breaker, limits, a reservation that is durable before anything is sent, one receipt. What it refuses to know: bodies
//! and sockets; the door tells how the exchange ended, and the dialect says what an answer cost.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::admit::authenticate;
use super::hold::{Bill, Course, End, Intent, Reservation, Ticket};
use super::join::Departure;
use super::world::Bound;
use super::{Engine, new_id};
use crate::domain::breaker::Signal;
use crate::domain::budget::{Ahead, Payer, Purse};
use crate::domain::catalog::{Model, Provider, ProviderIx, Sizes, Unit};
use crate::domain::fault::{Billed, Class, Fault};
use crate::domain::image::Size;
use crate::domain::ledger::{Attempt, Basis, Opening, Sums};
use crate::domain::money::Money;
use crate::domain::native::Priced;
use crate::domain::quota::Cost;
use crate::domain::quote::seconds;
use crate::domain::refusal::Refusal;
use crate::domain::retry::signal;
use crate::policy::Snapshot;
use crate::provider::{Reply, Usage, native};
use crate::state::{Draw, Permit, Wait};
use crate::telemetry::{Outcome, Receipt, clock};

/// A call that asks to pass.
#[derive(Clone, Debug)]
pub struct Passing {
    /// In every trace of it.
    pub request_id: Arc<str>,
    /// Whose key it came with.
    pub tenant: Arc<str>,
    /// Whose API.
    pub provider: ProviderIx,
    /// What it buys.
    pub priced: Priced,
    /// Method and path, for the books.
    pub call: String,
    /// When it came.
    pub arrived: Instant,
    /// The same, for the books.
    pub received: Timestamp,
}

/// A call under way. When it is dropped without its end, its money is left in doubt.
pub struct Transit {
    engine: Arc<Engine>,
    snapshot: Arc<Snapshot>,
    bound: Arc<Bound>,
    passing: Passing,
    hold: Option<(Reservation, Ticket)>,
    _permit: Permit,
    begun: Instant,
}

/// How an exchange ended.
#[derive(Debug)]
pub enum Ended {
    /// The provider answered; pictures are left out of the reply's body.
    Answered(Reply),
    /// It broke off.
    Broken(Fault),
}

/// Whose key it is, by this policy: `-` when none are configured.
pub fn tenant(snapshot: &Snapshot, key: Option<&str>) -> Result<Arc<str>, Refusal> {
    authenticate(snapshot, key)
}

impl Engine {
    /// Leave to pass: breakers, limits, then money, held durably. A free call holds none.
    pub async fn let_pass(self: &Arc<Self>, snapshot: Arc<Snapshot>, passing: Passing) -> Result<Transit, Refusal> {
        let bound = self.world.bind(&snapshot);
        let missing = || Refusal::NotFound("There is no such provider.".to_owned());
        let provider = snapshot.catalog.provider(passing.provider).ok_or_else(missing)?;
        let model = passing.priced.model.and_then(|ix| Some((ix, snapshot.catalog.model(ix)?)));
        let admitted = match model {
            Some((ix, model)) => bound.admit(ix, model, clock::now()),
            None => bound.admit_provider(passing.provider, clock::now()),
        };
        admitted.map_err(|retry_after| Refusal::QuotaExhausted { retry_after })?;
        let left = self.reserve(provider, model.map(|(_, model)| model), &snapshot, &passing).await;
        match left {
            Ok((permit, hold)) => {
                let engine = Arc::clone(self);
                Ok(Transit { engine, bound, passing, hold, _permit: permit, begun: Instant::now(), snapshot })
            }
            Err(refusal) => {
                match model {
                    Some((ix, model)) => bound.withdraw(ix, model),
                    None => bound.withdraw_provider(passing.provider),
                }
                Err(refusal)
            }
        }
    }

    /// Draws on the caller's limits, then on the provider's and the model's; a native call does not wait for room.
    async fn room_for(
        &self,
        provider: &Provider,
        model: Option<&Model>,
        snapshot: &Snapshot,
        passing: &Passing,
    ) -> Result<Permit, Refusal> {
        let priced = &passing.priced;
        // The call's size is the vendor's word: the largest that the model makes stands for it.
        let most = model.and_then(Model::sizes).map_or(0, Sizes::most_pixels);
        let pixels = most.saturating_mul(priced.images.into());
        let cost = Cost { images: priced.images.into(), pixels, usd: priced.quote.worst };
        let of_key = self.allow_key(snapshot, &passing.tenant, cost).await?;
        let of_provider = Draw { owner: &provider.name, limits: &provider.limits };
        let of_model = model.map(|model| Draw { owner: &model.id, limits: &model.limits });
        let draws: Vec<Draw<'_>> = std::iter::once(of_provider).chain(of_model).collect();
        match self.limits.draw(&draws, cost, Duration::ZERO, clock::now()).await {
            Ok(permit) => {
                self.tell_draw(&draws, &permit);
                Ok(Permit::holding((of_key, permit)))
            }
            Err(Wait(retry_after)) => {
                self.tell_denied(&draws);
                Err(Refusal::QuotaExhausted { retry_after })
            }
        }
    }

    async fn reserve(
        &self,
        provider: &Provider,
        model: Option<&Model>,
        snapshot: &Snapshot,
        passing: &Passing,
    ) -> Result<(Permit, Option<(Reservation, Ticket)>), Refusal> {
        let permit = self.room_for(provider, model, snapshot, passing).await?;
        if passing.priced.quote.worst == Money::ZERO {
            return Ok((permit, None));
        }
        self.in_force(snapshot).await?;
        let (ledger, telemetry) = (Arc::clone(&self.ledger), Arc::clone(&self.telemetry));
        let opening = opening(snapshot, passing);
        let payer = Payer { key: &passing.tenant, task: "", metadata: &opening.metadata };
        let purse = Purse::of(&snapshot.budgets, &payer, passing.received);
        let mut hold =
            Reservation::new(ledger, telemetry, opening, purse, passing.arrived, Departure::alone(passing.arrived));
        let worst = passing.priced.quote.worst;
        hold.set_out(Course {
            model: passing.priced.name.clone(),
            words: passing.call.clone(),
            expected_cost: passing.priced.quote.expected,
            expected_accept: 0.0,
            ahead: Ahead { worst, shares: vec![(provider.name.clone(), worst)] },
        });
        let intent = Intent { provider: provider.name.clone(), model: passing.priced.name.clone(), worst };
        let ticket = hold.dispatch(&[intent]).await?.into_iter().next().ok_or(Refusal::Internal)?;
        Ok((permit, Some((hold, ticket))))
    }

    /// The receipt of a call that was not let by.
    pub fn turned_away(&self, request_id: &Arc<str>, tenant: Option<Arc<str>>, code: &'static str, arrived: Instant) {
        let mut receipt = Receipt::blank(request_id, &self.snapshot().digest);
        (receipt.key, receipt.outcome) = (tenant.unwrap_or(receipt.key), Outcome::Refused(code));
        receipt.total = arrived.elapsed();
        self.telemetry.receipt(&receipt);
    }
}

fn opening(snapshot: &Snapshot, passing: &Passing) -> Opening {
    Opening {
        id: new_id("gen_"),
        created: passing.received,
        key: passing.tenant.clone(),
        task: Arc::default(),
        model: Arc::default(),
        plan: String::new(),
        rule: None,
        policy: snapshot.digest.clone(),
        prompt_sha256: String::new(),
        prompt: None,
        metadata: std::collections::BTreeMap::default(),
        expected_cost: Money::ZERO,
        expected_accept: 0.0,
        reserved: Money::ZERO,
        decision: None,
        claim: None,
        attempts: Vec::new(),
        earmarks: Vec::new(),
    }
}

impl Transit {
    /// What a fault leaves of its money, for the answer that tells of it.
    pub fn attempt(&self, fault: &Fault) -> Attempt {
        let mut attempt = self.free(fault.class.name(), fault.detail.clone(), self.begun.elapsed());
        attempt.held = self.passing.priced.quote.worst;
        attempt.end(fault.billed, Money::ZERO, Basis::PriceTable);
        attempt
    }

    /// Closes the books and writes the receipt.
    pub async fn end(mut self, ended: Ended) {
        let took = Duration::from_micros(u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        let judged = self.judge(ended, took);
        self.tell(&judged, took);
        let (billed, outcome, detail) = match &judged {
            Ok(_) => (Billed::Yes, "ok", String::new()),
            Err(fault) => (fault.billed, fault.class.name(), fault.detail.clone()),
        };
        let (cost, basis) = judged.unwrap_or((self.passing.priced.quote.expected, Basis::PriceTable));
        let mut receipt = Receipt::blank(&self.passing.request_id, &self.snapshot.digest);
        receipt.key = self.passing.tenant.clone();
        receipt.model = self.passing.priced.name.clone();
        receipt.provider = took;
        if let Some((mut hold, ticket)) = self.hold.take() {
            hold.bill(&ticket, Bill { billed, cost, basis, outcome, detail, latency: took });
            receipt.generation = Some(hold.id());
            let succeeded = if outcome == "ok" { "succeeded" } else { outcome };
            let end = End { outcome: succeeded, model: receipt.model.clone(), ..End::default() };
            let (attempts, waited) = hold.close(end).await;
            let sums = Sums::of(&attempts);
            (receipt.cost, receipt.ambiguous) = (sums.settled, sums.ambiguous);
            (receipt.attempts, receipt.stages) = (attempts, vec![("ledger", waited)]);
        } else {
            receipt.attempts = vec![self.free(outcome, detail, took)];
        }
        receipt.total = self.passing.arrived.elapsed();
        self.engine.telemetry.receipt(&receipt);
    }

    /// What was paid, or what went wrong, in the dialect's words.
    fn judge(&self, ended: Ended, took: Duration) -> Result<(Money, Basis), Fault> {
        let reply = match ended {
            Ended::Answered(reply) => reply,
            Ended::Broken(fault) => return Err(fault),
        };
        let catalog = &self.snapshot.catalog;
        let model = self.passing.priced.model.and_then(|ix| catalog.model(ix));
        let dialect = catalog.provider(self.passing.provider).map(|provider| provider.dialect);
        let usage = native::verdict(dialect.zip(model), self.passing.priced.images, &reply)?;
        let expected = (self.passing.priced.quote.expected, Basis::PriceTable);
        Ok(model.map_or(expected, |model| self.cost(model, usage, took)))
    }

    fn cost(&self, model: &Model, usage: Usage, took: Duration) -> (Money, Basis) {
        let quote = self.passing.priced.quote.expected;
        let of = |images: u8| quote.scaled_up(images.into(), self.passing.priced.images.max(1).into());
        let by_time = model.price(Size::new(1024, 1024), clock::today()).filter(|row| row.unit == Unit::Second);
        match (usage, model.tokens, by_time) {
            (Usage::Exact(cost), ..) => (cost, Basis::ProviderUsage),
            (Usage::Tokens(tokens), Some(rates), _) => (tokens.cost(rates), Basis::ProviderUsage),
            (_, _, Some(row)) => (seconds(row.usd, took), Basis::PriceTable),
            (Usage::Images(images), ..) => (of(images), Basis::ProviderUsage),
            (Usage::AsQuoted | Usage::Tokens(_), ..) => (quote, Basis::PriceTable),
        }
    }

    /// Tells breakers and limits.
    fn tell(&self, judged: &Result<(Money, Basis), Fault>, took: Duration) {
        let (told, took) = match judged {
            Ok(_) => (Signal::Success, Some(took)),
            Err(fault) => (signal(fault), None),
        };
        let catalog = &self.snapshot.catalog;
        match self.passing.priced.model.and_then(|ix| Some((ix, catalog.model(ix)?))) {
            Some((ix, model)) => self.bound.hear(ix, model, told, took, clock::now()),
            None => self.bound.hear_provider(self.passing.provider, told, clock::now()),
        }
        if let (Err(fault), Some(provider)) = (judged, catalog.provider(self.passing.provider))
            && fault.class == Class::Throttle
        {
            let wait = fault.retry_after.unwrap_or(Duration::from_secs(1));
            self.engine.limits.penalise(&provider.name, wait, clock::now());
        }
    }

    /// A free call, for the metrics.
    fn free(&self, outcome: &'static str, detail: String, took: Duration) -> Attempt {
        let provider = self.snapshot.catalog.provider(self.passing.provider);
        let name = provider.map(|provider| provider.name.clone()).unwrap_or_default();
        let mut attempt = Attempt::held(0, name, self.passing.priced.name.clone(), Money::ZERO);
        attempt.end(Billed::No, Money::ZERO, Basis::PriceTable);
        (attempt.outcome, attempt.detail, attempt.latency) = (outcome, detail, took);
        attempt
    }
}
