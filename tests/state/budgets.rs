//! Caps on money: what every ledger must keep, whatever happens.

use std::sync::Arc;

use proptest::prelude::*;
use tokio::task::JoinSet;
use tollgate::domain::budget::{Account, Budget, Charge, Earmark, OnExhausted, Period, Scope, Total};
use tollgate::domain::catalog::Place as Written;
use tollgate::domain::fault::Billed;
use tollgate::domain::ledger::{Attempt, Closing, Opening, Sums};
use tollgate::domain::money::Money;
use tollgate::state::{Durability, Ledger, LedgerFault};

use crate::ledger::{Place, Shared, Sqlite, money};
use crate::samples::{at, attempt, closing, ended, opening};

fn account(scope: Scope, period: Period) -> Arc<Account> {
    let budget = Budget {
        name: "b".into(),
        cap: Money::ZERO,
        period,
        scope,
        on_exhausted: OnExhausted::Refuse,
        place: Written { file: "p.toml".into(), line: 1, column: 1 },
    };
    Arc::new(Account::of(&budget, "design", at(0)))
}

fn all() -> Arc<Account> {
    account(Scope::default(), Period::Day)
}

fn mark(account: &Arc<Account>, cap: i64, amount: i64) -> Earmark {
    Earmark { account: Arc::clone(account), cap: money(cap), amount: money(amount) }
}

fn opened(id: &str, attempts: Vec<Attempt>, earmarks: Vec<Earmark>) -> Opening {
    Opening { earmarks, ..opening(id, attempts) }
}

/// The end of these attempts, charged to accounts as their scopes say.
fn closed(id: &str, attempts: Vec<Attempt>, accounts: &[Arc<Account>]) -> Closing {
    let charge = |account: &Arc<Account>| {
        let ours: Vec<Attempt> = attempts.iter().filter(|a| account.scope.counts(&a.provider)).cloned().collect();
        let sums = Sums::of(&ours);
        Charge { account: Arc::clone(account), settled: sums.settled, ambiguous: sums.ambiguous + sums.held }
    };
    let charges = accounts.iter().map(charge).collect();
    Closing { charges, ..closing(id, attempts) }
}

fn total(settled: i64, reserved: i64, ambiguous: i64) -> Total {
    Total { settled: money(settled), reserved: money(reserved), ambiguous: money(ambiguous) }
}

async fn of(ledger: &dyn Ledger, account: &Arc<Account>) -> Total {
    ledger.totals(vec![Arc::clone(account)]).await.unwrap()[0]
}

async fn five_hundred_at_once_get_what_the_cap_is_worth(place: &dyn Place) {
    const PRICE: i64 = 27_000;
    let (ledger, account) = (place.open(), all());
    let mut openers = JoinSet::new();
    for n in 0..500 {
        let ledger = Arc::clone(&ledger);
        let earmarks = vec![mark(&account, 37 * PRICE, PRICE)];
        let opening = opened(&format!("gen_{n}"), vec![attempt(0, "p/m", PRICE)], earmarks);
        openers.spawn(async move { ledger.open(opening).await });
    }
    let all = openers.join_all().await;
    assert_eq!(all.iter().filter(|opened| opened.is_ok()).count(), 37);
    let full = LedgerFault::Exhausted { account: Arc::clone(&account), left: Money::ZERO };
    assert_eq!(all.iter().filter(|opened| **opened == Err(full.clone())).count(), 463);
    assert_eq!(of(&*ledger, &account).await, total(0, 37 * PRICE, 0));
}

async fn what_is_freed_can_be_spent_again(place: &dyn Place) {
    let (ledger, account) = (place.open(), all());
    let open = async |id: &str, amount| {
        ledger.open(opened(id, vec![attempt(0, "p/m", amount)], vec![mark(&account, 100, amount)])).await
    };
    open("gen_1", 60).await.unwrap();
    let refused = Err(LedgerFault::Exhausted { account: Arc::clone(&account), left: money(40) });
    assert_eq!(open("gen_2", 41).await, refused);
    assert_eq!(ledger.show("gen_2").await, Ok(None), "nothing of it is written");
    let end = |billed, cost| vec![ended(attempt(0, "p/m", 60), billed, cost)];
    ledger.close(closed("gen_1", end(Billed::Yes, 35), std::slice::from_ref(&account))).await.unwrap();
    assert_eq!(of(&*ledger, &account).await, total(35, 0, 0));
    open("gen_3", 60).await.unwrap();
    assert_eq!(of(&*ledger, &account).await, total(35, 60, 0));
    ledger.close(closed("gen_3", end(Billed::Unknown, 0), std::slice::from_ref(&account))).await.unwrap();
    assert_eq!(of(&*ledger, &account).await, total(35, 0, 60));
    assert!(open("gen_4", 6).await.is_err(), "doubt counts");
    open("gen_5", 5).await.unwrap();
    ledger.abandon(closed("gen_5", vec![attempt(0, "p/m", 5)], std::slice::from_ref(&account)));
    ledger.open(opening("gen_last", Vec::new())).await.unwrap();
    assert_eq!(of(&*ledger, &account).await, total(35, 0, 65));
}

async fn a_further_turn_must_fit_too(place: &dyn Place) {
    let (ledger, account) = (place.open(), all());
    ledger.open(opened("gen_1", vec![attempt(0, "p/m", 30)], vec![mark(&account, 100, 50)])).await.unwrap();
    let hold = async |seq, amount| {
        ledger.hold("gen_1".into(), vec![attempt(seq, "p/m", 30)], vec![mark(&account, 100, amount)]).await
    };
    hold(1, 50).await.unwrap();
    assert_eq!(of(&*ledger, &account).await, total(0, 50, 0), "it was set aside already");
    hold(2, 100).await.unwrap();
    let refused = Err(LedgerFault::Exhausted { account: Arc::clone(&account), left: Money::ZERO });
    assert_eq!(hold(3, 101).await, refused);
    assert_eq!(ledger.show("gen_1").await.unwrap().unwrap().opening.attempts.len(), 3);
    let done = (0..3).map(|seq| ended(attempt(seq, "p/m", 30), Billed::Yes, 20)).collect();
    ledger.close(closed("gen_1", done, std::slice::from_ref(&account))).await.unwrap();
    assert_eq!(of(&*ledger, &account).await, total(60, 0, 0));
}

async fn all_budgets_fit_or_none_is_touched(place: &dyn Place) {
    let ledger = place.open();
    let (wide, narrow) = (all(), account(Scope { key: Some("design".into()), ..Scope::default() }, Period::Month));
    let both = |amount| vec![mark(&wide, 100, amount), mark(&narrow, 50, amount)];
    assert!(ledger.open(opened("gen_1", vec![attempt(0, "p/m", 51)], both(51))).await.is_err());
    assert_eq!((of(&*ledger, &wide).await, of(&*ledger, &narrow).await), (total(0, 0, 0), total(0, 0, 0)));
    ledger.open(opened("gen_1", vec![attempt(0, "p/m", 50)], both(50))).await.unwrap();
    assert_eq!((of(&*ledger, &wide).await, of(&*ledger, &narrow).await), (total(0, 50, 0), total(0, 50, 0)));
}

/// What a crash leaves is in doubt, and doubt counts.
async fn a_crash_frees_nothing(place: &dyn Place) {
    let (ledger, account) = (place.open(), all());
    ledger.open(opened("gen_1", vec![attempt(0, "p/m", 70)], vec![mark(&account, 100, 90)])).await.unwrap();
    drop(ledger);
    let ledger = place.open();
    assert_eq!(of(&*ledger, &account).await, total(0, 0, 70));
    let more = |amount| opened("gen_2", vec![attempt(0, "p/m", amount)], vec![mark(&account, 100, amount)]);
    assert!(ledger.open(more(31)).await.is_err());
    ledger.open(more(30)).await.unwrap();
    assert_eq!(of(&*ledger, &account).await, total(0, 30, 70));
}

/// A budget that comes later counts what was spent and what is under way, by its scope and its period.
async fn a_new_budget_counts_what_was_there_before(place: &dyn Place) {
    const DAY: i64 = 86_400_000_000;
    let ledger = place.open();
    let project = |value: &str| Some(("project".into(), value.into()));
    for (n, (day, project, task)) in
        [(0, "spring", "hero"), (0, "spring\",\"x", "hero"), (0, "spring", "concept"), (-1, "spring", "hero")]
            .into_iter()
            .enumerate()
    {
        let id = format!("gen_{n}");
        let calls = [attempt(0, "a/x", 10), attempt(1, "b/y", 100)];
        let mut opening = opening(&id, calls.to_vec());
        (opening.created, opening.task) = (at(day * DAY), task.into());
        opening.metadata = [("z", "1"), ("project", project)].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        ledger.open(opening).await.unwrap();
        let done = calls.into_iter().map(|call| ended(call, Billed::Yes, 9)).collect();
        ledger.close(closing(&id, done)).await.unwrap();
    }
    let counted = async |scope, period| of(&*ledger, &account(scope, period)).await.settled.micros();
    assert_eq!(counted(Scope::default(), Period::Ever).await, 72);
    assert_eq!(counted(Scope::default(), Period::Day).await, 54);
    assert_eq!(counted(Scope { metadata: project("spring"), ..Scope::default() }, Period::Day).await, 36);
    assert_eq!(counted(Scope { metadata: project("spring\",\"x"), ..Scope::default() }, Period::Day).await, 18);
    assert_eq!(counted(Scope { metadata: project("ring"), ..Scope::default() }, Period::Day).await, 0);
    let hero = Scope { task: Some("hero".into()), provider: Some("b".into()), ..Scope::default() };
    assert_eq!(counted(hero, Period::Ever).await, 27);
    let other = Scope { key: Some("other".into()), ..Scope::default() };
    assert_eq!(counted(other, Period::Ever).await, 0);

    // One that was opened before there was this budget, and ends after.
    let late = account(Scope { provider: Some("a".into()), ..Scope::default() }, Period::Day);
    ledger.open(opening("gen_late", vec![attempt(0, "a/x", 30)])).await.unwrap();
    let try_for = async |id: &str, amount| {
        ledger.open(opened(id, vec![attempt(0, "a/x", amount)], vec![mark(&late, 100, amount)])).await
    };
    assert!(try_for("gen_5", 44).await.is_err(), "27 spent, 30 held");
    try_for("gen_6", 1).await.unwrap();
    ledger.close(closing("gen_late", vec![ended(attempt(0, "a/x", 30), Billed::No, 0)])).await.unwrap();
    try_for("gen_7", 72).await.unwrap();
    assert_eq!(of(&*ledger, &late).await, total(27, 73, 0));
}

/// A budget that was away from the policy for a while: recounting adds what was bought meanwhile.
async fn a_recount_finds_what_was_bought_without_the_budget(place: &dyn Place) {
    let (ledger, account) = (place.open(), all());
    let buy = async |id: &str, earmarks: Vec<Earmark>, accounts: &[Arc<Account>]| {
        ledger.open(opened(id, vec![attempt(0, "p/m", 40)], earmarks)).await?;
        ledger.close(closed(id, vec![ended(attempt(0, "p/m", 40), Billed::Yes, 40)], accounts)).await
    };
    buy("gen_1", vec![mark(&account, 100, 40)], std::slice::from_ref(&account)).await.unwrap();
    buy("gen_2", Vec::new(), &[]).await.unwrap();
    assert_eq!(of(&*ledger, &account).await, total(40, 0, 0));
    ledger.recount().await.unwrap();
    assert_eq!(of(&*ledger, &account).await, total(80, 0, 0));
    assert!(buy("gen_3", vec![mark(&account, 100, 40)], std::slice::from_ref(&account)).await.is_err());
    assert_eq!(of(&*ledger, &account).await, total(80, 0, 0));
}

/// One step: what it sets aside, how it ends.
#[derive(Clone, Debug)]
enum Deed {
    Buy { held: i64, ahead: i64, provider: bool },
    More { whose: prop::sample::Index, held: i64 },
    End { whose: prop::sample::Index, billed: u8, cost: i64 },
    Recount,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let buy =
        (1..400i64, 0..400i64, any::<bool>()).prop_map(|(held, ahead, provider)| Deed::Buy { held, ahead, provider });
    let more = (any::<prop::sample::Index>(), 1..400i64).prop_map(|(whose, held)| Deed::More { whose, held });
    let end = (any::<prop::sample::Index>(), 0..3u8, 0..400i64).prop_map(|(whose, billed, cost)| Deed::End {
        whose,
        billed,
        cost,
    });
    prop::collection::vec(prop_oneof![4 => buy, 2 => more, 3 => end, 1 => Just(Deed::Recount)], 1..40)
}

/// Whatever happens, no account passes its cap, and its running total is what counting the attempts gives.
async fn totals_are_what_counting_gives(place: &dyn Place, deeds: Vec<Deed>) {
    const CAP: i64 = 1_500;
    let ledger = place.open();
    let narrow = account(Scope { provider: Some("q".into()), ..Scope::default() }, Period::Ever);
    let accounts = [all(), narrow];
    let mut lives: Vec<Option<Vec<Attempt>>> = Vec::new();
    let marks = |attempts: &[Attempt], ahead: i64| -> Vec<Earmark> {
        let amount = |account: &Arc<Account>| {
            let ours = attempts.iter().filter(|attempt| account.scope.counts(&attempt.provider));
            ours.map(|attempt| attempt.held.micros()).sum::<i64>()
        };
        let wanted = accounts.iter().map(|account| (account, amount(account)));
        wanted.filter(|(_, amount)| *amount > 0).map(|(account, amount)| mark(account, CAP, amount + ahead)).collect()
    };
    for deed in deeds {
        match deed {
            Deed::Buy { held, ahead, provider } => {
                let model = if provider { "p/m" } else { "q/m" };
                let (id, attempts) = (format!("gen_{}", lives.len()), vec![attempt(0, model, held)]);
                let open = ledger.open(opened(&id, attempts.clone(), marks(&attempts, ahead))).await;
                lives.push(open.is_ok().then_some(attempts));
            }
            Deed::More { whose, held } if !lives.is_empty() => {
                let at = whose.index(lives.len());
                if let Some(attempts) = &mut lives[at] {
                    let more = attempt(u32::try_from(attempts.len()).unwrap(), "q/m", held);
                    let both: Vec<Attempt> = attempts.iter().cloned().chain([more.clone()]).collect();
                    let id = format!("gen_{at}");
                    if ledger.hold(id.into(), vec![more], marks(&both, 0)).await.is_ok() {
                        *attempts = both;
                    }
                }
            }
            Deed::End { whose, billed, cost } if !lives.is_empty() => {
                let at = whose.index(lives.len());
                if let Some(attempts) = lives[at].take() {
                    let billed = [Billed::No, Billed::Unknown, Billed::Yes][usize::from(billed)];
                    let bill = |attempt: Attempt| {
                        let cost = cost.min(attempt.held.micros());
                        ended(attempt, billed, cost)
                    };
                    let done = attempts.into_iter().map(bill).collect();
                    ledger.close(closed(&format!("gen_{at}"), done, &accounts)).await.unwrap();
                }
            }
            Deed::Recount => ledger.recount().await.unwrap(),
            Deed::More { .. } | Deed::End { .. } => {}
        }
        for account in &accounts {
            assert!(of(&*ledger, account).await.exposure() <= money(CAP));
        }
    }
    let running = ledger.totals(accounts.to_vec()).await.unwrap();
    ledger.recount().await.unwrap();
    assert_eq!(running, ledger.totals(accounts.to_vec()).await.unwrap());
}

// The table of implementations.
over_every_ledger! {
    sqlite: Sqlite::new(Durability::Process);
    postgres: Shared::new();
    => totals_are_what_counting_gives, [
        five_hundred_at_once_get_what_the_cap_is_worth
        what_is_freed_can_be_spent_again
        a_further_turn_must_fit_too
        all_budgets_fit_or_none_is_touched
        a_crash_frees_nothing
        a_new_budget_counts_what_was_there_before
        a_recount_finds_what_was_bought_without_the_budget
    ]
}
