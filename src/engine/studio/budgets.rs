//! Budgets as they stand, and where they will be at the end of their period.
//!
//! Why it exists: a cap is a surprise unless somebody sees it coming. The forecast is the plainest: the pace of the
//! period so far goes on. What it refuses to know: whether a request fits (the books decide that).

use jiff::Timestamp;

use super::Viewer;
use crate::domain::budget::{Budget, EACH, Total};
use crate::domain::money::Money;
use crate::domain::refusal::Refusal;
use crate::engine::{BudgetStanding, Engine};
use crate::telemetry::clock;

/// A budget in its present period.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// As it stands.
    pub standing: BudgetStanding,
    /// What will have counted at the period's end at this pace; `None` for a budget that never begins anew.
    pub end: Option<Money>,
    /// When nothing will be left at this pace, within the period.
    pub exhausted: Option<Timestamp>,
}

impl Engine {
    /// The budgets that count what this viewer may see.
    pub async fn outlooks(&self, viewer: &Viewer) -> Result<Vec<Outlook>, Refusal> {
        let now = clock::now();
        let standings = self.read(self.budgets().await)?;
        let shown = standings.into_iter().filter(|standing| concerns(standing, viewer));
        let outlook = |standing: BudgetStanding| {
            let (end, exhausted) = pace(&standing.budget, standing.total, now);
            Outlook { standing, end, exhausted }
        };
        Ok(shown.map(outlook).collect())
    }
}

/// Whether a budget counts this viewer's purchases, or they see everybody's.
fn concerns(standing: &BudgetStanding, viewer: &Viewer) -> bool {
    let Some(owner) = viewer.owner.as_deref() else { return true };
    match standing.budget.scope.key.as_deref() {
        None => true,
        Some(EACH) => *standing.name == *format!("{}/{owner}", standing.budget.name),
        Some(key) => key == owner,
    }
}

/// What will have counted at the end of the period, and when the cap is reached if before that.
fn pace(budget: &Budget, total: Total, now: Timestamp) -> (Option<Money>, Option<Timestamp>) {
    let (since, until) = budget.period.around(now);
    let (now, end) = (now.as_microsecond(), until.map(Timestamp::as_microsecond));
    let spent = total.exposure().micros() as f64;
    let pace = spent / (now - since.as_microsecond()).max(HOUR) as f64;
    let forecast = end.map(|end| Money::from_micros(whole(spent + pace * (end - now).max(0) as f64)));
    let left = budget.cap.less(total.exposure()).micros() as f64;
    let exhausted = if pace > 0.0 { whole(left / pace).checked_add(now) } else { None };
    let within = exhausted.filter(|at| end.is_some_and(|end| *at < end));
    (forecast, within.and_then(|at| Timestamp::from_microsecond(at).ok()))
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
        let budget = Budget {
            name: "daily".into(),
            cap: Money::from_micros(30_000_000),
            period: Period::Day,
            scope: Scope::default(),
            on_exhausted: OnExhausted::Refuse,
            place: Place { file: "x.toml".into(), line: 1, column: 1 },
        };
        let now: Timestamp = "2026-11-22T06:00:00Z".parse().unwrap();
        let total = |micros| Total { settled: Money::from_micros(micros), ..Total::default() };
        let evening = "2026-11-22T18:00:00Z".parse().unwrap();
        assert_eq!(pace(&budget, total(10_000_000), now), (Some(Money::from_micros(40_000_000)), Some(evening)));
        assert_eq!(pace(&budget, total(1_000_000), now), (Some(Money::from_micros(4_000_000)), None));
    }
}
