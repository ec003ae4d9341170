//! One call on its way through a provider: whose key, about which model, struck by which fault, billed how much.
//!
//! It refuses to know the wire: providers tell it the model and the price, the door turns the result into bytes.
//! Work always runs to its end and is billed, whether or not the caller is still there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::bill::Line;
use super::fault::{Fault, Moment, garbage};
use super::providers::Provider;
use super::truth::Model;
use super::wire::{Answer, Call, Delivery};
use super::world::World;

/// The clock's.
const TICK: Duration = Duration::from_millis(1);

/// One call to one provider.
pub(super) struct Visit<'a> {
    pub(super) world: &'a Arc<World>,
    pub(super) call: Call,
    provider: &'a dyn Provider,
    arrived: Instant,
    key: String,
    model: Option<&'static str>,
    billed: u64,
    fault: Struck,
}

/// Whether a planned fault has been looked for yet.
enum Struck {
    NotAsked,
    By(Option<Box<Fault>>),
}

impl<'a> Visit<'a> {
    pub(super) fn new(world: &'a Arc<World>, provider: &'a dyn Provider, call: Call, arrived: Instant) -> Self {
        Self { world, call, provider, arrived, key: String::new(), model: None, billed: 0, fault: Struck::NotAsked }
    }

    pub(super) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Notes the credential that was presented.
    pub(super) fn presents(&mut self, key: &str) {
        key.clone_into(&mut self.key);
    }

    /// Names the model that the call is about, and lets a fault that is planned before the work strike.
    pub(super) async fn is_about(&mut self, model: Option<&'static str>) -> Result<(), Answer> {
        self.model = model;
        if !matches!(self.fault, Struck::NotAsked) {
            return Ok(());
        }
        let fault = self.world.faults.strike(self.provider.prefix(), model, &self.call.path).map(Box::new);
        let now = fault.clone().filter(|fault| fault.moment() == Moment::Headers);
        self.fault = Struck::By(fault);
        match now {
            Some(fault) => self.strike_before_work(&fault).await,
            None => Ok(()),
        }
    }

    /// Does `work` while the model's latency passes, then bills `micro_usd`.
    pub(super) async fn work<T>(&mut self, model: &Model, micro_usd: u64, work: impl Future<Output = T>) -> T {
        let latency = self.world.draw_latency(model);
        let pass = async {
            // A sleep of a microsecond would last until the clock's next tick.
            if latency >= TICK {
                sleep(latency).await;
            }
        };
        let (done, ()) = tokio::join!(work, pass);
        self.billed += micro_usd;
        done
    }

    /// Charges for something that takes no time here.
    pub(super) fn charge(&mut self, micro_usd: u64) {
        self.billed += micro_usd;
    }

    /// Lets a late fault strike, writes the bill's line, and gives what is sent.
    pub(super) async fn close(mut self, answer: Result<Answer, Answer>) -> Answer {
        let answer = match answer {
            Ok(answer) => match self.is_about(self.model).await {
                Ok(()) => self.spoil(answer).await,
                Err(refused) => refused,
            },
            Err(refused) => refused,
        };
        let status = if answer.delivery == Delivery::Reset { 0 } else { answer.status };
        self.world.bill.record(Line {
            provider: self.provider.prefix(),
            model: self.model,
            path: self.call.path,
            at_ms: self.world.clock.at_ms(self.arrived),
            status,
            billed_micro_usd: self.billed,
            key: self.key,
            bytes: answer.sent(),
        });
        answer
    }

    async fn strike_before_work(&self, fault: &Fault) -> Result<(), Answer> {
        if let Some(stall) = fault.stall() {
            sleep(stall).await;
        }
        if fault.reset {
            return Err(Answer { delivery: Delivery::Reset, ..Answer::empty(502) });
        }
        if let Some(status) = fault.status {
            return Err(self.provider.error(status));
        }
        if fault.garbage {
            return Err(garbage(&Answer::empty(200)));
        }
        Ok(())
    }

    async fn spoil(&self, answer: Answer) -> Answer {
        let Struck::By(Some(fault)) = &self.fault else {
            return answer;
        };
        match fault.moment() {
            Moment::Headers if fault.truncate => fault.spoil(answer),
            Moment::Headers => answer,
            Moment::Body => fault.spoil(answer),
            Moment::AfterBill => {
                if let Some(stall) = fault.stall() {
                    sleep(stall).await;
                }
                let answer = fault.status.map_or(answer, |status| self.provider.error(status));
                fault.spoil(answer)
            }
        }
    }
}

/// The two halves of a body that is not delivered in one piece.
pub(super) fn halves(body: &Bytes) -> (Bytes, Bytes) {
    let middle = body.len() / 2;
    (body.slice(..middle), body.slice(middle..))
}
