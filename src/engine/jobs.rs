//! Jobs: requests that nobody waits for on their connection.
//!
//! Why it exists: a job is written down before it is begun, taken up by whoever has room, and done through the same
//! rooms as any request, under a claim of its own: taken up a second time it finds what the first time bought. Its end
//! and the message about it are written together. What it refuses to know: wires, and how pictures are made.
//!
//! ```text
//! queued ── take ──▶ running ──▶ succeeded | failed
//!    └───── cancel ────┴──▶ cancelled            a holder that is gone: running ──▶ queued
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, sleep, timeout};

use super::admit::{authenticate, normalise};
use super::served::{How, Inbound, Repeat, Served};
use super::{Engine, Landed, asked, kept, new_id};
use crate::domain::fingerprint::Fingerprint;
use crate::domain::ledger::Sums;
use crate::domain::refusal::Refusal;
use crate::domain::request::ResponseFormat;
use crate::state::LedgerFault;
use crate::state::jobs::{Job, JobEnd, JobState, Jobs, NewJob};
use crate::telemetry::clock;

/// How long a job is held without a beat, where several processes share a ledger.
const HOLD: SignedDuration = SignedDuration::from_secs(15);
/// How often those under way are renewed, and those that nobody holds are looked for.
const BEAT: Duration = Duration::from_secs(5);
/// Between two looks at a queue that others may fill.
const LOOK: Duration = Duration::from_secs(1);
/// The route of purchases that a job makes.
const ROUTE: &str = "job";

/// The desk where jobs are kept and taken up.
pub(super) struct Desk {
    pub(super) jobs: Jobs,
    /// Jobs whose state has changed, by id.
    changed: broadcast::Sender<Arc<str>>,
    /// There may be work, or room for it.
    stirred: Notify,
    running: Mutex<HashMap<Arc<str>, Arc<Notify>>>,
}

impl Desk {
    pub(super) fn new(jobs: Jobs) -> Self {
        Self { jobs, changed: broadcast::Sender::new(1_024), stirred: Notify::new(), running: Mutex::default() }
    }

    fn tell(&self, id: &Arc<str>) {
        // Nobody may be listening.
        let _ = self.changed.send(Arc::clone(id));
        self.stirred.notify_one();
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Notify>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a job has come to, for its caller.
#[derive(Clone, Debug)]
pub struct JobReport {
    /// The job.
    pub job: Job,
    /// How it ended, where it has.
    pub landed: Option<Landed>,
    /// Whether the caller wants links in place of pictures.
    pub links: bool,
}

impl Engine {
    /// Writes a job down. A key that came before gives the job that it came with.
    pub async fn submit(self: &Arc<Self>, inbound: &Inbound, webhook: Option<String>) -> Result<Job, Refusal> {
        let house = self.snapshots.current();
        let tenant = authenticate(&house, inbound.key.as_deref())?;
        let snapshot = self.planner_of(&house, &tenant);
        let request = normalise(&snapshot, &tenant, inbound)?;
        if let Some(url) = &webhook {
            self.may_tell(url)?;
        }
        let print = Fingerprint::of(&tenant, &request.ask).hex();
        let scope = inbound.idempotency_key.as_deref();
        let claim = scope.map(|key| Fingerprint::of_key(&tenant, inbound.repeat.route, key).hex());
        let tier =
            request.terms.tier.as_deref().and_then(|name| snapshot.tiers.iter().find(|tier| &*tier.name == name));
        let what = json!({
            "ask": asked::write(&inbound.ask),
            "key": scope,
            "route": inbound.repeat.route,
            "link": inbound.ask.response_format == ResponseFormat::Url,
            "share_never": inbound.share_never,
            "warnings": inbound.warnings,
        });
        let job = Job {
            id: new_id("job_"),
            key: tenant,
            state: JobState::Queued,
            priority: tier.map_or(0, |tier| tier.priority),
            created: inbound.received,
            started: None,
            ended: None,
            runs: 0,
            print,
            request: what.to_string(),
            webhook,
            answer: None,
        };
        let held = self.desk.jobs.put(NewJob { job: job.clone(), claim }).await.map_err(|why| self.unkept(&why))?;
        match held {
            Some(other) if other.print != job.print => Err(Refusal::IdempotencyKeyReused),
            Some(same) => Ok(same),
            None => {
                self.desk.tell(&job.id);
                Ok(job)
            }
        }
    }

    /// A job of this caller, waiting until it has ended or for `wait`.
    pub async fn job(self: &Arc<Self>, key: Option<&str>, id: &str, wait: Duration) -> Result<JobReport, Refusal> {
        let tenant = authenticate(&self.snapshots.current(), key)?;
        let until = Instant::now() + wait;
        loop {
            // Listens before it looks, so that nothing falls in between.
            let mut changes = self.desk.changed.subscribe();
            let job = self.job_of(&tenant, id).await?;
            let left = until.saturating_duration_since(Instant::now());
            if job.state.has_ended() || left.is_zero() {
                return Ok(self.report(job).await);
            }
            let heard = async { while matches!(changes.recv().await, Ok(other) if *other != *id) {} };
            // Another process may do it, and says nothing here.
            let _ = timeout(left.min(LOOK), heard).await;
        }
    }

    /// The job after its state has changed from `known`, or as it is after `wait`.
    pub async fn job_after(&self, tenant: &str, id: &str, known: JobState, wait: Duration) -> Result<Job, Refusal> {
        let until = Instant::now() + wait;
        loop {
            let mut changes = self.desk.changed.subscribe();
            let job = self.job_of(tenant, id).await?;
            let left = until.saturating_duration_since(Instant::now());
            if job.state != known || left.is_zero() {
                return Ok(job);
            }
            let heard = async { while matches!(changes.recv().await, Ok(other) if *other != *id) {} };
            let _ = timeout(left.min(LOOK), heard).await;
        }
    }

    /// Calls a job off. What has departed is finished and kept, and its money is in the books.
    pub async fn cancel(self: &Arc<Self>, key: Option<&str>, id: &str) -> Result<JobReport, Refusal> {
        let tenant = authenticate(&self.snapshots.current(), key)?;
        let job = self.job_of(&tenant, id).await?;
        let (message, body) = message(&job, JobState::Cancelled, None);
        let cancelled = self.desk.jobs.cancel(id, clock::now(), (&message, &body)).await;
        if cancelled.map_err(|why| self.unkept(&why))? {
            self.call_off(std::iter::once(&job.id));
            self.desk.tell(&job.id);
        }
        let job = self.job_of(&tenant, id).await?;
        Ok(self.report(job).await)
    }

    async fn job_of(&self, tenant: &str, id: &str) -> Result<Job, Refusal> {
        let found = self.desk.jobs.get(id).await.map_err(|why| self.unkept(&why))?;
        // Another's job is none.
        let own = found.filter(|job| *job.key == *tenant);
        own.ok_or_else(|| Refusal::NotFound(format!("there is no job {}", id.escape_default())))
    }

    async fn report(&self, job: Job) -> JobReport {
        let landed = match &job.answer {
            Some(text) => self.restore(text, None, None).await,
            None => None,
        };
        let unread = (job.state == JobState::Failed && landed.is_none()).then_some(Err(Refusal::Internal));
        JobReport { landed: landed.or(unread), links: links(&job), job }
    }

    fn unkept(&self, why: &LedgerFault) -> Refusal {
        self.telemetry.ledger_error(super::hold::word(why));
        tracing::error!(%why, "a job could not be kept");
        Refusal::LedgerUnavailable
    }

    /// Takes jobs up, `most` at a time, and tells their ends, until dropped. `alone`: no other process has jobs of this
    /// ledger under way, so whatever is under way at the start belongs to a process that has died.
    pub async fn work(self: Arc<Self>, most: usize, alone: bool) {
        if alone {
            self.requeue(Timestamp::MAX).await;
        }
        tokio::join!(
            self.take_up(most),
            self.keep_hold(),
            self.call_off_lost(),
            self.send_webhooks(),
            self.clear_doubts()
        );
    }

    async fn take_up(self: &Arc<Self>, most: usize) {
        loop {
            let room = self.desk.running().len() < most;
            if room {
                let now = clock::now();
                match self.desk.jobs.take(&self.name, now, now + HOLD).await {
                    Ok(Some(job)) => {
                        self.begin(job);
                        continue;
                    }
                    Ok(None) => {}
                    Err(why) => drop(self.unkept(&why)),
                }
            }
            let _ = timeout(LOOK, self.desk.stirred.notified()).await;
        }
    }

    async fn keep_hold(&self) {
        loop {
            sleep(BEAT).await;
            let now = clock::now();
            if let Err(why) = self.desk.jobs.renew(&self.name, now + HOLD).await {
                drop(self.unkept(&why));
            }
            self.requeue(now).await;
            self.count_jobs().await;
        }
    }

    /// Stops what is no longer held here: called off at another replica, or taken up by one after a long silence.
    async fn call_off_lost(&self) {
        loop {
            sleep(LOOK).await;
            // What is begun is held already, so this order of looks misses nothing that has just begun.
            let under_way: Vec<Arc<str>> = self.desk.running().keys().cloned().collect();
            if under_way.is_empty() {
                continue;
            }
            match self.desk.jobs.held(&self.name).await {
                Ok(held) => self.call_off(under_way.iter().filter(|id| !held.iter().any(|other| **other == ***id))),
                Err(why) => drop(self.unkept(&why)),
            }
        }
    }

    fn call_off<'a>(&self, jobs: impl Iterator<Item = &'a Arc<str>>) {
        for id in jobs {
            if let Some(running) = self.desk.running().get(id) {
                running.notify_one();
            }
        }
    }

    async fn requeue(&self, now: Timestamp) {
        match self.desk.jobs.requeue(now).await {
            Ok(0) => {}
            Ok(number) => tracing::warn!(number, "jobs whose process was lost are taken up again"),
            Err(why) => drop(self.unkept(&why)),
        }
    }

    async fn count_jobs(&self) {
        if let Ok(counts) = self.desk.jobs.counts().await {
            for state in [JobState::Queued, JobState::Running] {
                let found = counts.iter().find(|(of, ..)| *of == state);
                self.telemetry.jobs(state.name(), found.map_or(0, |(_, number, _)| *number));
                if state == JobState::Queued {
                    self.telemetry.jobs_oldest_queued(found.map(|(.., oldest)| *oldest));
                }
            }
        }
    }

    /// Does a job on a task of its own.
    fn begin(self: &Arc<Self>, job: Job) {
        self.telemetry.job_wait(clock::now().duration_since(job.created).unsigned_abs());
        let called_off = Arc::new(Notify::new());
        self.desk.running().insert(job.id.clone(), Arc::clone(&called_off));
        self.desk.tell(&job.id);
        let engine = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                // The purchase goes on by itself where something was sent.
                () = called_off.notified() => {}
                () = engine.do_job(&job) => {}
            }
            engine.desk.running().remove(&job.id);
            engine.desk.tell(&job.id);
        });
    }

    async fn do_job(self: &Arc<Self>, job: &Job) {
        let landed = match inbound(job) {
            Some(inbound) => self.serve_as(job.key.clone(), inbound).await,
            None => Err(Refusal::Internal),
        };
        let landed = landed.map(|served| paid(served, job));
        let state = if landed.is_ok() { JobState::Succeeded } else { JobState::Failed };
        let (message, body) = message(job, state, Some(&landed));
        let end = JobEnd {
            state,
            at: clock::now(),
            answer: kept::keep(&landed),
            message: (&message, &body),
            // A prompt is kept no longer than it is needed.
            request: (!self.keep_prompts).then(|| json!({ "link": links(job) }).to_string()),
        };
        let mut pause = Duration::from_millis(50);
        // A ledger that cannot be written now may be later; a process that dies first does the job again, for nothing.
        while let Err(why) = self.desk.jobs.end(&job.id, &self.name, end.clone()).await {
            drop(self.unkept(&why));
            sleep(pause).await;
            pause = (pause * 2).min(BEAT);
        }
    }
}

/// Whether the caller wants links in place of pictures.
fn links(job: &Job) -> bool {
    let what: Option<serde_json::Value> = serde_json::from_str(&job.request).ok();
    what.as_ref().and_then(|what| what.get("link")?.as_bool()) == Some(true)
}

/// What a job's earlier run had bought, before its process died, is the job's own purchase.
fn paid(served: Served, job: &Job) -> Served {
    if served.how == How::Replayed && job.runs > 1 {
        return Served { how: How::Fresh, cost: Sums::of(&served.attempts).settled, ..served };
    }
    served
}

/// A job's ask, as it came.
fn inbound(job: &Job) -> Option<Inbound> {
    let what: serde_json::Value = serde_json::from_str(&job.request).ok()?;
    let text = |name: &str| what.get(name).and_then(serde_json::Value::as_str);
    // A job with a key of its caller's shares it with the same request made without a job.
    let (route, key) = match (text("route"), text("key")) {
        (Some("generate"), Some(key)) => ("generate", key.to_owned()),
        (Some("openai_generate"), Some(key)) => ("openai_generate", key.to_owned()),
        _ => (ROUTE, job.id.to_string()),
    };
    let warnings = what.get("warnings").and_then(serde_json::Value::as_array).into_iter().flatten();
    Some(Inbound {
        ask: asked::read(text("ask")?)?,
        key: None,
        request_id: job.id.clone(),
        idempotency_key: Some(key.into()),
        repeat: Repeat { route, count: None, durable: true },
        share_never: what.get("share_never").and_then(serde_json::Value::as_bool) == Some(true),
        warnings: warnings.filter_map(|warning| warning.as_str().map(str::to_owned)).collect(),
        arrived: Instant::now(),
        received: job.created,
    })
}

/// What is told of a job's end: small, with links in place of pictures.
fn message(job: &Job, state: JobState, landed: Option<&Landed>) -> (String, String) {
    let mut data = json!({ "id": job.id, "status": state.name(), "url": format!("/jobs/{}", job.id) });
    if let Some(fields) = data.as_object_mut() {
        match landed {
            Some(Ok(served)) => {
                let image = |image: &super::ServedImage| {
                    json!({ "url": format!("/images/{}.{}", image.sha256, image.format.name()), "sha256": &*image.sha256,
                        "width": image.size.width, "height": image.size.height })
                };
                fields.insert("generation".to_owned(), json!(&*served.id));
                fields.insert("model".to_owned(), json!(&*served.model));
                fields.insert("images".to_owned(), served.images.iter().map(image).collect());
            }
            Some(Err(refusal)) => drop(fields.insert("code".to_owned(), json!(refusal.code()))),
            None => {}
        }
    }
    let body = json!({ "type": format!("job.{}", state.name()), "timestamp": clock::now().to_string(), "data": data });
    (format!("msg_{}", job.id.trim_start_matches("job_")), body.to_string())
}
