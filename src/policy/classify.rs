//! Which task a prompt is for, when the request does not say.
//!
//! Why it exists: acceptance differs by task far more than by model, and most callers name none. One walk over the
//! prompt's words, no regular expressions: a prompt of 10,000 characters costs microseconds. What it refuses to know:
//! which words are signs of what; the policy lists them. Source of the quoted-span rule: routing notes 4.1.

use std::collections::HashMap;

use crate::domain::catalog::{Task, TaskIx};

/// The longest quoted span that is a sign, in characters.
const MAX_QUOTED: usize = 80;

/// Words beside which a single-quoted span is text to be drawn; elsewhere `'` is mostly an apostrophe.
const TEXT_WORDS: [&str; 30] = [
    "banner",
    "caption",
    "captioned",
    "engraved",
    "headline",
    "label",
    "labeled",
    "labelled",
    "letter",
    "lettering",
    "letters",
    "logo",
    "phrase",
    "poster",
    "read",
    "reading",
    "reads",
    "say",
    "saying",
    "says",
    "sign",
    "slogan",
    "spelling",
    "spells",
    "text",
    "title",
    "titled",
    "word",
    "words",
    "written",
];

/// What follows a phrase's first word.
#[derive(Debug)]
struct Tail {
    rest: Vec<Box<str>>,
    task: u16,
}

/// The signs of every task, by their first word.
#[derive(Debug, Default)]
pub(super) struct Classifier {
    words: HashMap<Box<str>, u16>,
    phrases: HashMap<Box<str>, Vec<Tail>>,
    quoted: Option<u16>,
    default: TaskIx,
}

impl Classifier {
    /// Of the tasks in the order in which they claim.
    pub(super) fn new(tasks: &[Task], default: TaskIx) -> Self {
        let mut classifier = Self { default, ..Self::default() };
        for (ix, task) in (0u16..).zip(tasks) {
            for word in &task.claims.words {
                classifier.words.entry(word.clone()).or_insert(ix);
            }
            for phrase in &task.claims.phrases {
                let mut words = phrase.split(' ').map(Box::from);
                if let Some(first) = words.next() {
                    let tail = Tail { rest: words.collect(), task: ix };
                    classifier.phrases.entry(first).or_default().push(tail);
                }
            }
            if task.claims.quoted_text {
                classifier.quoted.get_or_insert(ix);
            }
        }
        classifier
    }

    pub(super) fn classify(&self, prompt: &str) -> TaskIx {
        let mut found = self.quoted.filter(|_| quotes_text(prompt));
        let lower = prompt.to_lowercase();
        let mut rest = lower.as_str();
        while let Some((word, after)) = next_word(rest) {
            let one = self.words.get(word).copied();
            let tails = self.phrases.get(word).into_iter().flatten();
            let more = tails.filter(|tail| follows(&tail.rest, after)).map(|tail| tail.task).min();
            found = found.into_iter().chain(one).chain(more).min();
            if found == Some(0) {
                break;
            }
            rest = after;
        }
        found.map_or(self.default, TaskIx)
    }
}

/// The words of a text in lower case: runs of letters and digits.
pub(super) fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn next_word(text: &str) -> Option<(&str, &str)> {
    let start = text.find(char::is_alphanumeric)?;
    let text = text.get(start..)?;
    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    text.split_at_checked(end)
}

fn follows(words: &[Box<str>], mut text: &str) -> bool {
    words.iter().all(|wanted| match next_word(text) {
        Some((word, after)) => {
            text = after;
            *word == **wanted
        }
        None => false,
    })
}

/// Whether the prompt quotes text to be drawn: a double-quoted span of 1 to 80 characters, or a single-quoted one with
/// a word such as "says" or "logo" beside it.
fn quotes_text(prompt: &str) -> bool {
    doubly_quoted(prompt, '"', '"')
        || doubly_quoted(prompt, '\u{201c}', '\u{201d}')
        || doubly_quoted(prompt, '\u{201e}', '\u{201c}')
        || doubly_quoted(prompt, '\u{ab}', '\u{bb}')
        || singly_quoted(prompt, '\'', '\'')
        || singly_quoted(prompt, '\u{2018}', '\u{2019}')
}

/// A `"` behind a digit is an inch mark and opens nothing.
fn doubly_quoted(prompt: &str, open: char, close: char) -> bool {
    let mut rest = prompt;
    while let Some((before, inside)) = rest.split_once(open) {
        if before.ends_with(|c: char| c.is_ascii_digit()) {
            rest = inside;
            continue;
        }
        let Some((span, after)) = inside.split_once(close) else {
            return false;
        };
        if is_text(span) {
            return true;
        }
        rest = after;
    }
    false
}

/// A quote that opens after a space (or at the start) and closes before none: an apostrophe stands between letters.
fn singly_quoted(prompt: &str, open: char, close: char) -> bool {
    let mut from = 0;
    while let Some(at) = prompt.get(from..).and_then(|rest| rest.find(open)).map(|at| from + at) {
        from = at + open.len_utf8();
        let (before, inside) = (prompt.get(..at).unwrap_or_default(), prompt.get(from..).unwrap_or_default());
        if before.ends_with(char::is_alphanumeric) {
            continue;
        }
        let mut ends = inside.match_indices(close).filter_map(|(end, mark)| {
            let (span, after) = (inside.get(..end)?, inside.get(end + mark.len()..)?);
            (!after.starts_with(char::is_alphanumeric)).then_some((span, after))
        });
        let Some((span, after)) = ends.next() else {
            return false;
        };
        if is_text(span) && (text_word_ends(before) || text_word_begins(after)) {
            return true;
        }
    }
    false
}

fn is_text(span: &str) -> bool {
    span.contains(char::is_alphanumeric) && span.chars().take(MAX_QUOTED + 1).count() <= MAX_QUOTED
}

/// Whether one of the last three words is about text: `the words 'open late'`, `a sign that says 'stop'`.
fn text_word_ends(before: &str) -> bool {
    let words = before.rsplit(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.take(3).any(is_text_word)
}

/// Whether one of the next two words is: `'open late' written in neon`.
fn text_word_begins(after: &str) -> bool {
    let words = after.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.take(2).any(is_text_word)
}

fn is_text_word(word: &str) -> bool {
    let lower = word.to_lowercase();
    TEXT_WORDS.contains(&lower.as_str())
}
