//! The rooms of a request, in order; the whole path stands on this page.
//!
//! ```text
//! serve ─ authenticate ─ normalise ─ join ─┬─ replay                     free
//!                                          ├─ follow a flight            free
//!                                          └─ lead: generate             goes on when its caller leaves
//! generate ─ plan ─ admit ─ execute ─ conclude ─ close                   the rooms that cost money
//! ```
//!
//! Why it exists: what a request costs is decided by the order of these rooms, so the order is read in one place. What
//! it refuses to know: HTTP, wires, sockets, databases. To add a concern of requests: a room, an `async fn` with
//! named inputs and outputs, called from here.

mod account;
mod admit;
mod allow;
mod asked;
mod audit;
mod beside;
mod branch;
mod budgets;
mod buy;
mod conclude;
mod draft;
mod execute;
mod feedback;
mod finish;
mod hold;
mod jobs;
mod join;
mod kept;
mod learn;
mod leave;
mod planning;
mod reckon;
mod replay;
mod resume;
mod sampling;
mod second;
pub mod served;
mod standing;
pub mod studio;
pub mod tasks;
pub mod transit;
pub mod trial;
mod verify;
mod webhooks;
mod world;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures_util::future::join;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::domain::catalog::Model;
use crate::domain::image::Format;
use crate::domain::ledger::Claim;
use crate::domain::plan::explain::explain;
use crate::domain::plan::{Candidate, Planned, Reason, View};
use crate::domain::refusal::Refusal;
use crate::domain::request::GenerationRequest;
use crate::policy::{Snapshot, Snapshots};
use crate::state::doubts::Doubts;
use crate::state::flights::Flights;
use crate::state::flights::board::Board;
use crate::state::jobs::Jobs;
use crate::state::tally::Tally;
use crate::state::{AmbiguousSum, Images, Ledger, LedgerFault, Limits, Reader};
use crate::telemetry::{Receipt, Telemetry, clock, trace};
use crate::transport::Transport;
use crate::transport::webhook::Webhooks;

use account::{Times, Weighed};
use admit::authenticate;
use conclude::{blank_receipt, fill, joined};
use draft::Draft;
use execute::Run;
use jobs::Desk;
use join::{Departure, Way};
use learn::{Kind, Learner};
use tasks::Tasks;
use trial::{Trial, Usual};
use world::World;

pub use audit::{Audited, SUBJECTS, Subject};
pub use budgets::BudgetStanding;
pub use feedback::{Feedback, Taken};
pub use jobs::JobReport;
pub use sampling::{Found, Sample};
pub use second::Approval;
pub use served::{Expected, How, Inbound, Repeat, Served, ServedImage, Timings};
pub use standing::{Acceptance, ModelStanding, Standing};
pub use trial::TrialStanding;

/// What a flight lands with.
type Landed = Result<Served, Refusal>;

/// Everything that the engine stands on.
pub struct Parts {
    /// The policy, hot.
    pub snapshots: Arc<Snapshots>,
    /// The books.
    pub ledger: Arc<dyn Ledger>,
    /// The pictures.
    pub images: Arc<dyn Images>,
    /// Provider limits.
    pub limits: Arc<dyn Limits>,
    /// Reads the text in pictures, for the verifiers that want it.
    pub reader: Arc<dyn Reader>,
    /// The way out.
    pub transport: Arc<dyn Transport>,
    /// Metrics and log.
    pub telemetry: Arc<Telemetry>,
    /// Whether the ledger keeps prompts as text.
    pub keep_prompts: bool,
    /// Seeds the engine's own dice (jitter, seeds of images); from the system when `None`.
    pub dice: Option<u64>,
}

/// Serves requests.
pub struct Engine {
    snapshots: Arc<Snapshots>,
    ledger: Arc<dyn Ledger>,
    images: Arc<dyn Images>,
    limits: Arc<dyn Limits>,
    reader: Arc<dyn Reader>,
    transport: Arc<dyn Transport>,
    telemetry: Arc<Telemetry>,
    world: World,
    learner: Learner,
    trial: Option<Arc<Trial>>,
    flights: Flights<Landed>,
    board: Option<Arc<dyn Board>>,
    tally: Option<Arc<dyn Tally>>,
    desk: Desk,
    doubts: Doubts,
    webhooks: Option<Webhooks>,
    name: String,
    tasks: Tasks,
    dice: Mutex<StdRng>,
    keep_prompts: bool,
    /// The policy whose budgets the ledger has counted.
    counted: tokio::sync::Mutex<Option<Arc<str>>>,
    thumbs: studio::Thumbs,
    sampler: Option<sampling::Sampler>,
}

/// A request on its way through the rooms that cost money. It is large and handed from room to room, so it travels boxed.
#[derive(Clone)]
struct Order {
    /// The policy that plans.
    snapshot: Arc<Snapshot>,
    /// The policy in force, whose keys and budgets hold also for those few whom a policy on trial serves.
    house: Arc<Snapshot>,
    /// What the policy in force expects of this request, while another one is tried on some.
    usual: Option<Usual>,
    tenant: Arc<str>,
    request: GenerationRequest,
    /// What its prompt is to the learner, once that was asked.
    kind: OnceLock<Kind>,
    inbound: Inbound,
    claim: Option<Claim>,
    /// The draft that was approved, for a second pass.
    given: Option<second::Given>,
    departure: Departure,
    /// What an earlier purchase of it has bought and not delivered.
    drafts: Vec<Draft>,
}

impl Order {
    /// The pictures with which its plans begin, each with its number.
    fn pictures(&mut self) -> Vec<Draft> {
        let given = self.given.iter().map(|given| Draft::new(0, given.model, given.artifact.clone()));
        let all = given.chain(std::mem::take(&mut self.drafts)).enumerate();
        all.map(|(number, draft)| Draft { number, ..draft }).collect()
    }

    fn kind(&self) -> &Kind {
        self.kind.get_or_init(|| Kind::of(&self.request))
    }

    fn deadline(&self) -> Instant {
        self.inbound.arrived + self.request.terms.deadline.value
    }
}

impl Engine {
    /// An engine on these parts.
    pub fn new(parts: Parts) -> Self {
        let world = World::new(Arc::clone(&parts.limits), Arc::clone(&parts.reader));
        let dice = parts.dice.map_or_else(|| StdRng::seed_from_u64(rand::random()), StdRng::seed_from_u64);
        let desk = Desk::new(Jobs::new(Arc::clone(&parts.ledger)));
        let doubts = Doubts::new(Arc::clone(&parts.ledger));
        Self {
            snapshots: parts.snapshots,
            ledger: parts.ledger,
            images: parts.images,
            limits: parts.limits,
            reader: parts.reader,
            transport: parts.transport,
            telemetry: parts.telemetry,
            world,
            learner: Learner::new(),
            trial: None,
            flights: Flights::default(),
            board: None,
            tally: None,
            desk,
            doubts,
            webhooks: None,
            name: uuid::Uuid::now_v7().simple().to_string(),
            tasks: Tasks::default(),
            dice: Mutex::new(dice),
            keep_prompts: parts.keep_prompts,
            counted: tokio::sync::Mutex::default(),
            thumbs: studio::Thumbs::default(),
            sampler: None,
        }
    }

    /// Serves one request: exactly one answer and one receipt.
    pub async fn serve(self: &Arc<Self>, inbound: Inbound) -> Landed {
        let snapshot = self.snapshots.current();
        match authenticate(&snapshot, inbound.key.as_deref()) {
            Ok(tenant) => self.serve_as(tenant, inbound).await,
            Err(refusal) => self.reported(Err(refusal), blank_receipt(&inbound, &snapshot), inbound.arrived),
        }
    }

    /// The answer of a way, and its one receipt.
    async fn arrive(&self, way: Way, receipt: Receipt, arrived: Instant) -> Landed {
        match way {
            Way::Landed(landed) => self.reported(*landed, receipt, arrived),
            Way::Follow(flight) => {
                self.telemetry.flight("local_follower");
                let landed = trace::room("follow", flight.landed()).await.unwrap_or(Err(Refusal::Internal));
                self.reported(landed.map(joined), receipt, arrived)
            }
            // The purchase writes its receipt itself: it ends even when this caller has gone.
            Way::Lead(purchase) => purchase.await,
        }
    }

    /// The rooms that cost money.
    async fn generate(&self, mut order: Box<Order>) -> Landed {
        let bound = self.world.bind(&order.snapshot);
        let planning = Instant::now();
        let ready = self.in_force(&order.house).await;
        let found = trace::room("plan", self.plan_allowed(&mut order, &bound)).await;
        let (planned, view, _allowed) = match ready.and(found) {
            Ok(found) => found,
            Err(refusal) => {
                self.tried(&order, Err(&refusal));
                let receipt = blank_receipt(&order.inbound, &order.snapshot);
                return self.reported(Err(refusal), fill(receipt, &order), order.inbound.arrived);
            }
        };
        let times = Times { planning: planning.elapsed(), ..Times::default() };
        let weighed = Weighed::of(&planned);
        let drafts = order.pictures();
        let decision = || self.decision(&order, &planned, &view);
        // A job may be ended by another process, which knows nothing of how its plan was decided.
        let durable = order.inbound.repeat.durable;
        let mut hold = self.admit(&order, durable.then(decision));
        let mut run = Run {
            engine: self,
            snapshot: &order.snapshot,
            bound: &bound,
            request: &order.request,
            hold: &mut hold,
            today: clock::today(),
            deadline: order.deadline(),
            times,
            drafts,
            durable,
            moderated: None,
            judged: Vec::new(),
            cut: None,
            begun: Instant::now(),
            worth: None,
            denied: None,
        };
        // Noted while the first call is away, so not before the turn in which it leaves.
        let noted = async {
            yield_now().await;
            (!durable).then(decision)
        };
        let (mut made, noted) = join(trace::room("execute", run.through(&planned)), noted).await;
        let lesser;
        if let Err(Refusal::BudgetExhausted(full)) = &made
            && let Some(request) = budgets::downgraded(&order.request, &order.snapshot, full)
        {
            let full = full.clone();
            lesser = request;
            let (mut planned, _) = self.plan_now(&order.snapshot, &bound, &lesser);
            planned.cheapest_first();
            run.request = &lesser;
            let again = trace::room("execute", run.through(&planned)).await;
            made = again.map(|made| made.declaring(budgets::declared(&full)));
        }
        let times = run.times;
        if let Some(decision) = noted {
            hold.decided(decision);
        }
        self.conclude(order, hold, made, times, &weighed).await
    }

    /// The name of a key: `-` when none are configured.
    pub fn authenticate(&self, key: Option<&str>) -> Result<Arc<str>, Refusal> {
        authenticate(&self.snapshots.current(), key)
    }

    /// A stored picture.
    pub async fn image(&self, sha256: &str, format: Format) -> Result<Option<Bytes>, Refusal> {
        self.images.get(sha256, format).await.map_err(|fault| {
            tracing::error!(%fault, "a stored picture could not be read");
            Refusal::Internal
        })
    }

    /// The policy in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.current()
    }

    /// The hot policy.
    pub fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    /// Metrics and log.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Money in doubt by provider.
    pub async fn doubt(&self) -> Result<Vec<AmbiguousSum>, LedgerFault> {
        self.ledger.doubt().await
    }

    /// Waits until no purchase is under way.
    pub async fn idle(&self) {
        self.tasks.idle().await;
    }

    /// The seed of picture `index`, in the range of the model: the caller's and those that follow it, else a throw. Zero
    /// is never sent, since it means "random" to some providers: the model's greatest seed stands for it.
    fn seed(&self, asked: Option<u32>, index: u8, model: &Model) -> u64 {
        let greatest = model.max_seed.max(1);
        match asked {
            Some(seed) => match (u64::from(seed) + u64::from(index)) % greatest {
                0 => greatest,
                seed => seed,
            },
            None => self.dice().random_range(1..=greatest.min(i32::MAX as u64)),
        }
    }

    /// Uniform from 0 to 1.
    fn jitter(&self) -> f64 {
        self.dice().random()
    }

    fn dice(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that nothing else has, behind what it is of; later ones sort behind earlier ones.
pub fn new_id(of: &str) -> Arc<str> {
    let mut digits = uuid::Uuid::encode_buffer();
    [of, uuid::Uuid::now_v7().simple().encode_lower(&mut digits)].concat().into()
}

/// Why nothing fits: breakers that will close again, or reasons that stay.
fn no_plan(order: &Order, planned: &Planned, view: &View) -> Refusal {
    let broken = |candidate: &Candidate| matches!(candidate.reason, Some(Reason::BreakerOpen(_)));
    if planned.candidates.iter().any(broken) {
        return Refusal::ProvidersFailed(Vec::new());
    }
    let explained = explain(planned, &order.request, &order.snapshot.catalog, view);
    Refusal::NoPlan(Arc::new(explained))
}
