//! Rust read as text: a file's code without comments, literals and tests, and what stands in it.
//!
//! Why it exists: the rules of the house are about names and sizes, which a scanner sees without a compiler. What it
//! refuses to know: the rules. To add a fact about files: a method of [`Source`].

use std::collections::BTreeSet;
use std::fs;
use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One file of the house.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path below the package, with slashes.
    pub(crate) path: String,
    /// The file as it is.
    pub(crate) text: String,
    /// As long as the text, with comments, the insides of literals, and tests blanked.
    pub(crate) code: String,
    /// String literals outside tests: where they begin, and what they say.
    pub(crate) literals: Vec<(usize, String)>,
    /// Where tests stand.
    tests: Vec<Range<usize>>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`.
    pub(crate) line: usize,
    /// Lines between its braces.
    pub(crate) lines: usize,
}

impl Source {
    /// Reads a file's text.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (mut code, mut literals) = strip(text);
        let tests = test_items(&code);
        for test in &tests {
            let blank: String = code[test.clone()].chars().flat_map(blank).collect();
            code.replace_range(test.clone(), &blank);
        }
        literals.retain(|(at, _)| !tests.iter().any(|test| test.contains(at)));
        Self { path: path.to_owned(), text: text.to_owned(), code, literals, tests }
    }

    /// Every file below `src` that is not a test.
    pub(crate) fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read: Vec<Self> = files(&root.join("src"))
            .iter()
            .map(|file| {
                let text = fs::read_to_string(file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
                let path = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
                Self::new(&path, &text)
            })
            .collect();
        let tests: BTreeSet<String> = read.iter().flat_map(Self::test_modules).collect();
        let is_test =
            |path: &str| tests.iter().any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")));
        read.into_iter().filter(|source| !is_test(&source.path)).collect()
    }

    /// The room: the folder below `src`, or the name of a file that stands there alone.
    pub(crate) fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split('/').next().map_or(below, |first| first.strip_suffix(".rs").unwrap_or(first))
    }

    /// How many modules deep the file stands: 0 for the crate's root.
    pub(crate) fn depth(&self) -> usize {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let last = below.rsplit('/').next().unwrap_or(below);
        below.matches('/').count() + usize::from(!matches!(last, "mod.rs" | "lib.rs" | "main.rs"))
    }

    /// The line of a place in the text, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        line(&self.text, at)
    }

    /// Lines without those of tests.
    pub(crate) fn lines(&self) -> usize {
        let tests: usize = self.tests.iter().map(|test| self.text[test.clone()].matches('\n').count() + 1).sum();
        self.text.lines().count() - tests
    }

    /// Every function with a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let words: Vec<Range<usize>> = words(&self.code).collect();
        let follows = words.iter().skip(1).map(Some).chain(iter::once(None));
        let named = words.iter().zip(follows).filter_map(|(word, next)| {
            let next = next.filter(|next| self.code[word.end..next.start].trim().is_empty())?;
            (&self.code[word.clone()] == "fn").then(|| (word.start, next.clone()))
        });
        let function = |(at, name): (usize, Range<usize>)| {
            let body = body(&self.code, name.end)?;
            let lines = self.line(body.end - 1).saturating_sub(self.line(body.start) + 1);
            Some(Function { name: self.code[name].to_owned(), line: self.line(at), lines })
        };
        named.filter_map(function).collect()
    }

    /// Paths, without `.rs`, of the files whose `mod` stands behind `#[cfg(test)]`.
    fn test_modules(&self) -> Vec<String> {
        let folder = match self.path.strip_suffix(".rs") {
            Some(path) if self.depth() > 0 && !path.ends_with("/mod") => path,
            _ => self.path.rsplit_once('/').map_or("", |(folder, _)| folder),
        };
        let name = |test: &Range<usize>| {
            let item = strip(&self.text[test.clone()]).0;
            let name = item.strip_suffix(';')?.rsplit(' ').next()?.to_owned();
            item.contains("mod ").then(|| format!("{folder}/{name}"))
        };
        self.tests.iter().filter_map(name).collect()
    }
}

/// The line of a place in a text, from 1.
pub(crate) fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Names, keywords and numbers of a code, by place.
pub(crate) fn words(code: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    iter::from_fn(move || {
        let start = at + code[at..].find(is_word)?;
        at = code[start..].find(|c| !is_word(c)).map_or(code.len(), |length| start + length);
        Some(start..at)
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder can be listed").path()).collect();
    paths.sort();
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    paths.into_iter().flat_map(below).filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

/// The text with comments and the insides of literals blanked, and its string literals by place.
fn strip(text: &str) -> (String, Vec<(usize, String)>) {
    let mut code = String::with_capacity(text.len());
    let mut literals = Vec::new();
    while let Some(next) = text[code.len()..].chars().next() {
        let at = code.len();
        let rest = &text[at..];
        if let Some(length) = comment(rest) {
            code.extend(rest[..length].chars().flat_map(blank));
        } else if let Some((opening, length, closing)) = literal(rest) {
            let inside = opening..length - closing;
            if rest[..opening].ends_with('"') {
                literals.push((at, rest[inside.clone()].to_owned()));
            }
            code.push_str(&rest[..opening]);
            code.extend(rest[inside].chars().flat_map(blank));
            code.push_str(&rest[length - closing..length]);
        } else {
            let length = if is_word(next) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { next.len_utf8() };
            code.push_str(&rest[..length]);
        }
    }
    (code, literals)
}

/// The length of the comment that begins here, without its line's end.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    rest.strip_prefix("/*")?;
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match rest[at..].find(['/', '*']) {
            Some(skip) => at += skip,
            None => return Some(rest.len()),
        }
        let step = &rest[at..];
        match (step.starts_with("/*"), step.starts_with("*/")) {
            (true, _) => (depth, at) = (depth + 1, at + 2),
            (_, true) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Of the literal that begins here: the lengths of its opening, of all of it, and of its closing.
fn literal(rest: &str) -> Option<(usize, usize, usize)> {
    let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (prefix, quoted) = rest.split_at(word);
    if matches!(prefix, "r" | "br" | "cr") {
        let hashes = quoted.find(|c| c != '#').unwrap_or(quoted.len());
        let opening = word + hashes + 1;
        quoted[hashes..].strip_prefix('"')?;
        let closing = format!("\"{}", "#".repeat(hashes));
        let inside = rest[opening..].find(&closing).unwrap_or(rest.len() - opening - closing.len());
        return Some((opening, opening + inside + closing.len(), closing.len()));
    }
    match quoted.chars().next()? {
        '"' if matches!(prefix, "" | "b" | "c") => Some((word + 1, word + 1 + quoted_length(&quoted[1..], '"')?, 1)),
        '\'' if matches!(prefix, "" | "b") => {
            let mut inside = quoted[1..].chars();
            let (first, second) = (inside.next()?, inside.next()?);
            // Anything else is a lifetime.
            (first == '\\' || second == '\'').then_some(())?;
            Some((word + 1, word + 1 + quoted_length(&quoted[1..], '\'')?, 1))
        }
        _ => None,
    }
}

/// The length up to and with the closing quote.
fn quoted_length(inside: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let end = inside.char_indices().find(|&(_, c)| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    end.map(|(at, _)| at + 1)
}

/// What is behind `#[cfg(test)]`: from the attribute to the item's end.
fn test_items(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut items: Vec<Range<usize>> = Vec::new();
    for (at, _) in code.match_indices(MARK) {
        let inside = items.last().is_some_and(|item| item.contains(&at));
        if let Some(end) = item_end(code, at + MARK.len()).filter(|_| !inside) {
            items.push(at..end);
        }
    }
    items
}

/// Where the item ends that begins here: behind its body's brace, or its semicolon.
fn item_end(code: &str, from: usize) -> Option<usize> {
    item(code, from).map(|(_, end)| end)
}

/// The body of the item that begins here, braces included; `None` when it has none.
fn body(code: &str, from: usize) -> Option<Range<usize>> {
    item(code, from).and_then(|(body, end)| Some(body?..end))
}

/// Of the item that begins here: its body's opening brace, and its end.
fn item(code: &str, from: usize) -> Option<(Option<usize>, usize)> {
    let mut depth = 0_usize;
    let mut body = None;
    for (at, c) in code[from..].char_indices() {
        match c {
            '{' if depth == 0 => (depth, body) = (1, Some(from + at)),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 && matches!(c, ';' | '}') {
            return Some((body, from + at + 1));
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// As many bytes of blank, so that every place stays where it was.
fn blank(c: char) -> impl Iterator<Item = char> {
    iter::repeat_n(if c == '\n' { c } else { ' ' }, c.len_utf8())
}
