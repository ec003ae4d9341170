//! The books held against the counters, every few minutes.
//!
//! Why it exists: only the house knows whether it alone writes its books. What it refuses to know: sums.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::domain::money::Money;
use crate::engine::Engine;
use crate::engine::tasks::Tasks;

/// Reading the sums of a day takes a moment.
const EVERY: Duration = Duration::from_mins(5);

/// Reckons what was bought since `opened` until told to stop.
pub(super) fn keep(opened: Timestamp, engine: &Arc<Engine>, tasks: &Tasks, mut stop: watch::Receiver<bool>) {
    let engine = Arc::clone(engine);
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            match engine.reckon(opened).await {
                Ok(drift) if drift == Money::ZERO => {}
                Ok(drift) => tracing::warn!(%drift, "the ledger and the counters disagree"),
                Err(fault) => tracing::warn!(%fault, "the ledger could not be held against the counters"),
            }
        }
    });
}
