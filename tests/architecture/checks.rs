//! The rules held against small houses that break them, and the scanner against the corners of the language.

use super::paths::paths;
use super::source::Source;
use super::{
    FILE_LINES, FUNCTION_LINES, Finding, headers, keeping, metric_names, names, order, purity, sizes, status_codes,
};

type Rule = fn(&Source) -> Vec<Finding>;

/// The lines at which a rule finds something.
fn found(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
}

#[test]
fn imports_to_the_right_are_found_however_they_are_written() {
    let ways: [(&str, &str, &[usize]); 16] = [
        ("src/domain/a.rs", "use crate::engine::Engine;", &[1]),
        ("src/domain/a.rs", "\nfn f() { crate::state::open() }", &[2]),
        ("src/engine/a.rs", "use crate::{domain::x,\n    server::{self, y}};", &[2, 2]),
        ("src/engine/a.rs", "use crate::{domain as d, policy::*};", &[]),
        ("src/engine/a.rs", "use crate::engine::b;\nuse super::c;", &[]),
        ("src/engine/mod.rs", "use super::domain::money;", &[1]),
        ("src/domain/plan/a.rs", "use super::super::super::engine;", &[1]),
        ("src/domain/plan/a.rs", "use super::super::money;", &[]),
        ("src/policy/a.rs", "use crate::*;", &[1]),
        ("src/sandbox/a.rs", "use crate::domain::image;", &[]),
        ("src/sandbox/a.rs", "use crate::telemetry::clock;", &[1]),
        ("src/engine/a.rs", "use crate::sandbox::Sandbox;", &[1]),
        ("src/cli/a.rs", "use crate::sandbox::Sandbox;", &[]),
        ("src/main.rs", "fn main() { tollgate::cli::run() }", &[]),
        ("src/main.rs", "fn main() { tollgate::sandbox::run() }", &[1]),
        ("src/lib.rs", "pub mod domain;\npub use crate::domain::money;", &[2]),
    ];
    for (path, text, lines) in ways {
        assert_eq!(found(order, path, text), lines, "{path}: {text}");
    }
}

#[test]
fn impure_names_are_found_in_pure_rooms_only() {
    let impure = [
        "use tokio::time::sleep;",
        "use reqwest::Client;",
        "use std::{fmt, fs};",
        "use std::net::IpAddr;",
        "fn f() { let at = std::time::Instant::now(); }",
        "fn f() { Instant :: now() }",
        "use std::time::SystemTime;",
        "fn f() -> Timestamp { jiff::Timestamp::now() }",
        "fn f() { rand::rng() }",
        "async fn f() {}",
        "fn f() { tracing::info!() }",
    ];
    for text in impure {
        assert_eq!(found(purity, "src/domain/a.rs", text), [1], "{text}");
        assert_eq!(found(purity, "src/engine/a.rs", text), [], "{text}");
    }
    assert_eq!(found(purity, "src/domain/a.rs", "use http::HeaderMap;"), [1]);
    assert_eq!(found(purity, "src/provider/a.rs", "use http::HeaderMap;\nuse std::io::Cursor;"), []);
    assert_eq!(found(purity, "src/domain/a.rs", "fn f(now: Timestamp, redis: u8) { redis.http() }"), []);
}

#[test]
fn a_crate_outside_its_room_is_found() {
    assert_eq!(found(keeping, "src/engine/a.rs", "\nuse prometheus::Counter;"), [2]);
    assert_eq!(found(keeping, "src/server/a.rs", "fn f() -> reqwest::Client {}"), [1]);
    assert_eq!(found(keeping, "src/state/a.rs", "use ::http::Uri;"), [1]);
    assert_eq!(found(keeping, "src/telemetry/a.rs", "use prometheus::Counter;"), []);
    assert_eq!(found(keeping, "src/engine/a.rs", "fn f(http: u8) { telemetry.http(&http) }"), []);
}

#[test]
fn a_status_code_before_the_doors_is_found() {
    assert_eq!(found(status_codes, "src/engine/a.rs", "fn f() -> StatusCode {}"), [1]);
    assert_eq!(found(status_codes, "src/policy/a.rs", "\nif status == 429 {}"), [2]);
    assert_eq!(found(status_codes, "src/engine/a.rs", "let status = Status::Settled; let wait = 60;"), []);
    assert_eq!(found(status_codes, "src/provider/a.rs", "if status == 429 {}"), []);
}

#[test]
fn a_second_name_of_a_metric_is_found() {
    let row = "const A: &str = \"tollgate_a_total\";\n";
    assert_eq!(found(metric_names, "src/telemetry/metrics.rs", row), []);
    assert_eq!(found(metric_names, "src/telemetry/metrics.rs", &row.repeat(2)), [2]);
    assert_eq!(found(metric_names, "src/engine/a.rs", row), [1]);
    assert_eq!(found(metric_names, "src/engine/a.rs", "// \"tollgate_a_total\"\nlet name = \"tollgate_{x}\";"), []);
}

#[test]
fn what_is_too_long_is_found() {
    let body = |lines: usize| format!("//! A.\nfn long() {{\n{}}}\n", "    step();\n".repeat(lines));
    assert_eq!(found(sizes, "src/domain/a.rs", &body(FUNCTION_LINES)), []);
    assert_eq!(found(sizes, "src/domain/a.rs", &body(FUNCTION_LINES + 1)), [2]);
    let rows = "const A: u8 = 1;\n".repeat(FILE_LINES);
    assert_eq!(found(sizes, "src/domain/a.rs", &rows), []);
    assert_eq!(found(sizes, "src/domain/a.rs", &format!("{rows}// One more.\n")), [1]);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", body(FUNCTION_LINES * 2));
    assert_eq!(found(sizes, "src/domain/a.rs", &format!("{rows}{tests}")), []);
}

#[test]
fn a_module_without_its_header_is_found() {
    assert_eq!(found(headers, "src/domain/a.rs", "use std::fmt;\n//! Late.\n"), [1]);
    assert_eq!(found(headers, "src/domain/a.rs", "//! Money.\n"), []);
    assert_eq!(found(headers, "src/domain/mod.rs", "//! Money. Why it exists: x. To add y: z.\n"), [1]);
    let whole = "//! Money. Why it exists: x. What it refuses\n//! to know: y. To add to it: z.\n";
    assert_eq!(found(headers, "src/domain/mod.rs", whole), []);
}

#[test]
fn an_empty_name_is_found() {
    assert_eq!(found(names, "src/domain/a.rs", "\nstruct PlanManager;"), [2]);
    assert_eq!(found(names, "src/domain/a.rs", "use std::task::Context;\nfn f(context: &Context) {}"), []);
}

#[test]
fn literals_and_comments_are_not_code() {
    let text = r##"
        // use crate::engine; "a
        /* crate::engine /* nested */ crate::server " */
        let a = "crate::engine \" // not a comment"; let b = 'x'; let c = '"'; let d = '\''; let e = b'"';
        let f = r#"crate::engine " "#; let g: &'static str = br"\"; let h = "Größe";
        crate::server::end();
    "##;
    let source = Source::new("src/domain/a.rs", text);
    assert_eq!(source.code.len(), text.len(), "every place stays where it was");
    assert_eq!(found(order, "src/domain/a.rs", text), [6]);
    let literals: Vec<&str> = source.literals.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(literals, ["crate::engine \\\" // not a comment", "crate::engine \" ", "\\", "Größe"]);
}

#[test]
fn tests_are_not_code() {
    let text = "
        fn before() {}
        #[cfg(test)]
        mod tests { fn f() { let brace = \"}\"; crate::engine::f() } }
        #[cfg(test)]
        pub(crate) mod samples;
        #[cfg(test)]
        use crate::server::x;
        fn after() { crate::cli::f() }
        #[cfg(not(test))]
        use crate::server::x;
    ";
    assert_eq!(found(order, "src/domain/a.rs", text), [9, 11]);
    let functions = Source::new("src/domain/a.rs", text).functions();
    let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["before", "after"]);
}

#[test]
fn functions_are_measured_between_their_braces() {
    let text = "
        trait T { fn without_body(&self, of: [u8; 4]); }
        fn outer<F: Fn(fn(u8))>(of: [u8; 4]) -> u8
        where
            F: Copy,
        {
            // One.
            if true { 1 } else { 2 }
        }
        fn flat() {}
    ";
    let functions = Source::new("src/domain/a.rs", text).functions();
    let seen: Vec<_> =
        functions.iter().map(|function| (function.name.as_str(), function.line, function.lines)).collect();
    assert_eq!(seen, [("outer", 3, 2), ("flat", 10, 0)]);
}

#[test]
fn paths_are_read_from_use_trees_and_from_code() {
    let code = "use ::a::{self, b::{c as d, *}, e}; fn f(x: ::g::H) -> impl Fn() + use<'_> { i::<j::K>::l() }";
    let shown: Vec<String> =
        paths(code).iter().filter(|path| path.root().is_some()).map(super::paths::Named::shown).collect();
    assert_eq!(shown, ["a", "a::b::c", "a::b::*", "a::e", "g::H", "j::K"]);
}

#[test]
fn every_rule_reads_the_house_itself() {
    let sources = Source::all();
    let has = |path: &str| sources.iter().any(|source| source.path == path);
    assert!(has("src/lib.rs") && has("src/domain/plan/mod.rs") && has("src/provider/stability.rs"));
    assert!(!has("src/telemetry/tests.rs") && !has("src/provider/samples.rs"), "tests are not read");
    let functions: usize = sources.iter().map(|source| source.functions().len()).sum();
    assert!(functions > 1_000, "{functions} functions were measured");
    let metrics =
        sources.iter().find(|source| source.path == "src/telemetry/metrics.rs").map(|file| file.literals.len());
    assert!(metrics > Some(20), "the metrics' names were read");
}
