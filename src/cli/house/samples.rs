//! The encoder that the settings name, and its looks at new pictures.
//!
//! Why it exists: an encoder that cannot be used is told at the start, not by a page that stays empty. What it refuses
//! to know: what is compared.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cli::exit::Failure;
use crate::cli::settings::AuditSettings;
use crate::engine::Engine;
use crate::engine::tasks::Tasks;
use crate::state::Encoder;
use crate::state::encoder::OnnxEncoder;

/// Between two looks whether windows have changed.
const LOOK: Duration = Duration::from_secs(15);

/// The encoder, read and tried; `None` when none is named.
pub(super) async fn encoder(settings: &AuditSettings) -> Result<Option<Arc<dyn Encoder>>, Failure> {
    let Some(path) = settings.encoder.clone() else { return Ok(None) };
    let (shown, pixels) = (path.display().to_string(), settings.pixels);
    let opened = tokio::task::spawn_blocking(move || OnnxEncoder::open(&path, pixels)).await;
    let failure = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("the encoder {shown} cannot be used: {why}")).help(
            "audit.encoder names an ONNX graph of one picture in and its features out; leave it out to do without",
        )
    };
    let encoder = opened.map_err(|why| failure(&why))?.map_err(|why| failure(&why))?;
    Ok(Some(Arc::new(encoder)))
}

/// Compares windows as they change, until told to stop; nothing without an encoder.
pub(super) fn keep(engine: &Arc<Engine>, tasks: &Tasks, mut stop: watch::Receiver<bool>) {
    if engine.encoding().is_none() {
        return;
    }
    let engine = Arc::clone(engine);
    tasks.spawn(async move {
        loop {
            let look = async {
                if let Err(fault) = engine.sample().await {
                    tracing::warn!(%fault, "the windows of pictures could not be read");
                }
                tokio::time::sleep(LOOK).await;
            };
            tokio::select! {
                () = look => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    });
}
