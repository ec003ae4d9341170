//! Grafana's boards: what the command writes is what is committed, and holds to the rules of Grafana's dashboard linter.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::support::{folder, run};

/// Where the committed boards are.
const BOARDS: &str = "dashboards/grafana/boards";

/// Every committed board by its file's name.
pub(crate) fn boards() -> Vec<(String, Value)> {
    read(Path::new(BOARDS))
}

fn read(folder: &Path) -> Vec<(String, Value)> {
    let mut boards: Vec<(String, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), serde_json::from_str(&text).unwrap())
        })
        .collect();
    boards.sort_by(|a, b| a.0.cmp(&b.0));
    boards
}

/// `(board, panel, query)` of every target.
pub(crate) fn queries() -> Vec<(String, String, String)> {
    let mut queries = Vec::new();
    for (_, board) in boards() {
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                queries.push((text(&board["uid"]), text(&panel["title"]), text(&target["expr"])));
            }
        }
    }
    queries
}

#[test]
fn the_committed_boards_are_what_the_command_writes() {
    let folder = folder();
    let ran = run(folder.path(), &["dashboards", "boards"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let (written, committed) = (read(&folder.path().join("boards")), boards());
    assert_eq!(written.len(), 6);
    assert!(written == committed, "run `tollgate dashboards {BOARDS}` and commit what it writes");
}

#[test]
fn the_linter_would_find_nothing() {
    for (file, board) in boards() {
        assert_eq!(file, format!("{}.json", board["uid"].as_str().unwrap()));
        assert_eq!(board["editable"], false, "{file}: uneditable-dashboard");
        let variables = board["templating"]["list"].as_array().unwrap();
        let sources: Vec<&Value> = variables.iter().filter(|variable| variable["type"] == "datasource").collect();
        assert_eq!(sources.len(), 1, "{file}: template-datasource-rule");
        assert_eq!((&sources[0]["name"], &sources[0]["query"]), (&"datasource".into(), &"prometheus".into()), "{file}");
        assert_eq!(sources[0]["label"], "Data source", "{file}: template-datasource-rule");
        for name in ["job", "instance"] {
            let variable = variables.iter().find(|variable| variable["name"] == name);
            let variable = variable.unwrap_or_else(|| panic!("{file}: template-{name}-rule"));
            assert_eq!(variable["datasource"]["uid"], "${datasource}", "{file}");
            assert_eq!((&variable["multi"], &variable["allValue"]), (&true.into(), &".+".into()), "{file}: {name}");
            assert_eq!(variable["refresh"], 2, "{file}: template-on-time-change-reload-rule");
        }
        panels(&file, &board);
    }
}

fn panels(file: &str, board: &Value) {
    let mut seen = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let place = format!("{file}: {title}");
        assert!(seen.insert(panel["id"].as_u64()), "{place}: an id stands twice");
        assert!(!title.is_empty() && panel["description"].as_str().unwrap().ends_with('.'), "{place}: description");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{place}: panel-datasource-rule");
        assert!(!panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap().is_empty(), "{place}: panel-units-rule");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{place}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(cells.insert((x, y)), "{place} lies over another");
            }
        }
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{place}: panel-no-targets-rule");
        for target in targets {
            query(&place, target["expr"].as_str().unwrap());
        }
    }
}

/// The linter's rules of queries; that they parse is seen on a real Prometheus.
fn query(place: &str, query: &str) {
    let selectors: Vec<&str> = query.match_indices('{').map(|(at, _)| &query[at..]).collect();
    assert!(!selectors.is_empty(), "{place}: {query}");
    for selector in selectors {
        assert!(selector.starts_with("{job=~\"$job\",instance=~\"$instance\""), "{place}: target-job-rule: {query}");
    }
    for (at, _) in query.match_indices('[') {
        let range = &query[at..=at + query[at..].find(']').unwrap()];
        assert!(["[$__rate_interval]", "[$__range]"].contains(&range), "{place}: target-rate-interval-rule: {query}");
    }
    for (at, _) in query.match_indices("_total{") {
        let begins = query[..at].rfind("tollgate_").unwrap();
        let called = ["rate(", "increase("].iter().any(|function| query[..begins].ends_with(function));
        assert!(called, "{place}: target-counter-agg-rule: {query}");
    }
}
