//! What replicas share: whether the Redis of `state.url` can be relied upon.
//!
//! Why it exists: a Redis that evicts keys forgets how much of a limit is spent, and nobody would see it. What it refuses to
//! know: what is kept there.

use tokio::time::Instant;

use super::super::settings::Settings;
use super::{Check, Mark};
use crate::state::redis::{Redis, Setup, State};

/// The Redis of these settings, if they name one.
pub(super) async fn redis(settings: &Settings) -> Option<Check> {
    let url = settings.state_url.as_ref()?;
    let redis = match Redis::open(url) {
        Ok(redis) => redis,
        Err(why) => {
            let check = Check::new("redis", Mark::Fail, format!("state.url is no Redis: {why}"));
            return Some(check.help("write redis://HOST:6379, or rediss:// for TLS"));
        }
    };
    if let State::Down(trouble) = redis.settled().await {
        let check = Check::new("redis", Mark::Fail, format!("it takes no writes: {}", trouble.name()));
        return Some(
            check.help("limits then hold for each gateway by itself, by its share; start Redis, or look at its log"),
        );
    }
    let began = Instant::now();
    Some(match redis.setup().await {
        Ok(setup) => judged(&setup, began.elapsed().as_secs_f64() * 1e3),
        Err(away) => Check::new("redis", Mark::Fail, away.to_string()),
    })
}

fn judged(setup: &Setup, round_trip_ms: f64) -> Check {
    let seen = format!("Redis {}, answers in {round_trip_ms:.1} ms", setup.version);
    if setup.forgets() {
        let detail = format!("{seen}, forgets keys when its memory is full (maxmemory-policy {})", setup.eviction);
        return Check::new("redis", Mark::Fail, detail)
            .help("CONFIG SET maxmemory-policy noeviction: a bucket that is forgotten is a limit that is passed");
    }
    if !setup.append_only {
        return Check::new("redis", Mark::Warn, format!("{seen}, keeps nothing over a restart"))
            .help("appendonly yes keeps limits over its restart; without, gateways tell it what they still know");
    }
    Check::ok("redis", seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_that_forgets_is_refused() {
        let setup = Setup {
            version: "7.0.15".to_owned(),
            maxmemory: 1,
            eviction: "allkeys-lru".to_owned(),
            ..Setup::default()
        };
        assert_eq!(judged(&setup, 0.1).mark, Mark::Fail);
        let bare = Setup { maxmemory: 0, ..setup.clone() };
        assert_eq!(judged(&bare, 0.1).mark, Mark::Warn);
        assert_eq!(judged(&Setup { append_only: true, ..bare }, 0.1).mark, Mark::Ok);
    }
}
