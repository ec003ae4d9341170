//! A gateway and a sandbox in this process, on free ports, with a data folder of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tollgate::domain::request::Ask;
use tollgate::engine::trial::{Mode, Trial};
use tollgate::engine::{Engine, Inbound, Parts, Repeat};
use tollgate::policy::watch::Settings;
use tollgate::policy::{Origin, Override, Process, Snapshots};
use tollgate::sandbox::{Options, Sandbox};
use tollgate::server::{Bounds, Plane, Server};
use tollgate::state::{
    Durability, Encoder, Images, Ledger, images::StoredImages, limits::LocalLimits, reader::Tesseract,
    sqlite::SqliteLedger,
};
use tollgate::telemetry::{Telemetry, clock};
use tollgate::transport::webhook::{Signers, Webhooks};
use tollgate::transport::{HttpTransport, Secret};

use crate::raw::{Answer, Wire};

/// A prompt of the shipped policy's `photo` task.
pub(crate) const SWORD: &str = "studio photo of sword on table, cinematic lighting";

/// A request that no other shares, as it came just now.
pub(crate) fn inbound(ask: Ask, key: Option<String>) -> Inbound {
    Inbound {
        ask,
        key: key.map(Into::into),
        request_id: "req_test".into(),
        idempotency_key: None,
        repeat: Repeat::default(),
        share_never: true,
        warnings: Vec::new(),
        arrived: tokio::time::Instant::now(),
        received: clock::now(),
    }
}

/// An address where nobody listens, nor can while the socket is held: a free port might be another test's by then.
pub(crate) fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A running gateway with its sandbox.
pub(crate) struct House {
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) native: Server,
    pub(crate) engine: Arc<Engine>,
    pub(crate) ledger: Arc<SqliteLedger>,
    pub(crate) policy: PathBuf,
    pub(crate) sandbox: Sandbox,
    pub(crate) doors: Vec<Server>,
    data: tempfile::TempDir,
}

impl House {
    /// With the shipped policy.
    pub(crate) async fn open() -> Self {
        Self::with(Bounds::default(), |policy| policy).await
    }

    /// With these bounds and the shipped policy, changed by `edit`.
    pub(crate) async fn with(bounds: Bounds, edit: impl FnOnce(String) -> String) -> Self {
        Self::keeping(bounds, edit, |images| images).await
    }

    /// With jobs taken up.
    pub(crate) async fn working() -> Self {
        let house = Self::open().await;
        house.work();
        house
    }

    /// With webhooks that are signed with `secret` and may go to `origin`.
    pub(crate) async fn telling(secret: &str, origin: &str) -> Self {
        let signers = Signers::read(&Secret::new(secret).unwrap()).unwrap();
        let webhooks = Webhooks::new(signers, vec![origin.to_owned()]).unwrap();
        Self::built(Bounds::default(), |policy| policy, |images| images, |engine, _| engine.telling(webhooks), None)
            .await
    }

    /// With windows of pictures that this encoder compares.
    pub(crate) async fn sampling(encoder: Arc<dyn Encoder>, window: usize) -> Self {
        let build = |engine: Engine, _: &Path| engine.sampling(encoder, window);
        Self::built(Bounds::default(), stability_alone, |images| images, build, None).await
    }

    /// Takes jobs up from here on.
    pub(crate) fn work(&self) {
        self.work_at_once(8);
    }

    /// The same, so many at a time.
    pub(crate) fn work_at_once(&self, most: usize) {
        tokio::spawn(Arc::clone(&self.engine).work(most, true));
    }

    /// When a job was taken up.
    pub(crate) async fn started(&self, id: &str) -> jiff::Timestamp {
        let jobs = tollgate::state::jobs::Jobs::new(Arc::clone(&self.ledger) as Arc<dyn Ledger>);
        jobs.get(id).await.unwrap().unwrap().started.unwrap()
    }

    /// Also with another image store around the folder.
    pub(crate) async fn keeping(
        bounds: Bounds,
        edit: impl FnOnce(String) -> String,
        store: impl FnOnce(Arc<dyn Images>) -> Arc<dyn Images>,
    ) -> Self {
        Self::built(bounds, edit, store, |engine, _| engine, None).await
    }

    /// With the shipped policy, and Stability at `address`, below `/prefix`, with the key `sk-bare`.
    pub(crate) async fn with_stability_at(address: SocketAddr) -> Self {
        Self::built(Bounds::default(), |policy| policy, |images| images, |engine, _| engine, Some(address)).await
    }

    /// With `policy` in force and `candidate` on trial, whose file is [`House::candidate`].
    pub(crate) async fn trying(policy: &str, candidate: &str, mode: Mode) -> Self {
        let sandbox = Sandbox::start(listener().await, Options { seed: 7, speed: 200.0 }).await.unwrap();
        let overrides = overrides(sandbox.addr());
        let trial = |engine: Engine, data: &Path| {
            let path = data.join("candidate.toml");
            std::fs::write(&path, candidate).unwrap();
            let settings = Settings {
                origin: Origin::of(&[path]),
                env: Arc::new(Process),
                overrides,
                clock: Arc::new(clock::now),
                hook: Arc::new(()),
            };
            let snapshots = Snapshots::load_beside(settings, engine.snapshot());
            let telemetry = Arc::clone(engine.telemetry());
            engine.trying(Trial::new(snapshots, mode, telemetry))
        };
        Self::among(sandbox, Bounds::default(), |_| policy.to_owned(), |images| images, trial, None).await
    }

    /// Where the policy on trial is read.
    pub(crate) fn candidate(&self) -> PathBuf {
        self.data.path().join("candidate.toml")
    }

    /// Where the sandbox stands for each provider.
    pub(crate) fn overrides(&self) -> BTreeMap<String, Override> {
        overrides(self.sandbox.addr())
    }

    async fn built(
        bounds: Bounds,
        edit: impl FnOnce(String) -> String,
        store: impl FnOnce(Arc<dyn Images>) -> Arc<dyn Images>,
        build: impl FnOnce(Engine, &Path) -> Engine,
        stability: Option<SocketAddr>,
    ) -> Self {
        let sandbox = Sandbox::start(listener().await, Options { seed: 7, speed: 200.0 }).await.unwrap();
        Self::among(sandbox, bounds, edit, store, build, stability).await
    }

    async fn among(
        sandbox: Sandbox,
        bounds: Bounds,
        edit: impl FnOnce(String) -> String,
        store: impl FnOnce(Arc<dyn Images>) -> Arc<dyn Images>,
        build: impl FnOnce(Engine, &Path) -> Engine,
        stability: Option<SocketAddr>,
    ) -> Self {
        let data = tempfile::tempdir().unwrap();
        let policy = data.path().join("policy.toml");
        std::fs::write(&policy, edit(std::fs::read_to_string("policies/default.toml").unwrap())).unwrap();
        let mut overrides = overrides(sandbox.addr());
        if let Some(address) = stability {
            let base_url = Some(format!("http://{address}/prefix"));
            overrides.insert("stability".to_owned(), Override { base_url, key: Secret::new("sk-bare") });
        }
        let snapshots = Snapshots::load(Settings {
            origin: Origin::of(std::slice::from_ref(&policy)),
            env: Arc::new(Process),
            overrides,
            clock: Arc::new(clock::now),
            hook: Arc::new(()),
        })
        .unwrap_or_else(|found| panic!("{}", tollgate::policy::diagnostic::render(&found, false)));
        let ledger = SqliteLedger::open(data.path().join("tollgate.db"), Durability::Process).unwrap();
        let ledger = Arc::new(ledger);
        let images = store(Arc::new(StoredImages::open(&data.path().join("images").to_string_lossy()).unwrap()));
        let engine = on(snapshots, &ledger, images, Telemetry::new(false).unwrap(), 7);
        let engine = Arc::new(build(engine, data.path()));
        let open = |listener, plane| Server::start(listener, plane, Arc::clone(&engine), bounds.clone()).unwrap();
        let doors = vec![open(listener().await, Plane::Api), open(listener().await, Plane::Admin)];
        let (api, admin) = (doors[0].address(), doors[1].address());
        let native = Server::start_native(listener().await, Arc::clone(&engine), bounds, true).unwrap();
        Self { api, admin, native, engine, ledger, policy, sandbox, doors, data }
    }

    /// Another engine on the same policy, books and pictures, as after a restart.
    pub(crate) fn another(&self, telemetry: Arc<Telemetry>) -> Engine {
        let images = StoredImages::open(&self.data.path().join("images").to_string_lossy()).unwrap();
        on(Arc::clone(self.engine.snapshots()), &self.ledger, Arc::new(images), telemetry, 1)
    }

    /// Calls under way for which money is held.
    pub(crate) fn held(&self) -> i64 {
        let path = self.data.path().join("tollgate.db");
        let sql =
            "SELECT (SELECT count(*) FROM attempt WHERE state = 'held') + (SELECT count(first_held) FROM generation)";
        let read = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        read.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// A new connection to the API.
    pub(crate) async fn wire(&self) -> Wire {
        Wire::connect(self.api).await
    }

    /// One `POST` of a JSON body on a connection of its own.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.wire().await.post(path, &[("content-type", "application/json")], body.to_string().as_bytes()).await
    }

    /// One `GET` of the API.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.wire().await.get(path, &[]).await
    }

    /// One `GET` of the admin plane.
    pub(crate) async fn ops(&self, path: &str) -> Answer {
        Wire::connect(self.admin).await.get(path, &[]).await
    }

    /// The value of a series of `/metrics`, by its whole name with labels.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.ops("/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line.map(|value| value.parse().unwrap())
    }

    /// Waits until a series of `/metrics` has this value.
    pub(crate) async fn until(&self, series: &str, value: Option<f64>) {
        let waiting = async {
            while self.metric(series).await != value {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .unwrap_or_else(|_| panic!("{series} is not {value:?}"));
    }

    /// Calls that the sandbox charged for.
    pub(crate) async fn bought(&self) -> usize {
        let calls = Wire::connect(self.sandbox.addr()).await.get("/_sandbox/calls", &[]).await.json();
        let charged = |call: &&Value| call["billed_micro_usd"].as_i64() > Some(0);
        calls.as_array().unwrap().iter().filter(charged).count()
    }

    /// Calls that reached the sandbox.
    pub(crate) async fn calls(&self) -> usize {
        let calls = Wire::connect(self.sandbox.addr()).await.get("/_sandbox/calls", &[]).await.json();
        calls.as_array().unwrap().len()
    }

    /// Tells the sandbox what goes wrong.
    pub(crate) async fn faults(&self, faults: &Value) {
        let mut wire = Wire::connect(self.sandbox.addr()).await;
        let answer = wire.request("PUT", "/_sandbox/faults", &[], faults.to_string().as_bytes()).await;
        assert!(answer.status < 300, "{}", answer.text());
    }
}

/// The shipped policy with one provider on: its models stand for all where every model draws.
pub(crate) fn stability_alone(policy: String) -> String {
    ["google", "ideogram", "openai", "comfyui", "automatic1111"].into_iter().fold(policy, |policy, name| {
        let section = format!("[provider.{name}]\n");
        assert!(policy.contains(&section), "{section}");
        policy.replace(&section, &format!("{section}off = \"not tried here\"\n"))
    })
}

/// The bounds of a gateway that nobody has set.
pub(crate) fn bounds() -> Bounds {
    Bounds::default()
}

async fn listener() -> TcpListener {
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

fn on(
    snapshots: Arc<Snapshots>,
    ledger: &Arc<SqliteLedger>,
    images: Arc<dyn Images>,
    telemetry: Arc<Telemetry>,
    dice: u64,
) -> Engine {
    Engine::new(Parts {
        snapshots,
        ledger: Arc::clone(ledger) as Arc<dyn Ledger>,
        images,
        limits: Arc::new(LocalLimits::new()),
        reader: Arc::new(Tesseract::default()),
        transport: Arc::new(HttpTransport::new().unwrap()),
        telemetry,
        keep_prompts: false,
        dice: Some(dice),
    })
}
