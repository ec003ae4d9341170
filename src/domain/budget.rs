//! Hard caps on money: which budgets a request falls under, and whether an amount still fits.
//!
//! Why it exists: `settled + reserved + ambiguous + new ≤ cap` is decided here and nowhere else; a ledger only keeps the
//! totals and makes the decision and its consequence one transaction. What it refuses to know: databases, and where
//! prices come from. To budget by another property of requests: a field of [`Scope`], its words in [`Scope::words`],
//! and its column in the ledger's count.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::civil::{Date, Time};
use jiff::{Span, Timestamp, tz::TimeZone};

use super::catalog::Place;
use super::ledger::{Attempt, Sums};
use super::money::Money;

/// A cap on what matching requests may spend in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its name in answers and metrics.
    pub name: Arc<str>,
    /// The most that may be settled, reserved and ambiguous together.
    pub cap: Money,
    /// When it begins anew.
    pub period: Period,
    /// What it counts. A key of `*` stands for each key by itself.
    pub scope: Scope,
    /// What happens to a request that does not fit.
    pub on_exhausted: OnExhausted,
    /// Where the policy says so.
    pub place: Place,
}

/// When a budget begins anew; days and months are those of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// At midnight.
    Day,
    /// Never.
    Ever,
    /// At the first midnight of a month.
    Month,
}

impl Period {
    /// The name in the policy and in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Ever => "ever",
            Self::Month => "month",
        }
    }

    /// The period that `now` is in: its beginning, and its end if it has one.
    pub fn around(self, now: Timestamp) -> (Timestamp, Option<Timestamp>) {
        let today = now.to_zoned(TimeZone::UTC).date();
        match self {
            Self::Day => (midnight(today), Some(midnight(after(today, Span::new().days(1))))),
            Self::Ever => (Timestamp::UNIX_EPOCH, None),
            Self::Month => {
                let first = today.first_of_month();
                (midnight(first), Some(midnight(after(first, Span::new().months(1)))))
            }
        }
    }
}

/// The end of the day that `now` is in.
pub fn day_end(now: Timestamp) -> Timestamp {
    Period::Day.around(now).1.unwrap_or(now)
}

fn midnight(day: Date) -> Timestamp {
    day.to_datetime(Time::midnight()).to_zoned(TimeZone::UTC).map_or(Timestamp::UNIX_EPOCH, |at| at.timestamp())
}

/// Saturates at the end of the calendar.
fn after(day: Date, span: Span) -> Date {
    day.saturating_add(span)
}

/// What happens to a request that does not fit a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExhausted {
    /// It may be planned once more, at the floor of its tier, and the cheapest plan that fits is bought.
    Downgrade,
    /// It is refused.
    Refuse,
}

impl OnExhausted {
    /// The name in the policy and in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Downgrade => "downgrade",
            Self::Refuse => "refuse",
        }
    }
}

/// Who pays for a request, as far as budgets ask.
#[derive(Clone, Copy, Debug)]
pub struct Payer<'a> {
    /// The caller's key by name; `-` when none are configured.
    pub key: &'a str,
    /// The task's name.
    pub task: &'a str,
    /// The caller's metadata.
    pub metadata: &'a std::collections::BTreeMap<String, String>,
}

/// What a budget counts; a field that is `None` excludes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Requests of this key.
    pub key: Option<Arc<str>>,
    /// Requests of this task.
    pub task: Option<Arc<str>>,
    /// Calls to this provider.
    pub provider: Option<Arc<str>>,
    /// Requests whose metadata has this pair, e.g. `project`, `spring`.
    pub metadata: Option<(Arc<str>, Arc<str>)>,
}

/// The key that stands for each key by itself.
pub const EACH: &str = "*";

impl Scope {
    /// Whether requests of this payer count, whatever provider they go to.
    pub fn covers(&self, payer: &Payer<'_>) -> bool {
        self.key.as_deref().is_none_or(|key| key == EACH || key == payer.key)
            && self.task.as_deref().is_none_or(|task| task == payer.task)
            && self
                .metadata
                .as_ref()
                .is_none_or(|(name, value)| payer.metadata.get(&**name).is_some_and(|v| **v == **value))
    }

    /// Whether calls to this provider count.
    pub fn counts(&self, provider: &str) -> bool {
        self.provider.as_deref().is_none_or(|own| own == provider)
    }

    /// The scope in words: equal scopes have equal words, and no others.
    pub fn words(&self) -> String {
        let mut words = String::new();
        let pairs = [("key", &self.key), ("task", &self.task), ("provider", &self.provider)];
        for (name, value) in pairs.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))) {
            let _ = write!(words, "{name}={value:?} ");
        }
        if let Some((name, value)) = &self.metadata {
            let _ = write!(words, "metadata.{name:?}={value:?} ");
        }
        if words.is_empty() { "all".to_owned() } else { words.trim_end().to_owned() }
    }
}

/// What a scope has spent in one period: the row that a ledger keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// [`Scope::words`].
    pub id: Arc<str>,
    /// What it counts.
    pub scope: Scope,
    /// The period's beginning.
    pub since: Timestamp,
    /// The period's end; `None` when it never ends.
    pub until: Option<Timestamp>,
}

impl Account {
    /// The account of `budget` at `now`, for the key that pays.
    pub fn of(budget: &Budget, key: &str, now: Timestamp) -> Self {
        let mut scope = budget.scope.clone();
        if scope.key.as_deref() == Some(EACH) {
            scope.key = Some(key.into());
        }
        let (since, until) = budget.period.around(now);
        Self { id: scope.words().into(), scope, since, until }
    }
}

/// The money of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Charged.
    pub settled: Money,
    /// Set aside for what is under way.
    pub reserved: Money,
    /// In doubt.
    pub ambiguous: Money,
}

impl Total {
    /// What counts against the cap.
    pub fn exposure(self) -> Money {
        self.settled + self.reserved + self.ambiguous
    }

    /// Whether `more` fits under `cap`; what is left when it does not.
    pub fn admits(self, more: Money, cap: Money) -> Result<(), Money> {
        if self.exposure() + more <= cap { Ok(()) } else { Err(cap.less(self.exposure())) }
    }
}

/// What a generation wants set aside in an account, in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earmark {
    /// Where.
    pub account: Arc<Account>,
    /// The most that the account may hold.
    pub cap: Money,
    /// For the whole generation, not only what is new.
    pub amount: Money,
}

/// What is left of a generation in an account when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Where.
    pub account: Arc<Account>,
    /// Charged.
    pub settled: Money,
    /// In doubt.
    pub ambiguous: Money,
}

/// A budget that something did not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The budget.
    pub budget: Arc<Budget>,
    /// What it has left.
    pub left: Money,
    /// When it begins anew; `None` when never.
    pub resets: Option<Timestamp>,
}

/// What a plan will cost at most, and who is paid how much of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// The whole plan at its worst price.
    pub worst: Money,
    /// What each provider's calls cost at most.
    pub shares: Vec<(Arc<str>, Money)>,
}

impl Ahead {
    /// What a scope counts of it.
    pub fn share(&self, scope: &Scope) -> Money {
        let counted = self.shares.iter().filter(|(provider, _)| scope.counts(provider));
        // A sum of shares may count twice what two providers make together.
        counted.map(|(_, worst)| *worst).sum::<Money>().min(self.worst)
    }
}

/// The budgets that one request falls under, each with its account.
#[derive(Clone, Debug, Default)]
pub struct Purse(Vec<(Arc<Account>, Arc<Budget>)>);

impl Purse {
    /// The budgets that cover this payer, in the period of `now`. Two that count the same become the lower one.
    pub fn of(budgets: &[Arc<Budget>], payer: &Payer<'_>, now: Timestamp) -> Self {
        let mut lines: Vec<(Arc<Account>, Arc<Budget>)> = Vec::new();
        for budget in budgets.iter().filter(|budget| budget.scope.covers(payer)) {
            let account = Account::of(budget, payer.key, now);
            match lines.iter_mut().find(|(other, _)| **other == account) {
                Some((_, lower)) if lower.cap > budget.cap => *lower = Arc::clone(budget),
                Some(_) => {}
                None => lines.push((Arc::new(account), Arc::clone(budget))),
            }
        }
        Self(lines)
    }

    /// Whether no budget asks.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every account with its budget.
    pub fn lines(&self) -> impl Iterator<Item = &(Arc<Account>, Arc<Budget>)> {
        self.0.iter()
    }

    /// What must be set aside: for each account what was spent or is held so far, and at least what was spent before
    /// the plan under way (`attempts` before `begun`) and the plan's share at its worst price.
    pub fn earmarks(&self, attempts: &[Attempt], begun: usize, ahead: &Ahead) -> Vec<Earmark> {
        let wanted = self.0.iter().map(|(account, budget)| {
            let scope = &account.scope;
            let exposure = |attempts: &[Attempt]| -> Money {
                attempts.iter().filter(|attempt| scope.counts(&attempt.provider)).map(Attempt::exposure).sum()
            };
            let before = exposure(attempts.get(..begun).unwrap_or_default());
            let amount = exposure(attempts).max(before + ahead.share(scope));
            Earmark { account: Arc::clone(account), cap: budget.cap, amount }
        });
        wanted.filter(|earmark| earmark.amount > Money::ZERO).collect()
    }

    /// What is left of these attempts in each account.
    pub fn charges(&self, attempts: &[Attempt]) -> Vec<Charge> {
        let left = self.0.iter().map(|(account, _)| {
            let ours: Vec<Attempt> =
                attempts.iter().filter(|attempt| account.scope.counts(&attempt.provider)).cloned().collect();
            let sums = Sums::of(&ours);
            Charge { account: Arc::clone(account), settled: sums.settled, ambiguous: sums.ambiguous + sums.held }
        });
        left.collect()
    }

    /// The budget of that account, which has this much left.
    pub fn exhausted(&self, account: &Account, left: Money) -> Option<Exhausted> {
        let (account, budget) = self.0.iter().find(|(own, _)| **own == *account)?;
        Some(Exhausted { budget: Arc::clone(budget), left, resets: account.until })
    }
}

/// What an account will have spent when `end` comes, at the mean rate of its period so far. `None` for an account
/// without a beginning, and in a period's first minutes, when a rate would be a guess.
pub fn forecast(total: Total, account: &Account, now: Timestamp, end: Timestamp) -> Option<Money> {
    const FIRST: u64 = 5 * 60 * 1_000_000;
    account.until?;
    let micros = |from: Timestamp, to: Timestamp| {
        u64::try_from(to.as_microsecond().saturating_sub(from.as_microsecond())).unwrap_or(0)
    };
    let (gone, left) = (micros(account.since, now), micros(now, end));
    (gone >= FIRST).then(|| total.exposure() + total.exposure().scaled_up(left, gone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fault::Billed;
    use crate::domain::ledger::Basis;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn budget(name: &str, cap: i64, scope: Scope) -> Arc<Budget> {
        Arc::new(Budget {
            name: name.into(),
            cap: Money::from_micros(cap),
            period: Period::Day,
            scope,
            on_exhausted: OnExhausted::Refuse,
            place: Place { file: "p.toml".into(), line: 1, column: 1 },
        })
    }

    fn attempt(seq: u32, provider: &str, held: i64) -> Attempt {
        Attempt::held(seq, provider.into(), format!("{provider}/m").into(), Money::from_micros(held))
    }

    #[test]
    fn periods_are_those_of_utc() {
        let now = at("2028-02-29T23:59:59.5Z");
        assert_eq!(Period::Day.around(now), (at("2028-02-29T00:00:00Z"), Some(at("2028-03-01T00:00:00Z"))));
        assert_eq!(Period::Month.around(now), (at("2028-02-01T00:00:00Z"), Some(at("2028-03-01T00:00:00Z"))));
        assert_eq!(Period::Ever.around(now), (Timestamp::UNIX_EPOCH, None));
        let december = at("2026-12-31T12:00:00Z");
        assert_eq!(Period::Month.around(december).1, Some(at("2027-01-01T00:00:00Z")));
    }

    #[test]
    fn the_last_micro_dollar_fits_and_no_more() {
        let total = Total {
            settled: Money::from_micros(60),
            reserved: Money::from_micros(20),
            ambiguous: Money::from_micros(10),
        };
        let cap = Money::from_micros(100);
        assert_eq!(total.admits(Money::from_micros(10), cap), Ok(()));
        assert_eq!(total.admits(Money::from_micros(11), cap), Err(Money::from_micros(10)));
        assert_eq!(total.admits(Money::MAX, Money::MAX), Ok(()), "sums saturate");
        assert_eq!(total.admits(Money::ZERO, Money::from_micros(50)), Err(Money::ZERO), "a cap that was lowered");
    }

    #[test]
    fn scopes_cover_what_they_say() {
        let metadata = [("project".to_owned(), "spring".to_owned())].into();
        let payer = Payer { key: "ann", task: "hero", metadata: &metadata };
        let pair = |value: &str| Some(("project".into(), value.into()));
        let yes = [
            Scope::default(),
            Scope { key: Some("ann".into()), ..Scope::default() },
            Scope { key: Some(EACH.into()), task: Some("hero".into()), ..Scope::default() },
            Scope { provider: Some("stability".into()), metadata: pair("spring"), ..Scope::default() },
        ];
        let no = [
            Scope { key: Some("ben".into()), ..Scope::default() },
            Scope { task: Some("concept".into()), ..Scope::default() },
            Scope { metadata: pair("autumn"), ..Scope::default() },
        ];
        assert!(yes.iter().all(|scope| scope.covers(&payer)) && no.iter().all(|scope| !scope.covers(&payer)));
        let words: std::collections::BTreeSet<_> = yes.iter().chain(&no).map(Scope::words).collect();
        assert_eq!(words.len(), 7);
    }

    #[test]
    fn each_key_has_an_account_of_its_own() {
        let each = budget("each", 100, Scope { key: Some(EACH.into()), ..Scope::default() });
        let now = at("2026-11-22T12:00:00Z");
        let (ann, ben) = (Account::of(&each, "ann", now), Account::of(&each, "ben", now));
        assert_ne!(ann.id, ben.id);
        // A budget that names the key counts the same money, and the lower of the two caps holds.
        let named = budget("ann", 60, Scope { key: Some("ann".into()), ..Scope::default() });
        let metadata = std::collections::BTreeMap::new();
        let purse = Purse::of(&[each, named], &Payer { key: "ann", task: "t", metadata: &metadata }, now);
        let caps: Vec<_> = purse.lines().map(|(account, budget)| (account.id.clone(), budget.cap.micros())).collect();
        assert_eq!(caps, [(ann.id, 60)]);
    }

    #[test]
    fn the_plan_ahead_is_set_aside_and_what_was_freed_is_used_again() {
        let all = budget("all", 100, Scope::default());
        let only = budget("only", 100, Scope { provider: Some("b".into()), ..Scope::default() });
        let metadata = std::collections::BTreeMap::new();
        let payer = Payer { key: "-", task: "t", metadata: &metadata };
        let purse = Purse::of(&[all, only], &payer, at("2026-11-22T12:00:00Z"));
        let amounts = |attempts: &[Attempt], begun, ahead: &Ahead| -> Vec<i64> {
            purse.earmarks(attempts, begun, ahead).iter().map(|earmark| earmark.amount.micros()).collect()
        };
        let ahead = |worst, provider: &str| Ahead {
            worst: Money::from_micros(worst),
            shares: vec![(provider.into(), Money::from_micros(worst))],
        };
        let mut first = attempt(0, "a", 30);
        assert_eq!(amounts(std::slice::from_ref(&first), 0, &ahead(50, "a")), [50]);
        first.end(Billed::No, Money::ZERO, Basis::PriceTable);
        let second = attempt(1, "b", 40);
        assert_eq!(amounts(&[first.clone(), second.clone()], 1, &ahead(45, "b")), [45, 45]);
        first.end(Billed::Unknown, Money::ZERO, Basis::PriceTable);
        assert_eq!(amounts(&[first.clone(), second.clone()], 1, &ahead(45, "b")), [75, 45]);
        let left: Vec<_> = purse.charges(&[first, second]).iter().map(|c| (c.settled, c.ambiguous.micros())).collect();
        assert_eq!(left, [(Money::ZERO, 70), (Money::ZERO, 40)]);
    }

    #[test]
    fn a_provider_is_counted_for_its_share_of_a_plan() {
        let micros = Money::from_micros;
        let shares = [("cheap", 35), ("verifier", 2), ("dear", 90)];
        let shares: Vec<(Arc<str>, Money)> = shares.map(|(name, worst)| (name.into(), micros(worst))).into();
        let ahead = Ahead { worst: micros(127), shares };
        let of = |name: &str| ahead.share(&Scope { provider: Some(name.into()), ..Scope::default() });
        assert_eq!([of("cheap"), of("verifier"), of("dear"), of("other")], [35, 2, 90, 0].map(micros));
        assert_eq!(ahead.share(&Scope::default()), micros(127));
        let together = Ahead { worst: micros(50), shares: vec![("a".into(), micros(50)), ("b".into(), micros(50))] };
        assert_eq!(together.share(&Scope::default()), micros(50), "never more than all of it");
    }

    #[test]
    fn a_forecast_is_the_mean_rate_carried_on() {
        let day = budget("day", 100, Scope::default());
        let now = at("2026-11-22T06:00:00Z");
        let total = Total { settled: Money::from_micros(25), ..Total::default() };
        let account = Account::of(&day, "-", now);
        assert_eq!(forecast(total, &account, now, day_end(now)), Some(Money::from_micros(100)));
        assert_eq!(forecast(total, &account, at("2026-11-22T00:01:00Z"), day_end(now)), None);
        let ever = Arc::new(Budget { period: Period::Ever, ..(*day).clone() });
        assert_eq!(forecast(total, &Account::of(&ever, "-", now), now, day_end(now)), None);
    }
}
