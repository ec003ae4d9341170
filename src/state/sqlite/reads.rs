//! Rows out: a generation, sums, money in doubt.
//!
//! Why it exists: readers have their own connections and never wait for the writer. What it refuses to know: what is
//! being written now; each answer is one consistent state.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params_from_iter};

use super::schema;
use crate::domain::fault::Billed;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::ledger::{Attempt, Basis, Claim, Closing, MoneyState, Opening};
use crate::domain::money::Money;
use crate::state::sql::{self, Value};
use crate::state::words::Words;
use crate::state::{AmbiguousSum, LedgerFault, Record, SpendBy, SpendRow};

/// Idle connections kept; more than this many reads at once open their own.
const IDLE: usize = 4;

const GENERATION: &str = "SELECT id, created_us, key, task, model, plan, rule, policy, prompt_sha256, prompt, metadata, \
     expected_cost, expected_accept, reserved, ended_us, outcome, made_by, latency_us, images, claim, fingerprint, answer \
     FROM generation WHERE id = ?1";

const CLAIMED: &str = "SELECT id FROM generation WHERE claim = ?1 AND created_us >= ?2";

const ATTEMPTS: &str = "SELECT seq, provider, model, held, charged, state, billed, basis, outcome, detail, latency_us \
     FROM attempt WHERE generation = ?1 ORDER BY seq";

const DOUBT: &str = "SELECT a.provider, SUM(a.held), MIN(g.created_us) FROM attempt a JOIN generation g \
     ON g.id = a.generation WHERE a.state = 'ambiguous' GROUP BY a.provider ORDER BY a.provider";

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
        self.read(|connection| {
            // One transaction, so that the attempts are of the same moment as their generation.
            let moment = connection.unchecked_transaction()?;
            let Some(mut record) =
                connection.prepare_cached(GENERATION)?.query_row([id], |row| self.generation(row)).optional()?
            else {
                return Ok(None);
            };
            let attempts = connection
                .prepare_cached(ATTEMPTS)?
                .query_map([id], |row| self.attempt(row))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            moment.finish()?;
            record.opening.attempts = attempts.iter().map(as_held).collect();
            if let Some(closing) = &mut record.closing {
                closing.attempts = attempts;
            }
            Ok(Some(record))
        })
    }

    /// The generation that holds this claim since then.
    pub(super) fn recall(&self, scope: &str, since: Timestamp) -> Result<Option<Record>, LedgerFault> {
        let holder: Option<String> = self.read(|connection| {
            let mut statement = connection.prepare_cached(CLAIMED)?;
            statement.query_row(rusqlite::params![scope, since.as_microsecond()], |row| row.get(0)).optional()
        })?;
        holder.map_or(Ok(None), |id| self.show(&id))
    }

    /// Sums since then.
    pub(super) fn spend(&self, by: SpendBy, since: Timestamp) -> Result<Vec<SpendRow>, LedgerFault> {
        self.read(|connection| {
            connection
                .prepare_cached(spend_sql(by))?
                .query_map([since.as_microsecond()], |row| spend_row(by, row))?
                .collect()
        })
    }

    /// Money in doubt by provider.
    pub(super) fn doubt(&self) -> Result<Vec<AmbiguousSum>, LedgerFault> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(DOUBT)?;
            let sums = statement.query_map([], |row| {
                Ok(AmbiguousSum { provider: text(row, 0)?, sum: money(row, 1)?, oldest: instant(row, 2)? })
            })?;
            sums.collect()
        })
    }

    /// The rows that a query answers.
    pub(super) fn rows(&self, sql: &str, parameters: &[Value]) -> Result<Vec<sql::Row>, LedgerFault> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let width = statement.column_count();
            let read = |row: &Row<'_>| {
                (0..width).map(|column| cell(row.get_ref(column)?)).collect::<rusqlite::Result<Vec<_>>>()
            };
            statement.query_map(params_from_iter(parameters.iter().map(Bound)), |row| read(row).map(sql::Row))?.collect()
        })
    }

    fn read<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerFault> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| schema::reader(&self.path), Ok)?;
        // A connection that failed is not kept.
        let answer = ask(&connection).map_err(|fault| super::writer::unavailable(&fault))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(connection);
        }
        Ok(answer)
    }

    fn generation(&self, row: &Row<'_>) -> rusqlite::Result<Record> {
        let id: std::sync::Arc<str> = text(row, 0)?;
        let opening = Opening {
            id: id.clone(),
            created: instant(row, 1)?,
            key: text(row, 2)?,
            task: text(row, 3)?,
            model: text(row, 4)?,
            plan: row.get(5)?,
            rule: row.get::<_, Option<String>>(6)?.map(Into::into),
            policy: text(row, 7)?,
            prompt_sha256: row.get(8)?,
            prompt: row.get(9)?,
            metadata: json(row, 10)?,
            expected_cost: money(row, 11)?,
            expected_accept: row.get(12)?,
            reserved: money(row, 13)?,
            claim: claim(row)?,
            attempts: Vec::new(),
        };
        if row.get::<_, Option<i64>>(14)?.is_none() {
            return Ok(Record { opening, closing: None });
        }
        let closing = Closing {
            id,
            ended: instant(row, 14)?,
            outcome: self.words.intern(row.get_ref(15)?.as_str()?),
            model: text(row, 16)?,
            latency: span(row, 17)?,
            images: json(row, 18)?,
            answer: row.get(21)?,
            attempts: Vec::new(),
        };
        Ok(Record { opening, closing: Some(closing) })
    }

    fn attempt(&self, row: &Row<'_>) -> rusqlite::Result<Attempt> {
        Ok(Attempt {
            seq: row.get(0)?,
            provider: text(row, 1)?,
            model: text(row, 2)?,
            held: money(row, 3)?,
            charged: money(row, 4)?,
            state: named(row, 5, MoneyState::from_name)?,
            billed: named(row, 6, |name| {
                [Billed::No, Billed::Unknown, Billed::Yes].into_iter().find(|b| b.name() == name)
            })?,
            basis: named(row, 7, |name| {
                [Basis::PriceTable, Basis::ProviderUsage].into_iter().find(|b| b.name() == name)
            })?,
            outcome: self.words.intern(row.get_ref(8)?.as_str()?),
            detail: row.get(9)?,
            latency: span(row, 10)?,
        })
    }
}

/// One parameter.
struct Bound<'a>(&'a Value);

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

/// The attempt as it was before it was sent.
fn as_held(attempt: &Attempt) -> Attempt {
    Attempt::held(attempt.seq, attempt.provider.clone(), attempt.model.clone(), attempt.held)
}

/// Generations and their images are counted apart from their attempts' money, so that neither multiplies the other.
macro_rules! spend_by {
    ($generation:literal, $attempt:literal) => {
        concat!(
            "SELECT grp, SUM(generations), SUM(images), SUM(settled), SUM(ambiguous) FROM (",
            "SELECT ",
            $generation,
            " AS grp, COUNT(*) AS generations, SUM(g.image_count) AS images, 0 AS settled, ",
            "0 AS ambiguous FROM generation g WHERE g.created_us >= ?1 GROUP BY 1 UNION ALL ",
            "SELECT ",
            $attempt,
            ", 0, 0, SUM(CASE a.state WHEN 'settled' THEN a.charged ELSE 0 END), ",
            "SUM(CASE a.state WHEN 'ambiguous' THEN a.held ELSE 0 END) ",
            "FROM generation g JOIN attempt a ON a.generation = g.id WHERE g.created_us >= ?1 GROUP BY 1",
            ") sums GROUP BY grp ORDER BY SUM(settled) + SUM(ambiguous) DESC, grp"
        )
    };
}

/// A model's generations are those that called it; its images are those that it made.
const SPEND_BY_MODEL: &str = "SELECT grp, SUM(generations), SUM(images), SUM(settled), SUM(ambiguous) FROM (\
     SELECT a.model AS grp, COUNT(DISTINCT a.generation) AS generations, 0 AS images, \
     SUM(CASE a.state WHEN 'settled' THEN a.charged ELSE 0 END) AS settled, \
     SUM(CASE a.state WHEN 'ambiguous' THEN a.held ELSE 0 END) AS ambiguous \
     FROM generation g JOIN attempt a ON a.generation = g.id WHERE g.created_us >= ?1 GROUP BY 1 UNION ALL \
     SELECT g.made_by, 0, SUM(g.image_count), 0, 0 FROM generation g \
     WHERE g.created_us >= ?1 AND g.image_count > 0 GROUP BY 1\
     ) sums GROUP BY grp ORDER BY SUM(settled) + SUM(ambiguous) DESC, grp";

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

const fn spend_sql(by: SpendBy) -> &'static str {
    match by {
        SpendBy::Day => spend_by!("g.created_us / 86400000000", "g.created_us / 86400000000"),
        SpendBy::Key => spend_by!("g.key", "g.key"),
        SpendBy::Model => SPEND_BY_MODEL,
        SpendBy::Task => spend_by!("g.task", "g.task"),
    }
}

fn spend_row(by: SpendBy, row: &Row<'_>) -> rusqlite::Result<SpendRow> {
    let group = match by {
        SpendBy::Day => {
            let day =
                Timestamp::from_microsecond(row.get::<_, i64>(0)?.saturating_mul(DAY)).map_err(|e| misread(0, e))?;
            day.strftime("%Y-%m-%d").to_string()
        }
        SpendBy::Key | SpendBy::Model | SpendBy::Task => row.get(0)?,
    };
    Ok(SpendRow {
        group,
        generations: count(row, 1)?,
        images: count(row, 2)?,
        settled: money(row, 3)?,
        ambiguous: money(row, 4)?,
    })
}

fn claim(row: &Row<'_>) -> rusqlite::Result<Option<Claim>> {
    let (Some(scope), Some(print)) = (row.get::<_, Option<String>>(19)?, row.get::<_, Option<String>>(20)?) else {
        return Ok(None);
    };
    let fingerprint = Fingerprint::from_hex(&print).ok_or_else(|| misread(20, "not a digest"))?;
    Ok(Some(Claim { scope, fingerprint }))
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<std::sync::Arc<str>> {
    Ok(row.get_ref(column)?.as_str()?.into())
}

fn money(row: &Row<'_>, column: usize) -> rusqlite::Result<Money> {
    row.get(column).map(Money::from_micros)
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0))
}

fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?).map_err(|error| misread(column, error))
}

fn span(row: &Row<'_>, column: usize) -> rusqlite::Result<Duration> {
    count(row, column).map(Duration::from_micros)
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| misread(column, error))
}

fn named<T>(row: &Row<'_>, column: usize, find: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let name = row.get_ref(column)?.as_str()?;
    find(name).ok_or_else(|| misread(column, format!("no such word: {name}")))
}

fn misread(column: usize, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Durability;

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
        let recovery =
            plan(&opened.connection, "SELECT id FROM generation WHERE created_us >= ?1 AND ended_us IS NULL");
        assert!(recovery.contains("INDEX generation_created"), "{recovery}");
    }
}
