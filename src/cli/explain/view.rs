//! How a plan looks: a header, a table, a footer.
//!
//! Why it exists: EXPLAIN is read by people who decide about money; the chosen plan stands out, what was dropped says
//! why and where that is written. What it refuses to know: how a plan came about.

use std::collections::BTreeMap;

use super::super::console::Style;
use super::super::table::{Align, Sheet};
use super::super::wire::Usd;
use super::shown::{Candidate, Shown, Step};
use crate::domain::money::Money;

/// Rows shown of those that may run, and of those that may not, unless all are asked for.
const FEW: usize = 8;

/// The plan as text.
pub(super) fn render(shown: &Shown, all: bool, styled: bool) -> String {
    let mut parts: Vec<String> = header(shown, styled).into_iter().collect();
    parts.push(table(shown, all, styled));
    parts.extend(hidden(shown, all));
    parts.push(footer(shown, styled));
    parts.join("\n\n")
}

/// `task photo, tier final, rule posters, floor 0.85`.
fn header(shown: &Shown, styled: bool) -> Option<String> {
    let mut parts = vec![format!("task {}", Style::Bold.paint(shown.task.as_ref()?, styled))];
    parts.extend(shown.tier.as_ref().map(|tier| format!("tier {tier}")));
    parts.extend(shown.rule.as_ref().map(|rule| format!("rule {rule}")));
    parts.extend(shown.floor.map(|floor| format!("floor {floor:.2}")));
    Some(parts.join(", "))
}

fn table(shown: &Shown, all: bool, styled: bool) -> String {
    let rows: Vec<&Candidate> = visible(shown, all).collect();
    let amounts = |of: fn(&Candidate) -> Usd| aligned(&rows.iter().map(|row| of(row).0).collect::<Vec<_>>());
    let cost = amounts(|row| row.expected.cost_usd);
    let worst = amounts(|row| row.expected.worst_cost_usd);
    let per_accepted = amounts(|row| Usd(to_hundredths_of_a_cent(row.expected.per_accepted_usd.0)));
    let number = |name| (name, Align::Right);
    // Most plans cost what they cost; the column is there when one of these may cost more.
    let varies = rows.iter().any(|row| row.expected.worst_cost_usd.0 != row.expected.cost_usd.0);
    let mut columns = vec![("", Align::Left), ("plan", Align::Left), ("accept (90 %)", Align::Left), number("cost")];
    columns.extend(varies.then(|| number("at worst")));
    columns.extend([number("per accepted"), number("time (95 %)"), ("not chosen because", Align::Left)]);
    let mut sheet = Sheet::new(&columns);
    for (row, ((cost, worst), per_accepted)) in rows.iter().zip(cost.into_iter().zip(worst).zip(per_accepted)) {
        let (low, high) = row.expected.accept_interval;
        let (usual, most) = (seconds(row.expected.latency_ms), seconds(row.expected.latency_p95_ms));
        let mut cells = vec![
            if row.chosen { "→".to_owned() } else { String::new() },
            steps(&row.steps),
            format!("{:.2} ({low:.2}-{high:.2})", row.expected.accept),
            cost,
        ];
        cells.extend(varies.then_some(worst));
        cells.extend([per_accepted, format!("{usual} ({most}) s"), why(row)]);
        let style = if row.chosen { Some(Style::Bold) } else { is_dropped(row).then_some(Style::Dim) };
        sheet.row(cells, style);
    }
    sheet.render(styled)
}

fn visible(shown: &Shown, all: bool) -> impl Iterator<Item = &Candidate> {
    let most = if all { usize::MAX } else { FEW };
    let (dropped, ranked): (Vec<_>, Vec<_>) = shown.candidates.iter().partition(|row| is_dropped(row));
    ranked.into_iter().take(most).chain(dropped.into_iter().take(most))
}

/// May not run, as against: may run, and another is cheaper.
fn is_dropped(row: &Candidate) -> bool {
    row.reason.as_ref().is_some_and(|reason| reason.code != "dearer")
}

/// `stability/core 1024x1024 → 512x512`, `a/cheap 1024x1024 → check text, else b/dear 1024x1024`.
fn steps(steps: &[Step]) -> String {
    steps.iter().map(step).collect::<Vec<_>>().join(" → ")
}

fn step(of: &Step) -> String {
    if let Some(verifier) = &of.verifier {
        return match of.otherwise.as_slice() {
            [] => format!("check {verifier}"),
            // The branch ends as the plan does.
            otherwise => {
                let made = otherwise.iter().filter(|step| step.op != "resize").map(step);
                format!("check {verifier}, else {}", made.collect::<Vec<_>>().join(" → "))
            }
        };
    }
    let times = of.drafts.map_or_else(String::new, |drafts| format!("{drafts} x "));
    let size = of.width.zip(of.height).map_or_else(String::new, |(width, height)| format!("{width}x{height}"));
    // A resize is what its size says.
    let name = of.model.as_deref().or((of.op != "resize").then_some(&of.op));
    name.map_or_else(|| size.clone(), |name| format!("{times}{name} {size}"))
}

fn why(row: &Candidate) -> String {
    let Some(reason) = &row.reason else {
        let waits = format!("waits {} for its limit", seconds(row.wait_ms));
        return if row.wait_ms > 0 { waits } else { String::new() };
    };
    match &reason.at {
        Some(place) => format!("{} ({place})", reason.text),
        None => reason.text.clone(),
    }
}

/// What the table leaves out, by reason.
fn hidden(shown: &Shown, all: bool) -> Option<String> {
    let left = shown.candidates.len() - visible(shown, all).count();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (dropped, ranked): (Vec<_>, Vec<_>) = shown.candidates.iter().partition(|row| is_dropped(row));
    for row in ranked.iter().skip(FEW).chain(dropped.iter().skip(FEW)) {
        *counts.entry(row.reason.as_ref().map_or("chosen", |reason| &reason.code)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(code, count)| (std::cmp::Reverse(*count), *code));
    let counts: Vec<_> = counts.into_iter().map(|(code, count)| format!("{count} {code}")).collect();
    (left > 0).then(|| format!("{left} more: {}; --all shows them", counts.join(", ")))
}

fn footer(shown: &Shown, styled: bool) -> String {
    match shown.candidates.iter().find(|row| row.chosen) {
        None => Style::Yellow.paint("no plan fits: the request would be refused with no_plan", styled),
        Some(chosen) => {
            let ground = if chosen.verdicts < 1.0 {
                "the policy's estimate, no verdicts yet".to_owned()
            } else {
                format!("{:.0} verdicts", chosen.verdicts)
            };
            format!(
                "would reserve ${} and expects an answer in {}; acceptance is {ground}",
                chosen.expected.worst_cost_usd.0,
                format_args!("{} s", seconds(chosen.expected.latency_ms))
            )
        }
    }
}

fn seconds(millis: u64) -> String {
    format!("{}.{}", millis / 1_000, millis % 1_000 / 100)
}

/// Scores are estimates: four decimals say what they know.
fn to_hundredths_of_a_cent(amount: Money) -> Money {
    Money::from_micros(amount.micros().saturating_add(50) / 100 * 100)
}

/// Amounts with as many decimals as the finest of them needs, so that the points stand under each other.
fn aligned(amounts: &[Money]) -> Vec<String> {
    let texts: Vec<String> = amounts.iter().map(Money::to_string).collect();
    let decimals = |text: &String| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let most = texts.iter().map(decimals).max().unwrap_or_default();
    texts.into_iter().map(|text| format!("${text}{}", "0".repeat(most - decimals(&text)))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::shown::{Expected, Reason};
    use super::*;

    fn made(op: &str, model: Option<&str>, side: u32) -> Step {
        let (op, model) = (op.to_owned(), model.map(str::to_owned));
        Step { op, model, width: Some(side), height: Some(side), ..Step::default() }
    }

    #[test]
    fn a_cascade_reads_as_one_line() {
        let mut dear = candidate("openai/gpt-image-2", 90_000, None);
        let check = Step {
            op: "verify".to_owned(),
            verifier: Some("text".to_owned()),
            otherwise: vec![made("generate", Some("ideogram/v1"), 1024), made("resize", None, 512)],
            ..Step::default()
        };
        dear.steps.insert(1, check);
        dear.steps[0].drafts = Some(4);
        dear.expected.worst_cost_usd = Usd(Money::from_micros(150_000));
        let text = render(&Shown { candidates: vec![dear], ..shown() }, false, false);
        let plan = "4 x openai/gpt-image-2 1024x1024 → check text, else ideogram/v1 1024x1024 → 512x512";
        assert!(text.contains(plan), "{text}");
        assert!(text.contains("at worst") && text.contains("$0.15"), "{text}");
    }

    fn candidate(model: &str, micros: i64, reason: Option<(&str, &str)>) -> Candidate {
        let usd = |micros| Usd(Money::from_micros(micros));
        Candidate {
            chosen: reason.is_none(),
            steps: vec![made("generate", Some(model), 1024), made("resize", None, 512)],
            expected: Expected {
                accept: 0.71,
                accept_interval: (0.62, 0.8),
                cost_usd: usd(micros),
                worst_cost_usd: usd(micros),
                per_accepted_usd: usd(micros * 10 / 7),
                latency_ms: 5_200,
                latency_p95_ms: 12_950,
            },
            verdicts: 0.0,
            wait_ms: 0,
            reason: reason.map(|(code, text)| Reason {
                code: code.to_owned(),
                text: text.to_owned(),
                at: (code == "floor").then(|| "policies/default.toml:12".to_owned()),
            }),
        }
    }

    fn shown() -> Shown {
        Shown {
            task: Some("concept".to_owned()),
            tier: Some("draft".to_owned()),
            rule: None,
            floor: Some(0.6),
            candidates: vec![
                candidate("stability/sd3.5-medium", 35_000, None),
                candidate("openai/gpt-image-2", 6_500, Some(("dearer", "$0.0571 per accepted image, $0.0071 more"))),
                candidate("google/imagen-4.0-ultra-generate-001", 120_000, Some(("floor", "below the floor of 0.60"))),
            ],
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_plan_reads_as_a_table() {
        insta::assert_snapshot!(render(&shown(), false, false));
    }

    #[test]
    fn many_candidates_are_counted_by_reason() {
        let mut shown = shown();
        let floor = candidate("x/y", 1, Some(("floor", "below")));
        let off = candidate("x/z", 1, Some(("provider_off", "no key")));
        shown.candidates.extend([vec![floor; 9], vec![off; 3]].concat());
        let text = render(&shown, false, false);
        assert!(text.contains("\n5 more: 3 provider_off, 2 floor; --all shows them\n"), "{text}");
        assert!(!render(&shown, true, false).contains("more:"));
    }

    #[test]
    fn styles_mark_the_chosen_and_the_dropped() {
        let text = render(&shown(), false, true);
        let line = |of: &str| text.lines().find(|line| line.contains(of)).unwrap().to_owned();
        assert!(line("sd3.5-medium").starts_with("\u{1b}[1m→"));
        assert!(line("imagen-4.0-ultra").starts_with("\u{1b}[2m "));
        assert!(!line("gpt-image-2").contains('\u{1b}'));
    }
}
