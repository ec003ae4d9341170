//! Single values: durations, money, fractions, sizes, URLs.
//!
//! Why it exists: each kind of value is parsed, bounded and complained about in one place. What it refuses to know:
//! which key a value belongs to; callers pass its name for the message.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::super::diagnostic::{Diagnostic, Sink, codes};
use super::super::raw::At;
use super::super::source::{Source, Span};
use crate::domain::catalog::Place;
use crate::domain::image::Size;
use crate::domain::money::{Money, NotMoney};
use crate::domain::rule::{Source as Origin, Term};

/// One file of the policy and where findings go.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) sink: &'a Sink,
}

impl Scope<'_> {
    /// Reports one marked place.
    pub(super) fn report(self, code: &'static str, message: String, span: &Span, label: &str, help: Option<String>) {
        let mut found = Diagnostic::new(code, message).label(self.source, span, label);
        found.help = help;
        self.sink.report(found);
    }

    /// Reports one marked place with a help.
    pub(super) fn error(self, code: &'static str, message: String, span: &Span, label: &str, help: &str) {
        self.report(code, message, span, label, Some(help.to_owned()));
    }

    /// Whether a key of the table at `table` was found misspelt or of the wrong type: its absence is no news.
    pub(super) fn is_excused(self, table: &Span, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.sink.is_excused(self.source, table.start, key))
    }

    pub(super) fn place(self, span: &Span) -> Place {
        self.source.place(span.start)
    }

    /// A value with where it is written.
    pub(super) fn term<T, V>(self, raw: Option<&At<T>>, parse: impl Fn(&At<T>) -> Option<V>) -> Option<Term<V>> {
        let raw = raw?;
        Some(Term { value: parse(raw)?, source: Origin::Policy(self.place(&raw.span)) })
    }

    /// A duration above zero.
    pub(super) fn duration(self, key: &str, text: &At<String>) -> Option<Duration> {
        let parsed = duration(&text.value).filter(|parsed| !parsed.is_zero());
        if parsed.is_none() {
            self.error(
                codes::E0201,
                format!("`{key}` is not a duration"),
                &text.span,
                "not a number with a unit",
                "write numbers with the units h, m, s or ms: \"250ms\", \"10s\", \"1m30s\"",
            );
        }
        parsed
    }

    /// An exact amount, zero or more, read from the number as written.
    pub(super) fn money(self, key: &str, number: &At<f64>) -> Option<Money> {
        let written = self.source.slice(&number.span).replace('_', "");
        let parsed = written.trim_start_matches('+').parse::<Money>();
        let (label, help) = match parsed {
            Ok(money) if money >= Money::ZERO => return Some(money),
            Ok(_) => ("negative", "write an amount of zero or more dollars"),
            Err(NotMoney::Malformed) => ("not a plain decimal number", "write plain decimal dollars, such as 0.035"),
            Err(NotMoney::TooFine) => {
                ("finer than a millionth of a dollar", "round up to six decimals: money is counted in micro-dollars")
            }
            Err(NotMoney::TooLarge) => ("too large", "write an amount below nine trillion dollars"),
        };
        self.error(codes::E0202, format!("`{key}` is not an amount of money"), &number.span, label, help);
        None
    }

    /// A number from 0 to 1.
    pub(super) fn fraction(self, key: &str, number: &At<f64>) -> Option<f64> {
        self.fraction_of(key, number.value, &number.span)
    }

    pub(super) fn fraction_of(self, key: &str, number: f64, span: &Span) -> Option<f64> {
        let fits = (0.0..=1.0).contains(&number);
        if !fits {
            let help = "write a probability: 0 is never, 1 is always";
            self.error(codes::E0205, format!("`{key}` is outside 0 to 1"), span, "from 0 to 1", help);
        }
        fits.then_some(number)
    }

    /// A number of at least `least`.
    pub(super) fn at_least(self, key: &str, number: &At<f64>, least: f64) -> Option<f64> {
        let fits = number.value.is_finite() && number.value >= least;
        if !fits {
            let label = format!("at least {least}");
            self.report(codes::E0205, format!("`{key}` is out of range"), &number.span, &label, None);
        }
        fits.then_some(number.value)
    }

    /// Pixels, both sides above zero.
    pub(super) fn size(self, text: &str, span: &Span) -> Option<Size> {
        let parsed = text.parse::<Size>().ok().filter(|size| size.width > 0 && size.height > 0);
        if parsed.is_none() {
            let help = "write width and height in pixels: \"1024x768\"";
            self.error(codes::E0204, format!("`{text}` is not a size"), span, "not WIDTHxHEIGHT", help);
        }
        parsed
    }

    /// A name of letters, digits and `_ - .`.
    pub(super) fn name(self, kind: &str, name: &At<String>) -> bool {
        let fits = !name.value.is_empty()
            && name.value.len() <= 64
            && name.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        if !fits {
            let help = "use letters, digits, `-`, `_` and `.`, at most 64";
            self.error(codes::E0402, format!("`{}` is no name for a {kind}", name.value), &name.span, "", help);
        }
        fits
    }
}

/// `1m30s`, `250ms`, `10s`: numbers with units, largest first or not, added up.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let millis = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        let number: u64 = number.parse().ok().filter(|number| *number <= 1_000_000_000)?;
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// Scheme, host, port and path prefix with no slash at the end; else what is wrong with it.
pub(crate) fn base_url(text: &str) -> Result<Arc<str>, &'static str> {
    let url = Url::parse(text).map_err(|_| "not a URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("with a user or password");
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err("neither http nor https");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("without a host");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("with a query or fragment");
    }
    Ok(url.as_str().trim_end_matches('/').into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up() {
        for (text, millis) in [("10s", 10_000), ("1m30s", 90_000), ("250ms", 250), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "10", "1.5s", "-1s", "10 s", "10x", "99999999999999999999s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn base_urls_lose_their_last_slash_only() {
        assert_eq!(base_url("https://api.example.com/").as_deref(), Ok("https://api.example.com"));
        assert_eq!(base_url("http://127.0.0.1:9100/stability").as_deref(), Ok("http://127.0.0.1:9100/stability"));
        for text in ["", "api.example.com", "ftp://a.example", "https://a.example/?x=1", "https://u:p@a.example"] {
            assert!(base_url(text).is_err(), "{text}");
        }
    }
}
