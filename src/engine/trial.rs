//! A policy on trial: deciding beside the one in force, or in force for a few callers.
//!
//! Why it exists: what a replay cannot tell (how providers and people answer) is told by a small share of real traffic,
//! and before that by decisions that buy nothing. A caller is among the few by a hash of the key's name, so that one
//! team always sees one policy; nothing in a request chooses. Only plans are tried: keys, their limits and budgets stay
//! those of the policy in force. What it refuses to know: when to stop (`domain/canary.rs`), what a request is
//! (`beside.rs`), and how a policy is read. To add a reason to stop: there, and in `events.rs` for its metric.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::learn::Learner;
use crate::domain::canary::{Arm, Bars, Ended, Stop, judge};
use crate::domain::fingerprint::sha256;
use crate::domain::money::Money;
use crate::policy::{ReloadReport, Snapshot, Snapshots};
use crate::state::trials::Stopped;
use crate::state::verdicts::Judgement;
use crate::telemetry::{Telemetry, clock};

/// What is done with a policy on trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// It decides beside the policy in force, and buys nothing.
    Shadow,
    /// It also serves a few callers, until it goes badly.
    Canary {
        /// Callers among the few, of a hundred.
        percent: u8,
        /// When it stops.
        bars: Bars,
    },
}

impl Mode {
    /// In settings and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Canary { .. } => "canary",
        }
    }
}

/// A policy on trial.
pub struct Trial {
    snapshots: Arc<Snapshots>,
    mode: Mode,
    telemetry: Arc<Telemetry>,
    /// What was learned, by this policy's own numbers of models and tasks.
    pub(super) learner: Learner,
    held: Mutex<Held>,
}

/// The evidence on one candidate beside one policy in force.
#[derive(Default)]
struct Held {
    policies: (Arc<str>, Arc<str>),
    in_force: Arm,
    candidate: Arm,
    stopped: Option<Stopped>,
}

/// What the policy in force expects of a request, while another one serves a few.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Usual {
    /// The policy on trial.
    pub(crate) candidate: Arc<str>,
    /// Expected cost of an image.
    pub(crate) each: Money,
    /// Expected acceptance, 0 to 1.
    pub(crate) accept: f64,
}

impl Usual {
    /// For the ledger, so that a verdict finds its group at any gateway.
    pub(crate) fn note(&self, on_trial: bool) -> Value {
        json!({"policy": self.candidate, "on_trial": on_trial, "usual": self.accept})
    }

    /// Whose image a verdict is about: the candidate's or not, and how likely an accept was by the policy in force.
    fn read(decision: &str, candidate: &str) -> Option<(bool, f64)> {
        let note: Value = serde_json::from_str(decision).ok()?;
        let trial = note.get("trial").filter(|trial| trial.get("policy").and_then(Value::as_str) == Some(candidate))?;
        Some((trial.get("on_trial")?.as_bool()?, trial.get("usual")?.as_f64()?))
    }
}

/// How a trial stands.
#[derive(Clone, Debug)]
pub struct TrialStanding {
    /// The candidate; `None` while its files are not good.
    pub policy: Option<Arc<str>>,
    /// What is done with it.
    pub mode: Mode,
    /// `broken` (its files are not good), `same` (it is the policy in force), `shadow`, `canary` or `stopped`.
    pub state: &'static str,
    /// Why it was stopped, and when.
    pub stopped: Option<Stopped>,
    /// What became of the requests that the policy in force has served meanwhile.
    pub in_force: Arm,
    /// What became of those that the candidate has served.
    pub candidate: Arm,
    /// How its files were last read.
    pub reload: Arc<ReloadReport>,
}

impl Trial {
    /// A trial of `snapshots`.
    pub fn new(snapshots: Arc<Snapshots>, mode: Mode, telemetry: Arc<Telemetry>) -> Self {
        Self { snapshots, mode, telemetry, learner: Learner::new(), held: Mutex::default() }
    }

    /// The candidate, hot.
    pub fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    /// The candidate beside the policy in force; `None` while its files are not good, and when they say the same.
    pub(super) fn candidate(&self, house: &Snapshot) -> Option<Arc<Snapshot>> {
        let candidate = self.snapshots.current();
        (self.snapshots.last_reload().ok && candidate.digest != house.digest).then_some(candidate)
    }

    /// The candidate, while it serves some callers.
    pub(super) fn serving(&self, house: &Snapshot) -> Option<Arc<Snapshot>> {
        let Mode::Canary { .. } = self.mode else { return None };
        self.candidate(house).filter(|candidate| self.held(house, candidate).stopped.is_none())
    }

    /// The candidate, when it serves this caller. Callers without a key are all one, and audits compare models with what
    /// they were: neither is ever among the few.
    pub(super) fn takes(&self, house: &Snapshot, tenant: &str) -> Option<Arc<Snapshot>> {
        let Mode::Canary { percent, .. } = self.mode else { return None };
        let among = place(tenant) < percent && house.keys.iter().any(|key| *key.name == *tenant);
        if among { self.serving(house) } else { None }
    }

    /// Hears of a request that ended, and stops the trial when it goes badly; the stop is to be kept.
    pub(super) fn hear(&self, house: &Snapshot, usual: &Usual, on_trial: bool, ended: Ended) -> Option<Stopped> {
        self.note(house, &usual.candidate, |held| {
            let arm = if on_trial { &mut held.candidate } else { &mut held.in_force };
            arm.hear(ended);
            self.telemetry.canary_request(on_trial, ended.failed);
            if let Some(each) = ended.each {
                self.telemetry.canary_image(on_trial, each, ended.usual);
            }
        })
    }

    /// Hears of verdicts; those on images of the present trial count for it.
    pub(super) fn judged(&self, house: &Snapshot, judgements: Vec<Judgement>) -> Option<Stopped> {
        let candidate = self.snapshots.current();
        let mut told = Vec::new();
        self.learner.hear(&candidate, judgements, |judgement| {
            let of = judgement.decision.as_deref().and_then(|decision| Usual::read(decision, &candidate.digest));
            told.extend(of.map(|(on_trial, usual)| (on_trial, usual, judgement.accepted)));
        });
        if told.is_empty() {
            return None;
        }
        self.note(house, &candidate.digest, |held| {
            for (on_trial, usual, accepted) in told {
                let arm = if on_trial { &mut held.candidate } else { &mut held.in_force };
                arm.judged(accepted, usual);
                self.telemetry.canary_verdict(on_trial, accepted);
            }
        })
    }

    /// Takes note that the candidate was stopped, here or at another gateway.
    pub(super) fn stop(&self, house: &Snapshot, stopped: Stopped) {
        let Some(candidate) = self.candidate(house).filter(|candidate| candidate.digest == stopped.policy) else {
            return;
        };
        let mut held = self.held(house, &candidate);
        if held.stopped.is_none() {
            tracing::error!(policy = &*stopped.policy, why = &*stopped.why, "the policy on trial is stopped");
            held.stopped = Some(stopped);
        }
    }

    /// How it stands beside the policy in force.
    pub(super) fn standing(&self, house: &Snapshot) -> TrialStanding {
        let reload = self.snapshots.last_reload();
        let (mode, none) = (self.mode, Arm::default());
        let Some(candidate) = self.candidate(house) else {
            let (policy, state) = if reload.ok { (Some(reload.digest.clone()), "same") } else { (None, "broken") };
            return TrialStanding { policy, mode, state, stopped: None, in_force: none, candidate: none, reload };
        };
        let held = self.held(house, &candidate);
        TrialStanding {
            policy: Some(candidate.digest.clone()),
            mode,
            state: if held.stopped.is_some() { "stopped" } else { mode.name() },
            stopped: held.stopped.clone(),
            in_force: held.in_force,
            candidate: held.candidate,
            reload,
        }
    }

    /// Adds evidence on `candidate`, if it is still the one, and judges it.
    fn note(&self, house: &Snapshot, candidate: &str, add: impl FnOnce(&mut Held)) -> Option<Stopped> {
        let Mode::Canary { bars, .. } = self.mode else { return None };
        let current = self.candidate(house).filter(|current| *current.digest == *candidate)?;
        let mut held = self.held(house, &current);
        if held.stopped.is_some() {
            return None;
        }
        add(&mut held);
        let stop = judge(&held.in_force, &held.candidate, &bars)?;
        let stopped = Stopped { policy: current.digest.clone(), why: stop.name().into(), at: clock::now() };
        held.stopped = Some(stopped.clone());
        let ((all, failed), cost) = (held.candidate.requests(), held.candidate.cost());
        drop(held);
        self.tell(stop, &stopped, all, failed, cost);
        Some(stopped)
    }

    fn tell(&self, stop: Stop, stopped: &Stopped, requests: u32, failed: u32, cost: Option<(f64, f64)>) {
        let (policy, (each, usual)) = (&*stopped.policy, cost.unwrap_or_default());
        let why = match stop {
            Stop::Errors => "more of its requests fail than of the policy in force",
            Stop::Cost => "its images are dearer than the policy in force expects",
            Stop::Acceptance => "fewer of its images are accepted than the policy in force expects",
        };
        self.telemetry.canary_stopped(stop.name());
        let (each_usd, usual_usd) = (each / 1e6, usual / 1e6);
        tracing::error!(policy, why, requests, failed, each_usd, usual_usd, "the policy on trial was stopped");
    }

    /// The evidence; a new one when either policy has changed. What was stopped stays stopped until the candidate
    /// changes.
    fn held(&self, house: &Snapshot, candidate: &Snapshot) -> MutexGuard<'_, Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let policies = (&house.digest, &candidate.digest);
        if (&held.policies.0, &held.policies.1) != policies {
            let stopped = held.stopped.take().filter(|stopped| stopped.policy == candidate.digest);
            *held = Held { policies: (policies.0.clone(), policies.1.clone()), stopped, ..Held::default() };
        }
        held
    }
}

/// Where a caller falls, from 0 to 99: the same for ever.
fn place(tenant: &str) -> u8 {
    let hash = sha256(tenant.as_bytes());
    let number = hash.iter().take(4).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    u8::try_from((number * 100) >> 32).unwrap_or(99)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_even_and_stay() {
        let few = (0..10_000).filter(|at| place(&format!("team-{at}")) < 5).count();
        assert!((400..600).contains(&few), "{few} of 10,000 callers are among 5 %");
        assert!((0..10_000).all(|at| place(&format!("team-{at}")) < 100));
        assert_eq!(place("design-team"), place("design-team"));
    }

    #[test]
    fn a_verdict_finds_its_group_by_its_decision() {
        let usual = Usual { candidate: "3f9c0a17be42".into(), each: Money::from_micros(40_000), accept: 0.61 };
        let note = json!({"method": "off", "trial": usual.note(true)}).to_string();
        assert_eq!(Usual::read(&note, "3f9c0a17be42"), Some((true, 0.61)));
        assert_eq!(Usual::read(&note, "another"), None, "a verdict on an earlier candidate's image");
        assert_eq!(Usual::read("{}", "3f9c0a17be42"), None);
    }
}
