//! A small canvas of linear colours, and the few shapes that every scene is made of.
//!
//! It refuses taste: which shapes go where, and in which colours, is the scene's.

use image::RgbImage;
use rand::RngExt;
use rand::rngs::StdRng;

use super::finish::BRIGHTEST;

/// Red, green and blue, 0 to 1.
pub(super) type Colour = [f32; 3];

pub(super) const WHITE: Colour = [1.0; 3];

/// Pixels, addressed by shares of the width and height.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    /// The unit of shapes: the geometric mean of the sides.
    unit: f32,
    pixels: Vec<Colour>,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        let unit = ((width * height) as f32).sqrt();
        Self { width, height, unit, pixels: vec![[0.0; 3]; width * height] }
    }

    /// A vertical gradient in two spans; the second ends at `horizon`.
    pub(super) fn sky(&mut self, top: Colour, middle: Colour, bottom: Colour, horizon: f32) {
        let height = self.height as f32;
        for (y, row) in self.pixels.chunks_exact_mut(self.width).enumerate() {
            let at = (y as f32 / height / horizon).min(1.0);
            row.fill(along(&[top, middle, bottom], at));
        }
    }

    /// The height of a skyline in each column, in pixels from the top.
    pub(super) fn ridge(&self, hand: &mut StdRng, base: f32, swing: f32, waves: f32, jagged: bool) -> Vec<f32> {
        let octaves: [(f32, f32, f32); 4] = std::array::from_fn(|octave| {
            let fold = 2.1_f32.powi(i32::try_from(octave).unwrap_or_default());
            let phase = hand.random_range(0.0..std::f32::consts::TAU);
            (waves * fold * hand.random_range(0.8..1.25), phase, if jagged { 0.42_f32 } else { 0.36 }.powf(fold.log2()))
        });
        let height = self.height as f32;
        let column = |x: usize| {
            let x = x as f32 / self.unit * std::f32::consts::TAU;
            let swings = octaves.iter().map(|(wave, phase, size)| {
                let swing = (x * wave + phase).sin();
                size * if jagged { 1.0 - 2.0 * swing.abs() } else { swing }
            });
            (base - swing * swings.sum::<f32>()) * height
        };
        (0..self.width).map(column).collect()
    }

    /// Land below a ridge: `tone` at the ridge, fading to `foot` over `fade` of the height.
    pub(super) fn land(&mut self, ridge: &[f32], tone: Colour, foot: Colour, fade: f32) {
        let reach = fade * self.height as f32;
        let highest = ridge.iter().copied().fold(f32::MAX, f32::min).max(0.0);
        let from = whole(highest);
        // A steep edge is crossed slowly going down: its distance is measured at a right angle, so that it is smooth.
        let next = ridge.iter().skip(1).chain(ridge.last());
        let slopes: Vec<f32> = ridge.iter().zip(next).map(|(here, next)| 1.0 / (here - next).hypot(1.0)).collect();
        for (y, row) in self.pixels.chunks_exact_mut(self.width).enumerate().skip(from) {
            for ((pixel, ridge), slope) in row.iter_mut().zip(ridge).zip(&slopes) {
                let below = (y as f32 - ridge) * slope;
                if below > -0.5 {
                    let shade = mix(tone, foot, (below / reach).clamp(0.0, 1.0));
                    *pixel = if below >= 0.5 { shade } else { mix(*pixel, shade, below + 0.5) };
                }
            }
        }
    }

    /// A disc; `soft` is the share of the radius over which its edge fades.
    pub(super) fn disc(&mut self, x: f32, y: f32, radius: f32, soft: f32, tint: Colour, strength: f32) {
        let radius = radius * self.unit;
        let edge = (soft * radius).max(1.0);
        self.around(x, y, radius + 1.0, |distance, pixel| {
            let cover = ((radius + 0.5 - distance) / edge).clamp(0.0, 1.0);
            let cover = cover * cover * (3.0 - 2.0 * cover);
            *pixel = mix(*pixel, tint, cover * strength);
        });
    }

    /// The bright rim of a lens's disc.
    pub(super) fn ring(&mut self, x: f32, y: f32, radius: f32, tint: Colour, strength: f32) {
        let radius = radius * self.unit;
        self.around(x, y, radius + 2.0, |distance, pixel| {
            let cover = 1.0 - ((distance - radius + 1.2).abs() / 1.6).min(1.0);
            *pixel = mix(*pixel, tint, cover * strength);
        });
    }

    /// Alternating wedges that darken outwards.
    pub(super) fn rays(&mut self, x: f32, y: f32, wedges: u8, even: Colour, odd: Colour, rim: Colour) {
        let (width, height, unit) = (self.width as f32, self.height as f32, self.unit);
        let turns = f32::from(wedges) * 2.0 / std::f32::consts::TAU;
        for (row, pixels) in self.pixels.chunks_exact_mut(self.width).enumerate() {
            let dy = row as f32 - y * height;
            for (column, pixel) in pixels.iter_mut().enumerate() {
                let dx = column as f32 - x * width;
                let distance = dx.hypot(dy);
                let at = (dy.atan2(dx) * turns).rem_euclid(2.0);
                // How far inside its wedge, in pixels, so that the edges are even at any distance.
                let inside = (at.rem_euclid(1.0) - 0.5).abs().mul_add(-1.0, 0.5) * distance / turns;
                let side = if at < 1.0 { 0.5 + inside.min(0.5) } else { 0.5 - inside.min(0.5) };
                *pixel = mix(mix(even, odd, side), rim, (distance / unit * 0.75).min(0.6));
            }
        }
    }

    fn around(&mut self, x: f32, y: f32, reach: f32, touch: impl Fn(f32, &mut Colour)) {
        let (x, y) = (x * self.width as f32, y * self.height as f32);
        let (top, bottom) = (whole(y - reach), whole(y + reach + 1.0).min(self.height));
        let (left, right) = (whole(x - reach), whole(x + reach + 1.0).min(self.width));
        let rows = self.pixels.chunks_exact_mut(self.width).enumerate().take(bottom).skip(top);
        for (row, pixels) in rows {
            let dy = row as f32 - y;
            for (column, pixel) in pixels.iter_mut().enumerate().take(right).skip(left) {
                let dx = column as f32 - x;
                let squared = dx * dx + dy * dy;
                if squared < reach * reach {
                    touch(squared.sqrt(), pixel);
                }
            }
        }
    }

    pub(super) fn finished(self) -> Option<RgbImage> {
        let mut bytes = Vec::with_capacity(self.pixels.len() * 3);
        for [red, green, blue] in self.pixels {
            bytes.extend([byte(red), byte(green), byte(blue)]);
        }
        RgbImage::from_raw(u32::try_from(self.width).ok()?, u32::try_from(self.height).ok()?, bytes)
    }
}

pub(super) fn mix([ar, ag, ab]: Colour, [br, bg, bb]: Colour, t: f32) -> Colour {
    [ar + (br - ar) * t, ag + (bg - ag) * t, ab + (bb - ab) * t]
}

/// The colour at `t` (0 to 1) along evenly spaced stops.
pub(super) fn along(stops: &[Colour], t: f32) -> Colour {
    let place = t.clamp(0.0, 1.0) * (stops.len().saturating_sub(1)) as f32;
    let at = whole(place).min(stops.len().saturating_sub(2));
    match stops.get(at..) {
        Some([from, to, ..]) => mix(*from, *to, place - at as f32),
        Some([only]) => *only,
        _ => WHITE,
    }
}

pub(super) fn colour(hex: u32) -> Colour {
    let [_, red, green, blue] = hex.to_be_bytes();
    [red, green, blue].map(|part| f32::from(part) / 255.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates, which clips")]
fn whole(value: f32) -> usize {
    value as usize
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates, which clips")]
fn byte(value: f32) -> u8 {
    ((value * 255.0) as u8).min(BRIGHTEST)
}
