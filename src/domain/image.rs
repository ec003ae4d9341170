//! What a picture is before anyone decodes it: its format and its size, read from the first bytes.
//!
//! Why it exists: bytes from a provider are hostile until sniffed; a bomb is refused by its header. What it refuses to
//! know: pixels. To add a format: a variant, its magic bytes and where its size stands.

use std::fmt;
use std::str::FromStr;

/// Pixels of a picture or of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Size {
    /// A size of `width` by `height` pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Width times height.
    pub const fn pixels(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    /// Natural logarithm of width over height: the distance between two ratios is the difference of these, which
    /// treats portrait and landscape alike.
    pub fn log_ratio(self) -> f64 {
        (f64::from(self.width) / f64::from(self.height.max(1))).ln()
    }

    /// Whether `other` fits within this size on both sides.
    pub const fn covers(self, other: Self) -> bool {
        self.width >= other.width && self.height >= other.height
    }

    /// This size with each side multiplied, rounded to the nearest pixel, at least 1.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides are clamped to the range of u32"
    )]
    pub fn scaled(self, factor: f64) -> Self {
        let side = |s: u32| (f64::from(s) * factor).round().clamp(1.0, f64::from(u32::MAX)) as u32;
        Self::new(side(self.width), side(self.height))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// `512x768`.
impl FromStr for Size {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (width, height) = text.split_once('x').ok_or(())?;
        let side = |s: &str| {
            if s.bytes().all(|b| b.is_ascii_digit()) { s.parse().map_err(drop) } else { Err(()) }
        };
        Ok(Self::new(side(width)?, side(height)?))
    }
}

/// A picture format that the gateway accepts and serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `image/jpeg`
    Jpeg,
    /// `image/png`
    #[default]
    Png,
    /// `image/webp`
    Webp,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Jpeg, Self::Png, Self::Webp];

    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }

    /// The name in the API and in policies, which is also the file extension.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }

    /// The format of that name (`jpg` is `jpeg`).
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "jpeg" | "jpg" => Some(Self::Jpeg),
            "png" => Some(Self::Png),
            "webp" => Some(Self::Webp),
            _ => None,
        }
    }
}

/// What the first bytes of a picture say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sniffed {
    /// The format, by its magic bytes and never by a header's word.
    pub format: Format,
    /// The size that the file's own header claims.
    pub size: Size,
}

/// The format and size of a picture, from its header alone; `None` when it is none of [`Format`] or its header is cut.
pub fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    let (format, size) = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        (Format::Png, png_size(bytes)?)
    } else if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        (Format::Jpeg, jpeg_size(bytes)?)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12)? == b"WEBP" {
        (Format::Webp, webp_size(bytes)?)
    } else {
        return None;
    };
    (size.width > 0 && size.height > 0).then_some(Sniffed { format, size })
}

fn png_size(bytes: &[u8]) -> Option<Size> {
    if bytes.get(12..16)? != b"IHDR" {
        return None;
    }
    Some(Size::new(be32(bytes.get(16..20)?)?, be32(bytes.get(20..24)?)?))
}

/// Walks the segments up to a start-of-frame marker.
fn jpeg_size(bytes: &[u8]) -> Option<Size> {
    let mut rest = bytes.get(2..)?;
    loop {
        let [0xff, marker, ..] = *rest else {
            return None;
        };
        if marker == 0xff {
            rest = rest.get(1..)?;
            continue;
        }
        let standalone = matches!(marker, 0x01 | 0xd0..=0xd8);
        if standalone {
            rest = rest.get(2..)?;
            continue;
        }
        let segment = rest.get(2..)?;
        let length = usize::from(be16(segment)?);
        let frame = matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
        if frame {
            let (height, width) = (be16(segment.get(3..)?)?, be16(segment.get(5..)?)?);
            return Some(Size::new(width.into(), height.into()));
        }
        rest = segment.get(length.max(2)..)?;
    }
}

fn webp_size(bytes: &[u8]) -> Option<Size> {
    let body = bytes.get(20..)?;
    match bytes.get(12..16)? {
        b"VP8X" => Some(Size::new(le24(body.get(4..)?)? + 1, le24(body.get(7..)?)? + 1)),
        b"VP8L" => {
            let bits = u32::from_le_bytes(body.get(1..5)?.try_into().ok()?);
            Some(Size::new((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        b"VP8 " => {
            let side = |at| Some(u32::from(u16::from_le_bytes(body.get(at..at + 2)?.try_into().ok()?) & 0x3fff));
            Some(Size::new(side(6)?, side(8)?))
        }
        _ => None,
    }
}

fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn be16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?))
}

fn le24(bytes: &[u8]) -> Option<u32> {
    let [a, b, c] = *bytes.get(..3)? else {
        return None;
    };
    Some(u32::from_le_bytes([a, b, c, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn encoded(format: image::ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image::DynamicImage::new_rgb8(width, height).write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn every_format_is_sniffed_with_its_size() {
        for (theirs, ours) in [
            (image::ImageFormat::Png, Format::Png),
            (image::ImageFormat::Jpeg, Format::Jpeg),
            (image::ImageFormat::WebP, Format::Webp),
        ] {
            let bytes = encoded(theirs, 37, 121);
            assert_eq!(sniff(&bytes), Some(Sniffed { format: ours, size: Size::new(37, 121) }));
        }
    }

    #[test]
    fn a_cut_header_is_no_picture() {
        for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg, image::ImageFormat::WebP] {
            let bytes = encoded(format, 8, 8);
            for end in 0..20.min(bytes.len()) {
                assert_eq!(sniff(&bytes[..end]), None);
            }
        }
        assert_eq!(sniff(b"<html>502 Bad Gateway</html>"), None);
        assert_eq!(sniff(b"GIF89a\x01\x00\x01\x00"), None);
    }

    proptest::proptest! {
        #[test]
        fn sniffing_is_total(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = sniff(&bytes);
            for magic in [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"RIFF0000WEBPVP8L"] {
                let _ = sniff(&[magic, &bytes].concat());
            }
        }
    }
}
