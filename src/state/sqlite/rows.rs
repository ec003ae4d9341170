//! Rows in: what each command writes.
//!
//! Why it exists: every statement that changes the ledger stands here. What it refuses to know: transactions, threads,
//! whether a change is wise.

use std::borrow::Cow;

use rusqlite::{OptionalExtension, params, params_from_iter};

use super::reads::bound;
use super::statements::Statements;

use crate::domain::ledger::{Attempt, Closing, MoneyState, Opening};
use crate::state::books::{CLAIMED, LEFT_HELD, PASS_CLAIM, json, micros};
use crate::state::sql::Statement;

const OPEN: &str = "INSERT INTO generation (id, created_us, key, task, model, plan, rule, policy, prompt_sha256, prompt, \
     metadata, expected_cost, expected_accept, reserved, claim, fingerprint, decision, first_provider, first_held) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";

const IS_OPEN: &str = "SELECT 1 FROM generation WHERE id = ?1 AND ended_us IS NULL";

const CLOSE: &str = "UPDATE generation SET ended_us = ?2, outcome = ?3, made_by = ?4, latency_us = ?5, image_count = ?6, \
     images = ?7, answer = ?8, decision = COALESCE(?10, decision), first_provider = NULL, first_held = NULL \
     WHERE rowid = ?9 AND id = ?1 AND ended_us IS NULL";

const ROW: &str = "SELECT rowid FROM generation WHERE id = ?1";

const ATTEMPT: &str = "INSERT INTO attempt (generation, seq, provider, model, held, charged, state, billed, basis, \
     outcome, detail, latency_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// First calls that run get the rows of their attempts.
macro_rules! write_first {
    ($which:literal) => {
        concat!(
            "INSERT INTO attempt (generation, seq, provider, model, held, charged, state, billed, basis, outcome, ",
            "detail, latency_us) SELECT id, 0, first_provider, model, first_held, 0, 'held', 'unknown', ",
            "'price_table', 'sent', '', 0 FROM generation WHERE ",
            $which,
            " AND ended_us IS NULL AND first_provider IS NOT NULL"
        )
    };
}

const WRITE_FIRST: &str = write_first!("id = ?1");
pub(super) const WRITE_FIRST_SINCE: &str = write_first!("created_us >= ?1");

/// Attempts that are written before they are sent are alike but for these columns.
const HELD: &str = "INSERT INTO attempt (generation, seq, provider, model, held, charged, state, billed, basis, outcome, \
     detail, latency_us) VALUES (?1, ?2, ?3, ?4, ?5, 0, 'held', 'unknown', 'price_table', 'sent', '', 0)";

const END_ATTEMPT: &str = "UPDATE attempt SET charged = ?3, state = ?4, billed = ?5, basis = ?6, outcome = ?7, \
     detail = ?8, latency_us = ?9 WHERE generation = ?1 AND seq = ?2";

/// What an open generation has of its attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// Where the generation was written: `VACUUM` may move it.
    row: i64,
    /// The first call is written with the generation.
    first: bool,
    /// The attempts that have rows.
    rows: usize,
}

impl Written {
    /// So many more have rows.
    pub(super) fn add(&mut self, rows: usize) {
        self.rows += rows;
    }
}

/// The first call of an opening, if the generation's row can tell of it.
fn goes_with(opening: &Opening) -> Option<&Attempt> {
    let (first, others) = opening.attempts.split_first()?;
    let alike = first.state == MoneyState::Held && first.model == opening.model;
    (alike && first.seq == 0 && others.iter().all(|other| other.seq != 0)).then_some(first)
}

/// Writes a generation with its claim and first attempts; `None` when the claim is held.
pub(super) fn open(statements: &mut Statements<'_>, opening: &Opening) -> rusqlite::Result<Option<Written>> {
    if let Some(claim) = &opening.claim {
        let oldest = claim.passes_until(opening.created);
        statements.get(PASS_CLAIM)?.execute(params![claim.scope, oldest])?;
        if statements.get(CLAIMED)?.exists([&claim.scope])? {
            return Ok(None);
        }
    }
    let first = goes_with(opening);
    let row = statements.get(OPEN)?.insert(params![
        &*opening.id,
        opening.created.as_microsecond(),
        &*opening.key,
        &*opening.task,
        &*opening.model,
        opening.plan,
        opening.rule.as_deref(),
        &*opening.policy,
        opening.prompt_sha256,
        opening.prompt,
        if opening.metadata.is_empty() { Cow::Borrowed("{}") } else { json(&opening.metadata).into() },
        opening.expected_cost.micros(),
        opening.expected_accept,
        opening.reserved.micros(),
        opening.claim.as_ref().map(|claim| claim.scope.as_str()),
        opening.claim.as_ref().map(|claim| claim.fingerprint.hex()),
        opening.decision,
        first.map(|first| &*first.provider),
        first.map(|first| first.held.micros()),
    ])?;
    let first = first.is_some();
    let others = opening.attempts.get(usize::from(first)..).unwrap_or_default();
    others.iter().try_for_each(|attempt| begin(statements, &opening.id, attempt))?;
    Ok(Some(Written { row, first, rows: others.len() }))
}

/// Writes further attempts; false when the generation is not open.
pub(super) fn hold(statements: &mut Statements<'_>, id: &str, attempts: &[Attempt]) -> rusqlite::Result<bool> {
    if !statements.get(IS_OPEN)?.exists([id])? {
        return Ok(false);
    }
    attempts.iter().try_for_each(|attempt| begin(statements, id, attempt))?;
    Ok(true)
}

/// Writes a generation's end; false when it is not open. Whatever is still held then, listed or not, is in doubt:
/// nobody will end it any more. `written`: what it has of its attempts, if that is known.
pub(super) fn close(
    statements: &mut Statements<'_>,
    closing: &Closing,
    mut written: Option<Written>,
) -> rusqlite::Result<bool> {
    let ends_first = closing.attempts.iter().any(|attempt| attempt.seq == 0);
    if !ends_first || written.is_none() {
        let rows = statements.get(WRITE_FIRST)?.execute([&*closing.id])?;
        written = written.map(|before| Written { first: false, rows: before.rows + rows, ..before });
    }
    let mut closed = match written {
        Some(written) => end_at(statements, written.row, closing)?,
        None => false,
    };
    if !closed && let Some(row) = statements.get(ROW)?.query_row([&*closing.id], |row| row.get(0)).optional()? {
        closed = end_at(statements, row, closing)?;
    }
    if !closed {
        return Ok(false);
    }
    let first = written.is_some_and(|written| written.first);
    let mut ended = 0;
    for attempt in &closing.attempts {
        ended += usize::from(end(statements, &closing.id, attempt, first && attempt.seq == 0)?);
    }
    if written.map(|written| written.rows) != Some(ended) {
        statements.get(LEFT_HELD)?.execute([&*closing.id])?;
    }
    Ok(true)
}

/// Whether the generation in this row is that one, and was open.
fn end_at(statements: &mut Statements<'_>, row: i64, closing: &Closing) -> rusqlite::Result<bool> {
    let closed = statements.get(CLOSE)?.execute(params![
        &*closing.id,
        closing.ended.as_microsecond(),
        closing.outcome,
        &*closing.model,
        micros(closing.latency),
        i64::try_from(closing.images.len()).unwrap_or(i64::MAX),
        if closing.images.is_empty() { Cow::Borrowed("[]") } else { json(&closing.images).into() },
        closing.answer,
        row,
        closing.decision,
    ])?;
    Ok(closed > 0)
}

/// Whether it had a row before; `new`: it has none.
fn end(statements: &mut Statements<'_>, id: &str, attempt: &Attempt, new: bool) -> rusqlite::Result<bool> {
    let state = if attempt.state == MoneyState::Held { MoneyState::Ambiguous } else { attempt.state };
    if new {
        return insert(statements, id, attempt, state).map(|()| false);
    }
    let known = statements.get(END_ATTEMPT)?.execute(params![
        id,
        attempt.seq,
        attempt.charged.micros(),
        state.name(),
        attempt.billed.name(),
        attempt.basis.name(),
        attempt.outcome,
        attempt.detail,
        micros(attempt.latency),
    ])?;
    if known == 0 {
        insert(statements, id, attempt, state)?;
    }
    Ok(known > 0)
}

fn begin(statements: &mut Statements<'_>, id: &str, attempt: &Attempt) -> rusqlite::Result<()> {
    if attempt.state != MoneyState::Held {
        return insert(statements, id, attempt, attempt.state);
    }
    let columns = params![id, attempt.seq, &*attempt.provider, &*attempt.model, attempt.held.micros()];
    statements.get(HELD)?.execute(columns).map(drop)
}

fn insert(statements: &mut Statements<'_>, id: &str, attempt: &Attempt, state: MoneyState) -> rusqlite::Result<()> {
    statements.get(ATTEMPT)?.execute(params![
        id,
        attempt.seq,
        &*attempt.provider,
        &*attempt.model,
        attempt.held.micros(),
        attempt.charged.micros(),
        state.name(),
        attempt.billed.name(),
        attempt.basis.name(),
        attempt.outcome,
        attempt.detail,
        micros(attempt.latency),
    ])?;
    Ok(())
}

/// Runs statements of other rooms; rows changed by each.
pub(super) fn run(statements: &mut Statements<'_>, further: &[Statement]) -> rusqlite::Result<Vec<u64>> {
    let run = |statement: &Statement| {
        let parameters = params_from_iter(bound(&statement.parameters));
        statements.get(statement.sql)?.execute(parameters).map(|changed| changed as u64)
    };
    further.iter().map(run).collect()
}
