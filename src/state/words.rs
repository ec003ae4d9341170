//! Outcome words read back from a store.
//!
//! Why it exists: outcomes are static words in the domain (a fault's class, a refusal's code), and a store gives back
//! owned text. What it refuses to know: which words there are, so that an older ledger still reads.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Every word seen, once.
#[derive(Debug, Default)]
pub(super) struct Words(Mutex<BTreeSet<&'static str>>);

impl Words {
    /// `word` as a static word. Keeps each different word for the life of the process: they are those that versions of
    /// this program wrote, a few dozen.
    pub(super) fn intern(&self, word: &str) -> &'static str {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get(word) {
            return known;
        }
        let kept: &'static str = Box::leak(word.into());
        seen.insert(kept);
        kept
    }
}
