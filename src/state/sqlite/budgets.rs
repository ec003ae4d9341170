//! Budgets in the file: totals read and kept, and what each generation has set aside.
//!
//! Why it exists: a cap is looked at and moved in the transaction of the rows that it is about. What it refuses to know:
//! whether something fits (`state/totals.rs`).

use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::reads::{bound, rows};
use super::statements::Statements;
use crate::domain::budget::Earmark;
use crate::domain::ledger::Closing;
use crate::domain::money::Money;
use crate::state::LedgerFault;
use crate::state::books::{self, LET_GO, SET_ASIDE, SET_ASIDE_BEFORE};
use crate::state::sql::{Misread, Row, Value};
use crate::state::totals::Totals;

/// Reads the accounts of this transaction; counts those that are new or stale.
pub(super) fn read(connection: &Connection, totals: &mut Totals) -> rusqlite::Result<()> {
    for line in totals.lines() {
        let kept = rows(connection, books::TOTAL, &books::account_key(&line.account))?;
        line.learn(kept.first().map(books::total).transpose().map_err(misread)?);
        if line.stale {
            let one = |sql: &str, parameters: &[Value]| {
                rows(connection, sql, parameters).map(|rows| rows.into_iter().next().unwrap_or(Row(Vec::new())))
            };
            let attempts = one(books::COUNT, &books::count_parameters(&line.account))?;
            let set_aside = one(books::COUNT_SET_ASIDE, &books::account_key(&line.account))?;
            let (total, strays) = books::counted(&attempts, &set_aside).map_err(misread)?;
            line.count(total, strays);
        }
    }
    Ok(())
}

/// Writes the totals that were moved.
pub(super) fn keep(statements: &mut Statements<'_>, totals: &Totals) -> rusqlite::Result<()> {
    for line in totals.moved() {
        statements.get(books::KEEP_TOTAL)?.execute(params_from_iter(bound(&line.parameters())))?;
    }
    Ok(())
}

/// Whether these earmarks fit: what the generation has set aside in each account so far when they do.
pub(super) fn room(
    statements: &mut Statements<'_>,
    generation: &str,
    earmarks: &[Earmark],
    totals: &Totals,
) -> rusqlite::Result<Result<Vec<Money>, LedgerFault>> {
    let mut already = Vec::with_capacity(earmarks.len());
    for earmark in earmarks {
        let statement = statements.get(SET_ASIDE_BEFORE)?;
        let amount = statement.query_row((generation, &*earmark.account.id), |row| row.get(0)).optional()?;
        already.push(Money::from_micros(amount.unwrap_or(0)));
    }
    Ok(totals.fits(earmarks, &already).map(|()| already))
}

/// Sets earmarks aside that fit.
pub(super) fn set_aside(
    statements: &mut Statements<'_>,
    generation: &str,
    earmarks: &[Earmark],
    already: &[Money],
    totals: &mut Totals,
) -> rusqlite::Result<()> {
    for earmark in earmarks {
        let (account, amount) = (&earmark.account, earmark.amount.micros());
        let columns = (generation, &*account.id, account.since.as_microsecond(), amount);
        statements.get(SET_ASIDE)?.execute(columns)?;
    }
    totals.reserve(earmarks, already);
    Ok(())
}

/// Turns what a generation had set aside into what it leaves.
pub(super) fn settle(statements: &mut Statements<'_>, closing: &Closing, totals: &mut Totals) -> rusqlite::Result<()> {
    for charge in &closing.charges {
        let statement = statements.get(LET_GO)?;
        let held = statement.query_row((&*closing.id, &*charge.account.id), |row| row.get(0)).optional()?;
        totals.settle(charge, held.map(Money::from_micros));
    }
    Ok(())
}

fn misread(Misread(column): Misread) -> rusqlite::Error {
    let why = "not what it should be".into();
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, why)
}
