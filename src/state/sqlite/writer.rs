//! The one writer: a thread that commits what waits, all of it in one transaction.
//!
//! Why it exists: a commit costs a flush of the disk however many rows are in it, so writers that come together share
//! one. Under load, a batch is what came during the last commit and, briefly, after it. Without a flush a commit takes
//! less time than it takes to wake a thread, so while few generations are open, or were of late, and nobody writes, whoever
//! asks commits by itself. What it refuses to know: who asked, and what the rows mean.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};

use super::checkpoint::{self, Checkpointer};
use super::queue::{Crowd, Queue};
use super::rows::Written;
use super::statements::Statements;
use super::{budgets, rows, schema};
use crate::state::books::FORGET_TOTALS;
use crate::state::command::{Command, Verdict};
use crate::state::totals::Totals;
use crate::state::{Durability, LedgerFault};

/// Commands of one transaction at most, so that the first of them does not wait for hundreds.
const BATCH: usize = 64;

/// The thread and its queue; dropping it writes what waits and joins.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    pen: Arc<Mutex<Pen>>,
    durability: Durability,
    thread: Option<JoinHandle<()>>,
    _checkpointer: Checkpointer,
}

/// What only one can hold at a time: the connection that writes.
#[derive(Debug)]
struct Pen {
    connection: Connection,
    log: Arc<checkpoint::Shared>,
    open: Opened,
    crowd: Crowd,
}

/// Generations that were opened with this pen and not yet closed, and what each has of its attempts. What is not known
/// for sure is not here: it is looked up when it is needed.
type Opened = HashMap<Arc<str>, Written>;

impl Writer {
    /// Starts the thread on its own connection to the file at `path`.
    pub(super) fn start(connection: Connection, path: &Path, durability: Durability) -> Result<Self, LedgerFault> {
        let checkpointer = Checkpointer::start(path, durability)?;
        let queue = Arc::new(Queue::default());
        let pen = Arc::new(Mutex::new(Pen {
            connection,
            log: checkpointer.shared(),
            open: Opened::new(),
            crowd: Crowd::default(),
        }));
        let (line, held) = (Arc::clone(&queue), Arc::clone(&pen));
        let thread = std::thread::Builder::new()
            .name("ledger-writer".into())
            .spawn(move || run(&held, &line))
            .map_err(|error| LedgerFault::Unavailable(format!("no thread for its writer: {error}")))?;
        Ok(Self { queue, pen, durability, thread: Some(thread), _checkpointer: checkpointer })
    }

    /// Has a command written: here and now when that is quicker, else by the thread.
    pub(super) fn submit(&self, command: Command) -> Result<(), LedgerFault> {
        let command = match self.free() {
            Some(mut pen) => match pen.commit_at_once(command) {
                Some(command) => command,
                None => return Ok(()),
            },
            None => command,
        };
        match command {
            end @ Command::Close(..) => self.queue.end(end),
            new => self.queue.offer(new),
        }
    }

    /// The pen, if it is the moment to write without the thread.
    fn free(&self) -> Option<MutexGuard<'_, Pen>> {
        if self.durability == Durability::Power || !self.queue.is_empty() {
            return None;
        }
        let pen = match self.pen.try_lock() {
            Ok(pen) => pen,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        (!pen.crowd.is_dense()).then_some(pen)
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

fn run(pen: &Mutex<Pen>, queue: &Queue) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut crowd = Crowd::default();
    while queue.take(&mut batch, BATCH, crowd) {
        let mut pen = pen.lock().unwrap_or_else(PoisonError::into_inner);
        pen.commit(&mut batch);
        crowd = pen.crowd;
    }
}

impl Pen {
    /// Commits one command, unless another process is writing: then it is given back.
    fn commit_at_once(&mut self, command: Command) -> Option<Command> {
        let patience = |waits| self.connection.busy_handler(waits);
        let begun = patience(None).and_then(|()| begin(&self.connection));
        if patience(Some(schema::wait)).and(begun).is_err() {
            return Some(command);
        }
        self.finish(&mut vec![command]);
        None
    }

    /// Commits these commands and answers each.
    fn commit(&mut self, batch: &mut Vec<Command>) {
        match begin(&self.connection) {
            Ok(()) => self.finish(batch),
            Err(fault) => refuse(batch, &fault),
        }
    }

    /// Writes into the transaction that has begun, and ends it.
    fn finish(&mut self, batch: &mut Vec<Command>) {
        self.log.committed();
        match transact(&self.connection, batch, &mut self.open) {
            Ok(verdicts) => answer(batch.drain(..), verdicts),
            // One command breaks a rule of the schema: it must not take the others with it.
            Err(fault) if batch.len() > 1 && breaks_a_rule(&fault) => {
                one_by_one(&self.connection, batch, &mut self.open);
            }
            Err(fault) => refuse(batch, &fault),
        }
        self.crowd.saw(self.open.len());
    }
}

fn refuse(batch: &mut Vec<Command>, fault: &rusqlite::Error) {
    batch.drain(..).for_each(|command| command.answer(Err(unavailable(fault))));
}

fn one_by_one(connection: &Connection, batch: &mut Vec<Command>, open: &mut Opened) {
    for command in batch.drain(..) {
        let verdict = begin(connection).and_then(|()| transact(connection, std::slice::from_ref(&command), open));
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

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    roll_back(connection)?;
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
}

/// Writes the whole batch durably into the transaction that has begun, or nothing of it. A verdict that is an error has
/// written nothing of its command.
fn transact(connection: &Connection, batch: &[Command], open: &mut Opened) -> rusqlite::Result<Vec<Verdict>> {
    let written = write(connection, batch, open);
    if written.is_err() {
        for id in batch.iter().filter_map(Command::generation) {
            open.remove(id);
        }
        // If this fails too, the next batch begins with it.
        let _ = roll_back(connection);
    }
    written
}

/// Ends a transaction that failed, if one is left; a full disk ends it by itself.
fn roll_back(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("ROLLBACK") }
}

fn write(connection: &Connection, batch: &[Command], open: &mut Opened) -> rusqlite::Result<Vec<Verdict>> {
    let mut totals = Totals::of(batch);
    budgets::read(connection, &mut totals)?;
    let mut statements = Statements::of(connection);
    let verdicts = batch.iter().map(|command| apply(&mut statements, command, &mut totals, open));
    let verdicts = verdicts.collect::<rusqlite::Result<Vec<_>>>()?;
    budgets::keep(&mut statements, &totals)?;
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(verdicts)
}

fn apply(
    statements: &mut Statements<'_>,
    command: &Command,
    totals: &mut Totals,
    opened: &mut Opened,
) -> rusqlite::Result<Verdict> {
    let (id, written) = match command {
        Command::Open(opening, _) => {
            let already = match budgets::room(statements, &opening.id, &opening.earmarks, totals)? {
                Ok(already) => already,
                Err(fault) => return Ok(Err(fault)),
            };
            let Some(written) = rows::open(statements, opening)? else {
                return Ok(Err(LedgerFault::Reused));
            };
            budgets::set_aside(statements, &opening.id, &opening.earmarks, &already, totals)?;
            opened.insert(Arc::clone(&opening.id), written);
            (&opening.id, true)
        }
        Command::Hold(id, attempts, earmarks, _) => {
            let already = match budgets::room(statements, id, earmarks, totals)? {
                Ok(already) => already,
                Err(fault) => return Ok(Err(fault)),
            };
            let open = rows::hold(statements, id, attempts)?;
            if open {
                if let Some(written) = opened.get_mut(id) {
                    written.add(attempts.len());
                }
                budgets::set_aside(statements, id, earmarks, &already, totals)?;
            }
            (id, open)
        }
        Command::Close(closing, _) => {
            let open = rows::close(statements, closing, opened.remove(&closing.id))?;
            if open {
                budgets::settle(statements, closing, totals)?;
            }
            (&closing.id, open)
        }
        Command::Recount(_) => {
            statements.get(FORGET_TOTALS)?.execute([])?;
            totals.forget();
            return Ok(Ok(Vec::new()));
        }
        Command::Write(further, _) => return rows::run(statements, further).map(Ok),
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
