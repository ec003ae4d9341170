//! Rows out, on connections that never wait for the writer.
//!
//! Why it exists: a report must not hold up a purchase. What it refuses to know: what is being written now (each answer
//! is one consistent state), and what the rows mean (`state/books.rs`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::schema;
use super::writer::unavailable;
use crate::domain::budget::{Account, Total};
use crate::state::books;
use crate::state::sql::{Misread, Row, Value};
use crate::state::words::Words;
use crate::state::{AmbiguousSum, LedgerFault, Record, SpendBy, SpendRow};

/// Idle connections kept; more than this many reads at once open their own.
const IDLE: usize = 4;

/// The readers of one file.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    words: Words,
}

impl Readers {
    /// Readers of `path`; opens one connection to see that it is a ledger.
    pub(super) fn open(path: &Path) -> Result<Self, LedgerFault> {
        let first = schema::reader(path)?;
        Ok(Self { path: path.to_owned(), idle: Mutex::new(vec![first]), words: Words::default() })
    }

    /// The generation of that id.
    pub(super) fn show(&self, id: &str) -> Result<Option<Record>, LedgerFault> {
        books::record(&self.rows(books::SHOW, &[id.into()])?, &self.words)
    }

    /// The generation that holds this claim since then.
    pub(super) fn recall(&self, scope: &str, since: Timestamp) -> Result<Option<Record>, LedgerFault> {
        let parameters = [scope.into(), since.as_microsecond().into()];
        books::record(&self.rows(books::RECALL, &parameters)?, &self.words)
    }

    /// Sums since then.
    pub(super) fn spend(&self, by: SpendBy, since: Timestamp) -> Result<Vec<SpendRow>, LedgerFault> {
        let rows = self.rows(books::spend_sql(by), &[since.as_microsecond().into()])?;
        Ok(rows.iter().map(|row| books::spend_row(by, row)).collect::<Result<_, Misread>>()?)
    }

    /// Money in doubt by provider.
    pub(super) fn doubt(&self) -> Result<Vec<AmbiguousSum>, LedgerFault> {
        Ok(self.rows(books::DOUBT, &[])?.iter().map(books::doubtful).collect::<Result<_, Misread>>()?)
    }

    /// What these accounts have spent; one that is not kept, or not up to date, is counted.
    pub(super) fn totals(&self, accounts: &[Arc<Account>]) -> Result<Vec<Total>, LedgerFault> {
        accounts.iter().map(|account| self.total(account)).collect()
    }

    fn total(&self, account: &Account) -> Result<Total, LedgerFault> {
        let kept = self.rows(books::TOTAL, &books::account_key(account))?;
        if let Some((total, false)) = kept.first().map(books::total).transpose()? {
            return Ok(total);
        }
        let attempts = self.rows(books::COUNT, &books::count_parameters(account))?;
        let set_aside = self.rows(books::COUNT_SET_ASIDE, &books::account_key(account))?;
        let (Some(attempts), Some(set_aside)) = (attempts.first(), set_aside.first()) else {
            return Ok(Total::default());
        };
        let (total, strays) = books::counted(attempts, set_aside)?;
        Ok(Total { reserved: total.reserved + strays, ..total })
    }

    /// The rows that a query answers.
    pub(super) fn rows(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, LedgerFault> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| schema::reader(&self.path), Ok)?;
        // A connection that failed is not kept.
        let answer = rows(&connection, sql, parameters).map_err(|fault| unavailable(&fault))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(connection);
        }
        Ok(answer)
    }
}

/// The rows that a query answers on this connection.
pub(super) fn rows(connection: &Connection, sql: &str, parameters: &[Value]) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    let width = statement.column_count();
    let read = |row: &rusqlite::Row<'_>| {
        (0..width).map(|column| cell(row.get_ref(column)?)).collect::<rusqlite::Result<Vec<_>>>()
    };
    statement.query_map(params_from_iter(bound(parameters)), |row| read(row).map(Row))?.collect()
}

/// Parameters as the store takes them.
pub(super) fn bound(parameters: &[Value]) -> impl Iterator<Item = Bound<'_>> {
    parameters.iter().map(Bound)
}

/// One parameter.
pub(super) struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn cell(value: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) | ValueRef::Blob(text) => Value::Text(std::str::from_utf8(text)?.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Durability;
    use crate::state::books::{COUNT, DOUBT, spend_sql};

    /// The plan that the store would run, in its own words.
    fn plan(connection: &Connection, sql: &str) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters: Vec<i64> = vec![0; statement.parameter_count()];
        let steps = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn every_read_is_served_by_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let opened = schema::writer(&folder.path().join("x.db"), Durability::Process).unwrap();
        for by in [SpendBy::Day, SpendBy::Key, SpendBy::Model, SpendBy::Task] {
            let plan = plan(&opened.connection, spend_sql(by));
            assert_eq!(plan.matches("INDEX generation_created (created_us>?)").count(), 2, "{plan}");
            assert!(!plan.contains("SCAN g") && !plan.contains("SCAN a"), "{plan}");
        }
        let doubt = plan(&opened.connection, DOUBT);
        assert!(doubt.contains("SCAN a USING INDEX attempt_doubt") && !doubt.contains("SCAN g"), "{doubt}");
        let count = plan(&opened.connection, COUNT);
        assert!(count.contains("INDEX generation_created (created_us>? AND created_us<?)"), "{count}");
        assert!(!count.contains("SCAN a") && !count.contains("SCAN g"), "{count}");
        let recovery =
            plan(&opened.connection, "SELECT id FROM generation WHERE created_us >= ?1 AND ended_us IS NULL");
        assert!(recovery.contains("INDEX generation_created"), "{recovery}");
    }
}
