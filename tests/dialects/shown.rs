//! How the gateway's own values look beside a golden file, and where the two differ.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tollgate::domain::fault::{Blame, Fault};
use tollgate::domain::image::sniff;
use tollgate::provider::{Auth, Body, Call, Method, Part, Pending, Progress, Target, Usage};

use super::fixture::{picture, stage};

/// A call as the files write it. What is absent there is: no headers, no body.
pub(crate) fn call(call: &Call) -> Value {
    let mut out = Map::new();
    out.insert("stage".into(), stage(call.stage).into());
    out.insert("method".into(), if call.method == Method::Get { "GET" } else { "POST" }.into());
    match &call.target {
        Target::Path(path) => out.insert("path".into(), path.as_str().into()),
        Target::Link(link) => out.insert("link".into(), link.as_str().into()),
    };
    let auth = match call.auth {
        Auth::None => "none".into(),
        Auth::Basic => "basic".into(),
        Auth::Bearer => "bearer".into(),
        Auth::Header(name) => format!("header {name}"),
    };
    out.insert("auth".into(), auth.into());
    if !call.headers.is_empty() {
        let headers = call.headers.iter().map(|(name, value)| ((*name).into(), value.as_str().into())).collect();
        out.insert("headers".into(), Value::Object(headers));
    }
    match &call.body {
        Body::Empty => {}
        Body::Json(text) => {
            out.insert("json".into(), serde_json::from_slice(text).expect("a JSON body is JSON"));
        }
        Body::Multipart(parts) => {
            out.insert("parts".into(), parts.iter().map(part).collect());
        }
    }
    Value::Object(out)
}

/// `{"prompt": "a cat"}`, or for a file `{"image": base64, "file": "image.png", "type": "image/png"}`.
fn part(part: &Part) -> Value {
    let mut out = Map::new();
    match part.file_name {
        None => out.insert(part.name.into(), String::from_utf8_lossy(&part.bytes).into()),
        Some(file) => {
            out.insert(part.name.into(), base64_simd::STANDARD.encode_to_string(&part.bytes).into());
            out.insert("file".into(), file.into())
        }
    };
    if let Some(media_type) = part.media_type {
        out.insert("type".into(), media_type.into());
    }
    Value::Object(out)
}

/// What a reply means, as the files write it.
pub(crate) fn outcome(outcome: &Result<Progress, Fault>) -> Value {
    match outcome {
        Ok(Progress::Done(images, usage)) => {
            let images: Vec<_> = images.iter().map(|image| with_seed(&label(&image.bytes), image.seed)).collect();
            with_usage("done", json!(images), *usage)
        }
        Ok(Progress::Poll { after, call: next }) => {
            json!({"poll": {"after_ms": millis(*after), "call": call(next)}})
        }
        Ok(Progress::Fetch(pending, usage)) => {
            let one = |one: &Pending| with_seed(&call(&one.call), one.seed);
            with_usage("fetch", pending.iter().map(one).collect(), *usage)
        }
        Err(fault) => {
            let blame = match fault.blame {
                Blame::Caller => "caller",
                Blame::Ourselves => "ourselves",
                Blame::Provider => "provider",
            };
            let mut out = json!({
                "class": fault.class.name(), "blame": blame, "billed": fault.billed.name(), "detail": fault.detail,
            });
            if let Some(wait) = fault.retry_after {
                out["retry_after_ms"] = millis(wait).into();
            }
            json!({ "fault": out })
        }
    }
}

/// `png 8x6` when it is that very picture.
fn label(bytes: &Bytes) -> Value {
    let known = sniff(bytes).map(|found| (found.format.name(), found.size.to_string()));
    match known {
        Some((format, size)) if picture(format, &size) == bytes => format!("{format} {size}").into(),
        _ => format!("{} bytes that are no known picture", bytes.len()).into(),
    }
}

fn with_seed(what: &Value, seed: Option<u64>) -> Value {
    match seed {
        None => what.clone(),
        Some(seed) => json!({"is": what, "seed": seed}),
    }
}

/// Usage that is as quoted is not written.
fn with_usage(key: &str, what: Value, usage: Usage) -> Value {
    let mut out = Map::new();
    out.insert(key.into(), what);
    let usage = match usage {
        Usage::AsQuoted => return Value::Object(out),
        Usage::Images(count) => json!({ "images": count }),
        Usage::Tokens(t) => {
            json!({"text_in": t.text_in, "image_in": t.image_in, "text_out": t.text_out, "image_out": t.image_out})
        }
        Usage::Exact(money) => json!({"micros": money.micros()}),
    };
    out.insert("usage".into(), usage);
    Value::Object(out)
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("a wait of sane length")
}

/// Where two values differ, one line each; empty when they do not.
pub(crate) fn diff(expected: &Value, got: &Value) -> String {
    let mut out = String::new();
    differ("", expected, got, &mut out);
    out
}

fn differ(at: &str, expected: &Value, got: &Value, out: &mut String) {
    match (expected, got) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<_> = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))).collect();
            keys.sort();
            for key in keys {
                let at = format!("{at}/{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differ(&at, a, b, out),
                    (a, b) => report(&at, a, b, out),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for index in 0..a.len().max(b.len()) {
                let at = format!("{at}/{index}");
                match (a.get(index), b.get(index)) {
                    (Some(a), Some(b)) => differ(&at, a, b, out),
                    (a, b) => report(&at, a, b, out),
                }
            }
        }
        (a, b) if a == b => {}
        (a, b) => report(at, Some(a), Some(b), out),
    }
}

fn report(at: &str, expected: Option<&Value>, got: Option<&Value>, out: &mut String) {
    let show = |value: Option<&Value>| value.map_or_else(|| "nothing".into(), Value::to_string);
    let _ = writeln!(out, "  {at}\n    expected {}\n    got      {}", show(expected), show(got));
}
