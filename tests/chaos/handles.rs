//! A provider's queue outlives the gateway that filled it: whoever has the handle asks for the work, and buys nothing
//! that was bought.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kills::Gateway;
use crate::postgres::{self, query};
use crate::world::World;

/// Two providers with queues, one that charges for each step and one of ours; and one that has none.
const POLICY: &str = r#"version = 1

[defaults]
quality = 0.3
deadline = "5m"
task = "concept"

[task.concept]

[provider.stability]
base_url = "https://api.stability.ai"
key = "env:STABILITY_API_KEY"

[model."stability/sd3.5-medium"]
sizes = ["1:1 1024x1024"]
options = { route = "generate/sd3" }
price = [{ from = 2026-01-01, usd = 0.035 }]
latency = { p50 = "5s", p95 = "9s" }
accept = { concept = 0.71 }

[model."stability/upscale-creative"]
upscale = { to_pixels = 8_294_400, min_input_pixels = 4_096, max_input_pixels = 1_048_576, needs_prompt = true, keeps = 0.95 }
price = [{ from = 2026-01-01, usd = 0.60 }]
max_seed = 4294967294
formats = ["png", "jpeg", "webp"]
latency = { p50 = "45s", p95 = "2m" }
options = { route = "upscale/creative" }

[provider.comfyui]
base_url = "env:COMFYUI_URL"
local = true

[model."comfyui/sd3.5-medium"]
free = { min = 512, max = 2_048, step = 16, max_pixels = 1_310_720, max_ratio = 3 }
price = [{ from = 2026-01-01, usd = 0.0004, per = "second" }]
max_seed = 9223372036854775807
latency = { p50 = "7s", p95 = "10s" }
accept = { concept = 0.71 }
options = { workflow = "builtin:sd35-medium" }
"#;

/// Where the books are.
enum Books {
    File,
    Shared(String),
}

impl Books {
    /// Rows of a query, columns parted by `|`.
    fn rows(&self, data: &Path, sql: &str) -> String {
        let Self::Shared(url) = self else {
            let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
            let file = rusqlite::Connection::open_with_flags(data.join("tollgate.db"), flags).unwrap();
            let mut statement = file.prepare(sql).unwrap();
            let columns = statement.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                let cell = |at| {
                    row.get_ref(at).map(|cell| match cell {
                        rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                        rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                        other => format!("{other:?}"),
                    })
                };
                Ok((0..columns).map(cell).collect::<Result<Vec<_>, _>>()?.join("|"))
            };
            return statement.query_map([], row).unwrap().map(Result::unwrap).collect::<Vec<_>>().join("\n");
        };
        query(url, sql)
    }

    async fn until(&self, data: &Path, sql: &str, rows: &str) {
        let begun = Instant::now();
        loop {
            let found = self.rows(data, sql);
            if found == rows {
                return;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{sql} is {found} and never {rows}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What is asked for, and what it takes at the providers: calls that buy, by path.
struct Case {
    name: &'static str,
    ask: Value,
    buys: &'static [&'static str],
}

fn cases() -> [Case; 2] {
    [
        Case {
            name: "creative upscale",
            ask: json!({"prompt": "a lighthouse", "width": 2880, "height": 2880, "model": "stability/sd3.5-medium", "response_format": "url"}),
            buys: &["/v2beta/stable-image/generate/sd3", "/v2beta/stable-image/upscale/creative"],
        },
        Case {
            name: "ComfyUI's queue",
            ask: json!({"prompt": "a lighthouse", "width": 512, "height": 512, "model": "comfyui/sd3.5-medium", "response_format": "url"}),
            buys: &["/prompt"],
        },
    ]
}

/// A client, the providers, and gateways that come and go on one set of books.
struct Stage {
    world: World,
    books: Books,
    client: reqwest::Client,
}

impl Stage {
    async fn open(shared: bool) -> Self {
        let world = World::open(1_000.0).await;
        world.policy(|_| POLICY.to_owned());
        // The queue of ours is looked at later than it is quick.
        world.faults(&json!([{"provider": "comfyui", "path": "history", "stall_ms": 5_000, "times": 1}])).await;
        let books = if shared { Books::Shared(postgres::Server::shared().database()) } else { Books::File };
        Self { world, books, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    fn data(&self, name: &str) -> std::path::PathBuf {
        self.world.folder.path().join(name)
    }

    /// Replicas share the pictures; each has a folder of its own for the rest.
    fn gateway(&self, name: &str) -> Gateway {
        let images = self.data("images").display().to_string();
        let mut settings = vec![("TOLLGATE_IMAGES__URL", images.as_str())];
        if let Books::Shared(url) = &self.books {
            settings.push(("TOLLGATE_LEDGER__URL", url));
        }
        Gateway::with(&self.world, &self.data(name), &settings)
    }

    async fn post(&self, gateway: &Gateway, path: &str, header: (&str, &str), body: &Value) -> Value {
        let request = self.client.post(format!("{}{path}", gateway.url)).header("content-type", "application/json");
        let response = request.header(header.0, header.1).body(body.to_string()).send().await.unwrap();
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    async fn job(&self, gateway: &Gateway, id: &str) -> Value {
        let url = format!("{}/jobs/{id}?wait=60", gateway.url);
        serde_json::from_str(&self.client.get(url).send().await.unwrap().text().await.unwrap()).unwrap()
    }

    /// Calls that buy, by path.
    async fn purchases(&self) -> BTreeMap<String, usize> {
        let mut purchases = BTreeMap::new();
        for call in self.world.calls().await {
            let path = call["path"].as_str().unwrap();
            if cases().iter().any(|case| case.buys.iter().any(|bought| path.ends_with(bought))) {
                *purchases.entry(path.to_owned()).or_insert(0) += 1;
            }
        }
        purchases
    }

    async fn bill(&self) -> i64 {
        self.world.calls().await.iter().map(|call| call["billed_micro_usd"].as_i64().unwrap()).sum()
    }

    /// Waits until a handle stands in the books.
    async fn handle(&self, data: &Path) {
        self.books.until(data, "SELECT COUNT(*) FROM trace WHERE what LIKE '%\"handle\":{%'", "1").await;
    }

    /// The dead replica's holds are over, sooner than by waiting for it.
    fn expire(&self) {
        if let Books::Shared(url) = &self.books {
            query(url, "UPDATE job SET until_us = 1 WHERE state = 'running'");
            let dead = "SELECT replica FROM generation WHERE ended_us IS NULL";
            query(url, &format!("UPDATE replica SET beat_us = 1 WHERE id IN ({dead})"));
        }
    }
}

async fn killed_in_the_middle(case: &Case, shared: bool) {
    let stage = Stage::open(shared).await;
    let first = stage.gateway("one");
    // Another replica is there from the beginning; a file has one gateway at a time.
    let data = stage.data("one");
    let accepted = stage.post(&first, "/generate", ("prefer", "respond-async"), &case.ask).await;
    let id = accepted["id"].as_str().unwrap_or_else(|| panic!("{accepted}")).to_owned();
    stage.handle(&data).await;
    first.kill();
    let begun = Instant::now();
    stage.expire();
    let second = stage.gateway(if shared { "two" } else { "one" });
    let done = stage.job(&second, &id).await;
    let took = begun.elapsed();
    assert_eq!(done["status"], "succeeded", "{done}");
    let purchases = stage.purchases().await;
    let once = purchases.values().all(|times| *times == 1) && purchases.len() == case.buys.len();
    let rows = |sql: &str| stage.books.rows(&data, sql);
    let (charged, bill) =
        (rows("SELECT COALESCE(SUM(charged), 0) FROM attempt WHERE state = 'settled'"), stage.bill().await);
    println!(
        "{}, {}: killed with its handle in the books, done {took:?} later, bought {purchases:?}, billed {bill} µ$, in \
         the ledger {charged} µ$",
        case.name,
        if shared { "taken up by the other replica" } else { "taken up after a restart" },
    );
    assert!(once, "{purchases:?}");
    assert_eq!(rows("SELECT COUNT(*) FROM attempt WHERE state IN ('held', 'ambiguous')"), "0");
    assert_eq!(rows("SELECT runs FROM job"), "2");
    if bill > 0 {
        assert_eq!(charged, bill.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_job_is_asked_for_by_its_handle_after_a_restart() {
    for case in cases() {
        killed_in_the_middle(&case, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_job_is_asked_for_by_its_handle_at_the_other_replica() {
    for case in cases() {
        killed_in_the_middle(&case, true).await;
    }
}

/// An enlargement of an approved draft, under a key: the repeat finds what the first had begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_second_pass_is_not_bought_again() {
    let stage = Stage::open(false).await;
    let data = stage.data("one");
    let settings = [("TOLLGATE_LOG__PROMPTS", "true")];
    let first = Gateway::with(&stage.world, &data, &settings);
    let draft = json!({"prompt": "a lighthouse", "width": 1024, "height": 1024, "model": "stability/sd3.5-medium"});
    let draft = stage.post(&first, "/generate", ("idempotency-key", "draft"), &draft).await;
    let path = format!("/generations/{}/upscale", draft["id"].as_str().unwrap_or_else(|| panic!("{draft}")));
    let (key, large) = (("idempotency-key", "large"), json!({"width": 2880, "height": 2880}));
    tokio::select! {
        answer = stage.post(&first, &path, key, &large) => panic!("it is there already: {answer}"),
        () = stage.handle(&data) => {}
    }
    first.kill();
    let second = Gateway::with(&stage.world, &data, &settings);
    let answer = stage.post(&second, &path, key, &large).await;
    assert_eq!((&answer["status"], &answer["images"][0]["width"]), (&json!("succeeded"), &json!(2880)), "{answer}");
    let purchases = stage.purchases().await;
    println!("a second pass, killed and repeated: {purchases:?}");
    assert!(purchases.len() == 2 && purchases.values().all(|times| *times == 1), "{purchases:?}");
    let charged = "SELECT SUM(charged) FROM attempt WHERE state = 'settled'";
    assert_eq!(stage.books.rows(&data, charged), stage.bill().await.to_string());
}

/// `tollgate --json ledger …` on a data folder: exit code and document.
fn ledger(data: &Path, words: &[&str]) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = command.args(["--json", "ledger"]).args(words).arg("--data").arg(data).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let document = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{output:?}"));
    (output.status.code().unwrap(), document)
}

/// Calls in doubt: of one its provider can be asked, and is, by itself; an invoice settles the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubt_is_settled_by_who_knows() {
    let stage = Stage::open(false).await;
    let data = stage.data("one");
    let case = &cases()[0];
    let first = Gateway::with(&stage.world, &data, &[]);
    // Two that nobody can ask about: billed, and lost on the way.
    for n in 0..2 {
        let faults = json!([{"provider": "stability", "at": "after-bill", "reset": true, "times": 1}]);
        stage.world.faults(&faults).await;
        let small =
            json!({"prompt": format!("lost {n}"), "width": 1024, "height": 1024, "model": "stability/sd3.5-medium"});
        let lost = stage.post(&first, "/generate", ("x-test", "1"), &small).await;
        assert_eq!(lost["attempts"][0]["billed"], "unknown", "{lost}");
    }
    // One that waits in a provider's queue; its first step is answered, and its second has a handle.
    let doomed = stage.post(&first, "/generate", ("idempotency-key", "large"), &case.ask);
    tokio::select! {
        answer = doomed => panic!("it is there already: {answer}"),
        () = stage.handle(&data) => {}
    }
    first.kill();
    // Opening the books finds what the dead process left; nobody has asked anybody yet.
    drop(
        tollgate::state::sqlite::SqliteLedger::open(data.join("tollgate.db"), tollgate::state::Durability::Process)
            .unwrap(),
    );
    let (exit, before) = ledger(&data, &["ambiguous"]);
    assert_eq!((exit, before["count"].as_u64()), (5, Some(4)), "{before}");
    let asked = before["rows"].as_array().unwrap().iter().filter(|row| row["can_be_asked"] == true).count();
    assert_eq!(asked, 1, "{before}");
    // What is this young may still be somebody's, so the janitor would wait; let it be older.
    let file = rusqlite::Connection::open(data.join("tollgate.db")).unwrap();
    file.execute("UPDATE generation SET created_us = created_us - 60000000", []).unwrap();
    drop(file);
    let second = Gateway::with(&stage.world, &data, &[]);
    let settled = "SELECT COUNT(*) FROM attempt WHERE model = 'stability/upscale-creative' AND state = 'settled' AND charged = 600000";
    stage.books.until(&data, settled, "1").await;
    let (exit, after) = ledger(&data, &["ambiguous"]);
    assert_eq!((exit, after["count"].as_u64()), (5, Some(3)), "{after}");
    assert!(after["rows"].as_array().unwrap().iter().all(|row| row["model"] == "stability/sd3.5-medium"), "{after}");
    // The invoice has all of them: two by their names, the rest by what they were.
    let rows = after["rows"].as_array().unwrap();
    let named = rows[..2].iter().map(|row| format!("{},{},,,0.035\n", row["id"].as_str().unwrap(), row["seq"]));
    let unnamed = ",,stability,sd3.5-medium,0.035\n".repeat(2);
    let invoice = format!("id,seq,provider,model,usd\n{}{unnamed}", named.collect::<String>());
    let path = stage.data("invoice.csv");
    std::fs::write(&path, invoice).unwrap();
    let (exit, reconciled) = ledger(&data, &["reconcile", &path.display().to_string()]);
    assert_eq!((exit, &reconciled["settled"], &reconciled["left"]), (0, &json!(3), &json!(0)), "{reconciled}");
    assert_eq!(reconciled["unmatched_lines"], json!([5]), "the provider billed one call that is not in doubt");
    assert_eq!(ledger(&data, &["ambiguous"]).0, 0);
    let charged = stage.books.rows(&data, "SELECT SUM(charged) FROM attempt WHERE state = 'settled'");
    println!("4 calls in doubt: 1 settled by its provider, 3 by an invoice; {charged} µ$ in the ledger");
    assert_eq!(charged, stage.bill().await.to_string());
    drop(second);
}
