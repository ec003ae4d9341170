//! The one writer: a thread that commits what waits, all of it in one transaction.
//!
//! Why it exists: a commit costs a flush of the disk however many rows are in it, so writers that come together share
//! one. It waits for nobody: alone, a write commits at once; under load, a batch is what came during the last commit.
//! What it refuses to know: who asked, and what the rows mean.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};

use super::checkpoint::{self, Checkpointer};
use super::queue::Queue;
use super::{budgets, rows};
use crate::state::LedgerFault;
use crate::state::books::FORGET_TOTALS;
use crate::state::command::{Command, Verdict};
use crate::state::totals::Totals;

/// Commands of one transaction at most, so that the first of them does not wait for hundreds.
const BATCH: usize = 64;

/// The thread and its queue; dropping it writes what waits and joins.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    _checkpointer: Checkpointer,
}

impl Writer {
    /// Starts the thread on its own connection to the file at `path`.
    pub(super) fn start(connection: Connection, path: &Path) -> Result<Self, LedgerFault> {
        let checkpointer = Checkpointer::start(path)?;
        let grown = checkpointer.shared();
        let queue = Arc::new(Queue::default());
        let theirs = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("ledger-writer".into())
            .spawn(move || run(&connection, &theirs, &grown))
            .map_err(|error| LedgerFault::Unavailable(format!("no thread for its writer: {error}")))?;
        Ok(Self { queue, thread: Some(thread), _checkpointer: checkpointer })
    }

    /// Where commands line up.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.shut();
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was reported when it happened; there is nothing left to undo.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, queue: &Queue, log: &checkpoint::Shared) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.take(&mut batch, BATCH) {
        log.committed();
        match transact(connection, &batch) {
            Ok(verdicts) => answer(batch.drain(..), verdicts),
            // One command breaks a rule of the schema: it must not take the others with it.
            Err(fault) if batch.len() > 1 && breaks_a_rule(&fault) => one_by_one(connection, &mut batch),
            Err(fault) => batch.drain(..).for_each(|command| command.answer(Err(unavailable(&fault)))),
        }
    }
}

fn one_by_one(connection: &Connection, batch: &mut Vec<Command>) {
    for command in batch.drain(..) {
        let verdict = transact(connection, std::slice::from_ref(&command));
        command.answer(verdict.map_or_else(|fault| Err(unavailable(&fault)), first));
    }
}

/// The verdict on a batch of one.
fn first(verdicts: Vec<Verdict>) -> Verdict {
    verdicts.into_iter().next().unwrap_or(Ok(Vec::new()))
}

fn answer(commands: impl Iterator<Item = Command>, verdicts: Vec<Verdict>) {
    commands.zip(verdicts).for_each(|(command, verdict)| command.answer(verdict));
}

/// Writes the whole batch durably, or nothing of it. A verdict that is an error has written nothing of its command.
fn transact(connection: &Connection, batch: &[Command]) -> rusqlite::Result<Vec<Verdict>> {
    roll_back(connection)?;
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let written = write(connection, batch);
    if written.is_err() {
        // If this fails too, the next batch begins with it.
        let _ = roll_back(connection);
    }
    written
}

/// Ends a transaction that failed, if one is left; a full disk ends it by itself.
fn roll_back(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("ROLLBACK") }
}

fn write(connection: &Connection, batch: &[Command]) -> rusqlite::Result<Vec<Verdict>> {
    let mut totals = Totals::of(batch);
    budgets::read(connection, &mut totals)?;
    let verdicts =
        batch.iter().map(|command| apply(connection, command, &mut totals)).collect::<rusqlite::Result<Vec<_>>>()?;
    budgets::keep(connection, &totals)?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(verdicts)
}

fn apply(connection: &Connection, command: &Command, totals: &mut Totals) -> rusqlite::Result<Verdict> {
    let (id, written) = match command {
        Command::Open(opening, _) => {
            let already = match budgets::room(connection, &opening.id, &opening.earmarks, totals)? {
                Ok(already) => already,
                Err(fault) => return Ok(Err(fault)),
            };
            if !rows::open(connection, opening)? {
                return Ok(Err(LedgerFault::Reused));
            }
            budgets::set_aside(connection, &opening.id, &opening.earmarks, &already, totals)?;
            (&opening.id, true)
        }
        Command::Hold(id, attempts, earmarks, _) => {
            let already = match budgets::room(connection, id, earmarks, totals)? {
                Ok(already) => already,
                Err(fault) => return Ok(Err(fault)),
            };
            let open = rows::hold(connection, id, attempts)?;
            if open {
                budgets::set_aside(connection, id, earmarks, &already, totals)?;
            }
            (id, open)
        }
        Command::Close(closing, _) => {
            let open = rows::close(connection, closing)?;
            if open {
                budgets::settle(connection, closing, totals)?;
            }
            (&closing.id, open)
        }
        Command::Recount(_) => {
            connection.execute(FORGET_TOTALS, [])?;
            totals.forget();
            return Ok(Ok(Vec::new()));
        }
        Command::Write(statements, _) => return rows::run(connection, statements).map(Ok),
    };
    Ok(if written { Ok(Vec::new()) } else { Err(LedgerFault::NotOpen(id.to_string())) })
}

fn breaks_a_rule(fault: &rusqlite::Error) -> bool {
    fault.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// The store's own words.
pub(super) fn unavailable(fault: &rusqlite::Error) -> LedgerFault {
    LedgerFault::Unavailable(fault.to_string())
}
