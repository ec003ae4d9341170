//! The one lock behind every `/sdapi` server, and the progress that others see of whoever holds it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{MutexGuard, Notify};
use tokio::time::{Instant, sleep};

use super::super::super::wire::set;

/// Work happens here, one job at a time.
#[derive(Default)]
pub(in crate::sandbox::providers) struct Bench {
    lock: tokio::sync::Mutex<()>,
    running: Mutex<Option<Running>>,
    stop: Notify,
}

#[derive(Clone, Copy)]
struct Running {
    began: Instant,
    takes: Duration,
    steps: u64,
}

impl Bench {
    /// Waits for the lock, then for the work; what is left is to hand over the result while holding it.
    pub(in crate::sandbox::providers) async fn turn(&self, takes: Duration, steps: u64) -> MutexGuard<'_, ()> {
        let turn = self.lock.lock().await;
        self.set(Some(Running { began: Instant::now(), takes, steps }));
        tokio::select! {
            () = sleep(takes) => {}
            () = self.stop.notified() => {}
        }
        self.set(None);
        turn
    }

    /// Ends the running job early; it answers with what it has.
    pub(in crate::sandbox::providers) fn interrupt(&self) {
        if self.running().is_some() {
            self.stop.notify_one();
        }
    }

    /// `/sdapi/v1/progress`.
    pub(in crate::sandbox::providers) fn progress(&self, with_id: bool) -> Value {
        let running = self.running();
        let (done, left, steps) = running.map_or((0.0, 0.0, 0), |running| {
            let share = running.began.elapsed().as_secs_f64() / running.takes.as_secs_f64().max(1e-9);
            let left = running.takes.saturating_sub(running.began.elapsed()).as_secs_f64();
            (share.min(1.0), left, running.steps)
        });
        let job = if running.is_some() { "scripts_txt2img" } else { "" };
        let mut progress = json!({
            "progress": done, "eta_relative": left, "current_image": null, "textinfo": null,
            "state": {
                "skipped": false, "interrupted": false, "stopping_generation": false, "job": job,
                "job_count": u8::from(running.is_some()), "job_no": 0,
                "sampling_step": step(done, steps), "sampling_steps": steps,
            },
        });
        if with_id {
            set(&mut progress, "id", json!(job));
        }
        progress
    }

    fn running(&self) -> Option<Running> {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, running: Option<Running>) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "steps are few and not negative")]
fn step(done: f64, steps: u64) -> u64 {
    (done * steps as f64) as u64
}
