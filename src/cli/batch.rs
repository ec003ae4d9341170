//! `tollgate batch`: an image of every line, never bought twice.
//!
//! Why it exists: thousands of images outlive any one process. The manifest tells what is done, the key of a line lets
//! the gateway tell what is bought, and so a rerun after any end, `kill -9` included, only does what is left. What it
//! refuses to know: prices and providers.

mod lines;
mod manifest;
mod progress;
mod purse;
mod totals;
mod work;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::args::BatchArgs;
use super::ask;
use super::client::Gateway;
use super::console::Console;
use super::exit::{Exit, Failure};
use super::serve::Signals;
use super::wire;
use lines::Line;
use manifest::{Manifest, Record, Status};
use progress::Progress;
use purse::Purse;
use totals::Totals;
use work::{Ended, Job};

use crate::telemetry::clock;

/// How long a gateway remembers an `Idempotency-Key`; an older unfinished line could be bought again unnoticed.
const KEY_LIFE: Duration = Duration::from_hours(24);

/// What the lines of one run share; all of it lives on one task.
#[derive(Debug)]
struct Batch<'a> {
    gateway: &'a Gateway,
    manifest: RefCell<Manifest>,
    purse: Purse,
    progress: Progress,
    stopping: Cell<bool>,
    stop: Notify,
}

pub(crate) async fn run(args: BatchArgs, console: Console) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let gateway = Gateway::new(&args.gateway)?;
    let name = args.file.display().to_string();
    let lines = lines::parse(&ask::read(&args.file)?, &name, &args.ask)?;
    let mut manifest = Manifest::open(&args.output)?;
    refetch(&mut manifest, &lines, &gateway).await?;
    let sorted = Sorted::of(&lines, &manifest, args.rebuy);
    sorted.tell(console);
    let before = Totals::of(&manifest, std::iter::empty());
    let batch = Batch {
        gateway: &gateway,
        manifest: RefCell::new(manifest),
        purse: Purse::new(args.budget, before.cost.0 + before.ambiguous.0),
        progress: Progress::new(console, sorted.todo.len()),
        stopping: Cell::new(false),
        stop: Notify::new(),
    };
    let mut ends = Ends { doubtful: !sorted.doubtful.is_empty(), ..Ends::default() };
    let ran = batch.run(sorted.todo, usize::from(args.concurrency), &mut signals, &mut ends).await;
    batch.progress.finish();
    let totals = Totals::of(&batch.manifest.borrow(), lines.iter().map(|line| line.key.as_str()));
    if console.json {
        console.value(&totals)?;
    } else {
        console.data(totals.line())?;
    }
    ran?;
    Ok(ends.conclude(&totals, &gateway, console))
}

impl Batch<'_> {
    /// Sends every line, `concurrency` at a time, until all have ended or the batch must stop.
    async fn run(
        &self,
        todo: Vec<Job<'_>>,
        concurrency: usize,
        signals: &mut Signals,
        ends: &mut Ends,
    ) -> Result<(), Failure> {
        let mut todo = todo.into_iter();
        let mut running = FuturesUnordered::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            while !self.stopping.get() && running.len() < concurrency {
                let Some(job) = todo.next() else { break };
                running.push(async move { (job.line, work::line(self, &job).await) });
            }
            if running.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some((line, ended)) = running.next() => self.note(line, ended?, ends),
                _ = ticks.tick() => self.progress.tick(),
                _ = signals.next() => {
                    ends.interrupted = true;
                    if self.stopping.get() {
                        return Ok(());
                    }
                    self.halt();
                    self.progress.say(format_args!(
                        "finishing the {} under way; Ctrl-C again stops at once, and a rerun resumes",
                        running.len()
                    ));
                }
            }
        }
    }

    fn note(&self, line: &Line, ended: Ended, ends: &mut Ends) {
        let number = line.number;
        self.progress.ended(!matches!(ended, Ended::Done));
        match ended {
            Ended::Done => ends.done = true,
            Ended::Failed(exit, why) => {
                ends.refused |= exit != Exit::ProvidersDown;
                ends.down |= exit == Exit::ProvidersDown;
                self.progress.say(format_args!("line {number}: {why}"));
            }
            Ended::Doubtful(why) => {
                ends.doubtful = true;
                self.progress.say(format_args!("line {number}: {why} (it may have been paid for)"));
            }
            Ended::OverBudget(why) => {
                if ends.budget.replace(why.clone()).is_none() {
                    self.progress.say(format_args!("line {number}: {why}"));
                }
                self.halt();
            }
            Ended::Unreachable(why) => {
                ends.unreachable.get_or_insert(why);
                self.halt();
            }
        }
    }

    /// No further line is begun, and none waits for its next try.
    fn halt(&self) {
        self.stopping.set(true);
        self.stop.notify_waiters();
    }

    /// Waits for `wait`; true at once when the batch is stopping.
    async fn stopped_within(&self, wait: Duration) -> bool {
        let stop = self.stop.notified();
        self.stopping.get() || tokio::time::timeout(wait, stop).await.is_ok()
    }
}

/// The lines by what is to be done with them.
#[derive(Debug)]
struct Sorted<'a> {
    todo: Vec<Job<'a>>,
    doubtful: Vec<&'a Line>,
    finished: usize,
}

impl<'a> Sorted<'a> {
    fn of(lines: &'a [Line], manifest: &Manifest, rebuy: bool) -> Self {
        let mut sorted = Self { todo: Vec::new(), doubtful: Vec::new(), finished: 0 };
        let now = clock::now();
        for line in lines {
            let latest = manifest.latest(&line.key);
            let bought = latest.map_or(0, |record| record.rebuy);
            match latest {
                Some(record) if record.status == Status::Succeeded && manifest.has_files(record) => {
                    sorted.finished += 1;
                }
                Some(record) if is_forgotten(record, now) && !rebuy => sorted.doubtful.push(line),
                Some(record) if rebuy && (record.status == Status::Ambiguous || is_forgotten(record, now)) => {
                    sorted.todo.push(Job { line, rebuy: bought + 1 });
                }
                _ => sorted.todo.push(Job { line, rebuy: bought }),
            }
        }
        sorted
    }

    fn tell(&self, console: Console) {
        if self.finished > 0 {
            console.say(format_args!("{} lines are done already, {} to do", self.finished, self.todo.len()));
        }
        if !self.doubtful.is_empty() {
            let numbers: Vec<_> = self.doubtful.iter().take(10).map(|line| line.number.to_string()).collect();
            let more = if self.doubtful.len() > numbers.len() { ", …" } else { "" };
            console.warn(format_args!(
                "{} lines may have been paid for and are not sent again (lines {}{more}); --rebuy sends them",
                self.doubtful.len(),
                numbers.join(", ")
            ));
        }
    }
}

/// Whether a line may have been bought and the gateway no longer knows its key: sending it again could pay twice. While
/// it knows the key, it joins or replays the purchase, or refuses because it is in doubt.
fn is_forgotten(record: &Record, now: Timestamp) -> bool {
    let age = Duration::try_from(now.duration_since(record.at)).unwrap_or_default();
    matches!(record.status, Status::Ambiguous | Status::Sent) && age > KEY_LIFE
}

/// Fetches lost files of finished lines from the gateway's store, where that is possible: it costs nothing.
async fn refetch(manifest: &mut Manifest, lines: &[Line], gateway: &Gateway) -> Result<(), Failure> {
    for line in lines {
        let Some(record) = manifest.latest(&line.key).filter(|record| record.status == Status::Succeeded) else {
            continue;
        };
        let first = record.end.file.iter().zip(&record.end.sha256);
        let more = record.end.more.iter().map(|saved| (&saved.file, &saved.sha256));
        for (file, sha256) in first.chain(more) {
            let path = manifest.folder().join(file);
            if path.is_file() {
                continue;
            }
            let extension = if line.extension() == "jpg" { "jpeg" } else { line.extension() };
            let Some(bytes) = gateway.image(&format!("{sha256}.{extension}")).await else {
                continue;
            };
            if wire::sha256(&bytes) == *sha256 {
                work::write_whole(&path, &bytes)
                    .map_err(|why| Failure::usage(format!("{} cannot be written: {why}", path.display())))?;
            }
        }
    }
    Ok(())
}

/// What kinds of end there were in this run.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a kind of end, and any of them may occur together")]
struct Ends {
    done: bool,
    refused: bool,
    down: bool,
    doubtful: bool,
    interrupted: bool,
    budget: Option<String>,
    unreachable: Option<String>,
}

impl Ends {
    /// The exit, money first: doubt before budget before outage before mere incompleteness.
    fn conclude(&self, totals: &Totals, gateway: &Gateway, console: Console) -> Exit {
        if let Some(why) = &self.unreachable {
            let failure =
                Failure::new(Exit::ProvidersDown, format!("the gateway at {} stopped answering: {why}", gateway.url()));
            console.failure(&failure.help("run the same command again when it is back; nothing is bought twice"));
        }
        if self.doubtful || totals.doubtful > 0 {
            Exit::Ambiguous
        } else if self.budget.is_some() {
            Exit::Budget
        } else if self.unreachable.is_some() || (self.down && !self.done && !self.refused) {
            Exit::ProvidersDown
        } else if self.refused || self.down || self.interrupted || totals.left > 0 {
            if totals.failed + totals.left > 0 { Exit::Partial } else { Exit::Ok }
        } else {
            Exit::Ok
        }
    }
}
