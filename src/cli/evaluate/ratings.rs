//! The ratings: who accepted what.
//!
//! Why it exists: one table in the wide form becomes rows that the rest counts. What it refuses to know: prices.

use std::path::Path;

use super::super::exit::Failure;
use super::csv::{Cell, Table};
use super::names;
use crate::domain::quality::Reading;
use crate::domain::request::Prompt;

/// A table of ratings.
pub(super) struct Ratings {
    pub(super) file: String,
    pub(super) rows: Vec<Row>,
}

/// One prompt and what people said.
pub(super) struct Row {
    group: String,
    pub(super) prompt: Prompt,
    pub(super) reading: Reading,
    /// Acceptance, 0 to 1, for each model of the prices in their order; `None` where nobody judged.
    pub(super) accepts: Vec<Option<f64>>,
}

impl Row {
    /// Which of `folds` parts its group is dealt into: always the same, so that runs agree.
    pub(super) fn fold(&self, folds: u64) -> u64 {
        let hash = self
            .group
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        ((hash ^ (hash >> 29)) >> 7) % folds
    }
}

impl Ratings {
    /// Reads the columns of exactly these models.
    pub(super) fn read(path: &Path, models: &[String]) -> Result<Self, Failure> {
        let table = Table::read(path)?;
        let column = |model: &String| table.column(model).map(Some).ok_or_else(|| missing(&table, model));
        let columns = models.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        Self::of(&table, &columns)
    }

    /// Reads the columns of models that may be spelt otherwise, or be missing.
    pub(super) fn recognised(table: &Table, models: &[String]) -> Result<Self, Failure> {
        let like = |model: &String| table.header.iter().position(|cell| names::same(&cell.text, model));
        let columns: Vec<_> = models.iter().map(|model| table.column(model).or_else(|| like(model))).collect();
        Self::of(table, &columns)
    }

    fn of(table: &Table, columns: &[Option<usize>]) -> Result<Self, Failure> {
        let prompt = table.needed("prompt")?;
        let group = table.column("group").or_else(|| table.column("prompt_id")).unwrap_or(prompt);
        let row = |cells: &Vec<Cell>| row(table, cells, prompt, group, columns);
        let rows = table.rows.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        if rows.is_empty() {
            return Err(table.wrong(table.header.first(), "the table has a header and no rows"));
        }
        Ok(Self { file: table.file.clone(), rows })
    }
}

fn row(table: &Table, cells: &[Cell], prompt: usize, group: usize, columns: &[Option<usize>]) -> Result<Row, Failure> {
    let text = cells.get(prompt).map(|cell| cell.text.as_str()).unwrap_or_default();
    let wrong = || table.wrong(cells.get(prompt), "a prompt has 1 to 10,000 characters");
    let accepts = columns.iter().map(|at| at.and_then(|at| cells.get(at)).map_or(Ok(None), |cell| rating(table, cell)));
    Ok(Row {
        group: cells.get(group).map(|cell| cell.text.clone()).unwrap_or_default(),
        reading: Reading::of(text),
        prompt: Prompt::new(text).ok_or_else(wrong)?,
        accepts: accepts.collect::<Result<_, _>>()?,
    })
}

fn rating(table: &Table, cell: &Cell) -> Result<Option<f64>, Failure> {
    let text = cell.text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let number = text.parse().ok().filter(|number: &f64| (0.0..=1.0).contains(number));
    number.map(Some).ok_or_else(|| {
        table.wrong(Some(cell), &format!("`{text}` is no rating")).help("1 is accepted, 0 is not, empty is not judged")
    })
}

fn missing(table: &Table, model: &str) -> Failure {
    let near = table.header.iter().map(|cell| (strsim::jaro_winkler(&cell.text, model), &cell.text));
    let near = near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(alike, _)| *alike > 0.7);
    let failure =
        table.wrong(table.header.first(), &format!("there is no column for the model `{model}` of the prices"));
    match near {
        Some((_, name)) => failure.help(format!("did you mean `{name}`?")),
        None => failure.help("each model of the prices is a column of the ratings"),
    }
}
