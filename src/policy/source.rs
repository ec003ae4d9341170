//! A policy file's text, with the way from byte offsets to lines and columns.
//!
//! Why it exists: every diagnostic and every reason in EXPLAIN names a place, and all of them count alike. What it
//! refuses to know: TOML, and where the text came from.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::domain::catalog::Place;

/// A byte range of a [`Source`].
pub type Span = Range<usize>;

/// One file of a policy.
pub struct Source {
    name: Arc<str>,
    text: String,
    line_starts: Vec<usize>,
}

impl Source {
    /// A file of that name and text.
    pub fn new(name: &str, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        let breaks = text.bytes().zip(1..).filter_map(|(byte, next)| (byte == b'\n').then_some(next));
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Arc::new(Self { name: name.into(), text, line_starts })
    }

    /// The file, as given on the command line or relative to the policy folder.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of a span; empty where the span lies outside.
    pub fn slice(&self, span: &Span) -> &str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// Line and column of an offset, both from 1, columns in characters.
    pub fn line_column(&self, offset: usize) -> (u32, u32) {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1))
    }

    /// The place of an offset.
    pub fn place(&self, offset: usize) -> Place {
        let (line, column) = self.line_column(offset);
        Place { file: Arc::clone(&self.name), line, column }
    }

    /// The same file with every character of `span` hidden, so that a diagnostic can point at a secret without
    /// repeating it.
    pub(super) fn masked(&self, span: &Span) -> Arc<Self> {
        let mut text = self.text.clone();
        let stars = "*".repeat(self.slice(span).len());
        if text.get(span.clone()).is_some() {
            text.replace_range(span.clone(), &stars);
        }
        Self::new(&self.name, text)
    }
}

/// Shows the name only.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.name).finish()
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.text == other.text
    }
}

impl Eq for Source {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Source::new("a.toml", "x = 1\né = \"ü\" # z\n");
        let hash = source.text().find('#').unwrap();
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(6), (2, 1));
        assert_eq!(source.line_column(hash), (2, 9));
        assert_eq!(source.place(hash).to_string(), "a.toml:2");
    }

    #[test]
    fn a_masked_secret_keeps_its_place_and_loses_its_text() {
        let source = Source::new("a.toml", "key = \"sk-é\"\nnext = 1\n");
        let masked = source.masked(&(7..12));
        assert!(!masked.text().contains("sk-"));
        assert_eq!(masked.line_column(14), source.line_column(14));
    }
}
