//! The address guard: where a link that a provider handed out may lead.
//!
//! Why it exists: a link is text from outside, and following it must not reach this machine, its neighbours or a cloud's
//! metadata service. The resolver that connects is the one that checks, since a name that is checked first and resolved
//! again may have moved in between. Addresses in the URL itself never meet a resolver and are checked apart. What it
//! refuses to know: credentials, and what is fetched. An operator's own `base_url` is trusted, whatever it is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Why a link is not followed. Names no address: the text may reach the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// It leads to an address that is not public.
    Address,
    /// It carries a user or a password.
    Credential,
    /// It leads to a port that neither the web nor the provider uses.
    Port,
    /// It is neither `http` nor `https`.
    Scheme,
    /// It is no URL with a host.
    Url,
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "the provider's link leads to an address that is not public",
            Self::Credential => "the provider's link carries a credential",
            Self::Port => "the provider's link leads to a port that is not the web's",
            Self::Scheme => "the provider's link is neither http nor https",
            Self::Url => "the provider's link is no URL",
        })
    }
}

impl std::error::Error for Barred {}

/// A link that may be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// To the operator's own origin: any address.
    Own(Url),
    /// Elsewhere: only through a resolver that checks.
    Elsewhere(Url),
}

/// Checks all of `link` that can be seen before it is resolved. `base_url` is the provider's.
pub fn clear(link: &str, base_url: &str) -> Result<Cleared, Barred> {
    let url = Url::parse(link).map_err(|_| Barred::Url)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Barred::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Barred::Credential);
    }
    let own = Url::parse(base_url).ok();
    if own.as_ref().is_some_and(|own| own.origin() == url.origin()) {
        return Ok(Cleared::Own(url));
    }
    let port = url.port_or_known_default();
    let own_port = own.as_ref().and_then(Url::port_or_known_default);
    if !matches!(port, Some(80 | 443)) && port != own_port {
        return Err(Barred::Port);
    }
    let literal = match url.host() {
        None => return Err(Barred::Url),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
        Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
    };
    if literal.is_some_and(|address| !is_public(address)) {
        return Err(Barred::Address);
    }
    Ok(Cleared::Elsewhere(url))
}

/// Whether anyone on the internet may have this address: none of the special-purpose ranges of RFC 6890 and its
/// registries.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|(network, bits)| within_v4(v4, *network, *bits)),
        // All that is handed out of IPv6 is 2000::/3; what maps, translates or tunnels IPv4 hides its address.
        IpAddr::V6(v6) => {
            let global = v6.segments()[0] & 0xe000 == 0x2000;
            global && !SPECIAL_V6.iter().any(|(network, bits)| within_v6(v6, *network, *bits))
        }
    }
}

const SPECIAL_V4: [(Ipv4Addr, u32); 20] = [
    (Ipv4Addr::UNSPECIFIED, 8),            // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // a cloud's own host, though not registered as special
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, metadata services
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24),  // AS112
    (Ipv4Addr::new(192, 52, 193, 0), 24),  // AMT
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(192, 175, 48, 0), 24),  // AS112
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved
    (Ipv4Addr::BROADCAST, 32),
];

const SPECIAL_V6: [(Ipv6Addr, u32); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48), // AS112
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

fn within_v4(address: Ipv4Addr, network: Ipv4Addr, bits: u32) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= bits
}

fn within_v6(address: Ipv6Addr, network: Ipv6Addr, bits: u32) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= bits
}

/// A resolver that leaves out every address that is not public.
pub(super) struct Guarded(pub(super) Arc<dyn Resolve>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.resolve(name);
        Box::pin(async move {
            let public: Vec<SocketAddr> = found.await?.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(Barred::Address.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The system's resolver.
#[derive(Debug)]
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
