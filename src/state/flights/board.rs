//! Flights of several replicas: one of them flies, the others wait for its word.
//!
//! Why it exists: two replicas that are asked for the same at once should pay once. A board keeps, for each key, who
//! flies: a lease that must be renewed, a fence that grows with each change of hands, a mark that something was sent,
//! and the result. Messages only make it fast; looking again makes it right. What it refuses to know: what is flown,
//! and where the board hangs. To add a place: an implementation of [`Board`].
//!
//! A board cannot stop a provider from charging: a leader that loses its lease after it has sent keeps its purchase, and
//! the bound is one further purchase for each lease that was lost, and that only where the policy buys again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::transport::Boxed;

/// How long a lease holds without a beat.
pub const LEASE: Duration = Duration::from_secs(10);
/// How often a leader renews its lease.
pub const BEAT: Duration = Duration::from_secs(3);
/// How long a result is kept for those who followed.
pub const KEEP: Duration = Duration::from_mins(1);
/// The longest wait between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Where replicas see each other's flights. Every method is atomic, and its times are the board's own.
pub trait Board: Send + Sync {
    /// Takes the lead of `flight.key`, or says who has it.
    fn begin<'a>(&'a self, flight: &'a Ask) -> Boxed<'a, Result<Begun, Away>>;

    /// Renews a lease; false when another leads.
    fn beat<'a>(&'a self, key: &'a str, fence: u64) -> Boxed<'a, Result<bool, Away>>;

    /// Marks that something will be sent, and that it will have ended within `bound`; false when another leads.
    fn depart<'a>(&'a self, key: &'a str, fence: u64, bound: Duration) -> Boxed<'a, Result<bool, Away>>;

    /// Leaves the result for those who follow; false when there is one already. The first result wins, whoever leads.
    fn finish<'a>(&'a self, key: &'a str, fence: u64, result: &'a str) -> Boxed<'a, Result<bool, Away>>;

    /// Gives a lease up, when nothing was sent under it.
    fn release<'a>(&'a self, key: &'a str, fence: u64) -> Boxed<'a, Result<(), Away>>;

    /// What has become of the flight with this fence.
    fn look<'a>(&'a self, key: &'a str, fence: u64) -> Boxed<'a, Result<Seen, Away>>;

    /// Resolves when there may be news of the key. It may never come.
    fn news<'a>(&'a self, key: &'a str) -> Boxed<'a, ()>;
}

/// The board cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away(pub String);

/// What is asked of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The flight's key, a digest.
    pub key: String,
    /// Who asks, unique to this process.
    pub owner: String,
    /// Whether a result that lies there is an answer: for repeats of one ask, and not for a new one.
    pub replay: bool,
    /// Whether to take over from a leader that was lost after it had sent something.
    pub take_over: bool,
}

/// The answer to [`Board::begin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The lead is ours.
    Lead {
        /// Grows with every change of hands.
        fence: u64,
        /// Whether an earlier leader was lost after it had sent something.
        took_over: bool,
    },
    /// Another has it.
    Follow {
        /// Whose flight.
        fence: u64,
        /// How it stands.
        seen: Seen,
    },
}

/// How a flight stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Under way.
    Aloft {
        /// What is left of its lease; zero when it has lapsed.
        lease: Duration,
        /// When something was sent: what is left until it will have ended.
        departed: Option<Duration>,
    },
    /// Nothing is known of it any more.
    Gone,
    /// Its result.
    Landed(String),
}

/// How a meeting at the board ends.
pub enum Met {
    /// The board is away: every replica for itself.
    Alone,
    /// The leader was lost after it had sent something, and nobody may buy again.
    Doubt,
    /// Ours to fly.
    Lead(Lease),
    /// Another's result.
    Landed(String),
    /// The time is up.
    Late,
}

/// Meets the other replicas at `board`: comes back with the lead, or with another's result.
pub async fn meet(board: &Arc<dyn Board>, ask: &Ask, deadline: Instant) -> Met {
    let mut following = None;
    loop {
        // Listens before it looks, so that nothing falls in between.
        let news = board.news(&ask.key);
        let seen = match following {
            None => match board.begin(ask).await {
                Err(_) => return Met::Alone,
                Ok(Begun::Lead { fence, took_over }) => {
                    return Met::Lead(Lease::new(board, &ask.key, fence, took_over));
                }
                Ok(Begun::Follow { fence, seen }) => {
                    following = Some(fence);
                    seen
                }
            },
            Some(fence) => match board.look(&ask.key, fence).await {
                Err(_) => Seen::Aloft { lease: LOOK, departed: None },
                Ok(seen) => seen,
            },
        };
        let patience = match seen {
            Seen::Landed(result) => return Met::Landed(result),
            Seen::Gone => {
                following = None;
                continue_after(deadline).await
            }
            // The lease lapsed before anything was sent: whoever comes first takes over.
            Seen::Aloft { lease: Duration::ZERO, departed: None } => {
                following = None;
                Some(Duration::ZERO)
            }
            Seen::Aloft { lease: Duration::ZERO, departed: Some(Duration::ZERO) } if ask.take_over => {
                following = None;
                Some(Duration::ZERO)
            }
            Seen::Aloft { lease: Duration::ZERO, departed: Some(Duration::ZERO) } => return Met::Doubt,
            Seen::Aloft { lease: Duration::ZERO, departed: Some(left) } => Some(left.min(LOOK)),
            Seen::Aloft { lease, .. } => Some(lease.min(LOOK)),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Met::Late;
        }
        if let Some(wait) = patience.filter(|wait| !wait.is_zero()) {
            // Spread, so that those who wait do not all look at once.
            let spread = wait.mul_f64(rand::random_range(0.5..1.0)).min(left);
            let _ = timeout(spread.max(Duration::from_millis(1)), news).await;
        }
    }
}

/// A breath before asking anew, so that a board that forgets is not asked in a tight loop.
async fn continue_after(deadline: Instant) -> Option<Duration> {
    let breath = Duration::from_millis(5).min(deadline.saturating_duration_since(Instant::now()));
    sleep(breath).await;
    None
}

/// The lead of a flight among replicas, until it is finished or dropped.
pub struct Lease {
    held: Arc<Held>,
    /// Whether an earlier leader was lost after it had sent something.
    pub took_over: bool,
}

struct Held {
    board: Arc<dyn Board>,
    key: String,
    fence: u64,
    lost: AtomicBool,
    ended: Notify,
    over: AtomicBool,
}

impl Lease {
    fn new(board: &Arc<dyn Board>, key: &str, fence: u64, took_over: bool) -> Self {
        let held = Held {
            board: Arc::clone(board),
            key: key.to_owned(),
            fence,
            lost: AtomicBool::new(false),
            ended: Notify::new(),
            over: AtomicBool::new(false),
        };
        Self { held: Arc::new(held), took_over }
    }

    /// Renews the lease until it ends; run it beside the flight.
    pub fn heart(&self) -> impl Future<Output = ()> + Send + 'static {
        let held = Arc::clone(&self.held);
        async move {
            loop {
                let ended = held.ended.notified();
                if held.over.load(Ordering::Acquire) || timeout(BEAT, ended).await.is_ok() {
                    return;
                }
                // A board that is away may come back before the lease has lapsed.
                if held.board.beat(&held.key, held.fence).await == Ok(false) {
                    held.lost.store(true, Ordering::Release);
                    return;
                }
            }
        }
    }

    /// Leave to send: false when another leads by now. A board that is away stops nobody.
    pub async fn depart(&self, bound: Duration) -> bool {
        let held = &self.held;
        let ours = held.board.depart(&held.key, held.fence, bound).await != Ok(false);
        if !ours {
            held.lost.store(true, Ordering::Release);
        }
        ours
    }

    /// Whether the lease was lost to another.
    pub fn is_lost(&self) -> bool {
        self.held.lost.load(Ordering::Acquire)
    }

    /// Whether it was finished or given up.
    pub fn is_over(&self) -> bool {
        self.held.over.load(Ordering::Acquire)
    }

    /// Leaves the result; false when another's is there already, so that this purchase is a duplicate.
    pub async fn finish(&self, result: &str) -> bool {
        self.end();
        let held = &self.held;
        held.board.finish(&held.key, held.fence, result).await != Ok(false)
    }

    /// Gives the lead up, when nothing was sent.
    pub async fn release(&self) {
        self.end();
        // A board that is away forgets the lease by itself.
        let _ = self.held.board.release(&self.held.key, self.held.fence).await;
    }

    fn end(&self) {
        self.held.over.store(true, Ordering::Release);
        self.held.ended.notify_one();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end();
    }
}
