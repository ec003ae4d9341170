//! One line's way: hold its price, write down that it is sent, send it until there is an answer, keep its images.
//!
//! Why it exists: whatever happens at any moment of this way, running the batch again must not pay twice. Every send of
//! a line carries the same `Idempotency-Key`; the gateway joins or replays the purchase of a key that it knows, and
//! refuses to buy again while one is in doubt. Only `--rebuy` gives a doubtful line a new key. What it refuses to know:
//! the other lines.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use serde_json::Value;

use super::super::client::{Problem, Trouble};
use super::super::exit::{Exit, Failure};
use super::super::generate;
use super::super::wire::{self, Answer, Picture, Usd};
use super::Batch;
use super::lines::Line;
use super::manifest::{End, Record, Saved, Status};
use crate::domain::money::Money;
use crate::telemetry::clock;

/// Sends of one line that get no answer, or an answer of the gateway's own trouble, before the line is given up.
const TRIES: u32 = 6;
/// The longest wait that the gateway may impose between two sends; the contract's greatest `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_mins(2);
/// Waits for room: longer than any provider's window, as the lines of a batch queue for the same quota.
const WAITS: u32 = 60;

/// A line to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'a> {
    /// The line.
    pub(super) line: &'a Line,
    /// Which purchase of it: 0 is the first, and each `--rebuy` of a doubtful one is the next.
    pub(super) rebuy: u32,
}

impl Job<'_> {
    /// The `Idempotency-Key`: the same for every send of one purchase.
    fn key(&self) -> String {
        if self.rebuy == 0 { self.line.key.clone() } else { format!("{}-{}", self.line.key, self.rebuy) }
    }
}

/// How a line ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With its images.
    Done,
    /// Without; the batch goes on.
    Failed(Exit, String),
    /// It may have been paid for.
    Doubtful(String),
    /// The gateway or the batch has no money left for it: the batch stops.
    OverBudget(String),
    /// Nobody answers: the batch stops.
    Unreachable(String),
}

/// Takes one line all the way. An error is one of this machine: the manifest or an image cannot be written.
pub(super) async fn line(batch: &Batch<'_>, job: &Job<'_>) -> Result<Ended, Failure> {
    let line = job.line;
    let Some(_held) = hold(batch, line).await else {
        return Ok(Ended::OverBudget("the next line's worst price does not fit the --budget any more".to_owned()));
    };
    let sent_before = batch.manifest.borrow().latest(&line.key).is_some();
    record(batch, job, Status::Sent, End::default())?;
    let (answer, repeated) = match send(batch, job).await {
        Ok(answered) => answered,
        Err(trouble) => return refused(batch, job, trouble),
    };
    for warning in &answer.warnings {
        batch.progress.warn(format!("line {}: {warning}", line.number));
    }
    let own = sent_before || repeated;
    let mut end = money(&answer, own);
    let mut saved = save(batch, line, &answer)?.into_iter();
    (end.file, end.sha256) = saved.next().map(|first| (first.file, first.sha256)).unzip();
    end.more = saved.collect();
    batch.purse.spend(end.cost_usd.unwrap_or_default().0 + end.ambiguous_usd.unwrap_or_default().0);
    record(batch, job, Status::Succeeded, end)?;
    Ok(Ended::Done)
}

/// Holds the worst price of the line's plan. Without a plan the gateway's refusal is the better message, so nothing is
/// held and the line is sent.
async fn hold<'a>(batch: &'a Batch<'_>, line: &Line) -> Option<super::purse::Held<'a>> {
    if !batch.purse.is_limited() {
        return batch.purse.hold(Money::ZERO).await;
    }
    let plan = batch.gateway.plan(&line.body).await.unwrap_or_default();
    let chosen = plan.get("candidates").and_then(Value::as_array).into_iter().flatten();
    let chosen = chosen.into_iter().find(|candidate| candidate.get("chosen").and_then(Value::as_bool) == Some(true));
    let worst = chosen.and_then(|chosen| chosen.pointer("/expected/worst_cost_usd")).and_then(Value::as_f64);
    batch.purse.hold(worst.and_then(wire::money_of).unwrap_or_default()).await
}

/// Sends until there is an answer or no sense in sending again. Also tells whether an earlier send of this run may have
/// reached the gateway.
async fn send(batch: &Batch<'_>, job: &Job<'_>) -> Result<(Answer, bool), Trouble> {
    let key = job.key();
    let (mut tries, mut waits, mut repeated) = (0, 0, false);
    loop {
        let trouble = match batch.gateway.generate(&job.line.body, Some(&key)).await {
            Ok(answer) => return Ok((answer, repeated)),
            Err(trouble) => trouble,
        };
        let wait = match &trouble {
            Trouble::Refused(problem) => match asks_to_wait(problem) {
                Some(wait) if waits < WAITS => {
                    waits += 1;
                    wait
                }
                None if may_repeat(problem) && tries < TRIES => backoff(&mut tries),
                _ => return Err(trouble),
            },
            Trouble::Unreachable(_) | Trouble::Broken(_) if tries < TRIES => backoff(&mut tries),
            _ => return Err(trouble),
        };
        repeated |= matches!(trouble, Trouble::Broken(_));
        if batch.stopped_within(wait).await {
            return Err(trouble);
        }
    }
}

/// The wait that a full gateway asks for, spread a little so that the lines do not come back together.
fn asks_to_wait(problem: &Problem) -> Option<Duration> {
    if problem.never_again || !matches!(problem.status, 429 | 503) {
        return None;
    }
    let wait = problem.retry_after.unwrap_or(Duration::from_secs(1)).min(LONGEST_WAIT);
    Some(wait + wait.mul_f64(rand::rng().random_range(0.0..0.25)))
}

/// A failure of the providers or of the gateway, with no money in doubt.
fn may_repeat(problem: &Problem) -> bool {
    !problem.never_again && problem.status >= 500 && problem.exit() != Exit::Ambiguous
}

/// Half a second, doubled with each try, up to eight seconds; a random half of it.
fn backoff(tries: &mut u32) -> Duration {
    let full = Duration::from_millis(500 << (*tries).min(4));
    *tries += 1;
    full.mul_f64(rand::rng().random_range(0.5..1.0))
}

fn refused(batch: &Batch<'_>, job: &Job<'_>, trouble: Trouble) -> Result<Ended, Failure> {
    let problem = match trouble {
        // The line stays `sent`: the next run asks again with the same key.
        Trouble::Unreachable(why) | Trouble::Broken(why) => return Ok(Ended::Unreachable(why)),
        Trouble::Refused(problem) => problem,
    };
    let sentence = problem.sentence();
    let doubt = wire::doubt(&problem.attempts);
    let paid = wire::purchase(&problem.attempts);
    batch.purse.spend(doubt.unwrap_or_default() + paid);
    let ended = match problem.exit() {
        Exit::Ambiguous => Ended::Doubtful(sentence.clone()),
        Exit::Budget => Ended::OverBudget(sentence.clone()),
        exit => Ended::Failed(exit, sentence.clone()),
    };
    let status = if matches!(ended, Ended::Doubtful(_)) { Status::Ambiguous } else { Status::Failed };
    let end = End { cost_usd: Some(Usd(paid)), ambiguous_usd: doubt.map(Usd), error: Some(sentence), ..End::default() };
    record(batch, job, status, end)?;
    Ok(ended)
}

/// What a line cost: what it paid, or what an earlier send of the same line paid before its answer was lost.
fn money(answer: &Answer, own: bool) -> End {
    let fresh = answer.served == "fresh";
    let purchase = wire::purchase(&answer.cost.attempts);
    let doubt = if fresh || own { wire::doubt(&answer.cost.attempts) } else { None };
    let (cost, saved) = match (fresh, own) {
        (true, _) => (answer.cost.usd, Money::ZERO),
        (false, true) => (purchase, Money::ZERO),
        (false, false) => (answer.cost.usd, purchase),
    };
    End {
        model: Some(answer.model.clone()),
        id: Some(answer.id.clone()),
        cost_usd: Some(Usd(cost)),
        saved_usd: (saved > Money::ZERO).then_some(Usd(saved)),
        ambiguous_usd: doubt.map(Usd),
        served: Some(answer.served.clone()),
        ..End::default()
    }
}

/// Writes the images; each file is whole or absent.
fn save(batch: &Batch<'_>, line: &Line, answer: &Answer) -> Result<Vec<Saved>, Failure> {
    let many = answer.images.len() > 1;
    let mut saved = Vec::with_capacity(answer.images.len());
    for (number, picture) in (1..).zip(&answer.images) {
        let name = format!("{}.{}", line.stem(), line.extension());
        let name = if many { generate::numbered(Path::new(&name), number).display().to_string() } else { name };
        saved.push(keep(batch.manifest.borrow().folder(), name, picture)?);
    }
    Ok(saved)
}

fn keep(folder: &Path, name: String, picture: &Picture) -> Result<Saved, Failure> {
    let path = folder.join(&name);
    let lost = |why: String| {
        Failure::new(Exit::Partial, format!("{}: {why}", path.display()))
            .help("run it again: the gateway repeats the answer without buying it again")
    };
    let bytes = generate::decode(picture).map_err(lost)?;
    write_whole(&path, &bytes).map_err(|why| lost(why.to_string()))?;
    Ok(Saved { file: name, sha256: picture.sha256.clone() })
}

/// Into a file beside, to the disk, then under its name.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("part");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&beside, path)
}

fn record(batch: &Batch<'_>, job: &Job<'_>, status: Status, end: End) -> Result<(), Failure> {
    let line = job.line;
    let record = Record {
        line: line.number,
        key: line.key.clone(),
        prompt_sha256: line.prompt_sha256.clone(),
        status,
        at: clock::now(),
        rebuy: job.rebuy,
        end,
    };
    batch.manifest.borrow_mut().append(record)
}
