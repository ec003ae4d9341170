//! How many verdicts all replicas have taken, counted where they meet.
//!
//! Why it exists: a verdict that one replica took moves the plans of the others within the second, and none of them asks
//! the ledger again and again to find out. The count is only a sign to look; what was said is in the ledger, so a count
//! that is lost costs a few seconds. What it refuses to know: verdicts. To add a place to meet: an implementation.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::redis::Redis;
use crate::transport::Boxed;

/// A count that replicas share.
pub trait Tally: Send + Sync {
    /// One more was taken here.
    fn add(&self) -> Boxed<'_, ()>;

    /// Resolves when others have added to it since it was last looked at. May be dropped and asked again.
    fn changed(&self) -> Boxed<'_, ()>;
}

/// The count in Redis.
const KEY: &str = "tollgate:verdicts";
/// Between two looks.
const PACE: Duration = Duration::from_millis(500);
/// Nothing was seen yet.
const UNSEEN: i64 = -1;

/// A count in Redis. While Redis is away nothing is added and nothing changes.
#[derive(Debug)]
pub struct RedisTally {
    redis: Redis,
    seen: AtomicI64,
}

impl RedisTally {
    /// The count in this Redis.
    pub fn new(redis: Redis) -> Self {
        Self { redis, seen: AtomicI64::new(UNSEEN) }
    }
}

impl Tally for RedisTally {
    fn add(&self) -> Boxed<'_, ()> {
        Box::pin(async {
            if let Ok(count) = self.redis.ask::<i64>(redis::cmd("INCR").arg(KEY)).await {
                // One's own is no news; what others added in between still is, and then the count is not the next one.
                let _ = self.seen.compare_exchange(count - 1, count, Ordering::Relaxed, Ordering::Relaxed);
            }
        })
    }

    fn changed(&self) -> Boxed<'_, ()> {
        Box::pin(async {
            loop {
                if let Ok(count) = self.redis.ask::<Option<i64>>(redis::cmd("GET").arg(KEY)).await {
                    let (count, seen) = (count.unwrap_or(0), self.seen.load(Ordering::Relaxed));
                    self.seen.store(count, Ordering::Relaxed);
                    if seen != count && seen != UNSEEN {
                        return;
                    }
                }
                tokio::time::sleep(PACE).await;
            }
        })
    }
}
