//! Which of a model's sizes serves an asked size.
//!
//! Why it exists: providers take ratios, lists or multiples; a caller asks pixels. The nearest ratio is the one with
//! the least log distance, `|ln(w/h) - ln(W/H)|`, symmetric in portrait and landscape. What it refuses to know: prices.

use super::super::catalog::Sizes;
use super::super::image::Size;

/// A size at which a model generates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Pixels.
    pub size: Size,
    /// Its position in the model's list; `None` for models that take any size.
    pub listed: Option<u16>,
}

/// The greatest log distance at which a ratio still serves: a centre crop would lose more than two thirds beyond it.
pub(super) const MAX_LOG_DISTANCE: f64 = 1.1;

/// Log distances that differ by less than this are one ratio: `1344x768` is a 16:9.
const SAME_RATIO: f64 = 0.03;

/// The best size of `sizes` for `asked`: nearest ratio first, then the smallest that covers it, then the largest.
/// `None` when no ratio comes near.
pub(super) fn place(sizes: &Sizes, asked: Size) -> Option<Placed> {
    match sizes {
        Sizes::Listed(natives) => {
            let ratio = asked.log_ratio();
            let nearest = natives.iter().map(|native| (native.log_ratio - ratio).abs()).fold(f64::INFINITY, f64::min);
            if nearest > MAX_LOG_DISTANCE {
                return None;
            }
            let near = (0u16..).zip(natives).filter(|(_, n)| (n.log_ratio - ratio).abs() <= nearest + SAME_RATIO);
            let best = near.min_by_key(|(_, native)| {
                let pixels = native.size.pixels();
                let covers = native.size.covers(asked);
                (!covers, if covers { pixels } else { u64::MAX - pixels })
            });
            best.map(|(at, native)| Placed { size: native.size, listed: Some(at) })
        }
        &Sizes::Free { min, max, step, max_pixels, max_ratio } => {
            let size = free(asked, min, max, step, max_pixels, max_ratio)?;
            Some(Placed { size, listed: None })
        }
    }
}

/// The smallest draft of `sizes` whose enlargement by `factor` still covers `asked`; for models with free sizes only,
/// since lists are walked by [`place`].
pub(super) fn draft(sizes: &Sizes, asked: Size, factor: f64) -> Option<Placed> {
    let &Sizes::Free { min, max, step, max_pixels, max_ratio } = sizes else {
        return place(sizes, asked.scaled(1.0 / factor));
    };
    let size = free(asked.scaled(1.0 / factor), min, max, step, max_pixels, max_ratio)?;
    Some(Placed { size, listed: None })
}

fn free(asked: Size, min: u32, max: u32, step: u32, max_pixels: u64, max_ratio: f64) -> Option<Size> {
    let (long, short) = (asked.width.max(asked.height), asked.width.min(asked.height));
    if f64::from(long) > max_ratio * f64::from(short.max(1)) * MAX_LOG_DISTANCE.exp() {
        return None;
    }
    let within_ratio = |side: u32| side.max(round_up(ratio_floor(long, max_ratio), step));
    let wanted = Size::new(within_ratio(asked.width), within_ratio(asked.height));
    let grow = f64::from(min) / f64::from(wanted.width.min(wanted.height).max(1));
    let shrink_side = f64::from(max) / f64::from(wanted.width.max(wanted.height).max(1));
    let shrink_area = (max_pixels as f64 / wanted.pixels().max(1) as f64).sqrt();
    let factor = grow.max(1.0).min(shrink_side).min(shrink_area);
    let scaled = wanted.scaled(factor);
    let shrunk = factor < 1.0;
    let side = |side: u32| {
        let stepped = if shrunk { side / step.max(1) * step } else { round_up(side, step) };
        stepped.clamp(round_up(min, step), max / step.max(1) * step)
    };
    let size = Size::new(side(scaled.width), side(scaled.height));
    (size.width > 0 && size.height > 0).then_some(size)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a side divided by a ratio of at least one"
)]
fn ratio_floor(long: u32, max_ratio: f64) -> u32 {
    (f64::from(long) / max_ratio.max(1.0)).ceil() as u32
}

fn round_up(side: u32, step: u32) -> u32 {
    side.div_ceil(step.max(1)).saturating_mul(step.max(1))
}

impl Sizes {
    /// The pixels of the largest size.
    pub fn most_pixels(&self) -> u64 {
        match self {
            Self::Listed(sizes) => sizes.iter().map(|native| native.size.pixels()).max().unwrap_or(0),
            Self::Free { max_pixels, .. } => *max_pixels,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::catalog::Native;
    use super::*;

    fn listed(sizes: &[(u32, u32)]) -> Sizes {
        let native = |&(width, height): &(u32, u32)| {
            let size = Size::new(width, height);
            Native { size, label: Arc::from(""), log_ratio: size.log_ratio(), scale: Arc::from("") }
        };
        Sizes::Listed(sizes.iter().map(native).collect())
    }

    fn placed(sizes: &Sizes, width: u32, height: u32) -> Option<(u32, u32)> {
        place(sizes, Size::new(width, height)).map(|placed| (placed.size.width, placed.size.height))
    }

    #[test]
    fn the_nearest_ratio_wins_and_then_the_smallest_that_covers() {
        let sizes = listed(&[(1024, 1024), (1344, 768), (768, 1344), (2048, 2048)]);
        assert_eq!(placed(&sizes, 512, 512), Some((1024, 1024)));
        assert_eq!(placed(&sizes, 1920, 1080), Some((1344, 768)));
        assert_eq!(placed(&sizes, 1080, 1920), Some((768, 1344)));
        assert_eq!(placed(&sizes, 1500, 1500), Some((2048, 2048)));
        assert_eq!(placed(&sizes, 4096, 4096), Some((2048, 2048)));
        assert_eq!(placed(&sizes, 4096, 64), None);
    }

    #[test]
    fn free_sizes_keep_to_their_bounds() {
        let sizes = Sizes::Free { min: 256, max: 1440, step: 16, max_pixels: 1_100_000, max_ratio: 3.0 };
        assert_eq!(placed(&sizes, 512, 512), Some((512, 512)));
        assert_eq!(placed(&sizes, 500, 300), Some((512, 304)));
        assert_eq!(placed(&sizes, 64, 64), Some((256, 256)));
        let (width, height) = placed(&sizes, 2048, 2048).unwrap();
        assert!(u64::from(width) * u64::from(height) <= 1_100_000 && width == height && width.is_multiple_of(16));
    }
}
