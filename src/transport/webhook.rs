//! Webhooks outward: signed as Standard Webhooks, sent once a call, only to public addresses.
//!
//! Why it exists: whoever gets a webhook must be able to tell that it is ours, and nobody may use us to knock on doors of
//! our own network: the resolver that connects is the one that checks, and a redirect is a failure. What it refuses to
//! know: what is told, and when to try again (`engine/webhooks.rs`). Source: standard-webhooks, `spec/standard-webhooks.md`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Client;
use reqwest::dns::Resolve;
use sha2::Sha256;

use super::guard::{self, Cleared, Guarded, System};
use super::http::{NotBuilt, client};
use super::{Secret, install_tls};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, least and most.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The keys that sign: the newest first. While secrets are rotated, every one signs, so that a receiver with either is
/// content.
#[derive(Clone)]
pub struct Signers(Vec<Vec<u8>>);

impl fmt::Debug for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signers({})", self.0.len())
    }
}

impl Signers {
    /// Of secrets `whsec_…` parted by spaces or commas. An empty one signs nothing and is refused, like one that is too
    /// short to be secret.
    pub fn read(secrets: &Secret) -> Result<Self, String> {
        let words = secrets.reveal().split([' ', ',']).map(str::trim);
        let keys: Vec<Vec<u8>> = words.map(key).collect::<Result<_, _>>()?;
        Ok(Self(keys))
    }

    /// The header `webhook-signature`: a signature for each secret.
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let sign = |key: &Vec<u8>| {
            // A key of any length is one.
            let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
            mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
            Some(format!("v1,{}", base64_simd::STANDARD.encode_to_string(mac.finalize().into_bytes())))
        };
        self.0.iter().filter_map(sign).collect::<Vec<_>>().join(" ")
    }
}

fn key(secret: &str) -> Result<Vec<u8>, String> {
    let wanted = format!("a webhook secret is `{PREFIX}` and the base64 of 24 to 64 random bytes");
    let text = secret.strip_prefix(PREFIX).ok_or_else(|| wanted.clone())?;
    let bytes = base64_simd::STANDARD.decode_to_vec(text).map_err(|_| wanted.clone())?;
    if SECRET_BYTES.contains(&bytes.len()) { Ok(bytes) } else { Err(wanted) }
}

/// One call.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// Where it goes.
    pub url: &'a str,
    /// The message's own id, the same at each try.
    pub id: &'a str,
    /// Seconds since 1970, of this try.
    pub timestamp: i64,
    /// JSON.
    pub body: &'a str,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The receiver has it.
    Yes,
    /// It may be tried again.
    NotYet,
    /// The receiver wants no more (410).
    Unwanted,
    /// The address is one that we do not call.
    Barred,
}

/// Sends webhooks.
#[derive(Clone, Debug)]
pub struct Webhooks {
    signers: Signers,
    /// Origins of the operator's own, that may be anywhere.
    own: Vec<String>,
    plain: Client,
    guarded: Client,
}

impl Webhooks {
    /// With the system's resolver. `own` are origins such as `http://10.0.0.5:9000` that the operator vouches for.
    pub fn new(signers: Signers, own: Vec<String>) -> Result<Self, NotBuilt> {
        Self::with_resolver(signers, own, &(Arc::new(System) as Arc<dyn Resolve>))
    }

    /// With another resolver.
    pub fn with_resolver(signers: Signers, own: Vec<String>, resolver: &Arc<dyn Resolve>) -> Result<Self, NotBuilt> {
        install_tls();
        let guarded: Arc<dyn Resolve> = Arc::new(Guarded(Arc::clone(resolver)));
        Ok(Self { signers, own, plain: client(resolver)?, guarded: client(&guarded)? })
    }

    /// Whether a webhook may go there, as far as can be seen without a resolver.
    pub fn allows(&self, url: &str) -> bool {
        self.clear(url).is_some()
    }

    /// Sends one.
    pub async fn send(&self, delivery: &Delivery<'_>) -> Delivered {
        let (client, url) = match self.clear(delivery.url) {
            Some(Cleared::Own(url)) => (&self.plain, url),
            Some(Cleared::Elsewhere(url)) => (&self.guarded, url),
            None => return Delivered::Barred,
        };
        let request = client
            .post(url)
            .timeout(PATIENCE)
            .header("content-type", "application/json")
            .header("webhook-id", delivery.id)
            .header("webhook-timestamp", delivery.timestamp)
            .header("webhook-signature", self.signers.sign(delivery.id, delivery.timestamp, delivery.body))
            .body(delivery.body.to_owned());
        match request.send().await.map(|answer| answer.status().as_u16()) {
            Ok(200..=299) => Delivered::Yes,
            Ok(410) => Delivered::Unwanted,
            Err(error) if barred(&error) => Delivered::Barred,
            Ok(_) | Err(_) => Delivered::NotYet,
        }
    }

    fn clear(&self, url: &str) -> Option<Cleared> {
        let own = self.own.iter().filter_map(|base| guard::clear(url, base).ok());
        own.chain(guard::clear(url, "").ok()).min_by_key(|cleared| matches!(cleared, Cleared::Elsewhere(_)))
    }
}

fn barred(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(at) = cause {
        if at.downcast_ref::<guard::Barred>().is_some() {
            return true;
        }
        cause = at.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name is this machine or its neighbour.
    struct Here;

    impl Resolve for Here {
        fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
            let here: Vec<std::net::SocketAddr> = ["127.0.0.1:0", "10.0.0.1:0"].map(|at| at.parse().unwrap()).into();
            Box::pin(async move { Ok(Box::new(here.into_iter()) as reqwest::dns::Addrs) })
        }
    }

    fn secrets(text: &str) -> Result<Signers, String> {
        Signers::read(&Secret::new(text).unwrap())
    }

    /// The example of the specification's libraries.
    #[test]
    fn a_signature_is_the_standard_s() {
        let signers = secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = signers.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_of_a_rotation_signs() {
        let (old, new) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX");
        let both = secrets(&format!("{new} {old}")).unwrap().sign("a", 1, "b");
        let each = [new, old].map(|secret| secrets(secret).unwrap().sign("a", 1, "b"));
        assert_eq!(both, each.join(" "));
    }

    #[test]
    fn a_secret_that_is_none_is_refused() {
        let short = format!("whsec_{}", base64_simd::STANDARD.encode_to_string([1; 23]));
        for text in ["whsec_", " ", "plain", "whsec_!!", &short, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_"] {
            assert!(secrets(text).is_err(), "{text:?}");
        }
        assert!(!format!("{:?}", secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).contains("MfKQ"));
    }

    #[tokio::test]
    async fn private_addresses_are_not_called() {
        let signers = secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let webhooks = Webhooks::new(signers, vec!["http://127.0.0.1:9".to_owned()]).unwrap();
        for url in [
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://169.254.169.254/x",
            "http://2130706433/",
            "ftp://a.b/",
            "http://127.0.0.1:22/",
            "http://user@example.com/",
            "http://localhost/",
        ] {
            let delivery = Delivery { url, id: "a", timestamp: 1, body: "{}" };
            assert_eq!(webhooks.send(&delivery).await, Delivered::Barred, "{url}");
        }
        // The resolver that connects is the one that checks: a name that was public and no longer is, is not called.
        let here = Webhooks::with_resolver(webhooks.signers.clone(), Vec::new(), &(Arc::new(Here) as Arc<dyn Resolve>));
        let named = Delivery { url: "http://hooks.example.com/", id: "a", timestamp: 1, body: "{}" };
        assert!(webhooks.allows(named.url));
        assert_eq!(here.unwrap().send(&named).await, Delivered::Barred);
        let own = Delivery { url: "http://127.0.0.1:9/hook", id: "a", timestamp: 1, body: "{}" };
        assert_eq!(webhooks.send(&own).await, Delivered::NotYet, "the operator's own may be anywhere");
    }
}
