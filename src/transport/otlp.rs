//! Sends finished traces to a collector: OTLP over HTTP, as JSON.
//!
//! Why it exists: telemetry opens no socket. Traces are a help and never in the way: a collector that is slow or gone
//! loses traces, which are counted, and delays no request. What it refuses to know: what a span means.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use url::Url;

use super::{NotBuilt, install_tls};
use crate::telemetry::Telemetry;
use crate::telemetry::trace::{Finished, otlp};

/// Traces of one export.
const BATCH: usize = 128;
/// How long an export may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long traces gather before they are sent together.
const GATHER: Duration = Duration::from_millis(200);

/// The way to a collector.
#[derive(Debug)]
pub struct Collector {
    client: reqwest::Client,
    url: Url,
    telemetry: Arc<Telemetry>,
}

impl Collector {
    /// A collector at `url`, the address before `/v1/traces`.
    pub fn at(url: &str, telemetry: Arc<Telemetry>) -> Result<Self, NotBuilt> {
        install_tls();
        let url = Url::parse(&format!("{}/v1/traces", url.trim_end_matches('/')))
            .map_err(|why| NotBuilt::because(format!("`{url}` is not the address of a collector: {why}")))?;
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|why| NotBuilt::because(why.to_string()))?;
        Ok(Self { client, url, telemetry })
    }

    /// Sends what is finished until told to stop, and then what is left.
    pub async fn export(self, mut finished: mpsc::Receiver<Finished>, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = finished.recv_many(&mut batch, BATCH) => if count == 0 { return },
                () = stopped(&mut stop) => {
                    finished.close();
                    while finished.recv_many(&mut batch, BATCH).await > 0 {
                        self.send(&mut batch).await;
                    }
                    return;
                }
            }
            tokio::time::sleep(GATHER).await;
            self.send(&mut batch).await;
        }
    }

    async fn send(&self, batch: &mut Vec<Finished>) {
        let request = self.client.post(self.url.clone()).header("content-type", "application/json");
        let answer = request.body(otlp::body(batch)).send().await;
        let sent = answer.is_ok_and(|answer| answer.status().is_success());
        self.telemetry.traces(sent, batch.len());
        if !sent {
            tracing::debug!(traces = batch.len(), "the collector did not take traces");
        }
        batch.clear();
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the house is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}
