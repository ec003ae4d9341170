//! The architecture, enforced: who may import whom, what a room must not know, and the sizes of the house.
//!
//! Why it exists: a direction that nothing checks is a wish. The rules read `src` as text, without comments, literals
//! and tests. What it refuses to know: an exemption. To add a rule: a function from a [`Source`] to findings, a test
//! that asks it of every file, and a case in `the_rules_can_fail` that breaks it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what is wrong by stopping; the lints' exemption covers test functions only"
)]

#[path = "architecture/checks.rs"]
mod checks;
#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};

use paths::{Named, paths};
use source::{Source, words};

/// The rooms of the gateway: nobody imports to their right.
const ROOMS: [&str; 10] =
    ["domain", "telemetry", "provider", "transport", "state", "policy", "engine", "server", "cli", "main"];
/// The room that stands apart.
const APART: &str = "sandbox";
/// The longest file, without its tests.
const FILE_LINES: usize = 400;
/// The longest function, in lines between its braces, as clippy counts them too.
const FUNCTION_LINES: usize = 60;

/// The crates that a pure room may name: values and formats, nothing that waits, opens or draws lots.
const PURE: [(&str, &[&str]); 2] = [
    ("domain", &["jiff", "nalgebra", "rand", "serde", "serde_json", "sha2"]),
    (
        "provider",
        &[
            "base64_simd",
            "bytes",
            "fast_image_resize",
            "http",
            "image",
            "jiff",
            "serde",
            "serde_json",
            "sha2",
            "url",
            "uuid",
        ],
    ),
];

/// What a pure room may not do with what the language brings, and what to do instead.
const IMPURE: [(&[&str], &str); 14] = [
    (&["Instant", "now"], "take the time as an argument"),
    (&["SystemTime"], "take the time as an argument"),
    (&["Timestamp", "now"], "take the time as an argument"),
    (&["Zoned", "now"], "take the time as an argument"),
    (&["std", "fs"], "take the bytes as an argument, or give them back"),
    (&["std", "net"], "sockets are the transport's and the doors'"),
    (&["std", "env"], "settings are read by `cli`, and handed on as values"),
    (&["std", "process"], "processes are `cli`'s"),
    (&["std", "thread"], "a pure function neither waits nor starts work"),
    (&["rand", "rng"], "take an `Rng` as an argument"),
    (&["rand", "random"], "take an `Rng` as an argument"),
    (&["SysRng"], "take an `Rng` as an argument"),
    (&["async"], "a pure function cannot wait; let `engine` wait and hand in what came"),
    (&["await"], "a pure function cannot wait; let `engine` wait and hand in what came"),
];

/// Crates that belong to some rooms alone: the crate, those rooms, and what others do instead.
const KEPT: [(&str, &[&str], &str); 18] = [
    ("prometheus", &["telemetry"], "tell `Telemetry` what happened; it knows the metrics"),
    (
        "reqwest",
        &["transport", "cli"],
        "send through `transport`, which guards addresses and knows what may have been charged",
    ),
    ("redis", &["state"], "use a port of `state`"),
    ("rusqlite", &["state"], "use a port of `state`"),
    ("object_store", &["state"], "use the `Images` port of `state`"),
    ("governor", &["state"], "use the `Limits` port of `state`"),
    ("tract_onnx", &["state"], "use the `Encoder` port of `state`"),
    ("nalgebra", &["domain"], "matrices are multiplied in `domain/frechet.rs`"),
    ("hyper", &["server", "sandbox"], "only the doors speak HTTP to callers"),
    ("hyper_util", &["server", "sandbox"], "only the doors speak HTTP to callers"),
    ("tower_http", &["server"], "a layer of HTTP belongs around a door"),
    ("http", &["provider", "transport", "server", "sandbox", "cli"], "speak the domain's words; `server` knows HTTP"),
    ("http_body", &["transport", "server", "sandbox"], "speak the domain's words; `server` knows HTTP"),
    ("http_body_util", &["transport", "server", "sandbox"], "speak the domain's words; `server` knows HTTP"),
    ("pingora", &["server"], "streams that nobody understands pass through `server/passthrough`"),
    ("rustix", &["state", "cli"], "files are written in `state`, descriptors pass in `cli/handover`"),
    ("clap", &["cli"], "what may be typed stands in `cli/args`"),
    ("toml", &["policy", "cli"], "a file's text becomes values in `policy`, or in `cli/settings`"),
];

/// Rooms that may know status codes: the doors, and those who read the replies of others.
const KNOW_STATUS: [&str; 5] = ["provider", "transport", "server", "cli", "sandbox"];
/// Names of types that say nothing.
const EMPTY_NAMES: [&str; 5] = ["Manager", "Helper", "Helpers", "Utils", "Context"];
/// What the header of a room answers.
const ANSWERS: [(&str, &[&str]); 3] = [
    ("why it exists", &["Why it exists", "Why:"]),
    ("what it refuses to know", &["refuses to know"]),
    ("how to add to it", &["To add", "to add"]),
];

/// Something that breaks a rule.
#[derive(Debug)]
struct Finding {
    line: usize,
    what: String,
}

impl Finding {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

#[test]
fn rooms_import_to_their_left() {
    assert_rule(order);
}

#[test]
fn pure_rooms_stay_pure() {
    assert_rule(purity);
}

#[test]
fn crates_stay_in_their_rooms() {
    assert_rule(keeping);
}

#[test]
fn status_codes_stay_at_the_doors() {
    assert_rule(status_codes);
}

#[test]
fn metric_names_exist_once() {
    assert_rule(metric_names);
}

#[test]
fn files_and_functions_are_short() {
    assert_rule(sizes);
}

#[test]
fn every_module_says_why_it_exists() {
    assert_rule(headers);
}

#[test]
fn types_have_telling_names() {
    assert_rule(names);
}

#[test]
fn every_room_is_in_the_order() {
    let rooms: BTreeSet<String> = Source::all().iter().map(|source| source.room().to_owned()).collect();
    let known: BTreeSet<String> = ROOMS.iter().chain([&APART, &"lib"]).map(|&room| room.to_owned()).collect();
    assert_eq!(rooms, known, "give a new room its place in `ROOMS`; a room that is gone leaves it");
}

/// Imports go to the left; the sandbox imports `domain` at most, and only `cli` imports the sandbox.
fn order(source: &Source) -> Vec<Finding> {
    let room = source.room();
    let rank = |room: &str| ROOMS.iter().position(|&known| known == room);
    let judge = |path: &Named| {
        let supers = path.names.iter().take_while(|name| *name == "super").count();
        if supers > 0 && supers >= source.depth() {
            return Some("leaves the room by `super`; write `crate::` and the room's name".to_owned());
        }
        let target = match path.root()? {
            "crate" => path.names.get(1)?.as_str(),
            "tollgate" if room == "main" => path.names.get(1)?.as_str(),
            _ => return None,
        };
        let allowed = match (room, target) {
            (_, _) if room == target => true,
            ("lib", _) => false,
            (APART, _) => target == "domain",
            (_, APART) => room == "cli",
            _ => rank(target).zip(rank(room)).is_some_and(|(target, own)| target < own),
        };
        let line = ROOMS.join(" ← ");
        (!allowed)
            .then(|| format!("`{room}` may not import `{target}`; a room imports to its left: {line}, `{APART}` apart"))
    };
    judged(source, judge)
}

/// `domain` and `provider` name no crate and nothing of the standard library that does I/O, waits or draws lots.
fn purity(source: &Source) -> Vec<Finding> {
    let Some((room, crates)) = PURE.iter().find(|(room, _)| *room == source.room()) else { return Vec::new() };
    let dependencies = dependencies();
    let judge = |path: &Named| {
        if let Some((_, instead)) = IMPURE.iter().find(|(run, _)| path.has(run)) {
            return Some(format!("`{room}` is pure: {instead}"));
        }
        let root = path.root()?;
        let foreign = dependencies.contains(root) && !crates.contains(&root);
        foreign.then(|| format!("`{room}` is pure and may name these crates only: {}", crates.join(", ")))
    };
    judged(source, judge)
}

/// A crate that does something to the world is known in one room.
fn keeping(source: &Source) -> Vec<Finding> {
    judged(source, |path| {
        let (name, rooms, instead) = KEPT.iter().find(|(name, ..)| path.begins(&[name]) && path.root().is_some())?;
        let kept = rooms.contains(&source.room());
        (!kept).then(|| format!("`{name}` is for {} only: {instead}", rooms.join(", ")))
    })
}

/// `server/problem.rs` turns a refusal into a status code; no room before it thinks in them.
fn status_codes(source: &Source) -> Vec<Finding> {
    if KNOW_STATUS.contains(&source.room()) {
        return Vec::new();
    }
    let what = "only the doors know status codes: return a `Refusal` or a `Fault` in the domain's words";
    let mut by_line: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for word in words(&source.code) {
        by_line.entry(source.line(word.start)).or_default().insert(&source.code[word]);
    }
    let code = |word: &str| word.len() == 3 && word.parse().is_ok_and(|number: u16| (100..600).contains(&number));
    let speaks = |words: &BTreeSet<&str>| {
        words.contains("StatusCode") || (words.contains("status") && words.iter().any(|word| code(word)))
    };
    by_line.into_iter().filter(|(_, words)| speaks(words)).map(|(line, _)| Finding::new(line, what)).collect()
}

/// A metric's name stands in `telemetry/metrics.rs`, once.
fn metric_names(source: &Source) -> Vec<Finding> {
    const HOME: &str = "src/telemetry/metrics.rs";
    let mut seen = BTreeSet::new();
    let metrics = source.literals.iter().filter(|(_, text)| {
        let name = text.strip_prefix("tollgate_").unwrap_or_default();
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    });
    let judge = |(at, text): &(usize, String)| {
        let what = if source.path != HOME {
            format!("the metric `{text}` is named outside {HOME}: write it by a method of `Telemetry`")
        } else if !seen.insert(text.clone()) {
            format!("the metric `{text}` is named twice: keep one row")
        } else {
            return None;
        };
        Some(Finding::new(source.line(*at), what))
    };
    metrics.filter_map(judge).collect()
}

/// What fits on a page is read.
fn sizes(source: &Source) -> Vec<Finding> {
    let lines = source.lines();
    let file = (lines > FILE_LINES).then(|| {
        let what = format!("{lines} lines without tests, {FILE_LINES} at most: give a part of it a file of its own");
        Finding::new(1, what)
    });
    let long = source.functions().into_iter().filter(|function| function.lines > FUNCTION_LINES).map(|function| {
        let (name, lines) = (&function.name, function.lines);
        let what = format!("`{name}` has {lines} lines, {FUNCTION_LINES} at most: give its steps names");
        Finding::new(function.line, what)
    });
    file.into_iter().chain(long).collect()
}

/// Every module begins with its header; a room's header answers three questions.
fn headers(source: &Source) -> Vec<Finding> {
    if !source.text.starts_with("//!") {
        return vec![Finding::new(
            1,
            "begin with a `//!` header: why it exists, what it refuses to know, how to add to it",
        )];
    }
    let header: Vec<&str> = source.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let header = header.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    let missing = |(question, words): &(&str, &[&str])| {
        let answered = words.iter().any(|word| header.contains(word));
        (!answered).then(|| Finding::new(1, format!("a room's header says {question} (`{}`)", words[0])))
    };
    if source.path == format!("src/{}/mod.rs", source.room()) {
        return ANSWERS.iter().filter_map(missing).collect();
    }
    Vec::new()
}

/// A type is named after what it is.
fn names(source: &Source) -> Vec<Finding> {
    let words: Vec<_> = words(&source.code).collect();
    let declared = words
        .windows(2)
        .filter(|pair| matches!(&source.code[pair[0].clone()], "struct" | "enum" | "trait" | "type" | "union"));
    let empty = declared
        .map(|pair| pair[1].clone())
        .filter(|name| EMPTY_NAMES.iter().any(|empty| source.code[name.clone()].ends_with(empty)));
    let what = |name: &str| format!("`{name}` says nothing: name it after what it is in the domain's words");
    empty.map(|name| Finding::new(source.line(name.start), what(&source.code[name]))).collect()
}

fn judged(source: &Source, judge: impl Fn(&Named) -> Option<String>) -> Vec<Finding> {
    let judged = |path: Named| {
        let what = judge(&path)?;
        Some(Finding::new(source.line(path.at), format!("`{}`: {what}", path.shown())))
    };
    paths(&source.code).into_iter().filter_map(judged).collect()
}

/// The crates that the package may name, as code spells them.
fn dependencies() -> BTreeSet<String> {
    let manifest = include_str!("../Cargo.toml");
    let section =
        manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]")).expect("[dependencies]");
    let name = |line: &str| Some(line.split_once(" = ")?.0.replace('-', "_")).filter(|name| !name.starts_with('#'));
    section.lines().filter_map(name).collect()
}

fn assert_rule(rule: fn(&Source) -> Vec<Finding>) {
    let sources = Source::all();
    assert!(sources.len() > ROOMS.len(), "only {} files were read", sources.len());
    let said = |source: &Source| {
        let line = |finding: Finding| format!("  {}:{}: {}", source.path, finding.line, finding.what);
        rule(source).into_iter().map(line).collect::<Vec<_>>()
    };
    let findings: Vec<String> = sources.iter().flat_map(said).collect();
    assert!(findings.is_empty(), "{} places break this rule:\n{}", findings.len(), findings.join("\n"));
}
