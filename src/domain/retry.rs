//! What follows from a fault: same model again, next plan, or stop; and what the breaker hears.
//!
//! Why it exists: the table of faults stands in one place and is a pure function. What it refuses to know: HTTP and
//! sleeping. A retry that may have been billed does not happen here.

use std::time::Duration;

use super::breaker::Signal;
use super::fault::{Billed, Blame, Class, Fault};

/// What to do after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The same call again after this wait.
    Again(Duration),
    /// The next plan, whose price must still fit the cap.
    NextPlan,
    /// No further attempt.
    Stop,
}

/// What is known when a fault arrives.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Tries of this call so far, this one included.
    pub tries: u32,
    /// Time until the request's deadline.
    pub left: Duration,
    /// Whether the retry budget has a token.
    pub budget: bool,
    /// Whether the policy takes a moderated prompt to the next provider.
    pub moderated_next: bool,
    /// A uniform draw from 0 to 1, for the jitter.
    pub jitter: f64,
}

/// The most tries of one call on one model.
pub const MAX_TRIES: u32 = 4;
/// The first backoff, doubled with each try.
pub const BASE_BACKOFF: Duration = Duration::from_millis(250);
/// The longest backoff of our own making.
pub const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// A throttle that asks for more than this is taken to the next plan first.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The table of faults. `has_next` says whether another plan is left.
pub fn decide(fault: &Fault, situation: Situation, has_next: bool) -> Decision {
    let next = if has_next { Decision::NextPlan } else { Decision::Stop };
    match fault.class {
        Class::Moderate if !situation.moderated_next => Decision::Stop,
        Class::Garbled | Class::Moderate | Class::OutOfCredit | Class::Reject | Class::Unauthorize => next,
        Class::Throttle => {
            let wait = fault.retry_after.unwrap_or_else(|| backoff(situation));
            let again = may_repeat(situation, wait);
            if again && (wait <= PATIENCE || !has_next) { Decision::Again(wait) } else { next }
        }
        Class::TimeOut | Class::Unavailable => {
            let wait = backoff(situation).max(fault.retry_after.unwrap_or_default());
            let safe = fault.billed == Billed::No;
            if safe && may_repeat(situation, wait) && (wait <= PATIENCE || !has_next) {
                Decision::Again(wait)
            } else {
                next
            }
        }
    }
}

/// What the breaker of the model hears of a fault.
pub fn signal(fault: &Fault) -> Signal {
    match fault.class {
        Class::Moderate | Class::Reject => Signal::Success,
        Class::OutOfCredit | Class::Unauthorize => Signal::Trip(Duration::from_mins(1)),
        Class::Throttle => Signal::CoolDown(fault.retry_after.unwrap_or(Duration::from_secs(1))),
        Class::Garbled | Class::TimeOut | Class::Unavailable => match fault.blame {
            Blame::Provider => Signal::Failure,
            // A deadline that the caller made too short says nothing about the provider.
            Blame::Caller | Blame::Ourselves => Signal::Success,
        },
    }
}

/// Full jitter: uniform in 0 to the doubled base, capped. Source: AWS Builders' Library, "Timeouts, retries and
/// backoff with jitter".
pub fn backoff(situation: Situation) -> Duration {
    let doubled = BASE_BACKOFF.saturating_mul(1 << situation.tries.saturating_sub(1).min(10));
    doubled.min(MAX_BACKOFF).mul_f64(situation.jitter.clamp(0.0, 1.0))
}

fn may_repeat(situation: Situation, wait: Duration) -> bool {
    situation.budget && situation.tries < MAX_TRIES && wait < situation.left
}

/// The fault that decides when several calls of a turn fail: the one that allows least.
pub fn graver(held: Option<Fault>, new: Fault) -> Fault {
    let rank = |fault: &Fault| match fault.class {
        Class::Moderate => 7,
        Class::Unauthorize => 6,
        Class::OutOfCredit => 5,
        Class::Reject => 4,
        Class::Garbled => 3,
        Class::TimeOut => 2,
        Class::Unavailable => 1,
        Class::Throttle => 0,
    };
    match held {
        Some(held) if rank(&held) >= rank(&new) => held,
        _ => new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Situation =
        Situation { tries: 1, left: Duration::from_mins(1), budget: true, moderated_next: false, jitter: 0.5 };

    fn fault(class: Class, billed: Billed) -> Fault {
        Fault::new(class, Blame::Provider, billed, "")
    }

    #[test]
    fn the_table_of_classes() {
        use Decision::{Again, NextPlan, Stop};
        let wait = Duration::from_millis(125);
        let rows = [
            (Class::Reject, Billed::No, NextPlan),
            (Class::Moderate, Billed::No, Stop),
            (Class::Unauthorize, Billed::No, NextPlan),
            (Class::OutOfCredit, Billed::No, NextPlan),
            (Class::Garbled, Billed::Yes, NextPlan),
            (Class::Throttle, Billed::No, Again(wait)),
            (Class::TimeOut, Billed::No, Again(wait)),
            (Class::TimeOut, Billed::Unknown, NextPlan),
            (Class::Unavailable, Billed::No, Again(wait)),
            (Class::Unavailable, Billed::Unknown, NextPlan),
        ];
        for (class, billed, expected) in rows {
            assert_eq!(decide(&fault(class, billed), CALM, true), expected, "{class:?} {billed:?}");
        }
    }

    #[test]
    fn what_may_have_been_billed_is_never_repeated() {
        for class in Class::ALL {
            for billed in [Billed::Unknown, Billed::Yes] {
                if class != Class::Throttle {
                    let decision = decide(&fault(class, billed), CALM, false);
                    assert!(!matches!(decision, Decision::Again(_)), "{class:?} {billed:?}");
                }
            }
        }
    }

    #[test]
    fn a_long_lock_goes_to_the_next_plan_and_waits_only_when_alone() {
        let lock = fault(Class::Throttle, Billed::No).after(Duration::from_secs(30));
        assert_eq!(decide(&lock, CALM, true), Decision::NextPlan);
        assert_eq!(decide(&lock, CALM, false), Decision::Again(Duration::from_secs(30)));
        let late = Situation { left: Duration::from_secs(20), ..CALM };
        assert_eq!(decide(&lock, late, false), Decision::Stop);
    }

    #[test]
    fn no_budget_no_repeat() {
        let broke = Situation { budget: false, ..CALM };
        assert_eq!(decide(&fault(Class::Unavailable, Billed::No), broke, false), Decision::Stop);
    }
}
