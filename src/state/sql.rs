//! Statements that both stores of the ledger run alike.
//!
//! Why it exists: rooms that keep tables beside the money (jobs, verdicts, webhooks) say once what they write and read;
//! [`Ledger::write`](super::Ledger::write) commits it with whatever else waits, [`Ledger::rows`](super::Ledger::rows)
//! reads it. What it refuses to know: which store runs them. Parameters are `?1`, `?2`, …; sums are cast to `BIGINT`;
//! conflicts are named (`ON CONFLICT (id) DO …`); no function that only one store has, but `instr`.

/// A parameter, or a cell of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number: `BIGINT`.
    Int(i64),
    /// A fraction: `DOUBLE PRECISION`.
    Real(f64),
    /// Words: `TEXT`.
    Text(String),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// With its parameters as `?1`, `?2`, ….
    pub sql: &'static str,
    /// In the order of their numbers.
    pub parameters: Vec<Value>,
}

impl Statement {
    /// `sql` with these parameters.
    pub fn new(sql: &'static str, parameters: impl Into<Vec<Value>>) -> Self {
        Self { sql, parameters: parameters.into() }
    }
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// The whole number of a column.
    pub fn int(&self, column: usize) -> Result<i64, Misread> {
        match self.0.get(column) {
            Some(Value::Int(number)) => Ok(*number),
            _ => Err(Misread(column)),
        }
    }

    /// The fraction of a column.
    pub fn real(&self, column: usize) -> Result<f64, Misread> {
        match self.0.get(column) {
            Some(Value::Real(number)) => Ok(*number),
            _ => Err(Misread(column)),
        }
    }

    /// The words of a column.
    pub fn text(&self, column: usize) -> Result<&str, Misread> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(Misread(column)),
        }
    }

    /// The words of a column that may be empty.
    pub fn maybe_text(&self, column: usize) -> Result<Option<&str>, Misread> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.text(column).map(Some),
        }
    }

    /// The whole number of a column that may be empty.
    pub fn maybe_int(&self, column: usize) -> Result<Option<i64>, Misread> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.int(column).map(Some),
        }
    }
}

/// A column holds something else than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misread(pub usize);

impl From<Misread> for super::LedgerFault {
    fn from(Misread(column): Misread) -> Self {
        Self::Unavailable(format!("column {column} of an answer is not what it should be"))
    }
}

/// A statement as Postgres reads it.
pub(crate) fn for_postgres(sql: &str) -> String {
    sql.replace('?', "$").replace("instr(", "strpos(")
}
