//! Reads and checks the fields of a Stability form.

use bytes::Bytes;

use super::super::super::picture::{Format, dimensions};
use super::super::super::visit::Visit;
use super::super::super::wire::{Answer, Form};
use super::super::{Screening, nearest, screen};
use super::SEEDS;
use super::refusal::{FLAGGED, bad, refusal, undecodable};

/// Ratios and the 64-aligned sizes of about one megapixel that go with them.
pub(super) const SIZES: [(&str, u32, u32); 9] = [
    ("21:9", 1536, 640),
    ("16:9", 1344, 768),
    ("3:2", 1216, 832),
    ("5:4", 1088, 896),
    ("1:1", 1024, 1024),
    ("4:5", 896, 1088),
    ("2:3", 832, 1216),
    ("9:16", 768, 1344),
    ("9:21", 640, 1536),
];

pub(super) const STYLES: [&str; 17] = [
    "enhance",
    "anime",
    "photographic",
    "digital-art",
    "comic-book",
    "fantasy-art",
    "line-art",
    "analog-film",
    "neon-punk",
    "isometric",
    "low-poly",
    "origami",
    "modeling-compound",
    "cinematic",
    "3d-model",
    "pixel-art",
    "tile-texture",
];

pub(super) fn prompt(form: &Form) -> Result<String, Answer> {
    let prompt = form.text("prompt").ok_or_else(|| bad("prompt: is required"))?;
    let negative = form.text("negative_prompt");
    for (name, text) in [("prompt", Some(&prompt)), ("negative_prompt", negative.as_ref())] {
        if text.is_some_and(|text| text.chars().count() > 10_000) {
            return Err(bad(&format!("{name}: must be at most 10000 characters")));
        }
    }
    if screen(&prompt) == Screening::Refused {
        return Err(refusal(403, "content_moderation", FLAGGED));
    }
    let letters = prompt.chars().filter(|letter| letter.is_alphabetic()).count();
    let foreign = prompt.chars().filter(|letter| letter.is_alphabetic() && *letter > '\u{24f}').count();
    if foreign * 2 > letters {
        return Err(refusal(422, "invalid_language", "English is the only supported language for this service."));
    }
    Ok(prompt)
}

/// The size of the picture: the ratio's, or in image-to-image the posted picture's nearest.
pub(super) fn frame(form: &Form, kind: &str) -> Result<(u32, u32), Answer> {
    let editing = match (kind, form.text("mode").as_deref()) {
        ("sd3", None | Some("text-to-image")) | ("core", _) => false,
        ("sd3", Some("image-to-image")) => true,
        ("sd3", Some(_)) => return Err(bad("mode: must be one of: text-to-image, image-to-image")),
        _ => form.file("image").is_some(),
    };
    if editing {
        let image = posted_image(form)?;
        form.text("strength").ok_or_else(|| bad("strength: is required"))?;
        between(form, "strength", 0.0, 1.0)?;
        let (width, height) = sized(&image, 64, 4_096, u64::from(u32::MAX))?;
        let (_, width, height) = nearest(&SIZES, width, height).unwrap_or(("1:1", 1024, 1024));
        return Ok((width, height));
    }
    let asked = form.text("aspect_ratio").unwrap_or_else(|| "1:1".to_owned());
    let found = SIZES.iter().find(|(ratio, _, _)| *ratio == asked).map(|(_, width, height)| (*width, *height));
    let ratios = || SIZES.map(|(ratio, _, _)| ratio).join(", ");
    found.ok_or_else(|| bad(&format!("aspect_ratio: must be one of: {}", ratios())))
}

pub(super) fn format(form: &Form) -> Result<Format, Answer> {
    let name = form.text("output_format").unwrap_or_else(|| "png".to_owned());
    Format::named(&name).filter(|_| name != "jpg").ok_or_else(|| bad("output_format: must be one of: png, jpeg, webp"))
}

/// The seed that is used: the one asked for, or a drawn one for 0 and for none.
pub(super) fn seed(visit: &Visit<'_>, form: &Form) -> Result<u64, Answer> {
    let asked = form.text("seed").unwrap_or_else(|| "0".to_owned());
    match asked.parse::<u64>() {
        Ok(0) => Ok(visit.world.draw_seed(SEEDS)),
        Ok(seed) if seed < SEEDS => Ok(seed),
        _ => Err(bad("seed: must be a number between 0 and 4294967294")),
    }
}

pub(super) fn between(form: &Form, name: &str, least: f64, most: f64) -> Result<(), Answer> {
    let Some(text) = form.text(name) else {
        return Ok(());
    };
    match text.parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(()),
        _ => Err(bad(&format!("{name}: must be a number between {least} and {most}"))),
    }
}

pub(super) fn one_of(form: &Form, name: &str, values: &[&str]) -> Result<(), Answer> {
    match form.text(name) {
        Some(value) if !values.contains(&value.as_str()) => {
            Err(bad(&format!("{name}: must be one of: {}", values.join(", "))))
        }
        _ => Ok(()),
    }
}

pub(super) fn posted_image(form: &Form) -> Result<Bytes, Answer> {
    form.file("image").ok_or_else(|| bad("image: is required"))
}

/// The posted picture's size, within these limits.
pub(super) fn sized(image: &Bytes, least_side: u32, least: u64, most: u64) -> Result<(u32, u32), Answer> {
    let (width, height) = dimensions(image).ok_or_else(undecodable)?;
    if width.min(height) < least_side {
        return Err(bad(&format!("image: width and height must be at least {least_side} pixels")));
    }
    let pixels = u64::from(width) * u64::from(height);
    if !(least..=most).contains(&pixels) {
        return Err(bad(&format!("image: total pixels must be between {least} and {most}")));
    }
    Ok((width, height))
}

/// `width` by `height` scaled to about `pixels`, even, never smaller than it was.
pub(super) fn to_pixels(width: u32, height: u32, pixels: u32) -> (u32, u32) {
    let scale = (f64::from(pixels) / (f64::from(width) * f64::from(height))).sqrt().max(1.0);
    let side = |side: u32| whole(f64::from(side) * scale) / 2 * 2;
    (side(width), side(height))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides are far below the limits")]
pub(super) fn whole(value: f64) -> u32 {
    value as u32
}
