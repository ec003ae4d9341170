//! The keeper: connects, beats, and tells how many others beat.
//!
//! Why it exists: whether Redis takes writes is found out here and not on a request's path, and each replica learns how
//! many share with it. What it refuses to know: what is shared.
//!
//! A beat writes this process's name into a sorted set by the server's clock, forgets the names that have not beaten for
//! [`GONE`], and counts the rest: one round trip every [`PACE`].

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use redis::RedisError;
use tokio::time::sleep;

use super::{Away, Inner, Script};

/// Between two beats while Redis is up.
const PACE: Duration = Duration::from_millis(500);
/// Between two tries while it is away.
const RETRY: Duration = Duration::from_millis(100);
/// A process that has not beaten for this long does not share any more.
const GONE: Duration = Duration::from_secs(3);
/// Who beats.
const KEY: &str = "tollgate:replicas";

static BEAT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local t = redis.call('TIME')
        local now = t[1] * 1000 + math.floor(t[2] / 1000)
        redis.call('ZADD', KEYS[1], now, ARGV[1])
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        return redis.call('ZCARD', KEYS[1])",
    )
});

/// Keeps the connection until its last owner drops it.
pub(super) fn keep(inner: &Arc<Inner>) {
    let kept = Arc::downgrade(inner);
    let name = uuid::Uuid::now_v7().simple().to_string();
    #[expect(
        clippy::disallowed_methods,
        reason = "it writes nothing that a shutdown must wait for, and ends by itself"
    )]
    drop(tokio::spawn(async move {
        while let Some(pause) = turn(&kept, &name).await {
            let Some(inner) = kept.upgrade() else { return };
            // Held no longer than this turn: the keeper must not keep what it watches over alive.
            let woken = tokio::time::timeout(pause, inner.failed.notified()).await;
            drop(inner);
            if woken.is_ok() {
                sleep(RETRY).await;
            }
        }
    }));
}

/// One beat, and how long until the next; `None` when nobody is left.
async fn turn(kept: &Weak<Inner>, name: &str) -> Option<Duration> {
    let inner = kept.upgrade()?;
    match inner.beat(name).await {
        Ok(replicas) => {
            inner.up(replicas);
            Some(PACE)
        }
        Err(error) => {
            inner.down(Away::of(&error).trouble);
            Some(RETRY)
        }
    }
}

impl Inner {
    async fn beat(&self, name: &str) -> Result<u32, RedisError> {
        let held = self.held().clone();
        let connection = if let Some(connection) = held {
            connection
        } else {
            let new = self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
            *self.held() = Some(new.clone());
            new
        };
        let mut command = redis::cmd("EVAL");
        command.arg(BEAT.text).arg(1).arg(KEY).arg(name).arg(u64::try_from(GONE.as_millis()).unwrap_or(u64::MAX));
        self.send(connection, &command, "beat").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_missed_often_before_a_replica_is_forgotten() {
        assert!(PACE * 4 < GONE);
    }
}
