//! Label values that come from the policy, each kind with a cap.
//!
//! Why it exists: a label with unbounded values brings a metrics store down. Values of closed sets are `&'static str`
//! in the typed methods and need no cap; names of the policy pass here. What it refuses to know: metrics.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

/// The stand-in for values beyond the cap.
pub(super) const OTHER: &str = "other";

/// The names that one label has had.
pub(super) struct Names {
    /// The label, for the overflow count.
    pub(super) label: &'static str,
    most: usize,
    seen: RwLock<HashSet<Arc<str>>>,
}

impl Names {
    /// A label with at most `most` values.
    pub(super) fn capped(label: &'static str, most: usize) -> Self {
        Self { label, most, seen: RwLock::default() }
    }

    /// Whether `name` may be a value; the first `most` different ones may.
    pub(super) fn admit(&self, name: &str) -> bool {
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
        let names = Names::capped("model", 2);
        assert!(names.admit("a") && names.admit("b"));
        assert!(!names.admit("c"));
        assert!(names.admit("a") && names.admit("b"));
    }
}
