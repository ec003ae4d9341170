//! The statements of a batch, each prepared once.
//!
//! Why it exists: to find a prepared statement by its text, check it out and back in costs as much as to bind its
//! parameters, and a batch runs the same few dozens of times. What it refuses to know: what they do.

use rusqlite::{CachedStatement, Connection};

/// Statements in use on one connection; they go back to its cache together.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    ready: Vec<(&'static str, CachedStatement<'c>)>,
}

impl<'c> Statements<'c> {
    /// None as yet.
    pub(super) const fn of(connection: &'c Connection) -> Self {
        Self { connection, ready: Vec::new() }
    }

    /// The statement of this text.
    pub(super) fn get(&mut self, sql: &'static str) -> rusqlite::Result<&mut CachedStatement<'c>> {
        let known = self.ready.iter().position(|(text, _)| *text == sql);
        let at = known.unwrap_or(self.ready.len());
        if known.is_none() {
            self.ready.push((sql, self.connection.prepare_cached(sql)?));
        }
        // It was found or pushed just now.
        self.ready.get_mut(at).map(|(_, statement)| statement).ok_or(rusqlite::Error::InvalidQuery)
    }
}
