//! The statements of the ledger, and its rows read back: the same over both stores.
//!
//! Why it exists: what a generation, a sum or a total is in SQL is written once. What it refuses to know: connections,
//! transactions, threads. To add a column: a migration in `schema/`, then here.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::sql::{Misread, Row, Value};
use super::words::Words;
use super::{AmbiguousSum, LedgerFault, Record, SpendBy, SpendRow};
use crate::domain::budget::{Account, Total};
use crate::domain::fault::Billed;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::ledger::{Attempt, Basis, CLAIM_LIFE, Claim, Closing, MoneyState, Opening};
use crate::domain::money::Money;

/// A claim passes on when it is too old, or when what it bought cost nothing and never will.
pub(super) const PASS_CLAIM: &str = "UPDATE generation SET claim = NULL WHERE claim = ?1 AND (created_us <= ?2 OR \
     (ended_us IS NOT NULL AND answer IS NULL AND NOT EXISTS \
     (SELECT 1 FROM attempt WHERE attempt.generation = generation.id AND attempt.state <> 'released')))";

pub(super) const CLAIMED: &str = "SELECT 1 FROM generation WHERE claim = ?1";

pub(super) const LEFT_HELD: &str = "UPDATE attempt SET state = 'ambiguous' WHERE generation = ?1 AND state = 'held'";

pub(super) const SET_ASIDE: &str = "INSERT INTO budget_hold (generation, account, since_us, amount) \
     VALUES (?1, ?2, ?3, ?4) ON CONFLICT (generation, account) DO UPDATE SET amount = \
     CASE WHEN excluded.amount > budget_hold.amount THEN excluded.amount ELSE budget_hold.amount END";

pub(super) const SET_ASIDE_BEFORE: &str = "SELECT amount FROM budget_hold WHERE generation = ?1 AND account = ?2";

pub(super) const LET_GO: &str = "DELETE FROM budget_hold WHERE generation = ?1 AND account = ?2 RETURNING amount";

pub(super) const TOTAL: &str =
    "SELECT settled, reserved, ambiguous, stale FROM budget_total WHERE account = ?1 AND since_us = ?2";

pub(super) const KEEP_TOTAL: &str = "INSERT INTO budget_total (account, since_us, settled, reserved, ambiguous, stale) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (account, since_us) DO UPDATE SET settled = excluded.settled, \
     reserved = excluded.reserved, ambiguous = excluded.ambiguous, stale = excluded.stale";

pub(super) const FORGET_TOTALS: &str = "UPDATE budget_total SET stale = 1 WHERE stale = 0";

/// What an account is about: its period, key, task and metadata.
macro_rules! of_account {
    ($provider:literal) => {
        concat!(
            "g.created_us >= ?2 AND g.created_us < ?3 AND (?4 = '' OR g.key = ?4) AND (?5 = '' OR g.task = ?5) ",
            "AND (?6 = '' OR ",
            $provider,
            " = ?6) AND instr(',' || substr(g.metadata, 2), ?7) > 0"
        )
    };
}

/// A generation that set nothing aside in an account.
macro_rules! strays {
    () => {
        "NOT EXISTS (SELECT 1 FROM budget_hold h WHERE h.generation = g.id AND h.account = ?1)"
    };
}

/// An account counted from the attempts: settled, ambiguous, and held by generations that set nothing aside here.
pub(super) const COUNT: &str = concat!(
    "SELECT CAST(COALESCE(SUM(CASE a.state WHEN 'settled' THEN a.charged ELSE 0 END), 0) AS BIGINT), ",
    "CAST(COALESCE(SUM(CASE a.state WHEN 'ambiguous' THEN a.held ELSE 0 END), 0) AS BIGINT), ",
    "CAST(COALESCE(SUM(CASE WHEN a.state = 'held' AND ",
    strays!(),
    " THEN a.held ELSE 0 END), 0) + (SELECT COALESCE(SUM(g.first_held), 0) FROM generation g WHERE g.ended_us IS NULL ",
    "AND g.first_provider IS NOT NULL AND ",
    strays!(),
    " AND ",
    of_account!("g.first_provider"),
    ") AS BIGINT) FROM generation g JOIN attempt a ON a.generation = g.id WHERE ",
    of_account!("a.provider")
);

pub(super) const COUNT_SET_ASIDE: &str = "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM budget_hold \
     WHERE account = ?1 AND since_us = ?2";

/// A generation with its attempts in one statement, so that both are of one moment.
macro_rules! generation_where {
    ($condition:literal) => {
        concat!(
            "SELECT g.id, g.created_us, g.key, g.task, g.model, g.plan, g.rule, g.policy, g.prompt_sha256, g.prompt, ",
            "g.metadata, g.expected_cost, g.expected_accept, g.reserved, g.ended_us, g.outcome, g.made_by, ",
            "g.latency_us, g.images, g.claim, g.fingerprint, g.answer, g.decision, g.first_provider, g.first_held, ",
            "a.seq, a.provider, a.model, a.held, a.charged, a.state, a.billed, a.basis, a.outcome, a.detail, ",
            "a.latency_us FROM generation g LEFT JOIN attempt a ON a.generation = g.id WHERE ",
            $condition,
            " ORDER BY a.seq"
        )
    };
}

pub(super) const SHOW: &str = generation_where!("g.id = ?1");
pub(super) const RECALL: &str = generation_where!("g.claim = ?1 AND g.created_us >= ?2");

/// Where the columns of a generation's first call begin, and where those of its attempts do.
const FIRST: usize = 23;
const ATTEMPT: usize = 25;

pub(super) const DOUBT: &str = "SELECT a.provider, CAST(SUM(a.held) AS BIGINT), MIN(g.created_us) FROM attempt a \
     JOIN generation g ON g.id = a.generation WHERE a.state = 'ambiguous' GROUP BY a.provider ORDER BY a.provider";

/// Generations and their images are counted apart from their attempts' money, so that neither multiplies the other.
macro_rules! spend_by {
    ($group:literal) => {
        concat!(
            "SELECT grp, CAST(SUM(generations) AS BIGINT), CAST(SUM(images) AS BIGINT), ",
            "CAST(SUM(settled) AS BIGINT), CAST(SUM(ambiguous) AS BIGINT) FROM (SELECT ",
            $group,
            " AS grp, COUNT(*) AS generations, SUM(g.image_count) AS images, 0 AS settled, ",
            "0 AS ambiguous FROM generation g WHERE g.created_us >= ?1 GROUP BY 1 UNION ALL SELECT ",
            $group,
            ", 0, 0, SUM(CASE a.state WHEN 'settled' THEN a.charged ELSE 0 END), ",
            "SUM(CASE a.state WHEN 'ambiguous' THEN a.held ELSE 0 END) ",
            "FROM generation g JOIN attempt a ON a.generation = g.id WHERE g.created_us >= ?1 GROUP BY 1",
            ") sums GROUP BY grp ORDER BY SUM(settled) + SUM(ambiguous) DESC, grp"
        )
    };
}

/// A model's generations are those whose calls of it have ended; its images are those that it made.
const SPEND_BY_MODEL: &str = "SELECT grp, CAST(SUM(generations) AS BIGINT), CAST(SUM(images) AS BIGINT), \
     CAST(SUM(settled) AS BIGINT), CAST(SUM(ambiguous) AS BIGINT) FROM (\
     SELECT a.model AS grp, COUNT(DISTINCT a.generation) AS generations, 0 AS images, \
     SUM(CASE a.state WHEN 'settled' THEN a.charged ELSE 0 END) AS settled, \
     SUM(CASE a.state WHEN 'ambiguous' THEN a.held ELSE 0 END) AS ambiguous \
     FROM generation g JOIN attempt a ON a.generation = g.id WHERE g.created_us >= ?1 AND a.state <> 'held' \
     GROUP BY 1 UNION ALL SELECT g.made_by, 0, SUM(g.image_count), 0, 0 FROM generation g \
     WHERE g.created_us >= ?1 AND g.image_count > 0 GROUP BY 1\
     ) sums GROUP BY grp ORDER BY SUM(settled) + SUM(ambiguous) DESC, grp";

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

pub(super) const fn spend_sql(by: SpendBy) -> &'static str {
    match by {
        SpendBy::Day => spend_by!("g.created_us / 86400000000"),
        SpendBy::Key => spend_by!("g.key"),
        SpendBy::Model => SPEND_BY_MODEL,
        SpendBy::Task => spend_by!("g.task"),
    }
}

/// What [`COUNT`] asks with.
pub(super) fn count_parameters(account: &Account) -> Vec<Value> {
    let scope = &account.scope;
    let word = |word: &Option<Arc<str>>| Value::from(word.as_deref().unwrap_or_default());
    // Metadata is kept as JSON without spaces, sorted by name: a pair stands behind a brace or a comma, and no quote
    // inside a name or a value stands without a backslash.
    let pair = scope.metadata.as_ref().map(|(name, value)| format!(",{}:{}", json(&**name), json(&**value)));
    let until = account.until.map_or(i64::MAX, Timestamp::as_microsecond);
    vec![
        Value::from(&*account.id),
        account.since.as_microsecond().into(),
        until.into(),
        word(&scope.key),
        word(&scope.task),
        word(&scope.provider),
        pair.unwrap_or_default().into(),
    ]
}

/// An account by its key in the tables.
pub(super) fn account_key(account: &Account) -> Vec<Value> {
    vec![Value::from(&*account.id), account.since.as_microsecond().into()]
}

/// A row of [`TOTAL`].
pub(super) fn total(row: &Row) -> Result<(Total, bool), Misread> {
    let total = Total { settled: money(row, 0)?, reserved: money(row, 1)?, ambiguous: money(row, 2)? };
    Ok((total, row.int(3)? != 0))
}

/// The rows of [`COUNT`] and [`COUNT_SET_ASIDE`]: the total, and what strays hold.
pub(super) fn counted(attempts: &Row, set_aside: &Row) -> Result<(Total, Money), Misread> {
    let total = Total { settled: money(attempts, 0)?, reserved: money(set_aside, 0)?, ambiguous: money(attempts, 1)? };
    Ok((total, money(attempts, 2)?))
}

/// The rows of [`SHOW`] or [`RECALL`] as a generation.
pub(super) fn record(rows: &[Row], words: &Words) -> Result<Option<Record>, LedgerFault> {
    let Some(first) = rows.first() else { return Ok(None) };
    let mut record = generation(first, words)?;
    let own = rows.iter().filter(|row| row.0.get(ATTEMPT).is_some_and(|seq| *seq != Value::Null));
    let first = first_call(first, &record.opening.model)?;
    let attempts = first.into_iter().map(Ok).chain(own.map(|row| attempt(row, words)));
    let attempts = attempts.collect::<Result<Vec<_>, _>>()?;
    record.opening.attempts = attempts.iter().map(as_held).collect();
    if let Some(closing) = &mut record.closing {
        closing.attempts = attempts;
    }
    Ok(Some(record))
}

/// A row of [`spend_sql`].
pub(super) fn spend_row(by: SpendBy, row: &Row) -> Result<SpendRow, Misread> {
    let group = match by {
        SpendBy::Day => {
            let day = Timestamp::from_microsecond(row.int(0)?.saturating_mul(DAY)).map_err(|_| Misread(0))?;
            day.strftime("%Y-%m-%d").to_string()
        }
        SpendBy::Key | SpendBy::Model | SpendBy::Task => row.text(0)?.to_owned(),
    };
    let (settled, ambiguous) = (money(row, 3)?, money(row, 4)?);
    Ok(SpendRow { group, generations: count(row, 1)?, images: count(row, 2)?, settled, ambiguous })
}

/// A row of [`DOUBT`].
pub(super) fn doubtful(row: &Row) -> Result<AmbiguousSum, Misread> {
    Ok(AmbiguousSum { provider: row.text(0)?.into(), sum: money(row, 1)?, oldest: instant(row, 2)? })
}

/// Whole microseconds, as the books keep time.
pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Maps of text, lists of text and text always serialise.
pub(super) fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn generation(row: &Row, words: &Words) -> Result<Record, Misread> {
    let id: Arc<str> = row.text(0)?.into();
    let opening = Opening {
        id: id.clone(),
        created: instant(row, 1)?,
        key: row.text(2)?.into(),
        task: row.text(3)?.into(),
        model: row.text(4)?.into(),
        plan: row.text(5)?.to_owned(),
        rule: row.maybe_text(6)?.map(Into::into),
        policy: row.text(7)?.into(),
        prompt_sha256: row.text(8)?.to_owned(),
        prompt: row.maybe_text(9)?.map(str::to_owned),
        metadata: from_json(row, 10)?,
        expected_cost: money(row, 11)?,
        expected_accept: row.real(12)?,
        reserved: money(row, 13)?,
        claim: claim(row)?,
        attempts: Vec::new(),
        earmarks: Vec::new(),
        decision: row.maybe_text(22)?.map(str::to_owned),
    };
    if row.maybe_int(14)?.is_none() {
        return Ok(Record { opening, closing: None });
    }
    let closing = Closing {
        id,
        ended: instant(row, 14)?,
        outcome: words.intern(row.text(15)?),
        model: row.text(16)?.into(),
        latency: span(row, 17)?,
        images: from_json(row, 18)?,
        answer: row.maybe_text(21)?.map(str::to_owned),
        decision: None,
        attempts: Vec::new(),
        charges: Vec::new(),
    };
    Ok(Record { opening, closing: Some(closing) })
}

/// The first call, while it has no attempt of its own.
fn first_call(row: &Row, model: &Arc<str>) -> Result<Option<Attempt>, Misread> {
    let Some(provider) = row.maybe_text(FIRST)? else { return Ok(None) };
    Ok(Some(Attempt::held(0, provider.into(), model.clone(), money(row, FIRST + 1)?)))
}

fn attempt(row: &Row, words: &Words) -> Result<Attempt, Misread> {
    let at = |column: usize| ATTEMPT + column;
    let billed = |name: &str| [Billed::No, Billed::Unknown, Billed::Yes].into_iter().find(|b| b.name() == name);
    let basis = |name: &str| [Basis::PriceTable, Basis::ProviderUsage].into_iter().find(|b| b.name() == name);
    Ok(Attempt {
        seq: u32::try_from(row.int(at(0))?).map_err(|_| Misread(at(0)))?,
        provider: row.text(at(1))?.into(),
        model: row.text(at(2))?.into(),
        held: money(row, at(3))?,
        charged: money(row, at(4))?,
        state: named(row, at(5), MoneyState::from_name)?,
        billed: named(row, at(6), billed)?,
        basis: named(row, at(7), basis)?,
        outcome: words.intern(row.text(at(8))?),
        detail: row.text(at(9))?.to_owned(),
        latency: span(row, at(10))?,
    })
}

/// The attempt as it was before it was sent.
fn as_held(attempt: &Attempt) -> Attempt {
    Attempt::held(attempt.seq, attempt.provider.clone(), attempt.model.clone(), attempt.held)
}

fn claim(row: &Row) -> Result<Option<Claim>, Misread> {
    let (Some(scope), Some(print)) = (row.maybe_text(19)?, row.maybe_text(20)?) else { return Ok(None) };
    let fingerprint = Fingerprint::from_hex(print).ok_or(Misread(20))?;
    Ok(Some(Claim { scope: scope.to_owned(), fingerprint, life: CLAIM_LIFE }))
}

fn money(row: &Row, column: usize) -> Result<Money, Misread> {
    row.int(column).map(Money::from_micros)
}

fn count(row: &Row, column: usize) -> Result<u64, Misread> {
    row.int(column).map(|n| u64::try_from(n).unwrap_or(0))
}

fn instant(row: &Row, column: usize) -> Result<Timestamp, Misread> {
    Timestamp::from_microsecond(row.int(column)?).map_err(|_| Misread(column))
}

fn span(row: &Row, column: usize) -> Result<Duration, Misread> {
    count(row, column).map(Duration::from_micros)
}

fn from_json<T: serde::de::DeserializeOwned>(row: &Row, column: usize) -> Result<T, Misread> {
    serde_json::from_str(row.text(column)?).map_err(|_| Misread(column))
}

fn named<T>(row: &Row, column: usize, find: impl Fn(&str) -> Option<T>) -> Result<T, Misread> {
    find(row.text(column)?).ok_or(Misread(column))
}
