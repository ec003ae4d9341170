//! The rules for Prometheus: well-formed, explained, and each seen to fire and to stay silent.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// The files of rules.
pub(crate) fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir("dashboards/prometheus/rules")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let ran = Command::new("promtool").args(arguments).args(files).output();
    let ran = ran.unwrap_or_else(|why| panic!("promtool does not run ({why}): install Debian's prometheus"));
    let said = [&ran.stdout[..], &ran.stderr[..]].concat();
    assert!(ran.status.success(), "promtool {arguments:?}\n{}", String::from_utf8_lossy(&said));
}

/// `(name, the lines of its rule)` of every alert.
fn alerts() -> Vec<(String, String)> {
    let text: String = files().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let rules = text.split("      - alert: ").skip(1);
    rules.map(|rule| (rule.lines().next().unwrap().to_owned(), rule.to_owned())).collect()
}

#[test]
fn promtool_finds_nothing_to_say() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &files());
    promtool(&["check", "config"], &[PathBuf::from("dashboards/prometheus/prometheus.yml")]);
}

#[test]
fn every_alert_fires_when_it_must_and_is_silent_when_it_must() {
    promtool(&["test", "rules"], &[PathBuf::from("dashboards/prometheus/tests/alerts.yml")]);
    let tests = std::fs::read_to_string("dashboards/prometheus/tests/alerts.yml").unwrap();
    for (name, _) in alerts() {
        let test = tests.split("  - name: ").find(|test| test.lines().next() == Some(&name));
        let test = test.unwrap_or_else(|| panic!("{name} has no test"));
        assert!(test.contains(&format!("alertname=\"{name}\"")), "{name} is never seen to fire");
        assert!(test.contains("exp_samples: []"), "{name} is never seen silent");
    }
}

#[test]
fn every_alert_says_what_it_is_and_what_to_do() {
    let runbook = std::fs::read_to_string("dashboards/RUNBOOK.md").unwrap();
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, sections, "an alert has its section in the runbook, and a section its alert");
    for (name, rule) in &alerts {
        let has = |what: &str| rule.contains(what);
        assert!(has("severity: page") || has("severity: ticket"), "{name}");
        assert!(has("summary: ") && has("description: "), "{name}");
        assert!(has(&format!("runbook: dashboards/RUNBOOK.md#{}", name.to_lowercase())), "{name}");
    }
    for section in runbook.split("\n## ").skip(1) {
        assert!(section.contains("*Look*") && section.contains("*Do*"), "{section}");
    }
}

#[test]
fn rules_name_only_metrics_that_there_are() {
    let known: BTreeSet<&str> =
        tollgate::telemetry::metrics::Metric::ALL.iter().map(|metric| metric.spec().name).collect();
    let text: String = files().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("tollgate_")).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(known.contains(name) || known.contains(base), "no metric {name}");
    }
}
