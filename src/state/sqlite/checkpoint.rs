//! Copying the write-ahead log back into the file, beside the writer.
//!
//! Why it exists: a copy ends with two flushes of the disk. Made by the writer, as `SQLite` does by itself, every request
//! of that moment waits for them; made by a thread and connection of its own, only that thread does. The same thread has
//! room for the log allotted before it grows. What it refuses to know: rows. The writer's own limit stays as a net, far
//! above [`MOST_PAGES`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::schema;
use crate::state::{Durability, LedgerFault};

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest log, in pages: then the writer is held for a moment, some ten milliseconds with the two flushes of the disk
/// that go with it, so that the log begins anew. 192 MiB.
const MOST_PAGES: i64 = 49_152;

/// Commits since the last look from which on the log is kept ahead of its writer.
const BUSY: u64 = 50;
/// How much room is allotted at a time, in bytes; more is before half of it is used.
const ROOM: u64 = 16 << 20;

/// The thread's niceness: a tenth of a turn.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Commits that are worth a copy; when none came since the last look, one is. Where each commit waits for the disk, copies
/// are few: the log keeps a page as often as it was changed, the file once. Where none does, they are small, since a copy
/// keeps its core for as long as it computes.
const fn worth(durability: Durability) -> u64 {
    match durability {
        Durability::Power => 2_000,
        Durability::Process => 250,
    }
}

/// The thread; dropping it ends it.
#[derive(Debug)]
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the writer and the thread both see.
#[derive(Debug, Default)]
pub(super) struct Shared {
    commits: AtomicU64,
    shut: Mutex<bool>,
    ended: Condvar,
}

impl Shared {
    /// Tells that the log has grown by one commit.
    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the next look; false when it was the last.
    fn pause(&self) -> bool {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ended.wait_timeout_while(shut, PAUSE, |shut| !*shut);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Checkpointer {
    /// Starts the thread on a connection of its own.
    pub(super) fn start(path: &Path, durability: Durability) -> Result<Self, LedgerFault> {
        let connection = schema::checkpointer(path)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let room = Room::of(path);
        let thread = std::thread::Builder::new()
            .name("ledger-copier".into())
            .spawn(move || run(&connection, room, worth(durability), &theirs))
            .map_err(|error| LedgerFault::Unavailable(format!("no thread for its log: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Where the writer tells of its commits.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        *self.shared.shut.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was reported when it happened; SQLite copies what is left at the next opening.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, mut room: Room, worth: u64, shared: &Shared) {
    give_way();
    let (mut copied, mut seen) = (0, 0);
    while shared.pause() {
        let commits = shared.commits.load(Ordering::Relaxed);
        let new = commits - std::mem::replace(&mut seen, commits);
        if new >= BUSY {
            room.keep_ahead();
        }
        if commits - copied < if new == 0 { 1 } else { worth } {
            continue;
        }
        copied = commits;
        if let Err(fault) = copy(connection, MOST_PAGES) {
            tracing::warn!(%fault, "the ledger's log could not be copied into its file; it grows until it can");
        }
    }
}

/// Lets every other thread go first: a copy computes for many milliseconds, and on a core that it shares with those who
/// answer each of them would wait for its turn. Not by much: it holds the writer for a moment when the log begins anew.
#[cfg(target_os = "linux")]
fn give_way() {
    // To Linux, 0 is the thread that asks. One that may not is as it was.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

/// Copies the log, and has it begin anew when it is longer than so many pages.
fn copy(connection: &Connection, most: i64) -> rusqlite::Result<()> {
    if pages_after(connection, "PRAGMA wal_checkpoint(PASSIVE)")? > most {
        // What came meanwhile as well: the less is left, the shorter the writer is held.
        pages_after(connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
        pages_after(connection, "PRAGMA wal_checkpoint(RESTART)")?;
    }
    Ok(())
}

/// Blocks of the disk for a log that grows. A file system that allots them as it writes holds up, meanwhile, whoever
/// appends; some milliseconds with the requests of that moment behind them.
struct Room {
    path: PathBuf,
    log: Option<File>,
    allotted: u64,
}

impl Room {
    fn of(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        Self { path: name.into(), log: None, allotted: 0 }
    }

    /// Allots more when little is left. Where that cannot be, the log grows as it would.
    fn keep_ahead(&mut self) {
        if self.log.is_none() {
            self.log = File::options().write(true).open(&self.path).ok();
        }
        let Some(log) = &self.log else { return };
        let length = log.metadata().map_or(0, |log| log.len());
        if length + ROOM / 2 > self.allotted && allot(log, self.allotted.max(length), ROOM) {
            self.allotted = self.allotted.max(length) + ROOM;
        }
    }
}

/// Beyond the file's end, which stays where it is.
#[cfg(target_os = "linux")]
fn allot(file: &File, from: u64, bytes: u64) -> bool {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, from, bytes).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn allot(_: &File, _: u64, _: u64) -> bool {
    false
}

/// The log's length once the copy is made.
fn pages_after(connection: &Connection, copy: &str) -> rusqlite::Result<i64> {
    connection.query_row(copy, [], |row| row.get(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_begins_anew_while_another_connection_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let writer = schema::writer(&path, Durability::Process).unwrap().connection;
        let copier = schema::checkpointer(&path).unwrap();
        writer.execute_batch("CREATE TABLE filler (x BLOB)").unwrap();
        let fill = |pages: i64| writer.execute("INSERT INTO filler VALUES (zeroblob(?1 * 4096))", [pages]).unwrap();
        fill(500);
        copy(&copier, 1_000).unwrap();
        fill(1_000);
        copy(&copier, 1_000).unwrap();
        fill(1);
        let left = pages_after(&copier, "PRAGMA wal_checkpoint(PASSIVE)").unwrap();
        assert!(left < 20, "{left} pages: the log was not begun anew");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn there_is_room_ahead_of_a_log_that_grows() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let writer = schema::writer(&path, Durability::Process).unwrap().connection;
        writer.execute_batch("CREATE TABLE filler (x BLOB)").unwrap();
        let mut room = Room::of(&path);
        for _ in 0..3 {
            room.keep_ahead();
            writer.execute("INSERT INTO filler VALUES (zeroblob(6000000))", []).unwrap();
            let log = std::fs::metadata(&room.path).unwrap();
            assert!(log.len() < log.blocks() * 512, "{log:?}");
        }
        drop(writer);
        let again = schema::writer(&path, Durability::Process).unwrap().connection;
        let rows: i64 = again.query_row("SELECT count(*) FROM filler", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 3);
    }
}
