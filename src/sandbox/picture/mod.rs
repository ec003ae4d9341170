//! The studio: pictures that are the same every time for (model, prompt, seed, size), pleasant to look at, and
//! about as heavy as real ones.
//!
//! It refuses to know any wire. A picture is painted small ([`scene`]), enlarged, lettered with the text that the
//! prompt quotes ([`letters`]) and given film grain and a format ([`finish`]). The work is done on blocking threads,
//! a few at a time, and the newest pictures are kept, encoded. To add a look: a [`Style`] and its scene.

mod canvas;
mod finish;
mod letters;
mod scene;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use image::DynamicImage;
use tokio::sync::Semaphore;

use super::dice::{dice, digest};
use super::truth::{Model, quoted};

/// Encoded pictures kept, in bytes.
const KEPT_BYTES: usize = 64 * 1024 * 1024;
/// Pictures painted at once.
const EASELS: usize = 4;

/// What a picture shall be.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) model: &'static Model,
    pub(super) prompt: String,
    pub(super) seed: u64,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) format: Format,
    /// Hidden behind a blur, as a provider returns what its filter caught.
    pub(super) blurred: bool,
}

/// An encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    Jpeg,
    Webp,
}

impl Format {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "png" => Some(Self::Png),
            "jpeg" | "jpg" => Some(Self::Jpeg),
            "webp" => Some(Self::Webp),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

/// A family's look, so that whoever reviews pictures sees who made which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Hills,
    Lights,
    Poster,
    Ribbons,
    Peaks,
}

impl Style {
    fn of(model: &Model) -> Self {
        match model.id.split('/').next() {
            Some("google") => Self::Lights,
            Some("ideogram") => Self::Poster,
            Some("openai") => Self::Ribbons,
            Some("comfyui" | "automatic1111") => Self::Peaks,
            _ => Self::Hills,
        }
    }
}

/// Paints to order and keeps the newest results.
pub(super) struct Studio {
    shelf: Mutex<Shelf>,
    easels: Arc<Semaphore>,
}

impl Studio {
    pub(super) fn new() -> Self {
        Self { shelf: Mutex::default(), easels: Arc::new(Semaphore::new(EASELS)) }
    }

    /// The picture of `order`, encoded.
    pub(super) async fn paint(&self, order: &Order) -> Bytes {
        let order = order.clone();
        self.kept(order.digest(), move || paint(&order)).await
    }

    /// The pictures of several orders, in their order.
    pub(super) async fn paint_all(&self, orders: &[Order]) -> Vec<Bytes> {
        let mut pictures = Vec::with_capacity(orders.len());
        for order in orders {
            pictures.push(self.paint(order).await);
        }
        pictures
    }

    /// `posted` enlarged or reduced to a size, encoded; `None` when it is no picture.
    pub(super) async fn resize(&self, posted: &Bytes, width: u32, height: u32, format: Format) -> Option<Bytes> {
        let size = [width.to_le_bytes(), height.to_le_bytes()].concat();
        let print = digest(&[b"resize", posted, &size, format.name().as_bytes()]);
        let posted = posted.clone();
        let done = self.kept(print, move || {
            let picture = image::load_from_memory(&posted).ok()?;
            Some(finish::encode(&finish::resize(&DynamicImage::ImageRgb8(picture.into_rgb8()), width, height), format))
        });
        Some(done.await).filter(|bytes| !bytes.is_empty())
    }

    async fn kept(&self, print: [u8; 32], make: impl FnOnce() -> Option<Vec<u8>> + Send + 'static) -> Bytes {
        if let Some(bytes) = self.shelf().get(&print) {
            return bytes;
        }
        // The semaphore is never closed, and a panic in a painter shows as an empty picture.
        let easel = Arc::clone(&self.easels).acquire_owned().await;
        let made = tokio::task::spawn_blocking(move || {
            let _easel = easel;
            make()
        });
        let bytes = Bytes::from(made.await.ok().flatten().unwrap_or_default());
        self.shelf().put(print, bytes.clone());
        bytes
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The width and height of an encoded picture, from its header alone.
pub(super) fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let reader = image::ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format().ok()?;
    reader.into_dimensions().ok()
}

impl Order {
    fn digest(&self) -> [u8; 32] {
        digest(&[
            b"paint",
            self.model.id.as_bytes(),
            self.prompt.as_bytes(),
            &self.seed.to_le_bytes(),
            &self.width.to_le_bytes(),
            &self.height.to_le_bytes(),
            self.format.name().as_bytes(),
            &[u8::from(self.blurred)],
        ])
    }
}

fn paint(order: &Order) -> Option<Vec<u8>> {
    let seed = order.seed.to_le_bytes();
    let mut mood = dice(&[b"mood", order.prompt.as_bytes()]);
    let mut hand = dice(&[b"scene", order.model.id.as_bytes(), order.prompt.as_bytes(), &seed]);
    let shrink = if order.blurred { 64 } else { 4 };
    let (width, height) = ((order.width / shrink).max(8), (order.height / shrink).max(8));
    let small = scene::paint(Style::of(order.model), &mut mood, &mut hand, width, height)?;
    let mut picture = finish::enlarge(small, order.width, order.height)?;
    if !order.blurred {
        let text = quoted(&order.prompt).join(" ");
        letters::draw(&mut picture, &text, order.model.legibility(), &mut hand);
        finish::grain(&mut picture, &mut hand);
    }
    Some(finish::encode(&DynamicImage::ImageRgb8(picture), order.format))
}

/// Encoded pictures by digest, the least recently used leaving first.
#[derive(Default)]
struct Shelf {
    by_print: HashMap<[u8; 32], (Bytes, u64)>,
    by_age: BTreeMap<u64, [u8; 32]>,
    bytes: usize,
    tick: u64,
}

impl Shelf {
    fn get(&mut self, print: &[u8; 32]) -> Option<Bytes> {
        let (bytes, age) = self.by_print.get_mut(print)?;
        self.tick += 1;
        self.by_age.remove(age);
        *age = self.tick;
        self.by_age.insert(self.tick, *print);
        Some(bytes.clone())
    }

    fn put(&mut self, print: [u8; 32], bytes: Bytes) {
        if bytes.is_empty() || bytes.len() > KEPT_BYTES / 2 {
            return;
        }
        self.tick += 1;
        self.bytes += bytes.len();
        if let Some((old, age)) = self.by_print.insert(print, (bytes, self.tick)) {
            self.bytes -= old.len();
            self.by_age.remove(&age);
        }
        self.by_age.insert(self.tick, print);
        while self.bytes > KEPT_BYTES {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                break;
            };
            if let Some((gone, _)) = self.by_print.remove(&oldest) {
                self.bytes -= gone.len();
            }
        }
    }
}

/// Pictures for other rooms' tests.
#[cfg(test)]
pub(super) mod tests_support {
    /// A PNG of one colour.
    pub(in crate::sandbox) fn plain(width: u32, height: u32) -> Vec<u8> {
        let picture = image::RgbImage::from_pixel(width, height, image::Rgb([200, 120, 60]));
        super::finish::encode(&image::DynamicImage::ImageRgb8(picture), super::Format::Png)
    }
}

#[cfg(test)]
mod tests {
    use super::super::truth::model;
    use super::*;

    fn order(id: &str, prompt: &str, seed: u64) -> Order {
        Order {
            model: model(id).unwrap(),
            prompt: prompt.to_owned(),
            seed,
            width: 1024,
            height: 1024,
            format: Format::Png,
            blurred: false,
        }
    }

    #[test]
    fn a_picture_is_the_same_every_time_and_as_heavy_as_a_real_one() {
        let sign = order("ideogram/v3", "a sign that says \"OPEN LATE\"", 7);
        let first = paint(&sign).unwrap();
        assert_eq!(first, paint(&sign).unwrap());
        assert_ne!(first, paint(&Order { seed: 8, ..sign.clone() }).unwrap());
        assert_eq!(dimensions(&first), Some((1024, 1024)));
        let decoded = image::load_from_memory(&first).unwrap();
        assert_eq!(decoded.color(), image::ColorType::Rgb8);
        for id in ["stability/core", "google/gemini-3-pro-image", "openai/gpt-image-2-low", "comfyui/sd3.5-large"] {
            let size = paint(&order(id, "a quiet valley", 3)).unwrap().len();
            assert!((600_000..1_500_000).contains(&size), "{id}: {size} bytes");
        }
    }

    #[test]
    fn every_format_decodes_to_the_asked_size() {
        for format in [Format::Png, Format::Jpeg, Format::Webp] {
            let odd = Order { width: 321, height: 123, format, ..order("stability/core", "x", 1) };
            assert_eq!(dimensions(&paint(&odd).unwrap()), Some((321, 123)), "{format:?}");
        }
    }

    #[test]
    fn the_shelf_forgets_the_least_recently_used() {
        let mut shelf = Shelf::default();
        let big = Bytes::from(vec![1; KEPT_BYTES / 4]);
        for print in 0..4_u8 {
            shelf.put([print; 32], big.clone());
        }
        assert!(shelf.get(&[0; 32]).is_some());
        shelf.put([9; 32], big);
        assert!(shelf.get(&[0; 32]).is_some());
        assert!(shelf.get(&[1; 32]).is_none());
        assert!(shelf.bytes <= KEPT_BYTES);
    }
}
