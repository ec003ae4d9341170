//! An address that a policy names, taken apart once.
//!
//! Why it exists: every call goes below such an address, and to read a URL anew costs more than to encode the call. What it
//! refuses to know: which addresses are allowed (`guard`).

use std::sync::Arc;

use url::Url;

/// Scheme, host, port and path prefix; no slash at the end.
#[derive(Clone, Debug)]
pub struct Base {
    text: Arc<str>,
    /// `None` when the text is no URL.
    url: Option<Url>,
}

impl<T: Into<Arc<str>>> From<T> for Base {
    fn from(text: T) -> Self {
        let text = text.into();
        Self { url: Url::parse(&text).ok(), text }
    }
}

impl Base {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As a URL.
    pub fn url(&self) -> Option<&Url> {
        self.url.as_ref()
    }

    /// The URL of a path and query that begins with a slash, as if both were written in one line.
    pub(super) fn below(&self, target: &str) -> Option<Url> {
        let base = self.url.as_ref().filter(|_| target.starts_with('/'))?;
        // What a URL is read as differs from what was written where that has dots for segments, or a port that is the usual.
        let as_written = base.as_str().trim_end_matches('/') == &*self.text;
        if !as_written || !target.bytes().all(is_plain) {
            return Url::parse(&format!("{}{target}", self.text)).ok();
        }
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut url = base.clone();
        match base.path() {
            "/" => url.set_path(path),
            prefix => url.set_path(&[prefix, path].concat()),
        }
        url.set_query(query);
        Some(url)
    }
}

/// What means the same wherever in a path or query it stands.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'?' | b'.' | b'-' | b'_' | b'~' | b':' | b'=' | b'&' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_target_is_read_as_if_it_were_written_in_one_line(
            base in "https?://(a\\.example|127\\.0\\.0\\.1:9100|\\[::1\\]:80)(/[a-z%20.]{1,4}){0,2}",
            target in "/[a-zA-Z0-9/?.:=&%#\\\\ é\\t-]{0,12}",
        ) {
            let whole = Url::parse(&format!("{base}{target}")).ok();
            proptest::prop_assert_eq!(Base::from(base).below(&target), whole);
        }
    }

    #[test]
    fn what_is_no_address_leads_nowhere() {
        assert_eq!(Base::from("").below("/v1"), None);
        assert_eq!(Base::from("https://a.example").below("v1"), None);
    }
}
