//! Where a provider's calls go: its `base_url` as an address to connect to.
//!
//! Why it exists: Pingora keys its pool of connections by address, so a name is resolved before each call; an answer is
//! believed for a few seconds. Only an operator's own `base_url` is ever connected to: a call's path is held to what
//! stands below it, and a redirect goes back to the caller. What it refuses to know: credentials, prices.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pingora::upstreams::peer::HttpPeer;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use url::{Host, Url};

/// How long a name's address is believed.
const BELIEVED: Duration = Duration::from_secs(10);
/// Resolving, and connecting with TLS, each.
const CONNECT: Duration = Duration::from_secs(5);
/// Shorter than the 5 s after which common servers close an idle connection: a call written to a connection that is
/// just being closed is a call in doubt.
const IDLE: Duration = Duration::from_secs(4);

/// Addresses of names.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<HashMap<(String, u16), (Instant, SocketAddr)>>);

impl Addresses {
    /// The peer of a `base_url`; `patience` is for each silence of the provider.
    pub(super) async fn peer(&self, base: &Url, patience: Duration) -> Option<HttpPeer> {
        let port = base.port_or_known_default()?;
        let address = match base.host()? {
            Host::Ipv4(ip) => (IpAddr::V4(ip), port).into(),
            Host::Ipv6(ip) => (IpAddr::V6(ip), port).into(),
            Host::Domain(name) => self.resolve(name, port).await?,
        };
        // A certificate names an address too; without a name to hold it against, Pingora would believe any.
        let name = base.host_str()?.trim_matches(['[', ']']).to_owned();
        let mut peer = HttpPeer::new(address, base.scheme() == "https", name);
        peer.options.connection_timeout = Some(CONNECT);
        peer.options.total_connection_timeout = Some(CONNECT);
        peer.options.idle_timeout = Some(IDLE);
        peer.options.read_timeout = Some(patience);
        peer.options.write_timeout = Some(patience);
        Some(peer)
    }

    async fn resolve(&self, name: &str, port: u16) -> Option<SocketAddr> {
        let key = (name.to_owned(), port);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some((_, address)) = known.filter(|(at, _)| at.elapsed() < BELIEVED) {
            return Some(address);
        }
        let all: Vec<SocketAddr> = timeout(CONNECT, tokio::net::lookup_host((name, port))).await.ok()?.ok()?.collect();
        let found = match all.as_slice() {
            [one] => *one,
            several => reachable(several).await?,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (Instant::now(), found));
        Some(found)
    }
}

/// The first that takes a connection: a name may stand for addresses of which not all lead anywhere.
async fn reachable(several: &[SocketAddr]) -> Option<SocketAddr> {
    let connected = timeout(CONNECT, TcpStream::connect(several)).await;
    connected.ok().and_then(Result::ok).and_then(|tcp| tcp.peer_addr().ok()).or_else(|| several.first().copied())
}

/// What a provider is called in a `Host` header, and what stands before every path of it. No `base_url` names a user.
pub(super) fn origin(base: &Url) -> (&str, &str) {
    (base.authority(), base.path().trim_end_matches('/'))
}

/// Whether a path stays below where it begins, however it is escaped.
pub(super) fn stays_below(path: &str) -> bool {
    // Most paths.
    if memchr::memchr3(b'.', b'%', b'\\', path.as_bytes()).is_none() {
        return true;
    }
    // No way to write two dots is longer than `%2e%2e`.
    let dots = |segment: &str| {
        segment.len() <= 6 && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
    };
    !path.split('/').any(dots) && !path.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_taken_apart() {
        let of = |text: &str| {
            let base = Url::parse(text).unwrap();
            let (authority, prefix) = origin(&base);
            (authority.to_owned(), prefix.to_owned())
        };
        let told = |authority: &str, prefix: &str| (authority.to_owned(), prefix.to_owned());
        assert_eq!(of("http://127.0.0.1:9100/openai/"), told("127.0.0.1:9100", "/openai"));
        assert_eq!(of("https://api.stability.ai"), told("api.stability.ai", ""));
        assert_eq!(of("https://[::1]:443/v1"), told("[::1]", "/v1"));
    }

    #[tokio::test]
    async fn a_peer_is_named_by_its_host() {
        let peer = async |text: &str| {
            let base = Url::parse(text).unwrap();
            let peer = Addresses::default().peer(&base, Duration::from_secs(9)).await.unwrap();
            (peer._address.to_string(), peer.is_tls(), peer.sni)
        };
        assert_eq!(peer("http://127.0.0.1:9100/x").await, ("127.0.0.1:9100".into(), false, "127.0.0.1".into()));
        assert_eq!(peer("https://[::1]").await, ("[::1]:443".into(), true, "::1".into()));
    }

    #[test]
    fn a_path_does_not_climb() {
        assert!(stays_below("/v1/models/gpt-image-2.5..x"));
        for climbing in ["/..", "/v1/../admin", "/v1/%2e%2E/admin", "/v1/.%2e", "/./v1", "/v1\\..\\admin"] {
            assert!(!stays_below(climbing), "{climbing}");
        }
    }
}
