//! Small functions over names: "did you mean", patterns, articles.
//!
//! Why it exists: every message about a name suggests alike. What it refuses to know: what the names stand for.

/// The known name nearest to `name`, when one is near enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (name.chars().count() / 3).clamp(1, 3);
    let near = known.map(|other| (strsim::damerau_levenshtein(name, other), other)).min()?;
    (near.0 <= most && near.1 != name).then_some(near.1)
}

/// `did you mean …?`, or the known names when none is near and they are few, or nothing.
pub(super) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(near) = nearest(name, known.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let names: Vec<&str> = known.collect();
    (1..=12).contains(&names.len()).then(|| format!("known: {}", names.join(", ")))
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

/// `a list`, `text`.
pub(super) fn with_article(kind: &str) -> String {
    if kind == "text" { kind.to_owned() } else { format!("a {kind}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["deadline", "quality", "max_cost_usd"];
        assert_eq!(nearest("deadlin", known.into_iter()), Some("deadline"));
        assert_eq!(nearest("qaulity", known.into_iter()), Some("quality"));
        assert_eq!(nearest("banana", known.into_iter()), None);
    }

    #[test]
    fn stars_match_any_characters() {
        for (pattern, text, expected) in [
            ("ideogram/*", "ideogram/v3", true),
            ("ideogram/*", "openai/v3", false),
            ("*-turbo", "ideogram/v3-turbo", true),
            ("*-turbo", "ideogram/v3-turbo-2", false),
            ("*/sd3.5-*", "comfyui/sd3.5-large", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("same", "same", true),
            ("same", "same/", false),
            ("ab*ab", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
