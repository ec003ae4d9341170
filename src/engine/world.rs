//! What the engine knows of the world between requests: breakers, latencies, retry budgets.
//!
//! Why it exists: the planner wants one [`View`] of now, and every call's end must reach it. State is keyed by name, so
//! that it survives a policy reload. What it refuses to know: prices and plans.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tower::retry::budget::{Budget, TpsBudget};

use crate::domain::breaker::{Breaker, Settings, Signal, State};
use crate::domain::catalog::{Latency, Model, ModelIx, Provider, ProviderIx, TaskIx};
use crate::domain::latency::Estimate;
use crate::domain::plan::{Gate, ModelView, VerifierView, View};
use crate::domain::quality::{Posterior, Prior};
use crate::domain::quota::{Cost, Limit, LimitUnit};
use crate::domain::quote::quote;
use crate::domain::request::GenerationRequest;
use crate::domain::verify::{Kind, Verifier, VerifierIx};
use crate::policy::Snapshot;
use crate::state::{Draw, Limits, Reader};
use crate::telemetry::clock;

/// Breakers, latencies and budgets of everything that was ever in the policy.
pub(crate) struct World {
    limits: Arc<dyn Limits>,
    reader: Arc<dyn Reader>,
    verifiers: Mutex<HashMap<Arc<str>, Arc<ModelHealth>>>,
    models: Mutex<HashMap<Arc<str>, Arc<ModelHealth>>>,
    providers: Mutex<HashMap<Arc<str>, Arc<ProviderHealth>>>,
    /// By the policies that were last asked for: there are two while one is on trial.
    bound: ArcSwapOption<Bound>,
    bound_before: ArcSwapOption<Bound>,
}

/// The world by the indices of one snapshot.
pub(crate) struct Bound {
    digest: Arc<str>,
    models: Vec<Arc<ModelHealth>>,
    verifiers: Vec<Arc<ModelHealth>>,
    providers: Vec<Arc<ProviderHealth>>,
}

/// The health of a model or a verifier.
struct ModelHealth {
    breaker: Mutex<Breaker>,
    latency: Mutex<Estimate>,
}

struct ProviderHealth {
    breaker: Mutex<Breaker>,
    /// A fifth of the calls may be repeats, and ten a second in any case. Source: linkerd's and Finagle's default.
    retries: TpsBudget,
}

const RETRY_TTL: Duration = Duration::from_secs(10);
const RETRY_FLOOR: u32 = 10;
const RETRY_SHARE: f32 = 0.2;

impl World {
    pub(crate) fn new(limits: Arc<dyn Limits>, reader: Arc<dyn Reader>) -> Self {
        let (models, verifiers, providers) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (bound, bound_before) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        Self { limits, reader, verifiers, models, providers, bound, bound_before }
    }

    /// The world by this snapshot's indices.
    pub(crate) fn bind(&self, snapshot: &Snapshot) -> Arc<Bound> {
        for slot in [&self.bound, &self.bound_before] {
            if let Some(bound) = slot.load_full().filter(|bound| bound.digest == snapshot.digest) {
                return bound;
            }
        }
        let bound = Arc::new(self.bind_anew(snapshot));
        self.bound_before.store(self.bound.swap(Some(Arc::clone(&bound))));
        bound
    }

    fn bind_anew(&self, snapshot: &Snapshot) -> Bound {
        let (mut models, mut providers) = (locked(&self.models), locked(&self.providers));
        let health = |latency: Latency| {
            Arc::new(ModelHealth {
                breaker: Mutex::new(Breaker::new(snapshot.breaker)),
                latency: Mutex::new(Estimate::new(latency)),
            })
        };
        let of_model =
            |model: &Model| Arc::clone(models.entry(model.id.clone()).or_insert_with(|| health(model.latency)));
        let mut verifiers = locked(&self.verifiers);
        let of_verifier = |verifier: &Verifier| {
            Arc::clone(verifiers.entry(verifier.name.clone()).or_insert_with(|| health(verifier.latency)))
        };
        let of_provider = |provider: &Provider| {
            let fresh = || {
                Arc::new(ProviderHealth {
                    breaker: Mutex::new(Breaker::new(Settings {
                        consecutive: snapshot.breaker.consecutive.saturating_mul(2),
                        ..snapshot.breaker
                    })),
                    retries: TpsBudget::new(RETRY_TTL, RETRY_FLOOR, RETRY_SHARE),
                })
            };
            Arc::clone(providers.entry(provider.name.clone()).or_insert_with(fresh))
        };
        Bound {
            digest: snapshot.digest.clone(),
            models: snapshot.catalog.models.iter().map(of_model).collect(),
            verifiers: snapshot.catalog.verifiers.iter().map(of_verifier).collect(),
            providers: snapshot.catalog.providers.iter().map(of_provider).collect(),
        }
    }

    /// The planner's view of now, for this request.
    pub(crate) fn view(&self, bound: &Bound, snapshot: &Snapshot, request: &GenerationRequest, now: Timestamp) -> View {
        let catalog = &snapshot.catalog;
        let broken: Vec<Option<Duration>> = bound.providers.iter().map(|held| open_for(&held.breaker, now)).collect();
        let models = catalog.models.iter().zip(&bound.models).map(|(model, health)| {
            let latency = locked(&health.latency).latency();
            let above = broken.get(usize::from(model.provider.0)).copied().flatten();
            let wait = || {
                let pause = bound.cools(model, health, now);
                self.room(model, catalog.provider(model.provider), request, latency, now).max(pause)
            };
            let broken = above.or_else(|| open_for(&health.breaker, now)).map(Gate::Broken);
            let gate = broken.unwrap_or_else(|| match wait() {
                Duration::ZERO => Gate::Open,
                wait => Gate::Spent(wait),
            });
            ModelView { gate, latency, accept: posterior(model, request.task) }
        });
        let verifiers = catalog.verifiers.iter().zip(&bound.verifiers);
        let verifiers = verifiers.map(|(verifier, health)| self.verifier(verifier, health, now));
        View { models: models.collect(), verifiers: verifiers.collect(), ..View::default() }
    }

    fn verifier(&self, verifier: &Verifier, health: &ModelHealth, now: Timestamp) -> VerifierView {
        let missing = if matches!(verifier.kind, Kind::Text { .. }) { self.reader.absent() } else { None };
        let failing = open_for(&health.breaker, now).map(|_| "it failed when it was last asked");
        VerifierView { absent: missing.or(failing), latency: locked(&health.latency).latency() }
    }

    /// How long until the limits have room for the first call of this request.
    fn room(
        &self,
        model: &Model,
        provider: Option<&Provider>,
        request: &GenerationRequest,
        latency: Latency,
        now: Timestamp,
    ) -> Duration {
        let Some(provider) = provider else { return Duration::ZERO };
        let draws = draws(provider, model);
        let images = model.max_images.max(1).min(if request.ask.seed.is_some() { 1 } else { request.ask.n });
        let bills = |limit: &Limit| limit.unit == LimitUnit::Usd;
        let worst = if draws.iter().any(|draw| draw.limits.iter().any(bills)) {
            quote(model, request.ask.size, images, request.ask.prompt.as_str().len(), latency, clock::today())
        } else {
            None
        };
        let pixels = request.ask.size.pixels() * u64::from(images);
        let cost = Cost { images: images.into(), pixels, usd: worst.unwrap_or_default().worst };
        self.limits.wait(&draws, cost, now)
    }
}

/// What a call of a model draws on.
pub(crate) fn draws<'a>(provider: &'a Provider, model: &'a Model) -> [Draw<'a>; 2] {
    [Draw { owner: &provider.name, limits: &provider.limits }, Draw { owner: &model.id, limits: &model.limits }]
}

impl Bound {
    /// Takes leave of both breakers: the wait when either refuses.
    pub(crate) fn admit(&self, ix: ModelIx, model: &Model, now: Timestamp) -> Result<(), Duration> {
        let (Some(provider), Some(own)) = (self.provider(model), self.models.get(usize::from(ix.0))) else {
            return Ok(());
        };
        let until = |until: Timestamp| until.duration_since(now).unsigned_abs();
        locked(&provider.breaker).admit(now).map_err(until)?;
        locked(&own.breaker).admit(now).map_err(|refused| {
            locked(&provider.breaker).withdraw();
            until(refused)
        })
    }

    /// How long a healthy provider has asked to be left alone by this model's calls.
    pub(crate) fn pause(&self, ix: ModelIx, model: &Model, now: Timestamp) -> Duration {
        self.models.get(usize::from(ix.0)).map_or(Duration::ZERO, |own| self.cools(model, own, now))
    }

    fn cools(&self, model: &Model, own: &ModelHealth, now: Timestamp) -> Duration {
        let above = self.provider(model).and_then(|provider| locked(&provider.breaker).cools(now));
        let until = above.max(locked(&own.breaker).cools(now));
        until.map_or(Duration::ZERO, |until| until.duration_since(now).unsigned_abs())
    }

    /// Gives back what [`Bound::admit`] took, for a call that was not made.
    pub(crate) fn withdraw(&self, ix: ModelIx, model: &Model) {
        if let Some(provider) = self.provider(model) {
            locked(&provider.breaker).withdraw();
        }
        if let Some(own) = self.models.get(usize::from(ix.0)) {
            locked(&own.breaker).withdraw();
        }
    }

    /// Like [`Bound::admit`], for a call that no model of the policy makes.
    pub(crate) fn admit_provider(&self, ix: ProviderIx, now: Timestamp) -> Result<(), Duration> {
        let Some(provider) = self.providers.get(usize::from(ix.0)) else {
            return Ok(());
        };
        locked(&provider.breaker).admit(now).map_err(|until| until.duration_since(now).unsigned_abs())
    }

    /// Like [`Bound::withdraw`], for a call that no model of the policy makes.
    pub(crate) fn withdraw_provider(&self, ix: ProviderIx) {
        if let Some(provider) = self.providers.get(usize::from(ix.0)) {
            locked(&provider.breaker).withdraw();
        }
    }

    /// Like [`Bound::hear`], for a call that no model of the policy makes.
    pub(crate) fn hear_provider(&self, ix: ProviderIx, signal: Signal, now: Timestamp) {
        if let Some(provider) = self.providers.get(usize::from(ix.0)) {
            locked(&provider.breaker).hear(signal, now);
        }
    }

    /// Hears how a call ended.
    pub(crate) fn hear(&self, ix: ModelIx, model: &Model, signal: Signal, took: Option<Duration>, now: Timestamp) {
        if let Some(provider) = self.provider(model) {
            locked(&provider.breaker).hear(signal, now);
            if signal == Signal::Success {
                provider.retries.deposit();
            }
        }
        if let Some(own) = self.models.get(usize::from(ix.0)) {
            locked(&own.breaker).hear(signal, now);
            if let Some(took) = took {
                locked(&own.latency).hear(took);
            }
        }
    }

    /// Hears how a look of a verifier ended: the time that it took, or that it failed.
    pub(crate) fn hear_verifier(&self, ix: VerifierIx, took: Option<Duration>, now: Timestamp) {
        if let Some(health) = self.verifiers.get(usize::from(ix.0)) {
            locked(&health.breaker).hear(if took.is_some() { Signal::Success } else { Signal::Failure }, now);
            if let Some(took) = took {
                locked(&health.latency).hear(took);
            }
        }
    }

    /// Measured latency of a verifier.
    pub(crate) fn verifier_latency(&self, ix: VerifierIx) -> Latency {
        self.verifiers.get(usize::from(ix.0)).map(|one| locked(&one.latency).latency()).unwrap_or_default()
    }

    /// Takes one repeat out of the provider's retry budget.
    pub(crate) fn may_retry(&self, model: &Model) -> bool {
        self.provider(model).is_none_or(|provider| provider.retries.withdraw())
    }

    /// Measured latency of a model.
    pub(crate) fn latency(&self, ix: ModelIx) -> Latency {
        self.models.get(usize::from(ix.0)).map(|own| locked(&own.latency).latency()).unwrap_or_default()
    }

    /// The breaker of a provider.
    pub(crate) fn provider_breaker(&self, at: usize, now: Timestamp) -> State {
        self.providers.get(at).map_or(State::Closed, |health| locked(&health.breaker).state(now))
    }

    /// The breaker of a model.
    pub(crate) fn model_breaker(&self, ix: ModelIx, now: Timestamp) -> State {
        self.models.get(usize::from(ix.0)).map_or(State::Closed, |health| locked(&health.breaker).state(now))
    }

    fn provider(&self, model: &Model) -> Option<&Arc<ProviderHealth>> {
        self.providers.get(usize::from(model.provider.0))
    }
}

/// What is believed of a model's acceptance for a task.
pub(crate) fn posterior(model: &Model, task: TaskIx) -> Posterior {
    let prior = model.priors.get(usize::from(task.0)).copied().unwrap_or(Prior { mean: 0.5, weight: 2.0 });
    Posterior::new(prior, 0.0, 0.0)
}

/// For how long it is open because of failures; a pause that was asked for is a wait.
fn open_for(breaker: &Mutex<Breaker>, now: Timestamp) -> Option<Duration> {
    let breaker = locked(breaker);
    match breaker.state(now) {
        State::Open(until) if breaker.cools(now).is_none() => Some(until.duration_since(now).unsigned_abs()),
        State::Closed | State::HalfOpen | State::Open(_) => None,
    }
}

/// A poisoned lock guards plain numbers: the last ones stand.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
