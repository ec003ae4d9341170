//! What every dialect needs and none owns: reading a failure, cleaning its words, waits, pictures in base64, downloads.
//!
//! Why it exists: seven dialects must not have seven ideas of a 502 from a proxy. What it refuses to know: any
//! provider's name, path or error code; a dialect looks at those first and falls back on [`Failure::by_status`].
//! To add to it: only what two dialects already need.
//!
//! The conventions that it carries:
//! - A reply that is not the provider's shape is `Garbled`, billed `Yes`, when its status is a success, and `Unavailable`,
//!   billed `Unknown`, when its status is 5xx.
//! - On a call that does not buy (poll, download, upload) a fault that may pass (`Throttle`, `TimeOut`, `Unavailable`) is
//!   billed `No`: it speaks of this call, which may be sent again, and the engine remembers that the job was bought. A
//!   fault that ends the job speaks of the job.
//! - Pictures are borrowed from the body as [`Text`] and decoded once; small parts of an answer whose shape providers
//!   change freely (usage, seeds, reasons) are [`Value`]s, so that an odd one never costs a paid picture.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use jiff::fmt::rfc2822::DateTimeParser;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Progress, RawImage, Reply, Stage, Usage};
use crate::domain::catalog::{Model, Provider};
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::domain::image::sniff;
use crate::domain::quote::Tokens;

/// The longest wait that a provider can ask for.
pub(super) const MAX_WAIT: Duration = Duration::from_hours(1);
/// The longest detail of a fault, in characters.
pub(super) const MAX_DETAIL: usize = 300;
/// An error body beyond this is not read: no provider documents one.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// A text of a JSON body, borrowed unless it holds escapes (some servers write `\/` or `\u003d` into base64).
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The body of a success as JSON of this shape; `Garbled` when it is not.
pub(super) fn parse<'a, T: Deserialize<'a>>(reply: &'a Reply) -> Result<T, Fault> {
    serde_json::from_slice(&reply.body).map_err(|error| {
        let what = if reply.body.is_empty() {
            "no body"
        } else if is_html(&reply.body) {
            "an HTML page"
        } else if error.is_eof() {
            "JSON that is cut short"
        } else {
            "a body of an unknown shape"
        };
        garbled(format!("Answered {} with {what}.", reply.status))
    })
}

/// The fault of a success whose content is not what was promised.
pub(super) fn garbled(detail: impl Into<String>) -> Fault {
    Fault::new(Class::Garbled, Blame::Provider, Billed::Yes, detail)
}

/// A picture from base64 (with or without padding, with or without a `data:` prefix); `None` when it is not or is empty.
pub(super) fn picture(text: &str) -> Option<Bytes> {
    let text = match text.strip_prefix("data:") {
        Some(rest) => rest.split_once(";base64,")?.1,
        None => text,
    };
    let bytes = base64_simd::STANDARD
        .decode_to_vec(text)
        .or_else(|_| base64_simd::forgiving_decode_to_vec(text.as_bytes()))
        .ok()?;
    (!bytes.is_empty()).then(|| Bytes::from(bytes))
}

/// What the answer to a [`Stage::Fetch`] call means: one picture, or why there is none. It was bought before.
pub(super) fn fetched(call: &Call, reply: &Reply, seed: Option<u64>) -> Result<Progress, Fault> {
    match reply.status {
        200..300 if sniff(&reply.body).is_some() => {
            Ok(Progress::Done(vec![RawImage { bytes: reply.body.clone(), seed }], Usage::AsQuoted))
        }
        200..300 => Err(garbled("The download of the picture is not a picture.")),
        status @ (401 | 403 | 404 | 410) => {
            Err(garbled(format!("The link of the picture no longer works ({status}).")))
        }
        _ => Err(Failure::of(call, reply).by_status()),
    }
}

/// Counted tokens as usage; as quoted when the model has no token rates or nothing was counted.
pub(super) fn token_usage(model: &Model, tokens: Tokens) -> Usage {
    if model.tokens.is_none() || tokens == Tokens::default() { Usage::AsQuoted } else { Usage::Tokens(tokens) }
}

/// A text option of a provider.
pub(super) fn provider_option<'a>(provider: &'a Provider, name: &str) -> Option<&'a str> {
    provider.options.get(name).and_then(Value::as_str)
}

/// Whether a text can stand as one segment of a path as it is: no slash, no dots alone, nothing to escape.
pub(super) fn is_segment(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'~');
    (1..=200).contains(&text.len()) && text.bytes().all(plain) && !text.bytes().all(|b| b == b'.')
}

/// A number of a JSON value, written as a number or as text.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A reply that is not the success its call hoped for, read as far as it can be.
pub(super) struct Failure<'a> {
    stage: Stage,
    reply: &'a Reply,
    /// The JSON body, out of its one-element list if it stands in one; `Null` when the body is no JSON.
    pub(super) body: Value,
}

impl<'a> Failure<'a> {
    /// Reads the body of `reply`, which answers `call`.
    pub(super) fn of(call: &Call, reply: &'a Reply) -> Self {
        let readable = reply.body.len() <= MAX_ERROR_BODY;
        let body = readable.then(|| serde_json::from_slice(&reply.body).ok()).flatten().unwrap_or_default();
        let body = match body {
            Value::Array(mut list) if list.len() == 1 => list.pop().unwrap_or_default(),
            other => other,
        };
        Self { stage: call.stage, reply, body }
    }

    /// The text at a JSON pointer, unless it is blank.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.body.pointer(pointer)?.as_str().filter(|text| !text.trim().is_empty())
    }

    /// The provider's own words, wherever the known shapes keep them.
    pub(super) fn message(&self) -> Option<&str> {
        const PLACES: [&str; 9] = [
            "/error/message",
            "/message",
            "/errors/0/message",
            "/errors/0",
            "/detail",
            "/detail/0/msg",
            "/detail/message",
            "/errors",
            "/error",
        ];
        PLACES.iter().find_map(|place| self.text(place))
    }

    /// Whether the provider's words hold one of these, given in lower case.
    pub(super) fn says(&self, any: &[&str]) -> bool {
        let words = self.message().unwrap_or_default().to_lowercase();
        any.iter().any(|phrase| words.contains(phrase))
    }

    /// One clean sentence: the provider's words, else what came instead of them.
    pub(super) fn detail(&self) -> String {
        if let Some(words) = self.message().map(clean).filter(|words| !words.is_empty()) {
            return words;
        }
        let what = match &*self.reply.body {
            [] => "no body",
            body if is_html(body) => "an HTML page",
            _ => "no reason that it documents",
        };
        format!("Answered {} with {what}.", self.reply.status)
    }

    /// A fault in the provider's words.
    pub(super) fn fault(&self, class: Class, blame: Blame, billed: Billed) -> Fault {
        Fault::new(class, blame, billed, self.detail())
    }

    /// What the status alone says, with the wait that the headers ask for.
    pub(super) fn by_status(&self) -> Fault {
        use Billed::{No, Unknown};
        use Blame::{Caller, Ourselves, Provider};
        let passing = if self.stage.buys() { Unknown } else { No };
        let ending = if self.stage.buys() { No } else { Unknown };
        let (class, blame, billed) = match self.reply.status {
            401 | 403 | 407 => (Class::Unauthorize, Ourselves, ending),
            402 => (Class::OutOfCredit, Ourselves, ending),
            // 499 and 524 are a proxy's words for a client or a server that took too long.
            408 | 499 | 504 | 524 => (Class::TimeOut, Provider, passing),
            425 | 429 => (Class::Throttle, Provider, No),
            400 | 413 | 422 => (Class::Reject, Caller, ending),
            // A wrong path, model or method is in our policy, not in what was asked.
            401..500 => (Class::Reject, Ourselves, ending),
            500..600 => (Class::Unavailable, Provider, passing),
            200..300 => (Class::Garbled, Provider, Billed::Yes),
            _ => (Class::Garbled, Provider, Unknown),
        };
        let fault = self.fault(class, blame, billed);
        match retry_after(self.reply) {
            Some(wait) if matches!(class, Class::Throttle | Class::Unavailable) => fault.after(wait),
            _ => fault,
        }
    }
}

/// The wait that a reply asks for: `retry-after-ms`, or `retry-after` in seconds or as a date, which is read against
/// the reply's own `date`. At most [`MAX_WAIT`].
pub(super) fn retry_after(reply: &Reply) -> Option<Duration> {
    if let Some(wait) = reply.header("retry-after-ms").and_then(seconds) {
        return Some(wait / 1000);
    }
    let text = reply.header("retry-after")?;
    seconds(text).map(|wait| wait.min(MAX_WAIT)).or_else(|| {
        let parser = DateTimeParser::new();
        let then = parser.parse_timestamp(text.trim()).ok()?;
        let now = parser.parse_timestamp(reply.header("date")?.trim()).ok()?;
        let wait = then.duration_since(now).max(jiff::SignedDuration::ZERO);
        Some(wait.unsigned_abs().min(MAX_WAIT))
    })
}

/// A wait from a plain decimal number of seconds; at most a thousand times [`MAX_WAIT`], so that thousandths fit too.
fn seconds(text: &str) -> Option<Duration> {
    let plain = text.trim();
    let decimal = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value: f64 = decimal.then(|| plain.parse().ok()).flatten()?;
    Duration::try_from_secs_f64(value.min(1000.0 * MAX_WAIT.as_secs_f64())).ok()
}

/// A wait written with units, as Go and protobuf print them: `34s`, `3.299376739s`, `6m0s`, `120ms`. At most
/// [`MAX_WAIT`].
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, tail) = rest.split_at(unit_at);
        let amount = seconds(amount)?;
        let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()));
        total = total.saturating_add(match unit {
            "h" => amount.saturating_mul(3600),
            "m" => amount.saturating_mul(60),
            "s" => amount,
            "ms" => amount / 1000,
            _ => return None,
        });
        rest = tail;
    }
    (!text.trim().is_empty()).then(|| total.min(MAX_WAIT))
}

/// A text that may be shown and logged: one line, no control or invisible characters, credentials as `***`, at most
/// [`MAX_DETAIL`] characters.
pub(super) fn clean(text: &str) -> String {
    let visible = |c: char| {
        let invisible = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if invisible { ' ' } else { c }
    };
    // No message of use is longer; the rest is not worth a scan.
    let line: String = text.chars().take(8 * MAX_DETAIL).map(visible).collect();
    let line = redact(&line.split_whitespace().collect::<Vec<_>>().join(" "));
    if line.chars().count() <= MAX_DETAIL {
        return line;
    }
    let mut short: String = line.chars().take(MAX_DETAIL - 1).collect();
    short.push('…');
    short
}

fn redact(line: &str) -> String {
    let in_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '*');
    let mut out = String::with_capacity(line.len());
    let (mut name, mut gap) = (String::new(), String::new());
    for piece in line.split_inclusive(|c| !in_token(c)) {
        let token = piece.trim_end_matches(|c| !in_token(c));
        let end = piece.strip_prefix(token).unwrap_or_default();
        if !token.is_empty() {
            out.push_str(if is_secret(&name, &gap, token) { "***" } else { token });
            name = token.to_lowercase();
            gap.clear();
        }
        out.push_str(end);
        gap.push_str(end);
    }
    out
}

/// Whether a token looks like a credential, by itself or by the name before it.
fn is_secret(name: &str, gap: &str, token: &str) -> bool {
    const PREFIXES: [&str; 9] = ["sk-", "sk_", "pk-", "rk-", "AIza", "ya29", "eyJ", "hf_", "r8_"];
    let digit = token.bytes().any(|b| b.is_ascii_digit());
    let lower = token.bytes().any(|b| b.is_ascii_lowercase());
    let upper = token.bytes().any(|b| b.is_ascii_uppercase());
    let random = |part: &str| {
        part.len() >= 20 && part.bytes().any(|b| b.is_ascii_digit()) && part.bytes().any(|b| b.is_ascii_alphabetic())
    };
    let named = match name {
        "bearer" | "basic" => token.len() >= 8 && (digit || upper),
        "key" | "api_key" | "api-key" | "apikey" | "token" | "access_token" | "password" | "secret" | "signature"
        | "sig" => gap.contains(['=', ':']) && (digit || token.len() >= 16),
        _ => false,
    };
    // A request id is what the provider's support asks for.
    let request_id = token.starts_with("req_");
    named
        || PREFIXES.iter().any(|prefix| token.len() >= 8 && token.starts_with(prefix))
        || (!request_id && token.split(['-', '_']).any(random))
        || (token.len() >= 32 && digit && lower && upper)
}

fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(headers: &[(&'static str, &str)]) -> Reply {
        let mut reply = Reply { status: 429, ..Reply::default() };
        for (name, value) in headers {
            reply.headers.insert(*name, value.parse().unwrap());
        }
        reply
    }

    #[test]
    fn waits_are_read_in_every_spelling_and_capped() {
        let wait = |headers: &[(&'static str, &str)]| retry_after(&reply(headers));
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", " 1.5 ")]), Some(Duration::from_millis(1500)));
        assert_eq!(wait(&[("retry-after", "7"), ("retry-after-ms", "250")]), Some(Duration::from_millis(250)));
        assert_eq!(wait(&[("retry-after", "999999999999999999999")]), Some(MAX_WAIT));
        assert_eq!(wait(&[("retry-after-ms", "999999999999999999999")]), Some(MAX_WAIT));
        let dates = [("date", "Sun, 22 Nov 2026 21:00:00 GMT"), ("retry-after", "Sun, 22 Nov 2026 21:00:30 GMT")];
        assert_eq!(wait(&dates), Some(Duration::from_secs(30)));
        let past = [("date", "Sun, 22 Nov 2026 21:00:00 GMT"), ("retry-after", "Sun, 22 Nov 2026 20:00:30 GMT")];
        assert_eq!(wait(&past), Some(Duration::ZERO));
        for nonsense in ["-1", "nan", "inf", "1e9", "soon", "", "1.2.3"] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn durations_carry_units() {
        assert_eq!(duration("34s"), Some(Duration::from_secs(34)));
        assert_eq!(duration("3.299376739s"), Some(Duration::from_nanos(3_299_376_739)));
        assert_eq!(duration("6m0s"), Some(Duration::from_mins(6)));
        assert_eq!(duration("120ms"), Some(Duration::from_millis(120)));
        assert_eq!(duration("9h"), Some(MAX_WAIT));
        for nonsense in ["", "s", "5", "5x", "-5s", "..s"] {
            assert_eq!(duration(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn credentials_are_hidden_and_words_are_not() {
        for (text, shown) in [
            ("Incorrect API key provided: sk-proj-abc***wxyz. Find it", "Incorrect API key provided: ***. Find it"),
            ("key=AIzaSyA1234567890abcdefghij&x=1", "key=***&x=1"),
            ("got Authorization: Bearer abcdef123456", "got Authorization: Bearer ***"),
            (r#"{"api_key": "hunter2hunter2"}"#, r#"{"api_key": "***"}"#),
            ("id 0123456789abcdef0123456789abcdef!", "id ***!"),
        ] {
            assert_eq!(clean(text), shown);
        }
        for plain in [
            "authorization: invalid or missing header value",
            "API key not valid. Please pass a valid API key.",
            "models/gemini-nano-banana-2.1 is not found for API version v1beta",
            "include the request ID req_0123456789abcdef0123456789abcdef",
            "basic authentication is off",
        ] {
            assert_eq!(clean(plain), plain);
        }
    }

    #[test]
    fn a_detail_is_one_short_line() {
        assert_eq!(clean("a\r\n\tb\u{0}\u{202e}c"), "a b c");
        assert_eq!(clean(&"é ".repeat(1000)).chars().count(), MAX_DETAIL);
    }

    #[test]
    fn pictures_come_from_any_base64() {
        for text in ["aGk=", "aGk", "data:image/png;base64,aGk=", "aG\nk="] {
            assert_eq!(picture(text).as_deref(), Some(&b"hi"[..]), "{text}");
        }
        for nothing in ["", "%%%", "data:image/png,hi"] {
            assert_eq!(picture(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn escapes_do_not_cost_a_picture() {
        let plain: Text<'_> = serde_json::from_str(r#""aGk=""#).unwrap();
        assert!(matches!(plain, Text(Cow::Borrowed("aGk="))));
        let escaped: Text<'_> = serde_json::from_str(r#""aGk\u003d""#).unwrap();
        assert_eq!(escaped.as_str(), "aGk=");
    }
}
