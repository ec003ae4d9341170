//! A path of a provider's API with named parts.
//!
//! Why it exists: a model's name stands in the path at some providers, and the path alone says what is bought at others.
//! What it refuses to know: prices, queries, escapes; a path is held against the pattern as it was sent.

use std::fmt;

/// A path with named parts: `/v1beta/models/{model}:generateContent`; a last `**` takes whatever follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    segments: Vec<Segment>,
    open: bool,
}

/// The parts of a path that a pattern names, in its order.
pub type Captures<'a> = Vec<(&'a str, &'a str)>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    before: Box<str>,
    name: Option<Box<str>>,
    after: Box<str>,
}

impl Pattern {
    /// A pattern as the policy writes it, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let path = text.strip_prefix('/').ok_or("does not begin with a slash")?;
        let (path, open) = match path.strip_suffix("**") {
            Some(path) => (path.strip_suffix('/').unwrap_or(path), true),
            None => (path, false),
        };
        if path.contains('*') {
            return Err("has a `*` before its end");
        }
        if path.contains(['?', '#', ' ']) {
            return Err("has a character that no path has");
        }
        let whole = open && path.is_empty();
        let segments =
            if whole { Vec::new() } else { path.split('/').map(Segment::parse).collect::<Result<_, _>>()? };
        Ok(Self { text: text.into(), segments, open })
    }

    /// As the policy writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has a part of that name.
    pub fn names(&self, name: &str) -> bool {
        self.segments.iter().any(|segment| segment.name.as_deref() == Some(name))
    }

    /// The named parts of `path`, when it fits. A part is never empty.
    pub fn captures<'a>(&'a self, path: &'a str) -> Option<Captures<'a>> {
        let mut rest = path.strip_prefix('/')?.split('/');
        let mut captures = Vec::new();
        for segment in &self.segments {
            let part = rest.next()?.strip_prefix(&*segment.before)?.strip_suffix(&*segment.after)?;
            match &segment.name {
                Some(name) if !part.is_empty() => captures.push((&**name, part)),
                None if part.is_empty() => {}
                _ => return None,
            }
        }
        (self.open || rest.next().is_none()).then_some(captures)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let Some((before, rest)) = text.split_once('{') else {
            let plain = if text.contains('}') { Err("closes a `{` that it does not open") } else { Ok(text) };
            return Ok(Self { before: plain?.into(), name: None, after: "".into() });
        };
        let (name, after) = rest.split_once('}').ok_or("opens a `{` that it does not close")?;
        let plain = |text: &str| !text.contains(['{', '}']);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') || !plain(after) {
            return Err("names a part by more than one word");
        }
        Ok(Self { before: before.into(), name: Some(name.into()), after: after.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures<'a>(pattern: &'a Pattern, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        pattern.captures(path)
    }

    #[test]
    fn a_pattern_names_parts_of_a_path() {
        let gemini = Pattern::parse("/v1beta/models/{model}:generateContent").unwrap();
        assert_eq!(captures(&gemini, "/v1beta/models/g-3:generateContent"), Some(vec![("model", "g-3")]));
        for other in [
            "/v1beta/models/:generateContent",
            "/v1beta/models/g-3:predict",
            "/v1beta/models/g-3:generateContent/x",
            "/v1beta/models",
            "v1beta/models/g-3:generateContent",
        ] {
            assert_eq!(captures(&gemini, other), None, "{other}");
        }
        let open = Pattern::parse("/v2beta/results/**").unwrap();
        assert_eq!(captures(&open, "/v2beta/results/a/b"), Some(vec![]));
        assert_eq!(captures(&open, "/v2beta/resultsx"), None);
        assert_eq!(captures(&Pattern::parse("/**").unwrap(), "/any/thing"), Some(vec![]));
    }

    #[test]
    fn a_pattern_that_is_none_says_why() {
        for (text, why) in [
            ("v1", "does not begin with a slash"),
            ("/a/*/b", "has a `*` before its end"),
            ("/a?b", "has a character that no path has"),
            ("/{a", "opens a `{` that it does not close"),
            ("/a}", "closes a `{` that it does not open"),
            ("/{}", "names a part by more than one word"),
            ("/{a}{b}", "names a part by more than one word"),
        ] {
            assert_eq!(Pattern::parse(text), Err(why), "{text}");
        }
    }
}
