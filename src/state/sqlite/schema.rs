//! Opening the file: settings, migrations, and what a crash left.
//!
//! Why it exists: every connection is set up in one place. What it refuses to know: commands, reports, and what the
//! tables are (`state/schema.rs`).

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::rows::WRITE_FIRST_SINCE;
use super::writer::unavailable;
use crate::state::schema::{self, MIGRATIONS};
use crate::state::{Durability, LedgerFault};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// How long a statement waits for another's transaction, such as a backup's, and how long before it looks again.
const PATIENCE: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_micros(500);

/// A writer's connection and what it found.
pub(super) struct Opened {
    /// Set up, migrated, recovered.
    pub(super) connection: Connection,
    /// Attempts that a crash left held.
    pub(super) recovered: u64,
    /// Held while this process writes the file.
    pub(super) lock: Lock,
}

/// The right to write, until dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, but for a child process that was forked in this moment and still has the descriptor.
        let _ = self.0.unlock();
    }
}

/// Whether to look again. Most are over within milliseconds; who sleeps longer each time, as `SQLite` would, sleeps on.
pub(super) fn wait(times: i32) -> bool {
    std::thread::sleep(MOMENT);
    MOMENT.saturating_mul(u32::try_from(times).unwrap_or(0)) < PATIENCE
}

/// Opens the file for its one writer, making it when there is none.
pub(super) fn writer(path: &Path, durability: Durability) -> Result<Opened, LedgerFault> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| LedgerFault::Unavailable(error.to_string()))?;
    }
    let lock = alone(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        set_up(&connection, durability)?;
        Ok(connection)
    });
    let mut connection = opened.map_err(|fault| unavailable(&fault))?;
    migrate(&mut connection)?;
    let recovered = recover(&mut connection).map_err(|fault| unavailable(&fault))?;
    Ok(Opened { connection, recovered, lock })
}

/// Opens the file for a writer beside the one that has the lock: the store itself keeps their transactions apart.
pub(super) fn beside(path: &Path) -> Result<Connection, LedgerFault> {
    drop(reader(path)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        set_up(&connection, Durability::Power)?;
        Ok(connection)
    });
    opened.map_err(|fault| unavailable(&fault))
}

/// Opens the file for copying its log into it.
pub(super) fn checkpointer(path: &Path) -> Result<Connection, LedgerFault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_handler(Some(wait))?;
        connection.pragma_update(None, "mmap_size", 0)?;
        connection.pragma_update(None, "synchronous", "normal")?;
        Ok(connection)
    });
    opened.map_err(|fault| unavailable(&fault))
}

/// Opens the file for reading.
pub(super) fn reader(path: &Path) -> Result<Connection, LedgerFault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_handler(Some(wait))?;
        connection.pragma_update(None, "mmap_size", 0)?;
        let version = version(&connection)?;
        Ok((connection, version))
    });
    match opened.map_err(|fault| unavailable(&fault))? {
        (connection, version) if version == MIGRATIONS.len() => Ok(connection),
        (_, version) => Err(strange(version)),
    }
}

/// Two writers would each take the other's running calls for a crash's. Readers do not take this lock.
fn alone(path: &Path) -> Result<Lock, LedgerFault> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let taken = File::options().create(true).truncate(false).write(true).open(PathBuf::from(name));
    let file = taken.map_err(|error| LedgerFault::Unavailable(format!("its lock file: {error}")))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(LedgerFault::Unavailable("another process writes it".into())),
        Err(TryLockError::Error(error)) => Err(LedgerFault::Unavailable(format!("its lock file: {error}"))),
    }
}

fn set_up(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait))?;
    connection.set_prepared_statement_cache_capacity(32);
    // A write-ahead log outlives a kill by itself; FULL also flushes it at each commit, NORMAL only before it is copied
    // into the file, which keeps the file whole at a power cut but may lose the last commits.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(
        None,
        "synchronous",
        match durability {
            Durability::Power => "full",
            Durability::Process => "normal",
        },
    )?;
    // Mapped pages turn a disk fault into a dead process.
    connection.pragma_update(None, "mmap_size", 0)?;
    // `checkpoint` copies long before this.
    connection.pragma_update(None, "wal_autocheckpoint", 100_000)?;
    // What requests touch is new. A commit may look through all of a cache, so a larger one costs each of them.
    connection.pragma_update(None, "cache_size", -2_048)?;
    // The log is written over from its beginning; to cut it short first would hold up every writer. It is seldom longer
    // than `checkpoint` lets it grow.
    connection.pragma_update(None, "journal_size_limit", 512 << 20)?;
    // `rows` writes an attempt only with its generation, in one transaction; looking again would cost a search a row.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "temp_store", "memory")
}

fn migrate(connection: &mut Connection) -> Result<(), LedgerFault> {
    let version = version(connection).map_err(|fault| unavailable(&fault))?;
    let missing = MIGRATIONS.get(version..).ok_or_else(|| strange(version))?;
    for (step, sql) in (version + 1..).zip(missing) {
        let migrated = connection.transaction().and_then(|change| {
            change.execute_batch(sql)?;
            change.pragma_update(None, "user_version", i64::try_from(step).unwrap_or(i64::MAX))?;
            change.commit()
        });
        migrated.map_err(|fault| unavailable(&fault))?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).map(|v| v as usize)
}

fn strange(version: usize) -> LedgerFault {
    LedgerFault::Unavailable(schema::strange(version))
}

/// Ends what a crash left running: the calls may have been sent and charged, so their money is in doubt. The end is not
/// known; the newest opening in the file is the last sign of life.
fn recover(connection: &mut Connection) -> rusqlite::Result<u64> {
    let change = connection.transaction()?;
    // A request's arrival is written a moment later, and clocks are set back: a day covers both.
    let swept: i64 = change.query_row("SELECT created_us FROM swept", [], |row| row.get(0))?;
    let since = swept.saturating_sub(DAY);
    change.execute(WRITE_FIRST_SINCE, [since])?;
    let recovered = change.execute(
        "UPDATE attempt SET state = 'ambiguous', billed = 'unknown', outcome = 'crashed' WHERE state = 'held' \
         AND generation IN (SELECT id FROM generation WHERE created_us >= ?1 AND ended_us IS NULL)",
        [since],
    )?;
    change.execute(
        "UPDATE generation SET ended_us = (SELECT MAX(created_us) FROM generation), outcome = 'crashed', made_by = model, \
         first_provider = NULL, first_held = NULL WHERE created_us >= ?1 AND ended_us IS NULL",
        [since],
    )?;
    // Totals and what was set aside are counted again when they are next asked for.
    change.execute("DELETE FROM budget_hold", [])?;
    change.execute("DELETE FROM budget_total", [])?;
    change.execute("UPDATE swept SET created_us = COALESCE((SELECT MAX(created_us) FROM generation), 0)", [])?;
    change.commit()?;
    Ok(recovered as u64)
}
