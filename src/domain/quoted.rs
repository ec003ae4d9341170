//! The text that a prompt quotes, to be drawn in the picture.
//!
//! Why it exists: a prompt that quotes text is typography to the classifier, and the text is what a verifier looks for
//! in the picture; both read it here. What it refuses to know: tasks and pictures. Source of the rule: routing notes 4.1.

/// The longest quoted span that is text, in characters.
const MAX_QUOTED: usize = 80;

/// Words beside which a single-quoted span is text to be drawn; elsewhere `'` is mostly an apostrophe.
const TEXT_WORDS: [&str; 30] = [
    "banner",
    "caption",
    "captioned",
    "engraved",
    "headline",
    "label",
    "labeled",
    "labelled",
    "letter",
    "lettering",
    "letters",
    "logo",
    "phrase",
    "poster",
    "read",
    "reading",
    "reads",
    "say",
    "saying",
    "says",
    "sign",
    "slogan",
    "spelling",
    "spells",
    "text",
    "title",
    "titled",
    "word",
    "words",
    "written",
];

/// Whether the prompt quotes text to be drawn: a double-quoted span of 1 to 80 characters, or a single-quoted one with
/// a word such as "says" or "logo" beside it.
pub fn any(prompt: &str) -> bool {
    !spans(prompt).is_empty()
}

/// The quoted spans, without their quotes.
pub fn spans(prompt: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (open, close) in [('"', '"'), ('\u{201c}', '\u{201d}'), ('\u{201e}', '\u{201c}'), ('\u{ab}', '\u{bb}')] {
        doubly_quoted(prompt, open, close, &mut found);
    }
    for (open, close) in [('\'', '\''), ('\u{2018}', '\u{2019}')] {
        singly_quoted(prompt, open, close, &mut found);
    }
    found
}

/// A `"` behind a digit is an inch mark and opens nothing.
fn doubly_quoted<'p>(prompt: &'p str, open: char, close: char, found: &mut Vec<&'p str>) {
    let mut rest = prompt;
    while let Some((before, inside)) = rest.split_once(open) {
        if before.ends_with(|c: char| c.is_ascii_digit()) {
            rest = inside;
            continue;
        }
        let Some((span, after)) = inside.split_once(close) else {
            return;
        };
        if is_text(span) {
            found.push(span);
        }
        rest = after;
    }
}

/// A quote that opens after a space (or at the start) and closes before none: an apostrophe stands between letters.
fn singly_quoted<'p>(prompt: &'p str, open: char, close: char, found: &mut Vec<&'p str>) {
    let mut from = 0;
    while let Some(at) = prompt.get(from..).and_then(|rest| rest.find(open)).map(|at| from + at) {
        from = at + open.len_utf8();
        let (before, inside) = (prompt.get(..at).unwrap_or_default(), prompt.get(from..).unwrap_or_default());
        if before.ends_with(char::is_alphanumeric) {
            continue;
        }
        let mut ends = inside.match_indices(close).filter_map(|(end, mark)| {
            let (span, after) = (inside.get(..end)?, inside.get(end + mark.len()..)?);
            (!after.starts_with(char::is_alphanumeric)).then_some((span, after))
        });
        let Some((span, after)) = ends.next() else {
            return;
        };
        if is_text(span) && (text_word_ends(before) || text_word_begins(after)) {
            found.push(span);
        }
    }
}

fn is_text(span: &str) -> bool {
    span.contains(char::is_alphanumeric) && span.chars().take(MAX_QUOTED + 1).count() <= MAX_QUOTED
}

/// Whether one of the last three words is about text: `the words 'open late'`, `a sign that says 'stop'`.
fn text_word_ends(before: &str) -> bool {
    let words = before.rsplit(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.take(3).any(is_text_word)
}

/// Whether one of the next two words is: `'open late' written in neon`.
fn text_word_begins(after: &str) -> bool {
    let words = after.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.take(2).any(is_text_word)
}

fn is_text_word(word: &str) -> bool {
    let lower = word.to_lowercase();
    TEXT_WORDS.contains(&lower.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quoted_span_is_found_once() {
        assert_eq!(spans("a sign \"OPEN\" and \u{201c}LATE\u{201d}, 12\" wide"), ["OPEN", "LATE"]);
        assert_eq!(spans("a poster that says 'it's on' tonight"), ["it's on"]);
        assert!(spans("the dog's bone and the cat's tail").is_empty());
        assert!(!any("\"\"") && !any("nothing"));
    }
}
