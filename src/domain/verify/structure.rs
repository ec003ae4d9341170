//! Whether a picture is one at all: not blank, not flat, not blurred away, not another one again.
//!
//! Why it exists: providers answer a refused prompt with a grey or blurred picture and call it success, and a seed that
//! was ignored gives the same picture twice. It looks at a small grid of grey, which costs nothing beside a generation.
//! What it refuses to know: formats and sizes; whoever makes the [`Grey`] has decoded and bounded the picture.

use super::Judgement;

/// The side of the grid that [`judge`] expects.
pub const SIDE: u32 = 128;

/// Brightness, 0 to 255, of a picture scaled to [`SIDE`] by [`SIDE`], rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grey(pub Vec<u8>);

/// A picture's difference hash: 64 bits, each whether brightness rises from one cell of a 9 by 8 grid to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(u64);

impl Hash {
    /// Bits of 64 that differ: 0 is the same shape, about 32 an unrelated one.
    pub const fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}

/// Fewer different bits than this, of 64, is the same picture. Source: the usual bound of difference hashes, halved,
/// since pictures of one prompt are alike.
const SAME: u32 = 5;
/// A standard deviation of brightness below this is a blank or flat picture.
const FLAT: f64 = 4.0;
/// A picture without a step of this height between neighbours, in at least [`SHARP_SHARE`] of the cells, is blurred.
const STEP: u8 = 10;
const SHARP_SHARE: f64 = 0.002;

/// Looks at one picture, beside the hashes of those of its request that passed.
pub fn judge(grey: &Grey, others: &[Hash]) -> Judgement {
    let fail = |seen: &str| Judgement { passed: false, seen: seen.to_owned() };
    let spread = spread(grey);
    if spread < FLAT {
        return fail("it is blank or flat");
    }
    if sharp_share(grey) < SHARP_SHARE {
        return fail("it is blurred from side to side, as providers send instead of what they refuse");
    }
    let hash = hash(grey);
    if others.iter().any(|other| other.distance(hash) < SAME) {
        return fail("it is nearly the same as another picture of this request");
    }
    Judgement { passed: true, seen: "it has light, detail and its own shape".to_owned() }
}

/// The difference hash.
pub fn hash(grey: &Grey) -> Hash {
    let cell = |x: u32, y: u32| {
        let (left, right) = (x * SIDE / 9, (x + 1) * SIDE / 9);
        let (top, bottom) = (y * SIDE / 8, (y + 1) * SIDE / 8);
        let rows = grey.0.chunks_exact(SIDE as usize).skip(top as usize).take((bottom - top) as usize);
        let sum: u32 = rows
            .flat_map(|row| row.iter().skip(left as usize).take((right - left) as usize))
            .map(|v| u32::from(*v))
            .sum();
        sum / ((right - left) * (bottom - top)).max(1)
    };
    let bits = (0..8).flat_map(|y| (0..8).map(move |x| (x, y)));
    Hash(bits.fold(0, |hash, (x, y)| hash << 1 | u64::from(cell(x, y) < cell(x + 1, y))))
}

fn spread(grey: &Grey) -> f64 {
    let count = grey.0.len().max(1) as f64;
    let mean = grey.0.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    (grey.0.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count).sqrt()
}

/// The share of cells with a step to the right neighbour.
fn sharp_share(grey: &Grey) -> f64 {
    let rows = grey.0.chunks_exact(SIDE as usize);
    let steps =
        rows.flat_map(|row| row.iter().zip(row.iter().skip(1))).filter(|(a, b)| a.abs_diff(**b) >= STEP).count();
    steps as f64 / grey.0.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(tone: impl Fn(u32, u32) -> u32) -> Grey {
        let all = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
        Grey(all.map(|(x, y)| u8::try_from(tone(x, y).min(255)).unwrap()).collect())
    }

    fn checkers(size: u32) -> Grey {
        grey(|x, y| if (x / size + y / size).is_multiple_of(2) { 220 } else { 30 })
    }

    #[test]
    fn blank_flat_and_blurred_pictures_fail() {
        for (picture, word) in
            [(grey(|_, _| 255), "blank"), (grey(|x, _| 100 + x % 3), "blank"), (grey(|x, y| x + y / 2), "blurred")]
        {
            let judgement = judge(&picture, &[]);
            assert!(!judgement.passed && judgement.seen.contains(word), "{judgement:?}");
        }
        assert!(judge(&checkers(12), &[]).passed);
    }

    #[test]
    fn the_same_picture_twice_fails_once() {
        let (a, b) = (checkers(12), grey(|x, y| if x * x + y * y < 9_000 { 200 } else { 40 }));
        let brighter = Grey(a.0.iter().map(|v| v.saturating_add(9)).collect());
        let seen = [hash(&a)];
        assert!(!judge(&brighter, &seen).passed, "brightness alone makes no new picture");
        assert!(judge(&b, &seen).passed);
    }
}
