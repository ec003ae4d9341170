//! The one writer of this replica: a thread that commits what waits, and goes on when the server comes back.
//!
//! Why it exists: a commit costs a flush and a round trip however many rows are in it, so writers that come together
//! share one; and while there is no connection, new work is refused at once instead of hanging. The end of work that was
//! let in is kept until it is written. What it refuses to know: what the rows mean.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::{Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::queue::Queue;
use super::replica::{self, BEAT};
use super::session::{Kind, Session, kind, unavailable};
use super::{batch, tables};
use crate::domain::budget::Charge;
use crate::domain::fault::Billed;
use crate::domain::ledger::{Basis, Closing, Opening};
use crate::domain::money::Money;
use crate::state::LedgerFault;
use crate::state::command::{Command, Verdict};

/// Commands of one transaction at most.
const BATCH: usize = 128;

/// How often a transaction that was in another's way is tried again.
const CONFLICTS: u32 = 8;

/// The longest that a transaction may take, by our clock: a server that stands still is given up.
const PATIENCE: Duration = Duration::from_secs(4);

/// The server's own limits of the writer's statements and of their waiting for a lock, in milliseconds.
const TIMEOUTS: (u32, u32) = (3_000, 2_000);

/// The server's limits of a reader's.
const READ_TIMEOUTS: (u32, u32) = (30_000, 2_000);

/// Waits between two attempts to connect.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The thread, its queue, and the connection for readers while there is one.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the callers share.
#[derive(Default)]
struct Shared {
    queue: Queue,
    reader: ArcSwapOption<Session>,
}

/// Where and as whom it writes.
struct Desk {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    replica: i64,
    shared: Arc<Shared>,
    /// Ends that could not be written yet.
    ends: Vec<Command>,
    beaten: Instant,
}

/// What drives the writer's connection and the readers'.
type Connections = JoinSet<Result<(), Error>>;

/// How the first connection went: the attempts that it found left by the dead.
type First = Sender<Result<u64, LedgerFault>>;

impl Writer {
    /// Starts the thread; `first` hears how the first connection went.
    pub(super) fn start(
        config: Config,
        tls: Option<MakeRustlsConnect>,
        replica: i64,
        first: First,
    ) -> Result<Self, LedgerFault> {
        let shared = Arc::new(Shared::default());
        let desk = Desk { config, tls, replica, shared: Arc::clone(&shared), ends: Vec::new(), beaten: Instant::now() };
        let no_thread = |error: std::io::Error| LedgerFault::Unavailable(format!("no thread for its writer: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let thread = std::thread::Builder::new()
            .name("ledger-writer".into())
            .spawn(move || runtime.block_on(desk.run(first)))
            .map_err(no_thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Where commands line up.
    pub(super) fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    /// The connection for readers, while there is one.
    pub(super) fn reader(&self) -> Option<Arc<Session>> {
        self.shared.reader.load_full()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.shut();
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was reported when it happened; there is nothing left to undo.
            let _ = thread.join();
        }
    }
}

impl Desk {
    async fn run(mut self, first: First) {
        let mut first = Some(first);
        let mut wait = RECONNECT.0;
        loop {
            let why = match self.connected(&mut first, &mut wait).await {
                Ok(()) => return,
                Err(why) => why,
            };
            self.shared.reader.store(None);
            if let Some(first) = first.take() {
                // Whoever waited has left.
                let _ = first.send(Err(why));
                return;
            }
            tracing::warn!(%why, "the ledger is away; paid work is refused until it is back");
            self.shared.queue.closes(&why);
            self.refuse(&why);
            if self.shared.queue.is_shut() {
                return;
            }
            sleep(wait).await;
            wait = (wait * 2).min(RECONNECT.1);
        }
    }

    /// One life of a connection. `Ok` when the queue was shut and everything is written.
    async fn connected(&mut self, first: &mut Option<First>, wait: &mut Duration) -> Result<(), LedgerFault> {
        let connect = |timeouts| Session::connect(&self.config, timeouts, self.tls.as_ref());
        let (session, driver) = connect(TIMEOUTS).await.map_err(|error| unavailable(&error))?;
        let (reader, reading) = connect(READ_TIMEOUTS).await.map_err(|error| unavailable(&error))?;
        let mut connections = Connections::new();
        connections.spawn(driver);
        connections.spawn(reading);
        patient(tables::migrate(&session)).await??;
        let recovered = patient(self.arrive(&session)).await?.map_err(|error| unavailable(&error))?;
        self.shared.reader.store(Some(Arc::new(reader)));
        self.shared.queue.opens();
        *wait = RECONNECT.0;
        if let Some(first) = first.take() {
            drop(first.send(Ok(recovered)));
        } else {
            tracing::info!("the ledger is back");
        }
        let served = self.serve(&session, &mut connections).await;
        if served.is_ok() {
            // What is left of this replica's sign is found by its silence.
            let _ = timeout(PATIENCE, replica::leave(&session, self.replica)).await;
        }
        served
    }

    /// Says that this replica is there, before it writes anything, and looks for the dead.
    async fn arrive(&mut self, session: &Session) -> Result<u64, Error> {
        session.pipeline(vec![replica::beat(self.replica)]).await?;
        self.beaten = Instant::now();
        replica::recover(session).await
    }

    /// Never given up in the middle of a write: what it holds would be forgotten.
    async fn serve(&mut self, session: &Session, connections: &mut Connections) -> Result<(), LedgerFault> {
        let shared = Arc::clone(&self.shared);
        let mut look = interval(BEAT);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if !self.ends.is_empty() {
                let ends: Vec<Command> = self.ends.drain(..self.ends.len().min(BATCH)).collect();
                self.write(session, ends).await?;
                continue;
            }
            let batch = shared.queue.take(BATCH);
            if !batch.is_empty() {
                self.write(session, batch).await?;
            } else if shared.queue.is_shut() {
                return Ok(());
            }
            tokio::select! {
                () = shared.queue.filled() => {}
                _ = look.tick() => self.look(session).await?,
                gone = connections.join_next() => return Err(ended(gone)),
            }
        }
    }

    async fn look(&mut self, session: &Session) -> Result<(), LedgerFault> {
        match patient(self.arrive(session)).await? {
            Ok(0) => Ok(()),
            Ok(recovered) => {
                tracing::warn!(recovered, "a replica has died; the money of its calls is in doubt");
                Ok(())
            }
            Err(error) if kind(&error) == Kind::Lost => Err(unavailable(&error)),
            Err(error) => {
                tracing::warn!(%error, "the dead could not be looked for");
                Ok(())
            }
        }
    }

    /// Writes a batch. An error means that the connection is lost.
    async fn write(&mut self, session: &Session, batch: Vec<Command>) -> Result<(), LedgerFault> {
        match self.commit(session, &batch).await {
            Ok(verdicts) => batch.into_iter().zip(verdicts).for_each(|(command, verdict)| command.answer(verdict)),
            // One command breaks a rule of the schema: it must not take the others with it.
            Err((Kind::Claimed | Kind::Rule, _)) if batch.len() > 1 => {
                let mut lost = None;
                for command in batch {
                    match &lost {
                        Some(why) => self.unwritten(command, why),
                        None => lost = Box::pin(self.write(session, vec![command])).await.err(),
                    }
                }
                return lost.map_or(Ok(()), Err);
            }
            Err((Kind::Lost, why)) => {
                for command in batch {
                    self.unwritten(command, &why);
                }
                return Err(why);
            }
            Err((Kind::Refused | Kind::Conflict, why)) => {
                for command in batch {
                    self.unwritten(command, &why);
                }
                // The server is there and will not write; ends wait for the next look.
                sleep(RECONNECT.0).await;
            }
            Err((Kind::Claimed | Kind::Rule, why)) => {
                for command in batch {
                    command.answer(Err(why.clone()));
                }
            }
        }
        Ok(())
    }

    async fn commit(&mut self, session: &Session, commands: &[Command]) -> Result<Vec<Verdict>, (Kind, LedgerFault)> {
        let mut tries = 0;
        loop {
            let beat = self.beaten.elapsed() >= BEAT;
            let written = timeout(PATIENCE, batch::transact(session, self.replica, commands, beat)).await;
            let error = match written {
                Ok(Ok(verdicts)) => {
                    if beat {
                        self.beaten = Instant::now();
                    }
                    return Ok(verdicts);
                }
                Ok(Err(error)) => error,
                Err(_) => return Err((Kind::Lost, LedgerFault::Unavailable("it does not answer".into()))),
            };
            let of = kind(&error);
            if of == Kind::Lost {
                return Err((of, unavailable(&error)));
            }
            // A connection that fails here too is gone, and its transaction with it.
            let _ = timeout(PATIENCE, session.run("ROLLBACK")).await;
            tries += 1;
            let again = of == Kind::Conflict || (of == Kind::Claimed && commands.len() == 1);
            if !again || tries > CONFLICTS {
                return Err((of, unavailable(&error)));
            }
        }
    }

    /// A command that is not known to be written. Whoever asked is told so; an end is kept, and a generation that may
    /// have been opened is ended as one that cost nothing, since nothing was sent for it.
    fn unwritten(&mut self, mut command: Command, why: &LedgerFault) {
        if let Command::Close(closing, done) = &mut command {
            self.ends.push(Command::Close(closing.clone(), None));
            if done.is_none() {
                return;
            }
        }
        if let Command::Open(opening, _) = &command {
            self.ends.push(Command::Close(unopened(opening), None));
        }
        command.answer(Err(why.clone()));
    }

    /// Answers what waits while there is no connection.
    fn refuse(&mut self, why: &LedgerFault) {
        let waiting = self.shared.queue.take(usize::MAX);
        for command in waiting {
            match command {
                // It was never sent, so there is nothing to end.
                open @ Command::Open(..) => open.answer(Err(why.clone())),
                other => self.unwritten(other, why),
            }
        }
    }
}

/// Why a connection is no more.
fn ended(gone: Option<Result<Result<(), Error>, tokio::task::JoinError>>) -> LedgerFault {
    let why = gone.and_then(Result::ok).and_then(Result::err);
    why.map_or_else(|| LedgerFault::Unavailable("its connection has ended".into()), |error| unavailable(&error))
}

/// The end of a generation of which nothing was sent.
fn unopened(opening: &Opening) -> Closing {
    let released = opening.attempts.iter().cloned().map(|mut attempt| {
        attempt.end(Billed::No, Money::ZERO, Basis::PriceTable);
        attempt.outcome = "unsent";
        attempt
    });
    Closing {
        id: opening.id.clone(),
        ended: opening.created,
        outcome: "ledger_unavailable",
        model: opening.model.clone(),
        latency: Duration::ZERO,
        images: Vec::new(),
        answer: None,
        decision: None,
        attempts: released.collect(),
        charges: opening
            .earmarks
            .iter()
            .map(|earmark| Charge {
                account: Arc::clone(&earmark.account),
                settled: Money::ZERO,
                ambiguous: Money::ZERO,
            })
            .collect(),
    }
}

async fn patient<T>(work: impl Future<Output = T>) -> Result<T, LedgerFault> {
    timeout(PATIENCE, work).await.map_err(|_| LedgerFault::Unavailable("it does not answer".into()))
}
