//! The pixel work of this process: `local/lanczos`, and the last cut and format of every served picture.
//!
//! Why it exists: a provider's nearest size is rarely the asked one, and the last step must cost nothing. These are pure
//! functions on bytes; no call is made, so there is no [`Adapter`](super::Adapter) here. What it refuses to know: where
//! a picture comes from and whether it must be changed at all; a picture that already has the asked size and format is
//! better served as it came. To add a format: a variant of [`Format`] and its arm in `decode` and `encode`.
//!
//! Bytes are hostile: a picture's own header is held against [`Bounds`] before a pixel is allocated, and the decoder
//! gets the same bounds, for headers that lie. Colours are taken as sRGB and scaled as they are encoded, not in linear
//! light, as every common tool does; colour profiles and other metadata are dropped. Sixteen bits become eight.

mod heat;

use std::fmt;
use std::io::Cursor;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType as Kernel, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat, ImageReader, Limits};

use crate::domain::image::{Format, Size, sniff};

pub use heat::heat;

/// The quality of our JPEGs, 1 to 100: above it files grow faster than anyone sees.
pub const JPEG_QUALITY: u8 = 92;

/// The quality of thumbnails as JPEG: a wall of them is looked over, not into.
const THUMB_QUALITY: u8 = 82;

/// The zlib level of our PNGs: a tenth smaller than the codec's fast setting in half its time, and nine times as fast as
/// its default for an eighth more bytes (measured on one megapixel of noisy gradients).
const PNG_EFFORT: CompressionType = CompressionType::Level(2);

/// What a picture may be at most, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The longest side in pixels.
    pub max_side: u32,
    /// The most pixels. Decoding one takes up to twelve bytes of memory.
    pub max_pixels: u64,
}

impl Bounds {
    fn check(self, size: Size) -> Result<(), PixelFault> {
        let fits = size.width.max(size.height) <= self.max_side && size.pixels() <= self.max_pixels;
        if fits { Ok(()) } else { Err(PixelFault::TooLarge(size)) }
    }

    /// The decoder's allowance: its output at sixteen bits with alpha, and room for its tables.
    fn decoder_limits(self) -> Limits {
        let mut limits = Limits::no_limits();
        limits.max_image_width = Some(self.max_side);
        limits.max_image_height = Some(self.max_side);
        limits.max_alloc = Some(self.max_pixels.saturating_mul(8).saturating_add(16 << 20));
        limits
    }
}

/// Why pixels could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PixelFault {
    /// The bytes are not a picture of a known format.
    NotAPicture,
    /// The picture says what it is but cannot be decoded: the decoder's sentence.
    Broken(String),
    /// This size is beyond the bounds.
    TooLarge(Size),
    /// A picture of this size has no pixels.
    Empty(Size),
    /// The format cannot hold the picture: the encoder's sentence.
    Unencodable(String),
}

impl fmt::Display for PixelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPicture => f.write_str("the bytes are not a PNG, JPEG or WebP picture"),
            Self::Broken(why) => write!(f, "the picture cannot be decoded: {why}"),
            Self::TooLarge(size) => write!(f, "a picture of {size} is beyond the bounds"),
            Self::Empty(size) => write!(f, "a picture of {size} has no pixels"),
            Self::Unencodable(why) => write!(f, "the picture cannot be encoded: {why}"),
        }
    }
}

impl std::error::Error for PixelFault {}

/// The picture at exactly the size `to`, in `format`, resampled with Lanczos3.
///
/// With `crop`, the middle of it is cut to the ratio of `to` first (to the nearest whole pixel); without, the whole
/// picture is scaled, which stretches it when the ratios differ. Alpha is kept in PNG and WebP and laid on white in JPEG.
pub fn fit(bytes: &[u8], to: Size, crop: bool, format: Format, bounds: Bounds) -> Result<Vec<u8>, PixelFault> {
    if to.pixels() == 0 {
        return Err(PixelFault::Empty(to));
    }
    bounds.check(to)?;
    Raster::decode(bytes, bounds)?.resized(to, crop)?.encode(format, JPEG_QUALITY)
}

/// The whole picture with its longer side at most `side`: lossless WebP, or JPEG where that is smaller (photographs).
pub fn thumbnail(bytes: &[u8], side: u32, bounds: Bounds) -> Result<Vec<u8>, PixelFault> {
    let raster = Raster::decode(bytes, bounds)?;
    let longer = raster.size.width.max(raster.size.height);
    let to = if longer <= side { raster.size } else { raster.size.scaled(f64::from(side) / f64::from(longer)) };
    let small = raster.resized(to, false)?;
    let webp = small.clone().encode(Format::Webp, THUMB_QUALITY)?;
    let jpeg = small.encode(Format::Jpeg, THUMB_QUALITY)?;
    Ok(if webp.len() <= jpeg.len() { webp } else { jpeg })
}

/// The same pixels in `format`. Alpha is laid on white in JPEG.
pub fn transcode(bytes: &[u8], format: Format, bounds: Bounds) -> Result<Vec<u8>, PixelFault> {
    Raster::decode(bytes, bounds)?.encode(format, JPEG_QUALITY)
}

/// The whole picture stretched to `to`: three bytes a pixel, rows from the top; alpha is laid on white.
pub fn rgb(bytes: &[u8], to: Size, bounds: Bounds) -> Result<Vec<u8>, PixelFault> {
    Ok(Raster::decode(bytes, bounds)?.on_white().resized(to, false)?.data)
}

/// The brightness of a picture at `side` by `side`, stretched, rows from the top; alpha is laid on white.
pub fn grey(bytes: &[u8], side: u32, bounds: Bounds) -> Result<Vec<u8>, PixelFault> {
    let raster = Raster::decode(bytes, bounds)?.on_white().resized(Size::new(side, side), false)?;
    Ok(raster.data.chunks_exact(3).map(luma).collect())
}

/// The brightness of a pixel without alpha: Rec. 601 luma, in 256ths.
fn luma(pixel: &[u8]) -> u8 {
    let sum = match *pixel {
        [red, green, blue] => (77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue)) >> 8,
        _ => 0,
    };
    u8::try_from(sum).unwrap_or(u8::MAX)
}

/// Eight-bit pixels, rows from the top, no padding: three bytes a pixel, four with alpha.
#[derive(Clone)]
struct Raster {
    size: Size,
    alpha: bool,
    data: Vec<u8>,
}

impl Raster {
    fn decode(bytes: &[u8], bounds: Bounds) -> Result<Self, PixelFault> {
        let head = sniff(bytes).ok_or(PixelFault::NotAPicture)?;
        bounds.check(head.size)?;
        let format = match head.format {
            Format::Jpeg => ImageFormat::Jpeg,
            Format::Png => ImageFormat::Png,
            Format::Webp => ImageFormat::WebP,
        };
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(bounds.decoder_limits());
        let picture = reader.decode().map_err(|why| PixelFault::Broken(why.to_string()))?;
        let size = Size::new(picture.width(), picture.height());
        if size.pixels() == 0 {
            return Err(PixelFault::Empty(size));
        }
        bounds.check(size)?;
        let alpha = picture.color().has_alpha();
        let data = if alpha { picture.into_rgba8().into_raw() } else { picture.into_rgb8().into_raw() };
        Ok(Self { size, alpha, data })
    }

    fn resized(self, to: Size, crop: bool) -> Result<Self, PixelFault> {
        let (left, top, cut) = if crop { middle(self.size, to) } else { (0, 0, self.size) };
        if to == self.size {
            return Ok(self);
        }
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(Kernel::Lanczos3)).crop(
            left.into(),
            top.into(),
            cut.width.into(),
            cut.height.into(),
        );
        let pixel = if self.alpha { PixelType::U8x4 } else { PixelType::U8x3 };
        let broken = |why: &dyn fmt::Display| PixelFault::Broken(why.to_string());
        let source = ImageRef::new(self.size.width, self.size.height, &self.data, pixel).map_err(|why| broken(&why))?;
        let mut target = Image::new(to.width, to.height, pixel);
        Resizer::new().resize(&source, &mut target, &options).map_err(|why| broken(&why))?;
        Ok(Self { size: to, alpha: self.alpha, data: target.into_vec() })
    }

    fn encode(self, format: Format, quality: u8) -> Result<Vec<u8>, PixelFault> {
        let raster = if format == Format::Jpeg { self.on_white() } else { self };
        let Self { size: Size { width, height }, alpha, data } = &raster;
        let color = if *alpha { ExtendedColorType::Rgba8 } else { ExtendedColorType::Rgb8 };
        let mut out = Vec::new();
        match format {
            Format::Jpeg => JpegEncoder::new_with_quality(&mut out, quality).write_image(data, *width, *height, color),
            Format::Png => PngEncoder::new_with_quality(&mut out, PNG_EFFORT, FilterType::Adaptive)
                .write_image(data, *width, *height, color),
            Format::Webp => WebPEncoder::new_lossless(&mut out).write_image(data, *width, *height, color),
        }
        .map_err(|why| PixelFault::Unencodable(why.to_string()))?;
        Ok(out)
    }

    /// Without alpha, as JPEG is: what shines through is white.
    fn on_white(self) -> Self {
        if !self.alpha {
            return self;
        }
        let mut data = Vec::with_capacity(self.data.len() / 4 * 3);
        for pixel in self.data.chunks_exact(4) {
            let [red, green, blue, alpha] = *pixel else { continue };
            data.extend([red, green, blue].map(|channel| over_white(channel, alpha)));
        }
        Self { size: self.size, alpha: false, data }
    }
}

/// `channel` with opacity `alpha` over white, rounded to the nearest.
fn over_white(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    u8::try_from((channel * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
}

/// The largest middle piece of `from` with the ratio of `to`: its left, its top and its size, in whole pixels.
fn middle(from: Size, to: Size) -> (u32, u32, Size) {
    let rounded = |side: u32, part: u32, whole: u32, most: u32| {
        let exact = (u64::from(side) * u64::from(part) + u64::from(whole) / 2) / u64::from(whole.max(1));
        u32::try_from(exact).unwrap_or(u32::MAX).clamp(1, most.max(1))
    };
    let wider = u64::from(from.width) * u64::from(to.height) > u64::from(to.width) * u64::from(from.height);
    let cut = if wider {
        Size::new(rounded(from.height, to.width, to.height, from.width), from.height)
    } else {
        Size::new(from.width, rounded(from.width, to.height, to.width, from.height))
    };
    ((from.width - cut.width) / 2, (from.height - cut.height) / 2, cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    use image::{DynamicImage, Rgb, RgbImage, Rgba, RgbaImage};
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { max_side: 4096, max_pixels: 4 << 20 };

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        picture.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let tone = |at: u32| u8::try_from(at % 256).unwrap();
        let picture = RgbImage::from_fn(width, height, |x, y| Rgb([tone(x), tone(y), tone(x + y)]));
        encoded(&picture.into(), ImageFormat::Png)
    }

    /// A PNG that is nothing but a header with these sides, its checksum right.
    fn claim(width: u32, height: u32) -> Vec<u8> {
        let mut header = b"IHDR".to_vec();
        header.extend(width.to_be_bytes());
        header.extend(height.to_be_bytes());
        header.extend([8, 6, 0, 0, 0]);
        let mut crc = u32::MAX;
        for byte in &header {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
            }
        }
        let mut out = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
        out.extend(header);
        out.extend((!crc).to_be_bytes());
        out
    }

    #[test]
    fn the_exact_size_comes_out_of_odd_ratios() {
        for from in [(656, 368), (37, 121), (1, 1), (3, 900)] {
            let bytes = png(from.0, from.1);
            for to in [(640, 360), (111, 333), (1, 1), (777, 13)] {
                for crop in [true, false] {
                    for format in Format::ALL {
                        let to = Size::new(to.0, to.1);
                        let out = fit(&bytes, to, crop, format, BOUNDS).unwrap();
                        let seen = sniff(&out).unwrap();
                        assert_eq!((seen.format, seen.size), (format, to), "{from:?} {crop}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_crop_takes_the_middle_and_a_stretch_takes_all() {
        // Red, green and blue thirds.
        let thirds = RgbImage::from_fn(300, 100, |x, _| match x / 100 {
            0 => Rgb([255, 0, 0]),
            1 => Rgb([0, 255, 0]),
            _ => Rgb([0, 0, 255]),
        });
        let bytes = encoded(&thirds.into(), ImageFormat::Png);
        let at = |bytes: &[u8], x, y| image::load_from_memory(bytes).unwrap().to_rgb8().get_pixel(x, y).0;

        let cropped = fit(&bytes, Size::new(100, 100), true, Format::Png, BOUNDS).unwrap();
        assert_eq!([at(&cropped, 0, 50), at(&cropped, 99, 50)], [[0, 255, 0]; 2]);

        let stretched = fit(&bytes, Size::new(90, 90), false, Format::Png, BOUNDS).unwrap();
        assert_eq!([at(&stretched, 2, 45), at(&stretched, 87, 45)], [[255, 0, 0], [0, 0, 255]]);
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let bomb = claim(30_000, 30_000);
        #[expect(clippy::disallowed_methods, reason = "the test measures real time")]
        let started = Instant::now();
        let fault = fit(&bomb, Size::new(64, 64), true, Format::Png, BOUNDS).unwrap_err();
        assert_eq!(fault, PixelFault::TooLarge(Size::new(30_000, 30_000)));
        assert!(started.elapsed() < Duration::from_millis(50));
        assert_eq!(transcode(&bomb, Format::Webp, BOUNDS), Err(PixelFault::TooLarge(Size::new(30_000, 30_000))));
    }

    #[test]
    fn the_target_is_bounded_too() {
        let bytes = png(8, 8);
        let fit_to = |width, height| fit(&bytes, Size::new(width, height), true, Format::Png, BOUNDS).unwrap_err();
        assert_eq!(fit_to(0, 8), PixelFault::Empty(Size::new(0, 8)));
        assert_eq!(fit_to(5000, 8), PixelFault::TooLarge(Size::new(5000, 8)));
        assert_eq!(fit_to(4000, 4000), PixelFault::TooLarge(Size::new(4000, 4000)));
    }

    #[test]
    fn alpha_is_kept_and_in_jpeg_laid_on_white() {
        let half = RgbaImage::from_pixel(16, 16, Rgba([0, 0, 0, 128]));
        let bytes = encoded(&half.into(), ImageFormat::Png);
        for format in [Format::Png, Format::Webp] {
            let out = image::load_from_memory(&fit(&bytes, Size::new(9, 9), true, format, BOUNDS).unwrap()).unwrap();
            assert_eq!(out.to_rgba8().get_pixel(4, 4).0, [0, 0, 0, 128]);
        }
        let out = image::load_from_memory(&transcode(&bytes, Format::Jpeg, BOUNDS).unwrap()).unwrap();
        let grey = out.to_rgb8().get_pixel(8, 8).0;
        assert!(grey.iter().all(|channel| channel.abs_diff(127) <= 2), "{grey:?}");
        assert_eq!([over_white(0, 0), over_white(0, 255), over_white(255, 255)], [255, 0, 255]);
    }

    #[test]
    fn the_middle_never_leaves_the_picture() {
        for from in [(1, 1), (3, 2), (1312, 736), (4096, 1)] {
            for to in [(1, 1), (7, 5), (1, 4096), (1920, 1080)] {
                let (from, to) = (Size::new(from.0, from.1), Size::new(to.0, to.1));
                let (left, top, cut) = middle(from, to);
                assert!(cut.width > 0 && cut.height > 0);
                assert!(left + cut.width <= from.width && top + cut.height <= from.height, "{from} {to}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_make_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            for magic in [&b""[..], b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF0000WEBPVP8L", &claim(9, 9)] {
                let bytes = [magic, &noise].concat();
                let _ = fit(&bytes, Size::new(8, 8), true, Format::Jpeg, BOUNDS);
            }
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0_usize..400, with in any::<u8>(), cut in 0_usize..400) {
            for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
                let whole = encoded(&DynamicImage::new_rgb8(20, 12), format);
                let mut bytes = whole.clone();
                if let Some(byte) = bytes.get_mut(at % whole.len()) {
                    *byte = with;
                }
                let _ = fit(&bytes, Size::new(7, 9), true, Format::Png, BOUNDS);
                bytes.truncate(cut);
                let _ = transcode(&bytes, Format::Webp, BOUNDS);
            }
        }
    }
}
