//! Going on where a process died: what a call has left behind, and what the provider says of it.
//!
//! Why it exists: a provider that queues work gives a handle, and whoever has the handle need not pay again. A call
//! leaves its handle, or a job its pictures, in the ledger's database; a repeat of the ask picks them up as drafts, and
//! the janitor asks for the rest of them what they came to. What it refuses to know: wires (dialects), and who repeats.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::Engine;
use super::buy::{Conversation, Unit};
use super::draft::Draft;
use super::execute::Run;
use super::finish::{self, Artifact};
use crate::domain::catalog::{Model, ModelIx};
use crate::domain::fault::Billed;
use crate::domain::image::{Format, Size};
use crate::domain::ledger::MoneyState;
use crate::domain::money::Money;
use crate::policy::Snapshot;
use crate::provider::{Auth, Body, Call, Method, Op, RawImage, Stage, Step, Target, adapter};
use crate::state::Record;
use crate::state::doubts::{DoubtfulCall, Settlement};
use crate::telemetry::clock;

/// Between two rounds of the janitor.
const ROUND: Duration = Duration::from_secs(20);
/// How long the janitor waits for one answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// A call that is younger may still be somebody's.
const REST: SignedDuration = SignedDuration::from_secs(5);
/// How long what was left behind is kept: longer than a claim, and than providers keep results.
const KEPT: SignedDuration = SignedDuration::from_hours(48);

/// What a call leaves behind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Trace {
    model: Arc<str>,
    indices: Vec<u8>,
    width: u32,
    height: u32,
    seed: Option<u64>,
    format: String,
    /// What it costs by the price table.
    expected: i64,
    handle: Option<Handle>,
    pictures: Vec<Picture>,
}

/// A call that asks about bought work. Its credential is the policy's, as ever.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Handle {
    place: String,
    link: bool,
    post: bool,
    auth: String,
    headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Picture {
    index: u8,
    sha256: String,
    format: String,
    width: u32,
    height: u32,
    seed: Option<u64>,
}

/// Headers that a handle may have: a call names them by words of this program.
const HEADERS: [&str; 2] = ["accept", "x-api-key"];

impl Trace {
    /// Of a call for `unit` on `model`.
    pub(super) fn of(model: &Model, unit: &Unit, format: Format, expected: Money) -> Self {
        Self {
            model: model.id.clone(),
            indices: unit.indices.clone(),
            width: unit.size.width,
            height: unit.size.height,
            seed: unit.seed,
            format: format.name().to_owned(),
            expected: expected.micros(),
            handle: None,
            pictures: Vec::new(),
        }
    }

    /// With the call that asks about it; `None` when that is more than a question.
    pub(super) fn asking(mut self, call: &Call) -> Option<Self> {
        if call.stage != Stage::Poll || call.body != Body::Empty {
            return None;
        }
        let (place, link) = match &call.target {
            Target::Path(path) => (path.clone(), false),
            Target::Link(link) => (link.clone(), true),
        };
        let auth = match call.auth {
            Auth::None => "none",
            Auth::Basic => "basic",
            Auth::Bearer => "bearer",
            Auth::Header(name) => name,
        };
        let headers = call.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let post = call.method == Method::Post;
        self.handle = Some(Handle { place, link, post, auth: auth.to_owned(), headers });
        Some(self)
    }

    /// With a picture that came.
    fn with(&mut self, draft: (u8, &Artifact), sha256: &str) {
        let (index, artifact) = draft;
        self.pictures.push(Picture {
            index,
            sha256: sha256.to_owned(),
            format: artifact.format.name().to_owned(),
            width: artifact.size.width,
            height: artifact.size.height,
            seed: artifact.seed,
        });
    }

    /// As it is kept.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }

    fn step(&self) -> Step<'static> {
        Step {
            op: Op::Generate,
            prompt: "",
            negative_prompt: None,
            size: self.size(),
            label: "",
            scale: "",
            images: u8::try_from(self.indices.len()).unwrap_or(u8::MAX),
            seed: self.seed,
            format: Format::from_name(&self.format).unwrap_or_default(),
        }
    }
}

impl Handle {
    fn call(&self) -> Call {
        let auth = match self.auth.as_str() {
            "none" => Auth::None,
            "basic" => Auth::Basic,
            other => HEADERS.into_iter().find(|name| *name == other).map_or(Auth::Bearer, Auth::Header),
        };
        let named = |name: &str| HEADERS.into_iter().find(|known| *known == name);
        Call {
            stage: Stage::Poll,
            method: if self.post { Method::Post } else { Method::Get },
            target: if self.link { Target::Link(self.place.clone()) } else { Target::Path(self.place.clone()) },
            headers: self.headers.iter().filter_map(|(name, value)| Some((named(name)?, value.clone()))).collect(),
            auth,
            body: Body::Empty,
        }
    }
}

impl Engine {
    /// Keeps a job's picture between its steps, so that a crash does not buy it again.
    pub(super) async fn leave_pictures(
        &self,
        generation: &str,
        seq: u32,
        mut trace: Trace,
        pictures: &[super::buy::Bought],
    ) {
        for bought in pictures {
            let artifact = &bought.artifact;
            let sha256 = crate::domain::fingerprint::sha256_hex(&artifact.bytes);
            if let Err(fault) = self.images.put(&sha256, artifact.format, artifact.bytes.clone()).await {
                tracing::warn!(%fault, generation, "a picture between two steps could not be kept");
                return;
            }
            trace.with((bought.index, artifact), &sha256);
        }
        self.leave(generation, seq, &trace).await;
    }

    /// Writes down what a call leaves behind. Without it nothing is lost but the way back.
    pub(super) async fn leave(&self, generation: &str, seq: u32, trace: &Trace) {
        if let Err(fault) = self.doubts.leave(generation, seq, clock::now(), trace.text()).await {
            self.telemetry.ledger_error(super::hold::word(&fault));
            tracing::warn!(%fault, generation, "a provider's handle could not be kept");
        }
    }

    /// The pictures that an unfinished generation has bought, from where they lie; its money is settled by what the
    /// provider says. `None` when any call of it is in doubt and nobody can be asked.
    pub(super) async fn pick_up(&self, snapshot: &Snapshot, record: &Record, deadline: Instant) -> Option<Vec<Draft>> {
        let attempts = &record.closing.as_ref()?.attempts;
        let traces = self.doubts.traces(&record.opening.id).await.ok()?;
        let (mut drafts, mut settled) = (Vec::new(), Vec::new());
        for attempt in attempts.iter().filter(|attempt| attempt.state != MoneyState::Released) {
            let trace = traces.iter().find(|(seq, _)| *seq == i64::from(attempt.seq));
            let Some(trace) = trace.and_then(|(_, text)| Trace::read(text)) else {
                if attempt.state == MoneyState::Ambiguous {
                    return None;
                }
                continue;
            };
            let (ix, model) = snapshot.catalog.find_model(&trace.model)?;
            if trace.pictures.is_empty() {
                let images = self.ask_until(snapshot, model, &trace, deadline).await?;
                drafts.extend(found(ix, &trace, images));
            } else {
                drafts.extend(self.stored(ix, &trace).await?);
            }
            if attempt.state == MoneyState::Ambiguous {
                settled.push(Settlement {
                    generation: record.opening.id.clone(),
                    seq: i64::from(attempt.seq),
                    charged: Money::from_micros(trace.expected),
                    why: "the provider had done it".to_owned(),
                });
            }
        }
        self.settle(&settled).await;
        (!drafts.is_empty()).then_some(drafts)
    }

    async fn settle(&self, settlements: &[Settlement]) {
        if settlements.is_empty() {
            return;
        }
        match self.doubts.settle(settlements).await {
            Ok(number) => tracing::info!(number, "calls in doubt are settled"),
            Err(fault) => {
                self.telemetry.ledger_error(super::hold::word(&fault));
                tracing::error!(%fault, "calls in doubt could not be settled");
            }
        }
    }

    async fn stored(&self, ix: ModelIx, trace: &Trace) -> Option<Vec<Draft>> {
        let mut drafts = Vec::new();
        for picture in &trace.pictures {
            let format = Format::from_name(&picture.format)?;
            let bytes = self.images.get(&picture.sha256, format).await.ok().flatten()?;
            let size = Size::new(picture.width, picture.height);
            let artifact = Artifact { bytes, format, size, asked: trace.size(), seed: picture.seed };
            drafts.push(Draft::new(picture.index, ix, artifact));
        }
        Some(drafts)
    }

    /// What a handle's work came to, waiting for it.
    async fn ask_until(
        &self,
        snapshot: &Snapshot,
        model: &Model,
        trace: &Trace,
        deadline: Instant,
    ) -> Option<Vec<RawImage>> {
        let provider = snapshot.catalog.provider(model.provider)?;
        let conversation = Conversation {
            transport: &*self.transport,
            dialect: adapter(provider.dialect)?,
            endpoint: snapshot.endpoint(model.provider)?,
            model,
            step: trace.step(),
            deadline,
            bought: true,
            trail: None,
        };
        conversation.hold(trace.handle.as_ref()?.call()).await.ok().map(|(images, _)| images)
    }

    /// Asks providers what became of calls in doubt, for ever.
    pub(super) async fn clear_doubts(&self) {
        loop {
            let snapshot = self.snapshots.current();
            match self.doubts.list().await {
                Ok(calls) => self.clear(&snapshot, &calls).await,
                Err(fault) => tracing::error!(%fault, "the money in doubt cannot be read"),
            }
            // Nobody repeats an ask that is so old.
            let _ = self.doubts.forget(clock::now() - KEPT).await;
            sleep(ROUND).await;
        }
    }

    async fn clear(&self, snapshot: &Snapshot, calls: &[DoubtfulCall]) {
        let mut settled = Vec::new();
        for call in calls.iter().filter(|call| clock::now().duration_since(call.created) > REST) {
            let Some(trace) = call.trace.as_deref().and_then(Trace::read) else { continue };
            if let Some((charged, why)) = self.ask_once(snapshot, &trace).await {
                let generation = call.generation.clone();
                settled.push(Settlement { generation, seq: call.seq, charged, why: why.to_owned() });
            }
        }
        self.settle(&settled).await;
    }

    /// What a provider says of one call: charged, free, or `None` when it does not know yet.
    async fn ask_once(&self, snapshot: &Snapshot, trace: &Trace) -> Option<(Money, &'static str)> {
        let (_, model) = snapshot.catalog.find_model(&trace.model)?;
        let provider = snapshot.catalog.provider(model.provider)?;
        let endpoint = snapshot.endpoint(model.provider)?;
        let call = trace.handle.as_ref()?.call();
        let reply = self.transport.send(endpoint, &call, Instant::now() + PATIENCE).await.ok()?;
        match adapter(provider.dialect)?.decode(&trace.step(), model, &call, &reply) {
            Ok(crate::provider::Progress::Poll { .. }) => None,
            Ok(_) => Some((Money::from_micros(trace.expected), "the provider has done it")),
            // A failure to ask is no answer; a run that failed is.
            Err(fault) if fault.billed == Billed::No && reply.succeeded() => {
                Some((Money::ZERO, "the provider failed it"))
            }
            Err(_) => None,
        }
    }
}

impl Run<'_> {
    /// Parts what an earlier run of this ask had enlarged from what is still to be.
    pub(super) fn enlarged_before(
        &self,
        upscaler: ModelIx,
        size: Size,
        drafts: Vec<Draft>,
    ) -> (Vec<Draft>, Vec<Draft>) {
        let (mut enlarged, mut rest) = (Vec::new(), Vec::new());
        for draft in drafts {
            let same = |other: &&Draft| other.model == upscaler && other.index == draft.index;
            let found = self.drafts.iter().filter(same).find(|other| other.artifact.asked == size);
            match found.map(|other| other.artifact.clone()) {
                Some(artifact) => enlarged.push(draft.enlarged(artifact)),
                None => rest.push(draft),
            }
        }
        (enlarged, rest)
    }
}

fn found(ix: ModelIx, trace: &Trace, images: Vec<RawImage>) -> Vec<Draft> {
    let pictures = trace.indices.iter().zip(images).filter_map(|(&index, raw)| {
        let artifact = finish::verify(raw, trace.size(), trace.seed).ok()?;
        Some(Draft::new(index, ix, artifact))
    });
    pictures.collect()
}
