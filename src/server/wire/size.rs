//! The four spellings of a size, which must agree.
//!
//! Why it exists: `width`/`height`, `w`/`h`, `size` and `aspect_ratio` say one thing, and a body that says two is wrong
//! before it is bought. A ratio alone means about one million pixels, each side a multiple of 8. What it refuses to
//! know: which sizes a model makes.

use super::fields::{Fields, Surface};
use super::value::Value;
use crate::domain::image::Size;
use crate::domain::refusal::Refusal;
use crate::domain::request::{MAX_SIDE, MIN_SIDE};

/// The pixels that a ratio alone asks for.
const RATIO_PIXELS: f64 = 1024.0 * 1024.0;
/// The most extreme ratio: at [`RATIO_PIXELS`] its long side is [`MAX_SIDE`].
const MAX_RATIO: f64 = 16.0;
/// Sides of a ratio are multiples of this.
const STEP: f64 = 8.0;

const SIZE: &str = "a size such as \"1024x768\", each side from 64 to 4096";
const RATIO: &str = "a ratio such as \"16:9\", at most 16:1";

/// The asked pixels; `None` when the body says nothing.
pub(super) fn read(fields: &Fields<'_>) -> Result<Option<Size>, Refusal> {
    let width = side(fields, "width", "w")?;
    let height = side(fields, "height", "h")?;
    let ratio = fields.value("aspect_ratio").map(|value| Ok((value, ratio(&value)?))).transpose()?;
    let sides = match (width, height) {
        (None, None) => None,
        (Some((_, width)), Some((_, height))) => Some(Size::new(width, height)),
        (Some((value, width)), None) => Some(Size::new(width, other_side(value, ratio, |r| f64::from(width) / r)?)),
        (None, Some((value, height))) => Some(Size::new(other_side(value, ratio, |r| f64::from(height) * r)?, height)),
    };
    let named = named(fields)?;
    if let (Some(sides), Some((value, named))) = (sides, named)
        && sides != named
    {
        return Err(value.refuse(format!("`size` is {named}, but width and height say {sides}; keep one of them")));
    }
    let size = named.map(|(_, size)| size).or(sides);
    match (size, ratio) {
        (Some(size), Some((value, ratio))) if !agrees(size, ratio) => {
            Err(value.refuse(format!("`aspect_ratio` is {}, but the size is {size}; keep one of them", value.json)))
        }
        (Some(size), _) => Ok(Some(size)),
        (None, Some((_, ratio))) => Ok(Some(of_ratio(ratio))),
        (None, None) => Ok(None),
    }
}

/// One side by either of its names.
fn side<'a>(fields: &Fields<'a>, long: &'static str, short: &'static str) -> Result<Option<(Value<'a>, u32)>, Refusal> {
    let read = |name| fields.value(name).map(|value| Ok((value, pixels(&value)?))).transpose();
    match (read(long)?, read(short)?) {
        (Some((_, a)), Some((value, b))) if a != b => {
            Err(value.refuse(format!("`{long}` is {a}, but `{short}` is {b}; keep one of them")))
        }
        (Some(long), _) => Ok(Some(long)),
        (None, short) => Ok(short),
    }
}

fn pixels(value: &Value<'_>) -> Result<u32, Refusal> {
    let side = value.integer(u64::from(MIN_SIDE)..=u64::from(MAX_SIDE), 1024)?;
    Ok(u32::try_from(side).unwrap_or(MAX_SIDE))
}

/// The side that the ratio gives for the other one.
fn other_side(
    value: Value<'_>,
    ratio: Option<(Value<'_>, f64)>,
    side: impl FnOnce(f64) -> f64,
) -> Result<u32, Refusal> {
    let Some((_, ratio)) = ratio else {
        let (this, other) = if value.name.starts_with('w') { ("width", "height") } else { ("height", "width") };
        return Err(value.refuse(format!("a {this} came without a {other}; give both, or an `aspect_ratio`")));
    };
    let side = side(ratio).round();
    in_range(side).ok_or_else(|| {
        value.refuse(format!("with this `aspect_ratio` the other side would be {side}; sides are from 64 to 4096"))
    })
}

fn named<'a>(fields: &Fields<'a>) -> Result<Option<(Value<'a>, Size)>, Refusal> {
    let Some(value) = fields.value("size") else {
        return Ok(None);
    };
    let text = value.text(SIZE)?;
    if fields.surface == Surface::Openai && text == "auto" {
        return Ok(None);
    }
    let size: Option<Size> = text.replace(['X', '×'], "x").parse().ok();
    let range = MIN_SIDE..=MAX_SIDE;
    let size = size.filter(|size| range.contains(&size.width) && range.contains(&size.height));
    size.map(|size| Some((value, size))).ok_or_else(|| value.wants(SIZE))
}

fn ratio(value: &Value<'_>) -> Result<f64, Refusal> {
    let text = value.text(RATIO)?;
    let part = |part: &str| part.parse::<u16>().ok().filter(|&part| part > 0 && !text.contains('+')).map(f64::from);
    let ratio = text.split_once(':').and_then(|(w, h)| Some(part(w)? / part(h)?));
    ratio.filter(|ratio| (1.0 / MAX_RATIO..=MAX_RATIO).contains(ratio)).ok_or_else(|| value.wants(RATIO))
}

fn of_ratio(ratio: f64) -> Size {
    let stepped = |side: f64| in_range((side / STEP).round() * STEP).unwrap_or(MAX_SIDE);
    Size::new(stepped((RATIO_PIXELS * ratio).sqrt()), stepped((RATIO_PIXELS / ratio).sqrt()))
}

/// Whether `size` is of that ratio, as near as multiples of 8 can be.
fn agrees(size: Size, ratio: f64) -> bool {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    (width - height * ratio).abs() <= STEP || (height - width / ratio).abs() <= STEP
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked just before")]
fn in_range(side: f64) -> Option<u32> {
    (f64::from(MIN_SIDE)..=f64::from(MAX_SIDE)).contains(&side).then_some(side as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(body: &str) -> Result<Option<(u32, u32)>, String> {
        let fields = Fields::read(body.as_bytes(), Surface::Native).unwrap();
        match read(&fields) {
            Ok(size) => Ok(size.map(|size| (size.width, size.height))),
            Err(Refusal::InvalidRequest { pointer, detail }) => Err(format!("{pointer}: {detail}")),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_spelling_says_the_same() {
        for body in [
            r#"{"width":512,"height":768}"#,
            r#"{"w":512,"h":768}"#,
            r#"{"size":"512x768"}"#,
            r#"{"size":"512X768","w":512,"height":768}"#,
            r#"{"width":512,"aspect_ratio":"2:3"}"#,
            r#"{"size":"512x768","aspect_ratio":"2:3"}"#,
        ] {
            assert_eq!(size(body), Ok(Some((512, 768))), "{body}");
        }
        assert_eq!(size("{}"), Ok(None));
    }

    #[test]
    fn a_ratio_alone_is_a_million_pixels() {
        for (ratio, want) in [
            ("1:1", (1024, 1024)),
            ("16:9", (1368, 768)),
            ("9:16", (768, 1368)),
            ("16:1", (4096, 256)),
            ("3:2", (1256, 840)),
        ] {
            assert_eq!(size(&format!(r#"{{"aspect_ratio":"{ratio}"}}"#)), Ok(Some(want)), "{ratio}");
        }
    }

    #[test]
    fn what_disagrees_is_refused_at_its_place() {
        for (body, pointer) in [
            (r#"{"width":512,"w":513,"height":512}"#, "/w: "),
            (r#"{"size":"512x512","width":512,"height":513}"#, "/size: "),
            (r#"{"size":"512x512","aspect_ratio":"16:9"}"#, "/aspect_ratio: "),
            (r#"{"width":512}"#, "/width: "),
            (r#"{"h":512}"#, "/h: "),
            (r#"{"width":4096,"aspect_ratio":"1:2"}"#, "/width: "),
            (r#"{"width":63,"height":512}"#, "/width: "),
            (r#"{"size":"512"}"#, "/size: "),
            (r#"{"size":"512x99999"}"#, "/size: "),
            (r#"{"size":[512,512]}"#, "/size: "),
            (r#"{"aspect_ratio":"17:1"}"#, "/aspect_ratio: "),
            (r#"{"aspect_ratio":"0:1"}"#, "/aspect_ratio: "),
            (r#"{"aspect_ratio":"+1:1"}"#, "/aspect_ratio: "),
            (r#"{"aspect_ratio":1.5}"#, "/aspect_ratio: "),
        ] {
            let text = size(body).unwrap_err();
            assert!(text.starts_with(pointer), "{body}: {text}");
        }
    }
}
