//! Every metric of the gateway, once: name, type, unit, labels, help.
//!
//! Why it exists: dashboards, alerts and code take a metric's name from here, so that none watches a name that nobody
//! writes. What it refuses to know: how values are kept (`instruments.rs`) and what happened (`mod.rs`).
//! To add a metric: a variant, its row in [`Metric::spec`], and the typed method of `Telemetry` that writes it.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket; bounds in seconds.
    Histogram(&'static [f64]),
}

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Kept in whole micro-dollars, shown in dollars.
    Usd,
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
    pub labels: &'static [&'static str],
    /// One line for a person.
    pub help: &'static str,
}

/// From a rejected body to the slowest model: five milliseconds to five minutes.
const REQUEST: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0];
/// Our own work: fifty microseconds to a second.
const OWN: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// The metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant's help text stands in its row")]
pub enum Metric {
    AmbiguousOldest,
    AmbiguousOpen,
    AuthFailures,
    BudgetAmbiguous,
    BudgetForecast,
    BudgetLimit,
    BudgetReserved,
    BudgetSpent,
    BudgetWindowEnd,
    BuildInfo,
    CircuitState,
    Cost,
    CostAvoided,
    FlightDuplicates,
    Flights,
    FlightTakeovers,
    HttpRequests,
    Idempotency,
    ImageBytes,
    Images,
    ImagesRejected,
    InFlight,
    Jobs,
    LabelOverflow,
    LedgerCommit,
    LedgerErrors,
    OutboundBlocked,
    Overhead,
    PolicyDecisions,
    PolicyInfo,
    PolicyLastReload,
    PolicyReloads,
    ProviderAttempts,
    ProviderDuration,
    QuotaCapacity,
    QuotaDecisions,
    QuotaMode,
    QuotaRemaining,
    RedisState,
    Replicas,
    RequestDuration,
    Retries,
    Shed,
    Webhooks,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 44] = [
        Self::AmbiguousOldest,
        Self::AmbiguousOpen,
        Self::AuthFailures,
        Self::BudgetAmbiguous,
        Self::BudgetForecast,
        Self::BudgetLimit,
        Self::BudgetReserved,
        Self::BudgetSpent,
        Self::BudgetWindowEnd,
        Self::BuildInfo,
        Self::CircuitState,
        Self::Cost,
        Self::CostAvoided,
        Self::FlightDuplicates,
        Self::Flights,
        Self::FlightTakeovers,
        Self::HttpRequests,
        Self::Idempotency,
        Self::ImageBytes,
        Self::Images,
        Self::ImagesRejected,
        Self::InFlight,
        Self::Jobs,
        Self::LabelOverflow,
        Self::LedgerCommit,
        Self::LedgerErrors,
        Self::OutboundBlocked,
        Self::Overhead,
        Self::PolicyDecisions,
        Self::PolicyInfo,
        Self::PolicyLastReload,
        Self::PolicyReloads,
        Self::ProviderAttempts,
        Self::ProviderDuration,
        Self::QuotaCapacity,
        Self::QuotaDecisions,
        Self::QuotaMode,
        Self::QuotaRemaining,
        Self::RedisState,
        Self::Replicas,
        Self::RequestDuration,
        Self::Retries,
        Self::Shed,
        Self::Webhooks,
    ];

    /// Its row.
    pub const fn spec(self) -> Spec {
        match self {
            Self::HttpRequests
            | Self::RequestDuration
            | Self::InFlight
            | Self::Shed
            | Self::Overhead
            | Self::AuthFailures
            | Self::OutboundBlocked
            | Self::LabelOverflow
            | Self::BuildInfo => self.door(),
            Self::ProviderAttempts
            | Self::ProviderDuration
            | Self::CircuitState
            | Self::Retries
            | Self::QuotaCapacity
            | Self::QuotaRemaining
            | Self::QuotaDecisions
            | Self::QuotaMode
            | Self::RedisState
            | Self::Replicas
            | Self::Images
            | Self::ImageBytes
            | Self::ImagesRejected => self.providers(),
            Self::BudgetAmbiguous
            | Self::BudgetForecast
            | Self::BudgetLimit
            | Self::BudgetReserved
            | Self::BudgetSpent
            | Self::BudgetWindowEnd => self.budgets(),
            _ => self.money(),
        }
    }

    /// Rows about the caps on money.
    const fn budgets(self) -> Spec {
        let (name, help) = match self {
            Self::BudgetLimit => ("tollgate_budget_limit_usd", "The cap of a budget."),
            Self::BudgetSpent => ("tollgate_budget_spent_usd", "Dollars charged in a budget's period."),
            Self::BudgetReserved => ("tollgate_budget_reserved_usd", "Dollars set aside for what is under way."),
            Self::BudgetAmbiguous => {
                ("tollgate_budget_ambiguous_usd", "Dollars in doubt, which count like spent ones.")
            }
            Self::BudgetForecast => (
                "tollgate_budget_forecast_usd",
                "What a budget will have spent when the day ends, at its period's mean rate; absent without one.",
            ),
            _ => {
                return Spec {
                    name: "tollgate_budget_window_end_timestamp_seconds",
                    kind: Kind::Gauge,
                    unit: Unit::Seconds,
                    labels: &["budget"],
                    help: "When a budget begins anew; absent when never.",
                };
            }
        };
        usd(name, Kind::Gauge, &["budget"], help)
    }

    /// Rows about the gateway's own door.
    const fn door(self) -> Spec {
        match self {
            Self::HttpRequests => count(
                "tollgate_http_requests_total",
                &["route", "method", "code"],
                "HTTP requests answered, by route and status code.",
            ),
            Self::RequestDuration => time(
                "tollgate_request_duration_seconds",
                REQUEST,
                &["route", "outcome"],
                "From a request's first byte read to its answer's last byte handed to the connection.",
            ),
            Self::InFlight => gauge("tollgate_requests_in_flight", &["route"], "HTTP requests under way."),
            Self::Shed => count("tollgate_shed_total", &["reason"], "Requests and connections turned away unserved."),
            Self::Overhead => time(
                "tollgate_overhead_seconds",
                OWN,
                &["stage"],
                "Time of our own in a generation; stage=\"total\" is all of it, waiting for providers excluded.",
            ),
            Self::AuthFailures => {
                count("tollgate_auth_failures_total", &["reason"], "Requests with no key, an unknown key or no scope.")
            }
            Self::OutboundBlocked => count(
                "tollgate_outbound_blocked_total",
                &["surface"],
                "Outbound connections refused by the address guard.",
            ),
            Self::LabelOverflow => count(
                "tollgate_metric_label_overflow_total",
                &["label"],
                "Values beyond a label's cap, counted under \"other\".",
            ),
            _ => gauge("tollgate_build_info", &["version"], "1, with the version that runs."),
        }
    }

    /// Rows about providers and their pictures.
    const fn providers(self) -> Spec {
        match self {
            Self::ProviderAttempts => count(
                "tollgate_provider_attempts_total",
                &["provider", "model", "outcome"],
                "Calls to providers by how they ended: ok or the class of the fault.",
            ),
            Self::ProviderDuration => time(
                "tollgate_provider_attempt_duration_seconds",
                REQUEST,
                &["provider", "model"],
                "Duration of a call to a provider.",
            ),
            Self::CircuitState => gauge(
                "tollgate_provider_circuit_state",
                &["provider", "state"],
                "1 for the breaker's state: closed conducts, open refuses.",
            ),
            Self::Retries => {
                count("tollgate_retries_total", &["provider", "result"], "Retries sent, and retries refused, by why.")
            }
            Self::QuotaCapacity => {
                gauge("tollgate_quota_capacity_units", &["provider", "window"], "Units that a provider's limit allows.")
            }
            Self::QuotaRemaining => {
                gauge("tollgate_quota_remaining_units", &["provider", "window"], "Units left in a provider's limit.")
            }
            Self::QuotaDecisions => count(
                "tollgate_quota_decisions_total",
                &["provider", "window", "result"],
                "Draws from a limit: allowed, denied, or shadow_denied by a limit that only counts.",
            ),
            Self::QuotaMode => gauge(
                "tollgate_quota_mode",
                &["mode"],
                "1 for who counts what limits allow: shared is Redis for all replicas, local this process.",
            ),
            Self::RedisState => gauge("tollgate_redis_state", &["state"], "1 for how Redis is: up, or why it is away."),
            Self::Replicas => gauge("tollgate_replicas", &[], "Gateways that share limits, as last heard in Redis."),
            Self::Images => {
                count("tollgate_images_total", &["provider", "model", "format"], "Pictures answered to callers.")
            }
            Self::ImageBytes => Spec {
                name: "tollgate_image_bytes_total",
                kind: Kind::Counter,
                unit: Unit::Bytes,
                labels: &["direction"],
                help: "Bytes of pictures; out is to callers.",
            },
            _ => count(
                "tollgate_images_rejected_total",
                &["provider", "reason"],
                "Answers of providers whose picture failed our checks.",
            ),
        }
    }

    /// Rows about money and the policy that spends it.
    const fn money(self) -> Spec {
        match self {
            Self::Cost => usd(
                "tollgate_cost_usd_total",
                Kind::Counter,
                &["provider", "model", "basis"],
                "Dollars charged by providers, by how the amount is known; equals the ledger's settled sum.",
            ),
            Self::CostAvoided => usd(
                "tollgate_cost_avoided_usd_total",
                Kind::Counter,
                &["why"],
                "Dollars not spent because a purchase was shared; baseline: the price of the purchase that was shared.",
            ),
            Self::AmbiguousOpen => usd(
                "tollgate_ambiguous_open_usd",
                Kind::Gauge,
                &["provider"],
                "Dollars held because nobody knows yet whether the provider charged.",
            ),
            Self::AmbiguousOldest => Spec {
                name: "tollgate_ambiguous_oldest_timestamp_seconds",
                kind: Kind::Gauge,
                unit: Unit::Seconds,
                labels: &["provider"],
                help: "When the oldest such attempt was made; 0 when there is none.",
            },
            Self::LedgerCommit => time(
                "tollgate_ledger_commit_duration_seconds",
                OWN,
                &[],
                "From handing a row to the ledger until it is durable.",
            ),
            Self::LedgerErrors => {
                count("tollgate_ledger_errors_total", &["kind"], "Rows that the ledger could not write.")
            }
            Self::Flights => count(
                "tollgate_flights_total",
                &["role"],
                "Requests by their part in a shared purchase: leader, local_follower, remote_follower, solo.",
            ),
            Self::FlightDuplicates => count(
                "tollgate_flight_duplicate_leaders_total",
                &[],
                "Purchases of which another replica made one too, after a lease was lost.",
            ),
            Self::FlightTakeovers => {
                count("tollgate_flight_takeovers_total", &[], "Flights taken over from a leader that was lost.")
            }
            Self::Idempotency => count(
                "tollgate_idempotency_total",
                &["result"],
                "Requests that may be repeats: new, joined, replayed, or mismatch (another body under the key).",
            ),
            Self::Jobs => gauge("tollgate_jobs", &["state"], "Jobs that have not ended, by state."),
            Self::Webhooks => count(
                "tollgate_webhooks_total",
                &["result"],
                "Webhook deliveries: delivered, retried, gave_up or blocked.",
            ),
            Self::PolicyInfo => gauge("tollgate_policy_info", &["hash"], "1 for the policy in force, by its digest."),
            Self::PolicyReloads => {
                count("tollgate_policy_reloads_total", &["result"], "Reloads of the policy: ok or failed.")
            }
            Self::PolicyLastReload => gauge(
                "tollgate_policy_last_reload_success",
                &[],
                "1 when the last reload took effect, 0 when the policy before it stays in force.",
            ),
            _ => count(
                "tollgate_policy_decisions_total",
                &["rule", "result"],
                "Plans made, by the rule that decided: planned or no_plan.",
            ),
        }
    }
}

const fn count(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Spec {
    Spec { name, kind: Kind::Counter, unit: Unit::Count, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Spec {
    Spec { name, kind: Kind::Gauge, unit: Unit::Count, labels, help }
}

const fn time(
    name: &'static str,
    buckets: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Spec {
    Spec { name, kind: Kind::Histogram(buckets), unit: Unit::Seconds, labels, help }
}

const fn usd(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Spec {
    Spec { name, kind, unit: Unit::Usd, labels, help }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

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
                Unit::Seconds => assert!(spec.name.contains("_seconds"), "{}", spec.name),
                Unit::Usd => assert!(spec.name.contains("_usd"), "{}", spec.name),
                Unit::Count => {}
            }
        }
        assert_eq!(seen.len(), Metric::ALL.len());
    }

    #[test]
    fn buckets_rise() {
        for metric in Metric::ALL {
            if let Kind::Histogram(bounds) = metric.spec().kind {
                assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{metric:?}");
            }
        }
    }
}
