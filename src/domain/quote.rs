//! What one call costs: expected, and at worst.
//!
//! Why it exists: the planner ranks by the expected price and the ledger reserves the worst; both come from one row.
//! What it refuses to know: plans. An unknown price is an answer of its own and never zero.

use std::time::Duration;

use jiff::civil::Date;

use super::catalog::{Latency, Model, Price, TokenRates, Unit};
use super::image::Size;
use super::money::Money;

/// The price of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quote {
    /// What it should cost.
    pub expected: Money,
    /// What it can cost at most; this is reserved.
    pub worst: Money,
}

impl Quote {
    /// `calls` such calls.
    #[must_use]
    pub const fn times(self, calls: i64) -> Self {
        Self { expected: self.expected.times(calls), worst: self.worst.times(calls) }
    }

    /// This call and then `other`.
    #[must_use]
    pub fn then(self, other: Self) -> Self {
        Self { expected: self.expected + other.expected, worst: self.worst + other.worst }
    }
}

/// What a call that makes `images` images of `size` costs on `today`; `None` when the policy has no price for it.
///
/// Token-billed models add the prompt: one token for each four bytes is expected, one for each byte is the worst.
/// Their worst also allows [`TOKEN_MARGIN_PERCENT`] over the listed picture tokens.
pub fn quote(
    model: &Model,
    size: Size,
    images: u8,
    prompt_bytes: usize,
    latency: Latency,
    today: Date,
) -> Option<Quote> {
    let row = model.price(size, today)?;
    let one = picture(row, size, latency);
    let images = i64::from(images);
    let pictures = one.times(images);
    let Some(rates) = model.tokens else {
        return Some(pictures);
    };
    let prompt_bytes = prompt_bytes as u64;
    let margin = pictures.worst.scaled_up(TOKEN_MARGIN_PERCENT, 100);
    Some(Quote {
        expected: pictures.expected + per_tokens(rates.text_in, prompt_bytes.div_ceil(4)),
        worst: pictures.worst + margin + per_tokens(rates.text_in, prompt_bytes),
    })
}

/// How far a token-billed picture may pass its listed price: providers' token counts are "about" figures.
pub const TOKEN_MARGIN_PERCENT: u64 = 25;

fn picture(row: &Price, size: Size, latency: Latency) -> Quote {
    match row.unit {
        Unit::Image => Quote { expected: row.usd, worst: row.usd },
        Unit::Megapixel { extra } => {
            let more = size.pixels().div_ceil(1_000_000).saturating_sub(1);
            let usd = row.usd + extra.times(i64::try_from(more).unwrap_or(i64::MAX));
            Quote { expected: usd, worst: usd }
        }
        // Our own machine's time: what it takes at p95 stands for the worst.
        Unit::Second => Quote { expected: seconds(row.usd, latency.p50), worst: seconds(row.usd, latency.p95) },
    }
}

/// The price of `time` at `usd` a second, rounded up to a micro-dollar.
pub fn seconds(usd: Money, time: Duration) -> Money {
    usd.scaled_up(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), 1_000_000)
}

/// The price of `tokens` at a rate per million, rounded up to a micro-dollar.
pub fn per_tokens(rate: Money, tokens: u64) -> Money {
    rate.scaled_up(tokens, 1_000_000)
}

/// Tokens that a provider says it counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Text of the prompt.
    pub text_in: u64,
    /// Pictures sent.
    pub image_in: u64,
    /// Text and thoughts made.
    pub text_out: u64,
    /// Pictures made.
    pub image_out: u64,
}

impl Tokens {
    /// What they cost, the sum rounded up once to a micro-dollar.
    pub fn cost(self, rates: TokenRates) -> Money {
        let parts = [
            (rates.text_in, self.text_in),
            (rates.image_in, self.image_in),
            (rates.text_out, self.text_out),
            (rates.image_out, self.image_out),
        ];
        let pico: i128 = parts.iter().map(|(rate, tokens)| i128::from(rate.micros()) * i128::from(*tokens)).sum();
        let micros = pico.div_euclid(1_000_000) + i128::from(pico.rem_euclid(1_000_000) != 0);
        Money::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_summed_before_they_are_rounded() {
        let rates = TokenRates {
            text_in: Money::from_micros(1_500_000),
            text_out: Money::from_micros(7_500_000),
            image_out: Money::from_micros(30_000_000),
            ..TokenRates::default()
        };
        let tokens = Tokens { text_in: 7, text_out: 213, image_out: 1120, image_in: 0 };
        // 10.5 + 1597.5 + 33600 micro-dollars.
        assert_eq!(tokens.cost(rates), Money::from_micros(35_208));
    }

    #[test]
    fn our_own_seconds_are_rounded_up() {
        assert_eq!(seconds(Money::from_micros(300), Duration::from_millis(1)), Money::from_micros(1));
        assert_eq!(seconds(Money::from_micros(300), Duration::from_millis(2500)), Money::from_micros(750));
    }
}
