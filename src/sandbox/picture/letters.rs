//! Draws the text that a prompt quotes, as well as the model can spell.
//!
//! It refuses to be fair to a word: each letter is right with the model's legibility, drawn for this picture, so a
//! weak model garbles a long sign nearly always and a short one sometimes.

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use rand::RngExt;
use rand::rngs::StdRng;

const INK: [u8; 3] = [246, 243, 236];
const SHADE: [u8; 3] = [14, 14, 26];
const GLYPH_HEIGHT: u32 = RasterHeight::Size32 as u32;
/// Letters of a sign that are drawn at most.
const LONGEST: usize = 96;

/// Letters `text` big and centred on `picture`.
pub(super) fn draw(picture: &mut RgbImage, text: &str, legibility: f64, hand: &mut StdRng) {
    let text: String = text.chars().filter(|letter| glyph(*letter).is_some()).take(LONGEST).collect();
    if text.trim().is_empty() {
        return;
    }
    let (lines, height) = layout(&text, picture.width(), picture.height());
    let spacing = leading(height);
    let block = spacing * u32::try_from(lines.len()).unwrap_or(1);
    let mut top = picture.height().saturating_sub(block) / 2;
    for line in lines {
        let strip = strip(&spelt(&line, legibility, hand), height);
        let left = picture.width().saturating_sub(strip.width()) / 2;
        let drop = (height / 24).max(1);
        stamp(picture, &strip, left + drop, top + drop, SHADE);
        stamp(picture, &strip, left, top, INK);
        top += spacing;
    }
}

/// The lines of `text` and the largest letter height at which they fit nine tenths of the width and two thirds of
/// the height.
fn layout(text: &str, width: u32, height: u32) -> (Vec<String>, u32) {
    let mut size = height / 5;
    loop {
        let advance = size * raster_width() / GLYPH_HEIGHT;
        let columns = (width * 9 / 10 / advance.max(1)).max(1) as usize;
        let lines = wrapped(text, columns);
        let tall = u32::try_from(lines.len()).unwrap_or(u32::MAX).saturating_mul(leading(size));
        let fits = lines.iter().all(|line| line.chars().count() <= columns) && tall <= height * 2 / 3;
        if fits || size <= 12 {
            return (lines, size.max(8));
        }
        size = size * 9 / 10;
    }
}

/// From one line to the next; a raster has air above and below its letters already.
fn leading(height: u32) -> u32 {
    height * 19 / 20
}

/// Breaks at spaces only; a word that is longer than a line gets one of its own.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `line` as the model spells it.
fn spelt(line: &str, legibility: f64, hand: &mut StdRng) -> String {
    const LOOKALIKES: [(&str, &str); 10] = [
        ("OoQ0D", "QCG0U"),
        ("EFBR", "FPRK"),
        ("NMWH", "MNHW"),
        ("IilL1", "lJjT7"),
        ("AV", "VΛ"),
        ("nmurh", "rnvtb"),
        ("aecos", "eocsg"),
        ("GCSs", "CSGz"),
        ("TYP", "YTR"),
        ("bdpq", "dbqp"),
    ];
    let mut out = String::new();
    for letter in line.chars() {
        if letter == ' ' || hand.random_bool(legibility) {
            out.push(letter);
            continue;
        }
        let row = LOOKALIKES.iter().find(|(from, _)| from.contains(letter)).map_or("ENRSTAOIX", |(_, to)| to);
        let others: Vec<char> = row.chars().filter(|other| *other != letter && glyph(*other).is_some()).collect();
        let other = others.get(hand.random_range(0..others.len().max(1))).copied().unwrap_or('X');
        match hand.random_range(0..10_u8) {
            0 => {}
            1..=2 => out.extend([letter, letter]),
            _ => out.push(other),
        }
    }
    out
}

/// One line in letters of `height`, as coverage. It is enlarged smoothly and then sharpened by contrast.
fn strip(line: &str, height: u32) -> GrayImage {
    let advance = raster_width();
    let letters = u32::try_from(line.chars().count()).unwrap_or(1);
    let mut small = GrayImage::new((advance * letters).max(1), GLYPH_HEIGHT);
    let mut left = 0;
    for letter in line.chars() {
        if let Some(raster) = glyph(letter) {
            for (y, row) in (0_u32..).zip(raster.rows()) {
                for (x, cover) in (left..).zip(row.iter().copied()) {
                    if let Some(pixel) = small.get_pixel_mut_checked(x, y) {
                        pixel.0 = [cover];
                    }
                }
            }
        }
        left += advance;
    }
    let width = (small.width() * height / GLYPH_HEIGHT).max(1);
    let mut large = DynamicImage::ImageLuma8(small).resize_exact(width, height, FilterType::CatmullRom).into_luma8();
    let sharp: Vec<u8> = (0..=255_u16).map(|cover| steep(cover, height)).collect();
    for covers in large.chunks_mut(8).filter(|covers| !all(covers, 0)) {
        for cover in covers {
            *cover = sharp.get(usize::from(*cover)).copied().unwrap_or_default();
        }
    }
    large
}

/// Coverage with its slope multiplied half as much as the letter was enlarged.
fn steep(cover: u16, height: u32) -> u8 {
    let slope = i32::try_from(height / GLYPH_HEIGHT / 2).unwrap_or(1).clamp(1, 4);
    let centred = (i32::from(cover) - 110) * slope + 128;
    u8::try_from(centred.clamp(0, 255)).unwrap_or_default()
}

/// Inks `picture` where `strip` covers it. Most runs of eight are all or nothing and cost next to nothing.
fn stamp(picture: &mut RgbImage, strip: &GrayImage, left: u32, top: u32, ink: [u8; 3]) {
    let (stride, columns) = (picture.width() as usize * 3, strip.width() as usize);
    let solid = ink.repeat(8);
    let rows = picture.chunks_exact_mut(stride).skip(top as usize);
    for (row, covers) in rows.zip(strip.chunks_exact(columns)) {
        let Some(row) = row.get_mut(left as usize * 3..) else {
            return;
        };
        for (pixels, covers) in row.chunks_mut(24).zip(covers.chunks(8)) {
            if all(covers, 0) {
                continue;
            }
            if all(covers, 255) && pixels.len() == solid.len() {
                pixels.copy_from_slice(&solid);
                continue;
            }
            for (pixel, cover) in pixels.chunks_exact_mut(3).zip(covers) {
                for (part, ink) in pixel.iter_mut().zip(ink) {
                    let (from, to, share) = (i32::from(*part), i32::from(ink), i32::from(*cover));
                    *part = u8::try_from(from + (to - from) * share / 255).unwrap_or(ink);
                }
            }
        }
    }
}

/// Whether eight covers are all `value`; never of fewer.
fn all(covers: &[u8], value: u8) -> bool {
    covers == [value; 8]
}

fn glyph(letter: char) -> Option<noto_sans_mono_bitmap::RasterizedChar> {
    get_raster(letter, FontWeight::Bold, RasterHeight::Size32)
}

fn raster_width() -> u32 {
    u32::try_from(get_raster_width(FontWeight::Bold, RasterHeight::Size32)).unwrap_or(GLYPH_HEIGHT)
}

#[cfg(test)]
mod tests {
    use super::super::super::dice::dice;
    use super::*;

    #[test]
    fn a_perfect_speller_and_a_poor_one() {
        let mut hand = dice(&[b"letters"]);
        assert_eq!(spelt("GRAND OPENING", 1.0, &mut hand), "GRAND OPENING");
        let garbled = (0..50).filter(|_| spelt("GRAND OPENING", 0.62, &mut hand) != "GRAND OPENING").count();
        assert!(garbled >= 48, "{garbled} of 50");
    }

    #[test]
    fn text_is_on_the_picture_and_fits() {
        let mut picture = RgbImage::new(256, 256);
        draw(&mut picture, "HELLO WORLD", 1.0, &mut dice(&[b"x"]));
        let lit = picture.pixels().filter(|pixel| pixel.0 == INK).count();
        assert!(lit > 1_200, "{lit}");
        let (lines, height) = layout("SUPERCALIFRAGILISTIC EXPIALIDOCIOUS", 640, 640);
        assert_eq!(lines.len(), 2);
        assert!(height * 20 * raster_width() / GLYPH_HEIGHT <= 640 * 9 / 10);
    }
}
