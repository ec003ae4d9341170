//! A sandbox, and gateways in this process that buy from it, on ports of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tollgate::engine::{Engine, Parts};
use tollgate::policy::watch::Settings;
use tollgate::policy::{Origin, Override, Process, Snapshots};
use tollgate::sandbox::{Options, Sandbox};
use tollgate::server::{Bounds, Plane, Server};
use tollgate::state::postgres::PostgresLedger;
use tollgate::state::{Durability, Ledger, images::StoredImages, limits::LocalLimits, sqlite::SqliteLedger};
use tollgate::telemetry::{Telemetry, clock};
use tollgate::transport::{HttpTransport, Secret, Transport};

/// A prompt of the shipped policy's `photo` task.
pub(crate) const SWORD: &str = "studio photo of sword on table, cinematic lighting";

/// The providers, simulated.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) folder: tempfile::TempDir,
    client: reqwest::Client,
}

impl World {
    pub(crate) async fn open(speed: f64) -> Self {
        // Makes the process's TLS provider, which every client wants.
        drop(HttpTransport::new().unwrap());
        let sandbox = Sandbox::start(listener().await, Options { seed: 7, speed }).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { sandbox, folder: tempfile::tempdir().unwrap(), client }
    }

    /// The providers' own bill: every call that reached them.
    pub(crate) async fn calls(&self) -> Vec<Value> {
        calls(&self.client, self.sandbox.addr()).await
    }

    /// Calls that were charged for.
    pub(crate) async fn bought(&self) -> usize {
        self.calls().await.iter().filter(|call| call["billed_micro_usd"].as_i64() > Some(0)).count()
    }

    /// The next call of the provider that the tests pin stalls there for so long.
    pub(crate) async fn stall(&self, at: &str, stall: std::time::Duration) {
        let stall_ms = u64::try_from(stall.as_millis()).unwrap();
        self.faults(&serde_json::json!([{"provider": "ideogram", "at": at, "stall_ms": stall_ms, "times": 1}])).await;
    }

    /// Where the policy stands, written with `edit` when it is not there yet.
    pub(crate) fn policy(&self, edit: impl FnOnce(String) -> String) -> PathBuf {
        let path = self.folder.path().join("policy.toml");
        if !path.exists() {
            std::fs::write(&path, edit(std::fs::read_to_string("policies/default.toml").unwrap())).unwrap();
        }
        path
    }

    /// A gateway's engine with books of its own (`name`) and pictures that all share.
    pub(crate) fn engine(&self, name: &str) -> (Engine, Arc<SqliteLedger>) {
        let policy = self.policy(|text| text);
        let ledger = self.folder.path().join(format!("{name}.db"));
        let ledger = Arc::new(SqliteLedger::open(ledger, Durability::Process).unwrap());
        let transport = Arc::new(HttpTransport::new().unwrap());
        (engine(&policy, self.folder.path(), self.sandbox.addr(), Arc::clone(&ledger) as _, transport), ledger)
    }

    /// A gateway's engine on books that it shares, and pictures that all share.
    pub(crate) fn replica(&self, ledger: &str) -> Arc<Engine> {
        self.replica_with(ledger, |engine| engine)
    }

    /// The same with more.
    pub(crate) fn replica_with(&self, ledger: &str, more: impl FnOnce(Engine) -> Engine) -> Arc<Engine> {
        let policy = self.policy(|text| text);
        let ledger = Arc::new(PostgresLedger::open(ledger).unwrap());
        let transport = Arc::new(HttpTransport::new().unwrap());
        Arc::new(more(engine(&policy, self.folder.path(), self.sandbox.addr(), ledger, transport)))
    }

    /// Tells the sandbox what goes wrong from here on.
    pub(crate) async fn faults(&self, faults: &Value) {
        let url = format!("http://{}/_sandbox/faults", self.sandbox.addr());
        let reply = self.client.put(url).body(faults.to_string()).send().await.unwrap();
        assert!(reply.status().is_success(), "{}", reply.text().await.unwrap());
    }

    /// Opens a door to an engine.
    pub(crate) async fn door(&self, engine: &Arc<Engine>) -> Server {
        Server::start(listener().await, Plane::Api, Arc::clone(engine), Bounds::default()).unwrap()
    }
}

pub(crate) async fn calls(client: &reqwest::Client, sandbox: SocketAddr) -> Vec<Value> {
    let url = format!("http://{sandbox}/_sandbox/calls");
    serde_json::from_str(&client.get(url).send().await.unwrap().text().await.unwrap()).unwrap()
}

/// An engine on these stores.
pub(crate) fn engine(
    policy: &Path,
    folder: &Path,
    sandbox: SocketAddr,
    ledger: Arc<dyn Ledger>,
    transport: Arc<dyn Transport>,
) -> Engine {
    let snapshots = Snapshots::load(Settings {
        origin: Origin::of(&[policy.to_owned()]),
        env: Arc::new(Process),
        overrides: overrides(sandbox),
        clock: Arc::new(clock::now),
        hook: Arc::new(()),
    })
    .unwrap_or_else(|found| panic!("{}", tollgate::policy::diagnostic::render(&found, false)));
    Engine::new(Parts {
        snapshots,
        ledger,
        images: Arc::new(StoredImages::open(&folder.join("images").to_string_lossy()).unwrap()),
        limits: Arc::new(LocalLimits::new()),
        reader: Arc::new(tollgate::state::reader::Tesseract::default()),
        transport,
        telemetry: Telemetry::new(false).unwrap(),
        keep_prompts: false,
        dice: None,
    })
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn overrides(sandbox: SocketAddr) -> BTreeMap<String, Override> {
    tollgate::sandbox::providers()
        .map(|(prefix, key)| {
            let base_url = Some(format!("http://{sandbox}/{prefix}"));
            (prefix.to_owned(), Override { base_url, key: Secret::new(key) })
        })
        .collect()
}
