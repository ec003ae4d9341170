//! Tasks that outlive their caller, so that shutdown can wait for them.
//!
//! Why it exists: a paid call belongs to the engine, not to a connection. It is driven by the caller's own task while
//! that one waits, which saves a task and a wake-up, and goes on as a task of its own when the caller leaves. What it
//! refuses to know: what a task does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;

use crate::state::flights::{Lead, Seat};

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

    /// Begins work that its caller drives, and that is spawned when the caller drops it unfinished, unless its flight
    /// is called off then: nothing was sent, and nobody waits.
    pub fn begin<T: Send + Sync + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        lead: Arc<Lead<T>>,
        seat: Seat<T>,
    ) -> Purchase<T> {
        Purchase { work: Some(Box::pin(work)), lead, seat: Some(seat), tasks: self.clone() }
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

/// Work that, once something was sent, ends whether or not someone waits for it.
pub struct Purchase<T: Send + Sync + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    lead: Arc<Lead<T>>,
    seat: Option<Seat<T>>,
    tasks: Tasks,
}

impl<T: Send + Sync> Future for Purchase<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let done = work.as_mut().poll(context);
        if done.is_ready() {
            self.work = None;
        }
        done
    }
}

impl<T: Send + Sync> Drop for Purchase<T> {
    fn drop(&mut self) {
        // The caller leaves first: it may have been the last.
        self.seat = None;
        let Some(work) = self.work.take() else { return };
        // Without a runtime the process is ending: what the work holds goes to the books as doubt.
        if self.lead.is_grounded() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let lead = Arc::clone(&self.lead);
        self.tasks.spawn(async move {
            tokio::select! {
                // What has departed is never called off, so only one of the two can be.
                () = lead.grounded() => {}
                _ = work => {}
            }
        });
    }
}
