//! Rows in: what each command writes.
//!
//! Why it exists: every statement that changes the ledger stands here. What it refuses to know: transactions, threads,
//! whether a change is wise.

use std::borrow::Cow;

use rusqlite::{Connection, params, params_from_iter};

use super::reads::bound;

use crate::domain::ledger::{Attempt, Closing, MoneyState, Opening};
use crate::state::books::{CLAIMED, LEFT_HELD, PASS_CLAIM, json, micros};
use crate::state::sql::Statement;

const OPEN: &str = "INSERT INTO generation (id, created_us, key, task, model, plan, rule, policy, prompt_sha256, prompt, \
     metadata, expected_cost, expected_accept, reserved, claim, fingerprint, decision) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";

const IS_OPEN: &str = "SELECT 1 FROM generation WHERE id = ?1 AND ended_us IS NULL";

const CLOSE: &str = "UPDATE generation SET ended_us = ?2, outcome = ?3, made_by = ?4, latency_us = ?5, image_count = ?6, \
     images = ?7, answer = ?8 WHERE id = ?1 AND ended_us IS NULL";

const ATTEMPT: &str = "INSERT INTO attempt (generation, seq, provider, model, held, charged, state, billed, basis, \
     outcome, detail, latency_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// Most attempts are written before they are sent, all alike but for these columns.
const HELD: &str = "INSERT INTO attempt (generation, seq, provider, model, held, charged, state, billed, basis, outcome, \
     detail, latency_us) VALUES (?1, ?2, ?3, ?4, ?5, 0, 'held', 'unknown', 'price_table', 'sent', '', 0)";

const END_ATTEMPT: &str = "UPDATE attempt SET charged = ?3, state = ?4, billed = ?5, basis = ?6, outcome = ?7, \
     detail = ?8, latency_us = ?9 WHERE generation = ?1 AND seq = ?2";

/// Writes a generation with its claim and first attempts; false when the claim is held.
pub(super) fn open(connection: &Connection, opening: &Opening) -> rusqlite::Result<bool> {
    if let Some(claim) = &opening.claim {
        let oldest = claim.passes_until(opening.created);
        connection.prepare_cached(PASS_CLAIM)?.execute(params![claim.scope, oldest])?;
        if connection.prepare_cached(CLAIMED)?.exists([&claim.scope])? {
            return Ok(false);
        }
    }
    connection.prepare_cached(OPEN)?.execute(params![
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
    ])?;
    opening.attempts.iter().try_for_each(|attempt| begin(connection, &opening.id, attempt))?;
    Ok(true)
}

/// Writes further attempts; false when the generation is not open.
pub(super) fn hold(connection: &Connection, id: &str, attempts: &[Attempt]) -> rusqlite::Result<bool> {
    if !connection.prepare_cached(IS_OPEN)?.exists([id])? {
        return Ok(false);
    }
    attempts.iter().try_for_each(|attempt| begin(connection, id, attempt))?;
    Ok(true)
}

/// Writes a generation's end; false when it is not open. Whatever is still held then, listed or not, is in doubt:
/// nobody will end it any more. `written`: how many attempts it has, if that is known.
pub(super) fn close(connection: &Connection, closing: &Closing, written: Option<usize>) -> rusqlite::Result<bool> {
    let closed = connection.prepare_cached(CLOSE)?.execute(params![
        &*closing.id,
        closing.ended.as_microsecond(),
        closing.outcome,
        &*closing.model,
        micros(closing.latency),
        i64::try_from(closing.images.len()).unwrap_or(i64::MAX),
        if closing.images.is_empty() { Cow::Borrowed("[]") } else { json(&closing.images).into() },
        closing.answer,
    ])?;
    if closed == 0 {
        return Ok(false);
    }
    let mut ended = 0;
    for attempt in &closing.attempts {
        ended += usize::from(end(connection, &closing.id, attempt)?);
    }
    if written != Some(ended) {
        connection.prepare_cached(LEFT_HELD)?.execute([&*closing.id])?;
    }
    Ok(true)
}

/// Whether it had been written before.
fn end(connection: &Connection, id: &str, attempt: &Attempt) -> rusqlite::Result<bool> {
    let state = if attempt.state == MoneyState::Held { MoneyState::Ambiguous } else { attempt.state };
    let known = connection.prepare_cached(END_ATTEMPT)?.execute(params![
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
        insert(connection, id, attempt, state)?;
    }
    Ok(known > 0)
}

fn begin(connection: &Connection, id: &str, attempt: &Attempt) -> rusqlite::Result<()> {
    if attempt.state != MoneyState::Held {
        return insert(connection, id, attempt, attempt.state);
    }
    let columns = params![id, attempt.seq, &*attempt.provider, &*attempt.model, attempt.held.micros()];
    connection.prepare_cached(HELD)?.execute(columns).map(drop)
}

fn insert(connection: &Connection, id: &str, attempt: &Attempt, state: MoneyState) -> rusqlite::Result<()> {
    connection.prepare_cached(ATTEMPT)?.execute(params![
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
pub(super) fn run(connection: &Connection, statements: &[Statement]) -> rusqlite::Result<Vec<u64>> {
    let run = |statement: &Statement| {
        let parameters = params_from_iter(bound(&statement.parameters));
        connection.prepare_cached(statement.sql)?.execute(parameters).map(|changed| changed as u64)
    };
    statements.iter().map(run).collect()
}
