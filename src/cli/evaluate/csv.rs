//! Tables as text: RFC 4180, with the place of every field.
//!
//! Why it exists: a wrong cell among fifty thousand must be found by its line and column. What it refuses to know: what
//! columns mean.

use std::path::Path;

use super::super::exit::Failure;

/// A cell with where it begins, from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A table: its header and its rows, each as long as the header.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) file: String,
    pub(super) header: Vec<Cell>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|why| Failure::usage(format!("{file} cannot be read: {why}")))?;
        let text = String::from_utf8(bytes)
            .map_err(|why| Failure::usage(format!("{file} is not UTF-8 at byte {}", why.utf8_error().valid_up_to())))?;
        Self::parse(file, text.strip_prefix('\u{feff}').unwrap_or(&text))
    }

    /// Reads a text under a name.
    pub(super) fn parse(file: String, text: &str) -> Result<Self, Failure> {
        let mut records = Reader::new(&file, text).records()?.into_iter();
        let Some(header) = records.next() else {
            return Err(
                Failure::usage(format!("{file}:1:1: the table is empty")).help("the first line names the columns")
            );
        };
        let rows: Vec<Vec<Cell>> = records.collect();
        let table = Self { file, header, rows };
        for row in &table.rows {
            if row.len() != table.header.len() {
                let fields = format!("{} fields under {} columns", row.len(), table.header.len());
                return Err(table
                    .wrong(row.first(), &fields)
                    .help("a field that holds a comma stands in double quotes"));
            }
        }
        for (at, cell) in table.header.iter().enumerate() {
            if table.header.iter().take(at).any(|before| before.text == cell.text) {
                return Err(table.wrong(Some(cell), &format!("there are two columns `{}`", cell.text)));
            }
        }
        Ok(table)
    }

    /// The place of a column, if there is one of that name.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|cell| cell.text == name)
    }

    /// The place of a column that must be there.
    pub(super) fn needed(&self, name: &str) -> Result<usize, Failure> {
        self.column(name).ok_or_else(|| {
            let names: Vec<&str> = self.header.iter().map(|cell| cell.text.as_str()).take(12).collect();
            self.wrong(self.header.first(), &format!("there is no column `{name}`"))
                .help(format!("the columns are {}", names.join(", ")))
        })
    }

    /// An error with its place.
    pub(super) fn wrong(&self, cell: Option<&Cell>, what: &str) -> Failure {
        let (line, column) = cell.map_or((1, 1), |cell| (cell.line, cell.column));
        Failure::usage(format!("{}:{line}:{column}: {what}", self.file))
    }
}

/// Walks a text once.
struct Reader<'a> {
    file: &'a str,
    letters: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
}

/// What ended a cell.
#[derive(PartialEq, Eq)]
enum End {
    Comma,
    Line,
    Text,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, letters: text.chars().peekable(), line: 1, column: 1 }
    }

    fn records(mut self) -> Result<Vec<Vec<Cell>>, Failure> {
        let mut records = Vec::new();
        let mut record = Vec::new();
        loop {
            let (cell, end) = self.cell()?;
            record.push(cell);
            if end == End::Comma {
                continue;
            }
            // An empty line is no record.
            let blank = record.len() == 1 && record.first().is_some_and(|cell: &Cell| cell.text.is_empty());
            let whole = std::mem::take(&mut record);
            if !blank {
                records.push(whole);
            }
            if end == End::Text {
                return Ok(records);
            }
        }
    }

    fn cell(&mut self) -> Result<(Cell, End), Failure> {
        let mut cell = Cell { text: String::new(), line: self.line, column: self.column };
        if self.letters.peek() == Some(&'"') {
            self.next();
            self.quoted(&mut cell)?;
        }
        loop {
            match self.next() {
                None => return Ok((cell, End::Text)),
                Some(',') => return Ok((cell, End::Comma)),
                Some('\n') => return Ok((cell, End::Line)),
                Some('\r') if self.letters.peek() == Some(&'\n') => {}
                Some(letter) => cell.text.push(letter),
            }
        }
    }

    fn quoted(&mut self, cell: &mut Cell) -> Result<(), Failure> {
        loop {
            match self.next() {
                None => {
                    let place = format!("{}:{}:{}", self.file, cell.line, cell.column);
                    return Err(Failure::usage(format!("{place}: this quotation mark is never closed")));
                }
                Some('"') if self.letters.peek() == Some(&'"') => {
                    self.next();
                    cell.text.push('"');
                }
                Some('"') => return Ok(()),
                Some(letter) => cell.text.push(letter),
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.letters.next()?;
        (self.line, self.column) = if letter == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        Some(letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(row: &[Cell]) -> Vec<&str> {
        row.iter().map(|cell| cell.text.as_str()).collect()
    }

    #[test]
    fn quotes_hold_commas_and_lines() {
        let text = "a,b\r\n\"x, \"\"y\"\"\nz\",1\n\n2,\n";
        let table = Table::parse("t.csv".into(), text).unwrap();
        assert_eq!(texts(&table.header), ["a", "b"]);
        assert_eq!(table.rows.iter().map(|row| texts(row)).collect::<Vec<_>>(), [["x, \"y\"\nz", "1"], ["2", ""]]);
        assert_eq!((table.rows[1][1].line, table.rows[1][1].column), (5, 3));
    }

    #[test]
    fn what_is_wrong_says_where() {
        let wrong = |text| Table::parse("t.csv".into(), text).unwrap_err().what().to_owned();
        assert_eq!(wrong(""), "t.csv:1:1: the table is empty");
        assert_eq!(wrong("a,b\n1,2\n1,2,3\n"), "t.csv:3:1: 3 fields under 2 columns");
        assert_eq!(wrong("a,b\n1,\"2\n"), "t.csv:2:3: this quotation mark is never closed");
        assert_eq!(wrong("a,b,a\n"), "t.csv:1:5: there are two columns `a`");
    }
}
