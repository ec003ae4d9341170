//! Providers behind TLS, as all vendors are: whom the real binary believes, on the pass-through and in `/generate`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tollgate::sandbox::{Options, Sandbox};

use super::native::settled;
use super::support::{PATIENCE, Serving, folder, get, tollgate};

/// Who signs certificates.
struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { certificate: params.self_signed(&key).unwrap(), key }
    }

    /// What a server shows that is called by `name`, until the end of a year.
    fn vouches(&self, name: &str, last_year: i32) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(last_year, 12, 31);
        let leaf = params.signed_by(&key, &self.certificate, &self.key).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let chain = vec![leaf.der().clone()];
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    /// For `SSL_CERT_FILE`.
    fn write(&self, to: &Path) {
        let text = base64_simd::STANDARD.encode_to_string(self.certificate.der());
        std::fs::write(to, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")).unwrap();
    }
}

/// TLS in front of the sandbox, on 127.0.0.1 alone.
struct Front {
    port: u16,
    /// The name that each connection asked for.
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

impl Front {
    async fn of(sandbox: SocketAddr, shown: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::default());
        tokio::spawn(serve(listener, TlsAcceptor::from(shown), sandbox, Arc::clone(&asked)));
        Self { port, asked }
    }

    fn asked(&self) -> Vec<Option<String>> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    sandbox: SocketAddr,
    asked: Arc<Mutex<Vec<Option<String>>>>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, asked) = (acceptor.clone(), Arc::clone(&asked));
        tokio::spawn(async move {
            let Ok(mut caller) = acceptor.accept(tcp).await else { return };
            asked.lock().unwrap().push(caller.get_ref().1.server_name().map(str::to_owned));
            let mut provider = tokio::net::TcpStream::connect(sandbox).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut caller, &mut provider).await;
        });
    }
}

async fn sandbox() -> Sandbox {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Sandbox::start(listener, Options { seed: 7, speed: 200.0 }).await.unwrap()
}

/// A gateway on the shipped policy with the pass-through on, with these providers alone, that trusts the authorities in
/// `roots`.
fn gateway(bases: &[(&str, String)], write_roots: impl FnOnce(&Path)) -> Serving {
    let folder = folder();
    let policy = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default.toml")).unwrap();
    let on = policy.replace("\n[defaults]", "\n[proxy]\non = true\n\n[defaults]");
    std::fs::write(folder.path().join("policy.toml"), on).unwrap();
    write_roots(&folder.path().join("roots.pem"));
    let mut command = tollgate(folder.path());
    command.env("SSL_CERT_FILE", folder.path().join("roots.pem"));
    for (prefix, base) in bases {
        let (_, key) = tollgate::sandbox::providers().find(|(known, _)| known == prefix).unwrap();
        command.env(format!("TOLLGATE_PROVIDERS__{}__BASE_URL", prefix.to_uppercase()), format!("{base}/{prefix}"));
        command.env(format!("TOLLGATE_PROVIDERS__{}__KEY", prefix.to_uppercase()), key);
    }
    command.env("TOLLGATE_LEDGER__DURABILITY", "process");
    let any = "127.0.0.1:0";
    command.args(["serve", "--policy", "policy.toml", "--listen", any, "--admin", any, "--proxy", any]);
    Serving::start(command, folder, 3)
}

/// `POST path`: status and body.
fn post(to: SocketAddr, path: &str, kind: &str, body: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(to).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(
        tcp,
        "POST {path} HTTP/1.1\r\nhost: {to}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn core(gateway: &Serving, prompt: &str) -> (u16, String) {
    let form = format!("--B\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n{prompt}\r\n--B--\r\n");
    let path = "/stability/v2beta/stable-image/generate/core";
    post(gateway.proxy.unwrap(), path, "multipart/form-data; boundary=B", &form)
}

fn generate(gateway: &Serving, prompt: &str, model: &str) -> (u16, String) {
    let ask = json!({"prompt": prompt, "model": model, "quality": 0.1, "response_format": "url"});
    post(gateway.api, "/generate", "application/json", &ask.to_string())
}

/// The providers' own bill, in micro-dollars.
fn billed(sandbox: &Sandbox) -> usize {
    let calls: Value = serde_json::from_str(&get(sandbox.addr(), "/_sandbox/calls").1).unwrap();
    let micros = calls.as_array().unwrap().iter().map(|call| call["billed_micro_usd"].as_u64().unwrap());
    usize::try_from(micros.sum::<u64>()).unwrap()
}

/// `SSL_CERT_FILE` names whom to trust, on both ways to a provider; connections are kept for calls in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_is_called_by_its_name_and_kept() {
    let (authority, sandbox) = (Authority::new("known"), sandbox().await);
    for (host, name) in [("localhost", Some("localhost")), ("127.0.0.1", None)] {
        let front = Front::of(sandbox.addr(), authority.vouches(host, 2999)).await;
        let base = format!("https://{host}:{}", front.port);
        let gateway = gateway(&[("stability", base)], |path| authority.write(path));
        let before = billed(&sandbox);
        for n in 0..3 {
            let (status, body) = core(&gateway, &format!("{host}, heron {n}"));
            assert_eq!(status, 200, "{host}: {body}");
        }
        let name = name.map(str::to_owned);
        assert_eq!(front.asked(), std::slice::from_ref(&name), "one connection for all");
        for n in 0..2 {
            let (status, body) = generate(&gateway, &format!("{host}, kettle {n}"), "stability/core");
            assert_eq!(status, 200, "{host}: {body}");
        }
        // A slow machine may let the other way's connection go between two calls.
        assert!(front.asked().iter().all(|asked| *asked == name) && front.asked().len() <= 3, "{:?}", front.asked());
        let bill = billed(&sandbox) - before;
        assert_eq!((bill, settled(gateway.folder.path(), &gateway)), (5 * 30_000, bill));
    }
}

/// A certificate that does not hold is told to the caller, and whoever shows it hears no word of the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_that_nobody_vouches_for_hears_nothing() {
    let (known, unknown, sandbox) = (Authority::new("known"), Authority::new("unknown"), sandbox().await);
    let front = |shown| Front::of(sandbox.addr(), shown);
    let fronts = [
        front(unknown.vouches("localhost", 2999)).await,
        front(known.vouches("api.example", 2999)).await,
        front(known.vouches("localhost", 2001)).await,
        front(unknown.vouches("127.0.0.1", 2999)).await,
    ];
    let hosts = ["localhost", "localhost", "localhost", "127.0.0.1"];
    let names = ["stability", "google", "ideogram", "openai"];
    let bases: Vec<_> = (names.iter().zip(hosts).zip(&fronts))
        .map(|((name, host), front)| (*name, format!("https://{host}:{}", front.port)))
        .collect();
    let gateway = gateway(&bases, |path| known.write(path));
    let proxy = gateway.proxy.unwrap();
    let parts = json!({"contents": [{"parts": [{"text": "a kettle"}]}]}).to_string();
    let image = json!({"image_request": {"prompt": "a fox", "model": "V_2_TURBO"}}).to_string();
    let picture = json!({"model": "gpt-image-2", "prompt": "a fox", "quality": "low"}).to_string();
    let json = "application/json";
    let gemini = "/google/v1beta/models/gemini-3-pro-image:generateContent";
    let passed = [
        ("stability/core", "UnknownIssuer", core(&gateway, "a fox")),
        ("google/gemini-3-pro-image", "not valid for name", post(proxy, gemini, json, &parts)),
        ("ideogram/v3-turbo", "expired", post(proxy, "/ideogram/generate", json, &image)),
        ("openai/gpt-image-2", "UnknownIssuer", post(proxy, "/openai/v1/images/generations", json, &picture)),
    ];
    for (model, why, (status, body)) in passed {
        let problem: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{model}: {body}"));
        assert_eq!((status, &problem["error"]["code"]), (502, &json!("providers_failed")), "{model}: {body}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("over TLS") && detail.contains(why), "{model}: {detail}");
        assert!(detail.ends_with("Nothing was charged."), "{model}: {detail}");
    }
    for model in ["stability/core", "ideogram/v3-turbo"] {
        let (status, body) = generate(&gateway, "a fox", model);
        assert_eq!(status, 502, "{model}: {body}");
        assert!(body.contains("cannot be reached") && body.contains("Nothing was charged."), "{model}: {body}");
    }
    let heard: Vec<_> = fronts.iter().map(Front::asked).collect();
    assert_eq!(get(sandbox.addr(), "/_sandbox/calls").1, "[]", "{heard:?}");
    assert_eq!(settled(gateway.folder.path(), &gateway), 0);
}

/// Roots that cannot be read end no gateway: what needs none is served, and the rest is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_roots_only_plain_providers_are_called() {
    let (authority, sandbox) = (Authority::new("known"), sandbox().await);
    let front = Front::of(sandbox.addr(), authority.vouches("localhost", 2999)).await;
    let bases =
        [("stability", format!("http://{}", sandbox.addr())), ("openai", format!("https://localhost:{}", front.port))];
    let gateway = gateway(&bases, |_| {});
    assert_eq!(core(&gateway, "a fox").0, 200);
    let picture = json!({"model": "gpt-image-2", "prompt": "a fox", "quality": "low"}).to_string();
    let (status, body) = post(gateway.proxy.unwrap(), "/openai/v1/images/generations", "application/json", &picture);
    assert!(status == 502 && body.contains("UnknownIssuer"), "{status}: {body}");
    assert!(gateway.said().contains("no root certificates"), "{}", gateway.said());
    assert_eq!((front.asked(), settled(gateway.folder.path(), &gateway)), (Vec::new(), 30_000));
}
