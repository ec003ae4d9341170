//! The end of a door whose listener lives on in another process.
//!
//! Why it exists: callers that use a connection again and again must not find it closed in their face when a new binary
//! takes over: an idle connection is given a few seconds to bring one more request, whose answer says that it is the last.
//! What it refuses to know: HTTP, and how a listener travels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long an idle connection may bring one more request. Callers under way come back sooner, and one that does not sees
/// the end of any idle connection.
const FAREWELL: Duration = Duration::from_secs(2);

/// Whether a door is handed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Parting(Arc<AtomicBool>);

impl Parting {
    /// The listener is another process's from now on: the door will end gently.
    pub(super) fn hand_over(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// How long idle connections are kept at the end.
    pub(super) fn farewell(&self) -> Duration {
        if self.is_handed_over() { FAREWELL } else { Duration::ZERO }
    }
}
