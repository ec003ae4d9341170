//! Pictures, newest first, with what people said of them.
//!
//! Why it exists: a wall of ten thousand pictures is read a window at a time, by place and not by page, so that a
//! scrollbar can jump. A generation's pictures stand together, in their order. What it refuses to know: pixels.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Owner, count, instant, metadata, money, owner};
use crate::domain::money::Money;
use crate::state::sql::{Row, Value};
use crate::state::{Ledger, LedgerFault};

/// Which pictures; an empty word excludes nothing.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Whose.
    pub owner: Owner,
    /// Of this task.
    pub task: String,
    /// Made by this model.
    pub model: String,
    /// With this `project` in their metadata.
    pub project: String,
    /// Of this prompt, by its SHA-256.
    pub prompt: String,
    /// In this state.
    pub stage: Stage,
}

/// What people have said of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Anything or nothing.
    #[default]
    Any,
    /// Nothing yet.
    Open,
    /// The newest verdict is a yes.
    Accepted,
    /// The newest verdict is a no.
    Rejected,
}

impl Stage {
    /// The stage of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "" | "any" => Self::Any,
            "open" => Self::Open,
            "accepted" => Self::Accepted,
            "rejected" => Self::Rejected,
            _ => return None,
        })
    }

    const fn number(self) -> i64 {
        match self {
            Self::Any => 0,
            Self::Open => 1,
            Self::Accepted => 2,
            Self::Rejected => 3,
        }
    }

    fn has(self, newest: Option<&Verdict>) -> bool {
        match self {
            Self::Any => true,
            Self::Open => newest.is_none(),
            Self::Accepted => newest.is_some_and(|verdict| verdict.accepted),
            Self::Rejected => newest.is_some_and(|verdict| !verdict.accepted),
        }
    }
}

/// A window of the wall.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Pictures in all, as far back as the wall goes.
    pub total: u64,
    /// The place of the first of `shots`; places are counted from 0 at the newest.
    pub first: u64,
    /// The pictures, newest first.
    pub shots: Vec<Shot>,
    /// Their generations, by id.
    pub generations: BTreeMap<String, Generation>,
}

/// One picture.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Its generation.
    pub generation: String,
    /// Its number there, from 0.
    pub image: u32,
    /// `ab…cd.png`.
    pub file: String,
    /// What was last said of it.
    pub newest: Option<Verdict>,
}

/// What a generation's pictures have in common.
#[derive(Clone, Debug)]
pub struct Generation {
    /// When it began.
    pub created: Timestamp,
    /// Who asked.
    pub key: String,
    /// What for.
    pub task: String,
    /// The model that made it.
    pub model: String,
    /// The steps, in a word each.
    pub plan: String,
    /// The beginning of its prompt; `None` when prompts are not kept.
    pub prompt: Option<String>,
    /// SHA-256 of the prompt.
    pub prompt_sha256: String,
    /// The caller's.
    pub metadata: BTreeMap<String, String>,
    /// Pictures made.
    pub images: u64,
    /// Charged for all of them.
    pub cost: Money,
}

/// One person's word on a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The generation.
    pub generation: String,
    /// The picture's number in it, from 0.
    pub image: u32,
    /// Who said it.
    pub rater: String,
    /// Yes or no.
    pub accepted: bool,
    /// Why; may be empty.
    pub reason: String,
    /// When.
    pub given: Timestamp,
}

/// How many generations the wall goes back; filters look as far as they must to find as many.
const REACH: i64 = 20_000;
/// Characters of a prompt that a window shows.
pub const PROMPT_HEAD: usize = 240;

/// The newest word on each picture; two of one moment are told apart by their raters' names.
const WINDOW: &str = "WITH newest AS (
  SELECT v.generation, v.accepted FROM verdict v WHERE NOT EXISTS (
    SELECT 1 FROM verdict w WHERE w.generation = v.generation AND w.image = v.image
      AND (w.given_us > v.given_us OR (w.given_us = v.given_us AND w.rater > v.rater)))
), judged AS (
  SELECT generation, COUNT(*) AS seen, CAST(SUM(accepted) AS BIGINT) AS yes FROM newest GROUP BY generation
), recent AS (
  SELECT id, created_us, image_count FROM generation
  WHERE image_count > 0 AND (?1 = '' OR key = ?1) AND (?2 = '' OR task = ?2) AND (?3 = '' OR made_by = ?3)
    AND (?4 = '' OR instr(metadata, ?4) > 0) AND (?5 = '' OR prompt_sha256 = ?5)
  ORDER BY created_us DESC, id DESC LIMIT ?6
), shown AS (
  SELECT r.id, r.created_us, CASE CAST(?7 AS BIGINT) WHEN 1 THEN r.image_count - COALESCE(j.seen, 0) WHEN 2 THEN COALESCE(j.yes, 0)
    WHEN 3 THEN COALESCE(j.seen - j.yes, 0) ELSE r.image_count END AS images
  FROM recent r LEFT JOIN judged j ON j.generation = r.id
), placed AS (
  SELECT id, images, CAST(SUM(images) OVER (ORDER BY created_us DESC, id DESC) AS BIGINT) AS upto,
    CAST(SUM(images) OVER () AS BIGINT) AS total
  FROM shown WHERE images > 0
)
SELECT p.upto - p.images, p.total, g.id, g.created_us, g.key, g.task, g.made_by, g.plan, substr(g.prompt, 1, 240),
  g.prompt_sha256, g.metadata, g.images,
  COALESCE((SELECT CAST(SUM(a.charged) AS BIGINT) FROM attempt a WHERE a.generation = g.id AND a.state = 'settled'), 0)
FROM placed p JOIN generation g ON g.id = p.id
WHERE p.upto > ?8 AND p.upto - p.images < ?9
ORDER BY p.upto";

const VERDICTS: &str = "SELECT generation, image, rater, accepted, reason, given_us FROM verdict
WHERE generation >= ?1 AND generation <= ?2 ORDER BY given_us, rater";

/// The pictures from place `first` on, about `most` of them: a generation's pictures are not torn apart.
pub async fn window(ledger: &dyn Ledger, wanted: &Wanted, first: u64, most: u64) -> Result<Window, LedgerFault> {
    let place = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let parameters = vec![
        owner(&wanted.owner),
        wanted.task.as_str().into(),
        wanted.model.as_str().into(),
        pair("project", &wanted.project).into(),
        wanted.prompt.as_str().into(),
        REACH.into(),
        wanted.stage.number().into(),
        place(first),
        place(first.saturating_add(most)),
    ];
    let rows = ledger.rows(WINDOW, parameters).await?;
    let ids = || rows.iter().map(|row| row.text(2)).collect::<Result<Vec<_>, _>>();
    let said = match (ids()?.iter().min(), ids()?.iter().max()) {
        (Some(&first), Some(&last)) => verdicts(ledger, first, last).await?,
        _ => Vec::new(),
    };
    let newest: BTreeMap<(&str, u32), &Verdict> =
        said.iter().map(|verdict| ((verdict.generation.as_str(), verdict.image), verdict)).collect();
    let mut window = Window::default();
    for row in &rows {
        if window.generations.is_empty() {
            (window.first, window.total) = (count(row.int(0)?), count(row.int(1)?));
        }
        let id = row.text(2)?;
        let files: Vec<String> = serde_json::from_str(row.text(11)?).unwrap_or_default();
        for (image, file) in (0_u32..).zip(&files) {
            let newest = newest.get(&(id, image)).copied();
            if wanted.stage.has(newest) {
                let (generation, file) = (id.to_owned(), file.clone());
                window.shots.push(Shot { generation, image, file, newest: newest.cloned() });
            }
        }
        window.generations.insert(id.to_owned(), generation(row, files.len() as u64)?);
    }
    Ok(window)
}

/// Every word on one generation's pictures, the oldest first.
pub async fn verdicts_of(ledger: &dyn Ledger, generation: &str) -> Result<Vec<Verdict>, LedgerFault> {
    verdicts(ledger, generation, generation).await
}

async fn verdicts(ledger: &dyn Ledger, first: &str, last: &str) -> Result<Vec<Verdict>, LedgerFault> {
    let rows = ledger.rows(VERDICTS, vec![first.into(), last.into()]).await?;
    let verdict = |row: &Row| {
        Ok(Verdict {
            generation: row.text(0)?.to_owned(),
            image: u32::try_from(row.int(1)?).unwrap_or(u32::MAX),
            rater: row.text(2)?.to_owned(),
            accepted: row.int(3)? != 0,
            reason: row.maybe_text(4)?.unwrap_or_default().to_owned(),
            given: instant(row.int(5)?)?,
        })
    };
    rows.iter().map(verdict).collect()
}

fn generation(row: &Row, images: u64) -> Result<Generation, LedgerFault> {
    Ok(Generation {
        created: instant(row.int(3)?)?,
        key: row.text(4)?.to_owned(),
        task: row.text(5)?.to_owned(),
        model: row.maybe_text(6)?.unwrap_or_default().to_owned(),
        plan: row.text(7)?.to_owned(),
        prompt: row.maybe_text(8)?.map(str::to_owned),
        prompt_sha256: row.text(9)?.to_owned(),
        metadata: metadata(row.text(10)?),
        images,
        cost: money(row.int(12)?),
    })
}

/// A pair as it stands in the metadata's JSON: quotes inside either are escaped there, so nothing else looks like it.
fn pair(name: &str, value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    format!("{}:{}", quoted(name), quoted(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_found_as_json_writes_it() {
        let kept = serde_json::to_string(&BTreeMap::from([("a", "\"project\":\"x\""), ("project", "say \"hi\"")]));
        let kept = kept.unwrap();
        assert!(kept.contains(&pair("project", "say \"hi\"")));
        assert!(!kept.contains(&pair("project", "x")), "another value that looks like it: {kept}");
        assert_eq!(pair("project", ""), "");
    }
}
