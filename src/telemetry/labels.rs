//! Label values that come from the policy, each kind with a cap.
//!
//! Why it exists: a label with unbounded values brings a metrics store down, so every value passes here: one of a closed
//! set stays, a name stays while its label has room, and the rest is [`OTHER`]. What it refuses to know: what is
//! counted.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use super::metrics::{Label, Metric, Values};

/// The stand-in for values beyond a cap or outside a set.
pub(super) const OTHER: &str = "other";

/// The names that each label has had; a label has one set of names in all metrics.
pub(super) struct Admission(Vec<(&'static str, Names)>);

impl Admission {
    /// Every label of the table, none of them with a name yet.
    pub(super) fn of_the_table() -> Self {
        let mut all: Vec<(&str, Names)> = Vec::new();
        for label in Metric::ALL.iter().flat_map(|metric| metric.spec().labels) {
            if let Values::Named(most) = label.values
                && all.iter().all(|(name, _)| *name != label.name)
            {
                all.push((label.name, Names::capped(most)));
            }
        }
        Self(all)
    }

    /// Whether `value` may be a value of `label`.
    pub(super) fn admits(&self, label: &Label, value: &str) -> bool {
        match label.values {
            _ if value == OTHER => true,
            Values::Closed(set) => set.contains(&value),
            Values::Named(_) => {
                let names = self.0.iter().find(|(name, _)| *name == label.name);
                names.is_some_and(|(_, names)| names.admit(value))
            }
        }
    }
}

/// The names that one label has had.
struct Names {
    most: usize,
    seen: RwLock<HashSet<Arc<str>>>,
}

impl Names {
    /// A label with at most `most` values.
    fn capped(most: usize) -> Self {
        Self { most, seen: RwLock::default() }
    }

    /// Whether `name` may be a value; the first `most` different ones may.
    fn admit(&self, name: &str) -> bool {
        if self.seen.read().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return true;
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= self.most && !seen.contains(name) {
            return false;
        }
        seen.insert(name.into());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_holds_and_keeps_what_it_has() {
        let names = Names::capped(2);
        assert!(names.admit("a") && names.admit("b"));
        assert!(!names.admit("c"));
        assert!(names.admit("a") && names.admit("b"));
    }
}
