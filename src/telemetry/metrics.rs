//! Every metric of the gateway, once: name, type, unit, labels, help.
//!
//! Why it exists: dashboards, alerts and code take a metric's name from here, so that none watches a name that nobody
//! writes. What it refuses to know: how values are kept (`instruments.rs`) and what happened (`mod.rs`, `events.rs`).
//! To add a metric: its row in `metrics!` below, and the typed method of `Telemetry` that writes it. Nothing else: its
//! variant, its series at zero and its place in the exposition follow from the row.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket; bounds in the metric's unit.
    Histogram(&'static [f64]),
}

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// From 0 to 1; kept in millionths.
    Ratio,
    /// Seconds of a clock or of a duration; a counter of them is kept in millionths.
    Seconds,
    /// Kept in whole micro-dollars, shown in dollars.
    Usd,
}

/// Where a label's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// These, and nothing else: their series exist from the start.
    Closed(&'static [&'static str]),
    /// Names of the policy or of code; the first so many have series, the others share one.
    Named(usize),
}

/// A label with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// As it is written.
    pub name: &'static str,
    /// What it may be.
    pub values: Values,
}

/// A metric's row.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The whole name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// Its labels, in the order in which values are given.
    pub labels: &'static [Label],
    /// One line for a person.
    pub help: &'static str,
}

/// From a rejected body to the slowest model: five milliseconds to five minutes.
const REQUEST: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0];
/// Our own work: fifty microseconds to a second.
const OWN: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// From 0 to 1 in tenths, finer where floors lie.
const SHARE: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0];

/// Whose plan it was during a canary.
const ARM: Label = of("policy", &["in_force", "on_trial"]);
/// How the trial of a policy stands, in the words of `engine/trial.rs`.
pub(super) const TRIAL: &[&str] = &["off", "broken", "same", "shadow", "canary", "stopped"];
const BUDGET: Label = named("budget", 200);
const MODEL: Label = named("model", 500);
const PROVIDER: Label = named("provider", 200);
const ROUTE: Label = named("route", 60);
const RULE: Label = named("rule", 200);
const TASK: Label = named("task", 50);
const WINDOW: Label = named("window", 200);
const SUCCESS: Label = of("result", &["ok", "failed"]);
/// How Redis is, in the words of `state/redis`.
pub(super) const REDIS: &[&str] =
    &["up", "busy", "full", "loading", "not_allowed", "read_only", "slow", "unreachable", "refused"];

const fn named(name: &'static str, most: usize) -> Label {
    Label { name, values: Values::Named(most) }
}

const fn of(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values: Values::Closed(values) }
}

/// One row a metric: variant, kind, unit, name, labels, help.
macro_rules! metrics {
    ($($variant:ident = $kind:ident $unit:ident $name:literal [$($label:expr),*] $help:literal;)*) => {
        /// The metrics; each one's help says what it counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// Every metric.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its row.
            pub const fn spec(self) -> Spec {
                match self {
                    $(Self::$variant => Spec {
                        name: $name,
                        kind: metrics!(@$kind $unit),
                        unit: Unit::$unit,
                        labels: { const LABELS: &[Label] = &[$($label),*]; LABELS },
                        help: $help,
                    },)*
                }
            }
        }
    };
    (@counter $unit:ident) => { Kind::Counter };
    (@gauge $unit:ident) => { Kind::Gauge };
    (@request $unit:ident) => { Kind::Histogram(REQUEST) };
    (@own $unit:ident) => { Kind::Histogram(OWN) };
    (@share $unit:ident) => { Kind::Histogram(SHARE) };
}

metrics! {
    // ── The door ──
    HttpRequests = counter Count "tollgate_http_requests_total"
        [ROUTE, of("method", &["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"]), named("code", 60)]
        "HTTP requests answered, by route and status code.";
    RequestDuration = request Seconds "tollgate_request_duration_seconds" [ROUTE, named("outcome", 60)]
        "Seconds from a request's first byte read to its answer's last byte handed to the connection.";
    InFlight = gauge Count "tollgate_requests_in_flight" [ROUTE] "HTTP requests under way.";
    Shed = counter Count "tollgate_shed_total" [of("reason", &["connections", "overloaded"])]
        "Requests and connections turned away unserved.";
    Pressure = gauge Ratio "tollgate_pressure_ratio" [of("monitor", &["connections", "requests"])]
        "Share of a bound of the doors that is in use; at 1 the next one is turned away.";
    Overhead = own Seconds "tollgate_overhead_seconds"
        [of("stage", &["auth", "policy", "quota", "ledger", "queue", "encode", "total"])]
        "Seconds of our own in a generation, by stage; total is all of it, waiting for providers excluded.";
    AuthFailures = counter Count "tollgate_auth_failures_total" [of("reason", &["missing", "unknown", "scope"])]
        "Requests with no key, an unknown key or a key without the scope.";
    OutboundBlocked = counter Count "tollgate_outbound_blocked_total"
        [of("surface", &["provider", "result_url", "webhook"])]
        "Outbound connections refused by the address guard.";
    LabelOverflow = counter Count "tollgate_metric_label_overflow_total" [named("metric", 200), named("label", 60)]
        "Values beyond a label's cap or set, counted under the value other.";
    BuildInfo = gauge Count "tollgate_build_info" [named("version", 4), named("commit", 4)]
        "1, with the version and the commit that run.";

    // ── Providers ──
    ProviderAttempts = counter Count "tollgate_provider_attempts_total"
        [PROVIDER, MODEL, of("outcome", &["ok", "garbled", "moderated", "out_of_credit", "rejected", "throttled",
            "timed_out", "unauthorized", "unavailable", "abandoned"])]
        "Calls to providers by how they ended: ok, the class of the fault, or abandoned by a shutdown.";
    ProviderDuration = request Seconds "tollgate_provider_attempt_duration_seconds" [PROVIDER, MODEL]
        "Seconds of a call to a provider, from its first byte sent to its last received.";
    TimeToHeaders = request Seconds "tollgate_provider_time_to_headers_seconds" [PROVIDER]
        "Seconds from a call's first byte sent to the head of its reply.";
    CircuitState = gauge Count "tollgate_provider_circuit_state"
        [PROVIDER, of("state", &["closed", "half_open", "open"])]
        "1 for the state that a provider's breaker is in: closed conducts, open refuses.";
    Retries = counter Count "tollgate_retries_total"
        [PROVIDER, of("result", &["sent", "no_budget", "unsafe", "deadline"])]
        "Retries sent, and retries refused, by why.";
    QuotaCapacity = gauge Count "tollgate_quota_capacity_units" [PROVIDER, WINDOW]
        "Units that a provider's limit allows at once.";
    QuotaRemaining = gauge Count "tollgate_quota_remaining_units" [PROVIDER, WINDOW]
        "Units left in a provider's limit.";
    QuotaDecisions = counter Count "tollgate_quota_decisions_total"
        [PROVIDER, WINDOW, of("result", &["allowed", "denied", "delayed", "shadow_denied"])]
        "Draws from a limit: allowed, delayed, denied, or denied in its shadow by a limit that only counts.";
    QuotaMode = gauge Count "tollgate_quota_mode" [of("mode", &["shared", "local", "refuse"])]
        "1 for where limits are kept now: shared between replicas, in this process, or nowhere and refused.";
    RedisState = gauge Count "tollgate_redis_state" [of("state", REDIS)] "1 for how Redis is: up, or why it is away.";
    Replicas = gauge Count "tollgate_replicas" [] "Gateways that share limits, as last heard in Redis.";
    RedisDuration = own Seconds "tollgate_redis_operation_duration_seconds"
        [of("op", &["beat", "command", "script"])]
        "Seconds of an exchange with Redis.";
    RedisErrors = counter Count "tollgate_redis_errors_total" [of("kind", &["busy", "full", "loading", "not_allowed", "read_only", "refused", "slow", "unreachable"])]
        "Exchanges with Redis that failed.";
    Images = counter Count "tollgate_images_total" [PROVIDER, MODEL, of("format", &["png", "jpeg", "webp"])]
        "Pictures answered to callers.";
    ImageBytes = counter Bytes "tollgate_image_bytes_total" [of("direction", &["in", "out"])]
        "Bytes of pictures; in is from providers, out is to callers.";
    ImagesRejected = counter Count "tollgate_images_rejected_total" [PROVIDER, of("reason", &["garbled", "verifier"])]
        "Pictures of providers that our checks refused: not a picture, or not what was asked.";
    QualityScore = share Ratio "tollgate_quality_score_ratio" [PROVIDER, MODEL, of("check", &["verifier"])]
        "Scores from 0 to 1 that a check gave to pictures.";
    DriftScore = gauge Ratio "tollgate_drift_dissimilarity_ratio" [MODEL]
        "How far a model's pictures of the fixed prompts are from its baseline: 0 is the same, 1 unlike.";
    DriftHash = gauge Count "tollgate_drift_hash_bits" [MODEL]
        "Bits of 64 in which the perceptual hash of a model's fixed prompt differs from its baseline's: 32 is unrelated.";
    DriftChanged = gauge Count "tollgate_drift_changed_pictures" [MODEL]
        "Fixed prompts that a model now draws as another picture than its baseline, by structure or by hash.";
    DriftChecks = counter Count "tollgate_drift_checks_total" [of("result", &["same", "changed", "baseline", "failed"])]
        "Pictures of fixed prompts compared with their baseline, by the finding.";

    // ── Money ──
    Cost = counter Usd "tollgate_cost_usd_total" [PROVIDER, MODEL, of("basis", &["price_table", "provider_usage"])]
        "Dollars charged by providers, by how the amount is known; equals the ledger's settled sum.";
    CostAvoided = counter Usd "tollgate_cost_avoided_usd_total"
        [of("why", &["coalesced", "replayed", "cheaper_plan"])]
        "Dollars not spent. Baseline of coalesced and replayed: the price of the purchase that was shared. Baseline of a cheaper plan: the expected price of the feasible plan with the highest expected acceptance for the same request.";
    BudgetLimit = gauge Usd "tollgate_budget_limit_usd" [BUDGET] "Dollars that a budget allows in its window.";
    BudgetSpent = gauge Usd "tollgate_budget_spent_usd" [BUDGET] "Dollars charged to a budget in its window.";
    BudgetReserved = gauge Usd "tollgate_budget_reserved_usd" [BUDGET]
        "Dollars set aside of a budget for what is under way.";
    BudgetAmbiguous = gauge Usd "tollgate_budget_ambiguous_usd" [BUDGET]
        "Dollars of a budget in doubt, which count like spent ones.";
    BudgetForecast = gauge Usd "tollgate_budget_forecast_usd" [BUDGET]
        "Dollars that a budget will have spent when its day ends, at its period's mean rate; absent without one.";
    BudgetWindowEnd = gauge Seconds "tollgate_budget_window_end_timestamp_seconds" [BUDGET]
        "When a budget begins anew, in seconds since 1970; absent when never.";
    AmbiguousOpen = gauge Usd "tollgate_ambiguous_open_usd" [PROVIDER]
        "Dollars held because nobody knows yet whether the provider charged.";
    AmbiguousOldest = gauge Seconds "tollgate_ambiguous_oldest_timestamp_seconds" [PROVIDER]
        "When the oldest attempt in doubt was made, in seconds since 1970; 0 when there is none.";
    LedgerCommit = own Seconds "tollgate_ledger_commit_duration_seconds" []
        "Seconds from handing a row to the ledger until it is durable.";
    LedgerErrors = counter Count "tollgate_ledger_errors_total" [of("kind", &["unavailable", "not_open", "reused"])]
        "Rows that the ledger could not write.";
    LedgerDrift = gauge Usd "tollgate_ledger_drift_usd" []
        "Dollars by which the ledger's settled sum differs from the counters of this process.";

    // ── Shared purchases, jobs, webhooks ──
    Flights = counter Count "tollgate_flights_total"
        [of("role", &["leader", "local_follower", "remote_follower", "solo"])]
        "Requests by their part in a shared purchase.";
    FlightTakeovers = counter Count "tollgate_flight_takeovers_total" []
        "Flights taken over from a leader that was lost.";
    FlightDuplicates = counter Count "tollgate_flight_duplicate_leaders_total" []
        "Purchases of which another replica made one too, after a lease was lost.";
    Idempotency = counter Count "tollgate_idempotency_total"
        [of("result", &["new", "replayed", "joined", "mismatch", "expired"])]
        "Requests that may be repeats; mismatch is another body under the same key.";
    Jobs = gauge Count "tollgate_jobs" [of("state", &["queued", "running"])] "Jobs that have not ended, by state.";
    JobsOldestQueued = gauge Seconds "tollgate_jobs_oldest_queued_timestamp_seconds" []
        "When the oldest job that still waits was queued, in seconds since 1970; 0 when none waits.";
    JobWait = request Seconds "tollgate_job_wait_seconds" [] "Seconds that a job waited before it ran.";
    Webhooks = counter Count "tollgate_webhook_deliveries_total"
        [of("outcome", &["delivered", "retried", "gave_up", "blocked"])]
        "Deliveries of webhooks by how they ended.";

    // ── Policy and planner ──
    PolicyInfo = gauge Count "tollgate_policy_info" [named("hash", 1000)] "1 for the policy in force, by its digest.";
    PolicyReloads = counter Count "tollgate_policy_reloads_total" [SUCCESS] "Reloads of the policy.";
    PolicyLastReload = gauge Count "tollgate_policy_last_reload_success" []
        "1 when the last reload took effect, 0 when the policy before it stays in force.";
    PolicyDecisions = counter Count "tollgate_policy_decisions_total" [RULE, of("result", &["planned", "no_plan"])]
        "Plans made, by the rule that decided.";
    ShadowDecisions = counter Count "tollgate_policy_shadow_decisions_total"
        [of("agreement", &["same", "other_model", "other_plan", "refused", "served"])]
        "Requests decided by a shadow policy too, by whether it agreed; served is what only it would serve.";
    ShadowDelta = counter Usd "tollgate_policy_shadow_delta_usd_total" [of("direction", &["dearer", "cheaper"])]
        "Dollars by which the shadow policy's plans were expected to cost more, or less, than the plans that ran.";
    TrialInfo = gauge Count "tollgate_policy_trial_info" [named("hash", 1000), of("mode", &["shadow", "canary"])]
        "1 for the policy on trial, by its digest.";
    TrialState = gauge Count "tollgate_policy_trial_state" [of("state", TRIAL)]
        "1 for how the trial of a policy stands: broken when its files are not good, same when it is in force by now.";
    CanaryRequests = counter Count "tollgate_policy_canary_requests_total" [ARM, of("outcome", &["ok", "failed"])]
        "Requests during a canary by who planned them; failed is without a plan, a provider or time.";
    CanaryImages = counter Count "tollgate_policy_canary_images_total" [ARM]
        "Requests of a canary that were answered with pictures.";
    CanaryCost = counter Usd "tollgate_policy_canary_cost_usd_total" [ARM]
        "Dollars of one picture, summed over the requests of a canary that were answered.";
    CanaryUsual = counter Usd "tollgate_policy_canary_usual_usd_total" [ARM]
        "Dollars that the policy in force expected one picture to cost, summed over the same requests.";
    CanaryVerdicts = counter Count "tollgate_policy_canary_verdicts_total"
        [ARM, of("verdict", &["accepted", "rejected"])]
        "Verdicts of people on pictures of a canary.";
    CanaryStops = counter Count "tollgate_policy_canary_stops_total" [of("why", &["errors", "cost", "acceptance"])]
        "Canaries that this gateway stopped, by what had become worse.";
    Plans = counter Count "tollgate_plans_total" [TASK, of("shape", &["single", "upscaled", "verified", "drafted"])]
        "Plans that ran, by task and by shape: one call, with an upscaler, with a verifier, or best of several drafts.";
    PlanReasons = counter Count "tollgate_plan_candidates_total" [named("reason", 40)]
        "Candidate plans by EXPLAIN's verdict: chosen, or the reason against them.";
    Acceptance = gauge Ratio "tollgate_acceptance_ratio" [MODEL, TASK, of("bound", &["lower", "mean", "upper"])]
        "Believed probability that a person accepts a model's picture for a task: mean and 90 % interval.";
    AcceptanceVerdicts = gauge Count "tollgate_acceptance_verdicts" [MODEL, TASK]
        "Verdicts of people behind the belief; the policy's guess alone at 0.";
    Verdicts = counter Count "tollgate_review_verdicts_total" [MODEL, TASK, of("verdict", &["accepted", "rejected"])]
        "Verdicts of people on pictures.";
    ModelPrice = gauge Usd "tollgate_model_price_usd" [PROVIDER, MODEL]
        "Expected dollars for one picture of a model at 1024x1024.";

    // ── The process ──
    ProcessCpu = counter Seconds "tollgate_process_cpu_seconds_total" [] "Seconds of processor time used.";
    ProcessMemory = gauge Bytes "tollgate_process_resident_bytes" [] "Bytes of memory that are resident.";
    ProcessFiles = gauge Count "tollgate_process_open_files" [] "File descriptors that are open.";
    Traces = counter Count "tollgate_traces_total" [of("result", &["sent", "lost"])]
        "Traces sent to the collector, and traces that it did not take.";
    RuntimeTasks = gauge Count "tollgate_runtime_tasks" [] "Tasks that are alive in the runtime.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::fault::Class;
    use crate::domain::image::Format;

    fn closed(metric: Metric, label: &str) -> &'static [&'static str] {
        let found = metric.spec().labels.iter().find(|known| known.name == label).unwrap();
        match found.values {
            Values::Closed(values) => values,
            Values::Named(_) => panic!("{label} is open"),
        }
    }

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let mut seen = BTreeSet::new();
        for metric in Metric::ALL {
            let spec = metric.spec();
            assert!(seen.insert(spec.name), "{} stands twice", spec.name);
            assert!(spec.name.starts_with("tollgate_"), "{}", spec.name);
            assert!(spec.help.ends_with('.'), "{}", spec.name);
            assert_eq!(spec.kind == Kind::Counter, spec.name.ends_with("_total"), "{}", spec.name);
            match spec.unit {
                Unit::Bytes => assert!(spec.name.contains("_bytes"), "{}", spec.name),
                Unit::Ratio => assert!(spec.name.ends_with("_ratio"), "{}", spec.name),
                Unit::Seconds => {
                    assert!(
                        spec.name.contains("_seconds") && spec.help.to_lowercase().contains("second")
                            || spec.name.contains("_timestamp_"),
                        "{}",
                        spec.name
                    );
                }
                Unit::Usd => assert!(spec.name.contains("_usd") && spec.help.starts_with(['D', 'E']), "{}", spec.name),
                Unit::Count => {}
            }
        }
    }

    #[test]
    fn labels_are_few_and_named_once() {
        for metric in Metric::ALL {
            let labels = metric.spec().labels;
            let names: BTreeSet<_> = labels.iter().map(|label| label.name).collect();
            assert!(names.len() == labels.len() && labels.len() <= 4, "{metric:?}");
            for label in labels {
                if let Values::Closed(values) = label.values {
                    let different: BTreeSet<_> = values.iter().collect();
                    assert_eq!(different.len(), values.len(), "{metric:?} {}", label.name);
                    assert!(!values.contains(&"other"), "{metric:?}: `other` is for what is none of them");
                }
            }
        }
    }

    #[test]
    fn buckets_rise_and_reach_five_minutes() {
        for metric in Metric::ALL {
            if let Kind::Histogram(bounds) = metric.spec().kind {
                assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{metric:?}");
            }
        }
        assert_eq!(REQUEST.last(), Some(&300.0));
    }

    #[test]
    fn closed_sets_hold_the_words_of_the_domain() {
        let outcomes = closed(Metric::ProviderAttempts, "outcome");
        assert!(Class::ALL.into_iter().all(|class| outcomes.contains(&class.name())), "{outcomes:?}");
        let formats = closed(Metric::Images, "format");
        assert!(Format::ALL.into_iter().all(|format| formats.contains(&format.name())), "{formats:?}");
    }
}
