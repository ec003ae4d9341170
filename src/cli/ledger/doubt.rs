//! `tollgate ledger ambiguous` and `reconcile`: the money that nobody knows of, and the invoice that does.
//!
//! Why it exists: doubt stays held until somebody knows, and an invoice knows. What it refuses to know: providers'
//! invoices; a spreadsheet brings any of them into a few columns.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::super::args::{AmbiguousArgs, ReconcileArgs};
use super::super::console::{Console, Style};
use super::super::exit::{Exit, Failure};
use super::super::table::{Align, Sheet};
use super::super::wire::Usd;
use super::{beside, open, unreadable};
use crate::domain::money::Money;
use crate::state::doubts::{DoubtfulCall, Doubts, Settlement};
use crate::telemetry::clock;

pub(super) async fn list(args: &AmbiguousArgs, console: Console) -> Result<Exit, Failure> {
    let calls = Doubts::new(open(&args.data).await?).list().await.map_err(|fault| unreadable(&fault))?;
    let sum: Money = calls.iter().map(|call| call.held).sum();
    if console.json {
        let rows: Vec<_> = calls
            .iter()
            .map(|call| {
                json!({"id": call.generation, "seq": call.seq, "provider": call.provider, "model": call.model,
                    "key": call.key, "usd": Usd(call.held), "outcome": call.outcome, "created": call.created.to_string(),
                    "age_s": age(call).as_secs(), "can_be_asked": call.trace.is_some()})
            })
            .collect();
        let oldest = calls.iter().map(|call| age(call).as_secs()).max();
        console.value(&json!({"count": calls.len(), "usd": Usd(sum), "oldest_s": oldest, "rows": rows}))?;
    } else if calls.is_empty() {
        console.say("no money is in doubt");
    } else {
        console.data(table(&calls, sum).render(console.styles_data()))?;
        console.say("an invoice settles it: `tollgate ledger reconcile FILE.csv`, with the columns id, seq and usd");
    }
    Ok(if calls.is_empty() { Exit::Ok } else { Exit::Ambiguous })
}

fn age(call: &DoubtfulCall) -> std::time::Duration {
    std::time::Duration::try_from(clock::now().duration_since(call.created)).unwrap_or_default()
}

fn spoken(age: std::time::Duration) -> String {
    match age.as_secs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

fn table(calls: &[DoubtfulCall], sum: Money) -> Sheet {
    let (word, number) = (|name| (name, Align::Left), |name| (name, Align::Right));
    let columns =
        [word("id"), number("seq"), word("model"), word("key"), word("outcome"), number("age"), number("held")];
    let mut sheet = Sheet::new(&columns);
    for call in calls {
        let cells = [&*call.generation, &call.seq.to_string(), &call.model, &call.key, &call.outcome];
        let mut cells: Vec<String> = cells.map(str::to_owned).into();
        cells.extend([spoken(age(call)), format!("${}", call.held)]);
        sheet.row(cells, None);
    }
    let oldest = calls.iter().map(age).max().unwrap_or_default();
    let total = ["total", "", "", "", "", &spoken(oldest), &format!("${sum}")].map(str::to_owned);
    sheet.row(total.into(), Some(Style::Bold));
    sheet
}

pub(super) async fn reconcile(args: &ReconcileArgs, console: Console) -> Result<Exit, Failure> {
    let text = std::fs::read_to_string(&args.file)
        .map_err(|why| Failure::usage(format!("{} cannot be read: {why}", args.file.display())))?;
    let rows = rows(&text).map_err(|why| {
        Failure::usage(format!("{}: {why}", args.file.display()))
            .help("the first line names the columns: id, seq, usd; or provider, model, at, usd")
    })?;
    let doubts = Doubts::new(beside(&args.data).await?);
    let calls = doubts.list().await.map_err(|fault| unreadable(&fault))?;
    let (settlements, strangers) = matched(&rows, &calls, &args.file.display().to_string());
    let changed = if args.dry_run {
        settlements.len() as u64
    } else {
        doubts.settle(&settlements).await.map_err(|fault| unreadable(&fault))?
    };
    let left = calls.len().saturating_sub(usize::try_from(changed).unwrap_or(usize::MAX));
    let charged: Money = settlements.iter().map(|settled| settled.charged).sum();
    let freed = settlements.iter().filter(|settled| settled.charged == Money::ZERO).count();
    if console.json {
        console.value(&json!({"settled": changed, "freed": freed, "charged_usd": Usd(charged), "left": left,
            "unmatched_lines": strangers, "dry_run": args.dry_run}))?;
    } else {
        let word = if args.dry_run { "would be settled" } else { "settled" };
        console
            .data(format_args!("{changed} calls {word}: ${charged} charged, {freed} freed; {left} still in doubt"))?;
        for line in &strangers {
            console.warn(format_args!("line {line} fits no call in doubt"));
        }
    }
    Ok(if left > 0 { Exit::Ambiguous } else { Exit::Ok })
}

/// A row of an invoice.
#[derive(Debug, PartialEq)]
struct Row {
    line: usize,
    id: Option<String>,
    seq: Option<i64>,
    provider: Option<String>,
    model: Option<String>,
    at: Option<Timestamp>,
    usd: Money,
}

/// The columns by any of the names that invoices use.
const NAMES: [(&str, &[&str]); 7] = [
    ("id", &["id", "generation", "generation_id", "request"]),
    ("seq", &["seq", "attempt", "#"]),
    ("provider", &["provider", "vendor"]),
    ("model", &["model"]),
    ("at", &["at", "time", "created", "date", "timestamp", "at_ms"]),
    ("usd", &["usd", "amount", "amount_usd", "charged_usd", "cost_usd", "cost", "billed_usd"]),
    ("micros", &["billed_micro_usd", "micro_usd"]),
];

fn rows(text: &str) -> Result<Vec<Row>, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, head) = lines.next().ok_or("it is empty")?;
    let columns: Vec<Option<&str>> =
        cells(head.trim_start_matches('\u{feff}')).iter().map(|cell| known(cell)).collect();
    let has = |name: &str| columns.contains(&Some(name));
    if !(has("usd") || has("micros")) || !(has("id") || has("provider")) {
        return Err("it has no column `usd`, or neither `id` nor `provider`".to_owned());
    }
    lines.map(|(at, line)| row(at + 1, line, &columns)).collect()
}

fn known(cell: &str) -> Option<&'static str> {
    let cell = cell.trim().to_ascii_lowercase();
    NAMES.iter().find(|(_, names)| names.contains(&cell.as_str())).map(|(name, _)| *name)
}

fn row(line: usize, text: &str, columns: &[Option<&str>]) -> Result<Row, String> {
    let cells = cells(text);
    let named: BTreeMap<&str, &str> =
        columns.iter().zip(&cells).filter_map(|(name, cell)| Some(((*name)?, cell.trim()))).collect();
    let get = |name: &str| named.get(name).copied().filter(|cell| !cell.is_empty());
    let wrong = |what: &str| format!("line {line}: {what}");
    let usd = match (get("micros"), get("usd")) {
        (Some(micros), _) => micros.parse().ok().map(Money::from_micros),
        (None, Some(usd)) => usd.trim_start_matches('$').parse().ok(),
        (None, None) => None,
    };
    let seq = get("seq").map(|seq| seq.parse().map_err(|_| wrong("`seq` is no number"))).transpose()?;
    Ok(Row {
        line,
        id: get("id").map(str::to_owned),
        seq,
        provider: get("provider").map(str::to_owned),
        model: get("model").map(str::to_owned),
        at: get("at").and_then(instant),
        usd: usd.filter(|usd| *usd >= Money::ZERO).ok_or_else(|| wrong("`usd` is no amount of zero or more"))?,
    })
}

fn instant(text: &str) -> Option<Timestamp> {
    let milliseconds = text.parse::<i64>().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    milliseconds.or_else(|| text.parse().ok())
}

/// The cells of a line of comma-separated values, quoted ones whole.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    cells
}

/// Each row with the oldest call that fits it and that no row before it has taken; and the lines that fit none.
fn matched(rows: &[Row], calls: &[DoubtfulCall], source: &str) -> (Vec<Settlement>, Vec<usize>) {
    let mut open: Vec<&DoubtfulCall> = calls.iter().collect();
    let (mut settlements, mut strangers) = (Vec::new(), Vec::new());
    for row in rows {
        match open.iter().position(|call| fits(row, call)) {
            Some(at) => {
                let call = open.remove(at);
                settlements.push(Settlement {
                    generation: call.generation.clone(),
                    seq: call.seq,
                    charged: row.usd,
                    why: format!("by {source}, line {}", row.line),
                });
            }
            None => strangers.push(row.line),
        }
    }
    (settlements, strangers)
}

fn fits(row: &Row, call: &DoubtfulCall) -> bool {
    let is = |cell: &Option<String>, text: &str| cell.as_deref().is_none_or(|cell| cell == text);
    // Models are named with their provider here and without it on an invoice.
    let model =
        row.model.as_deref().is_none_or(|model| *call.model == *model || call.model.ends_with(&format!("/{model}")));
    let named = is(&row.id, &call.generation) && row.seq.is_none_or(|seq| seq == call.seq);
    let in_time = row.at.is_none_or(|at| at >= call.created);
    // More than was held for it is another call, unless the row names it.
    named && is(&row.provider, &call.provider) && model && in_time && (row.id.is_some() || row.usd <= call.held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, seq: i64, model: &str, held: i64) -> DoubtfulCall {
        DoubtfulCall {
            generation: id.into(),
            seq,
            provider: model.split('/').next().unwrap().into(),
            model: model.into(),
            held: Money::from_micros(held),
            outcome: "crashed".to_owned(),
            created: Timestamp::UNIX_EPOCH,
            key: "-".into(),
            trace: None,
        }
    }

    fn settled(text: &str) -> (Vec<(String, i64, i64)>, Vec<usize>) {
        let calls = [call("gen_1", 0, "a/x", 50), call("gen_2", 0, "a/y", 50), call("gen_2", 1, "a/x", 50)];
        let (settled, strangers) = matched(&rows(text).unwrap(), &calls, "f");
        let short = |s: &Settlement| (s.generation.to_string(), s.seq, s.charged.micros());
        (settled.iter().map(short).collect(), strangers)
    }

    #[test]
    fn a_row_settles_the_call_that_it_names() {
        let one = |id: &str, seq, micros| (id.to_owned(), seq, micros);
        let text = "id,seq,usd\ngen_2,1,0.00004\n\"gen_1\",,$0\ngen_9,0,1\n";
        assert_eq!(settled(text), (vec![one("gen_2", 1, 40), one("gen_1", 0, 0)], vec![4]));
    }

    #[test]
    fn a_row_without_a_name_settles_the_oldest_that_fits() {
        let text =
            "Provider,Model,Amount\r\na,x,0.00005\r\na,x,0.00003\r\na,x,0.00003\r\nb,x,0.00001\r\na,y,0.00009\r\n";
        let (settled, strangers) = settled(text);
        let ids: Vec<_> = settled.iter().map(|(id, seq, _)| (id.as_str(), *seq)).collect();
        assert_eq!((ids, strangers), (vec![("gen_1", 0), ("gen_2", 1)], vec![4, 5, 6]));
    }

    #[test]
    fn what_is_no_invoice_is_refused() {
        for text in
            ["", "id,seq\ngen_1,0\n", "usd\n1\n", "id,usd\ngen_1,much\n", "id,usd\ngen_1,-1\n", "id,seq,usd\na,b,1\n"]
        {
            assert!(rows(text).is_err(), "{text}");
        }
    }
}
