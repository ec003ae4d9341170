//! Several replicas on one ledger, and a server that goes away.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tollgate::domain::fault::Billed;
use tollgate::domain::ledger::MoneyState;
use tollgate::state::postgres::PostgresLedger;
use tollgate::state::{Durability, Ledger, LedgerFault};

use crate::ledger::{Shared, Sqlite};
use crate::postgres::{Server, query};
use crate::samples::{attempt, closing, ended, opening};

/// Asks again until it is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !so().await {
        assert!(begun.elapsed() < Duration::from_mins(1), "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A replica that dies without a word, as its rows show it: its sign is old.
fn silence(place: &Shared, generation: &str) {
    let sql = format!(
        "UPDATE generation SET replica = 7 WHERE id = '{generation}'; \
         INSERT INTO replica VALUES (7, 1) ON CONFLICT (id) DO NOTHING"
    );
    query(&place.0, &sql);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_dead_are_recovered() {
    let place = Shared::new();
    let (first, second) = (place.postgres(), place.postgres());
    first.open(opening("gen_living", vec![attempt(0, "p/m", 5)])).await.unwrap();
    first.open(opening("gen_dead", vec![attempt(0, "p/m", 7)])).await.unwrap();
    silence(&place, "gen_dead");
    let third = place.postgres();
    assert_eq!(third.recovered() + u64::from(second.doubt().await.unwrap().is_empty()), 1, "one of them found it");
    until("the dead is recovered", async || second.show("gen_dead").await.unwrap().unwrap().closing.is_some()).await;
    let dead = second.show("gen_dead").await.unwrap().unwrap().closing.unwrap();
    assert_eq!((dead.outcome, dead.attempts[0].state), ("crashed", MoneyState::Ambiguous));
    assert_eq!(third.show("gen_living").await.unwrap().unwrap().closing, None);
    first.close(closing("gen_living", vec![ended(attempt(0, "p/m", 5), Billed::Yes, 5)])).await.unwrap();
}

/// One that was only cut off says how its calls ended, and the doubt goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_knows_better_than_the_doubt() {
    let place = Shared::new();
    let (owner, other) = (place.postgres(), place.postgres());
    owner.open(opening("gen_1", vec![attempt(0, "p/m", 5)])).await.unwrap();
    let crash = "UPDATE generation SET ended_us = 1, outcome = 'crashed', made_by = model; \
                 UPDATE attempt SET state = 'ambiguous', outcome = 'crashed'";
    query(&place.0, crash);
    let done = closing("gen_1", vec![ended(attempt(0, "p/m", 5), Billed::Yes, 4)]);
    assert_eq!(other.close(done.clone()).await, Err(LedgerFault::NotOpen("gen_1".into())));
    owner.close(done.clone()).await.unwrap();
    assert_eq!(other.show("gen_1").await.unwrap().unwrap().closing, Some(done));
    assert!(other.doubt().await.unwrap().is_empty());
}

/// Replicas start at the same moment: one of them makes the tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_together_agree() {
    let place = Shared::new();
    let mut replicas = JoinSet::new();
    for _ in 0..4 {
        let url = place.0.clone();
        replicas.spawn_blocking(move || PostgresLedger::open(&url).map(drop));
    }
    assert_eq!(replicas.join_all().await, vec![Ok(()); 4]);
    query(&place.0, "INSERT INTO schema_version VALUES (99)");
    let Err(LedgerFault::Unavailable(why)) = PostgresLedger::open(&place.0) else { panic!("opened the future") };
    assert!(why.contains("this program knows version"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_stores_end_with_the_same_tables() {
    let (place, file) = (Shared::new(), Sqlite::new(Durability::Process));
    drop((place.postgres(), file.sqlite()));
    let shared = query(
        &place.0,
        "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable \
         FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_version' ORDER BY 1",
    );
    let connection = rusqlite::Connection::open(file.path()).unwrap();
    let columns = "SELECT m.name || '.' || c.name || ' ' || lower(c.type) || ' ' || \
         CASE WHEN c.\"notnull\" = 1 THEN 'NO' ELSE 'YES' END \
         FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1";
    let mut statement = connection.prepare(columns).unwrap();
    let own: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(own.len() > 40, "{own:?}");
    assert_eq!(shared.lines().collect::<Vec<_>>(), own);
    let indexes = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1";
    let mut statement = connection.prepare(indexes).unwrap();
    let own: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let shared = query(
        &place.0,
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%\\_pkey' ORDER BY 1",
    );
    assert_eq!(shared.lines().collect::<Vec<_>>(), own);
}

/// Refuses at once while the server is away, loses no end, and goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_and_comes_back() {
    let server = Server::start(true);
    let ledger = Arc::new(PostgresLedger::open(&server.database()).unwrap());
    ledger.open(opening("gen_1", vec![attempt(0, "p/m", 5)])).await.unwrap();
    server.stop();
    until("it refuses", async || ledger.open(opening("gen_no", Vec::new())).await.is_err()).await;
    let begun = Instant::now();
    for n in 0..100 {
        let refused = ledger.open(opening(&format!("gen_no_{n}"), vec![attempt(0, "p/m", 5)])).await;
        assert!(matches!(refused, Err(LedgerFault::Unavailable(_))), "{refused:?}");
    }
    let waited = begun.elapsed();
    println!("100 refusals while the server is away: {waited:?}");
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    let done = closing("gen_1", vec![ended(attempt(0, "p/m", 5), Billed::Yes, 4)]);
    assert!(ledger.close(done.clone()).await.is_err(), "not written yet, and whoever waits is told so");
    server.restart();
    let begun = Instant::now();
    until("it goes on", async || ledger.open(opening("gen_2", Vec::new())).await.is_ok()).await;
    println!("{:?} from the server's return to the first purchase", begun.elapsed());
    until("the end is written", async || ledger.show("gen_1").await.unwrap().unwrap().closing.as_ref() == Some(&done))
        .await;
    for n in 0..100 {
        assert_eq!(ledger.show(&format!("gen_no_{n}")).await, Ok(None));
    }
}

/// Restarted again and again under load: what was acknowledged is there, and what was refused holds no money.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_lose_nothing_and_leave_nothing_held() {
    let server = Server::start(true);
    let url = server.database();
    let ledger = Arc::new(PostgresLedger::open(&url).unwrap());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (ledger, stop) = (Arc::clone(&ledger), Arc::clone(&stop));
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let id = format!("gen_{writer}_{n}");
                if ledger.open(opening(&id, vec![attempt(0, "p/m", 50)])).await.is_err() {
                    tokio::task::yield_now().await;
                    continue;
                }
                let done = closing(&id, vec![ended(attempt(0, "p/m", 50), Billed::Yes, 40)]);
                // Kept when it cannot be written now.
                let _ = ledger.close(done).await;
                acknowledged.push(id);
            }
            acknowledged
        });
    }
    let mut bought = 0;
    for round in 1..=3 {
        until("something was bought", async || {
            ledger.spend(tollgate::state::SpendBy::Key, jiff::Timestamp::UNIX_EPOCH).await.is_ok_and(|rows| {
                let now = rows.iter().map(|row| row.generations).sum::<u64>();
                now > bought + 50 && {
                    bought = now;
                    true
                }
            })
        })
        .await;
        server.stop();
        println!("restart {round} after {bought} generations");
        server.restart();
    }
    until("it goes on", async || ledger.open(opening("gen_end", Vec::new())).await.is_ok()).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let acknowledged = writers.join_all().await.concat();
    drop(ledger);
    let held = query(&url, "SELECT COUNT(*) FROM attempt WHERE state = 'held'");
    assert_eq!(held, "0", "a refused opening, or an end, was forgotten");
    let ledger = PostgresLedger::open(&url).unwrap();
    for id in &acknowledged {
        let closing = ledger.show(id).await.unwrap().unwrap_or_else(|| panic!("{id} is lost")).closing.unwrap();
        assert_eq!((closing.outcome, closing.attempts[0].state), ("succeeded", MoneyState::Settled));
    }
    println!("{} generations acknowledged over 3 restarts, none lost, nothing left held", acknowledged.len());
    assert!(acknowledged.len() > 100);
}
