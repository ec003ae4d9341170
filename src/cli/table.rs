//! Tables without borders: aligned columns, one line a row.
//!
//! Why it exists: every table of the command line looks alike, and a row can be bold or dim as a whole. What it
//! refuses to know: what the columns mean.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::console::Style;

/// How a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table in the making.
#[derive(Debug)]
pub(crate) struct Sheet {
    table: Table,
    styles: Vec<Option<Style>>,
}

impl Sheet {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.iter().map(|(name, _)| *name));
        for (column, (_, align)) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, 2));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        Self { table, styles: vec![Some(Style::Dim)] }
    }

    /// Adds a row; the style holds for the whole of it.
    pub(crate) fn row(&mut self, cells: Vec<String>, style: Option<Style>) {
        // A line break inside a cell would tear its row in two.
        self.table.add_row(cells.into_iter().map(|cell| cell.replace(['\n', '\r'], " ")));
        self.styles.push(style);
    }

    /// The lines of the table.
    pub(crate) fn render(&self, styled: bool) -> String {
        let rows = self.table.lines().zip(&self.styles).map(|(line, style)| {
            let line = line.trim_end();
            style.map_or_else(|| line.to_owned(), |style| style.paint(line, styled))
        });
        rows.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_each_other_and_nothing_trails() {
        let mut sheet = Sheet::new(&[("model", Align::Left), ("usd", Align::Right)]);
        sheet.row(vec!["a/long-name".into(), "0.035".into()], None);
        sheet.row(vec!["b".into(), "12.00".into()], Some(Style::Bold));
        assert_eq!(sheet.render(false), "model          usd\na/long-name  0.035\nb            12.00");
        assert!(sheet.render(true).ends_with("\u{1b}[1mb            12.00\u{1b}[0m"));
    }
}
