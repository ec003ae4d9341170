//! Whether the providers can be reached: name, route, TLS.
//!
//! Why it exists: a firewall or a proxy is found before money is reserved for a call that cannot arrive. It asks for
//! the head of the front page, without a credential: no such request is billed. What it refuses to know: dialects.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Check, Mark};
use crate::policy::Snapshot;
use crate::transport;

const PATIENCE: Duration = Duration::from_secs(5);

/// One check for each provider that is on and has an address.
pub(super) async fn providers(snapshot: &Snapshot) -> Vec<Check> {
    transport::install_tls();
    let client =
        reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).no_proxy().build();
    let client = match client {
        Ok(client) => client,
        Err(why) => return vec![Check::new("reach", Mark::Fail, format!("no HTTP client can be made: {why}"))],
    };
    let on = snapshot.catalog.providers().filter(|(_, provider)| provider.off.is_none());
    let hosts = on.filter_map(|(ix, provider)| Some((&provider.name, snapshot.endpoint(ix)?)));
    let hosts = hosts.filter(|(_, endpoint)| !endpoint.base_url.as_str().is_empty());
    join_all(hosts.map(|(name, endpoint)| reach(&client, name, endpoint.base_url.as_str()))).await
}

async fn reach(client: &reqwest::Client, name: &str, base_url: &str) -> Check {
    let name = format!("reach {name}");
    let host = url::Url::parse(base_url).ok().map(|url| url.origin().ascii_serialization());
    let Some(host) = host else {
        return Check::new(&name, Mark::Fail, format!("{base_url} is not a URL"));
    };
    let began = Instant::now();
    match client.head(format!("{host}/")).send().await {
        Ok(_) => Check::ok(&name, format!("{host} answers in {} ms", began.elapsed().as_millis())),
        Err(error) => {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            Check::new(&name, Mark::Fail, format!("{host}: {cause}")).help("is there a firewall or a proxy between?")
        }
    }
}
