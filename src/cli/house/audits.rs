//! Audits on their day.
//!
//! Why it exists: how often pictures are bought to watch a provider is the operator's choice. What it refuses to know: how
//! they are compared.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::Engine;
use crate::engine::tasks::Tasks;
use crate::telemetry::clock;

/// Between two looks whether an audit is due: another replica may have made it.
const LOOK: Duration = Duration::from_mins(1);

/// Audits every so many hours until told to stop; never with 0.
pub(super) fn keep(hours: u64, engine: &Arc<Engine>, tasks: &Tasks, mut stop: watch::Receiver<bool>) {
    if hours == 0 {
        return;
    }
    let (engine, every) = (Arc::clone(engine), Duration::from_secs(hours * 3600));
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = audit_when_due(&engine, every) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    });
}

async fn audit_when_due(engine: &Arc<Engine>, every: Duration) {
    let due = match engine.last_audit().await {
        Ok(last) => last.is_none_or(|last| clock::now().duration_since(last).unsigned_abs() >= every),
        Err(fault) => {
            tracing::warn!(%fault, "the last audit could not be read");
            false
        }
    };
    if due {
        match engine.audit().await {
            Ok(audited) => tracing::info!(models = audited.len(), "models drew the fixed prompts"),
            Err(fault) => tracing::warn!(%fault, "an audit could not be kept"),
        }
    }
    tokio::time::sleep(LOOK).await;
}
