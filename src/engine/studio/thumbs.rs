//! Small copies of pictures: made once, when first looked at, and kept beside them.
//!
//! Why it exists: a wall of pictures must not decode megabytes for each tile. A wall opened for the first time asks for
//! dozens at once, so few are made at a time: purchases need the processor more. What it refuses to know: walls.

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::domain::image::Format;
use crate::domain::refusal::Refusal;
use crate::engine::Engine;
use crate::provider::local::{self, Bounds};

/// The longer side, in pixels: a tile of 200 points on a dense screen.
const SIDE: u32 = 384;
/// Made at once.
const AT_ONCE: usize = 2;
/// What is stored was within these bounds when it came.
const BOUNDS: Bounds = Bounds { max_side: 16_384, max_pixels: 8192 * 8192 };

/// The bench at which thumbnails are made.
#[derive(Debug)]
pub struct Thumbs(Semaphore);

impl Default for Thumbs {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl Engine {
    /// The small copy of a stored picture; `None` when there is no such picture.
    pub async fn thumb(&self, sha256: &str, format: Format) -> Result<Option<Bytes>, Refusal> {
        let kept = self.images.thumb(sha256).await.inspect_err(|fault| tracing::warn!(%fault, "a thumbnail was lost"));
        if let Ok(Some(kept)) = kept {
            return Ok(Some(kept));
        }
        let _turn = self.thumbs.0.acquire().await;
        let Some(picture) = self.image(sha256, format).await? else { return Ok(None) };
        let made = tokio::task::spawn_blocking(move || local::thumbnail(&picture, SIDE, BOUNDS)).await;
        let Ok(Ok(small)) = made else {
            tracing::warn!(sha256, "a thumbnail could not be made");
            return Ok(None);
        };
        let small = Bytes::from(small);
        if let Err(fault) = self.images.put_thumb(sha256, small.clone()).await {
            tracing::warn!(%fault, "a thumbnail could not be kept");
        }
        Ok(Some(small))
    }
}
