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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const BASE: &str = "https://api.acme.test:8443/v1";

    /// Links to public places on the web's ports or the provider's.
    #[test]
    fn public_links_are_cleared() {
        for link in [
            "https://cdn.acme.test/a.png?sig=x",
            "http://cdn.acme.test/a.png",
            "https://cdn.acme.test:8443/a.png",
            "https://93.184.215.14/a.png",
            "https://[2606:2800:220:1:248:1893:25c8:1946]/a.png",
            "https://100.63.255.255/",
            "https://100.128.0.0/",
            "https://172.15.255.255/",
            "https://172.32.0.0/",
            "https://192.0.1.0/",
            "https://198.17.255.255/",
            "https://198.20.0.0/",
            "https://223.255.255.255/",
            "https://[2001:200::1]/",
            "https://[2003::1]/",
            "https://[3ffe:ffff::1]/",
        ] {
            assert_eq!(clear(link, BASE), Ok(Cleared::Elsewhere(Url::parse(link).unwrap())), "{link}");
        }
    }

    const NOT_PUBLIC: [&str; 52] = [
        "http://127.0.0.1/",
        "http://127.255.255.254/",
        "http://127.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://0x7f.1/",
        "http://127.0.0.1./",
        "http://%31%32%37.0.0.1/",
        "http://\u{2460}\u{2461}\u{2466}.0.0.1/",
        "http://10.0.0.1/",
        "http://100.64.0.1/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://169.254.169.254/latest/meta-data",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.0.0.192/",
        "http://192.0.2.1/",
        "http://192.31.196.1/",
        "http://192.52.193.1/",
        "http://192.88.99.1/",
        "http://192.168.1.1/",
        "http://192.175.48.1/",
        "http://198.18.0.1/",
        "http://198.51.100.1/",
        "http://203.0.113.1/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::1]/",
        "http://[100::1]/",
        "http://[2001::1]/",
        "http://[2001:10::1]/",
        "http://[2001:db8::1]/",
        "http://[2002:7f00:1::1]/",
        "http://[2620:4f:8000::1]/",
        "http://[3fff::1]/",
        "http://[5f00::1]/",
        "http://[fc00::1]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
    ];

    const BARRED: [(&str, Barred); 16] = [
        ("http://cdn.acme.test:6379/", Barred::Port),
        ("https://93.184.215.14:22/", Barred::Port),
        ("https://user@cdn.acme.test/", Barred::Credential),
        ("https://user:word@cdn.acme.test/", Barred::Credential),
        ("https://api.acme.test:8443@127.0.0.1/", Barred::Credential),
        ("https://user@api.acme.test:8443/", Barred::Credential),
        ("file:///etc/passwd", Barred::Scheme),
        ("ftp://cdn.acme.test/", Barred::Scheme),
        ("gopher://127.0.0.1:6379/_x", Barred::Scheme),
        ("data:image/png;base64,AAAA", Barred::Scheme),
        ("unix:/run/x.sock", Barred::Scheme),
        ("//cdn.acme.test/a.png", Barred::Url),
        ("/a.png", Barred::Url),
        ("", Barred::Url),
        ("http://", Barred::Url),
        ("http://[::1", Barred::Url),
    ];

    #[test]
    fn everything_else_is_barred() {
        let addresses = NOT_PUBLIC.into_iter().map(|link| (link, Barred::Address));
        for (link, why) in addresses.chain(BARRED) {
            assert_eq!(clear(link, BASE), Err(why), "{link}");
        }
    }

    /// Only scheme, host and port together are the operator's.
    #[test]
    fn the_operators_own_origin_is_trusted() {
        let base = "http://127.0.0.1:8188";
        let own = "http://127.0.0.1:8188/view?filename=a.png";
        assert_eq!(clear(own, base), Ok(Cleared::Own(Url::parse(own).unwrap())));
        assert_eq!(
            clear("http://localhost:80/", "http://localhost"),
            Ok(Cleared::Own("http://localhost/".parse().unwrap()))
        );
        for link in ["https://127.0.0.1:8188/", "http://127.0.0.1/", "http://127.0.0.2:8188/", "http://[::1]:8188/"] {
            assert_eq!(clear(link, base), Err(Barred::Address), "{link}");
        }
        assert_eq!(clear("http://127.0.0.1/", ""), Err(Barred::Address));
    }

    /// Each name's answers, one a question.
    struct Told(Mutex<Vec<Vec<&'static str>>>);

    impl Resolve for Told {
        fn resolve(&self, _: Name) -> Resolving {
            let answer = self.0.lock().unwrap().remove(0);
            let addresses: Vec<SocketAddr> =
                answer.into_iter().map(|ip| (ip.parse::<IpAddr>().unwrap(), 0).into()).collect();
            Box::pin(async move { Ok(Box::new(addresses.into_iter()) as Addrs) })
        }
    }

    /// A name that moves between questions is checked each time, and the private ones of several addresses are left out.
    #[tokio::test]
    async fn every_resolution_is_checked() {
        let answers = [
            (vec!["93.184.215.14"], Some(vec!["93.184.215.14"])),
            (vec!["127.0.0.1"], None),
            (vec!["10.1.2.3", "93.184.215.14", "::1", "2606:2800::1"], Some(vec!["93.184.215.14", "2606:2800::1"])),
            (vec!["::ffff:127.0.0.1"], None),
            (vec!["169.254.169.254"], None),
            (vec!["fd00::1", "192.168.0.1"], None),
            (vec!["64:ff9b::a00:1"], None),
            (vec![], None),
        ];
        let guarded = Guarded(Arc::new(Told(Mutex::new(answers.iter().map(|(said, _)| said.clone()).collect()))));
        for (said, public) in answers {
            let found = guarded.resolve("cdn.acme.test".parse().unwrap()).await;
            let found = found.ok().map(|found| found.map(|address| address.ip().to_string()).collect::<Vec<_>>());
            assert_eq!(found, public.map(|list| list.into_iter().map(String::from).collect()), "{said:?}");
        }
    }
}
