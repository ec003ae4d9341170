//! Policies: TOML text → raw types with places → one immutable [`Snapshot`], or diagnostics as rustc prints them.
//!
//! Why it exists: what may be bought, from whom, at what price and for whom changes weekly; code does not. Everything
//! that can be wrong with a policy is found at load, all of it in one run. What it refuses to know: requests on their
//! way, quotas and breakers at work. To add to the language: a field in `raw.rs`, its place in `fmt.rs`, its meaning in
//! `compile/`, a snapshot in `tests/policies/`.

mod builtin;
mod classify;
mod compile;
mod condition;
pub mod diagnostic;
pub mod diff;
pub mod files;
mod fmt;
mod guess;
mod raw;
pub mod replay;
mod shape;
pub mod snapshot;
pub mod source;
mod text;
pub mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::civil::Date;

pub use diagnostic::{Diagnostic, Label, Severity};
pub use files::{Complete, Origin, Process};
pub use fmt::fmt;
pub use snapshot::{ApiKey, Defaults, Floor, Rule, Snapshot, Tier, Unresolved};
pub use source::Source;
pub use watch::{Cause, OnReload, Pace, ReloadReport, Snapshots};

use crate::transport::Secret;

/// What a policy may ask of the process that it runs in.
pub trait Env: Send + Sync {
    /// An environment variable.
    fn var(&self, name: &str) -> Option<String>;

    /// A file's text: a secret, or a workflow beside the policy.
    fn read(&self, path: &str) -> io::Result<String>;
}

/// What the static settings say of providers, by name: an operator's egress proxy, a sandbox in the place of the real
/// host. A policy does not know of it.
pub type Overrides = BTreeMap<String, Override>;

/// What the static settings say of one provider.
#[derive(Clone, Debug, Default)]
pub struct Override {
    /// Calls go here instead.
    pub base_url: Option<String>,
    /// This credential is used instead.
    pub key: Option<Secret>,
}

/// Compiles the files of one policy, `(name, text)` each, together. The names are those that diagnostics show, and
/// workflows are looked for beside them. Every finding of the run comes back: as [`Snapshot::warnings`], or as an error
/// when one of them is an error.
pub fn compile(
    files: &[(String, String)],
    env: &dyn Env,
    overrides: &Overrides,
    today: Date,
) -> Result<Snapshot, Vec<Diagnostic>> {
    let sources: Vec<Arc<Source>> = files.iter().map(|(name, text)| Source::new(name, text.as_str())).collect();
    compile::compile(&sources, &compile::World { env, overrides, today })
}

/// What `policy check` found.
#[derive(Debug)]
pub struct CheckReport {
    /// Errors and warnings, in the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
    /// The policy, when there is no error.
    pub snapshot: Option<Snapshot>,
}

/// Checks the files and folders as one policy; without any, the built-in one.
pub fn check(paths: &[PathBuf], env: &dyn Env, overrides: &Overrides, today: Date) -> CheckReport {
    let outcome = files::read(&Origin::of(paths))
        .and_then(|sources| compile::compile(&sources, &compile::World { env, overrides, today }));
    match outcome {
        Ok(snapshot) => CheckReport { diagnostics: snapshot.warnings.clone(), snapshot: Some(snapshot) },
        Err(diagnostics) => CheckReport { diagnostics, snapshot: None },
    }
}

/// The JSON Schema of a policy file, for editors.
pub fn schema() -> serde_json::Value {
    raw::schema()
}
