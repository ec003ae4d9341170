//! The last steps of every picture: enlargement, film grain, encoding.
//!
//! They are shaped by the dev profile, in which this crate is unoptimised while its image crates are not: anything
//! that touches every pixel is either a non-generic function of such a crate or works on sixteen bytes at a time.

use std::sync::LazyLock;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, RgbImage};
use rand::RngExt;
use rand::rngs::StdRng;

use super::super::dice::dice;
use super::Format;

/// `picture` at another size.
pub(super) fn resize(picture: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    if (picture.width(), picture.height()) == (width, height) {
        return picture.clone();
    }
    picture.resize_exact(width, height, FilterType::Lanczos3)
}

/// A painted scene at its full size: across by the image crate, then down by mixing rows, sixteen bytes at a time.
pub(super) fn enlarge(small: RgbImage, width: u32, height: u32) -> Option<RgbImage> {
    let rows = small.height();
    let wide = DynamicImage::ImageRgb8(small).resize_exact(width, rows, FilterType::Triangle).into_rgb8();
    let stride = width as usize * 3;
    let row = |at: u32| wide.chunks_exact(stride).nth(at.min(rows - 1) as usize);
    let mut out = Vec::with_capacity(stride * height as usize);
    for y in 0..height {
        // Where this row's centre falls among the small ones, in sixteenths, from the first one's centre.
        let place = ((2 * y + 1) * rows * 8 / height).saturating_sub(8);
        mix(row(place / 16)?, row(place / 16 + 1)?, u128::from(place % 16), &mut out);
    }
    RgbImage::from_raw(width, height, out)
}

/// Appends the mixture of two rows, `share` sixteenths of it the lower one.
fn mix(upper: &[u8], lower: &[u8], share: u128, out: &mut Vec<u8>) {
    const EVEN: u128 = u128::from_le_bytes([255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0]);
    if share == 0 {
        return out.extend_from_slice(upper);
    }
    let mut above = upper.chunks_exact(16);
    let mut below = lower.chunks_exact(16);
    // Each byte gets a lane of sixteen bits, wide enough for sixteen times 255.
    let lanes = |above: u128, below: u128| {
        let sum = (above & EVEN).wrapping_mul(16 - share).wrapping_add((below & EVEN).wrapping_mul(share));
        (sum >> 4) & EVEN
    };
    for (above, below) in above.by_ref().zip(below.by_ref()) {
        let (above, below) = (word(above), word(below));
        let mixed = lanes(above, below) | (lanes(above >> 8, below >> 8) << 8);
        out.extend_from_slice(&mixed.to_le_bytes());
    }
    for (above, below) in above.remainder().iter().zip(below.remainder()) {
        let mixed = (u128::from(*above) * (16 - share) + u128::from(*below) * share) >> 4;
        out.push(u8::try_from(mixed).unwrap_or(u8::MAX));
    }
}

/// The brightest byte that a painter may leave: enlarging never overshoots, and grain is added without carries.
pub(super) const BRIGHTEST: u8 = 250;

/// Sixteen-byte words in the grain tile: a prime number, so that rows of no width line up with it.
const TILE: usize = 8_191;

/// Luminance noise of 0 to 3, three equal bytes a pixel.
static GRAIN: LazyLock<Vec<u128>> = LazyLock::new(|| {
    let mut dice = dice(&[b"grain"]);
    let mut bytes = Vec::with_capacity(TILE * 16);
    while bytes.len() < TILE * 16 {
        let coin: u32 = dice.random();
        let noise = u8::try_from((coin & 1) + (coin >> 1 & 1) + (coin >> 2 & 1)).unwrap_or_default();
        bytes.extend([noise; 3]);
    }
    bytes.chunks_exact(16).map(word).collect()
});

/// Adds film grain, beginning at a place in the tile that depends on the picture.
pub(super) fn grain(picture: &mut RgbImage, hand: &mut StdRng) {
    // A word holds sixteen bytes and a pixel three: only every third word begins with a whole pixel.
    let from = hand.random_range(0..TILE / 3) * 3;
    let (tail, head) = GRAIN.split_at_checked(from).unwrap_or_default();
    let words = head.iter().chain(tail).cycle();
    for (pixels, noise) in picture.chunks_exact_mut(16).zip(words) {
        let sum = word(pixels).wrapping_add(*noise);
        pixels.copy_from_slice(&sum.to_le_bytes());
    }
}

/// `picture` in a format; JPEG at quality 90.
pub(super) fn encode(picture: &DynamicImage, format: Format) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    // Writing to memory cannot fail; a picture too large for a format's header would come out empty.
    let written = match format {
        Format::Png => return png(picture),
        Format::Jpeg => picture.write_with_encoder(JpegEncoder::new_with_quality(&mut out, 90)),
        Format::Webp => picture.write_to(&mut out, image::ImageFormat::WebP),
    };
    written.map(|()| out.into_inner()).unwrap_or_default()
}

/// A PNG of 8-bit RGB with the `Sub` filter in every row. Written by hand because the encoders are generic over the
/// writer and so would be compiled with this crate; the deflate and checksum underneath are not.
fn png(picture: &DynamicImage) -> Vec<u8> {
    let Some(pixels) = picture.as_rgb8() else {
        return Vec::new();
    };
    let row = pixels.width() as usize * 3;
    let mut filtered = Vec::with_capacity((row + 1) * pixels.height() as usize);
    for row in pixels.as_raw().chunks_exact(row.max(1)) {
        filtered.push(1);
        subtract(row, &mut filtered);
    }
    let compressed = fdeflate::compress_to_vec(&filtered);
    let mut header = Vec::with_capacity(13);
    header.extend(pixels.width().to_be_bytes());
    header.extend(pixels.height().to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut out = Vec::with_capacity(compressed.len() + 64);
    out.extend(b"\x89PNG\r\n\x1a\n");
    chunk(&mut out, *b"IHDR", &header);
    chunk(&mut out, *b"IDAT", &compressed);
    chunk(&mut out, *b"IEND", &[]);
    out
}

fn chunk(out: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&name);
    checksum.update(data);
    out.extend_from_slice(&name);
    out.extend_from_slice(data);
    out.extend(checksum.finalize().to_be_bytes());
}

/// Appends each byte of `row` less the byte three before it, modulo 256, sixteen at a time.
fn subtract(row: &[u8], out: &mut Vec<u8>) {
    const HIGH: u128 = u128::from_le_bytes([0x80; 16]);
    let (first, rest) = row.split_at_checked(3).unwrap_or((row, &[]));
    out.extend_from_slice(first);
    let mut left = row.chunks_exact(16);
    let mut here = rest.chunks_exact(16);
    for (here, left) in here.by_ref().zip(left.by_ref()) {
        let (here, left) = (word(here), word(left));
        // The high bits are kept out of the subtraction, so that no byte borrows from the next, and put back.
        let difference = ((here | HIGH) - (left & !HIGH)) ^ ((here ^ !left) & HIGH);
        out.extend_from_slice(&difference.to_le_bytes());
    }
    let done = rest.len() - here.remainder().len();
    let left = row.get(done..).unwrap_or_default();
    out.extend(here.remainder().iter().zip(left).map(|(here, left)| here.wrapping_sub(*left)));
}

fn word(bytes: &[u8]) -> u128 {
    bytes.try_into().map(u128::from_le_bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enlarging_is_linear_between_the_rows() {
        let small = RgbImage::from_fn(5, 2, |_, y| image::Rgb([if y == 0 { 0 } else { 240 }; 3]));
        let large = enlarge(small, 13, 8).unwrap();
        let column: Vec<u8> = (0..8).map(|y| large.get_pixel(7, y).0[1]).collect();
        assert_eq!(column, [0, 0, 30, 90, 150, 210, 240, 240]);
        assert!(large.rows().all(|mut row| row.all(|pixel| pixel.0 == [pixel.0[0]; 3])));
    }

    #[test]
    fn pixels_survive_png() {
        for width in [1, 5, 6, 7, 16, 33] {
            let picture = RgbImage::from_fn(width, 9, |x, y| {
                image::Rgb([x * 37, y * 91, x * y].map(|part| part.to_le_bytes()[0]))
            });
            let decoded = image::load_from_memory(&png(&DynamicImage::ImageRgb8(picture.clone()))).unwrap();
            assert_eq!(decoded.into_rgb8(), picture, "width {width}");
        }
    }
}
