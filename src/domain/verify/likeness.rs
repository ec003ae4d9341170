//! How alike two pictures of one prompt and seed are.
//!
//! Why it exists: a provider that changes its model behind a name tells nobody; a fixed prompt drawn again does. What it
//! refuses to know: where pictures come from. Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from
//! error visibility to structural similarity", 2004, its constants, on windows of 8 by 8 that overlap by half.

use super::structure::{Grey, SIDE, hash};

/// Side of a window.
const WINDOW: usize = 8;
/// Windows begin this far apart.
const STRIDE: usize = WINDOW / 2;
/// Windows in a row, and in a column.
const GRID: usize = (SIDE as usize - WINDOW) / STRIDE + 1;
/// A dissimilarity beyond this is another picture; what re-encoding and rounding on other hardware change stays far
/// below it.
pub const CHANGED: f64 = 0.2;
/// Hashes so many bits apart have other shapes: unrelated ones differ in 32, give or take 4, and redrawn ones in a few.
pub const OTHER_SHAPE: u32 = 20;
/// Below this a hash says nothing: where all is flat, its bits are noise.
const SOME: f64 = 0.05;
/// `(0.01 L)²` and `(0.03 L)²` for brightness of `L = 255`.
const C1: f64 = 6.5025;
const C2: f64 = 58.5225;

/// How one picture differs from another, in two ways that fail apart: structure, and the shape that a hash keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Likeness {
    /// Structural dissimilarity, `(1 - SSIM) / 2`: 0 for the same picture, a half for unrelated ones, 1 for opposites.
    pub dissimilarity: f64,
    /// Bits of 64 in which their difference hashes differ.
    pub hash_bits: u32,
    /// Where they differ.
    pub places: Places,
}

/// Dissimilarity by place: of each window, rows from the top.
#[derive(Clone, Debug, PartialEq)]
pub struct Places(Vec<f64>);

/// Whether these are two pictures and not one: by structure, or by shape, which sees through large calm areas that every
/// picture of a kind has.
pub fn is_another(dissimilarity: f64, hash_bits: u32) -> bool {
    dissimilarity > CHANGED || (hash_bits >= OTHER_SHAPE && dissimilarity > SOME)
}

/// Holds `b` against `a`.
pub fn compare(a: &Grey, b: &Grey) -> Likeness {
    let places = places(a, b);
    let mean = places.0.iter().sum::<f64>() / places.0.len().max(1) as f64;
    Likeness { dissimilarity: mean.clamp(0.0, 1.0), hash_bits: hash(a).distance(hash(b)), places }
}

impl Places {
    /// The dissimilarity around a point, whose coordinates are shares of the sides; between the middles of windows it
    /// is interpolated, beyond the outermost it stays.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the grid just before")]
    pub fn at(&self, x: f64, y: f64) -> f64 {
        let cell = |share: f64| {
            let along = (share * f64::from(SIDE) - WINDOW as f64 / 2.0) / STRIDE as f64;
            let along = along.clamp(0.0, (GRID - 1) as f64);
            let before = (along as usize).min(GRID - 2);
            (before, along - before as f64)
        };
        let ((left, right_part), (top, lower_part)) = (cell(x), cell(y));
        let value = |column: usize, row: usize| self.0.get(row * GRID + column).copied().unwrap_or_default();
        let along = |row| value(left, row) * (1.0 - right_part) + value(left + 1, row) * right_part;
        along(top) * (1.0 - lower_part) + along(top + 1) * lower_part
    }
}

fn places(a: &Grey, b: &Grey) -> Places {
    let starts = || (0..GRID).map(|number| number * STRIDE);
    let one = |x, y| (1.0 - ssim(&window(a, x, y), &window(b, x, y))) / 2.0;
    Places(starts().flat_map(|y| starts().map(move |x| one(x, y))).collect())
}

fn window(picture: &Grey, x: usize, y: usize) -> Vec<f64> {
    let rows = picture.0.chunks_exact(SIDE as usize).skip(y).take(WINDOW);
    rows.flat_map(|row| row.iter().skip(x).take(WINDOW)).map(|value| f64::from(*value)).collect()
}

fn ssim(a: &[f64], b: &[f64]) -> f64 {
    let count = a.len().max(1) as f64;
    let mean = |of: &[f64]| of.iter().sum::<f64>() / count;
    let (ma, mb) = (mean(a), mean(b));
    let spread = |of: &[f64], mean: f64| of.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let (va, vb) = (spread(a, ma), spread(b, mb));
    let together = a.iter().zip(b).map(|(a, b)| (a - ma) * (b - mb)).sum::<f64>() / count;
    ((2.0 * ma * mb + C1) * (2.0 * together + C2)) / ((ma * ma + mb * mb + C1) * (va + vb + C2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(of: impl Fn(u32, u32) -> u32) -> Grey {
        let pixels = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
        Grey(pixels.map(|(x, y)| u8::try_from(of(x, y) % 256).unwrap()).collect())
    }

    fn dissimilarity(a: &Grey, b: &Grey) -> f64 {
        compare(a, b).dissimilarity
    }

    #[test]
    fn the_same_is_zero_and_noise_less_than_another_picture() {
        let rings = picture(|x, y| (x * x + y * y) / 40);
        let noisy = picture(|x, y| (x * x + y * y) / 40 + (x * 7 + y * 13) % 5);
        let stripes = picture(|x, _| x * 9);
        assert!(dissimilarity(&rings, &rings) < 1e-12);
        let (near, far) = (dissimilarity(&rings, &noisy), dissimilarity(&rings, &stripes));
        assert!(near < 0.2 && far > 0.3 && near < far, "{near} {far}");
    }

    #[test]
    fn a_negative_is_beyond_unrelated() {
        let wave = picture(|x, y| if (x / 2 + y / 2) % 2 == 0 { 0 } else { 255 });
        let negative = picture(|x, y| if (x / 2 + y / 2) % 2 == 0 { 255 } else { 0 });
        assert!(dissimilarity(&wave, &negative) > 0.9);
    }

    #[test]
    fn a_difference_is_found_where_it_is() {
        let rings = picture(|x, y| (x * x + y * y) / 40);
        let corner = picture(|x, y| if x > 96 && y > 96 { (x * 37 + y * 91) % 251 } else { (x * x + y * y) / 40 });
        let found = compare(&rings, &corner);
        assert!(found.places.at(0.95, 0.95) > 0.3, "{}", found.places.at(0.95, 0.95));
        for (x, y) in [(0.0, 0.0), (0.5, 0.5), (0.95, 0.3), (0.2, 1.0)] {
            assert!(found.places.at(x, y).abs() < 1e-9, "{x} {y}: {}", found.places.at(x, y));
        }
        assert!(found.dissimilarity > 0.01 && found.dissimilarity < CHANGED, "{}", found.dissimilarity);
        assert!(found.hash_bits > 0 && found.hash_bits < 12, "{}", found.hash_bits);
        assert_eq!(compare(&rings, &rings).hash_bits, 0);
    }

    #[test]
    fn another_picture_is_told_by_structure_or_by_shape() {
        for (dissimilarity, bits, another) in
            [(0.25, 0, true), (0.17, 32, true), (0.17, 12, false), (0.01, 32, false), (0.0, 0, false)]
        {
            assert_eq!(is_another(dissimilarity, bits), another, "{dissimilarity} {bits}");
        }
    }
}
