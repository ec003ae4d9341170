//! `tollgate policy replay`: the past by another policy, as a page that an operator signs or does not.
//!
//! Why it exists: what a change costs is shown before it goes live. What it refuses to know: how decisions are made.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::args::ReplayArgs;
use super::super::console::{Console, Style};
use super::super::exit::{Exit, Failure};
use super::super::table::{Align, Sheet};
use super::super::wire::Usd;
use super::{log, read};
use crate::domain::money::Money;
use crate::policy::replay::{Estimate, Report, replay};

/// Exit 1 when the candidate refuses what was served.
pub(super) async fn run(args: &ReplayArgs, console: Console) -> Result<Exit, Failure> {
    let candidate = read(&args.candidate)?;
    let log = log::read(&args.ledger, args.since).await?;
    let report = replay(&log, &candidate);
    if console.json {
        console.value(&as_json(&report, &candidate.digest))?;
    } else {
        print(&report, &candidate.digest, console)?;
    }
    Ok(if report.refused.is_empty() { Exit::Ok } else { Exit::Usage })
}

fn as_json(report: &Report, digest: &str) -> Value {
    let switches: Vec<Value> = report
        .switches
        .iter()
        .map(|((from, to), moved)| {
            json!({"from": from, "to": to, "count": moved.count, "before_usd": Usd(moved.before),
                "after_usd": Usd(moved.after)})
        })
        .collect();
    let largest: Vec<Value> = report
        .largest
        .iter()
        .map(|one| {
            json!({"id": one.id, "from": one.from, "to": one.to, "before_usd": Usd(one.cost.0),
                "after_usd": Usd(one.cost.1)})
        })
        .collect();
    json!({
        "policy": digest,
        "decisions": report.decisions,
        "unreadable": report.unreadable,
        "same": report.same,
        "repriced": report.repriced,
        "usd": {"before": Usd(report.before), "after": Usd(report.after), "ambiguous": Usd(report.ambiguous)},
        "latency_ms": {"before": millis(report.latency.0), "after": millis(report.latency.1)},
        "accept": {
            "before": estimate(&report.accept_before),
            "after": estimate(&report.accept_after),
            "after_by_weights": report.accept_by_weights.as_ref().map(estimate),
            "untried": report.unsupported,
        },
        "refused": report.refused,
        "quota_hits": report.quota_hits,
        "switches": switches,
        "idle_rules": report.idle_rules,
        "largest": largest,
    })
}

fn estimate(one: &Estimate) -> Value {
    let value = if one.value.is_nan() { Value::Null } else { one.value.into() };
    json!({"share": value, "low": one.interval.low, "high": one.interval.high, "verdicts": one.verdicts})
}

#[expect(clippy::cast_possible_truncation, reason = "a latency in milliseconds is far below 2^64")]
fn millis(span: Duration) -> u64 {
    span.as_millis() as u64
}

fn print(report: &Report, digest: &str, console: Console) -> Result<(), Failure> {
    console.data(format_args!(
        "{} decisions made again under policy {digest}: {} the same, {} another plan, {} refused",
        report.decisions,
        report.same,
        report.decisions - report.same - report.refused.values().sum::<usize>(),
        report.refused.values().sum::<usize>(),
    ))?;
    if report.repriced > 0 {
        console.data(format_args!("{} of the same plans have another price in this policy", report.repriced))?;
    }
    if report.unreadable > 0 {
        console.say(format_args!("{} rows of an older build do not say what the planner saw", report.unreadable));
    }
    let mut sums = Sheet::new(&[("", Align::Left), ("then", Align::Right), ("by this policy", Align::Right)]);
    let mut line = |name: &str, then: String, now: String| sums.row(vec![name.to_owned(), then, now], None);
    line("dollars", format!("${}", report.before), format!("${} ({})", report.after, change(report)));
    line("accepted", share(&report.accept_before), share(&report.accept_after));
    if let Some(weights) = &report.accept_by_weights {
        line("  by weights alone", String::new(), share(weights));
    }
    line("mean latency", seconds(report.latency.0), seconds(report.latency.1));
    line("a cheaper plan had no room", String::new(), report.quota_hits.to_string());
    console.data(sums.render(console.styles_data()))?;
    if report.unsupported > 0 {
        console.data(format_args!(
            "cannot tell: {} decisions go to plans that this log never tried for their task; their acceptance is the\n\
             policy's belief alone, and the interval is as wide as that belief",
            report.unsupported
        ))?;
    }
    switches(report, console)?;
    for (why, count) in &report.refused {
        console.data(Style::Red.paint(&format!("{count} requests would be refused: {why}"), console.styles_data()))?;
    }
    if !report.idle_rules.is_empty() {
        let names: Vec<&str> = report.idle_rules.iter().map(|id| &**id).collect();
        console.data(format_args!("rules that decided nothing: {}", names.join(", ")))?;
    }
    if report.ambiguous > Money::ZERO {
        console.data(format_args!("${} in doubt is in neither sum", report.ambiguous))?;
    }
    Ok(())
}

/// From plan to plan, most dollars first.
pub(super) fn switches(report: &Report, console: Console) -> Result<(), Failure> {
    if report.switches.is_empty() {
        return Ok(());
    }
    let columns = [("from", Align::Left), ("to", Align::Left), ("times", Align::Right), ("change", Align::Right)];
    let mut sheet = Sheet::new(&columns);
    let mut rows: Vec<_> = report.switches.iter().collect();
    rows.sort_by_key(|(_, moved)| std::cmp::Reverse(moved.before.micros().abs_diff(moved.after.micros())));
    for ((from, to), moved) in rows.into_iter().take(20) {
        sheet.row(vec![from.clone(), to.clone(), moved.count.to_string(), signed(moved.before, moved.after)], None);
    }
    console.data(sheet.render(console.styles_data()))
}

/// `-$1.20` or `+$0.30`.
pub(super) fn signed(before: Money, after: Money) -> String {
    if after < before { format!("-${}", before.less(after)) } else { format!("+${}", after.less(before)) }
}

fn change(report: &Report) -> String {
    let (before, after) = (report.before.micros() as f64, report.after.micros() as f64);
    if before > 0.0 { format!("{:+.1} %", (after / before - 1.0) * 100.0) } else { "new".to_owned() }
}

fn share(one: &Estimate) -> String {
    if one.value.is_nan() {
        return "no verdicts".to_owned();
    }
    format!("{:.0} % [{:.0}, {:.0}]", one.value * 100.0, one.interval.low * 100.0, one.interval.high * 100.0)
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}
