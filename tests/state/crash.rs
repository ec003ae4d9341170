//! kill -9 and full disks, tried on a child process that is this very test binary.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tollgate::domain::fault::Billed;
use tollgate::domain::ledger::MoneyState;
use tollgate::state::sqlite::SqliteLedger;
use tollgate::state::{Durability, Ledger, LedgerFault};

use crate::ledger::Sqlite;
use crate::samples::{attempt, closing, ended, opening};

const FILE: &str = "TOLLGATE_TEST_LEDGER";
const ROUND: &str = "TOLLGATE_TEST_ROUND";

/// Starts this binary again to run only `case`, through a shell that first does `before`.
fn child(case: &str, before: &str, file: &Path, round: u32) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new("sh")
        .args(["-c", &format!("{before} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", case, "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .env(ROUND, round.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// The next word that the child said and finished, past what the test harness prints.
fn said(out: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    while out.read_line(&mut line).unwrap() > 0 {
        if let Some(word) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("ack ")) {
            return Some(word.to_owned());
        }
        line.clear();
    }
    None
}

fn say(word: &str) {
    // The harness may have left the line unfinished.
    print!("\nack {word}\n");
    std::io::stdout().flush().unwrap();
}

/// The child: eight writers that tell each write only when it is acknowledged. Does nothing when run as a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_until_killed() {
    let (Ok(file), Ok(round)) = (std::env::var(FILE), std::env::var(ROUND)) else { return };
    let ledger = Arc::new(SqliteLedger::open(file, Durability::Power).unwrap());
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (ledger, round) = (Arc::clone(&ledger), round.clone());
        writers.spawn(async move {
            for n in 0.. {
                let id = format!("gen_{round}_{writer}_{n}");
                ledger.open(opening(&id, vec![attempt(0, "p/m", 50)])).await.unwrap();
                say(&format!("open {id}"));
                let done = closing(&id, vec![ended(attempt(0, "p/m", 50), Billed::Yes, 40)]);
                ledger.close(done).await.unwrap();
                say(&format!("close {id}"));
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test]
async fn no_kill_loses_what_was_acknowledged() {
    const KILLS: u32 = 24;
    let place = Sqlite::new(Durability::Power);
    let (mut opened, mut closed, mut recovered) = (Vec::new(), std::collections::BTreeSet::new(), 0);
    for round in 0..KILLS {
        let (mut child, mut out) = child("crash::writes_until_killed", "", &place.path(), round);
        let mut words: Vec<String> = Vec::new();
        // Killed at another moment each round, in the middle of its work.
        words.extend(std::iter::from_fn(|| said(&mut out)).take(5 + 7 * round as usize));
        child.kill().unwrap();
        child.wait().unwrap();
        words.extend(std::iter::from_fn(|| said(&mut out)));
        for word in words {
            match word.split_once(' ').unwrap() {
                ("open", id) => opened.push(id.to_owned()),
                (_, id) => drop(closed.insert(id.to_owned())),
            }
        }
        let ledger = place.sqlite();
        recovered += ledger.recovered();
        for id in &opened {
            let record = ledger.show(id).await.unwrap().unwrap_or_else(|| panic!("{id} is lost in round {round}"));
            let closing = record.closing.expect("nothing runs any more");
            // A close may have been written and not yet told; one that was told must have been written.
            let expected = if closing.outcome == "crashed" { MoneyState::Ambiguous } else { MoneyState::Settled };
            assert_eq!(closing.attempts[0].state, expected);
            assert!(closing.outcome == "succeeded" || !closed.contains(id), "{id} was closed and is not");
        }
    }
    println!(
        "{KILLS} kills: {} openings and {} closings acknowledged, none lost; {recovered} attempts recovered",
        opened.len(),
        closed.len()
    );
    assert!(recovered > 0 && opened.len() > 500);
}

/// The child: writes until its file may not grow, waits for a word, and writes again. Does nothing when run as a test.
#[tokio::test]
async fn writes_until_full() {
    let (Ok(file), Ok(_)) = (std::env::var(FILE), std::env::var(ROUND)) else { return };
    let ledger = SqliteLedger::open(file, Durability::Power).unwrap();
    let mut n = 0;
    let refused = loop {
        let id = format!("gen_{n}");
        match ledger.open(opening(&id, vec![attempt(0, "p/m", 50)])).await {
            Ok(()) => say(&format!("open {id}")),
            Err(LedgerFault::Unavailable(_)) => break id,
            Err(other) => panic!("{other}"),
        }
        n += 1;
    };
    // It still reads.
    assert!(ledger.show("gen_0").await.unwrap().is_some());
    say(&format!("refused {refused}"));
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).unwrap();
    ledger.open(opening("gen_after", vec![attempt(0, "p/m", 50)])).await.unwrap();
    say("open gen_after");
}

/// A limit on the size of files stands for a full disk: it works for any user and needs no mount.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_refuses_and_recovers_without_a_restart() {
    let place = Sqlite::new(Durability::Power);
    let limited = "trap '' XFSZ; ulimit -S -f 1200;";
    let (mut child, mut out) = child("crash::writes_until_full", limited, &place.path(), 0);
    let mut opened = Vec::new();
    let refused = loop {
        let word = said(&mut out).expect("it is refused at some time");
        match word.strip_prefix("refused ") {
            Some(id) => break id.to_owned(),
            None => opened.push(word),
        }
    };
    assert!(opened.len() > 10, "{opened:?}");
    let grown = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &child.id().to_string()]).status();
    assert!(grown.unwrap().success());
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    opened.extend(said(&mut out));
    assert_eq!(opened.last().unwrap(), "open gen_after");
    assert!(child.wait().unwrap().success());
    let ledger = place.sqlite();
    for id in opened.iter().filter_map(|word| word.strip_prefix("open ")) {
        assert!(ledger.show(id).await.unwrap().is_some(), "{id} was acknowledged");
    }
    assert_eq!(ledger.show(&refused).await, Ok(None));
}

/// A generation whose owner is gone is ended on shutdown too: what is queued is written before the file is let go.
#[tokio::test]
async fn dropping_writes_what_waits() {
    let place = Sqlite::new(Durability::Power);
    let ledger = place.sqlite();
    for n in 0..200 {
        ledger.open(opening(&format!("gen_{n}"), vec![attempt(0, "p/m", 50)])).await.unwrap();
    }
    for n in 0..200 {
        ledger.abandon(closing(&format!("gen_{n}"), vec![ended(attempt(0, "p/m", 50), Billed::Yes, 40)]));
    }
    drop(ledger);
    let ledger = place.sqlite();
    assert_eq!(ledger.recovered(), 0);
    let closing = ledger.show("gen_199").await.unwrap().unwrap().closing.unwrap();
    assert_eq!((closing.outcome, closing.latency), ("succeeded", Duration::from_secs(5)));
}
