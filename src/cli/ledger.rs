//! `tollgate ledger`: what was spent, from the file of the books, also while a gateway writes it.
//!
//! Why it exists: money must be answerable without a running gateway. What it refuses to know: SQL.

mod doubt;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{LedgerCommand, ShowArgs, SpendArgs, SpendGroup};
use super::console::Console;
use super::exit::{Exit, Failure};
use super::table::{Align, Sheet};
use super::wire::Usd;
use crate::domain::ledger::Sums;
use crate::domain::money::Money;
use crate::policy::{Env, Process};
use crate::state::postgres::PostgresLedger;
use crate::state::sqlite::SqliteLedger;
use crate::state::{Ledger, LedgerFault, Record, SpendBy, SpendRow};
use crate::telemetry::clock;

pub(crate) async fn run(command: LedgerCommand, console: Console) -> Result<Exit, Failure> {
    match command {
        LedgerCommand::Spend(args) => spend(&args, console).await,
        LedgerCommand::Show(args) => show(&args, console).await,
        LedgerCommand::Ambiguous(args) => doubt::list(&args, console).await,
        LedgerCommand::Reconcile(args) => doubt::reconcile(&args, console).await,
    }
}

/// Opens the books for reading: those that `TOLLGATE_LEDGER__URL` names, else the file of a data folder.
async fn open(data: &Path) -> Result<Arc<dyn Ledger>, Failure> {
    match shared().await? {
        Some(ledger) => Ok(ledger),
        None => Ok(Arc::new(SqliteLedger::read_only(file(data)?).map_err(|fault| unreadable(&fault))?)),
    }
}

/// Opens the books for writing, beside the gateway that does.
async fn beside(data: &Path) -> Result<Arc<dyn Ledger>, Failure> {
    match shared().await? {
        Some(ledger) => Ok(ledger),
        None => Ok(Arc::new(SqliteLedger::beside(file(data)?).map_err(|fault| unreadable(&fault))?)),
    }
}

/// The books in Postgres, when the environment names some; this process is a replica for as long as it has them.
async fn shared() -> Result<Option<Arc<dyn Ledger>>, Failure> {
    match Process.var("TOLLGATE_LEDGER__URL") {
        Some(url) => Ok(Some(at(url).await?)),
        None => Ok(None),
    }
}

/// The books in Postgres at this address; this process is a replica for as long as it has them.
pub(crate) async fn at(url: String) -> Result<Arc<dyn Ledger>, Failure> {
    let opened = tokio::task::spawn_blocking(move || PostgresLedger::open(&url)).await;
    let opened = opened.map_err(|why| Failure::usage(why.to_string()))?;
    Ok(Arc::new(opened.map_err(|fault| unreadable(&fault))?))
}

/// The file of the books.
fn file(data: &Path) -> Result<PathBuf, Failure> {
    let path = data.join("tollgate.db");
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::usage(format!("there is no ledger at {}", path.display()))
        .help("name the gateway's data folder with --data; `tollgate serve` prints it"))
}

fn unreadable(fault: &LedgerFault) -> Failure {
    Failure::usage(fault.to_string())
}

async fn spend(args: &SpendArgs, console: Console) -> Result<Exit, Failure> {
    let (by, name) = match args.by {
        SpendGroup::Day => (SpendBy::Day, "day"),
        SpendGroup::Key => (SpendBy::Key, "key"),
        SpendGroup::Model => (SpendBy::Model, "model"),
        SpendGroup::Task => (SpendBy::Task, "task"),
    };
    let since = clock::now() - args.since;
    let mut rows = open(&args.data).await?.spend(by, since).await.map_err(|fault| unreadable(&fault))?;
    if by == SpendBy::Day {
        rows.sort_by(|a, b| a.group.cmp(&b.group));
    }
    if console.json {
        let rows: Vec<_> = rows.iter().map(|row| spent(row, name)).collect();
        console.value(&json!({"by": name, "since": since.to_string(), "rows": rows}))?;
    } else if rows.is_empty() {
        console.say(format_args!("nothing was spent since {since:.0}; --since looks further back"));
    } else {
        console.data(spend_table(&rows, name).render(console.styles_data()))?;
    }
    Ok(Exit::Ok)
}

fn spent(row: &SpendRow, name: &str) -> Value {
    json!({
        name: row.group,
        "generations": row.generations,
        "images": row.images,
        "settled_usd": Usd(row.settled),
        "ambiguous_usd": Usd(row.ambiguous),
    })
}

fn spend_table(rows: &[SpendRow], name: &str) -> Sheet {
    let number = |name| (name, Align::Right);
    let columns = [(name, Align::Left), number("generations"), number("images"), number("settled"), number("in doubt")];
    let mut sheet = Sheet::new(&columns);
    let line = |name: &str, generations: u64, images: u64, settled: Money, ambiguous: Money| {
        let doubt = if ambiguous > Money::ZERO { format!("${ambiguous}") } else { "-".to_owned() };
        vec![name.to_owned(), generations.to_string(), images.to_string(), format!("${settled}"), doubt]
    };
    for row in rows {
        sheet.row(line(&row.group, row.generations, row.images, row.settled, row.ambiguous), None);
    }
    if rows.len() > 1 {
        let settled = rows.iter().map(|row| row.settled).sum();
        let ambiguous = rows.iter().map(|row| row.ambiguous).sum();
        let (generations, images) = rows.iter().fold((0, 0), |(g, i), row| (g + row.generations, i + row.images));
        sheet.row(line("total", generations, images, settled, ambiguous), Some(super::console::Style::Bold));
    }
    sheet
}

async fn show(args: &ShowArgs, console: Console) -> Result<Exit, Failure> {
    let record = open(&args.data).await?.show(&args.id).await.map_err(|fault| unreadable(&fault))?;
    let Some(record) = record else {
        return Err(Failure::usage(format!("the ledger has no generation {}", args.id))
            .help("the id is the field `id` of an answer: gen_ and 32 characters"));
    };
    if console.json {
        console.value(&as_json(&record))?;
    } else {
        console.data(as_text(&record, console))?;
    }
    Ok(Exit::Ok)
}

fn as_json(record: &Record) -> Value {
    let opening = &record.opening;
    let closing = record.closing.as_ref();
    let attempts = closing.map_or(&opening.attempts, |closing| &closing.attempts);
    let sums = Sums::of(attempts);
    let attempts: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            json!({
                "seq": attempt.seq, "provider": attempt.provider, "model": attempt.model, "outcome": attempt.outcome, "class": attempt.class().name(),
                "detail": attempt.detail, "state": attempt.state.name(), "billed": attempt.billed.name(),
                "basis": attempt.basis.name(), "held_usd": Usd(attempt.held), "usd": Usd(attempt.charged),
                "latency_ms": millis(attempt.latency),
            })
        })
        .collect();
    json!({
        "id": opening.id, "created": opening.created.to_string(), "key": opening.key, "task": opening.task,
        "model": closing.map_or(&opening.model, |closing| &closing.model), "plan": opening.plan, "rule": opening.rule,
        "policy": opening.policy, "prompt_sha256": opening.prompt_sha256, "prompt": opening.prompt,
        "metadata": opening.metadata, "expected": {"cost_usd": Usd(opening.expected_cost),
        "accept": opening.expected_accept}, "reserved_usd": Usd(opening.reserved),
        "status": closing.map_or("running", |closing| closing.outcome),
        "ended": closing.map(|closing| closing.ended.to_string()),
        "latency_ms": closing.map(|closing| millis(closing.latency)),
        "images": closing.map(|closing| closing.images.clone()).unwrap_or_default(),
        "cost": {"usd": Usd(sums.settled), "ambiguous_usd": Usd(sums.ambiguous), "held_usd": Usd(sums.held)},
        "attempts": attempts,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn as_text(record: &Record, console: Console) -> String {
    let opening = &record.opening;
    let closing = record.closing.as_ref();
    let attempts = closing.map_or(&opening.attempts, |closing| &closing.attempts);
    let sums = Sums::of(attempts);
    let mut lines = vec![
        format!("{}  {}", opening.id, closing.map_or("running", |closing| closing.outcome)),
        format!("created   {:.0}, key {}, policy {}", opening.created, opening.key, opening.policy),
        format!(
            "plan      {}, task {}{}",
            opening.plan,
            opening.task,
            opening.rule.as_ref().map(|rule| format!(", rule {rule}")).unwrap_or_default()
        ),
        format!("expected  ${}, accepted with {:.2}", opening.expected_cost, opening.expected_accept),
        format!("money     ${} settled, ${} in doubt, ${} held", sums.settled, sums.ambiguous, sums.held),
    ];
    lines.extend(opening.prompt.as_ref().map(|prompt| format!("prompt    {}", prompt.replace('\n', " "))));
    lines.extend(opening.metadata.iter().map(|(name, value)| format!("metadata  {name}={value}")));
    lines.extend(
        closing.into_iter().flat_map(|closing| &closing.images).map(|image| format!("image     /images/{image}")),
    );
    let number = |name| (name, Align::Right);
    let word = |name| (name, Align::Left);
    let columns =
        [number("#"), word("model"), word("outcome"), word("money"), number("usd"), number("seconds"), word("detail")];
    let mut sheet = Sheet::new(&columns);
    for attempt in attempts {
        sheet.row(
            vec![
                attempt.seq.to_string(),
                attempt.model.to_string(),
                attempt.outcome.to_owned(),
                attempt.state.name().to_owned(),
                format!("${}", attempt.exposure()),
                format!("{:.1}", attempt.latency.as_secs_f64()),
                attempt.detail.clone(),
            ],
            None,
        );
    }
    format!("{}\n\n{}", lines.join("\n"), sheet.render(console.styles_data()))
}
