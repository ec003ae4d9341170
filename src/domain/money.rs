//! Money: whole micro-dollars, never a float.
//!
//! Why it exists: a budget that must never break cannot be counted in numbers that round. What it refuses to know:
//! currencies other than the US dollar, and binary fractions; text in and out is decimal.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

/// An amount in micro-dollars (1 USD = 1,000,000). Arithmetic saturates: an amount too large to hold refuses every
/// cap, which is the safe side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// More than any cap allows.
    pub const MAX: Self = Self(i64::MAX);

    /// `micros` micro-dollars.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The amount in micro-dollars.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This amount `count` times.
    #[must_use]
    pub const fn times(self, count: i64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// `self * numerator / denominator`, rounded up to a whole micro-dollar. A denominator of zero gives [`Self::MAX`].
    #[must_use]
    pub fn scaled_up(self, numerator: u64, denominator: u64) -> Self {
        if denominator == 0 {
            return Self::MAX;
        }
        let product = i128::from(self.0) * i128::from(numerator);
        let denominator = i128::from(denominator);
        let floor = product.div_euclid(denominator);
        let up = floor + i128::from(product.rem_euclid(denominator) != 0);
        Self(i64::try_from(up).unwrap_or(i64::MAX))
    }

    /// The difference, never below zero.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// Decimal US dollars with at least two and at most six decimals: `0.035`, `1.20`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let (whole, mut fraction) = (micros / 1_000_000, micros % 1_000_000);
        let mut digits = 6;
        while digits > 2 && fraction.is_multiple_of(10) {
            fraction /= 10;
            digits -= 1;
        }
        write!(f, "{sign}{whole}.{fraction:0digits$}")
    }
}

/// Why a text is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMoney {
    /// Not a plain decimal number.
    Malformed,
    /// More than six decimals: finer than a micro-dollar.
    TooFine,
    /// Larger than about nine trillion dollars.
    TooLarge,
}

impl fmt::Display for NotMoney {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a decimal amount of dollars",
            Self::TooFine => "finer than a micro-dollar (six decimals)",
            Self::TooLarge => "too large",
        })
    }
}

/// Exact: `0.1` is 100,000 micro-dollars. Accepts what [`fmt::Display`] of a float prints, except exponents.
impl FromStr for Money {
    type Err = NotMoney;
    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || digits.ends_with('.') {
            return Err(NotMoney::Malformed);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 6 {
            return Err(NotMoney::TooFine);
        }
        let whole: i64 = whole.parse().map_err(|_| NotMoney::TooLarge)?;
        let fraction: i64 = format!("{fraction:0<6}").parse().map_err(|_| NotMoney::Malformed)?;
        let micros = whole.checked_mul(1_000_000).and_then(|w| w.checked_add(fraction)).ok_or(NotMoney::TooLarge)?;
        Ok(Self(if negative { -micros } else { micros }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for (text, micros) in
            [("0.035", 35_000), ("1.20", 1_200_000), ("0.000001", 1), ("12.00", 12_000_000), ("-0.50", -500_000)]
        {
            assert_eq!(text.parse(), Ok(Money(micros)));
            assert_eq!(Money(micros).to_string(), text);
        }
        assert_eq!("3".parse(), Ok(Money(3_000_000)));
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!("".parse::<Money>(), Err(NotMoney::Malformed));
        assert_eq!("1.".parse::<Money>(), Err(NotMoney::Malformed));
        assert_eq!("1e3".parse::<Money>(), Err(NotMoney::Malformed));
        assert_eq!("0.0000001".parse::<Money>(), Err(NotMoney::TooFine));
        assert_eq!("99999999999999".parse::<Money>(), Err(NotMoney::TooLarge));
    }

    #[test]
    fn scaling_rounds_up() {
        assert_eq!(Money(7_500_000).scaled_up(1, 1_000_000), Money(8));
        assert_eq!(Money(30_000_000).scaled_up(1756, 1_000_000), Money(52_680));
        assert_eq!(Money(5).scaled_up(0, 3), Money::ZERO);
        assert_eq!(Money(1).scaled_up(1, 0), Money::MAX);
    }
}
