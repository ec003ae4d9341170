//! Settings from the environment: `TOLLGATE_SERVER__LISTEN` is `server.listen`.
//!
//! Why it exists: containers are configured so. What it refuses to know: which settings there are.

use super::{Entry, Origin, Written};

/// The settings among the variables, ordered by name. A name without `__` is none: `TOLLGATE_URL` and
/// `TOLLGATE_KEY` are the client commands'.
pub(super) fn entries(variables: impl Iterator<Item = (String, String)>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = variables.filter_map(|(name, value)| entry(name, value)).collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

fn entry(name: String, value: String) -> Option<Entry> {
    let path = name.strip_prefix("TOLLGATE_").filter(|path| path.contains("__"))?;
    let key = path.split("__").map(str::to_ascii_lowercase).collect();
    Some(Entry { key, value: Written::Text(value), origin: Origin::Environment(name) })
}
