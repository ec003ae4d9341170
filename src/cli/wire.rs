//! What a gateway answers, as far as the commands read it.
//!
//! Why it exists: a client takes what it needs and ignores the rest, so that it also works with a newer gateway. What
//! it refuses to know: what is done with it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::domain::money::Money;

/// The answer of `POST /generate`.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// `gen_…`.
    pub(crate) id: String,
    /// The pictures.
    pub(crate) images: Vec<Picture>,
    /// The model that made them.
    pub(crate) model: String,
    /// The task.
    #[serde(default)]
    pub(crate) task: String,
    /// The plan that ran.
    #[serde(default)]
    pub(crate) plan: Ran,
    /// The money.
    pub(crate) cost: Cost,
    /// `fresh`, `joined` or `replayed`.
    pub(crate) served: String,
    /// Where it differs from the ask.
    #[serde(default)]
    pub(crate) adjustments: Vec<String>,
    /// What the caller should know.
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
}

/// One picture.
#[derive(Debug, Deserialize)]
pub(crate) struct Picture {
    /// The bytes in base64.
    pub(crate) b64_json: Option<String>,
    /// Lower-case hex of the bytes' SHA-256.
    pub(crate) sha256: String,
    /// `image/png` and so on.
    pub(crate) media_type: String,
}

/// The plan that ran.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Ran {
    /// The rule that decided, if one.
    pub(crate) rule: Option<String>,
    /// What was expected.
    pub(crate) expected: Option<Expected>,
}

/// What was expected of a plan.
#[derive(Debug, Deserialize)]
pub(crate) struct Expected {
    /// Probability of acceptance.
    pub(crate) accept: f64,
}

/// The money of an answer or of a refusal.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Cost {
    /// What this caller paid.
    #[serde(default, deserialize_with = "money")]
    pub(crate) usd: Money,
    /// `settled` or `ambiguous`.
    #[serde(default)]
    pub(crate) state: String,
    /// The purchase's attempts.
    #[serde(default)]
    pub(crate) attempts: Vec<Attempt>,
}

/// One call to a provider.
#[derive(Debug, Deserialize)]
pub(crate) struct Attempt {
    /// What it cost.
    #[serde(default, deserialize_with = "money")]
    pub(crate) usd: Money,
    /// What is held while it is not known what it cost.
    #[serde(default, deserialize_with = "money")]
    pub(crate) held_usd: Money,
    /// `yes`, `no` or `unknown`.
    #[serde(default)]
    pub(crate) billed: String,
}

impl Attempt {
    /// Whether its money is in doubt.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.billed == "unknown"
    }
}

/// What the purchase behind an answer cost, whoever paid it.
pub(crate) fn purchase(attempts: &[Attempt]) -> Money {
    attempts.iter().filter(|attempt| attempt.billed == "yes").map(|attempt| attempt.usd).sum()
}

/// What is in doubt, if anything is.
pub(crate) fn doubt(attempts: &[Attempt]) -> Option<Money> {
    let doubtful = || attempts.iter().filter(|attempt| attempt.is_doubtful());
    doubtful().next().map(|_| doubtful().map(|attempt| attempt.held_usd.max(attempt.usd)).sum())
}

/// Money as JSON: a number of dollars. The shortest decimal that reads back as the same float is the exact amount.
pub(crate) fn dollars(amount: Money) -> Value {
    amount.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// A number of dollars, in any spelling of JSON; what is finer than a micro-dollar is rounded up.
pub(crate) fn money_of(number: f64) -> Option<Money> {
    let text = number.to_string();
    text.parse().ok().or_else(|| format!("{:.6}", number + 5e-7).parse().ok())
}

/// Money that stands in JSON as a number of dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usd(pub(crate) Money);

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        dollars(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        money(deserializer).map(Self)
    }
}

fn money<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
    let number = f64::deserialize(deserializer)?;
    money_of(number).ok_or_else(|| serde::de::Error::custom("not an amount of dollars"))
}

/// A time as text: `2026-11-22T22:12:49.123Z`.
pub(crate) mod instant {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{time:.3}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
        text
    })
}

/// The SHA-256 of these bytes, in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_survive_json() {
        for text in ["0.035", "0.000001", "12.30", "0.10", "0.00"] {
            let amount: Money = text.parse().unwrap();
            let json = serde_json::to_string(&dollars(amount)).unwrap();
            let back: f64 = serde_json::from_str(&json).unwrap();
            assert_eq!(money_of(back), Some(amount), "{json}");
        }
        assert_eq!(money_of(0.000_000_1), Some(Money::from_micros(1)));
    }

    #[test]
    fn hex_is_lower_case() {
        assert_eq!(hex(&[0x00, 0xab, 0xff]), "00abff");
    }
}
