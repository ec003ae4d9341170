//! The body of `POST /generations/{id}/upscale`: what is wanted of an approved draft.
//!
//! Why it exists: a second pass takes its prompt, task and seed from the draft, so its body is a part of `/generate`'s,
//! read by the same readers. What it refuses to know: the draft.

use super::ask::{Parsed, QUALITY, common_of, quality};
use super::fields::{Fields, Surface};
use super::size;
use super::value::bad;
use crate::domain::refusal::Refusal;
use crate::domain::request::{Ask, MAX_IMAGES, Prompt};

/// A body, read.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::server) struct Wanted {
    /// With a prompt that nobody reads: the draft's own takes its place.
    pub(in crate::server) parsed: Parsed,
    /// Which of the generation's pictures, from 0.
    pub(in crate::server) image: u8,
    /// Whether the body says where the picture may go.
    pub(in crate::server) names_data_policy: bool,
}

/// Reads the body.
pub(in crate::server) fn parse(body: &[u8]) -> Result<Wanted, Refusal> {
    let fields = Fields::read(body, Surface::Upscale)?;
    let nobody_reads_it = Prompt::new("-").ok_or(Refusal::Internal)?;
    let mut ask = common_of(&fields, Ask::of(nobody_reads_it))?;
    let wanted = "say how large: {\"width\":2048,\"height\":2048}";
    ask.size = size::read(&fields)?.ok_or_else(|| bad("/width", wanted))?;
    if let Some(value) = fields.value("quality") {
        ask.quality = Some(quality(&fields)?.ok_or_else(|| value.wants(QUALITY))?);
    }
    let image = fields.value("image").map(|value| value.integer(0..=u64::from(MAX_IMAGES) - 1, 1)).transpose()?;
    let parsed = Parsed {
        ask,
        webhook: None,
        warnings: fields.warnings(),
        names_format: fields.value("output_format").is_some(),
    };
    Ok(Wanted {
        parsed,
        image: image.and_then(|image| u8::try_from(image).ok()).unwrap_or_default(),
        names_data_policy: fields.value("data_policy").is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::Size;

    #[test]
    fn a_size_is_all_that_must_be_said() {
        let wanted = parse(br#"{"width":2048,"height":1024,"image":2,"prompt":"another"}"#).unwrap();
        assert_eq!((wanted.parsed.ask.size, wanted.image), (Size::new(2048, 1024), 2));
        assert!(wanted.parsed.warnings[0].contains("prompt"), "{:?}", wanted.parsed.warnings);
        for (body, pointer) in
            [("{}", "/width"), (r#"{"width":9,"height":9}"#, "/width"), (r#"{"size":"2048x2048","image":8}"#, "/image")]
        {
            let Err(Refusal::InvalidRequest { pointer: at, .. }) = parse(body.as_bytes()) else { panic!("{body}") };
            assert_eq!(at, pointer);
        }
    }
}
