//! What `OpenAI` and its kin answer: pictures in base64 or behind links, a count of tokens, errors in many shapes.
//!
//! Why it exists: money trouble comes as a 400 or as the 429 of a rate limit, and compatible servers write their errors as
//! bare text or with numbers for codes. What it refuses to know: requests. To add a code: [`refusal`].

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::common::{Failure, Text, clean, duration, garbled, number, parse, picture, retry_after, token_usage};
use super::super::{Auth, Body, Call, Method, Pending, Progress, RawImage, Reply, Stage, Step, Target};
use crate::domain::catalog::Model;
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::domain::quota::Allowance;
use crate::domain::quote::Tokens;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Option<Vec<Item<'a>>>,
    /// Read only for a model whose tokens have a price.
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    b64_json: Option<Text<'a>>,
    #[serde(borrow)]
    url: Option<Text<'a>>,
}

/// What a 200 means.
pub(super) fn pictures(step: &Step<'_>, model: &Model, call: &Call, reply: &Reply) -> Result<Progress, Fault> {
    let answer: Answer<'_> = parse(reply)?;
    let items = answer.data.unwrap_or_default();
    let items = || items.iter().take(step.images.into());
    let here: Vec<_> = items().filter_map(held).map(|bytes| RawImage { bytes, seed: None }).collect();
    let there: Vec<_> = items().filter_map(link).map(|call| Pending { call, seed: None }).collect();
    let usage = answer.usage.filter(|_| model.tokens.is_some()).and_then(|raw| serde_json::from_str(raw.get()).ok());
    let usage = token_usage(model, tokens(&usage.unwrap_or_default()));
    match (here.is_empty(), there.is_empty()) {
        (false, _) => Ok(Progress::Done(here, usage)),
        (true, false) => Ok(Progress::Fetch(there, usage)),
        (true, true) => Err(match Failure::of(call, reply).message() {
            Some(words) => garbled(clean(&format!("Answered 200 with an error: {words}"))),
            None => garbled("The answer holds no picture."),
        }),
    }
}

/// The picture itself, in either field.
fn held(item: &Item<'_>) -> Option<bytes::Bytes> {
    let inline = item.url.as_ref().map(Text::as_str).filter(|url| url.starts_with("data:"));
    picture(item.b64_json.as_ref().map(Text::as_str).or(inline)?)
}

/// The download of a picture that is not here: anywhere, or below the server's own address, with its credential then.
fn link(item: &Item<'_>) -> Option<Call> {
    let url = item.url.as_ref()?.as_str();
    let (target, auth) = if url.starts_with("https://") || url.starts_with("http://") {
        (Target::Link(url.to_owned()), Auth::None)
    } else if url.starts_with('/') && !url.starts_with("//") {
        (Target::Path(url.to_owned()), Auth::Bearer)
    } else {
        return None;
    };
    let (stage, method) = (Stage::Fetch, Method::Get);
    Some(Call { stage, method, target, headers: Vec::new(), auth, body: Body::Empty })
}

/// The counts of the bill. What the details do not split is text when it went in and picture, the dearest, when it came out.
fn tokens(usage: &Value) -> Tokens {
    let within = |names: &[&str]| names.iter().try_fold(usage, |value, name| value.get(name));
    let count = |names: &[&str]| within(names).and_then(number).unwrap_or(0);
    let input = |kind: &str| count(&["input_tokens_details", kind]);
    let output = |kind: &str| count(&["output_tokens_details", kind]);
    let (text, image_in) = (input("text_tokens"), input("image_tokens"));
    let (image, text_out) = (output("image_tokens"), output("text_tokens"));
    Tokens {
        text_in: count(&["input_tokens"]).saturating_sub(image_in).max(text),
        image_in,
        text_out,
        image_out: count(&["output_tokens"]).saturating_sub(text_out).max(image),
    }
}

/// Every error shape: an object with a code, an object with a number for a code, bare text.
pub(super) fn refusal(call: &Call, reply: &Reply) -> Fault {
    use Blame::{Caller, Ourselves};
    let failure = Failure::of(call, reply);
    let code = failure.text("/error/code").or_else(|| failure.text("/code")).unwrap_or_default();
    let kind = failure.text("/error/type").or_else(|| failure.text("/type")).unwrap_or_default();
    let unsafe_prompt = kind == "image_generation_user_error" && failure.says(&["safety system"]);
    let money = |word: &str| matches!(word, "billing_hard_limit_reached" | "billing_not_active" | "insufficient_quota");
    match (reply.status, code) {
        (400..500, "moderation_blocked" | "content_policy_violation") => {
            failure.fault(Class::Moderate, Caller, charged(&failure))
        }
        (400..500, _) if unsafe_prompt => failure.fault(Class::Moderate, Caller, charged(&failure)),
        (400..500, _) if money(code) || money(kind) || failure.says(&["billing hard limit has been reached"]) => {
            failure.fault(Class::OutOfCredit, Ourselves, Billed::No)
        }
        (400..500, "invalid_api_key") => failure.fault(Class::Unauthorize, Ourselves, Billed::No),
        (400..500, "model_not_found") => {
            let detail = clean(&format!("The model may be retired: {}", failure.detail()));
            Fault::new(Class::Reject, Ourselves, Billed::No, detail)
        }
        (400, "unknown_parameter") => failure.fault(Class::Reject, Ourselves, Billed::No),
        (429, _) => {
            let fault = failure.by_status();
            let wait = retry_after(reply).or_else(|| said(failure.message()?)).or_else(|| reset(reply));
            Fault { retry_after: wait, ..fault }
        }
        _ => failure.by_status(),
    }
}

/// A prompt that was refused was not drawn; what was drawn and then refused may be charged.
fn charged(failure: &Failure<'_>) -> Billed {
    let places = ["/error/moderation_details/moderation_stage", "/moderation_details/moderation_stage"];
    match places.iter().find_map(|place| failure.text(place)) {
        Some("input") => Billed::No,
        _ => Billed::Unknown,
    }
}

/// The wait in the words: `try again after 51.84 seconds`, `try again in 6m0s`.
fn said(message: &str) -> Option<Duration> {
    let lower = message.to_lowercase();
    let (_, rest) = lower.split_once("try again after ").or_else(|| lower.split_once("try again in "))?;
    let mut words = rest.split_whitespace().map(|word| word.trim_end_matches(['.', ',', ';', ')']));
    let first = words.next()?;
    duration(first).or_else(|| {
        let unit = match words.next()? {
            "milliseconds" | "ms" => "ms",
            "second" | "seconds" | "s" => "s",
            "minute" | "minutes" | "m" => "m",
            "hour" | "hours" | "h" => "h",
            _ => return None,
        };
        duration(&format!("{first}{unit}"))
    })
}

/// What is left of the requests of the window, on every answer that says it.
pub(super) fn allowance(reply: &Reply) -> Option<Allowance> {
    let left = reply.header("x-ratelimit-remaining-requests")?.trim().parse().ok()?;
    let reset = duration(reply.header("x-ratelimit-reset-requests")?)?;
    Some(Allowance { left, reset })
}

/// The longer of the resets of whatever is used up; image endpoints do not always send them.
fn reset(reply: &Reply) -> Option<Duration> {
    const KINDS: [(&str, &str); 2] = [
        ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ];
    let spent = |remaining: &str| reply.header(remaining).is_none_or(|left| left.trim() == "0");
    KINDS.iter().filter(|(left, _)| spent(left)).filter_map(|(_, at)| duration(reply.header(at)?)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_by_two_headers() {
        let reply = |left: &'static str| {
            let headers = [("x-ratelimit-remaining-requests", left), ("x-ratelimit-reset-requests", "1m30s")];
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            Reply { status: 200, headers: headers.into_iter().collect(), body: bytes::Bytes::new() }
        };
        let left = allowance(&reply("7"));
        assert_eq!(left, Some(Allowance { left: 7, reset: Duration::from_secs(90) }));
        assert_eq!(allowance(&reply("many")), None);
    }

    #[test]
    fn waits_are_read_from_words() {
        let wait = |text| said(text).map(|wait| wait.as_millis());
        assert_eq!(wait("slow down and try again after 51.84 seconds."), Some(51_840));
        assert_eq!(wait("Please try again in 12s. Contact us"), Some(12_000));
        assert_eq!(wait("Try again in 6m0s"), Some(360_000));
        assert_eq!(wait("try again in 20 minutes"), Some(1_200_000));
        assert_eq!(wait("try again in a while"), None);
        assert_eq!(wait("try again after "), None);
        assert_eq!(wait("slow down"), None);
    }
}
