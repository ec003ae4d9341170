//! What replicas share through `state.url`: limits, and the board of their flights.
//!
//! Why it exists: with a Redis both meet there, without one both stay in this process, and nothing else of the house
//! differs. A Redis that is away at the start is no reason not to start. What it refuses to know: money.

use std::sync::Arc;

use super::super::exit::Failure;
use super::super::settings::Settings;
use crate::state::Limits;
use crate::state::flights::board::Board;
use crate::state::flights::redis::RedisBoard;
use crate::state::limits::{Clock, LocalLimits, RedisLimits};
use crate::state::redis::Redis;
use crate::telemetry::Telemetry;

/// The limits, and the board where there are replicas to share it with.
pub(super) async fn meet(
    settings: &Settings,
    telemetry: &Arc<Telemetry>,
) -> Result<(Arc<dyn Limits>, Option<Arc<dyn Board>>), Failure> {
    let Some(url) = &settings.state_url else { return Ok((Arc::new(LocalLimits::new()), None)) };
    let redis = Redis::open(url).map_err(|why| {
        Failure::usage(format!("state.url is no Redis: {why}")).help("write redis://HOST:6379, or rediss:// for TLS")
    })?;
    redis.counted_by(Arc::clone(telemetry));
    redis.settled().await;
    let board = Arc::new(RedisBoard::new(&redis));
    Ok((Arc::new(RedisLimits::new(redis, Clock::Server)), Some(board)))
}
