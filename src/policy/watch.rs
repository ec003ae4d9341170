//! The policy in force, and how it changes while requests run.
//!
//! Why it exists: prices change on a Tuesday afternoon. A file's watch dies with the file (editors and Kubernetes
//! replace files, ops notes D4), so the *directories* of the path and of what it points at are watched, events are
//! hints only, and a poll finds what no event told. Whatever hints, one path follows: read the whole set, compare its
//! hash, compile beside the requests, swap one pointer. A policy that does not compile changes nothing: the last good
//! one stays. What it refuses to know: signals, routes and metrics; they call [`Snapshots::reload`] and hear
//! [`OnReload`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::compile::{self, World};
use super::diagnostic::{self, Diagnostic};
use super::files::{self, Origin};
use super::snapshot::Snapshot;
use super::source::Source;
use super::{Env, Overrides};

/// A file this young that does not compile may be half written: it is read once more.
const YOUNG: Duration = Duration::from_secs(2);

/// What a policy is loaded from and with.
pub struct Settings {
    /// Where its files are.
    pub origin: Origin,
    /// Environment and file system.
    pub env: Arc<dyn Env>,
    /// What the static settings say of providers.
    pub overrides: Overrides,
    /// The wall clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Hears of every reload.
    pub hook: Arc<dyn OnReload>,
}

/// Hears of every reload that read something new, good or bad, and of every one that was asked for.
pub trait OnReload: Send + Sync {
    /// One reload, after it took effect.
    fn reloaded(&self, report: &ReloadReport);
}

/// For those who need not hear.
impl OnReload for () {
    fn reloaded(&self, _: &ReloadReport) {}
}

/// How the last reload went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadReport {
    /// When.
    pub at: Timestamp,
    /// Whether what was read is in force.
    pub ok: bool,
    /// The digest of the policy in force since: the new one, or the last good one.
    pub digest: Arc<str>,
    /// Errors or warnings as text; empty for none.
    pub diagnostics: String,
}

/// Why a reload is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Someone asked: it happens even when no file has changed.
    Asked,
    /// A watch or a poll: nothing happens when no file has changed.
    Hint,
}

/// How a watch keeps time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often files are compared without an event.
    pub poll: Duration,
    /// How long after an event more of them are waited for.
    pub debounce: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { poll: Duration::from_secs(10), debounce: Duration::from_millis(200) }
    }
}

/// The policy in force.
pub struct Snapshots {
    settings: Settings,
    current: ArcSwap<Snapshot>,
    last: ArcSwap<ReloadReport>,
    /// Held through a reload, so that two never cross; the fingerprint of what was last tried.
    tried: tokio::sync::Mutex<Tried>,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots")
            .field("origin", &self.settings.origin)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Snapshots {
    /// Loads the first policy; a bad one is refused, since there is no good one to stay with.
    pub fn load(settings: Settings) -> Result<Arc<Self>, Vec<Diagnostic>> {
        let attempt = Attempt::make(&settings);
        let snapshot = attempt.outcome?;
        let last = ReloadReport {
            at: (settings.clock)(),
            ok: true,
            digest: Arc::clone(&snapshot.digest),
            diagnostics: diagnostic::render(&snapshot.warnings, false),
        };
        Ok(Arc::new(Self {
            settings,
            current: ArcSwap::from_pointee(snapshot),
            last: ArcSwap::from_pointee(last),
            tried: tokio::sync::Mutex::new(attempt.tried),
        }))
    }

    /// Loads a policy that may be bad without harm: until its files are good, `stand_in` stands in its place, and
    /// [`Snapshots::last_reload`] says that it does.
    pub fn load_beside(settings: Settings, stand_in: Arc<Snapshot>) -> Arc<Self> {
        let attempt = Attempt::make(&settings);
        let at = (settings.clock)();
        let (snapshot, ok, found) = match attempt.outcome {
            Ok(snapshot) => (Arc::new(snapshot), true, Vec::new()),
            Err(found) => (stand_in, false, found),
        };
        let warnings = if ok { &snapshot.warnings } else { &found };
        let diagnostics = diagnostic::render(warnings, false);
        let report = Arc::new(ReloadReport { at, ok, digest: Arc::clone(&snapshot.digest), diagnostics });
        settings.hook.reloaded(&report);
        Arc::new(Self {
            settings,
            current: ArcSwap::new(snapshot),
            last: ArcSwap::new(report),
            tried: tokio::sync::Mutex::new(attempt.tried),
        })
    }

    /// The policy in force. A request takes it once and keeps it to its end.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// How the last reload went; the first load counts.
    pub fn last_reload(&self) -> Arc<ReloadReport> {
        self.last.load_full()
    }

    /// Reads the files again and puts them in force if they are good: the one path of watch, SIGHUP and
    /// `POST /-/reload`. The report is of this reload, or of the last one when nothing had changed.
    pub async fn reload(self: &Arc<Self>, cause: Cause) -> Arc<ReloadReport> {
        let mut tried = self.tried.lock().await;
        if cause == Cause::Hint && self.unchanged(&tried).await {
            return self.last_reload();
        }
        let mut attempt = self.attempt().await;
        if attempt.outcome.is_err() && attempt.young {
            tokio::time::sleep(YOUNG / 8).await;
            attempt = self.attempt().await;
        }
        *tried = attempt.tried;
        let at = (self.settings.clock)();
        let report = match attempt.outcome {
            Ok(snapshot) => {
                let diagnostics = diagnostic::render(&snapshot.warnings, false);
                let digest = Arc::clone(&snapshot.digest);
                self.current.store(Arc::new(snapshot));
                ReloadReport { at, ok: true, digest, diagnostics }
            }
            Err(found) => {
                let digest = Arc::clone(&self.current.load().digest);
                ReloadReport { at, ok: false, digest, diagnostics: diagnostic::render(&found, false) }
            }
        };
        let report = Arc::new(report);
        self.last.store(Arc::clone(&report));
        self.settings.hook.reloaded(&report);
        report
    }

    /// Reloads on every change until dropped. Secrets and workflows beside the policy count as part of it.
    pub async fn watch(self: Arc<Self>, pace: Pace) {
        let hints = Arc::new(Notify::new());
        let mut eyes = Eyes::open(Arc::clone(&hints));
        loop {
            let this = Arc::clone(&self);
            eyes.look_at(blocking(move || directories(&this.settings.origin)).await.unwrap_or_default());
            // Compared after the watch stands, so that no change falls between the two.
            self.reload(Cause::Hint).await;
            tokio::select! {
                () = hints.notified() => tokio::time::sleep(pace.debounce).await,
                () = tokio::time::sleep(pace.poll) => {}
            }
        }
    }

    async fn unchanged(self: &Arc<Self>, tried: &Tried) -> bool {
        let (this, tried) = (Arc::clone(self), tried.clone());
        blocking(move || tried.still_holds(&this.settings)).await.unwrap_or(false)
    }

    /// Reads and compiles, beside the requests.
    async fn attempt(self: &Arc<Self>) -> Attempt {
        let this = Arc::clone(self);
        blocking(move || Attempt::make(&this.settings)).await.unwrap_or_else(Attempt::broken)
    }
}

/// Runs on a thread where waiting is allowed; `None` when the work panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// One reading of everything, compiled.
struct Attempt {
    tried: Tried,
    /// Whether a file was written just now.
    young: bool,
    outcome: Result<Snapshot, Vec<Diagnostic>>,
}

impl Attempt {
    fn make(settings: &Settings) -> Self {
        let now = (settings.clock)();
        let recorder = Recorder { env: &*settings.env, read: Mutex::default() };
        let read = files::read(&settings.origin);
        let young = youngest(&settings.origin, now).is_some_and(|age| age < YOUNG);
        let policy = hash(&read);
        let today = now.to_zoned(TimeZone::UTC).date();
        let world = World { env: &recorder, overrides: &settings.overrides, today };
        let outcome = read.and_then(|sources| compile::compile(&sources, &world));
        let beside = recorder.read.into_inner().unwrap_or_else(PoisonError::into_inner);
        Self { tried: Tried { policy, beside }, young, outcome }
    }

    fn broken() -> Self {
        let tried = Tried { policy: [0; 32], beside: BTreeMap::new() };
        let found = Diagnostic::new(diagnostic::codes::E0002, "the policy could not be compiled: a failure of ours");
        Self { tried, young: false, outcome: Err(vec![found]) }
    }
}

/// Fingerprints of what was read: the policy's own files, and the secrets and workflows that they name.
#[derive(Clone)]
struct Tried {
    policy: [u8; 32],
    beside: BTreeMap<String, [u8; 32]>,
}

impl Tried {
    fn still_holds(&self, settings: &Settings) -> bool {
        let same = |(path, before): (&String, &[u8; 32])| hash_of(&settings.env.read(path)) == *before;
        hash(&files::read(&settings.origin)) == self.policy && self.beside.iter().all(same)
    }
}

/// Notes which files the compiler asks for, and what they held.
struct Recorder<'a> {
    env: &'a dyn Env,
    read: Mutex<BTreeMap<String, [u8; 32]>>,
}

impl Env for Recorder<'_> {
    fn var(&self, name: &str) -> Option<String> {
        self.env.var(name)
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let text = self.env.read(path);
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), hash_of(&text));
        text
    }
}

fn hash(read: &Result<Vec<Arc<Source>>, Vec<Diagnostic>>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut part = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    match read {
        Ok(sources) => sources.iter().for_each(|source| {
            part(source.name());
            part(source.text());
        }),
        Err(found) => found.iter().for_each(|one| part(&one.render(false))),
    }
    hasher.finalize().into()
}

fn hash_of(text: &io::Result<String>) -> [u8; 32] {
    match text {
        Ok(text) => Sha256::digest(text).into(),
        Err(error) => Sha256::digest(error.to_string()).into(),
    }
}

/// How long ago the youngest file was written.
fn youngest(origin: &Origin, now: Timestamp) -> Option<Duration> {
    let Origin::Paths(paths) = origin else {
        return None;
    };
    let files = paths.iter().filter_map(|path| files::list(path).ok()).flatten();
    let written = files.filter_map(|file| Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok()).max()?;
    Some(now.duration_since(written).unsigned_abs())
}

/// The directories in which a change of the policy shows: those of the paths, and those of what they point at.
fn directories(origin: &Origin) -> BTreeSet<PathBuf> {
    let Origin::Paths(paths) = origin else {
        return BTreeSet::new();
    };
    let mut found = BTreeSet::new();
    for path in paths {
        let target = path.canonicalize().ok();
        for place in [Some(path.as_path()), target.as_deref()].into_iter().flatten() {
            let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
            found.insert(parent.unwrap_or_else(|| Path::new(".")).to_owned());
            if place.is_dir() {
                found.insert(place.to_owned());
            }
        }
        // The files of a folder may be links, as Kubernetes makes them.
        let files = files::list(path).unwrap_or_default().into_iter();
        let targets = files.filter_map(|file| Some(file.canonicalize().ok()?.parent()?.to_owned()));
        found.extend(targets);
    }
    found
}

/// The watched directories.
struct Eyes {
    watcher: Option<RecommendedWatcher>,
    on: BTreeSet<PathBuf>,
}

impl Eyes {
    /// Without a watcher (no more inotify instances, a file system without events) the poll is all there is.
    fn open(hints: Arc<Notify>) -> Self {
        let hint = move |event: notify::Result<notify::Event>| {
            // Reading is an event too, and reading is what we do.
            if !matches!(event, Ok(notify::Event { kind: EventKind::Access(_), .. })) {
                hints.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(hint)
            .inspect_err(|error| tracing::warn!(%error, "the policy is polled only: no file events"))
            .ok();
        Self { watcher, on: BTreeSet::new() }
    }

    /// Watches these directories and no others. One that cannot be watched is tried again next time.
    fn look_at(&mut self, wanted: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.on.difference(&wanted) {
            // A directory that no longer exists has no watch any more.
            let _ = watcher.unwatch(gone);
        }
        self.on.retain(|held| wanted.contains(held) && held.exists());
        for directory in wanted {
            if !self.on.contains(&directory) && watcher.watch(&directory, RecursiveMode::NonRecursive).is_ok() {
                self.on.insert(directory);
            }
        }
    }
}

#[cfg(test)]
mod tests;
