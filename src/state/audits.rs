//! What models drew of the fixed prompts, kept beside the money.
//!
//! Why it exists: a baseline outlives the process, or a change behind a restart would be none. What it refuses to know:
//! how pictures are compared. It stands on [`Ledger::write`] and [`Ledger::rows`], so every ledger has it.

use std::sync::Arc;

use jiff::Timestamp;

use super::sql::{Misread, Row, Statement, Value};
use super::{Ledger, LedgerFault};

const KEEP: &str = "INSERT INTO audit (model, subject, baseline, latest, dissimilarity, seen_us) \
     VALUES (?1, ?2, ?3, ?3, ?4, ?5) ON CONFLICT (model, subject) DO UPDATE SET \
     latest = excluded.latest, dissimilarity = excluded.dissimilarity, seen_us = excluded.seen_us";

const ALL: &str = "SELECT model, subject, baseline, latest, dissimilarity, seen_us FROM audit ORDER BY model, subject";

/// A model's picture of one fixed prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// The model's id.
    pub model: Arc<str>,
    /// Which of the fixed prompts.
    pub subject: i64,
    /// SHA-256 of the first picture, in hex; it is stored as PNG.
    pub baseline: String,
    /// SHA-256 of the last picture, likewise.
    pub latest: String,
    /// How unlike they are, 0 to 1.
    pub dissimilarity: f64,
    /// When the last one was drawn.
    pub seen: Timestamp,
}

/// Every picture of every model.
pub async fn all(ledger: &dyn Ledger) -> Result<Vec<Audit>, LedgerFault> {
    let audit = |row: &Row| -> Result<Audit, Misread> {
        Ok(Audit {
            model: row.text(0)?.into(),
            subject: row.int(1)?,
            baseline: row.text(2)?.to_owned(),
            latest: row.text(3)?.to_owned(),
            dissimilarity: row.real(4)?,
            seen: Timestamp::from_microsecond(row.int(5)?).unwrap_or_default(),
        })
    };
    let rows = ledger.rows(ALL, Vec::new()).await?;
    Ok(rows.iter().map(audit).collect::<Result<_, _>>()?)
}

/// Keeps the last picture of a model's subject; the first one kept is its baseline. Durable on return.
pub async fn keep(ledger: &dyn Ledger, audit: &Audit) -> Result<(), LedgerFault> {
    let parameters: Vec<Value> = vec![
        (&*audit.model).into(),
        audit.subject.into(),
        audit.latest.as_str().into(),
        audit.dissimilarity.into(),
        audit.seen.as_microsecond().into(),
    ];
    ledger.write(vec![Statement::new(KEEP, parameters)]).await.map(drop)
}
