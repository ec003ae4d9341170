//! What each board shows.
//!
//! Why it exists: six boards, each for one question: is it well, what does it cost, who delivers, does it choose well,
//! is anything bought twice, what holds it back. What it refuses to know: JSON.

use super::board::{Board, Panel};
use super::query::{level, mean, quantile, rate, total};
use crate::telemetry::metrics::Metric;

/// Grafana's names of units.
const COUNT: &str = "short";
const DOLLARS: &str = "currencyUSD";
const PER_SECOND: &str = "reqps";
const SECONDS: &str = "s";
const SHARE: &str = "percentunit";
const BYTES: &str = "bytes";

/// The answers of the routes that buy.
const BUYING: &str = "route=~\"generate|openai_generate\"";

/// Every board.
pub(super) fn all() -> [Board; 6] {
    [overview(), money(), providers(), planner(), flights(), runtime()]
}

fn overview() -> Board {
    let failed = format!("{BUYING},code=~\"5..\"");
    let errors =
        format!("{} / {}", rate(Metric::HttpRequests, &failed, "job"), rate(Metric::HttpRequests, BUYING, "job"));
    let panels = vec![
        Panel::number("Requests", PER_SECOND, "Requests a second on the routes that buy.")
            .asks(rate(Metric::HttpRequests, BUYING, "job"), "{{job}}"),
        Panel::number("Errors", SHARE, "Share of these requests that ended in 5xx; the objective is 0.5 % a month.")
            .asks(format!("({errors}) or 0 * {}", rate(Metric::HttpRequests, BUYING, "job")), "{{job}}"),
        Panel::number("Spend an hour", DOLLARS, "Dollars that providers charge, at this moment's pace.")
            .asks(format!("3600 * {}", rate(Metric::Cost, "", "job")), "{{job}}"),
        Panel::number("Saved", DOLLARS, "Dollars not spent in the time shown; baselines as in Money.")
            .asks(total(Metric::CostAvoided, "", "job"), "{{job}}"),
        Panel::number("Pictures", COUNT, "Pictures answered in the time shown.")
            .asks(total(Metric::Images, "", "job"), "{{job}}"),
        Panel::number("Under way", COUNT, "Requests that are being answered now.")
            .asks(level("sum", Metric::InFlight, BUYING, "job"), "{{job}}"),
        Panel::stack(
            "Answers",
            PER_SECOND,
            "Requests on the routes that buy, by status code: 402 and 429 are refusals for money and limits.",
        )
        .asks(rate(Metric::HttpRequests, BUYING, "code"), "{{code}}"),
        Panel::lines("Latency", SECONDS, "From the first byte of a request to the last of its answer.")
            .asks(quantile("0.5", Metric::RequestDuration, ""), "median")
            .asks(quantile("0.95", Metric::RequestDuration, ""), "95 %")
            .asks(quantile("0.99", Metric::RequestDuration, ""), "99 %"),
        Panel::stack("Pictures by model", PER_SECOND, "Who draws.")
            .asks(rate(Metric::Images, "", "model"), "{{model}}"),
        Panel::stack("Spend by model", DOLLARS, "Dollars an hour, by model.")
            .asks(format!("3600 * {}", rate(Metric::Cost, "", "model")), "{{model}}"),
        Panel::lines(
            "Of our own",
            SECONDS,
            "Time in the gateway itself, waiting for providers excluded: 99 of 100 are faster.",
        )
        .asks(quantile("0.99", Metric::Overhead, "stage"), "{{stage}}"),
        Panel::lines("All requests", PER_SECOND, "By route, of both planes.")
            .asks(rate(Metric::HttpRequests, "", "route"), "{{route}}"),
    ];
    Board::new("tollgate-overview", "Tollgate / Overview", "Is it well?", panels)
}

fn money() -> Board {
    let spent = level("max", Metric::BudgetSpent, "", "budget");
    let reserved = level("max", Metric::BudgetReserved, "", "budget");
    let doubt = level("max", Metric::BudgetAmbiguous, "", "budget");
    let limit = level("max", Metric::BudgetLimit, "", "budget");
    let end = level("max", Metric::BudgetWindowEnd, "", "budget");
    let pace = format!(
        "max by (budget) (deriv({}{{job=~\"$job\",instance=~\"$instance\"}}[$__rate_interval]))",
        Metric::BudgetSpent.spec().name
    );
    let believed = format!(
        "{} * {}",
        rate(Metric::Images, "", "model"),
        level("avg", Metric::Acceptance, "bound=\"mean\"", "model")
    );
    let panels = vec![
        Panel::bars("Spend by provider", DOLLARS, "Dollars charged in the time shown.")
            .asks(total(Metric::Cost, "", "provider"), "{{provider}}"),
        Panel::bars("Spend by model", DOLLARS, "Dollars charged in the time shown.")
            .asks(total(Metric::Cost, "", "model"), "{{model}}"),
        Panel::bars("How the amount is known", DOLLARS, "From the policy's price, or from the provider's own count.")
            .asks(total(Metric::Cost, "", "basis"), "{{basis}}"),
        Panel::lines("Cost of a picture", DOLLARS, "Charged, by picture answered.")
            .asks(format!("{} / {}", rate(Metric::Cost, "", "job"), rate(Metric::Images, "", "job")), "{{job}}"),
        Panel::lines("Cost of an accepted picture", DOLLARS, "Charged, by picture answered and believed to be accepted.")
            .asks(format!("sum({}) / sum({believed})", rate(Metric::Cost, "", "job")), "all models"),
        Panel::stack("Saved", DOLLARS, "Dollars an hour. Coalesced and replayed: the price of the purchase that was shared. Cheaper plan: against the feasible plan with the highest expected acceptance.")
            .asks(format!("3600 * {}", rate(Metric::CostAvoided, "", "why")), "{{why}}"),
        Panel::lines("In doubt", DOLLARS, "Held because nobody knows yet whether the provider charged.")
            .asks(level("max", Metric::AmbiguousOpen, "", "provider"), "{{provider}}"),
        Panel::lines("Ledger writes", SECONDS, "Until a row is durable: 99 of 100 are faster.")
            .asks(quantile("0.99", Metric::LedgerCommit, ""), "99 %"),
        Panel::lines("Ledger errors", PER_SECOND, "Rows that could not be written.")
            .asks(rate(Metric::LedgerErrors, "", "kind"), "{{kind}}"),
        Panel::table("Budgets", DOLLARS, "What each budget allows, what is spent, what is held and what is in doubt.")
            .asks(limit.clone(), "limit")
            .asks(spent.clone(), "spent")
            .asks(reserved.clone(), "held")
            .asks(doubt.clone(), "in doubt"),
        Panel::bars("Budgets at the end of their window", SHARE, "Spent, held and what this pace adds, as a share of what is allowed.")
            .asks(format!("({spent} + {reserved} + {doubt} + clamp_min({pace}, 0) * clamp_min({end} - time(), 0)) / {limit}"), "{{budget}}"),
    ];
    Board::new("tollgate-money", "Tollgate / Money", "What does it cost, and what did it save?", panels)
}

fn providers() -> Board {
    let left = format!(
        "{} / {}",
        level("min", Metric::QuotaRemaining, "", "provider, window"),
        level("min", Metric::QuotaCapacity, "", "provider, window")
    );
    let panels = vec![
        Panel::stack("Calls by how they ended", PER_SECOND, "ok, or the class of the fault.")
            .asks(rate(Metric::ProviderAttempts, "", "outcome"), "{{outcome}}"),
        Panel::stack("Calls by provider", PER_SECOND, "Who is asked.")
            .asks(rate(Metric::ProviderAttempts, "", "provider"), "{{provider}}"),
        Panel::lines("Failures by provider", PER_SECOND, "Calls that brought no picture.")
            .asks(rate(Metric::ProviderAttempts, "outcome!=\"ok\"", "provider"), "{{provider}}"),
        Panel::lines("Median latency", SECONDS, "Of a call, by model.")
            .asks(quantile("0.5", Metric::ProviderDuration, "model"), "{{model}}"),
        Panel::lines("Slow calls", SECONDS, "95 of 100 calls are faster, by model.")
            .asks(quantile("0.95", Metric::ProviderDuration, "model"), "{{model}}"),
        Panel::lines("Time to headers", SECONDS, "95 of 100 replies begin earlier, by provider.")
            .asks(quantile("0.95", Metric::TimeToHeaders, "provider"), "{{provider}}"),
        Panel::stack("Open breakers", COUNT, "1 while calls to a provider are refused.")
            .asks(level("max", Metric::CircuitState, "state=\"open\"", "provider"), "{{provider}}"),
        Panel::bars("Room in limits", SHARE, "What is left of each limit.").asks(left, "{{provider}} {{window}}"),
        Panel::lines("Draws that were denied", PER_SECOND, "A limit had no room in time.")
            .asks(rate(Metric::QuotaDecisions, "result=\"denied\"", "provider, window"), "{{provider}} {{window}}"),
        Panel::lines("Retries", PER_SECOND, "Sent, or why not.")
            .asks(rate(Metric::Retries, "", "result"), "{{result}}"),
        Panel::lines("Pictures refused by our checks", PER_SECOND, "They were paid for.")
            .asks(rate(Metric::ImagesRejected, "", "provider, reason"), "{{provider}} {{reason}}"),
        Panel::lines("Bytes of pictures", BYTES, "In from providers, out to callers, each second.")
            .asks(rate(Metric::ImageBytes, "", "direction"), "{{direction}}"),
        Panel::lines(
            "Away from the baseline",
            SHARE,
            "How unlike their baseline the fixed prompts are drawn now, by model.",
        )
        .asks(level("max", Metric::DriftScore, "", "model"), "{{model}}"),
        Panel::lines("Hash bits away", COUNT, "Bits of 64 in which the pictures' perceptual hashes differ, by model.")
            .asks(level("max", Metric::DriftHash, "", "model"), "{{model}}"),
        Panel::lines("Drawn otherwise", COUNT, "Fixed prompts that are another picture than the baseline, by model.")
            .asks(level("max", Metric::DriftChanged, "", "model"), "{{model}}"),
        Panel::lines("Fixed prompts compared", PER_SECOND, "By the finding.")
            .asks(rate(Metric::DriftChecks, "", "result"), "{{result}}"),
    ];
    Board::new("tollgate-providers", "Tollgate / Providers", "Who delivers, how fast, and what is left?", panels)
}

fn planner() -> Board {
    let accept = |bound: &str| level("avg", Metric::Acceptance, &format!("bound=\"{bound}\""), "model, task");
    let price = level("avg", Metric::ModelPrice, "", "model");
    let per_accepted = format!("{price} / {}", level("avg", Metric::Acceptance, "bound=\"mean\"", "model"));
    let each = |metric| format!("{} / {}", rate(metric, "", "policy"), rate(Metric::CanaryImages, "", "policy"));
    let panels = vec![
        Panel::table("Acceptance", SHARE, "What is believed of each model for each task: lower bound, mean and upper bound of 90 %, and the verdicts behind it.")
            .asks(accept("lower"), "lower")
            .asks(accept("mean"), "mean")
            .asks(accept("upper"), "upper")
            .asks(level("max", Metric::AcceptanceVerdicts, "", "model, task"), "verdicts"),
        Panel::stack("Plans by shape", PER_SECOND, "One call, with an upscaler, with a verifier, or best of several drafts.")
            .asks(rate(Metric::Plans, "", "shape"), "{{shape}}"),
        Panel::table("Cost and quality", DOLLARS, "The price of a picture beside its mean acceptance over all tasks: what is dearer and less accepted than another is not on the frontier.")
            .asks(price, "price")
            .asks(level("avg", Metric::Acceptance, "bound=\"mean\"", "model"), "acceptance"),
        Panel::bars("Price of an accepted picture", DOLLARS, "Price over mean acceptance: the planner's order, without the cost of looking.")
            .asks(per_accepted, "{{model}}"),
        Panel::stack("Plans by task", PER_SECOND, "What is asked for.").asks(rate(Metric::Plans, "", "task"), "{{task}}"),
        Panel::stack("Why not", PER_SECOND, "Candidate plans by EXPLAIN's verdict.")
            .asks(rate(Metric::PlanReasons, "reason!=\"chosen\"", "reason"), "{{reason}}"),
        Panel::lines("Decisions by rule", PER_SECOND, "Which rule of the policy decided.")
            .asks(rate(Metric::PolicyDecisions, "", "rule"), "{{rule}}"),
        Panel::lines("No plan", PER_SECOND, "Requests that no plan fits, by rule.")
            .asks(rate(Metric::PolicyDecisions, "result=\"no_plan\"", "rule"), "{{rule}}"),
        Panel::lines("Planning", SECONDS, "Time to plan: 99 of 100 are faster.")
            .asks(quantile("0.99", Metric::Overhead, "stage"), "{{stage}}"),
        Panel::lines("Scores of checks", SHARE, "Mean score of pictures, by model.")
            .asks(mean(Metric::QualityScore, "model"), "{{model}}"),
        Panel::lines("Shadow policy", PER_SECOND, "Requests that a shadow policy decided too, by whether it agreed.")
            .asks(rate(Metric::ShadowDecisions, "", "agreement"), "{{agreement}}"),
        Panel::lines("Shadow policy's price", DOLLARS, "Dollars an hour that its plans were expected to cost more or less.")
            .asks(format!("3600 * {}", rate(Metric::ShadowDelta, "", "direction")), "{{direction}}"),
        Panel::stack("Canary", PER_SECOND, "Requests while a policy on trial serves a few keys, by whose plan it was and how they ended.")
            .asks(rate(Metric::CanaryRequests, "", "policy, outcome"), "{{policy}} {{outcome}}"),
        Panel::lines("Price of a canary's picture", DOLLARS, "Mean dollars of a picture by whose plan it was, beside what the policy in force expected of the same requests.")
            .asks(each(Metric::CanaryCost), "{{policy}}")
            .asks(each(Metric::CanaryUsual), "{{policy}}, expected by the policy in force"),
        Panel::table("Policy on trial", COUNT, "How its trial stands, by instance; a stopped one stays stopped until its files change.")
            .asks(level("max", Metric::TrialState, "", "instance, state"), "{{instance}} {{state}}"),
        Panel::table("Policy in force", COUNT, "Its digest, by instance; one digest for all replicas.")
            .asks(level("max", Metric::PolicyInfo, "", "instance, hash"), "{{instance}} {{hash}}"),
        Panel::number("Last reload", COUNT, "1 when it took effect, 0 when the policy before it stays.")
            .asks(level("min", Metric::PolicyLastReload, "", "job"), "{{job}}"),
    ];
    Board::new("tollgate-planner", "Tollgate / Planner", "Does it choose well, and why?", panels)
}

fn flights() -> Board {
    let shared = format!(
        "{} / {}",
        rate(Metric::Flights, "role=~\"local_follower|remote_follower\"", "job"),
        rate(Metric::Flights, "", "job")
    );
    let oldest = format!(
        "max by (job) ((time() - {0}) * ({0} > bool 0))",
        format_args!("{}{{job=~\"$job\",instance=~\"$instance\"}}", Metric::JobsOldestQueued.spec().name)
    );
    let panels = vec![
        Panel::stack("Requests by their part", PER_SECOND, "Leaders buy; followers share what is bought.")
            .asks(rate(Metric::Flights, "", "role"), "{{role}}"),
        Panel::lines("Shared", SHARE, "Share of requests that somebody else's purchase answered.")
            .asks(shared, "{{job}}"),
        Panel::lines("Idempotency", PER_SECOND, "Requests that may be repeats, and what they were.")
            .asks(rate(Metric::Idempotency, "", "result"), "{{result}}"),
        Panel::lines("Takeovers", PER_SECOND, "Flights whose leader was lost.")
            .asks(rate(Metric::FlightTakeovers, "", "job"), "{{job}}"),
        Panel::number(
            "Bought twice",
            COUNT,
            "Purchases that two replicas made, in the time shown: anything above 0 is a ticket.",
        )
        .asks(total(Metric::FlightDuplicates, "", "job"), "{{job}}"),
        Panel::number("Longest wait", SECONDS, "Of the jobs that have not begun.").asks(oldest, "{{job}}"),
        Panel::stack("Jobs", COUNT, "That have not ended, by state.")
            .asks(level("max", Metric::Jobs, "", "state"), "{{state}}"),
        Panel::lines("Job wait", SECONDS, "Until a job ran: 95 of 100 waited less.")
            .asks(quantile("0.95", Metric::JobWait, ""), "95 %"),
        Panel::stack("Webhooks", PER_SECOND, "Deliveries by how they ended.")
            .asks(rate(Metric::Webhooks, "", "outcome"), "{{outcome}}"),
    ];
    Board::new(
        "tollgate-flights",
        "Tollgate / Flights and jobs",
        "Is anything bought twice, does anything wait?",
        panels,
    )
}

fn runtime() -> Board {
    let panels = vec![
        Panel::lines("Processor", COUNT, "Cores in use, by instance.")
            .asks(rate(Metric::ProcessCpu, "", "instance"), "{{instance}}"),
        Panel::lines("Memory", BYTES, "Resident, by instance.")
            .asks(level("max", Metric::ProcessMemory, "", "instance"), "{{instance}}"),
        Panel::lines("Files and tasks", COUNT, "Open file descriptors, and tasks that are alive.")
            .asks(level("sum", Metric::ProcessFiles, "", "instance"), "files {{instance}}")
            .asks(level("sum", Metric::RuntimeTasks, "", "instance"), "tasks {{instance}}"),
        Panel::lines("Pressure", SHARE, "Share of a bound of the doors in use; at 100 % callers are turned away.")
            .asks(level("max", Metric::Pressure, "", "monitor"), "{{monitor}}"),
        Panel::lines("Turned away", PER_SECOND, "Requests and connections, by why.")
            .asks(rate(Metric::Shed, "", "reason"), "{{reason}}"),
        Panel::lines("Time of our own by stage", SECONDS, "99 of 100 are faster.")
            .asks(quantile("0.99", Metric::Overhead, "stage"), "{{stage}}"),
        Panel::lines("Redis", SECONDS, "Exchanges, by operation: 99 of 100 are faster.")
            .asks(quantile("0.99", Metric::RedisDuration, "op"), "{{op}}"),
        Panel::lines("Redis errors", PER_SECOND, "By kind.").asks(rate(Metric::RedisErrors, "", "kind"), "{{kind}}"),
        Panel::table("Where limits are kept", COUNT, "Shared between replicas, in the process, or refused.")
            .asks(level("max", Metric::QuotaMode, "", "instance, mode"), "{{instance}} {{mode}}"),
        Panel::lines("Not let in", PER_SECOND, "Requests without a key that opens.")
            .asks(rate(Metric::AuthFailures, "", "reason"), "{{reason}}"),
        Panel::lines("Ways out that were refused", PER_SECOND, "By the address guard.")
            .asks(rate(Metric::OutboundBlocked, "", "surface"), "{{surface}}"),
        Panel::lines("Reloads", COUNT, "Of the policy, in the time shown.")
            .asks(total(Metric::PolicyReloads, "", "result"), "{{result}}"),
        Panel::table("Versions", COUNT, "What runs where.")
            .asks(level("max", Metric::BuildInfo, "", "instance, version, commit"), "{{instance}}"),
    ];
    Board::new("tollgate-runtime", "Tollgate / Runtime", "What holds it back?", panels)
}
