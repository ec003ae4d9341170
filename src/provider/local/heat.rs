//! A heat map: where a picture differs from another, over the picture itself.
//!
//! Why it exists: one number says that a model draws otherwise, and only a picture says what. The picture is dimmed to
//! grey, and what differs glows through it from violet over orange to pale yellow: the scale grows in brightness too, so
//! that it is read without its colours, and on a light page as on a dark one. What it refuses to know: how a difference
//! is measured.

use super::{Bounds, PixelFault, Raster, luma};
use crate::domain::image::{Format, Size};
use crate::domain::verify::likeness::Places;

/// The scale from "the same" to [`FULL`], in equal steps. After the "inferno" scale of van der Walt and Smith, 2015.
const SCALE: [[u8; 3]; 7] =
    [[20, 11, 53], [74, 12, 107], [137, 34, 106], [190, 55, 82], [237, 105, 37], [251, 166, 10], [252, 255, 164]];
/// A dissimilarity at which the scale ends: unrelated pictures have it.
const FULL: f64 = 0.5;
/// How bright the grey of the picture stays, in 256ths.
const DIMMED: u32 = 120;

/// The levels are read on so many points a side, and enlarged from there: windows are larger than that.
const POINTS: u32 = 128;

/// `bytes` with its differences, the longer side at most `side`, as WebP without loss.
pub fn heat(bytes: &[u8], places: &Places, side: u32, bounds: Bounds) -> Result<Vec<u8>, PixelFault> {
    let raster = Raster::decode(bytes, bounds)?.on_white();
    let longer = raster.size.width.max(raster.size.height);
    let to = if longer <= side { raster.size } else { raster.size.scaled(f64::from(side) / f64::from(longer)) };
    let raster = raster.resized(to, false)?;
    let levels = levels(places).resized(to, false)?;
    let glows: Vec<Glow> = (0..=u8::MAX).map(Glow::at).collect();
    let mut data = raster.data;
    for (pixel, level) in data.chunks_exact_mut(3).zip(levels.data.chunks_exact(3)) {
        let level = level.first().copied().unwrap_or_default();
        if let Some(glow) = glows.get(usize::from(level)) {
            glow.over(pixel);
        }
    }
    Raster { size: to, alpha: false, data }.encode(Format::Webp, 0)
}

/// The dissimilarities as a small grey picture, which is white at [`FULL`].
fn levels(places: &Places) -> Raster {
    let share = |at: u32| (f64::from(at) + 0.5) / f64::from(POINTS);
    let points = (0..POINTS).flat_map(|y| (0..POINTS).map(move |x| (share(x), share(y))));
    let data = points.flat_map(|(x, y)| [level(places.at(x, y)); 3]).collect();
    Raster { size: Size::new(POINTS, POINTS), alpha: false, data }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte just before")]
fn level(dissimilarity: f64) -> u8 {
    (dissimilarity / FULL * 255.0).clamp(0.0, 255.0).round() as u8
}

/// A colour of the scale, and how much of it lies over the picture, in 256ths.
#[derive(Clone, Copy, Debug)]
struct Glow {
    colour: [u8; 3],
    cover: u32,
}

impl Glow {
    fn at(level: u8) -> Self {
        let steps = u32::try_from(SCALE.len() - 1).unwrap_or(1);
        let along = u32::from(level) * steps;
        let (step, part) = (along / 255, along % 255);
        let stop = |at: u32| SCALE.get(at as usize).or(SCALE.last()).copied().unwrap_or_default();
        let [from, to] = [stop(step), stop(step + 1)];
        let mut channels = from.into_iter().zip(to).map(|(from, to)| mixed(from, to, part, 255));
        let colour = std::array::from_fn(|_| channels.next().unwrap_or_default());
        // A third of the scale covers the picture nearly: smaller differences still show what they are differences of.
        Self { colour, cover: (u32::from(level) * 3).min(232) }
    }

    fn over(self, pixel: &mut [u8]) {
        let grey = u8::try_from(u32::from(luma(pixel)) * DIMMED / 256).unwrap_or(u8::MAX);
        for (channel, colour) in pixel.iter_mut().zip(self.colour) {
            *channel = mixed(grey, colour, self.cover, 256);
        }
    }
}

/// From `a` to `b` by `part` of `whole`.
fn mixed(a: u8, b: u8, part: u32, whole: u32) -> u8 {
    u8::try_from((u32::from(a) * (whole - part) + u32::from(b) * part) / whole).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::sniff;
    use crate::domain::verify::likeness::compare;
    use crate::domain::verify::structure::{Grey, SIDE};

    #[test]
    fn it_glows_where_the_pictures_differ_and_is_grey_elsewhere() {
        let size = Size::new(300, 150);
        let raster = |corner: bool| {
            let pixels = (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y)));
            let tone = |(x, y): (u32, u32)| {
                let noisy = corner && x > 220 && y > 110;
                u8::try_from(if noisy { (x * 91 + y * 57) % 256 } else { (x + y) % 256 }).unwrap()
            };
            Raster { size, alpha: false, data: pixels.flat_map(|at| [tone(at); 3]).collect() }
        };
        let bounds = Bounds { max_side: 4096, max_pixels: 1 << 22 };
        let png = |corner| raster(corner).encode(Format::Png, 0).unwrap();
        let grey = |bytes: &[u8]| Grey(super::super::grey(bytes, SIDE, bounds).unwrap());
        let (then, now) = (png(false), png(true));
        let places = compare(&grey(&then), &grey(&now)).places;
        let picture = heat(&now, &places, 200, bounds).unwrap();
        assert_eq!(sniff(&picture).map(|found| (found.format, found.size)), Some((Format::Webp, Size::new(200, 100))));
        let pixels = image::load_from_memory(&picture).unwrap().to_rgb8();
        let colour = |x, y| {
            let [red, green, blue] = pixels.get_pixel(x, y).0;
            red.max(green).max(blue) - red.min(green).min(blue)
        };
        assert!(colour(190, 90) > 80, "{:?}", pixels.get_pixel(190, 90));
        for (x, y) in [(5, 5), (100, 50), (190, 20)] {
            assert_eq!(colour(x, y), 0, "{x} {y}");
        }
    }

    #[test]
    fn the_scale_grows_in_brightness() {
        let over_black = |level| {
            let mut pixel = [0; 3];
            Glow::at(level).over(&mut pixel);
            luma(&pixel)
        };
        let tones: Vec<u8> = (0..=u8::MAX).step_by(15).map(over_black).collect();
        assert!(tones.is_sorted(), "{tones:?}");
        assert!(tones.last() > Some(&200), "{tones:?}");
    }
}
