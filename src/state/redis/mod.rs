//! A connection to Redis that is quick to say that Redis is away.
//!
//! Why it exists: whatever replicas share through Redis must go on without it, within a tenth of a second and without a
//! restart. One multiplexed connection, one short timeout; the first failure puts Redis *away*, and from then on callers
//! are told so at once, while a keeper in the background beats until a write works again. What it refuses to know: limits
//! and flights. To share something else: a [`Script`] beside its port, run with [`Redis::run`]; a way in which Redis
//! fails: a [`Trouble`].
//!
//! Away means more than unreachable: a server that loads its file, that is a read-only replica, that has no memory left or
//! that is busy with a script takes no write, and the beat is a write.

mod beat;
mod inspect;
mod trouble;

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::telemetry::Telemetry;

pub use inspect::Setup;
pub use trouble::{Away, Trouble};

/// How long a command may take: on a request's path, so below the 100 ms by which an outage may delay it.
pub const PATIENCE: Duration = Duration::from_millis(75);
/// How long the keeper waits for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);

/// A connection that is shared by cloning.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    config: AsyncConnectionConfig,
    connection: Mutex<Option<MultiplexedConnection>>,
    state: watch::Sender<State>,
    /// Wakes the keeper when a command fails.
    failed: Notify,
    replicas: AtomicU32,
    round_trips: AtomicU64,
    told: OnceLock<Arc<Telemetry>>,
}

/// How Redis is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing has been heard yet.
    #[default]
    Unknown,
    /// Commands are answered, and writes work.
    Up,
    /// They do not, for this reason.
    Down(Trouble),
}

impl State {
    /// `up`, `unknown`, or the name of the trouble.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down(trouble) => trouble.name(),
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.state()).finish()
    }
}

impl Redis {
    /// A connection to `url` (`redis://`, `rediss://`), which is made and kept in the background until every clone is
    /// dropped. Must be called within a runtime. Fails only when the address is none.
    pub fn open(url: &str) -> Result<Self, String> {
        crate::transport::install_tls();
        let client = Client::open(url).map_err(|error| format!("{error}"))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let inner = Arc::new(Inner {
            client,
            config,
            connection: Mutex::default(),
            state: watch::Sender::default(),
            failed: Notify::new(),
            replicas: AtomicU32::new(1),
            round_trips: AtomicU64::new(0),
            told: OnceLock::new(),
        });
        beat::keep(&inner);
        Ok(Self { inner })
    }

    /// Counts and times every exchange from here on; a second account is not taken.
    pub fn counted_by(&self, telemetry: Arc<Telemetry>) {
        // Set once, at the start.
        let _ = self.inner.told.set(telemetry);
    }

    /// Waits until the first connection works or failed.
    pub async fn settled(&self) -> State {
        let mut state = self.inner.state.subscribe();
        let settled = state.wait_for(|state| *state != State::Unknown).await;
        settled.map_or(State::Unknown, |state| *state)
    }

    /// How it is.
    pub fn state(&self) -> State {
        *self.inner.state.borrow()
    }

    /// Hears every change of [`Redis::state`].
    pub fn watch(&self) -> watch::Receiver<State> {
        self.inner.state.subscribe()
    }

    /// Processes that beat on the same Redis when it was last heard, this one included; at least one.
    pub fn replicas(&self) -> u32 {
        self.inner.replicas.load(Ordering::Relaxed).max(1)
    }

    /// Commands that were sent so far.
    pub fn round_trips(&self) -> u64 {
        self.inner.round_trips.load(Ordering::Relaxed)
    }

    /// The client, for a connection of one's own: subscriptions hold theirs.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Sends one command. `Err` at once while Redis is away; a command that timed out may still have been done.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Away> {
        let connection = self.connection()?;
        self.heard(self.inner.send(connection, command, "command").await)
    }

    /// Runs a script: by its digest, and by its text where the server has forgotten it.
    pub async fn run<T: FromRedisValue>(&self, script: &Script, keys: &[String], args: &[Vec<u8>]) -> Result<T, Away> {
        let connection = self.connection()?;
        let command = |name: &str, source: &str| {
            let mut command = redis::cmd(name);
            command.arg(source).arg(keys.len()).arg(keys).arg(args);
            command
        };
        let inner = &self.inner;
        let first = inner.send(connection.clone(), &command("EVALSHA", &script.digest), "script").await;
        let answer = match first {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                inner.send(connection, &command("EVAL", script.text), "script").await
            }
            answer => answer,
        };
        self.heard(answer)
    }

    fn connection(&self) -> Result<MultiplexedConnection, Away> {
        if let State::Down(trouble) = self.state() {
            return Err(Away { trouble, detail: String::new() });
        }
        let held = self.inner.held().clone();
        held.ok_or(Away { trouble: Trouble::Unreachable, detail: String::new() })
    }

    fn heard<T>(&self, answer: Result<T, RedisError>) -> Result<T, Away> {
        answer.map_err(|error| {
            let away = Away::of(&error);
            if let Some(telemetry) = self.inner.told.get() {
                telemetry.redis_error(away.trouble.name());
            }
            if away.trouble.takes_it_away() {
                self.inner.down(away.trouble);
                self.inner.failed.notify_one();
            }
            away
        })
    }
}

impl Inner {
    fn held(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client's own timeout counts from when the command was written; a full pipe would not write it.
    async fn send<T: FromRedisValue>(
        &self,
        mut on: MultiplexedConnection,
        command: &Cmd,
        kind: &'static str,
    ) -> Result<T, RedisError> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let answer = tokio::time::timeout_at(begun + PATIENCE, command.query_async(&mut on))
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        if let Some(telemetry) = self.told.get() {
            telemetry.redis_operation(kind, begun.elapsed());
        }
        answer
    }

    /// Replies that are still on their way belong to nobody: the connection goes with them.
    fn down(&self, trouble: Trouble) {
        if trouble.taints_the_connection() {
            *self.held() = None;
        }
        let changed = self.state.send_if_modified(|state| {
            let new = State::Down(trouble);
            let changed = !matches!(state, State::Down(_));
            *state = new;
            changed
        });
        if changed {
            tracing::warn!(trouble = trouble.name(), "redis is away; what is shared through it goes on without it");
        }
    }

    fn up(&self, replicas: u32) {
        self.replicas.store(replicas, Ordering::Relaxed);
        if self.state.send_if_modified(|state| std::mem::replace(state, State::Up) != State::Up) {
            tracing::info!(replicas, "redis is up");
        }
    }
}

/// A Lua script and its digest.
#[derive(Debug)]
pub struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    /// The script of this text.
    pub fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }
}
