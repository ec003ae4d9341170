//! Rows in: what each command writes.
//!
//! Why it exists: every statement that changes the ledger stands here. What it refuses to know: transactions, threads,
//! whether a change is wise.

use std::time::Duration;

use rusqlite::{Connection, params};

use crate::domain::ledger::{Attempt, Closing, MoneyState, Opening};

const OPEN: &str = "INSERT INTO generation (id, created_us, key, task, model, plan, rule, policy, prompt_sha256, prompt, \
     metadata, expected_cost, expected_accept, reserved, claim, fingerprint) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

/// A claim passes on when it is too old, or when what it bought cost nothing and never will.
const PASS_CLAIM: &str = "UPDATE generation SET claim = NULL WHERE claim = ?1 AND (created_us <= ?2 OR \
     (ended_us IS NOT NULL AND answer IS NULL AND NOT EXISTS \
     (SELECT 1 FROM attempt WHERE attempt.generation = generation.id AND attempt.state <> 'released')))";

const CLAIMED: &str = "SELECT 1 FROM generation WHERE claim = ?1";

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

const LEFT_HELD: &str = "UPDATE attempt SET state = 'ambiguous' WHERE generation = ?1 AND state = 'held'";

/// Writes a generation with its claim and first attempts; false when the claim is held.
pub(super) fn open(connection: &Connection, opening: &Opening) -> rusqlite::Result<bool> {
    if let Some(claim) = &opening.claim {
        // A claim without life takes its place from anyone.
        let fresh = claim.life.is_zero();
        let oldest =
            if fresh { i64::MAX } else { opening.created.as_microsecond().saturating_sub(micros(claim.life)) };
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
        if opening.metadata.is_empty() { "{}".into() } else { json(&opening.metadata) },
        opening.expected_cost.micros(),
        opening.expected_accept,
        opening.reserved.micros(),
        opening.claim.as_ref().map(|claim| claim.scope.as_str()),
        opening.claim.as_ref().map(|claim| claim.fingerprint.hex()),
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
/// nobody will end it any more.
pub(super) fn close(connection: &Connection, closing: &Closing) -> rusqlite::Result<bool> {
    let closed = connection.prepare_cached(CLOSE)?.execute(params![
        &*closing.id,
        closing.ended.as_microsecond(),
        closing.outcome,
        &*closing.model,
        micros(closing.latency),
        i64::try_from(closing.images.len()).unwrap_or(i64::MAX),
        if closing.images.is_empty() { "[]".into() } else { json(&closing.images) },
        closing.answer,
    ])?;
    if closed == 0 {
        return Ok(false);
    }
    for attempt in &closing.attempts {
        end(connection, &closing.id, attempt)?;
    }
    connection.prepare_cached(LEFT_HELD)?.execute([&*closing.id])?;
    Ok(true)
}

fn end(connection: &Connection, id: &str, attempt: &Attempt) -> rusqlite::Result<()> {
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
    if known == 0 { insert(connection, id, attempt, state) } else { Ok(()) }
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

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Maps of text and lists of text always serialise.
fn json(value: &impl serde::Serialize) -> std::borrow::Cow<'static, str> {
    serde_json::to_string(value).unwrap_or_default().into()
}
