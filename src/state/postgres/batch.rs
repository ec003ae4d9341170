//! One transaction: what waited, in three round trips, two without budgets.
//!
//! ```text
//! totals locked, in one order ─ counted if stale          only where a budget asks
//! claims and openness looked at, generations ended        one round trip
//! decided here, then rows written, totals kept, COMMIT    one round trip
//! ```
//!
//! Why it exists: nothing is decided by the server that the file's writer decides here, so both stores decide alike.
//! What it refuses to know: connections that fail (`writer.rs`).

use tokio_postgres::Error;

use super::session::{Answer, Ask, Session};
use super::{replica, rows};
use crate::domain::budget::Total;
use crate::domain::money::Money;
use crate::state::LedgerFault;
use crate::state::books;
use crate::state::command::{Command, Verdict};
use crate::state::sql::{Row, Value};
use crate::state::totals::Totals;

const LOCK_TOTAL: &str = "SELECT settled, reserved, ambiguous, stale FROM budget_total \
     WHERE account = ?1 AND since_us = ?2 FOR UPDATE";

const NEW_TOTAL: &str = "INSERT INTO budget_total (account, since_us, settled, reserved, ambiguous, stale) \
     VALUES (?1, ?2, 0, 0, 0, 1) ON CONFLICT (account, since_us) DO NOTHING";

/// Writes the whole batch durably, or nothing of it. A verdict that is an error has written nothing of its command.
pub(super) async fn transact(session: &Session, id: i64, batch: &[Command], beat: bool) -> Result<Vec<Verdict>, Error> {
    let mut asks = vec![Ask("BEGIN", Vec::new())];
    asks.extend(beat.then(|| replica::beat(id)));
    let mut totals = Totals::of(batch);
    if !totals.is_empty() {
        session.pipeline(std::mem::take(&mut asks)).await?;
        lock(session, &mut totals).await?;
    }
    let before = asks.len();
    let looks: Vec<Vec<Ask>> = batch.iter().map(|command| look(command, id)).collect();
    let counts: Vec<usize> = looks.iter().map(Vec::len).collect();
    asks.extend(looks.into_iter().flatten());
    let mut answers = session.pipeline(asks).await?.into_iter().skip(before);
    let mut rest = Vec::new();
    let mut pending = Vec::with_capacity(batch.len());
    for (command, count) in batch.iter().zip(counts) {
        let found: Vec<Answer> = answers.by_ref().take(count).collect();
        pending.push(decide(command, &found, id, &mut totals, &mut rest));
    }
    rest.extend(totals.moved().map(|line| Ask(books::KEEP_TOTAL, line.parameters())));
    rest.push(Ask("COMMIT", Vec::new()));
    let changed: Vec<u64> = session.pipeline(rest).await?.iter().map(|answer| answer.changed).collect();
    Ok(pending.into_iter().map(|verdict| verdict.map(|at| changed.get(at).unwrap_or_default().to_vec())).collect())
}

/// Where the answers of a command's own statements are among the last.
type Pending = Result<std::ops::Range<usize>, LedgerFault>;

/// What must be known before a command is decided; ends are written at once, since nothing speaks against them.
fn look(command: &Command, id: i64) -> Vec<Ask> {
    match command {
        Command::Open(opening, _) => rows::claim(opening),
        Command::Hold(id, _, earmarks, _) => {
            std::iter::once(rows::is_open(id)).chain(rows::set_aside_before(id, earmarks)).collect()
        }
        Command::Close(closing, _) => rows::close(closing, id),
        Command::Recount(_) => vec![Ask(books::FORGET_TOTALS, Vec::new())],
        Command::Write(..) => Vec::new(),
    }
}

/// Decides a command by what was found, and adds what it writes.
fn decide(command: &Command, found: &[Answer], id: i64, totals: &mut Totals, rest: &mut Vec<Ask>) -> Pending {
    let start = rest.len();
    let done = start..start;
    let none = || found.first().is_none_or(|answer| answer.changed == 0);
    match command {
        Command::Open(opening, _) => {
            if found.get(1).is_some_and(|claimed| !claimed.rows.is_empty()) {
                return Err(LedgerFault::Reused);
            }
            let already = vec![Money::ZERO; opening.earmarks.len()];
            totals.fits(&opening.earmarks, &already)?;
            totals.reserve(&opening.earmarks, &already);
            rest.extend(rows::open(opening, id));
            rest.extend(rows::set_aside(&opening.id, &opening.earmarks));
        }
        Command::Hold(generation, attempts, earmarks, _) => {
            if none() {
                return Err(LedgerFault::NotOpen(generation.to_string()));
            }
            let amounts = found.iter().skip(1).map(|answer| amount(answer).unwrap_or(Money::ZERO));
            let already: Vec<Money> = amounts.collect();
            totals.fits(earmarks, &already)?;
            totals.reserve(earmarks, &already);
            rest.extend(rows::attempts(generation, attempts));
            rest.extend(rows::set_aside(generation, earmarks));
        }
        Command::Close(closing, _) => {
            if none() {
                return Err(LedgerFault::NotOpen(closing.id.to_string()));
            }
            for (charge, held) in closing.charges.iter().zip(found.iter().skip(1)) {
                totals.settle(charge, amount(held));
            }
            rest.extend(rows::ends(closing));
        }
        Command::Recount(_) => totals.forget(),
        Command::Write(statements, _) => {
            rest.extend(statements.iter().map(|statement| Ask(statement.sql, statement.parameters.clone())));
            return Ok(start..rest.len());
        }
    }
    Ok(done)
}

/// Reads the accounts of this transaction and keeps others from them until it ends; counts those that are new or stale.
async fn lock(session: &Session, totals: &mut Totals) -> Result<(), Error> {
    let keys: Vec<Vec<Value>> = totals.lines().map(|line| books::account_key(&line.account)).collect();
    let asks = |sql| keys.iter().map(move |key| Ask(sql, key.clone()));
    let mut found = session.pipeline(asks(LOCK_TOTAL).collect()).await?;
    if found.iter().any(|answer| answer.rows.is_empty()) {
        session.pipeline(asks(NEW_TOTAL).collect()).await?;
        found = session.pipeline(asks(LOCK_TOTAL).collect()).await?;
    }
    for (line, answer) in totals.lines().zip(&found) {
        line.learn(answer.rows.first().and_then(|row| books::total(row).ok()));
        if line.stale {
            let counts = vec![
                Ask(books::COUNT, books::count_parameters(&line.account)),
                Ask(books::COUNT_SET_ASIDE, books::account_key(&line.account)),
            ];
            let mut counted = session.pipeline(counts).await?.into_iter().map(|answer| answer.rows.into_iter().next());
            let empty = || Row(Vec::new());
            let (attempts, set_aside) = (counted.next().flatten(), counted.next().flatten());
            let counted = books::counted(&attempts.unwrap_or_else(empty), &set_aside.unwrap_or_else(empty));
            // What cannot be read stays stale, and admits nothing.
            let (total, strays) = counted.unwrap_or((Total::default(), Money::MAX));
            line.count(total, strays);
        }
    }
    Ok(())
}

/// The amount that a row of `budget_hold` has, if there is one.
fn amount(answer: &Answer) -> Option<Money> {
    answer.rows.first().and_then(|row| row.int(0).ok()).map(Money::from_micros)
}
