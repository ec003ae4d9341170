//! What differs between two policies, in the words of the policy.
//!
//! Why it exists: a reviewer approves prices and rules, not lines of text: a file may be moved, reordered and commented
//! anew without a change of meaning. The two meanings (what the digest is of) are compared as trees; the rows of a list
//! are told apart by their names, rules by `id`, prices by `from`. What it refuses to know: files.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::snapshot::Snapshot;

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where, e.g. `model."stability/sd3.5-large".price.2026-01-01.usd`.
    pub path: Vec<String>,
    /// What it was; `None` where it is new.
    pub old: Option<Value>,
    /// What it is; `None` where it is gone.
    pub new: Option<Value>,
}

impl Difference {
    /// `+` new, `-` gone, `~` changed.
    pub const fn sign(&self) -> char {
        match (&self.old, &self.new) {
            (None, _) => '+',
            (_, None) => '-',
            (Some(_), Some(_)) => '~',
        }
    }

    /// The path as the policy writes it.
    pub fn place(&self) -> String {
        let plain = |part: &String| part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        let parts: Vec<String> =
            self.path.iter().map(|part| if plain(part) { part.clone() } else { format!("\"{part}\"") }).collect();
        parts.join(".")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sign(), self.place())?;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, ": {} → {}", shown(old), shown(new)),
            (None, Some(one)) | (Some(one), None) => write!(f, " = {}", shown(one)),
            (None, None) => Ok(()),
        }
    }
}

/// A value in a line: tables by their keys alone when they are long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        return text;
    }
    match value {
        Value::Object(table) => format!("{{ {} }}", table.keys().cloned().collect::<Vec<_>>().join(", ")),
        _ => format!("{}…", text.chars().take(59).collect::<String>()),
    }
}

/// Every difference, in the order of their paths.
pub fn diff(old: &Snapshot, new: &Snapshot) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut Vec::new(), &old.meaning, &new.meaning, &mut found);
    found
}

fn compare(path: &mut Vec<String>, old: &Value, new: &Value, found: &mut Vec<Difference>) {
    if old == new {
        return;
    }
    let (Some(old_rows), Some(new_rows)) = (rows(old), rows(new)) else {
        let some = |value: &Value| (!value.is_null()).then(|| value.clone());
        found.push(Difference { path: path.clone(), old: some(old), new: some(new) });
        return;
    };
    let before = found.len();
    let names: std::collections::BTreeSet<&String> = old_rows.keys().chain(new_rows.keys()).collect();
    for name in names {
        let of = |rows: &BTreeMap<String, &Value>| rows.get(name).map_or(Value::Null, |value| (*value).clone());
        path.push(name.clone());
        compare(path, &of(&old_rows), &of(&new_rows), found);
        path.pop();
    }
    if found.len() == before {
        // The same rows in another order, where the order decides.
        found.push(Difference { path: path.clone(), old: Some(order(old)), new: Some(order(new)) });
    }
}

/// A table, or a list whose rows have names, by name.
fn rows(value: &Value) -> Option<BTreeMap<String, &Value>> {
    match value {
        Value::Object(table) => Some(table.iter().map(|(name, value)| (name.clone(), value)).collect()),
        Value::Array(list) => {
            let named: Option<BTreeMap<String, &Value>> = list.iter().map(name_of).collect();
            named.filter(|named| named.len() == list.len() && !list.is_empty())
        }
        _ => None,
    }
}

/// The name of a row: `[name, table]`, or a table with `id`, `name` or `from`.
fn name_of(row: &Value) -> Option<(String, &Value)> {
    if let Value::Array(pair) = row
        && let [Value::String(name), table @ Value::Object(_)] = pair.as_slice()
    {
        return Some((name.clone(), table));
    }
    let name = ["id", "name", "from"].iter().find_map(|key| row.get(key)?.as_str())?;
    Some((name.to_owned(), row))
}

fn order(list: &Value) -> Value {
    let names = |list: &Vec<Value>| list.iter().filter_map(name_of).map(|(name, _)| name.into()).collect();
    list.as_array().map_or(Value::Null, |list| Value::Array(names(list)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(old: &Value, new: &Value) -> Vec<String> {
        let mut found = Vec::new();
        compare(&mut Vec::new(), old, new, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rows_are_told_apart_by_name() {
        let old = json!({"model": [["a/b", {"price": [{"from": "2026-01-01", "usd": 0.03}]}], ["a/c", {"steps": 4}]],
            "rule": [{"id": "x", "quality": 0.5}, {"id": "y", "only": ["a/b"]}]});
        let new = json!({"model": [["a/b", {"price": [{"from": "2026-01-01", "usd": 0.04}]}], ["a/d", {"steps": 4}]],
            "rule": [{"id": "y", "only": ["a/b"]}, {"id": "x", "quality": 0.5}]});
        assert_eq!(
            differences(&old, &new),
            [
                r#"~ model."a/b".price.2026-01-01.usd: 0.03 → 0.04"#,
                r#"- model."a/c" = {"steps":4}"#,
                r#"+ model."a/d" = {"steps":4}"#,
                r#"~ rule: ["x","y"] → ["y","x"]"#,
            ]
        );
    }

    #[test]
    fn equal_policies_do_not_differ() {
        assert!(differences(&json!({"a": [1, 2]}), &json!({"a": [1, 2]})).is_empty());
    }
}
