//! JSON without its long texts, read as it streams by.
//!
//! Why it exists: an answer says what it cost in a few words beside megabytes of base64, and a request names its model
//! beside pictures. This keeps the words and leaves each long text out, in bounded memory, whatever the body's length.
//! What it refuses to know: what the words mean.

/// A text longer than this is left out; a sentence of a provider is shorter, a picture is not.
const LONGEST: usize = 1024;
/// What stands for a text that was left out: valid base64, so that a reader sees that something was there.
const LEFT_OUT: &[u8] = b"AAAA";

/// Most of what is kept is no longer than this.
const TYPICAL: usize = 512;

/// A JSON text on its way.
#[derive(Debug)]
pub(super) struct Skeleton {
    kept: Vec<u8>,
    most: usize,
    /// Where the text begins that is being read.
    text: Option<usize>,
    escaped: bool,
    long: bool,
    depth: u32,
    /// The end of the last whole member of the outermost object.
    member: Option<usize>,
    overflowed: bool,
}

impl Skeleton {
    /// Keeps at most so many bytes.
    pub(super) fn of_at_most(most: usize) -> Self {
        Self {
            kept: Vec::new(),
            most,
            text: None,
            escaped: false,
            long: false,
            depth: 0,
            member: None,
            overflowed: false,
        }
    }

    /// Reads the next piece.
    pub(super) fn feed(&mut self, mut piece: &[u8]) {
        self.kept.reserve(piece.len().min(TYPICAL));
        while !piece.is_empty() && !self.overflowed {
            piece = if self.text.is_some() { self.within(piece) } else { self.between(piece) };
            self.overflowed = self.kept.len() > self.most;
        }
    }

    /// The whole text, once all of it was read.
    pub(super) fn whole(self) -> Option<Vec<u8>> {
        (!self.overflowed && self.text.is_none() && self.depth == 0).then_some(self.kept)
    }

    /// The outermost object with the members that were whole so far.
    pub(super) fn so_far(mut self) -> Option<Vec<u8>> {
        self.kept.truncate(self.member?);
        self.kept.push(b'}');
        Some(self.kept)
    }

    /// Up to the end of the text.
    fn within<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        if self.escaped {
            self.escaped = false;
            let (first, rest) = piece.split_at(1);
            self.keep(first);
            return rest;
        }
        let end = memchr::memchr2(b'"', b'\\', piece).unwrap_or(piece.len());
        let (plain, rest) = piece.split_at(end);
        self.keep(plain);
        match rest.split_first() {
            None => rest,
            Some((b'\\', after)) => {
                self.keep(b"\\");
                self.escaped = true;
                after
            }
            Some((_, after)) => {
                (self.text, self.long) = (None, false);
                self.kept.push(b'"');
                after
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Some(start) = self.text.filter(|_| !self.long) else {
            return;
        };
        if self.kept.len() - start + bytes.len() > LONGEST {
            self.kept.truncate(start);
            self.kept.extend_from_slice(LEFT_OUT);
            self.long = true;
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// Up to the beginning of the next text.
    fn between<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let end = memchr::memchr(b'"', piece);
        let (plain, rest) = piece.split_at(end.map_or(piece.len(), |end| end + 1));
        // One byte beyond what may be kept tells that there was more.
        let plain = plain.get(..=self.most - self.kept.len()).unwrap_or(plain);
        for (at, byte) in (self.kept.len()..).zip(plain) {
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b',' if self.depth == 1 => self.member = Some(at),
                _ => {}
            }
        }
        self.kept.extend_from_slice(plain);
        if end.is_some() {
            self.text = Some(self.kept.len());
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &[u8], step: usize) -> Skeleton {
        let mut skeleton = Skeleton::of_at_most(64 * 1024);
        text.chunks(step).for_each(|piece| skeleton.feed(piece));
        skeleton
    }

    /// Wherever a body is cut on its way, the words are the same, and the pictures are not kept.
    #[test]
    fn words_are_kept_and_pictures_are_not() {
        let picture = "iVBOR\\\"w0K".repeat(1000);
        let body = format!(
            r#"{{"data":[{{"b64_json":"{picture}"}}],"note":"a \"quoted\" [word], {{brace}}","usage":{{"output_tokens":1756}}}}"#
        );
        let short = json!({"data": [{"b64_json": "AAAA"}], "note": "a \"quoted\" [word], {brace}",
                           "usage": {"output_tokens": 1756}});
        for step in [1, 2, 3, 7, 4096, body.len()] {
            let kept = read(body.as_bytes(), step).whole().unwrap();
            assert!(kept.len() < 200);
            assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), short, "in steps of {step}");
        }
    }

    #[test]
    fn what_was_whole_so_far_can_be_read() {
        let body = r#"{"model":"gpt-image-2","n":2,"prompt":"a fo"#;
        for step in [1, 5, body.len()] {
            let kept = read(body.as_bytes(), step).so_far().unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), json!({"model": "gpt-image-2", "n": 2}));
        }
        assert_eq!(read(br#"{"model":"gpt"#, 3).so_far(), None);
        assert_eq!(read(b"[1,2", 3).so_far().map(|kept| serde_json::from_slice::<Value>(&kept).is_err()), Some(true));
    }

    #[test]
    fn memory_is_bounded() {
        let mut skeleton = Skeleton::of_at_most(1024);
        for _ in 0..10_000 {
            skeleton.feed(b"[1, 2, 3, \"four\"],");
        }
        assert!(skeleton.kept.capacity() < 4096);
        assert_eq!(skeleton.whole(), None);
    }
}
