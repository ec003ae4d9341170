//! Figures of the stores on this machine: `cargo bench --bench state`. Needs Debian's `postgresql`; its server flushes every
//! commit to the disk, as it does by default.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStoreExt, path::Path as Key};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tollgate::domain::fault::Billed;
use tollgate::domain::image::Format;
use tollgate::domain::ledger::Attempt;
use tollgate::state::images::StoredImages;
use tollgate::state::postgres::PostgresLedger;
use tollgate::state::sqlite::SqliteLedger;
use tollgate::state::{Durability, Images, Ledger};

#[path = "../tests/support/postgres.rs"]
#[allow(clippy::panic, clippy::disallowed_methods, reason = "the tests' own")]
mod postgres;
#[path = "../tests/state/samples.rs"]
mod samples;

use samples::{attempt, closing, ended, opening};

/// Callers at once.
const WRITERS: [u32; 3] = [1, 64, 512];

fn main() {
    // `cargo test --benches` asks only whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        of_the_ledger().await;
        of_images().await;
    });
}

/// Time that threads of that name have run.
fn cpu(thread: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = tasks.filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|c| c.trim() == thread));
    Duration::from_nanos(named.map(|task| nanos(&task)).sum())
}

/// Ids grow with time, as those of version 7 do.
static NEXT: AtomicU32 = AtomicU32::new(0);

async fn pairs(ledger: Arc<dyn Ledger>, until: Instant) -> u32 {
    let mut pairs = 0;
    while Instant::now() < until {
        let id = format!("gen_01941f29-7c00-7000-8000-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut opened = opening(&id, vec![attempt(0, "stability/sd3.5-medium", 35_000)]);
        opened.metadata.clear();
        ledger.open(opened).await.unwrap();
        let done: Vec<Attempt> = vec![ended(attempt(0, "stability/sd3.5-medium", 35_000), Billed::Yes, 35_000)];
        ledger.close(closing(&id, done)).await.unwrap();
        pairs += 1;
    }
    pairs
}

async fn of_the_ledger() {
    for durability in [Durability::Power, Durability::Process] {
        for writers in WRITERS {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a disk");
            let path = folder.path().join("tollgate.db");
            let ledger = Arc::new(SqliteLedger::open(path, durability).expect("a ledger"));
            reservations(&format!("SQLite, {durability:?}"), ledger, writers).await;
        }
    }
    let server = postgres::Server::start(true);
    for writers in WRITERS {
        let ledger = Arc::new(PostgresLedger::open(&server.database()).expect("a ledger"));
        reservations("Postgres", ledger, writers).await;
    }
}

/// Opens and closes for three seconds.
async fn reservations(name: &str, ledger: Arc<dyn Ledger>, writers: u32) {
    let (before, start) = (cpu("ledger-writer"), Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        tasks.spawn(pairs(Arc::clone(&ledger), start + Duration::from_secs(3)));
    }
    let done: u32 = tasks.join_all().await.into_iter().sum();
    let took = start.elapsed().as_secs_f64();
    assert!(done > 0);
    let cpu = cpu("ledger-writer").saturating_sub(before).as_secs_f64() * 1e6 / f64::from(done);
    let rate = f64::from(done) / took;
    println!("{name}, {writers} callers: {rate:.0} reservations opened and closed/s, {cpu:.1} µs of its writer each");
}

async fn of_images() {
    for size in [2 << 10, 1 << 20] {
        let pictures: Vec<(String, Bytes)> = (0..200u64)
            .map(|n| {
                let bytes: Bytes = n.to_le_bytes().repeat(size / 8).into();
                (tollgate::domain::fingerprint::sha256_hex(&bytes), bytes)
            })
            .collect();
        for round in 0..3 {
            for durability in [Durability::Power, Durability::Process] {
                let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
                let images = StoredImages::open_with(folder.path().to_str().unwrap(), durability).unwrap();
                let (start, cpu) = (Instant::now(), cpu_of_all());
                for (sha, bytes) in &pictures {
                    images.put(sha, Format::Png, bytes.clone()).await.unwrap();
                }
                report(&format!("round {round}: folder, {durability:?}"), size, start, cpu);
            }
            for fsync in [true, false] {
                let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
                let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap().with_fsync(fsync);
                let (start, cpu) = (Instant::now(), cpu_of_all());
                for (sha, bytes) in &pictures {
                    let key = Key::from(format!("{}/{sha}.png", &sha[..2]));
                    assert!(store.head(&key).await.is_err());
                    store.put(&key, bytes.clone().into()).await.unwrap();
                }
                report(&format!("round {round}: object_store, fsync {fsync}"), size, start, cpu);
            }
        }
    }
}

fn report(what: &str, size: usize, start: Instant, before: Duration) {
    let took = start.elapsed().as_micros() / 200;
    let cpu = cpu_of_all().saturating_sub(before).as_micros() / 200;
    println!("{what}, {} KiB: {took} µs a put, {cpu} µs of CPU", size >> 10);
    assert!(took > 0);
}

fn cpu_of_all() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    Duration::from_nanos(tasks.map(|task| nanos(&task)).sum())
}

fn nanos(task: &Path) -> u64 {
    let stat = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}
