//! Money and verdicts by time, task, model and project.
//!
//! Why it exists: one reading of the books feeds every table and chart of spend, so that they agree with each other and
//! with `ledger spend`. A model's money is that of its calls, its pictures are those that it made. What it refuses to
//! know: what a dollar should have bought.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Owner, count, instant, metadata, money, owner};
use crate::domain::money::Money;
use crate::state::sql::Row;
use crate::state::{Ledger, LedgerFault};

/// What was bought in one slot of time for one task and project with one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    /// The slot's beginning.
    pub at: Timestamp,
    /// What for.
    pub task: String,
    /// The model that was called or that made the pictures.
    pub model: String,
    /// `project` of the metadata; empty when it has none.
    pub project: String,
    /// Charged.
    pub settled: Money,
    /// In doubt.
    pub ambiguous: Money,
    /// Generations that this model ended.
    pub generations: u64,
    /// Pictures that it made.
    pub images: u64,
    /// Of them, those that the planner expected to be accepted.
    pub expected: f64,
    /// Pictures that somebody judged.
    pub judged: u64,
    /// Of them, those whose newest verdict is a yes.
    pub accepted: u64,
}

/// A sum's place: slot, task, model, project.
type Cell = (i64, String, String, String);

const MADE: &str = "WITH newest AS (
  SELECT v.generation, v.accepted FROM verdict v WHERE NOT EXISTS (
    SELECT 1 FROM verdict w WHERE w.generation = v.generation AND w.image = v.image
      AND (w.given_us > v.given_us OR (w.given_us = v.given_us AND w.rater > v.rater)))
), judged AS (
  SELECT generation, COUNT(*) AS seen, CAST(SUM(accepted) AS BIGINT) AS yes FROM newest GROUP BY generation
)
SELECT g.created_us / ?3 AS slot, g.task, COALESCE(g.made_by, g.model) AS maker, g.metadata, COUNT(*),
  CAST(SUM(g.image_count) AS BIGINT), SUM(g.expected_accept * g.image_count),
  CAST(COALESCE(SUM(j.seen), 0) AS BIGINT), CAST(COALESCE(SUM(j.yes), 0) AS BIGINT)
FROM generation g LEFT JOIN judged j ON j.generation = g.id
WHERE g.created_us >= ?2 AND (?1 = '' OR g.key = ?1) GROUP BY 1, 2, 3, 4";

const PAID: &str = "SELECT g.created_us / ?3 AS slot, g.task, a.model, g.metadata,
  CAST(SUM(CASE a.state WHEN 'settled' THEN a.charged ELSE 0 END) AS BIGINT),
  CAST(SUM(CASE a.state WHEN 'ambiguous' THEN a.held ELSE 0 END) AS BIGINT)
FROM generation g JOIN attempt a ON a.generation = g.id
WHERE g.created_us >= ?2 AND (?1 = '' OR g.key = ?1) GROUP BY 1, 2, 3, 4";

/// Everything since then, in slots of `slot_us` microseconds.
pub async fn since(
    ledger: &dyn Ledger,
    whose: &Owner,
    since: Timestamp,
    slot_us: i64,
) -> Result<Vec<Sum>, LedgerFault> {
    let slot_us = slot_us.max(1);
    let parameters = || vec![owner(whose), since.as_microsecond().into(), slot_us.into()];
    let mut sums: BTreeMap<Cell, Sum> = BTreeMap::new();
    for row in ledger.rows(MADE, parameters()).await? {
        let sum = sums.entry(cell(&row)?).or_default();
        sum.generations += count(row.int(4)?);
        sum.images += count(row.int(5)?);
        sum.expected += row.real(6)?;
        sum.judged += count(row.int(7)?);
        sum.accepted += count(row.int(8)?);
    }
    for row in ledger.rows(PAID, parameters()).await? {
        let sum = sums.entry(cell(&row)?).or_default();
        sum.settled += money(row.int(4)?);
        sum.ambiguous += money(row.int(5)?);
    }
    let named = |((slot, task, model, project), sum): (Cell, Sum)| {
        Ok(Sum { at: instant(slot.saturating_mul(slot_us))?, task, model, project, ..sum })
    };
    sums.into_iter().map(named).collect()
}

fn cell(row: &Row) -> Result<Cell, LedgerFault> {
    let project = metadata(row.text(3)?).remove("project").unwrap_or_default();
    Ok((row.int(0)?, row.text(1)?.to_owned(), row.text(2)?.to_owned(), project))
}

const ASKED: &str = "SELECT key, metadata, answer, image_count FROM generation
WHERE task = ?2 AND (?1 = '' OR key = ?1) AND image_count > 0 ORDER BY created_us DESC, id DESC LIMIT ?3";

/// A request that was served, as far as the books remember it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Who asked.
    pub key: String,
    /// The caller's.
    pub metadata: BTreeMap<String, String>,
    /// The first picture's width and height; `None` when the answer was not kept.
    pub size: Option<(u32, u32)>,
    /// Pictures made.
    pub images: u64,
}

/// The newest requests of a task that were served, at most `most`.
pub async fn asked(ledger: &dyn Ledger, whose: &Owner, task: &str, most: u32) -> Result<Vec<Asked>, LedgerFault> {
    let rows = ledger.rows(ASKED, vec![owner(whose), task.into(), i64::from(most).into()]).await?;
    let asked = |row: &Row| {
        Ok(Asked {
            key: row.text(0)?.to_owned(),
            metadata: metadata(row.text(1)?),
            size: row.maybe_text(2)?.and_then(size),
            images: count(row.int(3)?),
        })
    };
    rows.iter().map(asked).collect()
}

/// The first picture's sides in a kept answer.
fn size(answer: &str) -> Option<(u32, u32)> {
    let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
    let first = answer.get("images")?.get(0)?;
    let side = |name: &str| first.get(name)?.as_u64().and_then(|side| u32::try_from(side).ok());
    Some((side("width")?, side("height")?))
}
