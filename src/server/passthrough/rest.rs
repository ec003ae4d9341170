//! A body that goes on after it was looked at: that it does not take back what its beginning said.
//!
//! Why it exists: the price is decided on the beginning of a body, and a field that comes a second time, megabytes later,
//! may be the one that the provider believes. The rest is read as it streams by, in bounded memory, and a body that
//! contradicts itself is not sent to its end; a provider does not begin what it has not wholly heard. What it refuses to
//! know: prices.

use super::fields::{at, part_head, said};
use super::skeleton::Skeleton;

/// The longest head of a form's part that is read.
const HEAD: usize = 1024;

/// What still may not be said.
#[derive(Debug)]
pub(super) enum Watch {
    /// A JSON object: once it is whole, these pointers have these texts.
    Json(Box<Skeleton>, Vec<(String, String)>),
    /// A form: none of these names comes again.
    Form(Box<Parts>),
}

impl Watch {
    /// Of a JSON body, none of which was fed yet.
    pub(super) fn json(most: usize, said: Vec<(String, String)>) -> Self {
        Self::Json(Box::new(Skeleton::of_at_most(most)), said)
    }

    /// Of a form, none of which was fed yet: each of these names may come once.
    pub(super) fn form(boundary: &str, names: Vec<String>) -> Self {
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // A body begins with its first delimiter, without a line before it.
        let names = names.into_iter().map(|name| (name, false)).collect();
        Self::Form(Box::new(Parts { delimiter, names, kept: b"\r\n".to_vec(), contradicts: false }))
    }

    /// Reads the next piece; false when the body contradicts its beginning.
    pub(super) fn holds(&mut self, piece: &[u8], end: bool) -> bool {
        match self {
            Self::Form(parts) => {
                parts.feed(piece);
                !parts.contradicts
            }
            Self::Json(skeleton, told) => {
                skeleton.feed(piece);
                !end || whole_says(std::mem::replace(&mut **skeleton, Skeleton::of_at_most(0)), told)
            }
        }
    }
}

fn whole_says(skeleton: Skeleton, told: &[(String, String)]) -> bool {
    let whole = skeleton.whole().and_then(|kept| serde_json::from_slice::<serde_json::Value>(&kept).ok());
    let Some(whole) = whole else {
        return false;
    };
    told.iter().all(|(pointer, text)| at(&whole, pointer).and_then(said).as_ref() == Some(text))
}

/// The parts of a form as they stream by.
#[derive(Debug)]
pub(super) struct Parts {
    delimiter: Vec<u8>,
    /// Names, and whether they came.
    names: Vec<(String, bool)>,
    /// What may be the beginning of a delimiter, or of a part's head.
    kept: Vec<u8>,
    contradicts: bool,
}

impl Parts {
    fn feed(&mut self, piece: &[u8]) {
        let mut kept = std::mem::take(&mut self.kept);
        if kept.is_empty() {
            self.scan(piece);
        } else {
            kept.extend_from_slice(piece);
            self.scan(&kept);
        }
    }

    /// Reads every head that is whole, and keeps from where something may begin.
    fn scan(&mut self, mut rest: &[u8]) {
        while let Some(at) = rest.iter().position(|byte| *byte == b'\r') {
            rest = rest.get(at..).unwrap_or_default();
            let compared = rest.len().min(self.delimiter.len());
            if rest.get(..compared) != self.delimiter.get(..compared) {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let head = rest.get(self.delimiter.len()..).unwrap_or_default();
            let end = head.windows(4).take(HEAD).position(|window| window == b"\r\n\r\n");
            match end {
                Some(end) => {
                    self.part(head.get(..end + 4).unwrap_or_default());
                    // The line that ends the head may begin the next delimiter.
                    rest = head.get(end + 2..).unwrap_or_default();
                }
                None if head.len() > HEAD => rest = head,
                None => {
                    self.kept = rest.to_vec();
                    return;
                }
            }
        }
    }

    fn part(&mut self, head: &[u8]) {
        let Some((name, _)) = part_head(head) else {
            return;
        };
        if let Some((_, came)) = self.names.iter_mut().find(|(watched, _)| *watched == name) {
            self.contradicts |= *came;
            *came = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(second: &str) -> Vec<u8> {
        let mut body = b"--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ncheap\r\n\
            --B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n"
            .to_vec();
        body.extend((0..5_000).flat_map(|at: u32| [b'\r', b'\n', b'-', b'-', b'B' - 1, at.to_le_bytes()[0]]));
        body.extend_from_slice(
            format!("\r\n--B\r\nContent-Disposition: form-data; name=\"{second}\"\r\n\r\ndear\r\n--B--\r\n").as_bytes(),
        );
        body
    }

    fn holds(mut watch: Watch, body: &[u8], step: usize) -> bool {
        let pieces = body.chunks(step);
        let last = pieces.len() - 1;
        pieces.enumerate().all(|(at, piece)| watch.holds(piece, at == last))
    }

    #[test]
    fn a_form_says_a_thing_once() {
        for step in [1, 2, 3, 64, 1_000, 100_000] {
            let watch = || Watch::form("B", vec!["model".into()]);
            assert!(holds(watch(), &form("prompt"), step), "in steps of {step}");
            assert!(!holds(watch(), &form("model"), step), "in steps of {step}");
        }
    }

    #[test]
    fn a_later_word_of_json_is_compared() {
        let said = || vec![("/model".to_owned(), "cheap".to_owned())];
        let body = |late: &str| format!(r#"{{"model":"cheap","image":"{}","{late}":"dear"}}"#, "A".repeat(200_000));
        for step in [7, 4_096, 1_000_000] {
            assert!(holds(Watch::json(64 * 1024, said()), body("style").as_bytes(), step));
            assert!(!holds(Watch::json(64 * 1024, said()), body("model").as_bytes(), step));
            assert!(!holds(Watch::json(64 * 1024, said()), &body("style").as_bytes()[..100_000], step), "not JSON");
        }
    }
}
