//! A policy tried on the past: what it would have decided, what that would have cost, who would have said yes.
//!
//! Why it exists: a change of prices, floors or rules is seen in dollars before it goes live. Each logged decision is
//! made again by the planner's own function over the world that was logged with it; nothing is guessed about the
//! world of then. What it refuses to know: tables (`log.rs` reads them) and terminals. What the log cannot tell is said so: a plan that
//! was never bought has an expected price and an estimated acceptance, and plans that the log never tried at all are
//! counted apart ([`Report::unsupported`]). Limits are those that were seen; that another choice would have left other
//! room in them is not re-enacted.

pub mod calibrate;
mod estimate;
pub mod log;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use super::snapshot::Snapshot;
use crate::domain::catalog::Catalog;
use crate::domain::decision::Situation;
use crate::domain::money::Money;
use crate::domain::plan::explain::{self, explain};
use crate::domain::plan::{Candidate, Planned, Reason, View, plan};
use crate::domain::request::GenerationRequest;

use estimate::Trial;
pub use estimate::{Estimate, Interval};

/// One decision of the log, with what became of it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The generation's id.
    pub id: Arc<str>,
    /// When it arrived.
    pub created: Timestamp,
    /// The caller's key by name; empty where callers need none.
    pub key: Arc<str>,
    /// The task's name.
    pub task: Arc<str>,
    /// The chosen plan in words.
    pub plan: Arc<str>,
    /// The plan that ran in the end: another one where the chosen one failed, or had no room.
    pub ran: Arc<str>,
    /// What the chosen plan was expected to cost.
    pub expected: Money,
    /// The digest of the policy that chose it.
    pub policy: Arc<str>,
    /// Charged.
    pub settled: Money,
    /// In doubt.
    pub ambiguous: Money,
    /// From arrival to answer.
    pub latency: Duration,
    /// Whether an image came of it.
    pub succeeded: bool,
    /// The probability with which the planner chose this plan; 1 where it does not draw lots.
    pub propensity: f64,
    /// A person's verdict, if there is one.
    pub accepted: Option<bool>,
    /// What the planner saw; `None` in rows of an older build.
    pub situation: Option<Situation>,
}

/// What a replay found. Money of changed decisions is the new plan's expected price; of the others it is
/// the ledger's, and what the candidate's prices change of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Decisions made again.
    pub decisions: usize,
    /// Rows that do not say what the planner saw.
    pub unreadable: usize,
    /// Decisions that came out the same.
    pub same: usize,
    /// Of these, how many the candidate prices otherwise.
    pub repriced: usize,
    /// Money of then.
    pub before: Money,
    /// Money by the candidate.
    pub after: Money,
    /// Money of then in doubt: in neither sum.
    pub ambiguous: Money,
    /// Mean latency of then, and by the candidate (expected where the plan changed).
    pub latency: (Duration, Duration),
    /// People's verdicts of then.
    pub accept_before: Estimate,
    /// Acceptance under the candidate: doubly robust.
    pub accept_after: Estimate,
    /// The same by inverse propensities alone, where the log supports it.
    pub accept_by_weights: Option<Estimate>,
    /// Decisions whose new plan the log never tried for that task: their acceptance is the planner's belief alone.
    pub unsupported: usize,
    /// Requests that the candidate refuses, by reason, that were served then.
    pub refused: BTreeMap<String, usize>,
    /// Decisions where a cheaper plan had no room in a limit: then, and by the candidate.
    pub quota_hits: usize,
    /// From one plan to another: how often, and the change in expected price.
    pub switches: BTreeMap<(String, String), Switch>,
    /// Rules of the candidate that decided nothing.
    pub idle_rules: Vec<Arc<str>>,
    /// The decisions that change most in price, dearest first.
    pub largest: Vec<Change>,
}

/// Decisions that moved from one plan to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switch {
    /// How many.
    pub count: usize,
    /// What they cost then.
    pub before: Money,
    /// What they are expected to cost.
    pub after: Money,
}

/// One decision that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The generation's id.
    pub id: Arc<str>,
    /// The plan of then.
    pub from: Arc<str>,
    /// The candidate's.
    pub to: String,
    /// Then, and expected.
    pub cost: (Money, Money),
}

/// How many of [`Report::largest`] are kept.
const LARGEST: usize = 20;

/// A request and its world, ready to be planned again.
struct Again {
    request: GenerationRequest,
    view: View,
    day: Date,
}

impl Again {
    /// Under `candidate`; the words are the refusal's.
    fn new(row: &Logged, situation: &Situation, candidate: &Snapshot) -> Result<Self, String> {
        let mut request = candidate.resolve(situation.ask.clone(), &row.key).map_err(|unresolved| unresolved.detail)?;
        request.approved = situation.approved(&candidate.catalog);
        let view = situation.view(&candidate.catalog, candidate.guess(request.task));
        Ok(Self { request, view, day: situation.day })
    }

    fn plan(&self, catalog: &Catalog) -> Planned {
        plan(&self.request, catalog, &self.view, self.day)
    }

    /// Why nothing can be done: the reason that most plans share.
    fn refusal(&self, planned: &Planned, catalog: &Catalog) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for why in explain(planned, &self.request, catalog, &self.view).lines.iter().filter_map(|l| l.reason.as_ref()) {
            *counts.entry(why.code).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map_or_else(|| "no_plan".to_owned(), |(code, _)| format!("no_plan ({code})"))
    }
}

/// Makes every decision of `log` again under `candidate`.
pub fn replay(log: &[Logged], candidate: &Snapshot) -> Report {
    let mut run = Run {
        candidate,
        tried: log.iter().map(|row| (&*row.task, &*row.ran)).collect(),
        hit: BTreeSet::new(),
        trials: Vec::with_capacity(log.len()),
        spans: (Duration::ZERO, Duration::ZERO),
        report: Report::default(),
    };
    for row in log {
        match &row.situation {
            None => run.report.unreadable += 1,
            Some(situation) => run.decide(row, situation),
        }
    }
    run.finish()
}

struct Run<'a> {
    candidate: &'a Snapshot,
    /// Plans that the log has tried, by task.
    tried: BTreeSet<(&'a str, &'a str)>,
    hit: BTreeSet<Arc<str>>,
    trials: Vec<Trial>,
    spans: (Duration, Duration),
    report: Report,
}

impl Run<'_> {
    fn decide(&mut self, row: &Logged, situation: &Situation) {
        let catalog = &self.candidate.catalog;
        self.report.decisions += 1;
        self.report.before += row.settled;
        self.report.ambiguous += row.ambiguous;
        let again = match Again::new(row, situation, self.candidate) {
            Ok(again) => again,
            Err(why) => return self.refuse(why),
        };
        self.hit.extend(again.request.terms.rule.clone());
        let planned = again.plan(catalog);
        self.report.quota_hits += usize::from(stood_in_line(&planned));
        let Some(best) = planned.best() else { return self.refuse(again.refusal(&planned, catalog)) };
        let to = words(best, catalog);
        let same = *to == *row.plan;
        let supported = same || self.tried.contains(&(&*row.task, &*to));
        let bought = planned.candidates.iter().find(|one| same || *words(one, catalog) == *row.ran);
        self.trials.push(Trial {
            verdict: row.accepted,
            propensity: row.propensity,
            same,
            supported,
            before: if same { best.accept } else { bought.map_or(best.accept, |bought| bought.accept) },
            after: best.accept,
        });
        self.spans.0 += row.latency;
        self.spans.1 += if same { row.latency } else { best.latency.p50 };
        self.report.unsupported += usize::from(!supported);
        if same {
            self.report.same += 1;
            // What was paid then, and what the candidate's prices change of it.
            self.report.after += row.settled + (best.quote.expected - row.expected);
            self.report.repriced += usize::from(best.quote.expected != row.expected);
        } else {
            self.report.after += best.quote.expected;
            changed(&mut self.report, row, to, best.quote.expected);
        }
    }

    fn refuse(&mut self, why: String) {
        *self.report.refused.entry(why).or_default() += 1;
    }

    fn finish(mut self) -> Report {
        let answered = u32::try_from(self.trials.len().max(1)).unwrap_or(u32::MAX);
        let report = &mut self.report;
        report.latency = (self.spans.0 / answered, self.spans.1 / answered);
        report.accept_before = estimate::observed(&self.trials);
        report.accept_after = estimate::doubly_robust(&self.trials);
        report.accept_by_weights = estimate::inverse_propensity(&self.trials);
        let rules = self.candidate.rules.iter().map(|rule| rule.id.clone());
        report.idle_rules = rules.filter(|id| !self.hit.contains(id)).collect();
        let weight = |change: &Change| change.cost.1.micros().abs_diff(change.cost.0.micros());
        report.largest.sort_by_key(|change| Reverse(weight(change)));
        report.largest.truncate(LARGEST);
        self.report
    }
}

fn changed(report: &mut Report, row: &Logged, to: String, cost: Money) {
    let switch = report.switches.entry((row.plan.to_string(), to.clone())).or_default();
    switch.count += 1;
    switch.before += row.settled;
    switch.after += cost;
    report.largest.push(Change { id: row.id.clone(), from: row.plan.clone(), to, cost: (row.settled, cost) });
}

/// A plan in words, as the ledger writes it: `stability/sd3.5-medium → resize`.
pub fn words(candidate: &Candidate, catalog: &Catalog) -> String {
    explain::words(&explain::steps(candidate, catalog))
}

/// Whether a better plan than the chosen one was dropped only for a limit.
fn stood_in_line(planned: &Planned) -> bool {
    let best = planned.best().map_or(f64::INFINITY, |best| best.score);
    planned.candidates.iter().any(|one| matches!(one.reason, Some(Reason::QuotaSpent(_))) && one.score < best)
}
