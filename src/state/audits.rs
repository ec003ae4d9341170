//! What models drew of the fixed prompts, kept beside the money.
//!
//! Why it exists: a baseline outlives the process, or a change behind a restart would be none. What it refuses to know:
//! how pictures are compared. It stands on [`Ledger::write`] and [`Ledger::rows`], so every ledger has it.

use std::sync::Arc;

use jiff::Timestamp;

use super::sql::{Misread, Row, Statement, Value};
use super::{Ledger, LedgerFault};
use crate::domain::verify::likeness::is_another;

const KEEP: &str = "INSERT INTO audit (model, subject, baseline, latest, dissimilarity, seen_us, hash_bits, heat, since_us) \
     VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?5) ON CONFLICT (model, subject) DO UPDATE SET \
     latest = excluded.latest, dissimilarity = excluded.dissimilarity, seen_us = excluded.seen_us, \
     hash_bits = excluded.hash_bits, heat = excluded.heat";

const ALL: &str = "SELECT model, subject, baseline, latest, dissimilarity, seen_us, hash_bits, heat, since_us \
     FROM audit ORDER BY model, subject";

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
    /// Bits of 64 in which their hashes differ.
    pub hash_bits: u32,
    /// SHA-256 of the picture of where they differ, in hex; it is stored as WebP. `None` until they were compared.
    pub heat: Option<String>,
    /// When the baseline was drawn; `None` when nobody wrote it down.
    pub since: Option<Timestamp>,
    /// When the last one was drawn.
    pub seen: Timestamp,
}

impl Audit {
    /// Whether the last picture is another one than the first.
    pub fn is_another(&self) -> bool {
        is_another(self.dissimilarity, self.hash_bits)
    }
}

/// Every picture of every model.
pub async fn all(ledger: &dyn Ledger) -> Result<Vec<Audit>, LedgerFault> {
    let instant = |micros: i64| Timestamp::from_microsecond(micros).unwrap_or_default();
    let audit = |row: &Row| -> Result<Audit, Misread> {
        Ok(Audit {
            model: row.text(0)?.into(),
            subject: row.int(1)?,
            baseline: row.text(2)?.to_owned(),
            latest: row.text(3)?.to_owned(),
            dissimilarity: row.real(4)?,
            hash_bits: u32::try_from(row.int(6)?).unwrap_or_default(),
            heat: row.maybe_text(7)?.map(str::to_owned),
            since: row.maybe_int(8)?.map(instant),
            seen: instant(row.int(5)?),
        })
    };
    let rows = ledger.rows(ALL, Vec::new()).await?;
    Ok(rows.iter().map(audit).collect::<Result<_, _>>()?)
}

/// Keeps the last picture of a model's subject; the first one kept is its baseline, with its time. Durable on return.
pub async fn keep(ledger: &dyn Ledger, audit: &Audit) -> Result<(), LedgerFault> {
    let parameters: Vec<Value> = vec![
        (&*audit.model).into(),
        audit.subject.into(),
        audit.latest.as_str().into(),
        audit.dissimilarity.into(),
        audit.seen.as_microsecond().into(),
        i64::from(audit.hash_bits).into(),
        audit.heat.as_deref().into(),
    ];
    ledger.write(vec![Statement::new(KEEP, parameters)]).await.map(drop)
}
