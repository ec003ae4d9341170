//! The identity of an ask: equal fingerprints may share one purchase.
//!
//! Why it exists: joining must never hand one tenant's image to another, nor an image of other parameters. Everything
//! that shapes the image or its price is in the digest, each field under its own tag and length, so that no two asks
//! share bytes by accident. To add a field: one line in [`Fingerprint::of`].

use sha2::{Digest, Sha256};

use super::request::{Ask, ModelChoice, Quality};

/// SHA-256 of the canonical bytes of an ask in a tenant's scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of `ask` by `tenant`.
    pub fn of(tenant: &str, ask: &Ask) -> Self {
        let mut digest = Tagged(Sha256::new_with_prefix(b"tollgate ask v1"));
        digest.field(b"tenant", tenant.as_bytes());
        digest.field(b"prompt", ask.prompt.as_str().as_bytes());
        digest.field(b"size", ask.size.to_string().as_bytes());
        digest.field(b"n", &[ask.n]);
        digest.optional(b"seed", ask.seed.map(u32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
        digest.optional(b"negative", ask.negative_prompt.as_deref().map(str::as_bytes));
        digest.optional(b"task", ask.task.as_deref().map(str::as_bytes));
        match &ask.quality {
            None => digest.optional(b"quality", None),
            Some(Quality::AtLeast(p)) => digest.field(b"quality number", &p.to_be_bytes()),
            Some(Quality::Tier(tier)) => digest.field(b"quality tier", tier.as_bytes()),
        }
        let cap = ask.max_cost.map(|cap| cap.micros().to_be_bytes());
        digest.optional(b"cap", cap.as_ref().map(<[u8; 8]>::as_slice));
        let deadline = ask.deadline.map(|d| d.as_micros().to_be_bytes());
        digest.optional(b"deadline", deadline.as_ref().map(<[u8; 16]>::as_slice));
        match &ask.model {
            ModelChoice::Auto => digest.optional(b"model", None),
            ModelChoice::Pinned(id) => digest.field(b"model", id.as_bytes()),
        }
        let switches = [ask.data_policy as u8, ask.fit as u8, ask.output_format as u8, u8::from(ask.strict)];
        digest.field(b"switches", &switches);
        // Rules may read metadata, so it may shape the plan.
        for (name, value) in &ask.metadata {
            digest.field(b"metadata name", name.as_bytes());
            digest.field(b"metadata value", value.as_bytes());
        }
        Self(digest.0.finalize().into())
    }

    /// Of an idempotency key in the scope of its tenant and route.
    pub fn of_key(tenant: &str, route: &str, key: &str) -> Self {
        let mut digest = Tagged(Sha256::new_with_prefix(b"tollgate key v2"));
        digest.field(b"tenant", tenant.as_bytes());
        digest.field(b"route", route.as_bytes());
        digest.field(b"key", key.as_bytes());
        Self(digest.0.finalize().into())
    }

    /// Of what stands for a key when a client sends none: the ask itself.
    pub fn of_content(ask: &Self) -> Self {
        let mut digest = Tagged(Sha256::new_with_prefix(b"tollgate content v1"));
        digest.field(b"ask", &ask.0);
        Self(digest.0.finalize().into())
    }

    /// Of the purchase that follows after `takes` earlier ones of the same key were given up in doubt.
    #[must_use]
    pub fn take(&self, takes: u32) -> Self {
        if takes == 0 {
            return *self;
        }
        let mut digest = Tagged(Sha256::new_with_prefix(b"tollgate take v1"));
        digest.field(b"key", &self.0);
        digest.field(b"takes", &takes.to_be_bytes());
        Self(digest.0.finalize().into())
    }

    /// From 64 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Lower-case hex.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The digest.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).map_or('0', |&d| char::from(d));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of `bytes`, in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

struct Tagged(Sha256);

impl Tagged {
    fn field(&mut self, tag: &[u8], value: &[u8]) {
        for part in [tag, value] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    fn optional(&mut self, tag: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => self.field(tag, value),
            None => self.field(b"absent", tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::image::{Format, Size};
    use crate::domain::money::Money;
    use crate::domain::request::{DataPolicy, Fit, Prompt};

    fn ask() -> Ask {
        Ask::of(Prompt::new("a red bicycle").unwrap())
    }

    /// Changes one field at a time: each change alone must give a new fingerprint.
    #[test]
    fn every_field_that_shapes_the_image_counts() {
        let changes: Vec<fn(&mut Ask)> = vec![
            |a| a.prompt = Prompt::new("a red bicycle ").unwrap(),
            |a| a.size = Size::new(1024, 1025),
            |a| a.n = 2,
            |a| a.seed = Some(0),
            |a| a.negative_prompt = Some("".into()),
            |a| a.task = Some("photo".into()),
            |a| a.quality = Some(Quality::AtLeast(0.5)),
            |a| a.quality = Some(Quality::Tier("draft".into())),
            |a| a.max_cost = Some(Money::from_micros(1)),
            |a| a.deadline = Some(Duration::from_secs(1)),
            |a| a.model = ModelChoice::Pinned("a/b".into()),
            |a| a.data_policy = DataPolicy::OnPrem,
            |a| a.fit = Fit::Nearest,
            |a| a.output_format = Format::Webp,
            |a| a.strict = true,
            |a| drop(a.metadata.insert("a".into(), "bc".into())),
            |a| drop(a.metadata.insert("ab".into(), "c".into())),
        ];
        let mut prints = vec![Fingerprint::of("team", &ask()), Fingerprint::of("other", &ask())];
        for change in changes {
            let mut changed = ask();
            change(&mut changed);
            prints.push(Fingerprint::of("team", &changed));
        }
        for key in [("team", "generate", "k"), ("team", "generatek", ""), ("team", "generate", "l"), ("tea", "m", "k")]
        {
            let key = Fingerprint::of_key(key.0, key.1, key.2);
            prints.extend([key, key.take(1), key.take(2), Fingerprint::of_content(&key)]);
        }
        let distinct: std::collections::BTreeSet<_> = prints.iter().collect();
        assert_eq!(distinct.len(), prints.len());
        assert_eq!(Fingerprint::of("team", &ask()), prints[0]);
    }
}
