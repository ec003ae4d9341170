//! One paid call: price, conversation with the provider, bill.
//!
//! Why it exists: everything that can happen between a ticket and its bill stands here. A call that buys is sent once;
//! asking about bought work and fetching it are free and may be repeated. What it refuses to know: what follows from a
//! fault (`execute.rs` asks the table).

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::execute::{Run, format_of};
use super::finish::{self, Artifact};
use super::hold::{Bill, Intent, Ticket};
use super::resume::Trace;
use crate::domain::catalog::{Model, ModelIx, Provider, Sizes, Unit as PriceUnit};
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::domain::image::Size;
use crate::domain::ledger::Basis;
use crate::domain::money::Money;
use crate::domain::quote::{Quote, quote, seconds};
use crate::provider::{Adapter, Call, Op, Pending, Progress, RawImage, Reply, Step, Usage, adapter};
use crate::state::Draw;
use crate::telemetry::trace;
use crate::transport::{Endpoint, Transport};

/// What one call is to make.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Which of the request's pictures.
    pub(super) indices: Vec<u8>,
    /// The draft to enlarge; `None` to generate.
    pub(super) input: Option<Artifact>,
    /// The size that should come back.
    pub(super) size: Size,
    /// Its position in the model's list.
    pub(super) listed: Option<u16>,
    /// The seed as the provider takes it.
    pub(super) seed: Option<u64>,
}

/// A picture that was bought.
#[derive(Debug)]
pub(super) struct Bought {
    pub(super) index: u8,
    pub(super) artifact: Artifact,
}

/// What came back of one call.
pub(super) struct Outcome {
    result: Result<(Vec<RawImage>, Usage), Fault>,
    took: Duration,
}

/// How often a free call is repeated.
const FREE_TRIES: u32 = 4;
/// The wait before the first repeat of a free call, doubled each time.
const FREE_PAUSE: Duration = Duration::from_millis(200);

impl Run<'_> {
    /// The worst price of a unit, to be held.
    pub(super) fn intent(&self, ix: ModelIx, model: &Model, provider: &Provider, unit: &Unit) -> Intent {
        let worst = self.price(ix, model, unit).worst;
        Intent { provider: provider.name.clone(), model: model.id.clone(), worst }
    }

    pub(super) fn price(&self, ix: ModelIx, model: &Model, unit: &Unit) -> Quote {
        let ask = &self.request.ask;
        let prompt_bytes = ask.prompt.as_str().len() + ask.negative_prompt.as_deref().map_or(0, str::len);
        let images = u8::try_from(unit.indices.len()).unwrap_or(u8::MAX);
        // The planner drops models without a price, so the fallback is never sent; it holds more than any cap allows.
        quote(model, unit.size, images, prompt_bytes, self.bound.latency(ix), self.today)
            .unwrap_or(Quote { expected: Money::MAX, worst: Money::MAX })
    }

    /// Sends one unit and stays with it until its pictures are here.
    pub(super) async fn call(
        &self,
        ix: ModelIx,
        model: &Model,
        provider: &Provider,
        unit: &Unit,
        ticket: &Ticket,
    ) -> Outcome {
        let begun = Instant::now();
        let result = trace::call("image_generation", async {
            trace::note("gen_ai.operation.name", || "image_generation");
            trace::note("gen_ai.output.type", || "image");
            trace::note("gen_ai.provider.name", || &*provider.name);
            trace::note("gen_ai.request.model", || model.id.split_once('/').map_or(&*model.id, |(_, name)| name));
            trace::note("gen_ai.request.choice.count", || i64::try_from(unit.indices.len()).unwrap_or(i64::MAX));
            let result = self.converse(ix, model, provider, unit, ticket).await;
            result.inspect_err(|fault| trace::failed(fault.class.name()))
        })
        .await;
        Outcome { result, took: begun.elapsed() }
    }

    async fn converse(
        &self,
        ix: ModelIx,
        model: &Model,
        provider: &Provider,
        unit: &Unit,
        ticket: &Ticket,
    ) -> Result<(Vec<RawImage>, Usage), Fault> {
        let ours = |detail: String| Fault::new(Class::Reject, Blame::Ourselves, Billed::No, detail);
        let dialect = adapter(provider.dialect).ok_or_else(|| ours("the provider makes no calls".to_owned()))?;
        let endpoint = self.snapshot.endpoint(model.provider);
        let endpoint = endpoint.ok_or_else(|| ours("the provider has no address".to_owned()))?;
        let step = self.step(model, unit);
        let call = dialect.encode(&step, model, provider).map_err(|unsupported| ours(unsupported.0))?;
        let deadline = self.call_deadline(ix);
        let trail = Trail { run: self, seq: ticket.seq(), trace: self.trace(ix, model, unit) };
        let transport = &*self.engine.transport;
        let bought = false;
        Conversation { transport, dialect, endpoint, model, step, deadline, bought, trail: Some(trail) }
            .hold(call)
            .await
    }

    /// What a call of this unit leaves behind.
    pub(super) fn trace(&self, ix: ModelIx, model: &Model, unit: &Unit) -> Trace {
        let format = format_of(model, self.request.ask.output_format);
        Trace::of(model, unit, format, self.price(ix, model, unit).expected)
    }

    fn step<'u>(&'u self, model: &'u Model, unit: &'u Unit) -> Step<'u> {
        let ask = &self.request.ask;
        let native = match (model.sizes(), unit.listed) {
            (Some(Sizes::Listed(natives)), Some(at)) => natives.get(usize::from(at)),
            _ => None,
        };
        let op = unit.input.as_ref().map_or(Op::Generate, |draft| Op::Upscale {
            image: &draft.bytes,
            format: draft.format,
            from: draft.size,
        });
        Step {
            op,
            prompt: ask.prompt.as_str(),
            negative_prompt: ask.negative_prompt.as_deref().filter(|_| model.negative_prompt),
            size: unit.size,
            label: native.map_or("", |native| &native.label),
            scale: native.map_or("", |native| &native.scale),
            images: u8::try_from(unit.indices.len()).unwrap_or(u8::MAX),
            seed: unit.seed,
            format: format_of(model, ask.output_format),
        }
    }

    /// The bill of a call, and its pictures or its fault. A picture that is none makes the call garbled, and billed.
    pub(super) fn settle(
        &self,
        ix: ModelIx,
        model: &Model,
        unit: &Unit,
        outcome: Outcome,
    ) -> (Bill, Result<Vec<Bought>, Fault>) {
        // In whole microseconds, as the books keep it.
        let latency = Duration::from_micros(u64::try_from(outcome.took.as_micros()).unwrap_or(u64::MAX));
        let (cost, basis, pictures) = match outcome.result {
            Ok((raw, usage)) => {
                let (cost, basis) = self.cost(ix, model, unit, &raw, usage, latency);
                (cost, basis, accept(unit, raw))
            }
            Err(fault) => (self.price(ix, model, unit).expected, Basis::PriceTable, Err(fault)),
        };
        self.hear(ix, model, pictures.as_ref().map(|_| latency));
        let bytes = pictures.iter().flatten().map(|bought| bought.artifact.bytes.len() as u64).sum();
        self.engine.telemetry.image_bytes_in(bytes);
        if let (Err(fault), Some(provider)) = (&pictures, self.snapshot.catalog.provider(model.provider))
            && fault.class == Class::Throttle
        {
            let wait = fault.retry_after.unwrap_or(Duration::from_secs(1));
            self.engine.limits.penalise(&provider.name, wait, Self::now());
        }
        let (billed, outcome, detail) = match &pictures {
            Ok(_) => (Billed::Yes, "ok", String::new()),
            Err(fault) => (fault.billed, fault.class.name(), fault.detail.clone()),
        };
        (Bill { billed, cost, basis, outcome, detail, latency }, pictures)
    }

    fn cost(
        &self,
        ix: ModelIx,
        model: &Model,
        unit: &Unit,
        raw: &[RawImage],
        usage: Usage,
        took: Duration,
    ) -> (Money, Basis) {
        let of = |images: usize| {
            let mut paid = unit.clone();
            paid.indices.truncate(images);
            self.price(ix, model, &paid).expected
        };
        let by_time = model.price(unit.size, self.today).filter(|row| row.unit == PriceUnit::Second);
        match (usage, model.tokens, by_time) {
            (Usage::Exact(cost), ..) => (cost, Basis::ProviderUsage),
            (Usage::Tokens(tokens), Some(rates), _) => (tokens.cost(rates), Basis::ProviderUsage),
            (_, _, Some(row)) => (seconds(row.usd, took), Basis::PriceTable),
            (Usage::Images(images), ..) => (of(usize::from(images)), Basis::ProviderUsage),
            (Usage::AsQuoted | Usage::Tokens(_), ..) => (of(raw.len()), Basis::PriceTable),
        }
    }
}

/// Sniffs and bounds every picture of a call.
fn accept(unit: &Unit, raw: Vec<RawImage>) -> Result<Vec<Bought>, Fault> {
    let garbled = |detail: String| Fault::new(Class::Garbled, Blame::Provider, Billed::Yes, detail);
    if raw.is_empty() {
        return Err(garbled("the answer holds no picture".to_owned()));
    }
    let bought = unit.indices.iter().zip(raw).map(|(&index, raw)| {
        let artifact = finish::verify(raw, unit.size, unit.seed).map_err(garbled)?;
        Ok(Bought { index, artifact })
    });
    bought.collect()
}

/// The exchange of one unit, from the first call to the pictures.
pub(super) struct Conversation<'a> {
    pub(super) transport: &'a dyn Transport,
    pub(super) dialect: &'static dyn Adapter,
    pub(super) endpoint: &'a Endpoint,
    pub(super) model: &'a Model,
    pub(super) step: Step<'a>,
    pub(super) deadline: Instant,
    /// Whether the call that buys was answered with anything but a fault.
    pub(super) bought: bool,
    /// Where a handle is written down.
    pub(super) trail: Option<Trail<'a>>,
}

/// Where a call writes down what it leaves behind.
pub(super) struct Trail<'a> {
    run: &'a Run<'a>,
    seq: u32,
    trace: Trace,
}

impl Trail<'_> {
    async fn leave(self, call: &Call) {
        if let Some(trace) = self.trace.asking(call) {
            self.run.engine.leave(&self.run.hold.id(), self.seq, &trace).await;
        }
    }
}

impl Conversation<'_> {
    pub(super) async fn hold(mut self, first: Call) -> Result<(Vec<RawImage>, Usage), Fault> {
        let mut call = first;
        loop {
            let progress = self.ask(&call).await?;
            self.bought |= call.stage.buys();
            match progress {
                Progress::Done(images, usage) => return Ok((images, usage)),
                Progress::Fetch(pending, usage) => {
                    let mut images = Vec::with_capacity(pending.len());
                    for pending in pending {
                        images.push(self.fetch(pending).await?);
                    }
                    return Ok((images, usage));
                }
                Progress::Poll { after, call: next } => {
                    if self.bought
                        && let Some(trail) = self.trail.take()
                    {
                        trail.leave(&next).await;
                    }
                    let until = Instant::now() + after;
                    if until >= self.deadline {
                        return Err(self.doubt(Fault::new(
                            Class::TimeOut,
                            Blame::Provider,
                            Billed::No,
                            "the work was not done before the deadline",
                        )));
                    }
                    sleep_until(until).await;
                    call = next;
                }
            }
        }
    }

    /// Downloads a bought picture; what is lost on the way was still paid for.
    async fn fetch(&self, pending: Pending) -> Result<RawImage, Fault> {
        let lost = |detail: &str| Fault::new(Class::Garbled, Blame::Provider, Billed::Yes, detail);
        match self.ask(&pending.call).await {
            Ok(Progress::Done(images, _)) => {
                let image = images.into_iter().next().ok_or_else(|| lost("the download is empty"))?;
                Ok(RawImage { seed: pending.seed.or(image.seed), ..image })
            }
            Ok(_) => Err(lost("the download is not a picture")),
            Err(fault) => Err(Fault { billed: Billed::Yes, ..fault }),
        }
    }

    /// Sends one call and reads its answer. A call that does not buy is repeated while its failure may pass.
    async fn ask(&self, call: &Call) -> Result<Progress, Fault> {
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = self.transport.send(self.endpoint, call, self.deadline).await;
            if let Ok(reply) = &sent {
                self.listen(reply);
            }
            let reply = sent.and_then(|reply| self.dialect.decode(&self.step, self.model, call, &reply));
            let fault = match reply {
                Ok(progress) => return Ok(progress),
                Err(fault) => fault,
            };
            let passes = matches!(fault.class, Class::Throttle | Class::Unavailable);
            let pause = fault.retry_after.unwrap_or(FREE_PAUSE.saturating_mul(1 << tries));
            if call.stage.buys() {
                return Err(fault);
            }
            if !passes || tries >= FREE_TRIES || Instant::now() + pause >= self.deadline {
                return Err(if passes || fault.class == Class::TimeOut { self.doubt(fault) } else { fault });
            }
            sleep(pause).await;
        }
    }

    /// What the provider says of its limit corrects what we count.
    fn listen(&self, reply: &Reply) {
        let Some(trail) = &self.trail else { return };
        let provider = trail.run.snapshot.catalog.provider(self.model.provider);
        if let (Some(said), Some(provider)) = (self.dialect.allowance(reply), provider) {
            let draw = Draw { owner: &provider.name, limits: &provider.limits };
            trail.run.engine.limits.correct(&draw, said, Run::now());
        }
    }

    /// A failure of the way, after the buying call was answered, leaves the money in doubt.
    fn doubt(&self, fault: Fault) -> Fault {
        if self.bought { Fault { billed: Billed::Unknown, ..fault } } else { fault }
    }
}
