//! Every edge of a purchase, cut: before and after each of reserve, dispatch, body end, settle and reply, by an exit, a
//! panic and an error. The cuts are wrappers around the ports that a test hands to the engine; the product has none.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::time::Instant;
use tollgate::domain::budget::{Account, Earmark, Total};
use tollgate::domain::fault::{Billed, Blame, Class, Fault};
use tollgate::domain::ledger::{Attempt, Closing, Opening};
use tollgate::domain::request::{Ask, ModelChoice, Prompt};
use tollgate::engine::{Inbound, Repeat};
use tollgate::provider::{Call, Reply};
use tollgate::state::sql::{Row, Statement, Value};
use tollgate::state::sqlite::SqliteLedger;
use tollgate::state::{AmbiguousSum, Durability, Ledger, LedgerFault, Record, SpendBy, SpendRow};
use tollgate::telemetry::clock;
use tollgate::transport::{Boxed, Endpoint, HttpTransport, Transport};

use crate::world::{World, engine};

const CASE: &str = "TOLLGATE_TEST_CUT";
const POINTS: [&str; 10] = [
    "before reserve",
    "after reserve",
    "before dispatch",
    "after dispatch",
    "before body end",
    "after body end",
    "before settle",
    "after settle",
    "before reply",
    "after reply",
];
/// How long the provider stalls in the middle of a call that is cut there.
const STALL: Duration = Duration::from_millis(1_200);
const ACTIONS: [&str; 3] = ["exit", "panic", "error"];

/// Where to cut, and how; once.
struct Cut {
    point: String,
    action: String,
    done: AtomicBool,
}

impl Cut {
    /// Cuts here when it is here: an exit and a panic do not come back, true asks for an error.
    fn here(&self, point: &str) -> bool {
        if self.point != point || self.done.swap(true, Ordering::SeqCst) {
            return false;
        }
        match self.action.as_str() {
            "exit" => std::process::exit(9),
            "panic" => panic!("cut {point}"),
            _ => true,
        }
    }
}

struct CutLedger(Arc<SqliteLedger>, Arc<Cut>);

fn away() -> LedgerFault {
    LedgerFault::Unavailable("cut".to_owned())
}

impl Ledger for CutLedger {
    fn open(&self, opening: Opening) -> Boxed<'_, Result<(), LedgerFault>> {
        Box::pin(async move {
            if self.1.here("before reserve") {
                return Err(away());
            }
            self.0.open(opening).await?;
            if self.1.here("after reserve") { Err(away()) } else { Ok(()) }
        })
    }

    fn hold(&self, id: Arc<str>, attempts: Vec<Attempt>, earmarks: Vec<Earmark>) -> Boxed<'_, Result<(), LedgerFault>> {
        self.0.hold(id, attempts, earmarks)
    }

    fn close(&self, closing: Closing) -> Boxed<'_, Result<(), LedgerFault>> {
        Box::pin(async move {
            if self.1.here("before settle") {
                return Err(away());
            }
            self.0.close(closing).await?;
            if self.1.here("after settle") { Err(away()) } else { Ok(()) }
        })
    }

    fn abandon(&self, closing: Closing) {
        self.0.abandon(closing);
    }

    fn recall<'a>(&'a self, scope: &'a str, since: Timestamp) -> Boxed<'a, Result<Option<Record>, LedgerFault>> {
        self.0.recall(scope, since)
    }

    fn show<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<Option<Record>, LedgerFault>> {
        self.0.show(id)
    }

    fn spend(&self, by: SpendBy, since: Timestamp) -> Boxed<'_, Result<Vec<SpendRow>, LedgerFault>> {
        self.0.spend(by, since)
    }

    fn doubt(&self) -> Boxed<'_, Result<Vec<AmbiguousSum>, LedgerFault>> {
        self.0.doubt()
    }

    fn totals(&self, accounts: Vec<Arc<Account>>) -> Boxed<'_, Result<Vec<Total>, LedgerFault>> {
        self.0.totals(accounts)
    }

    fn recount(&self) -> Boxed<'_, Result<(), LedgerFault>> {
        self.0.recount()
    }

    fn write(&self, statements: Vec<Statement>) -> Boxed<'_, Result<Vec<u64>, LedgerFault>> {
        self.0.write(statements)
    }

    fn rows(&self, sql: &'static str, parameters: Vec<Value>) -> Boxed<'_, Result<Vec<Row>, LedgerFault>> {
        self.0.rows(sql, parameters)
    }
}

struct CutTransport(HttpTransport, Arc<Cut>);

impl Transport for CutTransport {
    fn send<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        call: &'a Call,
        deadline: Instant,
    ) -> Boxed<'a, Result<Reply, Fault>> {
        Box::pin(async move {
            let fault = |billed, why: &str| Err(Fault::new(Class::Unavailable, Blame::Provider, billed, why));
            if self.1.here("before dispatch") {
                return fault(Billed::No, "it never left");
            }
            let mut sent = self.0.send(endpoint, call, deadline);
            // The provider stalls: before its answer for the one, within it for the other.
            for point in ["after dispatch", "before body end"] {
                let cut = self.1.point == point && tokio::time::timeout(STALL / 2, &mut sent).await.is_err();
                if cut && self.1.here(point) {
                    return fault(Billed::Unknown, "the answer was lost");
                }
            }
            let reply = sent.await;
            if self.1.here("after body end") {
                return fault(Billed::Unknown, "the answer was lost at its end");
            }
            reply
        })
    }
}

fn inbound() -> Inbound {
    let mut ask = Ask::of(Prompt::new("a lighthouse at dawn").unwrap());
    ask.model = ModelChoice::Pinned("ideogram/v3-flash".to_owned());
    Inbound {
        ask,
        key: None,
        request_id: "req_cut".into(),
        idempotency_key: Some("one".into()),
        repeat: Repeat::default(),
        share_never: false,
        warnings: Vec::new(),
        arrived: Instant::now(),
        received: clock::now(),
    }
}

/// The child: one purchase, cut. Does nothing when run as a test.
#[tokio::test]
async fn buys_until_it_is_cut() {
    let Ok(case) = std::env::var(CASE) else { return };
    let [point, action, policy, sandbox, folder] = case.split('|').collect::<Vec<_>>().try_into().unwrap();
    let cut = Arc::new(Cut { point: point.to_owned(), action: action.to_owned(), done: AtomicBool::new(false) });
    let folder = PathBuf::from(folder);
    let sqlite = Arc::new(SqliteLedger::open(folder.join("cut.db"), Durability::Process).unwrap());
    let ledger: Arc<dyn Ledger> = Arc::new(CutLedger(Arc::clone(&sqlite), Arc::clone(&cut)));
    let transport = Arc::new(CutTransport(HttpTransport::new().unwrap(), Arc::clone(&cut)));
    let engine = Arc::new(engine(&PathBuf::from(policy), &folder, sandbox.parse().unwrap(), ledger, transport));
    let serving = Arc::clone(&engine);
    let told = tokio::spawn(async move {
        let answer = serving.serve(inbound()).await;
        if cut.here("before reply") {
            return "lost".to_owned();
        }
        let word = answer.map_or_else(|refusal| refusal.code().to_owned(), |served| served.how.name().to_owned());
        std::fs::write(folder.join("told"), &word).unwrap();
        cut.here("after reply");
        word
    })
    .await;
    if told.is_err() {
        // A panic is this request's alone: what it held is written down.
        engine.idle().await;
    }
}

/// What is left after a cut, in one line.
async fn after(point: &str, action: &str) -> String {
    let world = World::open(200.0).await;
    let at = match point {
        "after dispatch" => Some("headers"),
        "before body end" => Some("body"),
        _ => None,
    };
    if let Some(at) = at {
        world.stall(at, STALL).await;
    }
    let folder = tempfile::tempdir_in(world.folder.path()).unwrap();
    let policy = world.policy(|text| text);
    let case = format!("{point}|{action}|{}|{}|{}", policy.display(), world.sandbox.addr(), folder.path().display());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "failpoints::buys_until_it_is_cut", "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(child.code() == Some(9), action == "exit", "{point} {action}: {child:?}");
    let told = std::fs::read_to_string(folder.path().join("told")).unwrap_or_else(|_| "nothing".to_owned());
    // What was under way has ended, one way or the other.
    tokio::time::sleep(if at.is_some() { STALL } else { Duration::from_millis(300) }).await;
    let first = world.bought().await;
    let ledger = Arc::new(SqliteLedger::open(folder.path().join("cut.db"), Durability::Process).unwrap());
    let rows = ledger.rows("SELECT state FROM attempt", Vec::new()).await.unwrap();
    let states: Vec<_> = rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect();
    let states = if states.is_empty() { "no row".to_owned() } else { states.join("+") };
    let transport = Arc::new(HttpTransport::new().unwrap());
    let again = Arc::new(engine(&policy, folder.path(), world.sandbox.addr(), Arc::clone(&ledger) as _, transport));
    let repeat = again.serve(inbound()).await;
    let repeat = repeat.map_or_else(|refusal| refusal.code().to_owned(), |served| served.how.name().to_owned());
    let second = world.bought().await;
    assert!(second <= 1, "{point} {action}: bought {second}");
    assert!(first == 0 || states != "no row" && states != "released", "{point} {action}: {first} bought and {states}");
    format!(
        "{point:<16} {action:<6} told {told:<17} billed {first}  ledger {states:<18} repeat {repeat:<17} billed {second}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cut_leaves_a_state_that_money_can_stand_on() {
    let cases = POINTS.iter().flat_map(|point| ACTIONS.iter().map(move |action| (*point, *action)));
    let rows = cases.map(|(point, action)| after(point, action));
    let table: Vec<String> = futures_util::stream::iter(rows).buffered(4).collect().await;
    let table = table.join("\n");
    println!("{table}");
    insta::assert_snapshot!("matrix", table);
}
