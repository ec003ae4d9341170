//! Sizes and tokens: what a picture of each family, quality and size costs in output tokens.

/// A line of models that share their rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Gpt15,
    Gpt2,
    Flare25,
    Flare26,
}

impl Family {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gpt15 => "gpt-image-1.5",
            Self::Gpt2 => "gpt-image-2",
            Self::Flare25 => "gpt-image-2.5-flare",
            Self::Flare26 => "gpt-image-2.6-flare",
        }
    }
}

/// The family of a model that is still served, by its name or its dated snapshot.
pub(super) fn family(name: &str) -> Option<Family> {
    match name {
        "gpt-image-1.5" | "chatgpt-image-latest" => Some(Family::Gpt15),
        "gpt-image-2" | "gpt-image-2-2026-04-21" => Some(Family::Gpt2),
        "gpt-image-2.5-flare" | "gpt-image-2.5-flare-2026-09-08" => Some(Family::Flare25),
        "gpt-image-2.6-flare" | "gpt-image-2.6-flare-2026-11-04" => Some(Family::Flare26),
        _ => None,
    }
}

/// Width and height of a `size`, or why it is refused. GPT image 1.5 has three sizes; the later models take any whose
/// sides are multiples of 16, no more than 3:1, within 3840 by 2160 either way up.
pub(super) fn side_rules(size: &str, family: Family) -> Result<(u32, u32), String> {
    if size == "auto" {
        return Ok((1024, 1024));
    }
    let sides = size.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let (width, height): (u32, u32) =
        sides.ok_or_else(|| format!("Invalid size '{size}'. Expected WIDTHxHEIGHT or 'auto'."))?;
    if family == Family::Gpt15 {
        return match (width, height) {
            (1024, 1024 | 1536) | (1536, 1024) => Ok((width, height)),
            _ => Err(format!(
                "Invalid value: '{size}'. Supported values are: '1024x1024', '1024x1536', '1536x1024', and 'auto'."
            )),
        };
    }
    if width == 0 || height == 0 || width % 16 != 0 || height % 16 != 0 {
        return Err(format!("Invalid size '{size}'. Width and height must both be divisible by 16."));
    }
    let (long, short) = (width.max(height), width.min(height));
    if long > short * 3 {
        return Err(format!("Invalid size '{size}'. The aspect ratio must be between 1:3 and 3:1."));
    }
    if long > 3840 || short > 2160 {
        return Err(format!("Invalid size '{size}'. The maximum size is 3840x2160."));
    }
    Ok((width, height))
}

/// Output tokens of one picture. At 1024x1024 and at 1536x1024 (either way up) they are the documented numbers; any
/// other size scales the square's by pixels, rounded up, and a 4K picture of 2.6 has a number of its own.
pub(super) fn image_tokens(family: Family, quality: &str, width: u32, height: u32) -> u64 {
    let (square, oblong) = documented(family, quality);
    let (long, short) = (width.max(height), width.min(height));
    match (long, short) {
        (1024, 1024) => square,
        (1536, 1024) => oblong,
        (3840, 2160) if family == Family::Flare26 && quality == "high" => 3_337,
        _ => (square * u64::from(width) * u64::from(height)).div_ceil(1024 * 1024),
    }
}

/// Tokens of a square and of an oblong picture.
fn documented(family: Family, quality: &str) -> (u64, u64) {
    use Family::{Flare25, Flare26, Gpt2, Gpt15};
    match (family, quality) {
        (Gpt15, "low") => (272, 408),
        (Gpt15, "medium") => (1_056, 1_584),
        (Gpt15, _) => (4_160, 6_240),
        (Gpt2 | Flare25, "low") => (196, 153),
        (Flare25, "medium") => (439, 343),
        (Gpt2, "medium") | (Flare25, "high") => (1_756, 1_372),
        (Flare26, "low") => (686, 664),
        (Flare26, "medium") => (1_536, 1_200),
        (Flare26, "high") => (1_756, 1_353),
        (Flare25 | Flare26, "xhigh") => (3_122, 2_439),
        (Gpt2 | Flare25 | Flare26, _) => (7_024, 5_488),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_prices_come_out() {
        let dollars = |family, quality, width, height| image_tokens(family, quality, width, height) as f64 * 30e-6;
        assert!((dollars(Family::Gpt2, "medium", 1024, 1024) - 0.053).abs() < 0.0005);
        assert!((dollars(Family::Gpt2, "high", 1024, 1024) - 0.211).abs() < 0.0005);
        assert!((dollars(Family::Gpt2, "high", 1024, 1536) - 0.165).abs() < 0.0005);
        assert!((dollars(Family::Flare26, "high", 3840, 2160) - 0.10).abs() < 0.0005);
        assert_eq!(image_tokens(Family::Gpt2, "low", 512, 512), 49);
    }

    #[test]
    fn sizes_follow_the_rules() {
        assert_eq!(side_rules("1344x768", Family::Gpt2), Ok((1344, 768)));
        assert!(side_rules("1000x1000", Family::Gpt2).unwrap_err().contains("divisible by 16"));
        assert!(side_rules("3200x1024", Family::Gpt2).unwrap_err().contains("3:1"));
        assert!(side_rules("3840x2176", Family::Gpt2).is_err());
        assert!(side_rules("1344x768", Family::Gpt15).is_err());
        assert!(side_rules("large", Family::Gpt2).is_err());
    }
}
