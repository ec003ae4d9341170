//! What stands behind a path's `?`.
//!
//! Why it exists: filters of a page are in its links. What it refuses to know: what they mean.

use std::collections::BTreeMap;

use crate::domain::refusal::Refusal;

/// The pairs of a query; of two with one name, the last holds.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn of(text: &str) -> Self {
        Self(url::form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The value of that name; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A whole number within a range; `usual` when it is not there.
    pub(super) fn number(&self, name: &str, range: std::ops::RangeInclusive<u64>, usual: u64) -> Result<u64, Refusal> {
        let Some(text) = self.0.get(name) else { return Ok(usual) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| Self::bad(name, &format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// The refusal of a value.
    pub(super) fn bad(name: &str, want: &str) -> Refusal {
        Refusal::InvalidRequest { pointer: format!("query:{name}"), detail: format!("`{name}` must be {want}") }
    }
}
