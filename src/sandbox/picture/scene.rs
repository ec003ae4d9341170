//! Composes a scene at a quarter of the final size: a palette from the prompt, shapes from the seed.
//!
//! It refuses text and grain. Palettes are chosen by hand, so that no roll of the dice is ugly; each has five
//! colours, from the depth of the sky to the darkest foreground.

use image::RgbImage;
use rand::RngExt;
use rand::rngs::StdRng;

use super::Style;
use super::canvas::{Canvas, Colour, WHITE, along, colour, mix};

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
pub(super) fn paint(style: Style, mood: &mut StdRng, hand: &mut StdRng, width: u32, height: u32) -> Option<RgbImage> {
    let palette = PALETTES.get(mood.random_range(0..PALETTES.len()))?.map(colour);
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
    let (x, y) = (hand.random_range(0.2..0.8), horizon - hand.random_range(0.02..0.2));
    canvas.disc(x, y, 0.55, 1.0, mix(light, WHITE, 0.4), 0.55);
    canvas.disc(x, y, hand.random_range(0.06..0.11), 0.06, mix(light, WHITE, 0.7), 0.95);
    for layer in 0..5_u8 {
        let depth = f32::from(layer) / 4.0;
        let ridge = canvas.ridge(hand, horizon + depth * 0.36, 0.035 + depth * 0.03, 1.2 + depth, false);
        let tone = mix(mix(light, land, 0.25 + depth), dark, (depth - 0.35).max(0.0) * 1.3);
        canvas.land(&ridge, tone, mix(tone, light, 0.38 * (1.0 - depth)), 0.22);
    }
}

/// A night street out of focus: discs of light over a gradient.
fn lights(canvas: &mut Canvas, [deep, sky, light, land, dark]: [Colour; 5], hand: &mut StdRng) {
    canvas.sky(dark, mix(deep, dark, 0.45), mix(sky, deep, 0.4), 1.0);
    canvas.disc(hand.random_range(0.2..0.8), hand.random_range(0.3..0.9), 0.8, 1.0, sky, 0.5);
    for size in [0.17, 0.11, 0.07, 0.04] {
        for _ in 0..9 {
            let tint = [light, land, sky, mix(light, WHITE, 0.5)];
            let tint = tint.get(hand.random_range(0..tint.len())).copied().unwrap_or(light);
            let radius = size * hand.random_range(0.7..1.2_f32);
            let (x, y) = (hand.random_range(-0.05..1.05), hand.random_range(0.05..1.0_f32).powf(0.8));
            canvas.disc(x, y, radius, 0.10, tint, hand.random_range(0.12..0.42));
            canvas.ring(x, y, radius, mix(tint, WHITE, 0.5), 0.18);
        }
    }
}

/// A printed poster: rays from behind a great disc over flat land.
fn poster(canvas: &mut Canvas, [deep, sky, light, land, dark]: [Colour; 5], hand: &mut StdRng) {
    let (x, y) = (hand.random_range(0.38..0.62), hand.random_range(0.48..0.64));
    canvas.rays(x, y, hand.random_range(9..17), mix(sky, light, 0.35), mix(light, WHITE, 0.25), deep);
    let radius = hand.random_range(0.24..0.32);
    canvas.disc(x, y, radius + 0.035, 0.01, mix(light, WHITE, 0.6), 1.0);
    canvas.disc(x, y, radius, 0.01, land, 1.0);
    canvas.disc(x, y + radius * 0.35, radius * 1.02, 0.9, mix(land, light, 0.5), 0.35);
    for layer in 0..3_u8 {
        let depth = f32::from(layer) / 2.0;
        let ridge = canvas.ridge(hand, 0.74 + depth * 0.12, 0.03, 0.9 + depth * 0.6, false);
        canvas.land(&ridge, mix(mix(deep, land, 0.3), dark, 0.35 + depth * 0.6), dark, 0.9);
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
        let tone = along(&stops, (depth * 0.92 + hand.random_range(-0.04..0.08)).clamp(0.0, 1.0));
        canvas.land(&ridge, mix(tone, WHITE, 0.22), mix(tone, dark, 0.35), 0.16);
    }
}

/// Mountains at night: stars, a moon, ridge behind ridge in the haze.
fn peaks(canvas: &mut Canvas, [deep, sky, light, land, dark]: [Colour; 5], hand: &mut StdRng) {
    let horizon = hand.random_range(0.50..0.62);
    canvas.sky(mix(deep, dark, 0.65), mix(deep, sky, 0.3), mix(sky, light, 0.55), horizon);
    for _ in 0..90 {
        let (x, y) = (hand.random_range(0.0..1.0), hand.random_range(0.0..1.0_f32).powi(2) * horizon);
        canvas.disc(x, y, hand.random_range(0.003..0.0065), 1.0, WHITE, hand.random_range(0.3..1.0));
    }
    let (x, y) = (hand.random_range(0.15..0.85), hand.random_range(0.12..0.3));
    canvas.disc(x, y, 0.30, 1.0, mix(light, WHITE, 0.4), 0.35);
    canvas.disc(x, y, 0.065, 0.05, mix(light, WHITE, 0.75), 1.0);
    for layer in 0..5_u8 {
        let depth = f32::from(layer) / 4.0;
        let ridge = canvas.ridge(hand, horizon + depth * 0.34, 0.12 - depth * 0.05, 0.55 + depth * 0.35, true);
        let tone = mix(mix(mix(sky, light, 0.4), land, 0.25 + depth * 0.6), dark, depth * 0.85);
        canvas.land(&ridge, tone, mix(tone, light, 0.30 * (1.0 - depth)), 0.28);
    }
}
