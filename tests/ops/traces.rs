//! Traces reach a collector, in the caller's context and into the provider's; secrets reach nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use super::prometheus::send;
use super::support::{Serving, folder, get, run, tollgate, until};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A server that takes every `POST` and hands on its head and body.
pub(crate) fn taker() -> (SocketAddr, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (to, from) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let to = to.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                loop {
                    let (mut head, mut length) = (String::new(), 0);
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                        if line == "\r\n" {
                            break;
                        }
                        head += &line;
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).unwrap();
                    let answered = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
                    if to.send((head, String::from_utf8_lossy(&body).into_owned())).is_err() || answered.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, from)
}

fn demo(settings: &[(&str, String)]) -> Serving {
    let folder = folder();
    let any = "127.0.0.1:0";
    let mut command = tollgate(folder.path());
    command.args(["demo", "--listen", any, "--admin", any, "--proxy", any, "--sandbox", any, "--speed", "200"]);
    command.args(["--data", "data"]);
    command.envs(settings.iter().map(|(name, value)| (*name, value)));
    Serving::start(command, folder, 4)
}

#[test]
fn a_request_is_one_trace_from_caller_to_provider() {
    let (collector, traces) = taker();
    let house = demo(&[("TOLLGATE_TRACES__URL", format!("http://{collector}"))]);
    let body = json!({ "prompt": "a very private fox", "width": 256, "height": 256 }).to_string();
    let (status, said) = send(house.api, "POST", "/generate", &format!("traceparent: {PARENT}\r\n"), &body);
    assert_eq!(status, 200, "{said}");
    let (head, text) = traces.recv_timeout(Duration::from_mins(1)).expect("a trace arrives");
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    assert!(!text.contains("private"), "a prompt is in no attribute: {text}");
    let export: Value = serde_json::from_str(&text).unwrap();
    let spans = export["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert!(spans.iter().all(|span| span["traceId"] == "0af7651916cd43dd8448eb211c80319c"), "{spans:#?}");
    let named = |name: &str| {
        spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
    };
    let door = named("generate");
    assert_eq!((&door["parentSpanId"], &door["kind"]), (&"b7ad6b7169203331".into(), &2.into()));
    for room in ["plan", "execute", "settle"] {
        assert_eq!(named(room)["parentSpanId"], door["spanId"], "{room}");
    }
    assert_eq!(named("hold")["parentSpanId"], named("execute")["spanId"]);
    let call = named("image_generation");
    let attribute = |name: &str| {
        let all = call["attributes"].as_array().unwrap();
        all.iter().find(|one| one["key"] == name).map(|one| one["value"].clone()).unwrap_or_default()
    };
    assert_eq!((&call["kind"], attribute("gen_ai.output.type")), (&3.into(), json!({ "stringValue": "image" })));
    assert_eq!(attribute("gen_ai.operation.name"), json!({ "stringValue": "image_generation" }));
    assert!(attribute("gen_ai.provider.name").is_object() && attribute("gen_ai.request.model").is_object());
    until("the log line with the trace", || house.said().contains("0af7651916cd43dd8448eb211c80319c"));
    assert!(get(house.admin, "/metrics").1.contains("tollgate_traces_total{result=\"sent\"} "));
}

#[test]
fn the_context_goes_out_to_the_provider() {
    let (provider, calls) = taker();
    let (collector, _traces) = taker();
    let folder = folder();
    let mut command = tollgate(folder.path());
    command.env("TOLLGATE_TRACES__URL", format!("http://{collector}"));
    command.env("TOLLGATE_PROVIDERS__STABILITY__BASE_URL", format!("http://{provider}"));
    command.env("TOLLGATE_PROVIDERS__STABILITY__KEY", "sk-canary");
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let house = Serving::start(command, folder, 2);
    let body = json!({ "prompt": "a fox", "model": "stability/core" }).to_string();
    send(house.api, "POST", "/generate", &format!("traceparent: {PARENT}\r\n"), &body);
    let (head, _) = calls.recv_timeout(Duration::from_mins(1)).expect("the provider is called");
    let sent = head.to_ascii_lowercase();
    let parent = sent.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap_or_else(|| panic!("{head}"));
    assert!(parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && parent.ends_with("-01"), "{parent}");
    assert_ne!(parent, PARENT, "the call's own span is the provider's parent");
}

/// Secrets planted wherever one may be put, and every place that something is written to.
#[test]
fn no_secret_is_in_any_sink() {
    const PROVIDER: &str = "sk-canary-of-a-provider-58a1";
    const CALLER: &str = "tg-canary-of-a-caller-77c2";
    const UNKNOWN: &str = "tg-canary-that-opens-nothing-93d4";
    const SIGNS: &str = "whsec_Y2FuYXJ5LXRoYXQtc2lnbnMtZXZlcnktd2ViaG9vaw==";
    let (collector, traces) = taker();
    let folder = folder();
    let hash = run(folder.path(), &["--json", "key", "new", "probe"]);
    assert_eq!(hash.code, 0, "{hash:?}");
    // The policy holds the hash of the caller's key, never the key.
    let digest = tollgate::domain::fingerprint::sha256_hex(CALLER.as_bytes());
    let policy = std::fs::read_to_string("policies/default.toml").unwrap();
    std::fs::write(
        folder.path().join("policy.toml"),
        format!("{policy}\n[[key]]\nname = \"canary\"\nsha256 = \"{digest}\"\n"),
    )
    .unwrap();
    let any = "127.0.0.1:0";
    let mut command = tollgate(folder.path());
    command.env("TOLLGATE_TRACES__URL", format!("http://{collector}"));
    command.env("TOLLGATE_LOG__LEVEL", "trace");
    command.env("TOLLGATE_PROVIDERS__STABILITY__KEY", PROVIDER).env("TOLLGATE_WEBHOOKS__SECRETS", SIGNS);
    // Nobody listens there: the error names what it can.
    command.env("TOLLGATE_PROVIDERS__STABILITY__BASE_URL", "http://127.0.0.1:9");
    command.args(["serve", "--listen", any, "--admin", any, "--policy", "policy.toml", "--data", "data"]);
    let mut house = Serving::start(command, folder, 2);
    let body = json!({ "prompt": "a fox", "metadata": { "project": "atlas" } }).to_string();
    let mut said = String::new();
    for key in [CALLER, UNKNOWN] {
        for path in ["/generate", "/plan", "/v1/images/generations", "/nowhere"] {
            said += &send(house.api, "POST", path, &format!("authorization: Bearer {key}\r\n"), &body).1;
        }
    }
    let told = json!({ "prompt": "a fox", "webhook": { "url": "https://example.com/told" } }).to_string();
    said += &send(
        house.api,
        "POST",
        "/generate",
        &format!("authorization: Bearer {CALLER}\r\nprefer: respond-async\r\n"),
        &told,
    )
    .1;
    assert!(said.contains("/jobs/job_"), "a webhook was asked for: {said}");
    for path in ["/metrics", "/policy", "/providers", "/healthz", "/readyz"] {
        said += &get(house.admin, path).1;
    }
    house.signal("-TERM");
    assert_eq!(house.ended(), 0, "{}", house.said());
    while let Ok((_, text)) = traces.recv_timeout(Duration::from_secs(1)) {
        said += &text;
    }
    assert!(said.contains("image_generation") && said.contains("tollgate_http_requests_total"), "the sinks were read");
    said += &house.said();
    for entry in std::fs::read_dir(house.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            said += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
        }
    }
    for secret in [PROVIDER, CALLER, UNKNOWN, SIGNS.trim_start_matches("whsec_")] {
        is_not_in(secret, &said);
    }
}

fn is_not_in(secret: &str, said: &str) {
    if let Some(at) = said.find(secret) {
        let from = (0..=at.saturating_sub(200)).rev().find(|from| said.is_char_boundary(*from)).unwrap();
        panic!("{secret} is shown: {}", &said[from..at + secret.len()]);
    }
}
