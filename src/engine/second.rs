//! The second pass: an approved draft, finished at the size it was approved for.
//!
//! Why it exists: drafting small and enlarging what a person likes is the cheapest way to a large picture. Nothing is
//! generated again: the stored draft is the start, its seed and prompt go along where an upscaler wants them. What it
//! refuses to know: which upscaler (`domain::plan`), and wires.

use std::sync::{Arc, OnceLock};

use super::admit::{authenticate, normalise};
use super::conclude::blank_receipt;
use super::finish::{self, Artifact};
use super::join::Departure;
use super::replay::Identity;
use super::{Engine, Inbound, Landed, Order, kept};
use crate::domain::catalog::ModelIx;
use crate::domain::image::Format;
use crate::domain::plan::Approved;
use crate::domain::refusal::Refusal;
use crate::domain::request::{Ask, DataPolicy, GenerationRequest, Prompt};
use crate::policy::Snapshot;
use crate::provider::RawImage;
use crate::state::Record;

/// Which picture was approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The generation's id.
    pub generation: Arc<str>,
    /// Which of its pictures, from 0.
    pub image: u8,
    /// Whether the caller says where the picture may go; otherwise a draft made on the premises stays there.
    pub names_data_policy: bool,
}

/// An approved draft, loaded.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) artifact: Artifact,
    pub(super) model: ModelIx,
    /// The maker's id, in the policy or not.
    pub(super) maker: Arc<str>,
    /// Of the prompt, whether or not its text is known.
    pub(super) prompt_sha256: String,
    pub(super) prompt_is_kept: bool,
}

/// What stands for a prompt that was not kept. No upscaler sees it: those that want a prompt are not asked.
const NO_PROMPT: &str = "(not kept)";

impl Engine {
    /// Enlarges an approved draft: one answer, one receipt. The prompt of `inbound` is replaced by the draft's own.
    pub async fn second_pass(self: &Arc<Self>, approval: Approval, mut inbound: Inbound) -> Landed {
        let house = self.snapshots.current();
        let mut receipt = blank_receipt(&inbound, &house);
        let arrived = inbound.arrived;
        let entered = async {
            let tenant = authenticate(&house, inbound.key.as_deref())?;
            let snapshot = self.planner_of(&house, &tenant);
            (receipt.key, receipt.policy) = (tenant.clone(), snapshot.digest.clone());
            let (given, ask) = self.load(&snapshot, &approval, &tenant, inbound.ask.clone()).await?;
            inbound.ask = ask;
            let request = approved(&snapshot, &tenant, &inbound, &given)?;
            // One draft enlarged is one ask, whatever its prompt.
            let owner = format!("{tenant}\0upscale\0{}\0{}", approval.generation, approval.image);
            let identity = Identity::of(&snapshot, &owner, &inbound, &request);
            let departure = Departure::alone(arrived);
            let (claim, drafts, given, usual) = (None, Vec::new(), Some(given), None);
            let house = Arc::clone(&house);
            let order = Box::new(Order {
                snapshot,
                house,
                usual,
                tenant,
                request,
                kind: OnceLock::new(),
                inbound,
                claim,
                given,
                departure,
                drafts,
            });
            self.board(order, identity)
        };
        match entered.await {
            Err(refusal) => self.reported(Err(refusal), receipt, arrived),
            Ok(way) => self.arrive(way, receipt, arrived).await,
        }
    }

    /// The draft, and `wanted` with what the draft was asked with.
    async fn load(
        &self,
        snapshot: &Snapshot,
        approval: &Approval,
        tenant: &str,
        wanted: Ask,
    ) -> Result<(Given, Ask), Refusal> {
        let record = self.ledger.show(&approval.generation).await.map_err(|fault| {
            self.telemetry.ledger_error(super::hold::word(&fault));
            Refusal::LedgerUnavailable
        })?;
        // Another caller's generation is not there for this one.
        let record = record.filter(|record| *record.opening.key == *tenant);
        let unknown = || Refusal::NotFound(format!("there is no generation {} of this key", approval.generation));
        let record = record.ok_or_else(unknown)?;
        let (maker, file) = picture(&record, approval)?;
        let artifact = self.draft(&record, &file, approval.image).await?;
        let found = snapshot.catalog.find_model(&maker);
        let ours = found.and_then(|(_, model)| snapshot.catalog.provider(model.provider)).is_some_and(|one| one.local);
        let opening = &record.opening;
        let prompt = opening.prompt.as_deref().and_then(Prompt::new);
        let given = Given {
            model: found.map_or(ModelIx(u16::MAX), |(ix, _)| ix),
            maker,
            prompt_sha256: opening.prompt_sha256.clone(),
            prompt_is_kept: prompt.is_some(),
            artifact,
        };
        let known_task = snapshot.catalog.find_task(&opening.task).map(|_| opening.task.to_string());
        let stays = ours && !approval.names_data_policy;
        let ask = Ask {
            prompt: prompt.or_else(|| Prompt::new(NO_PROMPT)).unwrap_or(wanted.prompt),
            n: 1,
            seed: given.artifact.seed.and_then(|seed| u32::try_from(seed).ok()),
            task: known_task,
            metadata: opening.metadata.clone(),
            data_policy: if stays { DataPolicy::OnPrem } else { wanted.data_policy },
            ..wanted
        };
        Ok((given, ask))
    }

    async fn draft(&self, record: &Record, file: &str, image: u8) -> Result<Artifact, Refusal> {
        let (sha256, extension) = file.rsplit_once('.').unwrap_or((file, "png"));
        let format = Format::from_name(extension).unwrap_or_default();
        let gone = || Refusal::NotFound(format!("the picture {file} is no longer stored"));
        let bytes = self.image(sha256, format).await?.ok_or_else(gone)?;
        let answer = record.closing.as_ref().and_then(|closing| closing.answer.as_deref());
        let seed = answer.and_then(|answer| kept::seed(answer, image));
        let size = crate::domain::image::sniff(&bytes).ok_or_else(gone)?.size;
        finish::verify(RawImage { bytes, seed }, size, seed).map_err(|detail| {
            tracing::error!(detail, file, "a stored picture is none");
            Refusal::Internal
        })
    }
}

/// The request of a second pass.
fn approved(snapshot: &Snapshot, tenant: &str, inbound: &Inbound, given: &Given) -> Result<GenerationRequest, Refusal> {
    let (asked, have) = (inbound.ask.size, given.artifact.size);
    if have.covers(asked) {
        let detail = format!("the draft is {have} already; ask for more than that, such as {}", have.scaled(2.0));
        return Err(Refusal::InvalidRequest { pointer: "/width".to_owned(), detail });
    }
    let request = normalise(snapshot, tenant, inbound)?;
    let approved = Approved { model: given.model, size: have, has_prompt: given.prompt_is_kept };
    Ok(GenerationRequest { approved: Some(approved), ..request })
}

/// Who made the approved picture, and the file in which it is kept.
fn picture(record: &Record, approval: &Approval) -> Result<(Arc<str>, String), Refusal> {
    let id = &approval.generation;
    let Some(closing) = &record.closing else {
        let detail = format!("{id} is still under way; approve its picture when it is there");
        return Err(Refusal::InvalidRequest { pointer: String::new(), detail });
    };
    let file = closing.images.get(usize::from(approval.image)).cloned().ok_or_else(|| {
        let detail = match closing.images.len() {
            0 => format!("{id} made no picture: it ended with {}", closing.outcome),
            count => format!("{id} made {count}; `image` counts from 0"),
        };
        Refusal::InvalidRequest { pointer: "/image".to_owned(), detail }
    })?;
    Ok((closing.model.clone(), file))
}
