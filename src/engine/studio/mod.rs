//! What the studio asks: pictures to judge, what they cost, what another floor would do.
//!
//! Why it exists: the page shows what the books and the planner say, and both are the engine's. Everything here reads;
//! verdicts and purchases go through the routes that every caller uses. What it refuses to know: HTML, HTTP and JSON.
//! To add a view: a method here with the rows of `state::studio` and the planner's own functions.

mod budgets;
mod drift;
mod thumbs;
mod whatif;

use std::sync::Arc;

use jiff::Timestamp;

use super::Engine;
use crate::domain::catalog::TaskIx;
use crate::domain::money::Money;
use crate::domain::plan::Planned;
use crate::domain::refusal::Refusal;
use crate::domain::request::{Ask, GenerationRequest, Prompt, Quality};
use crate::policy::Snapshot;
use crate::state::studio::Owner;
use crate::state::studio::gallery::{self, Verdict, Wanted, Window};
use crate::state::studio::sums::{self, Sum};
use crate::state::{LedgerFault, Record};

pub use budgets::Outlook;
pub use drift::Watched;
pub use thumbs::Thumbs;
pub use whatif::{Point, WhatIf};

/// Who looks, and how far: at everybody's pictures, or at those of one key.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// The key's name; `-` when none are configured.
    pub name: Arc<str>,
    /// Whose pictures are shown.
    pub owner: Owner,
}

impl Viewer {
    /// Whether what this key bought is shown to them.
    pub fn sees(&self, key: &str) -> bool {
        self.owner.as_deref().is_none_or(|owner| owner == key)
    }
}

/// The model that always buying the best would buy.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// What for.
    pub task: Arc<str>,
    /// Its id.
    pub model: Arc<str>,
    /// Expected acceptance, 0 to 1.
    pub accept: f64,
    /// Expected price of one picture of 1024x1024.
    pub cost: Money,
}

impl Engine {
    /// Who holds this key.
    pub fn viewer(&self, key: Option<&str>) -> Result<Viewer, Refusal> {
        let snapshot = self.snapshots.current();
        let name = super::authenticate(&snapshot, key)?;
        let all = snapshot.keys.is_empty() || snapshot.keys.iter().any(|key| key.name == name && key.reviewer);
        let owner = (!all).then(|| name.to_string());
        Ok(Viewer { name, owner })
    }

    /// Pictures from place `first` on, newest first.
    pub async fn wall(&self, wanted: &Wanted, first: u64, most: u64) -> Result<Window, Refusal> {
        self.read(gallery::window(&*self.ledger, wanted, first, most).await)
    }

    /// One generation with every word on its pictures; `None` when there is none that this viewer may see.
    pub async fn story(&self, viewer: &Viewer, id: &str) -> Result<Option<(Record, Vec<Verdict>)>, Refusal> {
        let Some(record) = self.read(self.ledger.show(id).await)? else { return Ok(None) };
        if !viewer.sees(&record.opening.key) {
            return Ok(None);
        }
        let said = self.read(gallery::verdicts_of(&*self.ledger, id).await)?;
        Ok(Some((record, said)))
    }

    /// Money, pictures and verdicts since then, in slots of `slot_us` microseconds.
    pub async fn sums(&self, viewer: &Viewer, since: Timestamp, slot_us: i64) -> Result<Vec<Sum>, Refusal> {
        self.read(sums::since(&*self.ledger, &viewer.owner, since, slot_us).await)
    }

    /// For each task, the one call that is most likely to be accepted, whatever it costs.
    pub fn best_models(&self) -> Vec<Best> {
        let snapshot = self.snapshots.current();
        let best = |(at, task): (u16, &crate::domain::catalog::Task)| {
            let ask = Ask { task: Some(task.name.to_string()), ..blank()? };
            let planned = self.planned_without_floor(&snapshot, ask, TaskIx(at), "")?;
            let single = planned.feasible().filter(|candidate| candidate.upscale.is_none());
            let best = single.max_by(|a, b| a.accept.mean().total_cmp(&b.accept.mean()))?;
            Some(Best {
                task: task.name.clone(),
                model: snapshot.catalog.model(best.model)?.id.clone(),
                accept: best.accept.mean(),
                cost: best.quote.expected,
            })
        };
        (0..).zip(&snapshot.catalog.tasks).filter_map(best).collect()
    }

    /// Every candidate of an ask as if any picture would do: the order that each floor then cuts.
    fn planned_without_floor(&self, snapshot: &Snapshot, mut ask: Ask, task: TaskIx, key: &str) -> Option<Planned> {
        ask.quality = Some(Quality::AtLeast(0.0));
        let request: GenerationRequest = snapshot.resolve(ask, key).ok()?;
        let bound = self.world.bind(&self.snapshots.current());
        let (planned, _) = self.plan_now(snapshot, &bound, &GenerationRequest { task, ..request });
        Some(planned)
    }

    fn read<T>(&self, read: Result<T, LedgerFault>) -> Result<T, Refusal> {
        read.map_err(|fault| {
            tracing::error!(%fault, "the studio could not read the ledger");
            self.telemetry.ledger_error(super::hold::word(&fault));
            Refusal::LedgerUnavailable
        })
    }
}

/// An ask for one picture of the usual size.
fn blank() -> Option<Ask> {
    Prompt::new("a picture").map(Ask::of)
}
