//! What each command asks of the server.
//!
//! Why it exists: every statement of a transaction stands here. What it refuses to know: round trips, and whether a
//! change is wise.

use super::session::Ask;
use crate::domain::budget::Earmark;
use crate::domain::ledger::{Attempt, Closing, MoneyState, Opening};
use crate::state::books::{self, json, micros};
use crate::state::sql::Value;

const OPEN: &str = "INSERT INTO generation (id, created_us, key, task, model, plan, rule, policy, prompt_sha256, prompt, \
     metadata, expected_cost, expected_accept, reserved, claim, fingerprint, replica, decision) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

/// Locked, so that nobody ends it before this transaction does.
const IS_OPEN: &str = "SELECT 1 FROM generation WHERE id = ?1 AND ended_us IS NULL FOR UPDATE";

/// The owner of a generation that was taken for dead knows better how it ended.
const CLOSE: &str = "UPDATE generation SET ended_us = ?2, outcome = ?3, made_by = ?4, latency_us = ?5, image_count = ?6, \
     images = ?7, answer = ?8, decision = COALESCE(?10, decision) \
     WHERE id = ?1 AND (ended_us IS NULL OR (outcome = 'crashed' AND replica = ?9))";

const ATTEMPT: &str = "INSERT INTO attempt (generation, seq, provider, model, held, charged, state, billed, basis, \
     outcome, detail, latency_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

const END_ATTEMPT: &str = "INSERT INTO attempt (generation, seq, provider, model, held, charged, state, billed, basis, \
     outcome, detail, latency_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
     ON CONFLICT (generation, seq) DO UPDATE SET charged = excluded.charged, state = excluded.state, \
     billed = excluded.billed, basis = excluded.basis, outcome = excluded.outcome, detail = excluded.detail, \
     latency_us = excluded.latency_us";

/// A claim passes on if it may; then: who holds it.
pub(super) fn claim(opening: &Opening) -> Vec<Ask> {
    let Some(claim) = &opening.claim else { return Vec::new() };
    let oldest = claim.passes_until(opening.created);
    vec![
        Ask(books::PASS_CLAIM, vec![claim.scope.as_str().into(), oldest.into()]),
        Ask(books::CLAIMED, vec![claim.scope.as_str().into()]),
    ]
}

/// Whether it is open.
pub(super) fn is_open(id: &str) -> Ask {
    Ask(IS_OPEN, vec![id.into()])
}

/// A generation with its first attempts.
pub(super) fn open(opening: &Opening, replica: i64) -> Vec<Ask> {
    let claim = opening.claim.as_ref();
    let head = Ask(
        OPEN,
        vec![
            Value::from(&*opening.id),
            opening.created.as_microsecond().into(),
            (*opening.key).into(),
            (*opening.task).into(),
            (*opening.model).into(),
            opening.plan.as_str().into(),
            opening.rule.as_deref().into(),
            (*opening.policy).into(),
            opening.prompt_sha256.as_str().into(),
            opening.prompt.as_deref().into(),
            json(&opening.metadata).into(),
            opening.expected_cost.micros().into(),
            opening.expected_accept.into(),
            opening.reserved.micros().into(),
            claim.map(|claim| claim.scope.as_str()).into(),
            claim.map(|claim| claim.fingerprint.hex()).into(),
            replica.into(),
            opening.decision.as_deref().into(),
        ],
    );
    std::iter::once(head).chain(attempts(&opening.id, &opening.attempts)).collect()
}

/// Attempts about to be sent.
pub(super) fn attempts(id: &str, attempts: &[Attempt]) -> impl Iterator<Item = Ask> {
    attempts.iter().map(move |attempt| Ask(ATTEMPT, attempt_row(id, attempt, attempt.state)))
}

/// What is set aside in budgets.
pub(super) fn set_aside(id: &str, earmarks: &[Earmark]) -> impl Iterator<Item = Ask> {
    earmarks.iter().map(move |earmark| {
        let (account, since) = (&*earmark.account.id, earmark.account.since.as_microsecond());
        Ask(books::SET_ASIDE, vec![id.into(), account.into(), since.into(), earmark.amount.micros().into()])
    })
}

/// What is set aside in these budgets so far.
pub(super) fn set_aside_before(id: &str, earmarks: &[Earmark]) -> impl Iterator<Item = Ask> {
    earmarks.iter().map(move |mark| Ask(books::SET_ASIDE_BEFORE, vec![id.into(), (*mark.account.id).into()]))
}

/// A generation's end, and what it lets go.
pub(super) fn close(closing: &Closing, replica: i64) -> Vec<Ask> {
    let images = i64::try_from(closing.images.len()).unwrap_or(i64::MAX);
    let head = Ask(
        CLOSE,
        vec![
            Value::from(&*closing.id),
            closing.ended.as_microsecond().into(),
            closing.outcome.into(),
            (*closing.model).into(),
            micros(closing.latency).into(),
            images.into(),
            json(&closing.images).into(),
            closing.answer.as_deref().into(),
            replica.into(),
            closing.decision.as_deref().into(),
        ],
    );
    let holds = closing.charges.iter().map(|charge| (*charge.account.id).into());
    let let_go = holds.map(|account| Ask(books::LET_GO, vec![Value::from(&*closing.id), account]));
    std::iter::once(head).chain(let_go).collect()
}

/// The ends of a generation's attempts. Whatever is still held then, listed or not, is in doubt.
pub(super) fn ends(closing: &Closing) -> Vec<Ask> {
    let end = |attempt: &Attempt| {
        let state = if attempt.state == MoneyState::Held { MoneyState::Ambiguous } else { attempt.state };
        Ask(END_ATTEMPT, attempt_row(&closing.id, attempt, state))
    };
    let left = Ask(books::LEFT_HELD, vec![(*closing.id).into()]);
    closing.attempts.iter().map(end).chain([left]).collect()
}

fn attempt_row(id: &str, attempt: &Attempt, state: MoneyState) -> Vec<Value> {
    vec![
        id.into(),
        i64::from(attempt.seq).into(),
        (*attempt.provider).into(),
        (*attempt.model).into(),
        attempt.held.micros().into(),
        attempt.charged.micros().into(),
        state.name().into(),
        attempt.billed.name().into(),
        attempt.basis.name().into(),
        attempt.outcome.into(),
        attempt.detail.as_str().into(),
        micros(attempt.latency).into(),
    ]
}
