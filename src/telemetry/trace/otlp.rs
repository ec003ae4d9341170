//! Traces as OTLP's JSON, as collectors take it at `/v1/traces`.
//!
//! Why it exists: the one place that knows that wire. Source: opentelemetry-proto, JSON mapping: ids in hex, times in
//! nanoseconds as text. What it refuses to know: sockets.

use serde_json::{Value, json};

use super::{Finished, Kind, Note, Span};

/// The body of one export.
pub fn body(traces: &[Finished]) -> String {
    let spans: Vec<Value> =
        traces.iter().flat_map(|trace| trace.spans.iter().map(|one| span(trace.trace.id, one))).collect();
    json!({
        "resourceSpans": [{
            "resource": { "attributes": [
                attribute("service.name", &Note::from("tollgate")),
                attribute("service.version", &Note::from(env!("CARGO_PKG_VERSION"))),
            ]},
            "scopeSpans": [{
                "scope": { "name": "tollgate", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans,
            }],
        }],
    })
    .to_string()
}

fn span(trace: u128, span: &Span) -> Value {
    let start = span.start.as_nanosecond();
    let end = start + i128::try_from(span.took.unwrap_or_default().as_nanos()).unwrap_or(0);
    let mut attributes: Vec<Value> = span.notes.iter().map(|(name, value)| attribute(name, value)).collect();
    attributes.extend(span.failed.map(|error| attribute("error.type", &Note::from(error))));
    let parent = if span.parent == 0 { String::new() } else { format!("{:016x}", span.parent) };
    json!({
        "traceId": format!("{trace:032x}"),
        "spanId": format!("{:016x}", span.id),
        "parentSpanId": parent,
        "name": span.name,
        "kind": match span.kind { Kind::Internal => 1, Kind::Server => 2, Kind::Client => 3 },
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
        "status": if span.failed.is_some() { json!({ "code": 2 }) } else { json!({}) },
    })
}

fn attribute(name: &str, value: &Note) -> Value {
    let value = match value {
        Note::Text(text) => json!({ "stringValue": text }),
        Note::Whole(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": name, "value": value })
}
