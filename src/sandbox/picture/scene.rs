//! Composes a scene at a quarter of the final size: a palette from the prompt, shapes from the seed.
//!
//! It refuses text and grain. Palettes are chosen by hand, so that no roll of the dice is ugly; each has five
//! colours, from the depth of the sky to the darkest foreground.

use image::RgbImage;
use rand::RngExt;
use rand::rngs::StdRng;

use super::Style;
use super::finish::BRIGHTEST;

type Colour = [f32; 3];

const PALETTES: [[u32; 5]; 12] = [
    [0x2b_3a67, 0x8d_6a9f, 0xf2_b5a7, 0xb5_5d7c, 0x1d_1a38],
    [0x0b_3954, 0x2f_8f9d, 0xbf_e3d0, 0x33_7a6b, 0x08_2a33],
    [0x4a_3f6b, 0xc0_6c84, 0xf8_c89b, 0x6c_5b7b, 0x23_1f3a],
    [0x7f_b7be, 0xd3_f3ee, 0xf9_f3e1, 0xda_9f5b, 0x7d_4f38],
    [0x22_577a, 0x57_a0a6, 0xf6_e7b4, 0xe0_8e45, 0x3a_2b36],
    [0xa8_dadc, 0xe6_f2ee, 0xf7_d9c4, 0x6f_8faf, 0x1d_3557],
    [0x13_1b3f, 0x3d_3a7c, 0xe0_7a8b, 0x59_3f7f, 0x0d_0f26],
    [0xf2_c6b4, 0xf7_e3cf, 0xfd_f3df, 0x8f_a998, 0x3f_5a56],
    [0x35_5c7d, 0x99_b898, 0xfe_e2b3, 0x2a_7f62, 0x17_3b35],
    [0xcf_6a5d, 0xee_a96f, 0xf9_e0a2, 0x8a_3b4c, 0x33_1832],
    [0x3b_4a6b, 0x7e_9bb8, 0xe9_eef2, 0x9a_a9bb, 0x2a_3346],
    [0x5f_0f40, 0xa8_3f6f, 0xfb_b38a, 0x9a_031e, 0x21_0b2c],
];

/// A scene of `width` by `height`; `mood` is the prompt's, `hand` also the model's and the seed's.
pub(super) fn paint(
    style: Style,
    mood: &mut StdRng,
    hand: &mut StdRng,
    width: u32,
    height: u32,
) -> Option<RgbImage> {
    let palette = PALETTES
        .get(mood.random_range(0..PALETTES.len()))?
        .map(colour);
    let mut canvas = Canvas::new(width, height);
    match style {
        Style::Hills => hills(&mut canvas, palette, hand),
        Style::Lights => lights(&mut canvas, palette, hand),
        Style::Poster => poster(&mut canvas, palette, hand),
        Style::Ribbons => ribbons(&mut canvas, palette, hand),
        Style::Peaks => peaks(&mut canvas, palette, hand),
    }
    canvas.finished()
}

/// Rolling land in the mist under a low sun.
fn hills(canvas: &mut Canvas, [deep, sky, light, land, dark]: [Colour; 5], hand: &mut StdRng) {
    let horizon = hand.random_range(0.45..0.62);
    canvas.sky(deep, sky, light, horizon);
    let (x, y) = (
        hand.random_range(0.2..0.8),
        horizon - hand.random_range(0.02..0.2),
    );
    canvas.disc(x, y, 0.55, 1.0, mix(light, WHITE, 0.4), 0.55);
    canvas.disc(
        x,
        y,
        hand.random_range(0.06..0.11),
        0.06,
        mix(light, WHITE, 0.7),
        0.95,
    );
    for layer in 0..5_u8 {
        let depth = f32::from(layer) / 4.0;
        let ridge = canvas.ridge(
            hand,
            horizon + depth * 0.36,
            0.035 + depth * 0.03,
            1.2 + depth,
            false,
        );
        let tone = mix(
            mix(light, land, 0.25 + depth),
            dark,
            (depth - 0.35).max(0.0) * 1.3,
        );
        canvas.land(&ridge, tone, mix(tone, light, 0.38 * (1.0 - depth)), 0.22);
    }
}

/// A night street out of focus: discs of light over a gradient.
fn lights(canvas: &mut Canvas, [deep, sky, light, land, dark]: [Colour; 5], hand: &mut StdRng) {
    canvas.sky(dark, mix(deep, dark, 0.45), mix(sky, deep, 0.4), 1.0);
    canvas.disc(
        hand.random_range(0.2..0.8),
        hand.random_range(0.3..0.9),
        0.8,
        1.0,
        sky,
        0.5,
    );
    for size in [0.17, 0.11, 0.07, 0.04] {
        for _ in 0..9 {
            let tint = [light, land, sky, mix(light, WHITE, 0.5)];
            let tint = tint
                .get(hand.random_range(0..tint.len()))
                .copied()
                .unwrap_or(light);
            let radius = size * hand.random_range(0.7..1.2_f32);
            let (x, y) = (
                hand.random_range(-0.05..1.05),
                hand.random_range(0.05..1.0_f32).powf(0.8),
            );
            canvas.disc(x, y, radius, 0.10, tint, hand.random_range(0.12..0.42));
            canvas.ring(x, y, radius, mix(tint, WHITE, 0.5), 0.18);
        }
    }
}

/// A printed poster: rays from behind a great disc over flat land.
fn poster(canvas: &mut Canvas, [deep, sky, light, land, dark]: [Colour; 5], hand: &mut StdRng) {
    let (x, y) = (hand.random_range(0.38..0.62), hand.random_range(0.48..0.64));
    canvas.rays(
        x,
        y,
        hand.random_range(9..17),
        mix(sky, light, 0.35),
        mix(light, WHITE, 0.25),
        deep,
    );
    let radius = hand.random_range(0.24..0.32);
    canvas.disc(x, y, radius + 0.035, 0.01, mix(light, WHITE, 0.6), 1.0);
    canvas.disc(x, y, radius, 0.01, land, 1.0);
    canvas.disc(
        x,
        y + radius * 0.35,
        radius * 1.02,
        0.9,
        mix(land, light, 0.5),
        0.35,
    );
    for layer in 0..3_u8 {
        let depth = f32::from(layer) / 2.0;
        let ridge = canvas.ridge(hand, 0.74 + depth * 0.12, 0.03, 0.9 + depth * 0.6, false);
        canvas.land(
            &ridge,
            mix(mix(deep, land, 0.3), dark, 0.35 + depth * 0.6),
            dark,
            0.9,
        );
    }
}

/// Folded silk: many soft waves, lit from above.
fn ribbons(canvas: &mut Canvas, [deep, sky, light, land, dark]: [Colour; 5], hand: &mut StdRng) {
    canvas.sky(mix(light, WHITE, 0.3), light, sky, 0.5);
    let stops = [light, sky, deep, land, dark];
    let swing = hand.random_range(0.05..0.11);
    for layer in 0..9_u8 {
        let depth = f32::from(layer) / 8.0;
        let ridge = canvas.ridge(hand, 0.16 + depth * 0.80, swing, 0.8 + depth * 0.5, false);
        let tone = along(
            &stops,
            (depth * 0.92 + hand.random_range(-0.04..0.08)).clamp(0.0, 1.0),
        );
        canvas.land(&ridge, mix(tone, WHITE, 0.22), mix(tone, dark, 0.35), 0.16);
    }
}

/// Mountains at night: stars, a moon, ridge behind ridge in the haze.
fn peaks(canvas: &mut Canvas, [deep, sky, light, land, dark]: [Colour; 5], hand: &mut StdRng) {
    let horizon = hand.random_range(0.50..0.62);
    canvas.sky(
        mix(deep, dark, 0.65),
        mix(deep, sky, 0.3),
        mix(sky, light, 0.55),
        horizon,
    );
    for _ in 0..90 {
        let (x, y) = (
            hand.random_range(0.0..1.0),
            hand.random_range(0.0..1.0_f32).powi(2) * horizon,
        );
        canvas.disc(
            x,
            y,
            hand.random_range(0.003..0.0065),
            1.0,
            WHITE,
            hand.random_range(0.3..1.0),
        );
    }
    let (x, y) = (hand.random_range(0.15..0.85), hand.random_range(0.12..0.3));
    canvas.disc(x, y, 0.30, 1.0, mix(light, WHITE, 0.4), 0.35);
    canvas.disc(x, y, 0.065, 0.05, mix(light, WHITE, 0.75), 1.0);
    for layer in 0..5_u8 {
        let depth = f32::from(layer) / 4.0;
        let ridge = canvas.ridge(
            hand,
            horizon + depth * 0.34,
            0.12 - depth * 0.05,
            0.55 + depth * 0.35,
            true,
        );
        let tone = mix(
            mix(mix(sky, light, 0.4), land, 0.25 + depth * 0.6),
            dark,
            depth * 0.85,
        );
        canvas.land(&ridge, tone, mix(tone, light, 0.30 * (1.0 - depth)), 0.28);
    }
}

const WHITE: Colour = [1.0; 3];

struct Canvas {
    width: usize,
    height: usize,
    /// The unit of shapes: the geometric mean of the sides.
    unit: f32,
    pixels: Vec<Colour>,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        let unit = ((width * height) as f32).sqrt();
        Self {
            width,
            height,
            unit,
            pixels: vec![[0.0; 3]; width * height],
        }
    }

    /// A vertical gradient in two spans; the second ends at `horizon`.
    fn sky(&mut self, top: Colour, middle: Colour, bottom: Colour, horizon: f32) {
        let height = self.height as f32;
        for (y, row) in self.pixels.chunks_exact_mut(self.width).enumerate() {
            let at = (y as f32 / height / horizon).min(1.0);
            row.fill(along(&[top, middle, bottom], at));
        }
    }

    /// The height of a skyline in each column, in pixels from the top.
    fn ridge(
        &self,
        hand: &mut StdRng,
        base: f32,
        swing: f32,
        waves: f32,
        jagged: bool,
    ) -> Vec<f32> {
        let octaves: [(f32, f32, f32); 4] = std::array::from_fn(|octave| {
            let fold = 2.1_f32.powi(i32::try_from(octave).unwrap_or_default());
            let phase = hand.random_range(0.0..std::f32::consts::TAU);
            (
                waves * fold * hand.random_range(0.8..1.25),
                phase,
                if jagged { 0.42_f32 } else { 0.36 }.powf(fold.log2()),
            )
        });
        let height = self.height as f32;
        let column = |x: usize| {
            let x = x as f32 / self.unit * std::f32::consts::TAU;
            let swings = octaves.iter().map(|(wave, phase, size)| {
                let swing = (x * wave + phase).sin();
                size * if jagged {
                    1.0 - 2.0 * swing.abs()
                } else {
                    swing
                }
            });
            (base - swing * swings.sum::<f32>()) * height
        };
        (0..self.width).map(column).collect()
    }

    /// Land below a ridge: `tone` at the ridge, fading to `foot` over `fade` of the height.
    fn land(&mut self, ridge: &[f32], tone: Colour, foot: Colour, fade: f32) {
        let reach = fade * self.height as f32;
        let highest = ridge.iter().copied().fold(f32::MAX, f32::min).max(0.0);
        let from = whole(highest);
        // A steep edge is crossed slowly going down: its distance is measured at a right angle, so that it is smooth.
        let next = ridge.iter().skip(1).chain(ridge.last());
        let slopes: Vec<f32> = ridge
            .iter()
            .zip(next)
            .map(|(here, next)| 1.0 / (here - next).hypot(1.0))
            .collect();
        for (y, row) in self
            .pixels
            .chunks_exact_mut(self.width)
            .enumerate()
            .skip(from)
        {
            for ((pixel, ridge), slope) in row.iter_mut().zip(ridge).zip(&slopes) {
                let below = (y as f32 - ridge) * slope;
                if below > -0.5 {
                    let shade = mix(tone, foot, (below / reach).clamp(0.0, 1.0));
                    *pixel = if below >= 0.5 {
                        shade
                    } else {
                        mix(*pixel, shade, below + 0.5)
                    };
                }
            }
        }
    }

    /// A disc; `soft` is the share of the radius over which its edge fades.
    fn disc(&mut self, x: f32, y: f32, radius: f32, soft: f32, tint: Colour, strength: f32) {
        let radius = radius * self.unit;
        let edge = (soft * radius).max(1.0);
        self.around(x, y, radius + 1.0, |distance, pixel| {
            let cover = ((radius + 0.5 - distance) / edge).clamp(0.0, 1.0);
            let cover = cover * cover * (3.0 - 2.0 * cover);
            *pixel = mix(*pixel, tint, cover * strength);
        });
    }

    /// The bright rim of a lens's disc.
    fn ring(&mut self, x: f32, y: f32, radius: f32, tint: Colour, strength: f32) {
        let radius = radius * self.unit;
        self.around(x, y, radius + 2.0, |distance, pixel| {
            let cover = 1.0 - ((distance - radius + 1.2).abs() / 1.6).min(1.0);
            *pixel = mix(*pixel, tint, cover * strength);
        });
    }

    /// Alternating wedges that darken outwards.
    fn rays(&mut self, x: f32, y: f32, wedges: u8, even: Colour, odd: Colour, rim: Colour) {
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
                let side = if at < 1.0 {
                    0.5 + inside.min(0.5)
                } else {
                    0.5 - inside.min(0.5)
                };
                *pixel = mix(mix(even, odd, side), rim, (distance / unit * 0.75).min(0.6));
            }
        }
    }

    fn around(&mut self, x: f32, y: f32, reach: f32, touch: impl Fn(f32, &mut Colour)) {
        let (x, y) = (x * self.width as f32, y * self.height as f32);
        let (top, bottom) = (whole(y - reach), whole(y + reach + 1.0).min(self.height));
        let (left, right) = (whole(x - reach), whole(x + reach + 1.0).min(self.width));
        let rows = self
            .pixels
            .chunks_exact_mut(self.width)
            .enumerate()
            .take(bottom)
            .skip(top);
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

    fn finished(self) -> Option<RgbImage> {
        let mut bytes = Vec::with_capacity(self.pixels.len() * 3);
        for [red, green, blue] in self.pixels {
            bytes.extend([byte(red), byte(green), byte(blue)]);
        }
        RgbImage::from_raw(
            u32::try_from(self.width).ok()?,
            u32::try_from(self.height).ok()?,
            bytes,
        )
    }
}

fn mix([ar, ag, ab]: Colour, [br, bg, bb]: Colour, t: f32) -> Colour {
    [ar + (br - ar) * t, ag + (bg - ag) * t, ab + (bb - ab) * t]
}

/// The colour at `t` (0 to 1) along evenly spaced stops.
fn along(stops: &[Colour], t: f32) -> Colour {
    let place = t.clamp(0.0, 1.0) * (stops.len().saturating_sub(1)) as f32;
    let at = whole(place).min(stops.len().saturating_sub(2));
    match stops.get(at..) {
        Some([from, to, ..]) => mix(*from, *to, place - at as f32),
        Some([only]) => *only,
        _ => WHITE,
    }
}

fn colour(hex: u32) -> Colour {
    let [_, red, green, blue] = hex.to_be_bytes();
    [red, green, blue].map(|part| f32::from(part) / 255.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, which clips"
)]
fn whole(value: f32) -> usize {
    value as usize
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, which clips"
)]
fn byte(value: f32) -> u8 {
    ((value * 255.0) as u8).min(BRIGHTEST)
}
