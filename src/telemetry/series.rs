//! Series resolved once: those of one model, so that an attempt costs one look-up and not one for each metric, and those
//! whose labels are words of the program, so that a request costs no look-up by hash.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::instruments::{Instruments, Spread, Tally};
use super::metrics::Metric;
use crate::domain::fault::Class;
use crate::domain::image::Format;
use crate::domain::ledger::{Attempt, Basis, MoneyState};

/// Series of few keys, each made when it is first asked for. Words of the program are compared as words, shorter than to
/// hash them.
pub(super) struct Known<K, S>(RwLock<Vec<(K, S)>>);

impl<K, S> Default for Known<K, S> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Copy + PartialEq, S: Clone> Known<K, S> {
    /// The series of `key`.
    pub(super) fn get(&self, key: K, make: impl FnOnce() -> S) -> S {
        let of = |known: &[(K, S)]| known.iter().find(|(other, _)| *other == key).map(|(_, series)| series.clone());
        if let Some(series) = of(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return series;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        of(&known).unwrap_or_else(|| {
            let series = make();
            known.push((key, series.clone()));
            series
        })
    }
}

/// The series of one kind of exchange.
#[derive(Clone)]
pub(super) struct ExchangeSeries {
    pub(super) count: Tally,
    pub(super) duration: Spread,
}

/// Every series with a `model` label, for one model.
pub(super) struct ModelSeries {
    attempts: Vec<(&'static str, Tally)>,
    odd_attempts: Tally,
    duration: Spread,
    by_price_table: Tally,
    by_usage: Tally,
    images: Vec<(&'static str, Tally)>,
    garbled: Tally,
}

impl ModelSeries {
    /// Resolves them; each then exists at zero.
    pub(super) fn new(instruments: &Instruments, provider: &str, model: &str) -> Self {
        let attempt = |outcome| instruments.counter(Metric::ProviderAttempts, &[provider, model, outcome]);
        let cost = |basis: Basis| instruments.counter(Metric::Cost, &[provider, model, basis.name()]);
        let image = |format: Format| instruments.counter(Metric::Images, &[provider, model, format.name()]);
        let outcomes = ["ok", "abandoned"].into_iter().chain(Class::ALL.map(Class::name));
        Self {
            attempts: outcomes.map(|outcome| (outcome, attempt(outcome))).collect(),
            odd_attempts: attempt(super::labels::OTHER),
            duration: instruments.histogram(Metric::ProviderDuration, &[provider, model]),
            by_price_table: cost(Basis::PriceTable),
            by_usage: cost(Basis::ProviderUsage),
            images: Format::ALL.map(|format| (format.name(), image(format))).into(),
            garbled: instruments.counter(Metric::ImagesRejected, &[provider, Class::Garbled.name()]),
        }
    }

    /// Counts an attempt that ended.
    pub(super) fn attempt(&self, attempt: &Attempt) {
        let tally = self.attempts.iter().find(|(outcome, _)| *outcome == attempt.outcome).map(|(_, tally)| tally);
        tally.unwrap_or(&self.odd_attempts).add(1);
        if attempt.latency > Duration::ZERO {
            self.duration.observe(attempt.latency);
        }
        if attempt.outcome == Class::Garbled.name() {
            self.garbled.add(1);
        }
        if attempt.state == MoneyState::Settled {
            let tally = match attempt.basis {
                Basis::PriceTable => &self.by_price_table,
                Basis::ProviderUsage => &self.by_usage,
            };
            tally.add(u64::try_from(attempt.charged.micros()).unwrap_or(0));
        }
    }

    /// Counts a picture answered.
    pub(super) fn image(&self, format: &str) {
        if let Some((_, tally)) = self.images.iter().find(|(name, _)| *name == format) {
            tally.add(1);
        }
    }
}
