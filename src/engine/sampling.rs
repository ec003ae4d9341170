//! Sampling: the newest pictures of each model, held as a window against those that people accepted.
//!
//! Why it exists: single pictures are judged one by one, and a model that slowly draws otherwise is seen only in many.
//! The windows are disjoint, so that no picture is held against itself; the audit's own pictures are in neither, since
//! they are always the same. A picture is encoded once and its features are kept in memory while a window has it. What
//! it refuses to know: the encoder (`state`), the mathematics (`domain::frechet`), and when to look (the house says).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::Engine;
use super::audit::TENANT;
use crate::domain::frechet::{self, FEWEST, Point, Windows};
use crate::domain::image::Format;
use crate::state::studio::gallery::{self, Stage, Wanted};
use crate::state::{Encoder, Encoding, LedgerFault};
use crate::telemetry::clock;

/// Replicates behind an interval.
const REPLICATES: usize = 50;
/// Windows that changed are compared again after this, or when they have doubled.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Pictures are read this many windows deep, of all models together.
const DEPTH: u64 = 8;
/// The same windows give the same numbers.
const SEED: u64 = 1_442_695_040_888_963_407;

/// What the engine samples with.
pub(super) struct Sampler {
    encoder: Arc<dyn Encoder>,
    window: usize,
    /// Features by picture, of the windows last looked at.
    known: tokio::sync::Mutex<HashMap<Arc<str>, Arc<[f32]>>>,
    taken: Mutex<Arc<Vec<Sample>>>,
}

/// A model's windows, and how far they are apart.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The model's id; `None` is all models together.
    pub model: Option<Arc<str>>,
    /// Accepted pictures in their window.
    pub accepted: usize,
    /// New pictures in theirs.
    pub new: usize,
    /// When the windows were compared; when they were looked at, if they are too small for that.
    pub at: Timestamp,
    /// The comparison; `None` below [`FEWEST`] pictures in either window.
    pub found: Option<Found>,
    /// The pictures, to know when they have changed.
    files: Arc<[Vec<Arc<str>>; 2]>,
}

/// How far two windows are apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The Fréchet distance of the windows as they are.
    pub distance: f64,
    /// The same, extrapolated to windows without end.
    pub extrapolated: f64,
    /// Nine in ten that the truth is in between.
    pub interval: (f64, f64),
    /// The distance at smaller samples, which the extrapolation stands on.
    pub curve: Vec<Point>,
    /// Whether there are too few pictures to believe it.
    pub small: bool,
}

/// The windows of each model, and of all together under `None`.
type Scopes = BTreeMap<Option<Arc<str>>, Scope>;

/// Accepted pictures and new ones; none is in both, or twice in one.
#[derive(Debug, Default)]
struct Scope {
    files: [Vec<Arc<str>>; 2],
    seen: HashSet<Arc<str>>,
}

impl Scope {
    fn add(&mut self, side: usize, file: &Arc<str>, most: usize) {
        let Some(files) = self.files.get_mut(side).filter(|files| files.len() < most) else { return };
        if self.seen.insert(Arc::clone(file)) {
            files.push(Arc::clone(file));
        }
    }
}

impl Sampler {
    pub(super) fn new(encoder: Arc<dyn Encoder>, window: usize) -> Self {
        Self { encoder, window: window.max(FEWEST), known: tokio::sync::Mutex::default(), taken: Mutex::default() }
    }

    fn taken(&self) -> Arc<Vec<Sample>> {
        Arc::clone(&self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine {
    /// Compares windows of `window` pictures with this encoder from here on.
    #[must_use]
    pub fn sampling(mut self, encoder: Arc<dyn Encoder>, window: usize) -> Self {
        self.sampler = Some(Sampler::new(encoder, window));
        self
    }

    /// What the encoder is, if one was named, and the pictures of a window.
    pub fn encoding(&self) -> Option<(&Encoding, usize)> {
        self.sampler.as_ref().map(|sampler| (sampler.encoder.about(), sampler.window))
    }

    /// The windows as they were last compared: all models together first, then each.
    pub fn samples(&self) -> Arc<Vec<Sample>> {
        self.sampler.as_ref().map(Sampler::taken).unwrap_or_default()
    }

    /// Looks at the windows, and compares those that have changed enough. Nothing without an encoder.
    pub async fn sample(&self) -> Result<(), LedgerFault> {
        let Some(sampler) = &self.sampler else { return Ok(()) };
        let scopes = self.scopes(sampler.window).await?;
        let (before, mut samples) = (sampler.taken(), Vec::with_capacity(scopes.len()));
        let mut known = sampler.known.lock().await;
        for (model, Scope { files, .. }) in scopes {
            let last = before.iter().find(|sample| sample.model == model);
            samples.push(match last.filter(|last| !is_due(last, &files)) {
                Some(last) => last.clone(),
                None => self.compared_windows(sampler, model, files, &mut known).await,
            });
        }
        let in_use: HashSet<_> = samples.iter().flat_map(|sample| sample.files.iter().flatten().cloned()).collect();
        known.retain(|file, _| in_use.contains(file));
        *sampler.taken.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(samples);
        Ok(())
    }

    /// The newest pictures by model, accepted and not, as far back as [`DEPTH`] windows.
    async fn scopes(&self, window: usize) -> Result<Scopes, LedgerFault> {
        let mut scopes = Scopes::new();
        let deep = window as u64 * DEPTH;
        for (side, stage) in [(0, Stage::Accepted), (1, Stage::Any)] {
            let wanted = Wanted { stage, ..Wanted::default() };
            let seen = gallery::window(&*self.ledger, &wanted, 0, deep).await?;
            for shot in seen.shots {
                let Some(generation) = seen.generations.get(&shot.generation) else { continue };
                let accepted = shot.newest.is_some_and(|newest| newest.accepted);
                if generation.key == TENANT || (stage == Stage::Any && accepted) {
                    continue;
                }
                let file: Arc<str> = shot.file.into();
                for model in [None, Some(Arc::from(&*generation.model))] {
                    scopes.entry(model).or_default().add(side, &file, window);
                }
            }
        }
        Ok(scopes)
    }

    async fn compared_windows(
        &self,
        sampler: &Sampler,
        model: Option<Arc<str>>,
        files: [Vec<Arc<str>>; 2],
        known: &mut HashMap<Arc<str>, Arc<[f32]>>,
    ) -> Sample {
        let mut features = [Vec::new(), Vec::new()];
        if files.iter().all(|files| files.len() >= FEWEST) {
            for (files, features) in files.iter().zip(&mut features) {
                for file in files {
                    features.extend(self.features(sampler, file, known).await);
                }
            }
        }
        let [accepted, new] = [0, 1].map(|side: usize| files.get(side).map_or(0, Vec::len));
        let found = distances(features).await;
        Sample { model, accepted, new, at: clock::now(), found, files: Arc::new(files) }
    }

    /// A picture's features, from memory or encoded now; `None`, and a line in the log, when it has none.
    async fn features(
        &self,
        sampler: &Sampler,
        file: &Arc<str>,
        known: &mut HashMap<Arc<str>, Arc<[f32]>>,
    ) -> Option<Arc<[f32]>> {
        if let Some(features) = known.get(file) {
            return Some(Arc::clone(features));
        }
        let (sha256, extension) = file.split_once('.')?;
        let picture = self.image(sha256, Format::from_name(extension)?).await.ok()??;
        let encoded = sampler.encoder.encode(picture).await;
        let encoded = encoded.inspect_err(|fault| tracing::warn!(file = &**file, %fault, "a picture has no features"));
        let features: Arc<[f32]> = encoded.ok()?.into();
        known.insert(Arc::clone(file), Arc::clone(&features));
        Some(features)
    }
}

/// Whether windows that were compared are to be compared again.
fn is_due(last: &Sample, files: &[Vec<Arc<str>>; 2]) -> bool {
    let least = |files: &[Vec<Arc<str>>; 2]| files.iter().map(Vec::len).min().unwrap_or_default();
    let grown = least(files) >= FEWEST && least(files) >= 2 * least(&last.files).max(FEWEST / 2);
    let old = clock::now().duration_since(last.at) >= AGAIN;
    // What was not compared costs nothing to look at again.
    *last.files != *files && (grown || old || last.found.is_none())
}

/// The numbers, each on a thread that may block, so that a shutdown waits for one of them at most.
async fn distances([accepted, new]: [Vec<Arc<[f32]>>; 2]) -> Option<Found> {
    let windows = Arc::new(Windows::of(&accepted, &new)?);
    let whole = Arc::clone(&windows);
    let begin = move || {
        let curve = whole.curve(&mut StdRng::seed_from_u64(SEED))?;
        Some((whole.distance()?, frechet::extrapolated(&curve), curve))
    };
    let (distance, extrapolated, curve) = tokio::task::spawn_blocking(begin).await.ok()??;
    let mut errors = Vec::with_capacity(REPLICATES);
    for seed in (SEED..).skip(1).take(REPLICATES) {
        let windows = Arc::clone(&windows);
        let replicate = move || windows.error(&mut StdRng::seed_from_u64(seed));
        errors.extend(tokio::task::spawn_blocking(replicate).await.ok()?);
    }
    let interval = frechet::interval(extrapolated, errors)?;
    Some(Found { distance, extrapolated, interval, curve, small: windows.are_small() })
}
