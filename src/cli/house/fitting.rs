//! What an engine has beside its parts, as the settings name it.
//!
//! Why it exists: what replicas share, signed messages, an encoder and a policy on trial are there or not, each by
//! a setting. What it refuses to know: the parts that every engine has. To add one: an `if let` in [`fitted`].

use std::sync::Arc;

use super::shared::Places;
use super::{samples, trial};
use crate::cli::exit::Failure;
use crate::cli::settings::Settings;
use crate::engine::Engine;
use crate::transport::webhook::Webhooks;

/// The engine with what the settings name beside its parts.
pub(super) async fn fitted(
    mut engine: Engine,
    places: Option<Places>,
    settings: &Settings,
) -> Result<Arc<Engine>, Failure> {
    if let Some(Places { board, tally }) = places {
        engine = engine.among(board).tallying(tally);
    }
    if let Some(webhooks) = webhooks(settings)? {
        engine = engine.telling(webhooks);
    }
    if let Some(encoder) = samples::encoder(&settings.audit).await? {
        engine = engine.sampling(encoder, usize::try_from(settings.audit.window).unwrap_or(usize::MAX));
    }
    Ok(Arc::new(trial::added(engine, settings)))
}

/// What tells the ends of jobs, when the settings name a secret to sign with.
fn webhooks(settings: &Settings) -> Result<Option<Webhooks>, Failure> {
    let own = settings.jobs.own.clone();
    let built = settings.jobs.signers.clone().map(|signers| Webhooks::new(signers, own)).transpose();
    built.map_err(|why| Failure::usage(why.to_string()))
}
