//! Dollars from JSON's number text, exactly.
//!
//! Why it exists: a cap must not pass through a binary fraction. What it refuses to know: negative amounts.

use crate::domain::money::Money;

/// The amount of a JSON number, cut (not rounded) to a whole micro-dollar: `3e-2`, `0.30000000000000004`. `None` when it
/// is negative; an amount too large to hold is [`Money::MAX`], which caps nothing.
pub(super) fn floor(json: &str) -> Option<Money> {
    let (mantissa, exponent) = json.split_once(['e', 'E']).unwrap_or((json, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.starts_with('-') {
        return None;
    }
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if digits.iter().all(|&digit| digit == b'0') {
        return Some(Money::ZERO);
    }
    // An exponent beyond any length of text is decided by its sign.
    let exponent: i64 =
        exponent.parse().unwrap_or(if exponent.starts_with('-') { -1_000_000_000 } else { 1_000_000_000 });
    // Micro-dollars are the first `keep` digits: six beyond the point.
    let keep = i64::try_from(whole.len()).ok()?.saturating_add(exponent).saturating_add(6);
    let mut micros: i64 = 0;
    let mut rest = digits.iter();
    for _ in 0..keep.clamp(0, i64::try_from(digits.len()).ok()?.saturating_add(25)) {
        let digit = i64::from(rest.next().map_or(0, |digit| digit - b'0'));
        match micros.checked_mul(10).and_then(|micros| micros.checked_add(digit)) {
            Some(more) => micros = more,
            None => return Some(Money::MAX),
        }
    }
    Some(Money::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (json, micros) in [
            ("0.04", 40_000),
            ("3", 3_000_000),
            ("3e-2", 30_000),
            ("1E+2", 100_000_000),
            ("1e-05", 10),
            ("0.30000000000000004", 300_000),
            ("0.0399999999999", 39_999),
            ("0", 0),
            ("0e99999999999999999999", 0),
            ("1e-99999999999999999999", 0),
            ("123456.789", 123_456_789_000),
        ] {
            assert_eq!(floor(json), Some(Money::from_micros(micros)), "{json}");
        }
        assert_eq!(floor("1e300"), Some(Money::MAX));
        assert_eq!(floor("1e99999999999999999999"), Some(Money::MAX));
        assert_eq!(floor("99999999999999999999"), Some(Money::MAX));
        assert_eq!(floor("-1"), None);
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_the_exact_parser(micros in 0_i64..9_000_000_000_000_000) {
            let money = Money::from_micros(micros);
            proptest::prop_assert_eq!(floor(&money.to_string()), Some(money));
        }
    }
}
