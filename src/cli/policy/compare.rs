//! `tollgate policy diff`: two policies, and with a ledger the decisions that tell them apart.
//!
//! Why it exists: what a reviewer approves is a list of meanings. What it refuses to know: text.

use serde_json::{Value, json};

use super::super::args::DiffArgs;
use super::super::console::{Console, Style};
use super::super::exit::{Exit, Failure};
use super::super::wire::Usd;
use super::{log, read, replay};
use crate::policy::diff::{Difference, diff};
use crate::policy::replay::{Report, replay as again};

pub(super) async fn run(args: &DiffArgs, console: Console) -> Result<Exit, Failure> {
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let differences = diff(&old, &new);
    let report = match &args.ledger {
        None => None,
        Some(place) => Some(again(&log::read(place, args.since).await?, &new)),
    };
    if console.json {
        console.value(&json!({
            "old": old.digest, "new": new.digest,
            "differences": differences.iter().map(as_json).collect::<Vec<_>>(),
            "decisions": report.as_ref().map(decisions),
        }))?;
        return Ok(Exit::Ok);
    }
    console.data(format_args!("policy {} → {}", old.digest, new.digest))?;
    for one in &differences {
        let style = match one.sign() {
            '+' => Style::Green,
            '-' => Style::Red,
            _ => Style::Yellow,
        };
        console.data(style.paint(&format!("  {one}"), console.styles_data()))?;
    }
    let count = |sign| differences.iter().filter(|one| one.sign() == sign).count();
    console.data(format_args!("{} new, {} changed, {} gone", count('+'), count('~'), count('-')))?;
    if let Some(report) = report {
        let changed = report.decisions - report.same;
        console.data(format_args!(
            "\n{changed} of {} decisions change, {} by expected price",
            report.decisions,
            replay::signed(report.before, report.after)
        ))?;
        replay::switches(&report, console)?;
    }
    Ok(Exit::Ok)
}

fn as_json(one: &Difference) -> Value {
    json!({"path": one.path, "old": one.old, "new": one.new})
}

fn decisions(report: &Report) -> Value {
    json!({
        "all": report.decisions, "changed": report.decisions - report.same,
        "before_usd": Usd(report.before), "after_usd": Usd(report.after), "refused": report.refused,
    })
}
