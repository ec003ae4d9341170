//! Generations to keep.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tollgate::domain::fault::Billed;
use tollgate::domain::ledger::{Attempt, Basis, Closing, Opening};
use tollgate::domain::money::Money;

/// 2026-11-22 12:00 UTC.
pub(crate) const NOON: i64 = 1_795_348_800_000_000;

pub(crate) fn at(micros_after_noon: i64) -> Timestamp {
    Timestamp::from_microsecond(NOON + micros_after_noon).unwrap()
}

pub(crate) fn attempt(seq: u32, model: &str, held: i64) -> Attempt {
    let provider = model.split('/').next().unwrap();
    Attempt::held(seq, provider.into(), model.into(), Money::from_micros(held))
}

pub(crate) fn ended(mut attempt: Attempt, billed: Billed, cost: i64) -> Attempt {
    attempt.end(billed, Money::from_micros(cost), Basis::ProviderUsage);
    attempt.outcome = if billed == Billed::Yes { "ok" } else { "unavailable" };
    attempt.detail =
        if billed == Billed::Yes { String::new() } else { "connection reset — «по сети»".into() };
    attempt.latency = Duration::from_micros(1_234_567);
    attempt
}

pub(crate) fn opening(id: &str, attempts: Vec<Attempt>) -> Opening {
    Opening {
        id: id.into(),
        created: at(0),
        key: "design".into(),
        task: "concept".into(),
        model: attempts.first().map_or_else(|| Arc::from("p/m"), |first| first.model.clone()),
        plan: "stability/sd3.5-medium → local/lanczos".into(),
        rule: Some("drafts".into()),
        policy: "3f9c0a17be42".into(),
        prompt_sha256: "ab".repeat(32),
        prompt: None,
        metadata: [("project".to_owned(), "a \"quoted\"\nvalue".to_owned())].into(),
        expected_cost: Money::from_micros(35_000),
        expected_accept: 0.71,
        reserved: attempts.iter().map(|a| a.held).sum(),
        claim: None,
        attempts,
        earmarks: Vec::new(),
        decision: Some("{\"category\":\"scene\"}".to_owned()),
    }
}

pub(crate) fn closing(id: &str, attempts: Vec<Attempt>) -> Closing {
    let made = attempts.iter().any(|a| a.billed == Billed::Yes);
    Closing {
        id: id.into(),
        ended: at(5_000_000),
        outcome: if made { "succeeded" } else { "providers_failed" },
        model: attempts.last().map_or_else(|| Arc::from("p/m"), |last| last.model.clone()),
        latency: Duration::from_secs(5),
        images: if made { vec![format!("{}.png", "cd".repeat(32))] } else { Vec::new() },
        answer: None,
        decision: None,
        attempts,
        charges: Vec::new(),
    }
}
