//! The policy on trial: read, watched, told.
//!
//! Why it exists: a policy that is only tried must never keep a gateway from opening or serving, so its mistakes are told
//! and change nothing. What it refuses to know: what a trial does with it (`engine/trial.rs`).

use std::path::Path;
use std::sync::Arc;

use super::super::settings::{Settings, TrialSettings};
use crate::domain::canary::Bars;
use crate::engine::Engine;
use crate::engine::trial::{Mode, Trial};
use crate::policy::watch::{self, OnReload};
use crate::policy::{Origin, Process, ReloadReport, Snapshot, Snapshots};
use crate::telemetry::clock;

/// Puts what was read into the log.
struct Told;

impl OnReload for Told {
    fn reloaded(&self, report: &ReloadReport) {
        if report.ok {
            tracing::info!(policy = &*report.digest, "the policy on trial was read");
        } else {
            tracing::error!(diagnostics = %report.diagnostics, "the policy on trial was not read: nothing is tried");
        }
    }
}

/// The engine with the trial that the settings name.
pub(super) fn added(engine: Engine, settings: &Settings) -> Engine {
    let Some(path) = settings.trial.policy.as_deref() else { return engine };
    let from = watch::Settings {
        origin: Origin::of(&[path.to_owned()]),
        env: Arc::new(Process),
        overrides: settings.providers.clone(),
        clock: Arc::new(clock::now),
        hook: Arc::new(Told),
    };
    let snapshots = Snapshots::load_beside(from, engine.snapshot());
    let telemetry = Arc::clone(engine.telemetry());
    engine.trying(Trial::new(snapshots, mode(&settings.trial), telemetry))
}

/// What an operator should know of it at the start.
pub(super) fn note(settings: &TrialSettings, path: &Path, in_force: &Snapshot) -> String {
    let path = path.display();
    match mode(settings) {
        Mode::Shadow => format!("{path} is on trial: it decides beside the policy, and buys nothing"),
        Mode::Canary { .. } if in_force.keys.is_empty() => {
            format!("{path} is on trial, and serves nobody: the policy has no keys by which to choose a few callers")
        }
        Mode::Canary { percent, .. } => format!("{path} is on trial: it serves {percent} of 100 keys"),
    }
}

fn mode(settings: &TrialSettings) -> Mode {
    if !settings.canary {
        return Mode::Shadow;
    }
    let share = |hundredths: u64| hundredths as f64 / 100.0;
    Mode::Canary {
        percent: u8::try_from(settings.percent).unwrap_or(100),
        bars: Bars {
            evidence: u32::try_from(settings.evidence).unwrap_or(u32::MAX),
            errors: share(settings.stop_errors),
            cost: share(settings.stop_cost),
            acceptance: share(settings.stop_acceptance),
        },
    }
}
