//! What happened, told once: metrics and log lines from typed events.
//!
//! Why it exists: a [`Receipt`] becomes the metrics, the log line and the ledger row in one place, so that the three
//! agree. What it refuses to know: how a decision was made. To add a metric: one row in `metrics.rs`, and a typed
//! method in `events.rs` that writes it; callers never name a metric or a label. A value outside its label's set or cap
//! is counted as `other`.

pub mod clock;
mod events;
mod instruments;
mod labels;
pub mod log;
pub mod metrics;
mod process;
pub mod receipt;
mod series;
pub mod trace;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use crate::domain::money::Money;
use instruments::{Instruments, Level, Spread, Tally};
use labels::{Admission, OTHER};
use metrics::{Kind, Label, Metric, Values};
use series::{ExchangeSeries, Known, ModelSeries};
use trace::{Root, Sink};

pub use instruments::BadMetric;
pub use receipt::{Outcome, Receipt};

/// Where events are told.
pub struct Telemetry {
    instruments: Instruments,
    models: RwLock<HashMap<Arc<str>, Arc<ModelSeries>>>,
    exchanges: Known<(&'static str, &'static str, u16, &'static str), ExchangeSeries>,
    under_way: Known<&'static str, Level>,
    commits: Known<(), Spread>,
    overheads: Known<&'static str, Spread>,
    admission: Admission,
    /// Micro-dollars that receipts have settled.
    booked: AtomicI64,
    keep_prompts: bool,
    traces: OnceLock<Sink>,
}

/// An exchange over HTTP that ended.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// The route by name, of a closed set.
    pub route: &'static str,
    /// The method, of a closed set.
    pub method: &'static str,
    /// Status code of the answer.
    pub status: u16,
    /// `fresh`, `joined`, `replayed`, `ok`, or the refusal's code.
    pub outcome: &'static str,
    /// From the request's first byte read to its answer's last byte handed over.
    pub duration: Duration,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Telemetry {
    /// A fresh account. `keep_prompts`: whether log lines carry prompts.
    pub fn new(keep_prompts: bool) -> Result<Arc<Self>, BadMetric> {
        let told = Self {
            instruments: Instruments::new()?,
            models: RwLock::default(),
            exchanges: Known::default(),
            under_way: Known::default(),
            commits: Known::default(),
            overheads: Known::default(),
            admission: Admission::of_the_table(),
            booked: AtomicI64::new(0),
            keep_prompts,
            traces: OnceLock::new(),
        };
        told.begin_at_zero(&[]);
        let commit = option_env!("TOLLGATE_COMMIT").unwrap_or("unknown");
        told.jobs("queued", 0);
        told.jobs("running", 0);
        told.jobs_oldest_queued(None);
        told.pressure("connections", 0, 1);
        told.pressure("requests", 0, 1);
        told.gauge(Metric::BuildInfo, &[env!("CARGO_PKG_VERSION"), commit]).set(1);
        Ok(Arc::new(told))
    }

    /// Makes the series of these models (provider, model id), at zero, so that a first failure is a rise and not a birth.
    pub fn expect<'a>(&self, models: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (provider, model) in models {
            self.model(provider, model);
            self.begin_at_zero(&[("provider", provider), ("model", model)]);
        }
    }

    /// Makes the series of these rules and tasks, at zero.
    pub fn expect_policy<'a>(
        &self,
        rules: impl IntoIterator<Item = &'a str>,
        tasks: impl IntoIterator<Item = &'a str>,
    ) {
        rules.into_iter().chain(["none"]).for_each(|rule| self.begin_at_zero(&[("rule", rule)]));
        tasks.into_iter().for_each(|task| self.begin_at_zero(&[("task", task)]));
    }

    /// Records traces into `sink` from here on; a second sink is not taken.
    pub fn traced_to(&self, sink: Sink) {
        sink.counted_by(self.counter(Metric::Traces, &["lost"]));
        // Set once, at the start.
        let _ = self.traces.set(sink);
    }

    /// The trace of a request that came with this `traceparent`; `None` when nobody records it.
    pub fn trace(&self, traceparent: Option<&str>) -> Option<Root> {
        self.traces.get()?.begin(traceparent)
    }

    /// What all receipts so far have settled.
    pub fn booked(&self) -> Money {
        Money::from_micros(self.booked.load(Ordering::Relaxed))
    }

    /// The one account of a request: its metrics and its log line.
    pub fn receipt(&self, receipt: &Receipt) {
        for attempt in &receipt.attempts {
            self.model(&attempt.provider, &attempt.model).attempt(attempt);
            self.booked.fetch_add(attempt.charged.micros(), Ordering::Relaxed);
        }
        if !receipt.images.is_empty() {
            if let Some((provider, _)) = receipt.model.split_once('/') {
                let series = self.model(provider, &receipt.model);
                receipt.images.iter().for_each(|(format, _)| series.image(format));
            }
            let bytes = receipt.images.iter().map(|(_, bytes)| bytes).sum();
            self.counter(Metric::ImageBytes, &["out"]).add(bytes);
        }
        let why = match receipt.outcome {
            Outcome::Joined => "coalesced",
            Outcome::Replayed => "replayed",
            Outcome::Fresh | Outcome::Refused(_) => "cheaper_plan",
        };
        if receipt.avoided > Money::ZERO {
            self.usd(Metric::CostAvoided, &[why], receipt.avoided);
        }
        self.decision(receipt);
        for (stage, time) in &receipt.stages {
            self.overhead(stage).observe(*time);
        }
        if receipt.generation.is_some() || !receipt.images.is_empty() {
            let own = receipt.total.saturating_sub(receipt.provider);
            self.overhead("total").observe(own);
        }
        log::receipt(receipt, self.keep_prompts);
    }

    /// The exposition text for Prometheus, version 0.0.4.
    pub fn render(&self) -> String {
        self.process();
        self.instruments.render()
    }

    /// Makes every counter and histogram whose labels are closed sets or one of `given` (label, value), at zero; without
    /// `given`, those of closed sets alone.
    fn begin_at_zero(&self, given: &[(&str, &str)]) {
        for &metric in Metric::ALL {
            let spec = metric.spec();
            let named = |label: &&Label| matches!(label.values, Values::Named(_));
            if spec.kind == Kind::Gauge || spec.labels.iter().any(|label| named(&label)) == given.is_empty() {
                continue;
            }
            let mut rows: Vec<Vec<&str>> = vec![Vec::new()];
            for label in spec.labels {
                let given: Vec<&str> = given.iter().filter(|(name, _)| *name == label.name).map(|(_, v)| *v).collect();
                let values = match label.values {
                    Values::Closed(set) => set,
                    Values::Named(_) => given.as_slice(),
                };
                rows = rows.iter().flat_map(|row| values.iter().map(|value| [&row[..], &[*value]].concat())).collect();
            }
            for row in rows {
                match spec.kind {
                    Kind::Counter => self.counter(metric, &row).add(0),
                    _ => drop(self.histogram(metric, &row)),
                }
            }
        }
    }

    fn overhead(&self, stage: &'static str) -> Spread {
        self.overheads.get(stage, || self.histogram(Metric::Overhead, &[stage]))
    }

    fn decision(&self, receipt: &Receipt) {
        let result = match receipt.outcome {
            Outcome::Refused("no_plan") => "no_plan",
            _ if !receipt.model.is_empty() => "planned",
            Outcome::Fresh | Outcome::Joined | Outcome::Replayed | Outcome::Refused(_) => return,
        };
        self.counter(Metric::PolicyDecisions, &[receipt.rule.as_deref().unwrap_or("none"), result]).add(1);
        if let (Some(shape), Outcome::Fresh) = (receipt.shape, receipt.outcome) {
            self.counter(Metric::Plans, &[&receipt.task, shape]).add(1);
        }
        for (reason, times) in &receipt.reasons {
            self.counter(Metric::PlanReasons, &[reason]).add(*times);
        }
    }

    fn model(&self, provider: &str, model: &str) -> Arc<ModelSeries> {
        if let Some(series) = self.models.read().unwrap_or_else(PoisonError::into_inner).get(model) {
            return Arc::clone(series);
        }
        let values = [provider, model];
        let [provider, model, ..] = self.fitted(Metric::ProviderDuration, &values);
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let series = models
            .entry(model.into())
            .or_insert_with(|| Arc::new(ModelSeries::new(&self.instruments, provider, model)));
        Arc::clone(series)
    }

    fn counter(&self, metric: Metric, values: &[&str]) -> Tally {
        let fitted = self.fitted(metric, values);
        self.instruments.counter(metric, fitted.get(..values.len()).unwrap_or_default())
    }

    fn gauge(&self, metric: Metric, values: &[&str]) -> Level {
        let fitted = self.fitted(metric, values);
        self.instruments.gauge(metric, fitted.get(..values.len()).unwrap_or_default())
    }

    fn histogram(&self, metric: Metric, values: &[&str]) -> Spread {
        let fitted = self.fitted(metric, values);
        self.instruments.histogram(metric, fitted.get(..values.len()).unwrap_or_default())
    }

    /// The values as the metric's labels take them.
    fn fitted<'a>(&self, metric: Metric, values: &[&'a str]) -> [&'a str; LABELS] {
        let mut fitted = [OTHER; LABELS];
        for ((slot, label), value) in fitted.iter_mut().zip(metric.spec().labels).zip(values) {
            if self.admission.admits(label, value) {
                *slot = value;
            } else {
                self.instruments.counter(Metric::LabelOverflow, &[metric.spec().name, label.name]).add(1);
            }
        }
        fitted
    }

    fn usd(&self, metric: Metric, values: &[&str], usd: Money) {
        self.counter(metric, values).add(u64::try_from(usd.micros()).unwrap_or(0));
    }
}

/// The most labels that a metric has.
const LABELS: usize = 4;

/// Counts a request as under way until it drops.
#[derive(Debug)]
pub struct InFlight(Level);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// The digits of a status code without an allocation.
fn status_text(status: u16, digits: &mut [u8; 5]) -> &str {
    let mut rest = status;
    let mut from = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        from -= 1;
        if rest == 0 {
            break;
        }
    }
    digits.get(from..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests;
