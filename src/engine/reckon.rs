//! Whether the books and the counters agree.
//!
//! Why it exists: spend is told twice, by the ledger and by `tollgate_cost_usd_total`, and a difference between them is
//! money that one of them does not know. What it refuses to know: whose mistake it is; the ledger is right.

use std::time::Duration;

use jiff::Timestamp;

use super::Engine;
use crate::domain::money::Money;
use crate::state::{LedgerFault, SpendBy};

/// A receipt follows the closing of its books at once.
const SETTLING: Duration = Duration::from_secs(1);

impl Engine {
    /// By how much the ledger settled more, since `since`, than this process has counted in all its life; for books that
    /// nobody else writes. What is closed while it reads counts as agreed.
    pub async fn reckon(&self, since: Timestamp) -> Result<Money, LedgerFault> {
        let least = self.telemetry.booked();
        let settled: Money = self.ledger.spend(SpendBy::Task, since).await?.iter().map(|row| row.settled).sum();
        tokio::time::sleep(SETTLING).await;
        let drift = settled - settled.clamp(least, self.telemetry.booked().max(least));
        self.telemetry.ledger_drift(drift);
        Ok(drift)
    }
}
