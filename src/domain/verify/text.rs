//! Whether the text that was asked for can be read in the picture.
//!
//! Why it exists: misspelt lettering is what people reject first in typography, and a reader sees it for nothing. The
//! measure is the character error rate: edits from the asked text to the nearest stretch of what was read, over the
//! asked text's length. Letters and digits count, in any case; spaces and ornaments do not, since readers invent them.
//! What it refuses to know: who reads.

use super::Judgement;

/// Holds what was `read` against every `asked` span; the worst span decides.
pub fn judge(asked: &[&str], read: &str, most_wrong: f64) -> Judgement {
    let seen = letters(read);
    let rated = asked.iter().map(|span| (error_rate(&letters(span), &seen), *span));
    let Some((rate, span)) = rated.max_by(|a, b| a.0.total_cmp(&b.0)) else {
        return Judgement { passed: true, seen: "no text was asked for".to_owned() };
    };
    let read: String = read.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(60).collect();
    let seen = format!("\"{span}\" read as \"{read}\", {:.0} % of it wrong", rate * 100.0);
    Judgement { passed: rate <= most_wrong, seen }
}

fn letters(text: &str) -> Vec<char> {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The least edits that make `asked` of some stretch of `read`, for each character of `asked`; 0 when nothing is asked.
fn error_rate(asked: &[char], read: &[char]) -> f64 {
    // Sellers' approximate matching: a row for each asked character, and a match may begin anywhere for nothing.
    let mut row = vec![0u32; read.len() + 1];
    for (done, wanted) in (1u32..).zip(asked) {
        let mut diagonal = std::mem::replace(row.first_mut().unwrap_or(&mut 0), done);
        let mut left = done;
        for (cell, found) in row.iter_mut().skip(1).zip(read) {
            let best = (diagonal + u32::from(wanted != found)).min(*cell + 1).min(left + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
    }
    let edits = row.iter().min().copied().unwrap_or_default();
    f64::from(edits) / (asked.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(asked: &str, read: &str) -> f64 {
        error_rate(&letters(asked), &letters(read))
    }

    #[test]
    fn edits_are_counted_within_the_nearest_stretch() {
        for (asked, read, wrong) in [
            ("OPEN LATE", "xx open late yy", 0.0),
            ("OPEN LATE", "0PEN LATE", 1.0 / 8.0),
            ("OPEN", "OPN", 0.25),
            ("OPEN", "OPPEN", 0.25),
            ("OPEN", "", 1.0),
            ("", "anything", 0.0),
            ("GRÜSSE", "grüsse!", 0.0),
        ] {
            assert!((rate(asked, read) - wrong).abs() < 1e-12, "{asked} {read}");
        }
    }

    #[test]
    fn the_worst_span_decides() {
        let judgement = judge(&["OPEN", "LATE"], "open\n\nlots", 0.2);
        assert!(!judgement.passed && judgement.seen.contains("\"LATE\""), "{judgement:?}");
        assert!(judge(&["OPEN", "LATE"], "LATE OPEN", 0.2).passed);
        assert!(judge(&[], "", 0.0).passed);
    }
}
