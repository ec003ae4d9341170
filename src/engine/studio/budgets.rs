//! Budgets as they stand, and where they will be at the end of their period.
//!
//! Why it exists: a cap is a surprise unless somebody sees it coming. The forecast is the plainest: the pace of the
//! period so far goes on. What it refuses to know: whether a request fits (the books decide that).

use std::sync::Arc;

use jiff::Timestamp;

use super::Viewer;
use crate::domain::budget::{Account, Budget, EACH, Total};
use crate::domain::money::Money;
use crate::domain::refusal::Refusal;
use crate::engine::Engine;
use crate::policy::Snapshot;
use crate::telemetry::clock;

/// A budget in its present period.
#[derive(Clone, Debug)]
pub struct BudgetOutlook {
    /// Its name, with the key when it counts each key by itself.
    pub name: String,
    /// `day`, `month` or `ever`.
    pub period: &'static str,
    /// The most that it lets pass.
    pub cap: Money,
    /// What counts against the cap.
    pub total: Total,
    /// What will have counted at the period's end at this pace; `None` for a budget that never begins anew.
    pub forecast: Option<Money>,
    /// When nothing will be left at this pace, within the period.
    pub exhausted: Option<Timestamp>,
}

impl Engine {
    /// The budgets that count what this viewer may see.
    pub async fn budgets_of(&self, viewer: &Viewer) -> Result<Vec<BudgetOutlook>, Refusal> {
        let (snapshot, now) = (self.snapshots.current(), clock::now());
        let counted: Vec<(&Budget, Arc<Account>)> = snapshot
            .budgets
            .iter()
            .flat_map(|budget| payers(budget, viewer, &snapshot).into_iter().map(move |key| (budget, key)))
            .map(|(budget, key)| (&**budget, Arc::new(Account::of(budget, &key, now))))
            .collect();
        if counted.is_empty() {
            return Ok(Vec::new());
        }
        let accounts = counted.iter().map(|(_, account)| Arc::clone(account)).collect();
        let totals = self.read(self.ledger.totals(accounts).await)?;
        Ok(counted.iter().zip(totals).map(|((budget, account), total)| standing(budget, account, total, now)).collect())
    }
}

/// The keys whose accounts of a budget are shown; an empty name for one account of all.
fn payers(budget: &Budget, viewer: &Viewer, snapshot: &Snapshot) -> Vec<String> {
    let each = budget.scope.key.as_deref() == Some(EACH);
    match &viewer.owner {
        Some(owner) if each || budget.scope.key.as_deref().is_none_or(|key| key == owner) => vec![owner.clone()],
        Some(_) => Vec::new(),
        None if each && snapshot.keys.is_empty() => vec![viewer.name.to_string()],
        None if each => snapshot.keys.iter().map(|key| key.name.to_string()).collect(),
        None => vec![String::new()],
    }
}

fn standing(budget: &Budget, account: &Account, total: Total, now: Timestamp) -> BudgetOutlook {
    let each = budget.scope.key.as_deref() == Some(EACH);
    let key = account.scope.key.as_deref().filter(|_| each);
    let spent = total.exposure().micros() as f64;
    let lasted = (now.as_microsecond() - account.since.as_microsecond()).max(HOUR) as f64;
    let pace = spent / lasted;
    let end = account.until.map(Timestamp::as_microsecond);
    let forecast = end.map(|end| spent + pace * (end - now.as_microsecond()).max(0) as f64);
    let left = budget.cap.less(total.exposure()).micros() as f64;
    let exhausted = if pace > 0.0 { whole(left / pace).checked_add(now.as_microsecond()) } else { None };
    let within = exhausted.filter(|at| end.is_some_and(|end| *at < end));
    BudgetOutlook {
        name: key.map_or_else(|| budget.name.to_string(), |key| format!("{} ({key})", budget.name)),
        period: budget.period.name(),
        cap: budget.cap,
        total,
        forecast: forecast.map(|micros| Money::from_micros(whole(micros))),
        exhausted: within.and_then(|at| Timestamp::from_microsecond(at).ok()),
    }
}

/// The first hour of a period says nothing about its pace. In microseconds.
const HOUR: i64 = 3_600_000_000;

#[expect(clippy::cast_possible_truncation, reason = "saturates far beyond any calendar and any price")]
fn whole(number: f64) -> i64 {
    number.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::budget::{OnExhausted, Period, Scope};
    use crate::domain::catalog::Place;

    #[test]
    fn the_pace_of_the_day_goes_on() {
        let place = Place { file: "x.toml".into(), line: 1, column: 1 };
        let budget = Budget {
            name: "daily".into(),
            cap: Money::from_micros(30_000_000),
            period: Period::Day,
            scope: Scope::default(),
            on_exhausted: OnExhausted::Refuse,
            place,
        };
        let now: Timestamp = "2026-11-22T06:00:00Z".parse().unwrap();
        let account = Account::of(&budget, "", now);
        let total = Total { settled: Money::from_micros(10_000_000), ..Total::default() };
        let seen = standing(&budget, &account, total, now);
        assert_eq!(seen.forecast, Some(Money::from_micros(40_000_000)));
        assert_eq!(seen.exhausted, Some("2026-11-22T18:00:00Z".parse().unwrap()));
        let calm = standing(&budget, &account, Total { settled: Money::from_micros(1_000_000), ..total }, now);
        assert_eq!((calm.forecast, calm.exhausted), (Some(Money::from_micros(4_000_000)), None));
    }
}
