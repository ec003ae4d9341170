//! The ledger port: what every implementation must do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinSet;
use tollgate::domain::fault::Billed;
use tollgate::domain::fingerprint::Fingerprint;
use tollgate::domain::ledger::{Attempt, CLAIM_LIFE, Claim, MoneyState, Sums};
use tollgate::domain::money::Money;
use tollgate::state::postgres::PostgresLedger;
use tollgate::state::sql::{Row, Statement, Value};
use tollgate::state::sqlite::SqliteLedger;
use tollgate::state::{AmbiguousSum, Durability, Ledger, LedgerFault, SpendBy, SpendRow};

use crate::postgres::Server;
use crate::samples::{at, attempt, closing, ended, opening};

/// A place that holds one ledger, empty at first.
pub(crate) trait Place {
    /// Opens the ledger there; the one opened before is gone.
    fn open(&self) -> Arc<dyn Ledger>;
}

pub(crate) struct Sqlite {
    folder: tempfile::TempDir,
    durability: Durability,
}

impl Sqlite {
    pub(crate) fn new(durability: Durability) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), durability }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("deeper").join("tollgate.db")
    }

    pub(crate) fn sqlite(&self) -> SqliteLedger {
        SqliteLedger::open(self.path(), self.durability).unwrap()
    }
}

impl Place for Sqlite {
    fn open(&self) -> Arc<dyn Ledger> {
        Arc::new(self.sqlite())
    }
}

/// A database of its own on the server of this process.
pub(crate) struct Shared(pub(crate) String);

impl Shared {
    pub(crate) fn new() -> Self {
        Self(Server::shared().database())
    }

    pub(crate) fn postgres(&self) -> PostgresLedger {
        PostgresLedger::open(&self.0).unwrap()
    }
}

impl Place for Shared {
    fn open(&self) -> Arc<dyn Ledger> {
        Arc::new(self.postgres())
    }
}

pub(crate) fn money(micros: i64) -> Money {
    Money::from_micros(micros)
}

async fn what_is_written_is_shown(place: &dyn Place) {
    let ledger = place.open();
    assert_eq!(ledger.show("gen_1").await, Ok(None));
    let (first, second) = (attempt(0, "stability/core", 30_000), attempt(1, "google/flash", 39_000));
    let mut opened = opening("gen_1", vec![first.clone()]);
    opened.prompt = Some("a fox; DROP TABLE attempt; '--".into());
    ledger.open(opened.clone()).await.unwrap();
    let running = ledger.show("gen_1").await.unwrap().unwrap();
    assert_eq!((running.opening, running.closing), (opened.clone(), None));

    ledger.hold("gen_1".into(), vec![second.clone()], Vec::new()).await.unwrap();
    opened.attempts.push(second.clone());
    assert_eq!(ledger.show("gen_1").await.unwrap().unwrap().opening, opened);

    let closed = closing("gen_1", vec![ended(first, Billed::No, 0), ended(second, Billed::Yes, 38_000)]);
    ledger.close(closed.clone()).await.unwrap();
    let record = ledger.show("gen_1").await.unwrap().unwrap();
    assert_eq!((record.opening, record.closing), (opened, Some(closed)));
}

async fn without_rule_prompt_or_metadata_it_reads_the_same(place: &dyn Place) {
    let ledger = place.open();
    let mut opened = opening("gen_1", Vec::new());
    (opened.rule, opened.prompt) = (None, None);
    opened.metadata.clear();
    ledger.open(opened.clone()).await.unwrap();
    let closed = closing("gen_1", Vec::new());
    ledger.close(closed.clone()).await.unwrap();
    let record = ledger.show("gen_1").await.unwrap().unwrap();
    assert_eq!((record.opening, record.closing), (opened, Some(closed)));
}

async fn only_what_is_open_is_changed(place: &dyn Place) {
    let ledger = place.open();
    let none = Err(LedgerFault::NotOpen("gen_1".into()));
    assert_eq!(ledger.close(closing("gen_1", Vec::new())).await, none);
    assert_eq!(ledger.hold("gen_1".into(), vec![attempt(0, "p/m", 1)], Vec::new()).await, none);
    ledger.open(opening("gen_1", vec![attempt(0, "p/m", 1)])).await.unwrap();
    let closed = closing("gen_1", vec![ended(attempt(0, "p/m", 1), Billed::Yes, 1)]);
    ledger.close(closed.clone()).await.unwrap();
    assert_eq!(ledger.close(closing("gen_1", Vec::new())).await, none);
    assert_eq!(ledger.hold("gen_1".into(), vec![attempt(1, "p/m", 1)], Vec::new()).await, none);
    assert_eq!(ledger.show("gen_1").await.unwrap().unwrap().closing, Some(closed));
}

/// The second opening breaks a rule; those that may share its transaction do not suffer, and nothing of it stays.
async fn a_refused_write_leaves_the_others(place: &dyn Place) {
    let ledger = place.open();
    ledger.open(opening("gen_twice", vec![attempt(0, "p/m", 7)])).await.unwrap();
    let mut writes = JoinSet::new();
    for n in 0..100 {
        let ledger = Arc::clone(&ledger);
        writes.spawn(async move {
            let id = if n % 10 == 0 { "gen_twice".to_owned() } else { format!("gen_{n}") };
            (n, ledger.open(opening(&id, vec![attempt(0, "p/m", 9)])).await)
        });
    }
    for (n, written) in writes.join_all().await {
        assert_eq!(written.is_ok(), n % 10 != 0, "{n}: {written:?}");
    }
    let twice = opening("gen_halves", vec![attempt(0, "p/m", 9), attempt(0, "p/m", 9)]);
    assert!(matches!(ledger.open(twice).await, Err(LedgerFault::Unavailable(_))));
    assert_eq!(ledger.show("gen_halves").await, Ok(None));
    assert_eq!(ledger.show("gen_twice").await.unwrap().unwrap().opening.reserved, money(7));
}

async fn what_is_held_at_the_end_is_in_doubt(place: &dyn Place) {
    let ledger = place.open();
    let attempts = [attempt(0, "p/m", 5), attempt(1, "p/m", 6), attempt(2, "q/m", 7)];
    ledger.open(opening("gen_1", attempts[..1].to_vec())).await.unwrap();
    ledger.hold("gen_1".into(), attempts[1..].to_vec(), Vec::new()).await.unwrap();
    ledger.abandon(closing("gen_1", vec![attempts[0].clone()]));
    ledger.open(opening("gen_2", attempts[..1].to_vec())).await.unwrap();
    ledger.hold("gen_2".into(), attempts[1..2].to_vec(), Vec::new()).await.unwrap();
    ledger.abandon(closing("gen_2", vec![attempts[1].clone()]));
    ledger.open(opening("gen_3", attempts[..1].to_vec())).await.unwrap();
    ledger.abandon(closing("gen_3", Vec::new()));
    // Whatever comes after an end is written after it.
    ledger.open(opening("gen_4", Vec::new())).await.unwrap();
    for (id, count) in [("gen_1", 3), ("gen_2", 2), ("gen_3", 1)] {
        let closed = ledger.show(id).await.unwrap().unwrap().closing.unwrap();
        assert_eq!(closed.attempts.len(), count, "{id}");
        assert!(closed.attempts.iter().all(|a| a.state == MoneyState::Ambiguous), "{id}");
    }
    let sum = |provider: &str, sum| AmbiguousSum { provider: provider.into(), sum: money(sum), oldest: at(0) };
    assert_eq!(ledger.doubt().await.unwrap(), [sum("p", 5 + 6 + 5 + 6 + 5), sum("q", 7)]);
}

/// Model, held, billed, charged.
type Called = (&'static str, i64, Billed, i64);

async fn spend_adds_up_by_every_grouping(place: &dyn Place) {
    const DAY: i64 = 86_400_000_000;
    let ledger = place.open();
    let book: [(&str, i64, &str, &str, &[Called]); 4] = [
        ("gen_1", 0, "ann", "hero", &[("a/x", 50, Billed::No, 0), ("b/y", 40, Billed::Yes, 35)]),
        ("gen_2", 0, "ben", "hero", &[("a/x", 50, Billed::Unknown, 0)]),
        ("gen_3", 1, "ann", "concept", &[("a/x", 50, Billed::Yes, 48), ("a/x", 50, Billed::Yes, 49)]),
        ("gen_4", -1, "ann", "hero", &[("a/x", 50, Billed::Yes, 1_000)]),
    ];
    for (id, day, key, task, calls) in book {
        let held: Vec<Attempt> = (0..).zip(calls).map(|(seq, call)| attempt(seq, call.0, call.1)).collect();
        let mut opened = opening(id, held.clone());
        opened.created = at(day * DAY);
        (opened.key, opened.task) = (key.into(), task.into());
        ledger.open(opened).await.unwrap();
        let done = held.into_iter().zip(calls).map(|(held, call)| ended(held, call.2, call.3)).collect();
        ledger.close(closing(id, done)).await.unwrap();
    }
    let row = |group: &str, generations, images, settled, ambiguous| SpendRow {
        group: group.into(),
        generations,
        images,
        settled: money(settled),
        ambiguous: money(ambiguous),
    };
    let spend = async |by| ledger.spend(by, at(0)).await.unwrap();
    assert_eq!(spend(SpendBy::Day).await, [row("2026-11-23", 1, 1, 97, 0), row("2026-11-22", 2, 1, 35, 50)]);
    assert_eq!(spend(SpendBy::Key).await, [row("ann", 2, 2, 132, 0), row("ben", 1, 0, 0, 50)]);
    assert_eq!(spend(SpendBy::Task).await, [row("concept", 1, 1, 97, 0), row("hero", 2, 1, 35, 50)]);
    assert_eq!(spend(SpendBy::Model).await, [row("a/x", 3, 1, 97, 50), row("b/y", 1, 1, 35, 0)]);
    assert_eq!(ledger.spend(SpendBy::Key, at(2 * DAY)).await.unwrap(), []);
}

async fn a_thousand_openers_are_all_durable(place: &dyn Place) {
    let ledger = place.open();
    let mut openers = JoinSet::new();
    for n in 0..1_000 {
        let ledger = Arc::clone(&ledger);
        openers.spawn(async move { ledger.open(opening(&format!("gen_{n}"), vec![attempt(0, "p/m", n)])).await });
    }
    assert!(openers.join_all().await.into_iter().all(|opened| opened.is_ok()));
    drop(ledger);
    let ledger = place.open();
    for n in 0..1_000 {
        assert_eq!(ledger.show(&format!("gen_{n}")).await.unwrap().unwrap().opening.reserved, money(n));
    }
}

/// A new opening finds what never closed, once.
async fn what_never_closed_is_in_doubt_after_reopening(place: &dyn Place) {
    let ledger = place.open();
    let (first, second) = (attempt(0, "p/m", 10), attempt(1, "q/m", 20));
    ledger.open(opening("gen_lost", vec![first.clone(), second])).await.unwrap();
    ledger.open(opening("gen_kept", vec![first.clone()])).await.unwrap();
    let closed = closing("gen_kept", vec![ended(first, Billed::Yes, 9)]);
    ledger.close(closed.clone()).await.unwrap();
    drop(ledger);

    for _ in 0..2 {
        let ledger = place.open();
        let lost = ledger.show("gen_lost").await.unwrap().unwrap().closing.unwrap();
        assert_eq!(lost.outcome, "crashed");
        let doubtful = |a: &Attempt| a.state == MoneyState::Ambiguous && a.outcome == "crashed";
        assert!(lost.attempts.len() == 2 && lost.attempts.iter().all(doubtful));
        assert_eq!(ledger.show("gen_kept").await.unwrap().unwrap().closing, Some(closed.clone()));
        let none = Err(LedgerFault::NotOpen("gen_lost".into()));
        assert_eq!(ledger.close(closing("gen_lost", Vec::new())).await, none);
    }
}

async fn a_claim_buys_once_and_passes_on_when_it_cost_nothing(place: &dyn Place) {
    let ledger = place.open();
    let claimed = |id: &str| {
        let mut opened = opening(id, vec![attempt(0, "p/m", 5)]);
        opened.claim =
            Some(Claim { scope: "key".into(), fingerprint: Fingerprint::of_key("t", "r", "k"), life: CLAIM_LIFE });
        opened
    };
    let mut openers = JoinSet::new();
    for n in 0..40 {
        let ledger = Arc::clone(&ledger);
        let opened = claimed(&format!("gen_{n}"));
        openers.spawn(async move { (n, ledger.open(opened).await) });
    }
    let all = openers.join_all().await;
    let winners: Vec<_> = all.iter().filter(|(_, opened)| opened.is_ok()).map(|(n, _)| *n).collect();
    assert_eq!(winners.len(), 1, "{all:?}");
    let reused = |opened: &Result<(), LedgerFault>| matches!(opened, Ok(()) | Err(LedgerFault::Reused));
    assert!(all.iter().all(|(_, opened)| reused(opened)), "{all:?}");
    let winner = format!("gen_{}", winners[0]);
    assert_eq!(&*ledger.recall("key", at(0)).await.unwrap().unwrap().opening.id, winner);
    assert_eq!(ledger.recall("key", at(1)).await, Ok(None));
    // It cost nothing, so the key is free again; what it then buys keeps it.
    ledger.close(closing(&winner, vec![ended(attempt(0, "p/m", 5), Billed::No, 0)])).await.unwrap();
    ledger.open(claimed("gen_next")).await.unwrap();
    ledger.close(closing("gen_next", vec![ended(attempt(0, "p/m", 5), Billed::Unknown, 0)])).await.unwrap();
    assert_eq!(ledger.open(claimed("gen_last")).await, Err(LedgerFault::Reused));
}

async fn other_rooms_write_and_read_their_own_tables(place: &dyn Place) {
    let ledger = place.open();
    let make =
        "CREATE TABLE note (id TEXT PRIMARY KEY NOT NULL, weight DOUBLE PRECISION, state TEXT, n BIGINT NOT NULL)";
    ledger.write(vec![Statement::new(make, [])]).await.unwrap();
    let put =
        "INSERT INTO note (id, weight, state, n) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE SET n = excluded.n";
    let row = |id: &str, n: i64| Statement::new(put, [id.into(), 0.5.into(), Value::Null, n.into()]);
    assert_eq!(ledger.write(vec![row("a", 1), row("b", 2), row("a", 3)]).await, Ok(vec![1, 1, 1]));
    let take =
        Statement::new("UPDATE note SET state = ?2 WHERE id = ?1 AND state IS NULL", ["a".into(), "mine".into()]);
    assert_eq!(ledger.write(vec![take.clone(), take]).await, Ok(vec![1, 0]), "the second finds it taken");
    let broken = Statement::new("INSERT INTO note (id, n) VALUES (?1, NULL)", ["c".into()]);
    assert!(ledger.write(vec![row("c", 1), broken]).await.is_err(), "all or nothing");
    let rows = ledger.rows("SELECT id, weight, state, n FROM note WHERE n > ?1 ORDER BY id", vec![0.into()]).await;
    let expected = [("a", Value::from("mine"), 3), ("b", Value::Null, 2)];
    let expected = expected.map(|(id, state, n)| Row(vec![id.into(), 0.5.into(), state, n.into()]));
    assert_eq!(rows.unwrap(), expected);
}

/// One step of a generation's life.
#[derive(Clone, Debug)]
enum Deed {
    Open { held: Vec<i64> },
    Hold { whose: prop::sample::Index, held: i64 },
    Close { whose: prop::sample::Index, bills: Vec<(u8, i64)>, abandon: bool },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let open = prop::collection::vec(0..1_000_000i64, 0..3).prop_map(|held| Deed::Open { held });
    let hold = (any::<prop::sample::Index>(), 0..1_000_000i64).prop_map(|(whose, held)| Deed::Hold { whose, held });
    let bills = prop::collection::vec((0..3u8, 0..1_000_000i64), 6);
    let close = (any::<prop::sample::Index>(), bills, any::<bool>()).prop_map(|(whose, bills, abandon)| Deed::Close {
        whose,
        bills,
        abandon,
    });
    prop::collection::vec(prop_oneof![2 => open, 1 => hold, 2 => close], 1..40)
}

/// Does the deeds to the ledger and to plain lists of attempts, whose sums are the domain's.
async fn live(ledger: &dyn Ledger, deeds: Vec<Deed>) -> Vec<Vec<Attempt>> {
    let mut lives: Vec<(bool, Vec<Attempt>)> = Vec::new();
    for deed in deeds {
        match deed {
            Deed::Open { held } => {
                let attempts: Vec<_> = (0..).zip(held).map(|(seq, held)| attempt(seq, "p/m", held)).collect();
                ledger.open(opening(&format!("gen_{}", lives.len()), attempts.clone())).await.unwrap();
                lives.push((true, attempts));
            }
            Deed::Hold { whose, held } if !lives.is_empty() => {
                let at = whose.index(lives.len());
                let (open, attempts) = &mut lives[at];
                let more = attempt(u32::try_from(attempts.len()).unwrap(), "q/m", held);
                let id = format!("gen_{at}");
                assert_eq!(ledger.hold(id.into(), vec![more.clone()], Vec::new()).await.is_ok(), *open);
                attempts.extend(open.then_some(more));
            }
            Deed::Close { whose, bills, abandon } if !lives.is_empty() => {
                let at = whose.index(lives.len());
                let (open, attempts) = &mut lives[at];
                let done: Vec<_> = attempts.iter().cloned().zip(bills.iter().cycle()).map(bill).collect();
                let end = closing(&format!("gen_{at}"), done.clone());
                if abandon {
                    ledger.abandon(end);
                } else {
                    assert_eq!(ledger.close(end).await.is_ok(), *open);
                }
                if std::mem::take(open) {
                    *attempts = done;
                }
            }
            Deed::Hold { .. } | Deed::Close { .. } => {}
        }
    }
    // An abandoned end is written before this.
    ledger.open(opening("gen_last", Vec::new())).await.unwrap();
    lives.into_iter().map(|(_, attempts)| attempts).collect()
}

fn bill((attempt, (billed, cost)): (Attempt, &(u8, i64))) -> Attempt {
    ended(attempt, [Billed::No, Billed::Unknown, Billed::Yes][usize::from(*billed)], *cost)
}

/// Whatever happens, the ledger's money is the domain's: each attempt's, and every sum.
async fn money_is_conserved(place: &dyn Place, deeds: Vec<Deed>) {
    let ledger = place.open();
    let lives = live(&*ledger, deeds).await;
    for (n, attempts) in lives.iter().enumerate() {
        let record = ledger.show(&format!("gen_{n}")).await.unwrap().unwrap();
        let kept = record.closing.map_or(record.opening.attempts, |closing| closing.attempts);
        assert_eq!(&kept, attempts);
    }
    let sums = Sums::of(&lives.concat());
    for by in [SpendBy::Day, SpendBy::Key, SpendBy::Model, SpendBy::Task] {
        let rows = ledger.spend(by, at(0)).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.settled).sum::<Money>(), sums.settled);
        assert_eq!(rows.iter().map(|row| row.ambiguous).sum::<Money>(), sums.ambiguous);
    }
    let doubt: Money = ledger.doubt().await.unwrap().into_iter().map(|sum| sum.sum).sum();
    assert_eq!(doubt, sums.ambiguous);
    // A crash now: whatever is held is in doubt, and nothing else has moved.
    drop(ledger);
    let doubt: Money = place.open().doubt().await.unwrap().into_iter().map(|sum| sum.sum).sum();
    assert_eq!(doubt, sums.ambiguous + sums.held);
}

async fn a_later_verdict_of_a_rater_replaces_the_earlier(place: &dyn Place) {
    crate::verdicts::a_later_verdict_of_a_rater_replaces_the_earlier(&*place.open()).await;
}

async fn a_decision_comes_with_the_opening_or_the_end(place: &dyn Place) {
    crate::verdicts::a_decision_comes_with_the_opening_or_the_end(&*place.open()).await;
}

async fn the_first_stop_of_a_policy_stands(place: &dyn Place) {
    crate::verdicts::the_first_stop_of_a_policy_stands(&*place.open()).await;
}

async fn pictures_are_read_by_place_with_the_newest_verdict(place: &dyn Place) {
    crate::studio::pictures_are_read_by_place_with_the_newest_verdict(&*place.open()).await;
}

async fn a_baseline_stays_while_the_latest_changes(place: &dyn Place) {
    crate::audits::a_baseline_stays_while_the_latest_changes(&*place.open()).await;
}

async fn sums_count_money_pictures_and_verdicts_once(place: &dyn Place) {
    crate::studio::sums_count_money_pictures_and_verdicts_once(&*place.open()).await;
}

// The table of implementations.
over_every_ledger! {
    sqlite_power: Sqlite::new(Durability::Power);
    sqlite_process: Sqlite::new(Durability::Process);
    postgres: Shared::new();
    => money_is_conserved, [
        what_is_written_is_shown
        without_rule_prompt_or_metadata_it_reads_the_same
        only_what_is_open_is_changed
        a_refused_write_leaves_the_others
        what_is_held_at_the_end_is_in_doubt
        spend_adds_up_by_every_grouping
        a_thousand_openers_are_all_durable
        what_never_closed_is_in_doubt_after_reopening
        a_later_verdict_of_a_rater_replaces_the_earlier
        a_decision_comes_with_the_opening_or_the_end
        the_first_stop_of_a_policy_stands
        pictures_are_read_by_place_with_the_newest_verdict
        a_baseline_stays_while_the_latest_changes
        sums_count_money_pictures_and_verdicts_once
        a_claim_buys_once_and_passes_on_when_it_cost_nothing
        other_rooms_write_and_read_their_own_tables
    ]
}

/// What only `SQLite` does.
mod sqlite {
    use super::*;

    /// Rows may have other numbers after a `VACUUM`, also while their generations run.
    #[tokio::test]
    async fn an_end_finds_its_generation_when_rows_were_numbered_anew() {
        let place = Sqlite::new(Durability::Process);
        let ledger = place.sqlite();
        for id in ["gen_1", "gen_2"] {
            ledger.open(opening(id, vec![attempt(0, "p/m", 5)])).await.unwrap();
        }
        let other = rusqlite::Connection::open(place.path()).unwrap();
        let swap = "UPDATE generation SET rowid = -rowid; UPDATE generation SET rowid = 3 + rowid";
        other.execute_batch(swap).unwrap();
        for id in ["gen_1", "gen_2"] {
            let closed = closing(id, vec![ended(attempt(0, "p/m", 5), Billed::Yes, 4)]);
            ledger.close(closed.clone()).await.unwrap();
            assert_eq!(ledger.show(id).await.unwrap().unwrap().closing, Some(closed));
        }
    }

    #[tokio::test]
    async fn a_reader_sees_a_live_file_and_writes_nothing() {
        let place = Sqlite::new(Durability::Process);
        let writer = place.sqlite();
        writer.open(opening("gen_1", vec![attempt(0, "p/m", 5)])).await.unwrap();
        let reader = SqliteLedger::read_only(place.path()).unwrap();
        assert!(reader.show("gen_1").await.unwrap().is_some());
        assert!(matches!(reader.open(opening("gen_2", Vec::new())).await, Err(LedgerFault::Unavailable(_))));
        writer.open(opening("gen_2", Vec::new())).await.unwrap();
        assert_eq!(reader.spend(SpendBy::Task, at(0)).await.unwrap()[0].generations, 2);
    }

    #[tokio::test]
    async fn a_second_writer_is_refused_and_recovers_nothing() {
        let place = Sqlite::new(Durability::Process);
        let first = place.sqlite();
        first.open(opening("gen_1", vec![attempt(0, "p/m", 5)])).await.unwrap();
        let second = SqliteLedger::open(place.path(), Durability::Process);
        assert!(matches!(second, Err(LedgerFault::Unavailable(_))));
        assert_eq!(first.show("gen_1").await.unwrap().unwrap().closing, None);
        drop(first);
        assert_eq!(place.sqlite().recovered(), 1);
        assert_eq!(place.sqlite().recovered(), 0);
    }

    /// On one thread: were the commit made by who asks, the clock would stand still for as long as the other writes.
    #[tokio::test]
    async fn while_another_process_writes_only_the_asker_waits() {
        for durability in [Durability::Power, Durability::Process] {
            let place = Sqlite::new(durability);
            let ledger = Arc::new(place.sqlite());
            let other = rusqlite::Connection::open(place.path()).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            let asked = {
                let ledger = Arc::clone(&ledger);
                tokio::spawn(async move { ledger.open(opening("gen_1", vec![attempt(0, "p/m", 5)])).await })
            };
            let begun = std::time::Instant::now();
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                assert!(!asked.is_finished());
            }
            assert!(begun.elapsed() < Duration::from_secs(3), "{:?}: others were held up", begun.elapsed());
            other.execute_batch("COMMIT").unwrap();
            assert_eq!(asked.await.unwrap(), Ok(()));
            assert!(ledger.show("gen_1").await.unwrap().is_some());
        }
    }

    /// More than a batch waits for, and fewer than it commits at once.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn callers_that_come_together_and_alone_are_all_written() {
        let place = Sqlite::new(Durability::Process);
        let ledger = Arc::new(place.sqlite());
        let mut tasks = JoinSet::new();
        for caller in 0..40 {
            let ledger = Arc::clone(&ledger);
            tasks.spawn(async move {
                for turn in 0..=caller {
                    let id = format!("gen_{caller}_{turn}");
                    ledger.open(opening(&id, vec![attempt(0, "p/m", 5)])).await.unwrap();
                    ledger.close(closing(&id, vec![ended(attempt(0, "p/m", 5), Billed::Yes, 5)])).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        let spent = ledger.spend(SpendBy::Task, at(0)).await.unwrap();
        assert_eq!((spent[0].generations, spent[0].settled), (820, Money::from_micros(820 * 5)));
    }

    #[test]
    fn what_is_no_ledger_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        assert!(matches!(SqliteLedger::read_only(&path), Err(LedgerFault::Unavailable(_))));
        std::fs::write(
            &path,
            "not a database, but long enough to have a header of a hundred bytes or more. ".repeat(9),
        )
        .unwrap();
        assert!(matches!(SqliteLedger::open(&path, Durability::Power), Err(LedgerFault::Unavailable(_))));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let place = Sqlite::new(Durability::Process);
        drop(place.sqlite());
        rusqlite::Connection::open(place.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
        for opened in [SqliteLedger::open(place.path(), Durability::Process), SqliteLedger::read_only(place.path())] {
            let Err(LedgerFault::Unavailable(why)) = opened else { panic!("opened a file of the future") };
            assert!(why.contains("version 99"), "{why}");
        }
    }
}
