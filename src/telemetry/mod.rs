//! What happened, told once: metrics and log lines from typed events.
//!
//! Why it exists: a [`Receipt`] becomes the metrics, the log line and the ledger row in one place, so that the three
//! agree. What it refuses to know: how a decision was made. To add a metric: one variant in `metrics.rs`, and a typed
//! method here that writes it; callers never name a metric or a label.

pub mod clock;
mod instruments;
mod labels;
pub mod log;
pub mod metrics;
pub mod receipt;
mod series;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::budget::Total;
use crate::domain::money::Money;
use instruments::{Instruments, Level};
use labels::{Names, OTHER};
use metrics::Metric;
use series::ModelSeries;

pub use instruments::BadMetric;
pub use receipt::{Outcome, Receipt};

/// The most providers, rules and limits that have series of their own.
const NAMES: usize = 200;
/// The most models that have series of their own.
const MODELS: usize = 500;

/// Where events are told.
pub struct Telemetry {
    instruments: Instruments,
    models: RwLock<HashMap<Arc<str>, Arc<ModelSeries>>>,
    model_names: Names,
    providers: Names,
    rules: Names,
    limits: Names,
    budgets: Names,
    keep_prompts: bool,
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
            model_names: Names::capped("model", MODELS),
            providers: Names::capped("provider", NAMES),
            rules: Names::capped("rule", NAMES),
            limits: Names::capped("window", NAMES),
            budgets: Names::capped("budget", NAMES),
            keep_prompts,
        };
        told.begin_at_zero();
        Ok(Arc::new(told))
    }

    /// Makes the series of these models (provider, model id), at zero, so that a first failure is a rise and not a birth.
    pub fn expect<'a>(&self, models: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (provider, model) in models {
            self.model(provider, model);
            for result in ["sent", "no_budget", "unsafe", "deadline"] {
                self.instruments.counter(Metric::Retries, &[self.provider(provider), result]);
            }
        }
    }

    /// The one account of a request: its metrics and its log line.
    pub fn receipt(&self, receipt: &Receipt) {
        for attempt in &receipt.attempts {
            self.model(&attempt.provider, &attempt.model).attempt(attempt);
        }
        if let Some((provider, _)) = receipt.model.split_once('/') {
            let series = self.model(provider, &receipt.model);
            receipt.images.iter().for_each(|(format, _)| series.image(format));
        }
        let bytes = receipt.images.iter().map(|(_, bytes)| bytes).sum();
        self.instruments.counter(Metric::ImageBytes, &["out"]).add(bytes);
        let why = match receipt.outcome {
            Outcome::Joined => Some("coalesced"),
            Outcome::Replayed => Some("replayed"),
            Outcome::Fresh | Outcome::Refused(_) => None,
        };
        if let Some(why) = why {
            self.usd(Metric::CostAvoided, &[why], receipt.avoided);
        }
        self.decision(receipt);
        for (stage, time) in &receipt.stages {
            self.instruments.histogram(Metric::Overhead, &[stage]).observe(*time);
        }
        if receipt.generation.is_some() || !receipt.images.is_empty() {
            let own = receipt.total.saturating_sub(receipt.provider);
            self.instruments.histogram(Metric::Overhead, &["total"]).observe(own);
        }
        log::receipt(receipt, self.keep_prompts);
    }

    /// An HTTP exchange ended.
    pub fn http(&self, exchange: &Exchange) {
        let mut digits = [0; 5];
        let code = status_text(exchange.status, &mut digits);
        self.instruments.counter(Metric::HttpRequests, &[exchange.route, exchange.method, code]).add(1);
        self.instruments
            .histogram(Metric::RequestDuration, &[exchange.route, exchange.outcome])
            .observe(exchange.duration);
    }

    /// A request is under way until the guard drops.
    pub fn in_flight(&self, route: &'static str) -> InFlight {
        let level = self.instruments.gauge(Metric::InFlight, &[route]);
        level.add(1);
        InFlight(level)
    }

    /// A request or connection was turned away unserved.
    pub fn shed(&self, reason: &'static str) {
        self.instruments.counter(Metric::Shed, &[reason]).add(1);
    }

    /// A retry was sent, or refused: `sent`, `no_budget`, `unsafe`, `deadline`.
    pub fn retry(&self, provider: &str, result: &'static str) {
        self.instruments.counter(Metric::Retries, &[self.provider(provider), result]).add(1);
    }

    /// A draw from a limit: `allowed`, `denied`, or `shadow_denied` by a limit that only counts.
    pub fn quota(&self, owner: &str, limit: &str, result: &'static str) {
        let values = [self.provider(owner), self.admit(&self.limits, limit), result];
        self.instruments.counter(Metric::QuotaDecisions, &values).add(1);
    }

    /// What is left of a limit, and what it allows.
    #[expect(clippy::cast_possible_truncation, reason = "a limit's units are far below 2⁶³, and shown whole")]
    pub fn quota_left(&self, owner: &str, limit: &str, left: f64, capacity: f64) {
        let values = [self.provider(owner), self.admit(&self.limits, limit)];
        self.instruments.gauge(Metric::QuotaRemaining, &values).set(left as i64);
        self.instruments.gauge(Metric::QuotaCapacity, &values).set(capacity as i64);
    }

    /// Who counts what limits allow: `shared` or `local`, for how many replicas, and how Redis is where there is one.
    pub fn counting(&self, mode: &'static str, replicas: u32, redis: Option<&'static str>) {
        for name in ["shared", "local"] {
            self.instruments.gauge(Metric::QuotaMode, &[name]).set((name == mode).into());
        }
        self.instruments.gauge(Metric::Replicas, &[]).set(replicas.into());
        self.instruments.clear(Metric::RedisState);
        if let Some(state) = redis {
            self.instruments.gauge(Metric::RedisState, &[state]).set(1);
            self.instruments.gauge(Metric::RedisState, &["up"]).set((state == "up").into());
        }
    }

    /// A request's part in a shared purchase: `leader`, `local_follower`, `remote_follower`, `solo`.
    pub fn flight(&self, role: &'static str) {
        self.instruments.counter(Metric::Flights, &[role]).add(1);
    }

    /// A request that may be a repeat: `new`, `joined`, `replayed` or `mismatch`.
    pub fn idempotency(&self, result: &'static str) {
        self.instruments.counter(Metric::Idempotency, &[result]).add(1);
    }

    /// Jobs that have not ended: `queued` or `running`.
    pub fn jobs(&self, state: &'static str, count: u64) {
        self.instruments.gauge(Metric::Jobs, &[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A webhook was tried: `delivered`, `retried`, `gave_up` or `blocked`.
    pub fn webhook(&self, result: &'static str) {
        self.instruments.counter(Metric::Webhooks, &[result]).add(1);
    }

    /// A flight was taken over from a leader that was lost.
    pub fn flight_takeover(&self) {
        self.instruments.counter(Metric::FlightTakeovers, &[]).add(1);
    }

    /// Two leaders of one flight both bought.
    pub fn flight_duplicate(&self) {
        self.instruments.counter(Metric::FlightDuplicates, &[]).add(1);
    }

    /// A policy was loaded, or failed to; `digest` is of the policy now in force.
    pub fn policy_reload(&self, ok: bool, digest: &str) {
        self.instruments.counter(Metric::PolicyReloads, &[if ok { "ok" } else { "failed" }]).add(1);
        self.policy_in_force(digest);
        self.instruments.gauge(Metric::PolicyLastReload, &[]).set(ok.into());
    }

    /// The policy in force, at start.
    pub fn policy_in_force(&self, digest: &str) {
        self.instruments.clear(Metric::PolicyInfo);
        self.instruments.gauge(Metric::PolicyInfo, &[digest]).set(1);
        self.instruments.gauge(Metric::PolicyLastReload, &[]).set(1);
    }

    /// A provider's breaker: `closed`, `half_open` or `open`.
    pub fn breaker(&self, provider: &str, state: &'static str) {
        let provider = self.provider(provider);
        for name in ["closed", "half_open", "open"] {
            self.instruments.gauge(Metric::CircuitState, &[provider, name]).set((name == state).into());
        }
    }

    /// The ledger made a row durable.
    pub fn ledger_commit(&self, time: Duration) {
        self.instruments.histogram(Metric::LedgerCommit, &[]).observe(time);
    }

    /// The ledger could not write: `unavailable` or `not_open`.
    pub fn ledger_error(&self, kind: &'static str) {
        self.instruments.counter(Metric::LedgerErrors, &[kind]).add(1);
    }

    /// Money in doubt at a provider, and when the oldest such attempt was made.
    pub fn doubt(&self, provider: &str, usd: Money, oldest: Option<Timestamp>) {
        let provider = self.provider(provider);
        self.instruments.gauge(Metric::AmbiguousOpen, &[provider]).set(usd.micros());
        self.instruments.gauge(Metric::AmbiguousOldest, &[provider]).set(oldest.map_or(0, Timestamp::as_second));
    }

    /// How a budget stands. `window_end` and `forecast` are absent where there is none.
    pub fn budget(&self, name: &str, cap: Money, total: Total, window_end: Option<Timestamp>, forecast: Option<Money>) {
        let name = self.admit(&self.budgets, name);
        let usd = |metric, usd: Money| self.instruments.gauge(metric, &[name]).set(usd.micros());
        usd(Metric::BudgetLimit, cap);
        usd(Metric::BudgetSpent, total.settled);
        usd(Metric::BudgetReserved, total.reserved);
        usd(Metric::BudgetAmbiguous, total.ambiguous);
        if let Some(forecast) = forecast {
            usd(Metric::BudgetForecast, forecast);
        }
        if let Some(end) = window_end {
            self.instruments.gauge(Metric::BudgetWindowEnd, &[name]).set(end.as_second());
        }
    }

    /// Budgets are told anew: those that the policy no longer has are gone.
    pub fn budgets_anew(&self) {
        let all = [
            Metric::BudgetAmbiguous,
            Metric::BudgetForecast,
            Metric::BudgetLimit,
            Metric::BudgetReserved,
            Metric::BudgetSpent,
            Metric::BudgetWindowEnd,
        ];
        all.into_iter().for_each(|metric| self.instruments.clear(metric));
    }

    /// A caller was not let in: `missing`, `unknown` or `scope`.
    pub fn auth_failure(&self, reason: &'static str) {
        self.instruments.counter(Metric::AuthFailures, &[reason]).add(1);
    }

    /// The address guard refused a connection: `provider`, `result_url` or `webhook`.
    pub fn outbound_blocked(&self, surface: &'static str) {
        self.instruments.counter(Metric::OutboundBlocked, &[surface]).add(1);
    }

    /// The exposition text for Prometheus, version 0.0.4.
    pub fn render(&self) -> String {
        self.instruments.render()
    }

    /// Series of closed sets exist from the start.
    fn begin_at_zero(&self) {
        let counters: [(Metric, &[&str]); 9] = [
            (Metric::Idempotency, &["joined", "mismatch", "new", "replayed"]),
            (Metric::Flights, &["leader", "local_follower", "remote_follower", "solo"]),
            (Metric::CostAvoided, &["coalesced", "replayed"]),
            (Metric::PolicyReloads, &["ok", "failed"]),
            (Metric::LedgerErrors, &["unavailable", "not_open"]),
            (Metric::OutboundBlocked, &["provider", "result_url", "webhook"]),
            (Metric::AuthFailures, &["missing", "unknown", "scope"]),
            (Metric::Shed, &["connections", "overloaded"]),
            (Metric::LabelOverflow, &["budget", "model", "provider", "rule", "window"]),
        ];
        for (metric, values) in counters {
            for value in values {
                self.instruments.counter(metric, &[value]);
            }
        }
        self.instruments.counter(Metric::ImageBytes, &["out"]);
        self.instruments.counter(Metric::FlightTakeovers, &[]);
        self.instruments.counter(Metric::FlightDuplicates, &[]);
        self.instruments.histogram(Metric::LedgerCommit, &[]);
        self.instruments.histogram(Metric::Overhead, &["total"]);
        self.instruments.gauge(Metric::BuildInfo, &[env!("CARGO_PKG_VERSION")]).set(1);
    }

    fn decision(&self, receipt: &Receipt) {
        let result = match receipt.outcome {
            Outcome::Refused("no_plan") => "no_plan",
            _ if !receipt.model.is_empty() => "planned",
            Outcome::Fresh | Outcome::Joined | Outcome::Replayed | Outcome::Refused(_) => return,
        };
        let rule = receipt.rule.as_deref().map_or("none", |rule| self.admit(&self.rules, rule));
        self.instruments.counter(Metric::PolicyDecisions, &[rule, result]).add(1);
    }

    fn model(&self, provider: &str, model: &str) -> Arc<ModelSeries> {
        if let Some(series) = self.models.read().unwrap_or_else(PoisonError::into_inner).get(model) {
            return Arc::clone(series);
        }
        let (provider, model) = (self.provider(provider), self.admit(&self.model_names, model));
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let series = models
            .entry(model.into())
            .or_insert_with(|| Arc::new(ModelSeries::new(&self.instruments, provider, model)));
        Arc::clone(series)
    }

    fn provider<'a>(&self, name: &'a str) -> &'a str {
        self.admit(&self.providers, name)
    }

    fn admit<'a>(&self, names: &Names, name: &'a str) -> &'a str {
        if names.admit(name) {
            return name;
        }
        self.instruments.counter(Metric::LabelOverflow, &[names.label]).add(1);
        OTHER
    }

    fn usd(&self, metric: Metric, values: &[&str], usd: Money) {
        self.instruments.counter(metric, values).add(u64::try_from(usd.micros()).unwrap_or(0));
    }
}

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
