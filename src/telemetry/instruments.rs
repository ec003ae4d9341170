//! The numbers behind the names: the one place that knows the `prometheus` crate.
//!
//! Why it exists: every series is made from its row in `metrics.rs`, and money is kept in whole micro-dollars until the
//! moment it is shown, so that sums here equal the ledger's. What it refuses to know: what the numbers mean.
//! To add an instrument: a row of `metrics.rs`. To add a kind of them: a variant of [`Made`].

use prometheus::proto::{Counter, Gauge, MetricFamily};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use super::metrics::{Kind, Metric, Spec, Unit};

/// A row of the metric table that the library refuses; a mistake in `metrics.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadMetric(pub String);

impl std::fmt::Display for BadMetric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a metric cannot be registered: {}", self.0)
    }
}

impl std::error::Error for BadMetric {}

impl From<prometheus::Error> for BadMetric {
    fn from(error: prometheus::Error) -> Self {
        Self(error.to_string())
    }
}

/// All series of the process, by metric.
pub(super) struct Instruments {
    registry: Registry,
    /// By the metric's number.
    made: Vec<Made>,
}

/// All series of one metric.
enum Made {
    Counter(IntCounterVec),
    Gauge(IntGaugeVec),
    Histogram(HistogramVec),
}

impl Instruments {
    /// One instrument for each row of the table.
    pub(super) fn new() -> Result<Self, BadMetric> {
        let registry = Registry::new();
        let made = Metric::ALL.iter().map(|metric| {
            let spec = metric.spec();
            let labels: Vec<&str> = spec.labels.iter().map(|label| label.name).collect();
            Ok(match spec.kind {
                Kind::Counter => {
                    let vec = IntCounterVec::new(Opts::new(spec.name, spec.help), &labels)?;
                    registry.register(Box::new(vec.clone()))?;
                    Made::Counter(vec)
                }
                Kind::Gauge => {
                    let vec = IntGaugeVec::new(Opts::new(spec.name, spec.help), &labels)?;
                    registry.register(Box::new(vec.clone()))?;
                    Made::Gauge(vec)
                }
                Kind::Histogram(bounds) => {
                    let opts = HistogramOpts::new(spec.name, spec.help).buckets(bounds.to_vec());
                    let vec = HistogramVec::new(opts, &labels)?;
                    registry.register(Box::new(vec.clone()))?;
                    Made::Histogram(vec)
                }
            })
        });
        let made = made.collect::<Result<_, BadMetric>>()?;
        Ok(Self { registry, made })
    }

    /// The counter of `metric` with these label values.
    pub(super) fn counter(&self, metric: Metric, values: &[&str]) -> Tally {
        let Some(Made::Counter(vec)) = self.made.get(metric as usize) else { return Tally(None) };
        Tally(vec.get_metric_with_label_values(values).ok())
    }

    /// The gauge of `metric` with these label values.
    pub(super) fn gauge(&self, metric: Metric, values: &[&str]) -> Level {
        let Some(Made::Gauge(vec)) = self.made.get(metric as usize) else { return Level(None) };
        Level(vec.get_metric_with_label_values(values).ok())
    }

    /// The histogram of `metric` with these label values.
    pub(super) fn histogram(&self, metric: Metric, values: &[&str]) -> Spread {
        let Some(Made::Histogram(vec)) = self.made.get(metric as usize) else { return Spread(None) };
        Spread(vec.get_metric_with_label_values(values).ok())
    }

    /// Forgets every series of a gauge, before its values are set anew.
    pub(super) fn clear(&self, metric: Metric) {
        if let Some(Made::Gauge(vec)) = self.made.get(metric as usize) {
            vec.reset();
        }
    }

    /// The exposition text, version 0.0.4.
    pub(super) fn render(&self) -> String {
        let mut families = self.registry.gather();
        for family in &mut families {
            in_its_unit(family);
        }
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

/// Money is counted in micro-dollars and shown in dollars; shares and counted seconds likewise.
fn in_its_unit(family: &mut MetricFamily) {
    let spec = Metric::ALL.iter().map(|metric| metric.spec()).find(|spec| spec.name == family.name());
    let in_millionths = |spec: &Spec| match (spec.unit, spec.kind) {
        (_, Kind::Histogram(_)) | (Unit::Bytes | Unit::Count, _) | (Unit::Seconds, Kind::Gauge) => false,
        (Unit::Usd | Unit::Ratio, _) | (Unit::Seconds, Kind::Counter) => true,
    };
    let Some(spec) = spec.filter(in_millionths) else {
        return;
    };
    for metric in family.mut_metric() {
        if spec.kind == Kind::Counter {
            let mut counter = Counter::default();
            counter.set_value(metric.get_counter().get_value() / 1e6);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(metric.get_gauge().get_value() / 1e6);
            metric.set_gauge(gauge);
        }
    }
}

/// A resolved counter. The labels of each metric are given in one place with its row's arity, which a test checks; a
/// mismatch would count nothing rather than stop a request.
#[derive(Clone, Debug)]
pub(super) struct Tally(Option<prometheus::IntCounter>);

impl Tally {
    /// Adds `by`.
    pub(super) fn add(&self, by: u64) {
        if let Some(counter) = &self.0 {
            counter.inc_by(by);
        }
    }

    /// Raises it to `to`, for a count that somebody else keeps.
    pub(super) fn raise(&self, to: u64) {
        if let Some(counter) = &self.0 {
            counter.inc_by(to.saturating_sub(counter.get()));
        }
    }
}

/// A resolved gauge.
#[derive(Clone, Debug)]
pub(super) struct Level(Option<prometheus::IntGauge>);

impl Level {
    /// Sets it.
    pub(super) fn set(&self, to: i64) {
        if let Some(gauge) = &self.0 {
            gauge.set(to);
        }
    }

    /// Adds `by`, which may be negative.
    pub(super) fn add(&self, by: i64) {
        if let Some(gauge) = &self.0 {
            gauge.add(by);
        }
    }
}

/// A resolved histogram.
#[derive(Clone, Debug)]
pub(super) struct Spread(Option<prometheus::Histogram>);

impl Spread {
    /// Counts a duration.
    pub(super) fn observe(&self, time: std::time::Duration) {
        self.score(time.as_secs_f64());
    }

    /// Counts a value in the metric's unit.
    pub(super) fn score(&self, value: f64) {
        if let Some(histogram) = &self.0 {
            histogram.observe(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_makes_an_instrument_that_takes_its_labels() {
        let instruments = Instruments::new().unwrap();
        for &metric in Metric::ALL {
            let spec = metric.spec();
            let values = vec!["x"; spec.labels.len()];
            let made = match spec.kind {
                Kind::Counter => instruments.counter(metric, &values).0.is_some(),
                Kind::Gauge => instruments.gauge(metric, &values).0.is_some(),
                Kind::Histogram(_) => instruments.histogram(metric, &values).0.is_some(),
            };
            assert!(made, "{metric:?}");
        }
        let text = instruments.render();
        for metric in Metric::ALL {
            assert!(text.contains(&format!("# TYPE {} ", metric.spec().name)), "{metric:?}");
        }
    }

    #[test]
    fn micro_dollars_are_shown_as_dollars() {
        let instruments = Instruments::new().unwrap();
        instruments.counter(Metric::Cost, &["p", "p/m", "price_table"]).add(35_000);
        instruments.gauge(Metric::AmbiguousOpen, &["p"]).set(1_250_000);
        let text = instruments.render();
        assert!(
            text.contains(r#"tollgate_cost_usd_total{basis="price_table",model="p/m",provider="p"} 0.035"#),
            "{text}"
        );
        assert!(text.contains(r#"tollgate_ambiguous_open_usd{provider="p"} 1.25"#), "{text}");
    }
}
