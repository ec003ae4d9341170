//! Settings from TOML, each with its line and column.
//!
//! Why it exists: a mistake is told where it is written. What it refuses to know: which settings there are.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{Entry, Mistake, Origin, Written};

/// The file's settings, in its order; the place of each is its name's.
pub(super) fn entries(path: &Path, text: &str) -> Result<Vec<Entry>, Mistake> {
    let tree = DeTable::parse(text).map_err(|error| Mistake {
        what: error.message().to_owned(),
        help: None,
        origin: error.span().map(|span| origin(path, text, &span)),
    })?;
    let mut found = Vec::new();
    walk(tree.get_ref(), &mut Vec::new(), &mut found);
    found.sort_by_key(|(span, _, _)| span.start);
    Ok(found.into_iter().map(|(span, key, value)| Entry { key, value, origin: origin(path, text, &span) }).collect())
}

type Found = (Range<usize>, Vec<String>, Written);

fn walk(table: &DeTable<'_>, above: &mut Vec<String>, found: &mut Vec<Found>) {
    for (name, value) in table {
        above.push(name.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(table) => walk(table, above, found),
            value => found.push((name.span(), above.clone(), written(value))),
        }
        above.pop();
    }
}

fn written(value: &DeValue<'_>) -> Written {
    match value {
        DeValue::Boolean(switch) => Written::Switch(*switch),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Written::Other("a number"), Written::Whole)
        }
        DeValue::String(text) => Written::Text(text.to_string()),
        DeValue::Float(_) => Written::Other("a fraction"),
        DeValue::Datetime(_) => Written::Other("a date"),
        DeValue::Array(_) => Written::Other("a list"),
        DeValue::Table(_) => Written::Other("a table"),
    }
}

fn origin(path: &Path, text: &str, span: &Range<usize>) -> Origin {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    Origin::File { path: path.to_owned(), line, column }
}
