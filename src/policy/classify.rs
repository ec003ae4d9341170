//! Which task a prompt is for, when the request does not say.
//!
//! Why it exists: acceptance differs by task far more than by model, and most callers name none. One walk over the
//! prompt's words, no regular expressions: a prompt of 10,000 characters costs microseconds. What it refuses to know:
//! which words are signs of what; the policy lists them. Source of the quoted-span rule: routing notes 4.1.

use std::collections::HashMap;

use crate::domain::catalog::{Task, TaskIx};
use crate::domain::quoted;

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
        let mut found = self.quoted.filter(|_| quoted::any(prompt));
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
