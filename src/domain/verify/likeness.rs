//! How alike two pictures of one prompt and seed are.
//!
//! Why it exists: a provider that changes its model behind a name tells nobody; a fixed prompt drawn again does. What it
//! refuses to know: where pictures come from. Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from
//! error visibility to structural similarity", 2004, its constants, on windows of 8 by 8 that overlap by half.

use super::structure::{Grey, SIDE};

/// Side of a window.
const WINDOW: usize = 8;
/// Windows begin this far apart.
const STRIDE: usize = WINDOW / 2;
/// `(0.01 L)²` and `(0.03 L)²` for brightness of `L = 255`.
const C1: f64 = 6.5025;
const C2: f64 = 58.5225;

/// Structural dissimilarity, `(1 - SSIM) / 2`: 0 for the same picture, a half for unrelated ones, 1 for opposites.
pub fn dissimilarity(a: &Grey, b: &Grey) -> f64 {
    let side = SIDE as usize;
    let starts = || (0..=side - WINDOW).step_by(STRIDE);
    let (mut sum, mut windows) = (0.0, 0.0);
    for y in starts() {
        for x in starts() {
            sum += ssim(&window(a, x, y), &window(b, x, y));
            windows += 1.0;
        }
    }
    ((1.0 - sum / windows) / 2.0).clamp(0.0, 1.0)
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
}
