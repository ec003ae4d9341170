//! From a provider's bytes to a served picture: sniff, bound, fit, hash, store.
//!
//! Why it exists: nothing that a provider sends is believed before its header was read, and nothing is decoded unless
//! its pixels must change. What it refuses to know: who asked and what it cost.

use std::sync::Arc;

use bytes::Bytes;

use super::draft::Draft;
use super::served::ServedImage;
use crate::domain::fingerprint::sha256_hex;
use crate::domain::image::{Format, Size, sniff};
use crate::domain::verify::likeness::Places;
use crate::domain::verify::structure::SIDE;
use crate::provider::RawImage;
use crate::provider::local::{self, Bounds};
use crate::state::Images;

/// A picture whose header was read and found within bounds.
#[derive(Clone, Debug)]
pub(super) struct Artifact {
    pub(super) bytes: Bytes,
    pub(super) format: Format,
    /// What its header says.
    pub(super) size: Size,
    /// What was bought.
    pub(super) asked: Size,
    /// As the provider names it, else as it was sent.
    pub(super) seed: Option<u64>,
}

/// More than any provider sends.
const BOUNDS: Bounds = Bounds { max_side: 16_384, max_pixels: 8192 * 8192 };
/// The longer side of a heat map.
const HEAT_SIDE: u32 = 512;
/// The largest encoded picture.
const MAX_BYTES: usize = 64 << 20;

/// Reads a picture's header; the error is one sentence.
pub(super) fn verify(raw: RawImage, asked: Size, sent_seed: Option<u64>) -> Result<Artifact, String> {
    let sniffed = sniff(&raw.bytes).ok_or("the answer is not a PNG, JPEG or WebP picture")?;
    if sniffed.size.pixels() > BOUNDS.max_pixels || raw.bytes.len() > MAX_BYTES {
        return Err(format!("the picture claims {} in {} bytes, beyond the bound", sniffed.size, raw.bytes.len()));
    }
    let seed = raw.seed.or(sent_seed);
    Ok(Artifact { bytes: raw.bytes, format: sniffed.format, size: sniffed.size, asked, seed })
}

/// Enlarges a draft in this process.
pub(super) async fn enlarge(draft: Draft, to: Size) -> Result<Draft, String> {
    let artifact = draft.artifact;
    let bytes = pixels(artifact.bytes.clone(), Some(to), artifact.format).await?;
    Ok(Draft { artifact: Artifact { bytes, size: to, asked: to, ..artifact }, ..draft })
}

/// Fits a picture to `to`, encodes it as `format` where it is not yet so, hashes and stores it. Gives it with what was
/// adjusted.
pub(super) async fn store(
    images: &dyn Images,
    artifact: &Artifact,
    to: Option<Size>,
    format: Format,
) -> Result<(ServedImage, Vec<String>), String> {
    let mut notes = Vec::new();
    let resized = to.filter(|to| *to != artifact.size);
    if let Some(to) = resized {
        notes.push(format!("rendered at {}, resized to {to}", artifact.size));
    } else if to.is_none() && artifact.size != artifact.asked {
        notes.push(format!("the provider sent {} where {} was ordered", artifact.size, artifact.asked));
    }
    if format != artifact.format {
        notes.push(format!("sent as {}, converted to {}", artifact.format.name(), format.name()));
    }
    let bytes = if resized.is_some() || format != artifact.format {
        pixels(artifact.bytes.clone(), resized, format).await?
    } else {
        artifact.bytes.clone()
    };
    let sha256: Arc<str> = sha256_hex(&bytes).into();
    images.put(&sha256, format, bytes.clone()).await.map_err(|fault| fault.to_string())?;
    let size = resized.unwrap_or(artifact.size);
    Ok((ServedImage { sha256, format, size, seed: artifact.seed, bytes }, notes))
}

/// The brightness of a picture on the grid that a structure check looks at; the error is one clause.
pub(super) async fn grey(bytes: Bytes) -> Result<Vec<u8>, String> {
    let work = move || local::grey(&bytes, SIDE, BOUNDS);
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| "the pixel worker failed".to_owned())?;
    done.map_err(|fault| fault.to_string())
}

/// Draws where a picture differs from another over the picture, and stores that; its hash.
pub(super) async fn heat(images: &dyn Images, bytes: Bytes, places: Places) -> Result<String, String> {
    let work = move || local::heat(&bytes, &places, HEAT_SIDE, BOUNDS);
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| "the pixel worker failed".to_owned())?;
    let drawn = Bytes::from(done.map_err(|fault| fault.to_string())?);
    let sha256 = sha256_hex(&drawn);
    images.put(&sha256, Format::Webp, drawn).await.map_err(|fault| fault.to_string())?;
    Ok(sha256)
}

/// Decodes, crops and resizes to `to`, encodes; on a thread that may block.
async fn pixels(bytes: Bytes, to: Option<Size>, format: Format) -> Result<Bytes, String> {
    let work = move || match to {
        Some(to) => local::fit(&bytes, to, true, format, BOUNDS),
        None => local::transcode(&bytes, format, BOUNDS),
    };
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| "the pixel worker failed".to_owned())?;
    done.map(Bytes::from).map_err(|fault| fault.to_string())
}
