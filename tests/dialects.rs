//! The conformance test of every dialect: its golden files, and what must hold for any reply whatever.
//!
//! The files of `tests/golden/<provider>/` are written by hand from the providers' documents; nothing here writes them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what is wrong by stopping; the lints' exemption covers test functions only"
)]

#[path = "dialects/fixture.rs"]
mod fixture;
#[path = "dialects/shown.rs"]
mod shown;

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use fixture::Fixture;
use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate::domain::catalog::Dialect;
use tollgate::domain::fault::{Billed, Class, Fault};
use tollgate::provider::{Call, Progress, Reply, Stage, adapter};

/// The fewest golden files of a dialect.
const FEWEST: usize = 8;
/// The longest detail, in characters.
const MAX_DETAIL: usize = 300;
/// The longest wait that a provider may impose.
const MAX_WAIT: Duration = Duration::from_hours(1);

#[test]
fn every_first_call_is_the_documented_one() {
    let mut wrong = String::new();
    for fixture in fixture::read() {
        let got = match fixture.encode() {
            Ok(call) => shown::call(&call),
            Err(reason) => json!({"unsupported": reason.0}),
        };
        let diff = shown::diff(&fixture.call, &got);
        if !diff.is_empty() {
            let _ = writeln!(wrong, "{}: the first call\n{diff}", fixture.name);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_reply_means_what_the_documents_say() {
    let mut wrong = String::new();
    for fixture in fixture::all() {
        for (number, (exchange, _, reply, outcome)) in fixture.play().into_iter().enumerate() {
            let diff = shown::diff(&exchange.gives, &shown::outcome(&outcome));
            if !diff.is_empty() {
                let _ =
                    writeln!(wrong, "{}: exchange {number}, {} {}\n{diff}", fixture.name, exchange.on, reply.status);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_folder_is_a_dialect_and_every_dialect_has_its_files() {
    for folder in fixture::entries(&fixture::golden()) {
        let dialect = fixture::dialect_of(&folder);
        assert!(dialect.is_some_and(|d| d != Dialect::Local), "{} is no dialect that calls", folder.display());
    }
    assert!(adapter(Dialect::Local).is_none());
    let fixtures = fixture::all();
    for dialect in Dialect::ALL {
        if let Some(adapter) = adapter(dialect) {
            assert_eq!(adapter.dialect(), dialect);
            let files = fixtures.iter().filter(|fixture| fixture.provider.dialect == dialect).count();
            assert!(files >= FEWEST, "{} has {files} golden files, not {FEWEST}", dialect.name());
        }
    }
}

#[test]
fn encoding_is_deterministic() {
    for fixture in fixture::all() {
        assert_eq!(fixture.first(), fixture.first(), "{}", fixture.name);
    }
}

#[test]
fn a_chain_of_calls_ends() {
    for fixture in fixture::all() {
        let played = fixture.play();
        let (.., last) = played.last().unwrap_or_else(|| panic!("{} has no exchange", fixture.name));
        let ended = matches!(last, Ok(Progress::Done(..)) | Err(_));
        assert!(ended, "{} stops in the middle: {last:?}", fixture.name);
        for (exchange, call, _, outcome) in &played {
            match outcome {
                // The engine's deadline ends a job that stays pending, so asking again must not change the question.
                Ok(Progress::Poll { after, call: next }) if call.stage == Stage::Poll => {
                    assert_eq!(next, call, "{}: {}", fixture.name, exchange.on);
                    assert!(*after >= Duration::from_millis(100), "{} polls without a rest", fixture.name);
                }
                Ok(Progress::Poll { call: next, .. }) => {
                    let forward = !next.stage.buys() || call.stage == Stage::Upload;
                    assert!(forward, "{} buys again after {:?}", fixture.name, call.stage);
                }
                Ok(Progress::Fetch(pending, _)) => {
                    assert!(pending.iter().all(|one| one.call.stage == Stage::Fetch), "{}", fixture.name);
                }
                Ok(Progress::Done(images, _)) => {
                    let count = images.len();
                    assert!((1..=usize::from(fixture.step().images)).contains(&count), "{}: {count}", fixture.name);
                }
                Err(_) => {}
            }
        }
    }
}

#[test]
fn every_failing_status_is_a_fault() {
    for fixture in fixture::all() {
        let own = fixture.play().into_iter().map(|(_, _, reply, _)| reply.body);
        let others = ["", "null", "[]", "{}", "\"no\"", "<html>502 Bad Gateway</html>"].map(Bytes::from);
        let bodies: Vec<Bytes> = own.chain(others).collect();
        for call in fixture.calls() {
            for status in 400..=599 {
                for body in &bodies {
                    let reply = Reply { status, body: body.clone(), ..Reply::default() };
                    let outcome = fixture.decode(&call, &reply);
                    let fault = outcome.expect_err(&format!("{} {:?} {status}", fixture.name, call.stage));
                    check(&fault);
                    if status >= 500 && body.starts_with(b"<html>") {
                        check_proxy(&fixture, &call, &fault);
                    }
                }
            }
        }
    }
}

/// A proxy's page knows nothing of the provider's books; a server of our own has none.
fn check_proxy(fixture: &Fixture, call: &Call, fault: &Fault) {
    assert!(matches!(fault.class, Class::Unavailable | Class::TimeOut), "{}: {fault:?}", fixture.name);
    let books = call.stage.buys() && !fixture.provider.local;
    let billed = if books { Billed::Unknown } else { Billed::No };
    assert_eq!(fault.billed, billed, "{}: {fault:?}", fixture.name);
}

#[test]
fn a_cut_answer_is_never_a_success() {
    for fixture in fixture::all() {
        for (_, call, reply, outcome) in fixture.play() {
            let is_json = serde_json::from_slice::<Value>(&reply.body).is_ok_and(|v| v.is_object() || v.is_array());
            for end in 0..reply.body.len() {
                let cut = Reply { body: reply.body.slice(..end), ..reply.clone() };
                match fixture.decode(&call, &cut) {
                    Err(fault) => check(&fault),
                    // Where the status says it all (still pending), the body adds nothing.
                    Ok(Progress::Poll { call: next, .. }) if call.stage == Stage::Poll => assert_eq!(next, call),
                    Ok(progress) => {
                        assert!(!is_json, "{}: {end} bytes of {outcome:?} give {progress:?}", fixture.name);
                    }
                }
            }
        }
    }
}

#[test]
fn any_value_may_stand_anywhere_in_an_answer() {
    let strange =
        [json!(null), json!(-1), json!(1.0e300), json!(""), json!("\u{0}x"), json!([]), json!({}), json!([[]])];
    for fixture in fixture::all() {
        for (_, call, reply, _) in fixture.play() {
            let Ok(body) = serde_json::from_slice::<Value>(&reply.body) else { continue };
            for path in paths(&body) {
                for value in &strange {
                    let mut body = body.clone();
                    *body.pointer_mut(&path).expect("a path of this body") = value.clone();
                    let odd = Reply { body: body.to_string().into(), ..reply.clone() };
                    match fixture.decode(&call, &odd) {
                        Err(fault) => check(&fault),
                        Ok(_) => assert!(reply.status < 400, "{}: {path} = {value}", fixture.name),
                    }
                }
            }
        }
    }
}

/// Every JSON pointer into a value.
fn paths(value: &Value) -> Vec<String> {
    let mut all = vec![String::new()];
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(index, v)| (index.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in inner {
        all.extend(paths(value).into_iter().map(|rest| format!("/{key}{rest}")));
    }
    all
}

#[test]
fn no_secret_is_shown() {
    const SECRETS: [&str; 4] = [
        "sk-proj-4f9aX2kQ81",
        "AIzaSyD4f9aX2kQ81mmmmmmmmmmmmmmmmmmmmmm",
        "4f9a0c2b81d34e6f4f9a0c2b81d34e6f",
        "eyJhbGciOiJIUzI1NiJ9",
    ];
    for fixture in fixture::all() {
        for call in fixture.calls() {
            for (name, _) in &call.headers {
                assert!(!["authorization", "api-key", "x-goog-api-key", "cookie"].contains(name), "{}", fixture.name);
            }
            assert!(format!("{call:?}").len() < 8 * 1024, "{} shows its picture", fixture.name);
            for secret in SECRETS {
                for status in [400, 401, 403, 404, 413, 422, 429, 500, 503] {
                    for body in leaks(&format!("Incorrect API key provided: {secret}. Try another.")) {
                        let reply = Reply { status, body: body.to_string().into(), ..Reply::default() };
                        let shown = format!("{:?}", fixture.decode(&call, &reply));
                        assert!(!shown.contains(secret), "{} {status}: {shown}", fixture.name);
                    }
                }
            }
        }
    }
}

/// The error shapes of all providers, with one text in each.
fn leaks(text: &str) -> [Value; 7] {
    [
        json!({"error": {"message": text, "type": text, "code": text, "status": text}}),
        json!([{"error": {"message": text, "details": [{"reason": text}]}}]),
        json!({"error": text}),
        json!({"error": text, "message": text}),
        json!({"id": text, "name": text, "errors": [text, text]}),
        json!({"detail": [{"loc": [text], "msg": text, "type": text}]}),
        json!({"error": "OutOfMemoryError", "detail": "", "body": text, "errors": text}),
    ]
}

/// What holds for every fault.
fn check(fault: &Fault) {
    assert!(!fault.detail.trim().is_empty(), "{fault:?}");
    assert!(fault.detail.chars().count() <= MAX_DETAIL, "{fault:?}");
    assert!(!fault.detail.chars().any(char::is_control), "{fault:?}");
    assert!(fault.retry_after.is_none_or(|wait| wait <= MAX_WAIT), "{fault:?}");
}

/// Any bytes, or a piece of JSON around any text.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let around = |text: String| {
        let keys = ["error", "message", "errors", "detail", "data", "candidates", "predictions", "id", "image"];
        let index = text.len() % keys.len();
        json!({keys[index]: text, "seed": text, "usage": {"output_tokens": text.len()}}).to_string().into_bytes()
    };
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        any::<String>().prop_map(around),
        any::<String>().prop_map(String::into_bytes),
    ]
}

fn any_headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    const NAMES: &[&str] = &[
        "content-type",
        "date",
        "finish-reason",
        "retry-after",
        "retry-after-ms",
        "seed",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ];
    proptest::collection::vec((proptest::sample::select(NAMES), "[ -~]{0,24}"), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_is_total(status in 100u16..=599, headers in any_headers(), body in any_body()) {
        let mut reply = Reply { status, body: body.into(), ..Reply::default() };
        for (name, value) in headers {
            reply.headers.insert(name, value.parse().expect("printable text is a header's value"));
        }
        FIXTURES.with(|fixtures| {
            for (fixture, calls) in fixtures {
                for call in calls {
                    match fixture.decode(call, &reply) {
                        Err(fault) => check(&fault),
                        Ok(_) => assert!((200..300).contains(&status), "{} takes {status}", fixture.name),
                    }
                }
            }
        });
    }
}

thread_local! {
    static FIXTURES: Vec<(Fixture, Vec<Call>)> = fixture::all()
        .into_iter()
        .map(|fixture| {
            let calls = fixture.calls();
            (fixture, calls)
        })
        .collect();
}
