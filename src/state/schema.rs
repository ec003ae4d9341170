//! The tables of the books, once for both stores.
//!
//! Why it exists: a file and a server keep the same tables, so a report, a test or a table of another room is written
//! once. What it refuses to know: connections. To change the schema: a new file in `schema/` with the next number and a
//! line in [`MIGRATIONS`]; a file once released is never edited. Its words are those that both stores read alike:
//! `TEXT`, `BIGINT` (money in micro-dollars, instants in microseconds since 1970 UTC, flags 0 and 1), `DOUBLE
//! PRECISION`, `CHECK`, partial indexes; tables end in `WITHOUT ROWID` where their key is not an integer, unless their rows
//! are long: beyond a quarter of a page such a table keeps a row's rest elsewhere, and reads all of it to compare keys. A
//! `CHECK` on what every request writes is a row of `OR`s: of three words after `IN`, `SQLite` makes a table each time.

/// Each brings a store from one version to the next; the version is how many were applied.
pub(crate) const MIGRATIONS: [&str; 8] = [
    include_str!("schema/0001_ledger.sql"),
    include_str!("schema/0002_budgets.sql"),
    include_str!("schema/0003_jobs.sql"),
    include_str!("schema/0004_verdicts.sql"),
    include_str!("schema/0005_audit.sql"),
    include_str!("schema/0006_drift.sql"),
    include_str!("schema/0007_trials.sql"),
    include_str!("schema/0008_first_call.sql"),
];

/// A migration as Postgres reads it: tables there have no row number to leave out.
pub(crate) fn for_postgres(migration: &str) -> String {
    migration.replace(" WITHOUT ROWID", "")
}

/// Why a store of another version than [`MIGRATIONS`] makes is not used.
pub(crate) fn strange(version: usize) -> String {
    format!("its schema is version {version} and this program knows version {}", MIGRATIONS.len())
}
