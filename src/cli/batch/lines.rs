//! A file of prompts, as lines that each know their own identity.
//!
//! Why it exists: a line's key is what makes a rerun buy nothing twice. It is a digest of the line's body and of how
//! often the same body stood above it, and not of its number, so that inserting or moving lines changes no other
//! line's key. What it refuses to know: what is done with a line.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::args::AskFlags;
use super::super::ask::{self, Body};
use super::super::exit::Failure;
use super::super::wire;

/// One thing to draw.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// From 1, in the file.
    pub(super) number: usize,
    /// The `Idempotency-Key`.
    pub(super) key: String,
    /// SHA-256 of the prompt, in hex.
    pub(super) prompt_sha256: String,
    /// The body to send.
    pub(super) body: Body,
}

impl Line {
    /// The name of its image file without number and extension: sorted as in the file, legible, unique.
    pub(super) fn stem(&self) -> String {
        let prompt = self.body.get("prompt").and_then(Value::as_str).unwrap_or_default();
        let words = prompt.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let slug: String = words.collect::<Vec<_>>().join("-").to_lowercase().chars().take(40).collect();
        let tail: String = self.key.chars().rev().take(8).collect();
        format!("{:04}-{}-{tail}", self.number, slug.trim_matches('-'))
    }

    /// The extension of its files.
    pub(super) fn extension(&self) -> &str {
        match self.body.get("output_format").and_then(Value::as_str) {
            Some("jpeg" | "jpg") => "jpg",
            Some("webp") => "webp",
            _ => "png",
        }
    }
}

/// The lines of `text`, each with the flags beneath its own fields. All mistakes of a file are told together.
pub(super) fn parse(text: &str, name: &str, flags: &AskFlags) -> Result<Vec<Line>, Failure> {
    let mut seen: HashMap<[u8; 32], u64> = HashMap::new();
    let (mut lines, mut mistakes) = (Vec::new(), Vec::new());
    for (number, text) in (1..).zip(text.lines()) {
        match body(text.trim(), flags) {
            None => {}
            Some(Ok(body)) => lines.push(line(number, body, &mut seen)),
            Some(Err(why)) => mistakes.push(format!("{name}:{number}: {why}")),
        }
    }
    if !mistakes.is_empty() {
        return Err(Failure::usage(mistakes.join("\n")).help("nothing was sent; mend these lines and run it again"));
    }
    if lines.is_empty() {
        return Err(
            Failure::usage(format!("{name} has no prompt")).help("write a prompt a line, such as: a red bicycle")
        );
    }
    Ok(lines)
}

/// The body of a line; `None` for one that is to be skipped.
fn body(text: &str, flags: &AskFlags) -> Option<Result<Body, String>> {
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let mut body = if text.starts_with('{') {
        match ask::merged(text, flags) {
            Ok(body) => body,
            Err(why) => return Some(Err(why)),
        }
    } else {
        ask::body(text, flags)
    };
    if !body.get("prompt").is_some_and(Value::is_string) {
        return Some(Err("no `prompt`, which must be a string".to_owned()));
    }
    if body.contains_key("webhook") {
        return Some(Err("a batch waits for its images and takes no `webhook`".to_owned()));
    }
    body.insert("response_format".to_owned(), "b64_json".into());
    Some(Ok(body))
}

fn line(number: usize, body: Body, seen: &mut HashMap<[u8; 32], u64>) -> Line {
    let prompt_sha256 = wire::sha256(body.get("prompt").and_then(Value::as_str).unwrap_or_default().as_bytes());
    // The map is ordered by name, so one body has one text.
    let digest: [u8; 32] = Sha256::digest(Value::Object(body.clone()).to_string()).into();
    let earlier = seen.entry(digest).or_default();
    let key = Sha256::new().chain_update(digest).chain_update(earlier.to_be_bytes()).finalize();
    *earlier += 1;
    let key = format!("batch-{}", wire::hex(key.get(..20).unwrap_or_default()));
    Line { number, key, prompt_sha256, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        parse(text, "prompts.txt", &AskFlags::default()).unwrap().into_iter().map(|line| line.key).collect()
    }

    #[test]
    fn a_key_follows_its_line_wherever_it_moves() {
        let before = keys("a fox\na bicycle\na fox\n");
        let after = keys("# new\n\na cat\na bicycle\na fox\na fox\n");
        assert_eq!(after[1], before[1]);
        assert_eq!(after[2..], [before[0].clone(), before[2].clone()]);
        assert_ne!(before[0], before[2], "a repeated prompt is a second image");
    }

    #[test]
    fn json_and_plain_lines_mix_and_skip() {
        let text = "a fox\n\n# a comment\n  {\"prompt\": \"a bicycle\", \"seed\": 0}\n";
        let lines = parse(text, "x", &AskFlags::default()).unwrap();
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(lines[1].body["seed"], 0);
        // One body, one key: however it is spelt.
        assert_eq!(keys("{\"prompt\":\"a fox\"}"), keys("a fox"));
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let failure = parse("{\"seed\": 1}\na fox\n{nonsense\n", "asks.jsonl", &AskFlags::default()).unwrap_err();
        let lines: Vec<_> = failure.what().lines().collect();
        assert_eq!(lines[0], "asks.jsonl:1: no `prompt`, which must be a string");
        assert!(lines[1].starts_with("asks.jsonl:3: not JSON: "), "{}", lines[1]);
        assert!(parse("# nothing\n", "x", &AskFlags::default()).is_err());
    }

    #[test]
    fn file_names_are_legible_and_differ() {
        let lines = parse("A fox, \"très\" red!\nA fox, \"très\" red!\n", "x", &AskFlags::default()).unwrap();
        assert!(lines[0].stem().starts_with("0001-a-fox-très-red-"), "{}", lines[0].stem());
        assert_ne!(lines[0].stem()[4..], lines[1].stem()[4..]);
    }
}
