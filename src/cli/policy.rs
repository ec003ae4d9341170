//! `tollgate policy`: check, format, describe, and try.
//!
//! Why it exists: a mistake in a policy costs money, so it is found where it is written, before it runs. What it refuses
//! to know: the language; that is `crate::policy`'s.

mod calibrate;
mod compare;
mod log;
mod replay;
mod trial;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::args::{FmtArgs, PathsArgs, PolicyCommand};
use super::console::{Console, Style};
use super::exit::{Exit, Failure};
use super::house;
use crate::domain::refusal::Refusal;
use crate::policy::{self, Complete, Env, Overrides, Process, Severity, Snapshot};

pub(crate) async fn run(command: PolicyCommand, console: Console) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Check(args) => check(&args, console),
        PolicyCommand::Fmt(args) => fmt(&args, console),
        PolicyCommand::Schema => {
            let schema = serde_json::to_string_pretty(&policy::schema());
            console.data(schema.map_err(|why| Failure::usage(format!("the schema cannot be written: {why}")))?)?;
            Ok(Exit::Ok)
        }
        PolicyCommand::Test(args) => trial::run(&args, console),
        PolicyCommand::Diff(args) => compare::run(&args, console).await,
        PolicyCommand::Replay(args) => replay::run(&args, console).await,
        PolicyCommand::Calibrate(args) => calibrate::run(&args, console).await,
    }
}

/// A whole policy, or its mistakes, for decisions that were made elsewhere: what a gateway lacked then stands in its log,
/// and what this process lacks is nothing to them.
pub(super) fn read(path: &Path) -> Result<Snapshot, Failure> {
    read_in(&[path.to_owned()], &Complete)
}

/// Several files and folders in this process's own environment; of none, the built-in policy.
pub(super) fn read_all(paths: &[PathBuf]) -> Result<Snapshot, Failure> {
    read_in(paths, &Process)
}

fn read_in(paths: &[PathBuf], env: &dyn Env) -> Result<Snapshot, Failure> {
    let report = policy::check(paths, env, &Overrides::default(), house::today());
    report.snapshot.ok_or_else(|| {
        let errors = report.diagnostics.iter().filter(|one| one.severity == Severity::Error);
        let text: Vec<_> = errors.map(|one| one.render(false)).collect();
        Failure::usage(format!("the policy has mistakes\n\n{}", text.join("\n\n")))
    })
}

/// A body that cannot be read, in words.
pub(super) fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::InvalidRequest { pointer, detail } => format!("{detail} (at {pointer})"),
        other => other.code().to_owned(),
    }
}

/// Diagnostics go to stderr as a compiler's do, or to stdout as JSON.
fn check(args: &PathsArgs, console: Console) -> Result<Exit, Failure> {
    let report = policy::check(&args.paths, &Process, &Overrides::default(), house::today());
    let count = |severity| report.diagnostics.iter().filter(|one| one.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if console.json {
        let diagnostics: Vec<Value> = report.diagnostics.iter().map(policy::Diagnostic::to_json).collect();
        let digest = report.snapshot.as_ref().map(|snapshot| &*snapshot.digest);
        console.value(&json!({
            "ok": errors == 0, "policy": digest, "errors": errors, "warnings": warnings, "diagnostics": diagnostics
        }))?;
    } else {
        for diagnostic in &report.diagnostics {
            console.say(format_args!("{}\n", diagnostic.render(console.styles_messages())));
        }
        console.say(summary(&report, errors, warnings, console));
    }
    Ok(if errors == 0 { Exit::Ok } else { Exit::Usage })
}

fn summary(report: &policy::CheckReport, errors: usize, warnings: usize, console: Console) -> String {
    let some = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    let found: Vec<_> = some(errors, "error").into_iter().chain(some(warnings, "warning")).collect();
    let found = found.join(" and ");
    match &report.snapshot {
        None => format!(
            "{} {found}; the policy would not be applied",
            Style::Red.paint("error:", console.styles_messages())
        ),
        Some(snapshot) => {
            let catalog = &snapshot.catalog;
            let found = if found.is_empty() { String::new() } else { format!(", {found}") };
            format!(
                "{} policy {}: {} providers, {} models, {} rules{found}",
                Style::Green.paint("ok:", console.styles_messages()),
                snapshot.digest,
                catalog.providers.len(),
                catalog.models.len(),
                snapshot.rules.len()
            )
        }
    }
}

fn fmt(args: &FmtArgs, console: Console) -> Result<Exit, Failure> {
    let files = files(&args.paths)?;
    if !args.check && !args.write && files.len() != 1 {
        return Err(Failure::usage(format!("{} files, and one stdout", files.len()))
            .help("use --write to format them in place, or --check to list those that would change"));
    }
    let mut changed = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file)
            .map_err(|why| Failure::usage(format!("{} cannot be read: {why}", file.display())))?;
        let formatted = formatted(file, &text, console)?;
        if !args.check && !args.write {
            console.data(formatted.trim_end_matches('\n'))?;
            return Ok(Exit::Ok);
        }
        if formatted != text {
            if args.write {
                replace(file, &formatted)?;
            }
            changed.push(file.display().to_string());
        }
    }
    report(&changed, args.check, console)?;
    Ok(if args.check && !changed.is_empty() { Exit::Usage } else { Exit::Ok })
}

/// What changed, or would: the files' names on stdout.
fn report(changed: &[String], only_check: bool, console: Console) -> Result<(), Failure> {
    if console.json {
        return console.value(&json!({"changed": changed, "written": !only_check}));
    }
    changed.iter().try_for_each(|file| console.data(file))?;
    if only_check && !changed.is_empty() {
        console.say("these files are not in the usual form; `tollgate policy fmt --write` puts them so");
    }
    Ok(())
}

fn formatted(file: &Path, text: &str, console: Console) -> Result<String, Failure> {
    policy::fmt(text).map_err(|mistake| {
        console.say(format_args!("{}\n", mistake.in_file(&file.to_string_lossy()).render(console.styles_messages())));
        Failure::usage(format!("{} cannot be formatted before it is mended", file.display()))
    })
}

/// Whole or not at all: a gateway may be watching the folder.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let wrong = |why: std::io::Error| Failure::usage(format!("{} cannot be written: {why}", file.display()));
    // A name that no watcher takes for a policy.
    let beside = file.with_extension("toml.part");
    std::fs::write(&beside, text).map_err(wrong)?;
    std::fs::rename(&beside, file).map_err(wrong)
}

/// The files themselves, and the `*.toml` of the folders.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        let listed = policy::files::list(path);
        files.extend(listed.map_err(|why| Failure::usage(format!("{} cannot be read: {why}", path.display())))?);
    }
    if files.is_empty() {
        return Err(Failure::usage("there is no *.toml in these folders"));
    }
    Ok(files)
}
