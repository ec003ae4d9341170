//! Rows in: what each command writes.
//!
//! Why it exists: every statement that changes the ledger stands here. What it refuses to know: transactions, threads,
//! whether a change is wise.

use std::borrow::Cow;

use rusqlite::{params, params_from_iter};

use super::reads::bound;
use super::statements::Statements;

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
pub(super) fn open(statements: &mut Statements<'_>, opening: &Opening) -> rusqlite::Result<bool> {
    if let Some(claim) = &opening.claim {
        let oldest = claim.passes_until(opening.created);
        statements.get(PASS_CLAIM)?.execute(params![claim.scope, oldest])?;
        if statements.get(CLAIMED)?.exists([&claim.scope])? {
            return Ok(false);
        }
    }
    statements.get(OPEN)?.execute(params![
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
    opening.attempts.iter().try_for_each(|attempt| begin(statements, &opening.id, attempt))?;
    Ok(true)
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
/// nobody will end it any more. `written`: how many attempts it has, if that is known.
pub(super) fn close(
    statements: &mut Statements<'_>,
    closing: &Closing,
    written: Option<usize>,
) -> rusqlite::Result<bool> {
    let closed = statements.get(CLOSE)?.execute(params![
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
        ended += usize::from(end(statements, &closing.id, attempt)?);
    }
    if written != Some(ended) {
        statements.get(LEFT_HELD)?.execute([&*closing.id])?;
    }
    Ok(true)
}

/// Whether it had been written before.
fn end(statements: &mut Statements<'_>, id: &str, attempt: &Attempt) -> rusqlite::Result<bool> {
    let state = if attempt.state == MoneyState::Held { MoneyState::Ambiguous } else { attempt.state };
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
