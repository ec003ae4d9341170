//! What the rooms tell, one typed method an event.
//!
//! Why it exists: a caller says what happened in its own words; which metric and which label that is stands here alone.
//! What it refuses to know: receipts (`mod.rs`) and how values are kept. To add an event: a method, and its row in
//! `metrics.rs`.

use std::time::Duration;

use jiff::Timestamp;

use super::metrics::{self, Metric};
use super::series::ExchangeSeries;
use super::{Exchange, InFlight, Telemetry, status_text};
use crate::domain::budget::Total;
use crate::domain::money::Money;
use crate::domain::quality::Posterior;

/// The door.
impl Telemetry {
    /// An HTTP exchange ended.
    pub fn http(&self, exchange: &Exchange) {
        let Exchange { route, method, status, outcome, duration } = *exchange;
        let series = self.exchanges.get((route, method, status, outcome), || {
            let mut digits = [0; 5];
            ExchangeSeries {
                count: self.counter(Metric::HttpRequests, &[route, method, status_text(status, &mut digits)]),
                duration: self.histogram(Metric::RequestDuration, &[route, outcome]),
            }
        });
        series.count.add(1);
        series.duration.observe(duration);
    }

    /// A request is under way until the guard drops.
    pub fn in_flight(&self, route: &'static str) -> InFlight {
        let level = self.under_way.get(route, || self.gauge(Metric::InFlight, &[route]));
        level.add(1);
        InFlight(level)
    }

    /// A request or connection was turned away unserved: `connections`, `overloaded`.
    pub fn shed(&self, reason: &'static str) {
        self.counter(Metric::Shed, &[reason]).add(1);
    }

    /// How much of a bound is in use: `connections` or `requests`.
    pub fn pressure(&self, monitor: &'static str, used: usize, bound: usize) {
        self.gauge(Metric::Pressure, &[monitor]).set(millionths(used as f64 / bound.max(1) as f64));
    }

    /// A caller was not let in: `missing`, `unknown` or `scope`.
    pub fn auth_failure(&self, reason: &'static str) {
        self.counter(Metric::AuthFailures, &[reason]).add(1);
    }

    /// Traces were sent to the collector, or lost.
    pub fn traces(&self, sent: bool, count: usize) {
        self.counter(Metric::Traces, &[if sent { "sent" } else { "lost" }]).add(count as u64);
    }

    /// The address guard refused a connection: `provider`, `result_url` or `webhook`.
    pub fn outbound_blocked(&self, surface: &'static str) {
        self.counter(Metric::OutboundBlocked, &[surface]).add(1);
    }
}

/// Providers and what keeps calls away from them.
impl Telemetry {
    /// The head of a provider's reply came, this long after the call began to leave.
    pub fn time_to_headers(&self, provider: &str, time: Duration) {
        self.histogram(Metric::TimeToHeaders, &[provider]).observe(time);
    }

    /// Bytes of pictures that came from providers.
    pub fn image_bytes_in(&self, bytes: u64) {
        self.counter(Metric::ImageBytes, &["in"]).add(bytes);
    }

    /// A retry was sent, or refused: `sent`, `no_budget`, `unsafe`, `deadline`.
    pub fn retry(&self, provider: &str, result: &'static str) {
        self.counter(Metric::Retries, &[provider, result]).add(1);
    }

    /// A draw from a limit: `allowed`, `delayed`, `denied`, or `shadow_denied` by a limit that only counts.
    pub fn quota(&self, owner: &str, limit: &str, result: &'static str) {
        self.counter(Metric::QuotaDecisions, &[owner, limit, result]).add(1);
    }

    /// What is left of a limit, and what it allows.
    #[expect(clippy::cast_possible_truncation, reason = "a limit's units are far below 2⁶³, and shown whole")]
    pub fn quota_left(&self, owner: &str, limit: &str, left: f64, capacity: f64) {
        self.gauge(Metric::QuotaRemaining, &[owner, limit]).set(left as i64);
        self.gauge(Metric::QuotaCapacity, &[owner, limit]).set(capacity as i64);
    }

    /// How many gateways share limits, and how Redis is where there is one.
    pub fn counting(&self, replicas: u32, redis: Option<&'static str>) {
        self.gauge(Metric::Replicas, &[]).set(replicas.into());
        if let Some(state) = redis {
            self.one_of(Metric::RedisState, &[], metrics::REDIS, state);
        }
    }

    /// Where limits are kept now: `shared`, `local` or `refuse`.
    pub fn quota_mode(&self, mode: &'static str) {
        self.one_of(Metric::QuotaMode, &[], &["shared", "local", "refuse"], mode);
    }

    /// An exchange with Redis: `beat`, `command` or `script`.
    pub fn redis_operation(&self, op: &'static str, time: Duration) {
        self.histogram(Metric::RedisDuration, &[op]).observe(time);
    }

    /// An exchange with Redis failed, by the name of its trouble.
    pub fn redis_error(&self, kind: &'static str) {
        self.counter(Metric::RedisErrors, &[kind]).add(1);
    }

    /// A provider's breaker: `closed`, `half_open` or `open`.
    pub fn breaker(&self, provider: &str, state: &'static str) {
        self.one_of(Metric::CircuitState, &[provider], &["closed", "half_open", "open"], state);
    }

    /// A picture was refused by a check of ours, the call itself having succeeded: `verifier`.
    pub fn image_rejected(&self, provider: &str, reason: &'static str) {
        self.counter(Metric::ImagesRejected, &[provider, reason]).add(1);
    }

    /// A check's score of a picture, 0 to 1: `verifier`.
    pub fn quality_score(&self, provider: &str, model: &str, check: &'static str, score: f64) {
        self.histogram(Metric::QualityScore, &[provider, model, check]).score(score);
    }

    /// How far a model's fixed pictures are from their baseline, 0 to 1, and in bits of their hashes; and how many of
    /// them are other pictures.
    pub fn drift(&self, model: &str, dissimilarity: f64, hash_bits: u32, changed: usize) {
        self.gauge(Metric::DriftScore, &[model]).set(millionths(dissimilarity));
        self.gauge(Metric::DriftHash, &[model]).set(hash_bits.into());
        self.gauge(Metric::DriftChanged, &[model]).set(i64::try_from(changed).unwrap_or(i64::MAX));
    }

    /// A fixed picture was compared: `same`, `changed`, `baseline` (its first one) or `failed`.
    pub fn drift_check(&self, result: &'static str) {
        self.counter(Metric::DriftChecks, &[result]).add(1);
    }
}

/// Money, shared purchases, jobs.
impl Telemetry {
    /// Forgets every budget, before they are told anew.
    pub fn budgets_anew(&self) {
        let all = [
            Metric::BudgetAmbiguous,
            Metric::BudgetForecast,
            Metric::BudgetLimit,
            Metric::BudgetReserved,
            Metric::BudgetSpent,
            Metric::BudgetWindowEnd,
        ];
        for metric in all {
            self.instruments.clear(metric);
        }
    }

    /// How a budget stands. `window_end` and `forecast` are absent where there is none.
    pub fn budget(&self, name: &str, cap: Money, total: Total, window_end: Option<Timestamp>, forecast: Option<Money>) {
        let usd = |metric, usd: Money| self.gauge(metric, &[name]).set(usd.micros());
        usd(Metric::BudgetLimit, cap);
        usd(Metric::BudgetSpent, total.settled);
        usd(Metric::BudgetReserved, total.reserved);
        usd(Metric::BudgetAmbiguous, total.ambiguous);
        if let Some(forecast) = forecast {
            usd(Metric::BudgetForecast, forecast);
        }
        if let Some(end) = window_end {
            self.gauge(Metric::BudgetWindowEnd, &[name]).set(end.as_second());
        }
    }

    /// Money in doubt at a provider, and when the oldest such attempt was made; zero and `None` when there is none.
    pub fn doubt(&self, provider: &str, usd: Money, oldest: Option<Timestamp>) {
        self.gauge(Metric::AmbiguousOpen, &[provider]).set(usd.micros());
        self.gauge(Metric::AmbiguousOldest, &[provider]).set(oldest.map_or(0, Timestamp::as_second));
    }

    /// The ledger made a row durable.
    pub fn ledger_commit(&self, time: Duration) {
        self.commits.get((), || self.histogram(Metric::LedgerCommit, &[])).observe(time);
    }

    /// The ledger could not write: `unavailable`, `not_open` or `reused`.
    pub fn ledger_error(&self, kind: &'static str) {
        self.counter(Metric::LedgerErrors, &[kind]).add(1);
    }

    /// By how much the ledger's settled sum differs from what this process counted.
    pub fn ledger_drift(&self, usd: Money) {
        self.gauge(Metric::LedgerDrift, &[]).set(usd.micros());
    }

    /// A request's part in a shared purchase: `leader`, `local_follower`, `remote_follower`, `solo`.
    pub fn flight(&self, role: &'static str) {
        self.counter(Metric::Flights, &[role]).add(1);
    }

    /// A flight was taken over from a leader that was lost.
    pub fn flight_takeover(&self) {
        self.counter(Metric::FlightTakeovers, &[]).add(1);
    }

    /// Two leaders of one flight both bought.
    pub fn flight_duplicate(&self) {
        self.counter(Metric::FlightDuplicates, &[]).add(1);
    }

    /// A request that may be a repeat: `new`, `joined`, `replayed`, `mismatch` or `expired`.
    pub fn idempotency(&self, result: &'static str) {
        self.counter(Metric::Idempotency, &[result]).add(1);
    }

    /// How many jobs are in a state that is not an end (`queued`, `running`).
    pub fn jobs(&self, state: &'static str, count: u64) {
        self.gauge(Metric::Jobs, &[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// When the oldest job that still waits was queued; `None` when none waits.
    pub fn jobs_oldest_queued(&self, queued: Option<Timestamp>) {
        self.gauge(Metric::JobsOldestQueued, &[]).set(queued.map_or(0, Timestamp::as_second));
    }

    /// A job ran, after it waited for so long.
    pub fn job_wait(&self, time: Duration) {
        self.histogram(Metric::JobWait, &[]).observe(time);
    }

    /// A delivery of a webhook: `delivered`, `retried`, `gave_up` or `blocked`.
    pub fn webhook(&self, outcome: &'static str) {
        self.counter(Metric::Webhooks, &[outcome]).add(1);
    }
}

/// The policy and the planner.
impl Telemetry {
    /// A policy was loaded, or failed to; `digest` is of the policy now in force.
    pub fn policy_reload(&self, ok: bool, digest: &str) {
        self.counter(Metric::PolicyReloads, &[if ok { "ok" } else { "failed" }]).add(1);
        self.policy_in_force(digest);
        self.gauge(Metric::PolicyLastReload, &[]).set(ok.into());
    }

    /// The policy in force, at start.
    pub fn policy_in_force(&self, digest: &str) {
        self.instruments.clear(Metric::PolicyInfo);
        self.gauge(Metric::PolicyInfo, &[digest]).set(1);
        self.gauge(Metric::PolicyLastReload, &[]).set(1);
    }

    /// A shadow policy decided too (`same`, `other_model`, `other_plan`, `refused`, `served`); what its plan was expected to cost
    /// more than the one that ran, negative when less.
    pub fn shadow(&self, agreement: &'static str, delta: Money) {
        self.counter(Metric::ShadowDecisions, &[agreement]).add(1);
        let direction = if delta < Money::ZERO { "cheaper" } else { "dearer" };
        self.counter(Metric::ShadowDelta, &[direction]).add(delta.micros().unsigned_abs());
    }

    /// How the trial of a policy stands: its digest and mode where it has one, and a word of `engine/trial.rs`.
    pub fn trial(&self, policy: Option<(&str, &str)>, state: &str) {
        self.instruments.clear(Metric::TrialInfo);
        if let Some((digest, mode)) = policy {
            self.gauge(Metric::TrialInfo, &[digest, mode]).set(1);
        }
        self.one_of(Metric::TrialState, &[], metrics::TRIAL, state);
    }

    /// A request of a canary ended.
    pub fn canary_request(&self, on_trial: bool, failed: bool) {
        let outcome = if failed { "failed" } else { "ok" };
        self.counter(Metric::CanaryRequests, &[arm(on_trial), outcome]).add(1);
    }

    /// A request of a canary was answered with pictures: what each cost, and what was usual.
    pub fn canary_image(&self, on_trial: bool, each: Money, usual: Money) {
        let arm = [arm(on_trial)];
        self.counter(Metric::CanaryImages, &arm).add(1);
        self.usd(Metric::CanaryCost, &arm, each);
        self.usd(Metric::CanaryUsual, &arm, usual);
    }

    /// A person's verdict on a picture of a canary.
    pub fn canary_verdict(&self, on_trial: bool, accepted: bool) {
        let verdict = if accepted { "accepted" } else { "rejected" };
        self.counter(Metric::CanaryVerdicts, &[arm(on_trial), verdict]).add(1);
    }

    /// A canary was stopped: `errors`, `cost` or `acceptance`.
    pub fn canary_stopped(&self, why: &'static str) {
        self.counter(Metric::CanaryStops, &[why]).add(1);
    }

    /// A person's verdict on a picture of this model.
    pub fn verdict(&self, model: &str, task: &str, accepted: bool) {
        self.counter(Metric::Verdicts, &[model, task, if accepted { "accepted" } else { "rejected" }]).add(1);
    }

    /// What is believed of a model's acceptance for a task.
    pub fn acceptance(&self, model: &str, task: &str, belief: Posterior) {
        for (bound, value) in [("lower", belief.lower()), ("mean", belief.mean()), ("upper", belief.upper())] {
            self.gauge(Metric::Acceptance, &[model, task, bound]).set(millionths(value));
        }
        #[expect(clippy::cast_possible_truncation, reason = "a count of verdicts, decayed, far below 2^52")]
        let verdicts = belief.verdicts.round() as i64;
        self.gauge(Metric::AcceptanceVerdicts, &[model, task]).set(verdicts);
    }

    /// What one picture of a model is expected to cost now.
    pub fn price(&self, provider: &str, model: &str, usd: Money) {
        self.gauge(Metric::ModelPrice, &[provider, model]).set(usd.micros());
    }

    /// Sets the series of `state` to 1 and those of the other states to 0.
    fn one_of(&self, metric: Metric, before: &[&str], states: &[&'static str], state: &str) {
        for name in states {
            self.gauge(metric, &[before, &[*name]].concat()).set((*name == state).into());
        }
    }
}

/// Whose plan it was.
const fn arm(on_trial: bool) -> &'static str {
    if on_trial { "on_trial" } else { "in_force" }
}

/// A share as gauges of shares keep it.
fn millionths(share: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a share of at most a few units, in millionths")]
    let kept = (share * 1e6).round() as i64;
    kept
}
