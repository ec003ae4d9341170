//! Seeded randomness: every draw is a pure function of the things it is drawn for.
//!
//! It refuses to keep state. A caller names the parts (sandbox seed, model, prompt, …) and gets the same generator
//! for the same parts, on any machine.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

/// The digest of `parts`, each prefixed with its length so that no two lists collide.
pub(super) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A generator for `parts`.
pub(super) fn dice(parts: &[&[u8]]) -> StdRng {
    StdRng::from_seed(digest(parts))
}

/// A number in [0, 1) for `parts`.
pub(super) fn unit(parts: &[&[u8]]) -> f64 {
    dice(parts).random()
}

/// A standard normal draw (Box and Muller).
pub(super) fn normal(dice: &mut StdRng) -> f64 {
    let radius: f64 = dice.random::<f64>().max(f64::MIN_POSITIVE);
    let angle: f64 = dice.random();
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let mut dice = dice(&[b"seed 7"]);
        let draws: Vec<f64> = (0..20_000).map(|_| normal(&mut dice)).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
    }
}
