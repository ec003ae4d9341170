//! The writes of a ledger, as they wait for their transaction.
//!
//! Why it exists: both stores commit what waits together, so both take the same commands. What it refuses to know: SQL.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::LedgerFault;
use super::sql::Statement;
use crate::domain::budget::{Account, Charge, Earmark};
use crate::domain::ledger::{Attempt, Closing, Opening};

/// What a command did: nothing to tell, or the rows that each of its statements changed.
pub(super) type Verdict = Result<Vec<u64>, LedgerFault>;

/// Whom to tell how it went.
pub(super) type Done = oneshot::Sender<Verdict>;

/// One write.
#[derive(Debug)]
pub(super) enum Command {
    Open(Opening, Done),
    Hold(Arc<str>, Vec<Attempt>, Vec<Earmark>, Done),
    /// Nobody is told of an abandoned generation's end.
    Close(Closing, Option<Done>),
    Recount(Done),
    Write(Vec<Statement>, Done),
}

impl Command {
    /// Tells whoever asked.
    pub(super) fn answer(self, verdict: Verdict) {
        let done = match self {
            Self::Open(_, done) | Self::Hold(_, _, _, done) | Self::Recount(done) | Self::Write(_, done) => Some(done),
            Self::Close(_, done) => done,
        };
        if let Some(done) = done {
            // A caller that has left needs no answer.
            let _ = done.send(verdict);
        }
    }

    /// The generation that it writes.
    pub(super) const fn generation(&self) -> Option<&Arc<str>> {
        match self {
            Self::Open(opening, _) => Some(&opening.id),
            Self::Hold(id, ..) => Some(id),
            Self::Close(closing, _) => Some(&closing.id),
            Self::Recount(_) | Self::Write(..) => None,
        }
    }

    /// What it wants set aside.
    pub(super) fn earmarks(&self) -> &[Earmark] {
        match self {
            Self::Open(opening, _) => &opening.earmarks,
            Self::Hold(_, _, earmarks, _) => earmarks,
            _ => &[],
        }
    }

    /// What it leaves in the budgets.
    pub(super) fn charges(&self) -> &[Charge] {
        match self {
            Self::Close(closing, _) => &closing.charges,
            _ => &[],
        }
    }

    /// The accounts that it moves.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        let set_aside = self.earmarks().iter().map(|earmark| &earmark.account);
        set_aside.chain(self.charges().iter().map(|charge| &charge.account))
    }
}
