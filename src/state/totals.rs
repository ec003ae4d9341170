//! The running totals of one transaction: read once, moved in memory, written once.
//!
//! Why it exists: sixty-four openings on one budget are one row read and one row written, and the decision is the same
//! code over both stores. What it refuses to know: SQL, and how the rows are kept from others meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::Command;
use super::sql::Value;
use super::{LedgerFault, books};
use crate::domain::budget::{Account, Charge, Earmark, Total};
use crate::domain::money::Money;

/// By account and period: always walked in this order, so that two transactions never wait for each other.
#[derive(Debug, Default)]
pub(super) struct Totals(BTreeMap<(Arc<str>, i64), Line>);

/// One account in this transaction.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) account: Arc<Account>,
    pub(super) total: Total,
    /// It must be counted before it admits anything.
    pub(super) stale: bool,
    moved: bool,
}

/// What a store has of an account: its row's total and whether it is stale.
pub(super) type Kept = Option<(Total, bool)>;

impl Totals {
    /// The accounts that these commands move, not read yet.
    pub(super) fn of(batch: &[Command]) -> Self {
        let mut lines = BTreeMap::new();
        for account in batch.iter().flat_map(Command::accounts) {
            lines.entry(key(account)).or_insert_with(|| Line {
                account: Arc::clone(account),
                total: Total::default(),
                stale: true,
                moved: false,
            });
        }
        Self(lines)
    }

    /// Whether no command asks about money caps: the common case, and then nothing here costs anything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every account, in order.
    pub(super) fn lines(&mut self) -> impl Iterator<Item = &mut Line> {
        self.0.values_mut()
    }

    /// Those that were moved or counted, in order.
    pub(super) fn moved(&self) -> impl Iterator<Item = &Line> {
        self.0.values().filter(|line| line.moved)
    }

    /// Whether all of a command's earmarks fit. `already` is what the generation has in each account.
    pub(super) fn fits(&self, earmarks: &[Earmark], already: &[Money]) -> Result<(), LedgerFault> {
        for (earmark, before) in earmarks.iter().zip(already) {
            let Some(line) = self.0.get(&key(&earmark.account)) else { continue };
            let more = earmark.amount.less(*before);
            if more > Money::ZERO {
                let refuse = |left| LedgerFault::Exhausted { account: Arc::clone(&earmark.account), left };
                line.total.admits(more, earmark.cap).map_err(refuse)?;
            }
        }
        Ok(())
    }

    /// Sets earmarks aside that fit.
    pub(super) fn reserve(&mut self, earmarks: &[Earmark], already: &[Money]) {
        for (earmark, before) in earmarks.iter().zip(already) {
            if let Some(line) = self.0.get_mut(&key(&earmark.account)) {
                line.total.reserved += earmark.amount.less(*before);
                line.moved = true;
            }
        }
    }

    /// Turns what was set aside into what is left. A generation that had set nothing aside, though it spent, was counted
    /// otherwise: the account is counted again.
    pub(super) fn settle(&mut self, charge: &Charge, held: Option<Money>) {
        let Some(line) = self.0.get_mut(&key(&charge.account)) else { return };
        match held {
            Some(held) => line.total.reserved = line.total.reserved.less(held),
            None if charge.settled + charge.ambiguous == Money::ZERO => return,
            None => line.stale = true,
        }
        line.total.settled += charge.settled;
        line.total.ambiguous += charge.ambiguous;
        line.moved = true;
    }
}

impl Totals {
    /// Has every account counted again by the next transaction.
    pub(super) fn forget(&mut self) {
        for line in self.0.values_mut() {
            (line.stale, line.moved) = (true, true);
        }
    }
}

impl Line {
    /// The columns that are kept.
    pub(super) fn parameters(&self) -> Vec<Value> {
        let mut columns = books::account_key(&self.account);
        let amounts = [self.total.settled, self.total.reserved, self.total.ambiguous];
        columns.extend(amounts.map(|amount| Value::Int(amount.micros())));
        columns.push(Value::Int(i64::from(self.stale)));
        columns
    }

    /// What the store has; an account that it has not, or only a stale one, is to be counted.
    pub(super) fn learn(&mut self, kept: Kept) {
        (self.total, self.stale) = kept.unwrap_or((Total::default(), true));
    }

    /// What counting gave. `strays` is held by generations that set nothing aside here, opened before there was such a
    /// budget: their end will not be told to this account, so it stays stale until they are gone.
    pub(super) fn count(&mut self, total: Total, strays: Money) {
        self.total = Total { reserved: total.reserved + strays, ..total };
        (self.stale, self.moved) = (strays > Money::ZERO, true);
    }
}

fn key(account: &Account) -> (Arc<str>, i64) {
    (Arc::clone(&account.id), account.since.as_microsecond())
}
