//! The wiring: settings and a policy into rooms that serve.
//!
//! Why it exists: `serve`, `demo` and tests open the same house; what it takes to be safe to open is decided here once.
//! What it refuses to know: signals, terminals, flags.

mod audits;
mod fitting;
mod reckonings;
mod samples;
mod shared;
mod trial;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::doorway::{Doorway, await_books};
use super::exit::Failure;
use super::handover::{Listeners, Successor};
use super::settings::Settings;
use crate::domain::catalog::Model;
use crate::engine::tasks::Tasks;
use crate::engine::{Engine, Parts};
use crate::policy::watch::{Cause, OnReload, Pace};
use crate::policy::{self, CheckReport, Origin, Process, ReloadReport, Snapshot, Snapshots};
use crate::server::{Bounds, Plane, Server};
use crate::state::Ledger;
use crate::state::images::StoredImages;
use crate::state::postgres::PostgresLedger;
use crate::state::reader::Tesseract;
use crate::state::sqlite::SqliteLedger;
use crate::telemetry::{Telemetry, clock, trace};
use crate::transport::HttpTransport;
use crate::transport::otlp::Collector;

/// A running gateway. Its doors close and its purchases end with [`House::shutdown`].
pub struct House {
    engine: Arc<Engine>,
    api: Server,
    admin: Server,
    native: Option<Server>,
    listeners: Listeners,
    data: PathBuf,
    tasks: Tasks,
    stop: watch::Sender<bool>,
    grace: Duration,
    notes: Vec<String>,
}

/// How often verdicts of other replicas are looked for, where nothing tells of them.
const VERDICTS: Duration = Duration::from_secs(5);

/// Counts reloads and puts them into the log.
struct Reloads(Arc<Telemetry>);

impl OnReload for Reloads {
    fn reloaded(&self, report: &ReloadReport) {
        self.0.policy_reload(report.ok, &report.digest);
        if report.ok {
            tracing::info!(policy = &*report.digest, "the policy was reloaded");
        } else {
            tracing::error!(policy = &*report.digest, diagnostics = %report.diagnostics, "the policy was not reloaded");
        }
    }
}

impl House {
    /// Opens every room and every door. Refuses what would be unsafe or useless: an open gateway without keys, a policy
    /// with errors, a policy that can buy nothing.
    pub async fn open(settings: Settings) -> Result<Self, Failure> {
        let telemetry = Telemetry::new(settings.log.prompts)
            .map_err(|why| Failure::usage(format!("the metrics cannot be made: {why}")))?;
        let snapshots = snapshots(&settings, &telemetry)?;
        let snapshot = snapshots.current();
        safe(&settings, &snapshot)?;
        let (predecessor, mut doorway) = Doorway::open(&settings)?;
        let api = doorway.bind("api", settings.server.listen, "API", "--listen").await?;
        let admin = doorway.bind("admin", settings.server.admin, "admin plane", "--admin").await?;
        let on = snapshot.native.on || settings.server.proxy_always;
        let native = if on {
            Some(doorway.bind("proxy", settings.server.proxy, "pass-through", "--proxy").await?)
        } else {
            None
        };
        if let Some(predecessor) = predecessor {
            await_books(predecessor, &settings).await?;
        }
        let books = books(&settings).await?;
        // Books with one writer: what is under way at its start belongs to nobody.
        let (notes, alone) = (notes(&settings, &snapshot, &books), !books.shared);
        let transport = HttpTransport::new().map_err(|why| Failure::usage(why.to_string()))?;
        let shared::Meeting { limits, places } = shared::meet(&settings, &telemetry).await?;
        let engine = Engine::new(Parts {
            snapshots: Arc::clone(&snapshots),
            ledger: books.ledger,
            images: Arc::new(images(&settings)?),
            limits,
            reader: Arc::new(Tesseract::default()),
            transport: Arc::new(transport.counted_by(Arc::clone(&telemetry))),
            telemetry,
            keep_prompts: settings.log.prompts,
            dice: None,
        });
        let engine = fitting::fitted(engine, places, &settings).await?;
        let (bounds, opened) = (bounds(&settings), clock::now());
        let door = |listener, plane| {
            Server::start(listener, plane, Arc::clone(&engine), bounds.clone())
                .map_err(|why| Failure::usage(format!("a door cannot be opened: {why}")))
        };
        let (api, admin) = (door(api, Plane::Api)?, door(admin, Plane::Admin)?);
        let always = settings.server.proxy_always;
        let native = native.map(|listener| Server::start_native(listener, Arc::clone(&engine), bounds.clone(), always));
        let native = native.transpose().map_err(|why| Failure::usage(format!("a door cannot be opened: {why}")))?;
        let (stop, grace) = (watch::Sender::new(false), bounds.grace);
        let (listeners, data) = (doorway.into_kept(), settings.data().to_owned());
        let house = Self { engine, api, admin, native, listeners, data, tasks: Tasks::default(), stop, grace, notes };
        [Some(snapshots), house.engine.candidates()].into_iter().flatten().for_each(|policy| house.follow(policy));
        house.record(&settings)?;
        audits::keep(settings.audit.hours, &house.engine, &house.tasks, house.stop.subscribe());
        samples::keep(&house.engine, &house.tasks, house.stop.subscribe());
        if alone {
            reckonings::keep(opened, &house.engine, &house.tasks, house.stop.subscribe());
        }
        house.learn().await?;
        house.do_jobs(usize::try_from(settings.jobs.at_once).unwrap_or(usize::MAX), alone);
        Ok(house)
    }

    /// Where the API listens.
    pub fn api_addr(&self) -> SocketAddr {
        self.api.address()
    }

    /// Where the admin plane listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Every plane with its address.
    pub fn planes(&self) -> Vec<(&'static str, SocketAddr)> {
        let native = self.native.iter().map(|native| ("proxy", native.address()));
        [("api", self.api_addr()), ("admin", self.admin_addr())].into_iter().chain(native).collect()
    }

    /// What an operator should know at the start, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Reloads the policy while its files change.
    fn follow(&self, snapshots: Arc<Snapshots>) {
        let mut stop = self.stop.subscribe();
        self.tasks.spawn(async move {
            tokio::select! {
                () = snapshots.watch(Pace::default()) => {}
                // An error means that the house is gone, which is a stop too.
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }

    /// Sends traces to the collector, if one is named.
    fn record(&self, settings: &Settings) -> Result<(), Failure> {
        let Some(url) = &settings.traces.url else { return Ok(()) };
        let telemetry = Arc::clone(self.engine.telemetry());
        let (sink, finished) = trace::sink(settings.traces.percent);
        telemetry.traced_to(sink);
        let collector = Collector::at(url, telemetry).map_err(|why| {
            Failure::usage(why.to_string()).help("name it in traces.url, such as http://127.0.0.1:4318")
        })?;
        self.tasks.spawn(collector.export(finished, self.stop.subscribe()));
        Ok(())
    }

    /// Recalls every verdict that still counts, then looks for those that other replicas took.
    async fn learn(&self) -> Result<(), Failure> {
        self.engine.learn().await.map_err(|fault| Failure::usage(fault.to_string()))?;
        let (engine, mut stop) = (Arc::clone(&self.engine), self.stop.subscribe());
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(VERDICTS) => {}
                    () = engine.judged_elsewhere() => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
                if let Err(fault) = engine.learn().await {
                    tracing::warn!(%fault, "verdicts could not be read; what was learned stands");
                }
            }
        });
        Ok(())
    }

    /// Takes up jobs, and tells their ends.
    fn do_jobs(&self, at_once: usize, alone: bool) {
        let (engine, mut stop) = (Arc::clone(&self.engine), self.stop.subscribe());
        self.tasks.spawn(async move {
            tokio::select! {
                () = engine.work(at_once, alone) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }

    /// Reads the policy again, and the one on trial.
    pub async fn reload(&self) -> Arc<ReloadReport> {
        self.engine.reload_trial().await;
        self.engine.snapshots().reload(Cause::Asked).await
    }

    /// The folder of its books.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Gives the listeners to another gateway. What remains is [`House::shutdown`].
    pub(crate) fn hand_over(&self, successor: &Successor) -> std::io::Result<()> {
        successor.receive(&self.listeners)?;
        self.api.hand_over();
        self.admin.hand_over();
        self.native.iter().for_each(Server::hand_over);
        Ok(())
    }

    /// Lets no one in any more, finishes what is under way and closes. Purchases outlive their callers: they are waited
    /// for as well, as long as the doors' grace; what is then left is in doubt in the books.
    pub async fn shutdown(self) {
        drop(self.listeners);
        let native = async {
            if let Some(native) = self.native {
                native.stop().await;
            }
        };
        tokio::join!(self.api.stop(), native);
        self.stop.send_replace(true);
        if tokio::time::timeout(self.grace, self.engine.idle()).await.is_err() {
            tracing::warn!("purchases are cut off; their money is in doubt");
        }
        self.tasks.idle().await;
        self.admin.stop().await;
    }
}

fn bounds(settings: &Settings) -> Bounds {
    let server = &settings.server;
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Bounds {
        connections: count(server.max_connections),
        in_flight: count(server.max_in_flight),
        body_bytes: server.body_limit,
        body_time: Duration::from_secs(server.read_seconds),
        grace: Duration::from_secs(server.drain_seconds),
        public_url: settings.public_url.as_deref().map(Arc::from),
        ..Bounds::default()
    }
}

/// The policy, hot; its counterpart in the metrics begins here.
fn snapshots(settings: &Settings, telemetry: &Arc<Telemetry>) -> Result<Arc<Snapshots>, Failure> {
    let loaded = Snapshots::load(policy::watch::Settings {
        origin: Origin::of(&paths(settings.policy.as_deref())),
        env: Arc::new(Process),
        overrides: settings.providers.clone(),
        clock: Arc::new(clock::now),
        hook: Arc::new(Reloads(Arc::clone(telemetry))),
    });
    let snapshots = loaded.map_err(|diagnostics| {
        let text = policy::diagnostic::render(&diagnostics, false);
        Failure::usage(format!("the policy has mistakes\n\n{text}"))
            .help("`tollgate policy check` finds them without a start")
    })?;
    let snapshot = snapshots.current();
    let catalog = &snapshot.catalog;
    let name = |model: &Model| catalog.provider(model.provider).map(|provider| provider.name.clone());
    let models: Vec<_> = catalog.models.iter().filter_map(|model| Some((name(model)?, &*model.id))).collect();
    telemetry.expect(models.iter().map(|(provider, id)| (&**provider, *id)));
    let tasks = catalog.tasks.iter().map(|task| &*task.name);
    telemetry.expect_policy(snapshot.rules.iter().map(|rule| &*rule.id), tasks);
    telemetry.policy_in_force(&snapshot.digest);
    telemetry.quota_mode("local");
    Ok(snapshots)
}

fn safe(settings: &Settings, snapshot: &Snapshot) -> Result<(), Failure> {
    if let Some(failure) = exposed(settings, snapshot) {
        return Err(failure);
    }
    if snapshot.is_empty_handed() {
        let lines: Vec<_> = snapshot.off_lines().into_iter().map(|line| format!("  {line}")).collect();
        return Err(Failure::usage(format!("no provider is on, so nothing could be bought\n{}", lines.join("\n")))
            .help("set a provider's key and start again")
            .help("or try `tollgate demo`, which simulates every provider and needs no key"));
    }
    Ok(())
}

/// The ledger and what it found.
struct Books {
    ledger: Arc<dyn Ledger>,
    /// Whether other replicas write it too.
    shared: bool,
    /// Attempts of processes that had died.
    recovered: u64,
}

/// The ledger that the settings name: a server that replicas share, or a file of this node's own.
async fn books(settings: &Settings) -> Result<Books, Failure> {
    let Some(url) = settings.ledger.url.clone() else {
        let ledger = file(settings)?;
        let recovered = ledger.recovered();
        return Ok(Books { ledger: Arc::new(ledger), shared: false, recovered });
    };
    let opened = tokio::task::spawn_blocking(move || PostgresLedger::open(&url)).await;
    let ledger = opened.map_err(|why| Failure::usage(why.to_string()))?.map_err(|fault| {
        Failure::usage(format!("the shared ledger: {fault}"))
            .help("ledger.url is a postgres:// address; leave it out for a file of this node's own")
    })?;
    let recovered = ledger.recovered();
    Ok(Books { ledger: Arc::new(ledger), shared: true, recovered })
}

fn file(settings: &Settings) -> Result<SqliteLedger, Failure> {
    let data = settings.data();
    std::fs::create_dir_all(data).map_err(|why| {
        Failure::usage(format!("the data folder {} cannot be made: {why}", data.display()))
            .help("choose another with --data")
    })?;
    SqliteLedger::open(data.join("tollgate.db"), settings.ledger.durability).map_err(|fault| {
        Failure::usage(format!("{fault}"))
            .help("one gateway writes a data folder: stop the other one, or choose another folder with --data")
    })
}

fn images(settings: &Settings) -> Result<StoredImages, Failure> {
    StoredImages::open_with(&settings.images(), settings.ledger.durability)
        .map_err(|fault| Failure::usage(fault.to_string()).help("name a folder or s3://BUCKET in images.url"))
}

/// What an operator should know at the start.
fn notes(settings: &Settings, snapshot: &Snapshot, books: &Books) -> Vec<String> {
    let mut notes = snapshot.off_lines();
    let (data, recovered) = (settings.data().display(), books.recovered);
    let what = if books.shared { "ledger in Postgres, images" } else { "ledger and images" };
    notes.push(format!("policy {}, {what} in {data}", snapshot.digest));
    notes.extend(settings.trial.policy.as_deref().map(|path| trial::note(&settings.trial, path, snapshot)));
    if recovered > 0 {
        notes.push(format!("{recovered} calls were under way when their process died; their money is in doubt"));
    }
    notes
}

/// Today, in UTC: the day by which prices hold.
pub(crate) fn today() -> jiff::civil::Date {
    clock::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// The policy's files and folders: the named path, `policies` in the working folder, or none for the built-in.
pub(crate) fn paths(named: Option<&Path>) -> Vec<PathBuf> {
    let here = Path::new("policies");
    named.or_else(|| here.is_dir().then_some(here)).map(Path::to_owned).into_iter().collect()
}

/// Checks the policy of these settings.
pub(crate) fn check_policy(settings: &Settings) -> CheckReport {
    policy::check(&paths(settings.policy.as_deref()), &Process, &settings.providers, today())
}

/// Why these settings and this policy would let anyone on the network spend money, if they would.
pub(crate) fn exposed(settings: &Settings, snapshot: &Snapshot) -> Option<Failure> {
    let native = snapshot.native.on.then_some(settings.server.proxy);
    let open =
        [Some(settings.server.listen), native].into_iter().flatten().find(|address| !address.ip().is_loopback())?;
    snapshot.keys.is_empty().then(|| {
        Failure::usage(format!("{open} is reachable from other machines, and the policy has no API key"))
            .help("`tollgate key new NAME` makes a key and its row for the policy; or listen on 127.0.0.1")
    })
}
