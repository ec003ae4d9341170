//! Traces: the rooms of a request as spans, from the caller's context to the provider's.
//!
//! Why it exists: a slow request is understood by where its time went. A span is opened by [`room`] around a future and
//! closed when that future ends or is dropped; where a request stands goes with its task, so rooms hand nothing on.
//! Without a collector there is no trace, and a room costs one look at an empty task-local. What it refuses to know:
//! sockets (`transport/otlp.rs` sends) and prompts, which are in no attribute.
//! To add a span: [`room`]. To add an attribute: [`note`]; names of `GenAI`'s conventions where there is one.
//!
//! Why not the `opentelemetry` crates: for spans of one process in one wire format they bring a dozen crates, a global
//! provider and a second notion of context, where this is a vector, a task-local and one JSON body (OTLP/HTTP with JSON,
//! which every collector takes).

pub mod otlp;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use pin_project_lite::pin_project;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::clock;
use super::instruments::Tally;

/// Traces that wait for the collector; beyond that they are lost, and counted.
const WAITING: usize = 1024;

tokio::task_local! {
    /// The span in which this task is.
    static HERE: Here;
}

#[derive(Clone)]
struct Here {
    recording: Arc<Recording>,
    span: u64,
}

/// A trace under way: it is handed to the sink when the last room has left it.
struct Recording {
    trace: Trace,
    spans: Mutex<Vec<Span>>,
    sink: Sink,
}

/// Who a trace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trace {
    id: u128,
    /// The caller's span; zero when the trace begins here.
    parent: u64,
}

/// A finished trace.
#[derive(Debug)]
pub struct Finished {
    trace: Trace,
    spans: Vec<Span>,
}

/// A span.
#[derive(Clone, Debug)]
struct Span {
    id: u64,
    parent: u64,
    name: &'static str,
    kind: Kind,
    start: Timestamp,
    began: Instant,
    took: Option<Duration>,
    notes: Vec<(&'static str, Note)>,
    failed: Option<&'static str>,
}

/// Which side of an exchange a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Internal,
    Server,
    Client,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// Text.
    Text(String),
    /// A whole number.
    Whole(i64),
}

impl From<&str> for Note {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Note {
    fn from(number: i64) -> Self {
        Self::Whole(number)
    }
}

/// Where finished traces go.
#[derive(Clone, Debug)]
pub struct Sink {
    to: mpsc::Sender<Finished>,
    percent: u64,
    lost: Arc<OnceLock<Tally>>,
}

/// A sink that takes `percent` of the traces that begin here, and the other end of it. A trace that a caller began is
/// taken when its caller samples it.
pub fn sink(percent: u64) -> (Sink, mpsc::Receiver<Finished>) {
    let (to, from) = mpsc::channel(WAITING);
    (Sink { to, percent, lost: Arc::default() }, from)
}

/// A trace about to begin.
pub struct Root(Here);

impl Sink {
    /// Counts what finds no room.
    pub(super) fn counted_by(&self, lost: Tally) {
        // The first counter stays; there is one telemetry to a sink.
        let _ = self.lost.set(lost);
    }

    /// A trace of a request that came with this `traceparent`; `None` when it is not to be recorded.
    pub(super) fn begin(&self, traceparent: Option<&str>) -> Option<Root> {
        let trace = match traceparent.and_then(caller) {
            Some((trace, true)) => trace,
            None if rand::random_range(0..100) < self.percent => Trace { id: rand::random::<u128>().max(1), parent: 0 },
            Some((_, false)) | None => return None,
        };
        let recording = Recording { trace, spans: Mutex::default(), sink: self.clone() };
        Some(Root(Here { recording: Arc::new(recording), span: trace.parent }))
    }
}

/// The caller's trace and whether it is sampled, of a `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`. Source: W3C Trace
/// Context, section 3.2.
fn caller(text: &str) -> Option<(Trace, bool)> {
    let mut parts = text.trim().split('-');
    let mut hex =
        |digits: usize| parts.next().filter(|part| part.len() == digits && part.is_ascii()).map(str::to_owned);
    let (version, id, parent, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let version = u8::from_str_radix(&version, 16).ok().filter(|version| *version != 255)?;
    if version == 0 && parts.next().is_some() {
        return None;
    }
    let id = u128::from_str_radix(&id, 16).ok().filter(|id| *id != 0)?;
    let parent = u64::from_str_radix(&parent, 16).ok().filter(|parent| *parent != 0)?;
    let flags = u8::from_str_radix(&flags, 16).ok()?;
    Some((Trace { id, parent }, flags & 1 == 1))
}

/// Runs `work` as the exchange of a door; without a root it is just run.
pub fn exchange<F: Future>(root: Option<Root>, name: &'static str, work: F) -> Room<F> {
    Room { work, place: root.map_or(Place::Nowhere, |root| Place::In(root.0.open(name, Kind::Server))) }
}

/// Runs `work` as a room of the request that this task serves.
pub fn room<F: Future>(name: &'static str, work: F) -> Room<F> {
    Room { work, place: Place::Before(name, Kind::Internal) }
}

/// Runs `work` as a call to somebody else.
pub fn call<F: Future>(name: &'static str, work: F) -> Room<F> {
    Room { work, place: Place::Before(name, Kind::Client) }
}

/// `work`, to be run by another task, in the room where it was made.
pub fn carried<F: Future>(work: F) -> Room<F> {
    Room { work, place: here().map_or(Place::Nowhere, Place::Within) }
}

pin_project! {
    /// Work in its room. It holds the work once, traced or not: as an `async fn` it would hold it three times, and rooms
    /// stand within rooms.
    #[must_use = "work is done when it is awaited"]
    #[project = Projected]
    pub struct Room<F> {
        // Dropped before its place, so that a room that is called off ends after all that was in it.
        #[pin]
        work: F,
        place: Place,
    }
}

/// Where the work of a [`Room`] stands.
enum Place {
    /// In no trace.
    Nowhere,
    /// Its span is opened when it begins.
    Before(&'static str, Kind),
    /// In somebody else's span.
    Within(Here),
    /// In its own.
    In(Left),
}

impl<F: Future> Future for Room<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Projected { work, place } = self.project();
        if let Place::Before(name, kind) = *place {
            *place = here().map_or(Place::Nowhere, |here| Place::In(here.open(name, kind)));
        }
        let done = match place {
            Place::In(Left(here)) | Place::Within(here) => HERE.sync_scope(here.clone(), || work.poll(context)),
            Place::Nowhere | Place::Before(..) => work.poll(context),
        };
        if done.is_ready() {
            *place = Place::Nowhere;
        }
        done
    }
}

/// Notes an attribute of the span in which this task is; `value` is not asked for without one.
pub fn note<N: Into<Note>>(name: &'static str, value: impl FnOnce() -> N) {
    if let Some(here) = here() {
        let value = value().into();
        here.recording.with(here.span, |span| span.notes.push((name, value)));
    }
}

/// Notes that the span in which this task is failed, by the name of the failure.
pub fn failed(error: &'static str) {
    if let Some(here) = here() {
        here.recording.with(here.span, |span| span.failed = Some(error));
    }
}

/// The `traceparent` of a call that leaves from here.
pub fn traceparent() -> Option<String> {
    here().map(|here| format!("00-{:032x}-{:016x}-01", here.recording.trace.id, here.span))
}

/// The trace's id in hex, for the log.
pub fn id() -> Option<String> {
    here().map(|here| format!("{:032x}", here.recording.trace.id))
}

fn here() -> Option<Here> {
    HERE.try_with(Clone::clone).ok()
}

impl Here {
    fn open(&self, name: &'static str, kind: Kind) -> Left {
        let id = rand::random::<u64>().max(1);
        self.recording.lock().push(Span {
            id,
            parent: self.span,
            name,
            kind,
            start: clock::now(),
            began: Instant::now(),
            took: None,
            notes: Vec::new(),
            failed: None,
        });
        Left(Self { recording: Arc::clone(&self.recording), span: id })
    }
}

/// Ends a span when it drops: at the end of its future, or when that is dropped.
struct Left(Here);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.recording.with(self.0.span, |span| span.took = Some(span.began.elapsed()));
    }
}

impl Recording {
    /// A poisoned lock guards a list of what happened: it stands.
    fn lock(&self) -> MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, span: u64, change: impl FnOnce(&mut Span)) {
        if let Some(span) = self.lock().iter_mut().rev().find(|known| known.id == span) {
            change(span);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let spans = std::mem::take(&mut *self.lock());
        if self.sink.to.try_send(Finished { trace: self.trace, spans }).is_err()
            && let Some(lost) = self.sink.lost.get()
        {
            lost.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_strictly() {
        let (trace, sampled) = caller(PARENT).unwrap();
        assert_eq!(
            (trace.id, trace.parent, sampled),
            (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331, true)
        );
        assert!(!caller(&PARENT.replace("-01", "-00")).unwrap().1);
        // A later version may say more; the first may not.
        assert!(caller(&format!("{}-x", PARENT.replacen("00", "01", 1))).is_some());
        for bad in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-x"),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.replace("b7ad6b7169203331", "0000000000000000"),
            "ü0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(caller(bad).is_none(), "{bad}");
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the trace must reach a task of its own")]
    #[tokio::test]
    async fn rooms_nest_in_the_callers_trace_and_across_tasks() {
        let (sink, mut finished) = sink(0);
        let root = sink.begin(Some(PARENT)).unwrap();
        let outward = exchange(Some(root), "POST /generate", async {
            room("plan", async { note("candidates", || 7) }).await;
            let bought = carried(call("image_generation", async {
                failed("timed_out");
                traceparent().unwrap()
            }));
            tokio::task::spawn(bought).await.unwrap()
        })
        .await;
        let trace = finished.recv().await.unwrap();
        let span = |name| trace.spans.iter().find(|span| span.name == name).unwrap();
        let (server, plan, call) = (span("POST /generate"), span("plan"), span("image_generation"));
        assert_eq!((server.parent, plan.parent, call.parent), (0xb7ad_6b71_6920_3331, server.id, server.id));
        assert_eq!(plan.notes, [("candidates", Note::Whole(7))]);
        assert_eq!((call.kind, call.failed), (Kind::Client, Some("timed_out")));
        assert_eq!(outward, format!("00-0af7651916cd43dd8448eb211c80319c-{:016x}-01", call.id));
        assert!(trace.spans.iter().all(|span| span.took.is_some()));
    }

    #[tokio::test]
    async fn what_nobody_samples_is_not_recorded() {
        let (sink, mut finished) = sink(0);
        assert!(sink.begin(None).is_none() && sink.begin(Some(&PARENT.replace("-01", "-00"))).is_none());
        let nothing = exchange(None, "GET /", room("plan", async { (traceparent(), id()) })).await;
        assert_eq!(nothing, (None, None));
        assert!(finished.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_room_that_is_dropped_ends() {
        let (sink, mut finished) = sink(100);
        let root = sink.begin(None).unwrap();
        let stuck = exchange(Some(root), "POST /generate", room("execute", std::future::pending::<()>()));
        assert!(tokio::time::timeout(Duration::from_millis(1), stuck).await.is_err());
        let trace = finished.recv().await.unwrap();
        assert!(trace.spans.len() == 2 && trace.spans.iter().all(|span| span.took.is_some()), "{trace:?}");
    }
}
