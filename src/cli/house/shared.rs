//! What replicas share through `state.url`: limits, the board of their flights, the count of their verdicts.
//!
//! Why it exists: with a Redis they meet there, without one all stay in this process, and nothing else of the house
//! differs. A Redis that is away at the start is no reason not to start. What it refuses to know: money.

use std::sync::Arc;

use super::super::exit::Failure;
use super::super::settings::Settings;
use crate::state::Limits;
use crate::state::flights::board::Board;
use crate::state::flights::redis::RedisBoard;
use crate::state::limits::{Clock, LocalLimits, RedisLimits};
use crate::state::redis::Redis;
use crate::state::tally::{RedisTally, Tally};
use crate::telemetry::Telemetry;

/// Where replicas meet, or what stands for it in one process.
pub(super) struct Meeting {
    /// The limits.
    pub(super) limits: Arc<dyn Limits>,
    /// What there is only where others share it.
    pub(super) places: Option<Places>,
}

/// What replicas share beside limits.
pub(super) struct Places {
    /// Their flights.
    pub(super) board: Arc<dyn Board>,
    /// How many verdicts they have taken.
    pub(super) tally: Arc<dyn Tally>,
}

/// Goes to where `state.url` says.
pub(super) async fn meet(settings: &Settings, telemetry: &Arc<Telemetry>) -> Result<Meeting, Failure> {
    let Some(url) = &settings.state_url else {
        return Ok(Meeting { limits: Arc::new(LocalLimits::new()), places: None });
    };
    let redis = Redis::open(url).map_err(|why| {
        Failure::usage(format!("state.url is no Redis: {why}")).help("write redis://HOST:6379, or rediss:// for TLS")
    })?;
    redis.counted_by(Arc::clone(telemetry));
    redis.settled().await;
    let places = Places { board: Arc::new(RedisBoard::new(&redis)), tally: Arc::new(RedisTally::new(redis.clone())) };
    Ok(Meeting { limits: Arc::new(RedisLimits::new(redis, Clock::Server)), places: Some(places) })
}
