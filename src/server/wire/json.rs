//! Writes JSON text from left to right, with no tree in between.
//!
//! Why it exists: an answer is a small head, megabytes of pictures and a small tail; the head and tail are written once,
//! as they are sent. What it refuses to know: what it writes. Keys are our own words and need no escaping.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use crate::domain::money::Money;

/// JSON being written. Commas come by themselves; brackets are the caller's to balance.
#[derive(Debug)]
pub(in crate::server) struct Json {
    text: String,
    comma: bool,
}

/// An answer about one picture fits.
const ROOM: usize = 1024;

impl Default for Json {
    fn default() -> Self {
        Self { text: String::with_capacity(ROOM), comma: false }
    }
}

impl Json {
    /// What was written since the last [`Json::take`].
    pub(in crate::server) fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// All that was written.
    pub(in crate::server) fn finish(self) -> String {
        self.text
    }

    /// A whole object.
    pub(in crate::server) fn object(&mut self, fields: impl FnOnce(&mut Self)) -> &mut Self {
        self.open('{');
        fields(self);
        self.close('}')
    }

    /// A whole array of `items`.
    pub(in crate::server) fn array<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.open('[');
        for each in items {
            item(self, each);
        }
        self.close(']')
    }

    /// The key of the next value.
    pub(in crate::server) fn key(&mut self, name: &str) -> &mut Self {
        self.separate();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        self.comma = false;
        self
    }

    /// A string, escaped.
    pub(in crate::server) fn text(&mut self, value: &str) -> &mut Self {
        self.separate();
        if value.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.text.push('"');
            self.text.push_str(value);
            self.text.push('"');
        } else {
            self.text.push_str(&serde_json::to_string(value).unwrap_or_else(|_| "\"\"".to_owned()));
        }
        self
    }

    /// A string whose characters need no escaping, left open for the caller to write and close.
    pub(in crate::server) fn open_text(&mut self) {
        self.separate();
        self.text.push('"');
    }

    /// The end of [`Json::open_text`].
    pub(in crate::server) fn close_text(&mut self) {
        self.text.push('"');
    }

    /// A string, or `null`.
    pub(in crate::server) fn text_or_null(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => self.raw("null"),
        }
    }

    /// A number or word that is JSON as it prints.
    pub(in crate::server) fn raw(&mut self, value: impl Display) -> &mut Self {
        self.separate();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{value}");
        self
    }

    /// Dollars, exactly.
    pub(in crate::server) fn usd(&mut self, value: Money) -> &mut Self {
        self.raw(value)
    }

    /// A number rounded to four decimals; `null` when it is none.
    pub(in crate::server) fn number(&mut self, value: f64) -> &mut Self {
        if value.is_finite() { self.raw((value * 1e4).round() / 1e4) } else { self.raw("null") }
    }

    /// Whole milliseconds.
    pub(in crate::server) fn millis(&mut self, value: Duration) -> &mut Self {
        self.raw(value.as_millis())
    }

    /// An array of strings.
    pub(in crate::server) fn texts<'a>(&mut self, values: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.array(values, |json, value| {
            json.text(value);
        })
    }

    /// The beginning of an object or array that is closed by hand.
    pub(in crate::server) fn open(&mut self, bracket: char) {
        self.separate();
        self.text.push(bracket);
        self.comma = false;
    }

    /// The end of one.
    pub(in crate::server) fn close(&mut self, bracket: char) -> &mut Self {
        self.text.push(bracket);
        self.comma = true;
        self
    }

    fn separate(&mut self) {
        if self.comma {
            self.text.push(',');
        }
        self.comma = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let mut json = Json::default();
        json.object(|json| {
            json.key("a").text("q\"\n\u{1}ü");
            json.key("b").usd(Money::from_micros(35_000));
            json.key("c").array([1, 2], |json, n| {
                json.raw(n);
            });
            json.key("d").object(|json| {
                json.key("e").number(0.712_345_6);
                json.key("f").number(f64::NAN);
                json.key("g").text_or_null(None);
            });
            json.key("h").texts(["x", "y"]);
            json.key("i").millis(Duration::from_millis(12));
            json.key("j").number(5123.0);
        });
        let text = json.finish();
        assert_eq!(
            text,
            r#"{"a":"q\"\n\u0001ü","b":0.035,"c":[1,2],"d":{"e":0.7123,"f":null,"g":null},"h":["x","y"],"i":12,"j":5123}"#
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}
