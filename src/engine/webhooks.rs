//! Messages about jobs, sent until they arrive or a day has passed.
//!
//! Why it exists: a receiver may be down when a job ends. Each message stands in the ledger's database, and moving it on
//! is the claim on sending it, so that replicas do not send it at once and a crash only delays it. What it refuses to
//! know: how a message is signed and where it may go (`transport/webhook.rs`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::Engine;
use crate::domain::refusal::Refusal;
use crate::state::jobs::Message;
use crate::telemetry::clock;
use crate::transport::webhook::{Delivered, Delivery, Webhooks};

/// How long a message is tried.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);
/// The waits between tries; the last is repeated. Longer than a receiver may take, so that no two tries overlap.
const WAITS_S: [i64; 7] = [30, 60, 300, 1_800, 3_600, 7_200, 14_400];
/// Between two looks for messages that are due.
const LOOK: Duration = Duration::from_millis(250);

impl Engine {
    /// The same, telling the ends of jobs to whoever asks for it.
    #[must_use]
    pub fn telling(mut self, webhooks: Webhooks) -> Self {
        self.webhooks = Some(webhooks);
        self
    }

    /// Whether a webhook may go there; the refusal says what stands against it.
    pub(super) fn may_tell(&self, url: &str) -> Result<(), Refusal> {
        let refuse =
            |detail: &str| Err(Refusal::InvalidRequest { pointer: "/webhook".to_owned(), detail: detail.to_owned() });
        match &self.webhooks {
            None => refuse("webhooks are off here: the operator sets `webhooks.secrets`; poll /jobs/{id} instead"),
            Some(webhooks) if !webhooks.allows(url) => refuse(
                "`webhook.url` must be a public http or https address without a credential, on the web's own port",
            ),
            Some(_) => Ok(()),
        }
    }

    /// Sends what is due, for ever.
    pub(super) async fn send_webhooks(self: &Arc<Self>) {
        if self.webhooks.is_none() {
            return;
        }
        loop {
            let now = clock::now();
            match self.desk.jobs.due(now, |tries| next(now, tries)).await {
                Ok(due) => drop(join_all(due.iter().map(|message| self.send_webhook(message))).await),
                Err(why) => tracing::error!(%why, "webhooks cannot be read"),
            }
            sleep(LOOK).await;
        }
    }

    async fn send_webhook(&self, message: &Message) {
        let Some(webhooks) = &self.webhooks else { return };
        let timestamp = clock::now().as_second();
        let delivery = Delivery { url: &message.url, id: &message.id, timestamp, body: &message.body };
        let too_old = clock::now().duration_since(message.created) > A_DAY;
        let (result, over) = match webhooks.send(&delivery).await {
            Delivered::Yes => ("delivered", Some(true)),
            Delivered::Unwanted => ("gave_up", Some(false)),
            Delivered::Barred => {
                self.telemetry.outbound_blocked("webhook");
                ("blocked", Some(false))
            }
            Delivered::NotYet if too_old => ("gave_up", Some(false)),
            Delivered::NotYet => ("retried", None),
        };
        self.telemetry.webhook(result);
        if let Some(delivered) = over
            && let Err(why) = self.desk.jobs.conclude(&message.id, delivered).await
        {
            tracing::error!(%why, id = message.id, "a webhook was sent and may be sent again");
        }
    }
}

fn next(now: Timestamp, tries: i64) -> Timestamp {
    let at = usize::try_from(tries).unwrap_or(usize::MAX).min(WAITS_S.len() - 1);
    let wait = WAITS_S.get(at).copied().unwrap_or(30);
    // A tenth more at most, so that a receiver that comes back is not met by all at once.
    let spread = rand::random_range(0..=wait * 100);
    now + SignedDuration::from_secs(wait) + SignedDuration::from_millis(spread)
}
