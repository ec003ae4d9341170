//! Tasks that outlive their caller, so that shutdown can wait for them.
//!
//! Why it exists: a paid call belongs to the engine, not to a connection. What it refuses to know: what a task does.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

/// Counts the tasks under way.
#[derive(Clone, Debug)]
pub struct Tasks(Arc<watch::Sender<usize>>);

impl Default for Tasks {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

struct Running(Arc<watch::Sender<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl Tasks {
    /// Runs `work` to its end, whoever stops waiting for it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns, and shutdown waits for it")]
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.send_modify(|running| *running += 1);
        let running = Running(Arc::clone(&self.0));
        tokio::spawn(async move {
            work.await;
            drop(running);
        });
    }

    /// Tasks under way.
    pub fn running(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until none is under way.
    pub async fn idle(&self) {
        let mut running = self.0.subscribe();
        // The sender lives in `self`, so waiting ends only when the count is zero.
        let _ = running.wait_for(|running| *running == 0).await;
    }
}
