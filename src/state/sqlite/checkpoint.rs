//! Copying the write-ahead log back into the file, beside the writer.
//!
//! Why it exists: a copy ends with two flushes of the disk. Made by the writer, as `SQLite` does by itself, every request
//! of that moment waits for them; made by a thread and connection of its own, only that thread does. The same thread writes
//! room for the log before it grows. What it refuses to know: rows. The writer's own limit stays as a net, far above
//! [`MOST_PAGES`].

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;

use super::schema;
use crate::state::{Durability, LedgerFault};

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest log, in pages: then the writer is held for a moment, some ten milliseconds with the two flushes of the disk
/// that go with it, so that the log begins anew. 192 MiB; twice that before it happens while the disk is slow.
const MOST_PAGES: i64 = 49_152;
/// A copy of little that takes longer says that the disk is slow.
const SLOW: Duration = Duration::from_millis(25);

/// Commits since the last look from which on the log is kept ahead of its writer.
const BUSY: u64 = 50;
/// How far ahead, in bytes.
const AHEAD: u64 = 16 << 20;
/// Bytes written at once: the file is locked while they are copied, some tens of microseconds.
const PIECE: usize = 64 << 10;
/// Bytes of a page in the log, with its header.
const FRAME: u64 = 4_096 + 24;

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
        let room = (durability == Durability::Process).then(|| Room::of(path));
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

fn run(connection: &Connection, mut room: Option<Room>, worth: u64, shared: &Shared) {
    give_way();
    let (mut copied, mut seen) = (0, 0);
    while shared.pause() {
        let commits = shared.commits.load(Ordering::Relaxed);
        let new = commits - std::mem::replace(&mut seen, commits);
        if new >= BUSY
            && let Some(room) = &mut room
            && let Ok(pages) = pages_after(connection, "PRAGMA wal_checkpoint(NOOP)")
        {
            room.keep_ahead(pages);
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
        let begun = Instant::now();
        let pages = pages_after(connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
        if may_hold(begun.elapsed(), pages, most) {
            pages_after(connection, "PRAGMA wal_checkpoint(RESTART)")?;
        }
    }
    Ok(())
}

/// Whether the writer may be held: a copy of little took so long, and there are so many pages of log.
fn may_hold(took: Duration, pages: i64, most: i64) -> bool {
    took < SLOW || pages > 2 * most
}

/// Zeros behind a log that grows, so that its writer finds pages that the file has and memory holds. Where it has to make
/// them, it waits for the file system to allot them; and where those were allotted without being written, for the disk
/// itself: beside what a flush has written they count as written too, and a frame begins and ends within a page. They are
/// on the disk before the writer comes to them: a flush that has yet to place them would hold them meanwhile.
struct Room {
    path: PathBuf,
    log: Option<File>,
    zeros: Box<[u8]>,
}

impl Room {
    fn of(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        Self { path: name.into(), log: None, zeros: vec![0; PIECE].into() }
    }

    /// Sees to it that the file goes on for [`AHEAD`] beyond so many pages of log. Where that cannot be, the log grows as
    /// it would. What is written goes behind whatever is there by then, so never over a frame.
    fn keep_ahead(&mut self, pages: i64) {
        if self.log.is_none() {
            self.log = flushing(File::options().append(true)).open(&self.path).ok();
        }
        let Some(log) = &mut self.log else { return };
        let wanted = u64::try_from(pages).unwrap_or(0) * FRAME + AHEAD;
        let length = log.metadata().map_or(wanted, |log| log.len());
        for _ in 0..wanted.saturating_sub(length).div_ceil(PIECE as u64) {
            if log.write_all(&self.zeros).is_err() {
                break;
            }
        }
    }
}

/// A write comes back when it is on the disk, and flushes nothing else.
#[cfg(unix)]
fn flushing(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.custom_flags(rustix::fs::OFlags::DSYNC.bits().cast_signed())
}

#[cfg(not(unix))]
fn flushing(options: &mut OpenOptions) -> &mut OpenOptions {
    options
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
        fill(2_500);
        copy(&copier, 1_000).unwrap();
        fill(1);
        let left = pages_after(&copier, "PRAGMA wal_checkpoint(PASSIVE)").unwrap();
        assert!(left < 20, "{left} pages: the log was not begun anew");
    }

    #[test]
    fn a_writer_is_held_while_the_disk_is_slow_only_for_a_log_of_twice_the_length() {
        let fast = SLOW.checked_sub(Duration::from_millis(1)).unwrap();
        assert!(may_hold(fast, 1_001, 1_000));
        assert!(!may_hold(SLOW, 1_001, 1_000) && !may_hold(SLOW, 2_000, 1_000));
        assert!(may_hold(SLOW, 2_001, 1_000));
    }

    #[test]
    fn there_is_room_ahead_of_a_log_that_grows_and_it_is_read_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let writer = schema::writer(&path, Durability::Process).unwrap().connection;
        let copier = schema::checkpointer(&path).unwrap();
        let pages = || pages_after(&copier, "PRAGMA wal_checkpoint(NOOP)").unwrap();
        writer.execute_batch("CREATE TABLE filler (x BLOB)").unwrap();
        let mut room = Room::of(&path);
        for _ in 0..3 {
            room.keep_ahead(pages());
            writer.execute("INSERT INTO filler VALUES (zeroblob(6000000))", []).unwrap();
            let used = u64::try_from(pages()).unwrap() * FRAME;
            let length = std::fs::metadata(&room.path).unwrap().len();
            assert!(length > used + AHEAD / 2 && length < used + 2 * AHEAD, "{used} of {length}");
        }
        // As a crash leaves it.
        let after = folder.path().join("after.db");
        std::fs::copy(&path, &after).unwrap();
        std::fs::copy(&room.path, folder.path().join("after.db-wal")).unwrap();
        let again = schema::writer(&after, Durability::Process).unwrap().connection;
        let rows: i64 = again.query_row("SELECT count(*) FROM filler", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 3);
    }
}
