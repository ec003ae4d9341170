//! `tollgate doctor`: whether this machine can run the gateway, before it has to.
//!
//! Why it exists: a busy port, a missing secret or a slow disk is better found now than by the first request. Each check
//! says what it saw and what to type next; it changes nothing and buys nothing. What it refuses to know: secrets; it
//! names them. To add a check: a function in `doctor/`, called from [`examine`].

mod machine;
mod reach;
mod shared;

use serde::Serialize;

use super::args::DoctorArgs;
use super::console::{Console, Style};
use super::exit::{Exit, Failure};
use super::house;
use super::settings::Settings;
use crate::domain::money::Money;
use crate::policy::{self, CheckReport, Severity};
use crate::state::postgres::PostgresLedger;
use crate::state::sqlite::SqliteLedger;
use crate::state::{Ledger, LedgerFault};

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: String,
    mark: Mark,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Check {
    fn new(name: &str, mark: Mark, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), mark, detail: detail.into(), help: None }
    }

    fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Mark::Ok, detail)
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

pub(crate) async fn run(args: DoctorArgs, console: Console) -> Result<Exit, Failure> {
    let checks = match Settings::of_process(&args.planes) {
        Ok(settings) => examine(&settings, args.reach).await,
        Err(failure) => {
            let check = Check::new("settings", Mark::Fail, failure.what());
            vec![failure.next().first().map_or_else(|| check.clone(), |help| check.clone().help(help))]
        }
    };
    let healthy = checks.iter().all(|check| check.mark != Mark::Fail);
    if console.json {
        console.value(&serde_json::json!({"ok": healthy, "checks": checks}))?;
    } else {
        console.data(render(&checks, console.styles_data()))?;
    }
    Ok(if healthy { Exit::Ok } else { Exit::Usage })
}

fn render(checks: &[Check], styled: bool) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let line = |check: &Check| {
        let mark = match check.mark {
            Mark::Ok => Style::Green.paint("ok  ", styled),
            Mark::Warn => Style::Yellow.paint("warn", styled),
            Mark::Fail => Style::Red.paint("FAIL", styled),
        };
        let indent = format!("\n{:1$}", "", width + 8);
        let detail = check.detail.replace('\n', &indent);
        let help = check.help.as_ref().map(|help| format!("{indent}{} {help}", Style::Bold.paint("help:", styled)));
        format!("{mark}  {:width$}  {detail}{}", check.name, help.unwrap_or_default())
    };
    checks.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Every check, in the order in which a start would meet them.
async fn examine(settings: &Settings, reach: bool) -> Vec<Check> {
    let mut checks = vec![machine::clock()];
    checks.push(machine::open_files(settings));
    checks.extend(machine::addresses(settings));
    checks.push(machine::disk(settings.data()));
    checks.push(ledger(settings).await);
    checks.extend(shared::redis(settings).await);
    let report = house::check_policy(settings);
    checks.push(policy(&report));
    if let Some(snapshot) = &report.snapshot {
        checks.extend(snapshot.native.on.then(|| machine::pass_through(settings)));
        checks.push(secrets(snapshot));
        checks.extend(exposure(settings, snapshot));
        if reach {
            checks.extend(reach::providers(snapshot).await);
        }
    }
    checks
}

/// The shared ledger as a gateway would open it; it is a replica for this moment.
async fn shared_ledger(url: String) -> Check {
    let opened = tokio::task::spawn_blocking(move || PostgresLedger::open(&url)).await;
    let doubt = match opened {
        Ok(Ok(ledger)) => ledger.doubt().await,
        Ok(Err(fault)) => Err(fault),
        Err(why) => Err(LedgerFault::Unavailable(why.to_string())),
    };
    match doubt {
        Ok(sums) => {
            let total: Money = sums.iter().map(|sum| sum.sum).sum();
            Check::ok("ledger", format!("Postgres answers; ${total} in doubt"))
        }
        Err(fault) => Check::new("ledger", Mark::Fail, fault.to_string())
            .help("ledger.url is a postgres:// address that this machine reaches"),
    }
}

async fn ledger(settings: &Settings) -> Check {
    if let Some(url) = settings.ledger.url.clone() {
        return shared_ledger(url).await;
    }
    let path = settings.data().join("tollgate.db");
    if !path.is_file() {
        return Check::ok("ledger", format!("{} will be made", path.display()));
    }
    let doubt = match SqliteLedger::read_only(&path) {
        Ok(ledger) => ledger.doubt().await,
        Err(fault) => Err(fault),
    };
    match doubt {
        Ok(sums) if sums.is_empty() => Check::ok("ledger", format!("{}, nothing in doubt", path.display())),
        Ok(sums) => {
            let total: Money = sums.iter().map(|sum| sum.sum).sum();
            let names: Vec<_> = sums.iter().map(|sum| format!("{} ${}", sum.provider, sum.sum)).collect();
            let detail = format!("{}, ${total} in doubt: {}", path.display(), names.join(", "));
            Check::new("ledger", Mark::Warn, detail).help("hold it against the providers' own bills")
        }
        Err(fault) => Check::new("ledger", Mark::Fail, format!("{}: {fault}", path.display())),
    }
}

fn policy(report: &CheckReport) -> Check {
    let count = |severity| report.diagnostics.iter().filter(|one| one.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let mark = match (errors, warnings) {
        (0, 0) => Mark::Ok,
        (0, _) => Mark::Warn,
        _ => Mark::Fail,
    };
    match &report.snapshot {
        Some(snapshot) => {
            let catalog = &snapshot.catalog;
            let found = format!(
                "{}: {} providers, {} models, {} rules",
                snapshot.digest,
                catalog.providers.len(),
                catalog.models.len(),
                snapshot.rules.len()
            );
            let check = Check::new("policy", mark, found);
            if warnings > 0 { check.help(format!("{warnings} warnings: tollgate policy check")) } else { check }
        }
        None => Check::new("policy", Mark::Fail, format!("{errors} errors")).help("tollgate policy check shows them"),
    }
}

/// Which providers have what they need. Their lines name a secret's place and never the secret.
fn secrets(snapshot: &policy::Snapshot) -> Check {
    let off = snapshot.off_lines();
    let on = snapshot.catalog.providers.iter().filter(|provider| provider.off.is_none());
    let names: Vec<_> = on.map(|provider| &*provider.name).collect();
    let mut detail = format!("{} of {} providers are on", names.len(), snapshot.catalog.providers.len());
    for line in &off {
        detail.push('\n');
        detail.push_str(line);
    }
    if snapshot.is_empty_handed() {
        Check::new("secrets", Mark::Fail, detail).help("set a provider's key, or try `tollgate demo`, which needs none")
    } else {
        Check::new("secrets", if off.is_empty() { Mark::Ok } else { Mark::Warn }, detail)
    }
}

/// An open gateway spends its owner's money for everyone.
fn exposure(settings: &Settings, snapshot: &policy::Snapshot) -> Option<Check> {
    let failure = house::exposed(settings, snapshot)?;
    let check = Check::new("exposure", Mark::Fail, failure.what());
    Some(failure.next().first().map_or_else(|| check.clone(), |help| check.clone().help(help)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_read_as_a_list() {
        let checks = [
            Check::ok("clock", "2026-11-22 22:12 UTC"),
            Check::new("secrets", Mark::Warn, "1 of 2 providers are on\nprovider a is off: KEY is not set"),
            Check::new("listen", Mark::Fail, "127.0.0.1:8080 is taken").help("choose another with --listen"),
        ];
        insta::assert_snapshot!(render(&checks, false), @r"
        ok    clock    2026-11-22 22:12 UTC
        warn  secrets  1 of 2 providers are on
                       provider a is off: KEY is not set
        FAIL  listen   127.0.0.1:8080 is taken
                       help: choose another with --listen
        ");
    }
}
