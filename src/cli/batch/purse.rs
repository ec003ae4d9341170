//! The batch's own budget: what is spent, and what the requests under way may still cost.
//!
//! Why it exists: `--budget` is kept by holding the worst price of a line's plan before the line is sent, as the
//! gateway does with its own budgets. What it refuses to know: where prices come from.

use std::cell::Cell;

use tokio::sync::Notify;

use crate::domain::money::Money;

/// Money of one batch. All of it lives on one task.
#[derive(Debug)]
pub(super) struct Purse {
    budget: Option<Money>,
    spent: Cell<Money>,
    held: Cell<Money>,
    freed: Notify,
}

/// Money held for one line; given back when dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    purse: &'a Purse,
    amount: Money,
}

impl Purse {
    /// A purse with what earlier runs left of the budget; `None` is no limit.
    pub(super) fn new(budget: Option<Money>, spent: Money) -> Self {
        Self { budget, spent: Cell::new(spent), held: Cell::new(Money::ZERO), freed: Notify::new() }
    }

    /// Whether there is a budget to keep.
    pub(super) const fn is_limited(&self) -> bool {
        self.budget.is_some()
    }

    /// Holds `amount`, waiting for requests under way as long as their end could make room; `None` when it can never
    /// fit.
    pub(super) async fn hold(&self, amount: Money) -> Option<Held<'_>> {
        loop {
            let freed = self.freed.notified();
            let budget = self.budget.unwrap_or(Money::MAX);
            if self.spent.get() + self.held.get() + amount <= budget {
                self.held.set(self.held.get() + amount);
                return Some(Held { purse: self, amount });
            }
            if self.held.get() == Money::ZERO {
                return None;
            }
            freed.await;
        }
    }

    /// Counts what was, or may have been, paid.
    pub(super) fn spend(&self, amount: Money) {
        self.spent.set(self.spent.get() + amount);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.purse.held.set(self.purse.held.get().less(self.amount));
        self.purse.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join;

    use super::*;

    const fn cents(cents: i64) -> Money {
        Money::from_micros(cents * 10_000)
    }

    #[tokio::test]
    async fn a_line_waits_for_room_and_is_refused_when_none_can_come() {
        let purse = Purse::new(Some(cents(10)), cents(2));
        let first = purse.hold(cents(6)).await.unwrap();
        let second = purse.hold(cents(5));
        let settled = async {
            purse.spend(cents(3));
            drop(first);
        };
        let (second, ()) = join(second, settled).await;
        // 2 before, 3 spent, 5 held: exactly the budget.
        assert!(second.is_some());
        drop(second);
        assert!(purse.hold(cents(6)).await.is_none());
    }
}
