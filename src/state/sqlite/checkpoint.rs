//! Copying the write-ahead log back into the file, beside the writer.
//!
//! Why it exists: a copy ends with two flushes of the disk. Made by the writer, as `SQLite` does by itself, every request
//! of that moment waits for them; made by a thread and connection of its own, only that thread does. What it refuses to
//! know: rows. The writer's own limit stays as a net, far above [`MOST_PAGES`].

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::schema;
use crate::state::LedgerFault;

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(250);
/// Commits that are worth a copy while others wait for the same disk; when none came since the last look, one is. The log
/// keeps a page as often as it was changed, the file once: fewer copies write less.
const WORTH: u64 = 2_000;
/// The longest log, in pages: then the writer is held for a moment, so that the log begins anew. 64 MiB.
const MOST_PAGES: i64 = 16_384;

/// The thread's niceness: a tenth of a turn.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

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
    pub(super) fn start(path: &Path) -> Result<Self, LedgerFault> {
        let connection = schema::checkpointer(path)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ledger-copier".into())
            .spawn(move || run(&connection, &theirs))
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

fn run(connection: &Connection, shared: &Shared) {
    give_way();
    let (mut copied, mut seen) = (0, 0);
    while shared.pause() {
        let commits = shared.commits.load(Ordering::Relaxed);
        let quiet = std::mem::replace(&mut seen, commits) == commits;
        if commits - copied < if quiet { 1 } else { WORTH } {
            continue;
        }
        copied = commits;
        if let Err(fault) = copy(connection) {
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

fn copy(connection: &Connection) -> rusqlite::Result<()> {
    if pages_after(connection, "PRAGMA wal_checkpoint(PASSIVE)")? > MOST_PAGES {
        pages_after(connection, "PRAGMA wal_checkpoint(RESTART)")?;
    }
    Ok(())
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
        let writer = schema::writer(&path, crate::state::Durability::Process).unwrap().connection;
        let copier = schema::checkpointer(&path).unwrap();
        writer.execute_batch("CREATE TABLE filler (x BLOB)").unwrap();
        let fill = |pages: i64| writer.execute("INSERT INTO filler VALUES (zeroblob(?1 * 4096))", [pages]).unwrap();
        fill(MOST_PAGES / 2);
        copy(&copier).unwrap();
        fill(MOST_PAGES);
        copy(&copier).unwrap();
        fill(1);
        let left = pages_after(&copier, "PRAGMA wal_checkpoint(PASSIVE)").unwrap();
        assert!(left < 20, "{left} pages: the log was not begun anew");
    }
}
