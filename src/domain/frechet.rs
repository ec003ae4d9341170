//! How far new pictures are from those that people accepted: the Fréchet distance of their features.
//!
//! Why it exists: a model that slowly draws otherwise passes every check of single pictures; two windows of pictures side
//! by side show it. The distance of the two Gaussians with the windows' means and covariances is
//! `|m₁ - m₂|² + tr(C₁) + tr(C₂) - 2 tr((C₁^½ C₂ C₁^½)^½)` (Heusel et al., "GANs trained by a two time-scale update rule
//! converge to a local Nash equilibrium", 2017). From `n` pictures it comes out too large by about a constant over `n`,
//! so it is also extrapolated to infinitely many (Chong and Forsyth, "Effectively unbiased FID and Inception Score and
//! where to find them", 2020), with an interval by bootstrap. What it refuses to know: pictures, encoders, randomness (an
//! RNG is an argument).
//!
//! No matrix root is taken. With `Cᵢ = Rᵢᵀ Rᵢ` the last trace is the sum of the singular values of `R₁ R₂ᵀ`, and `Rᵢ` is
//! either the centred features themselves or, where these are more than their dimensions, the triangle of their QR.

use std::sync::Arc;

use nalgebra::{DMatrix, RowDVector, SVD};
use rand::{Rng, RngExt};

/// A window of fewer pictures has no covariance worth a number.
pub const FEWEST: usize = 8;
/// With fewer pictures the interval is wide whatever the encoder; below the number of features the covariance is not
/// even of full rank.
const ENOUGH: usize = 100;
/// Sample sizes of the extrapolation, evenly in `1 / n` from the whole window to half of it.
const SIZES: usize = 5;
/// Draws at each of them, averaged.
const DRAWS: usize = 2;
/// The share of errors that an interval leaves out on each side.
const TAIL: f64 = 0.05;

/// Two windows of features, the accepted and the new.
#[derive(Clone, Debug)]
pub struct Windows {
    /// One picture a row, in coordinates that may have been turned but keep all distances.
    accepted: DMatrix<f64>,
    new: DMatrix<f64>,
    dimensions: usize,
}

/// The distance at one sample size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Pictures drawn from each window.
    pub pictures: usize,
    /// The distance, averaged over draws.
    pub distance: f64,
}

impl Windows {
    /// From one row of features a picture. `None` when a window has fewer than [`FEWEST`] pictures, when rows differ in
    /// length, or when a number is not finite.
    pub fn of(accepted: &[Arc<[f32]>], new: &[Arc<[f32]>]) -> Option<Self> {
        let dimensions = accepted.first()?.len();
        let all = || accepted.iter().chain(new);
        let sound = all().all(|row| row.len() == dimensions && row.iter().all(|value| value.is_finite()));
        if !sound || dimensions == 0 || accepted.len().min(new.len()) < FEWEST {
            return None;
        }
        let values = all().flat_map(|row| row.iter().map(|value| f64::from(*value)));
        let whole = DMatrix::from_row_iterator(accepted.len() + new.len(), dimensions, values);
        let whole = turned(whole);
        let (first, second) = (accepted.len(), new.len());
        let part = |from, rows| whole.rows(from, rows).into_owned();
        Some(Self { accepted: part(0, first), new: part(first, second), dimensions })
    }

    /// The distance between the windows as they are.
    pub fn distance(&self) -> Option<f64> {
        distance(&self.accepted, &self.new, Divisor::Sample)
    }

    /// The smaller window.
    pub fn pictures(&self) -> usize {
        self.accepted.nrows().min(self.new.nrows())
    }

    /// Whether the windows are too small for their distance to be believed.
    pub fn are_small(&self) -> bool {
        self.pictures() <= self.dimensions || self.pictures() < ENOUGH
    }

    /// The distance at several sample sizes, from the largest to the smallest: how it shrinks as pictures are added.
    pub fn curve(&self, rng: &mut impl Rng) -> Option<Vec<Point>> {
        curve(&self.accepted, &self.new, rng)
    }

    /// The error of one bootstrap replicate: as many pictures are drawn from each window, with replacement, and their
    /// extrapolated distance is held against the windows' own, which for them is the truth.
    pub fn error(&self, rng: &mut impl Rng) -> Option<f64> {
        let truth = distance(&self.accepted, &self.new, Divisor::Population)?;
        let accepted = self.accepted.select_rows(&with_replacement(self.accepted.nrows(), rng));
        let new = self.new.select_rows(&with_replacement(self.new.nrows(), rng));
        Some(extrapolated(&curve(&accepted, &new, rng)?) - truth)
    }
}

/// Where the curve ends when pictures are infinitely many: the intercept of the least-squares line of distance over `1 /
/// n`. It may come out a little below zero when nothing differs.
pub fn extrapolated(curve: &[Point]) -> f64 {
    let count = curve.len().max(1) as f64;
    let x = |point: &Point| 1.0 / point.pictures.max(1) as f64;
    let mean_x = curve.iter().map(x).sum::<f64>() / count;
    let mean_y = curve.iter().map(|point| point.distance).sum::<f64>() / count;
    let spread: f64 = curve.iter().map(|point| (x(point) - mean_x).powi(2)).sum();
    let together: f64 = curve.iter().map(|point| (x(point) - mean_x) * (point.distance - mean_y)).sum();
    if spread > 0.0 { mean_y - together / spread * mean_x } else { mean_y }
}

/// The interval of nine in ten around `extrapolated`: each error of a replicate is what the estimate may be off by (the
/// basic bootstrap; a percentile of the replicates themselves would count the small-sample bias twice). `None` without
/// errors.
pub fn interval(extrapolated: f64, mut errors: Vec<f64>) -> Option<(f64, f64)> {
    errors.sort_by(f64::total_cmp);
    let low = *errors.get(place(errors.len(), TAIL))?;
    let high = *errors.get(place(errors.len(), 1.0 - TAIL))?;
    Some((extrapolated - high, extrapolated - low))
}

/// The place of a quantile in so many sorted numbers.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length, not negative")]
fn place(length: usize, quantile: f64) -> usize {
    (length.saturating_sub(1) as f64 * quantile).round() as usize
}

/// The same rows in coordinates of their own span, where that is smaller: what follows then costs by pictures and not by
/// features.
fn turned(rows: DMatrix<f64>) -> DMatrix<f64> {
    if rows.ncols() <= rows.nrows() {
        return rows;
    }
    rows.transpose().qr().r().transpose()
}

fn curve(accepted: &DMatrix<f64>, new: &DMatrix<f64>, rng: &mut impl Rng) -> Option<Vec<Point>> {
    let whole = accepted.nrows().min(new.nrows());
    let sizes = (0..SIZES).map(|step| whole * (SIZES - 1) / (SIZES - 1 + step));
    let point = |pictures: usize| {
        let mut sum = 0.0;
        for _ in 0..DRAWS {
            let some = accepted.select_rows(&without_replacement(accepted.nrows(), pictures, rng));
            let others = new.select_rows(&without_replacement(new.nrows(), pictures, rng));
            sum += distance(&some, &others, Divisor::Sample)?;
        }
        Some(Point { pictures, distance: sum / DRAWS as f64 })
    };
    sizes.map(point).collect()
}

/// What a covariance is divided by.
#[derive(Clone, Copy)]
enum Divisor {
    /// One less than the rows: they stand for more than themselves.
    Sample,
    /// The rows: they are all there is.
    Population,
}

/// The distance of two windows of at least two rows. `None` when the singular values do not come out.
fn distance(a: &DMatrix<f64>, b: &DMatrix<f64>, divisor: Divisor) -> Option<f64> {
    let (mean_a, mean_b) = (a.row_mean(), b.row_mean());
    let (root_a, root_b) = (root(a, &mean_a, divisor), root(b, &mean_b, divisor));
    let product = &root_a * root_b.transpose();
    let most = 200 * product.nrows().max(product.ncols()).max(1);
    let values = SVD::try_new(product, false, false, f64::EPSILON * 5.0, most)?.singular_values;
    let spread = root_a.norm_squared() + root_b.norm_squared() - 2.0 * values.sum();
    Some((mean_a - mean_b).norm_squared() + spread)
}

/// Some `R` with `RᵀR` the covariance of the rows.
fn root(rows: &DMatrix<f64>, mean: &RowDVector<f64>, divisor: Divisor) -> DMatrix<f64> {
    let mut centred = rows.clone();
    for mut row in centred.row_iter_mut() {
        row -= mean;
    }
    let count = rows.nrows().max(2) as f64;
    let by = match divisor {
        Divisor::Sample => count - 1.0,
        Divisor::Population => count,
    };
    centred /= by.sqrt();
    if centred.nrows() > centred.ncols() { centred.qr().r() } else { centred }
}

fn with_replacement(rows: usize, rng: &mut impl Rng) -> Vec<usize> {
    (0..rows).map(|_| rng.random_range(0..rows)).collect()
}

/// The beginning of a shuffle.
fn without_replacement(rows: usize, wanted: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut places: Vec<usize> = (0..rows).collect();
    for at in 0..wanted.min(rows) {
        places.swap(at, rng.random_range(at..rows));
    }
    places.truncate(wanted);
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use serde_json::Value;

    const SEED: u64 = 20_261_123;

    /// Features and the distance that scipy found, made by `tests/frechet/reference.py`.
    const REFERENCE: &str = include_str!("../../tests/frechet/reference.json");

    fn rows(value: &Value) -> Vec<Arc<[f32]>> {
        #[expect(clippy::cast_possible_truncation, reason = "features are kept as f32")]
        let row = |row: &Value| row.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect();
        value.as_array().unwrap().iter().map(row).collect()
    }

    /// Normal features (by Box and Muller) with this mean in each of `dimensions`, whose deviations differ.
    fn normal(count: usize, dimensions: u16, mean: f64, rng: &mut StdRng) -> Vec<Arc<[f32]>> {
        let mut one = |at: u16| {
            let (radius, angle) = (rng.random::<f64>().max(1e-12), rng.random::<f64>());
            let standard = (-2.0 * radius.ln()).sqrt() * (angle * std::f64::consts::TAU).cos();
            #[expect(clippy::cast_possible_truncation, reason = "features are kept as f32")]
            let value = (mean + standard * (0.5 + f64::from(at % 3))) as f32;
            value
        };
        (0..count).map(|_| (0..dimensions).map(&mut one).collect()).collect()
    }

    #[test]
    fn it_agrees_with_scipy() {
        let cases: Value = serde_json::from_str(REFERENCE).unwrap();
        let cases = cases["cases"].as_array().unwrap();
        assert!(cases.len() >= 3);
        for case in cases {
            let windows = Windows::of(&rows(&case["accepted"]), &rows(&case["new"])).unwrap();
            let (found, wanted) = (windows.distance().unwrap(), case["distance"].as_f64().unwrap());
            // Features are rounded to f32; scipy's own root of a matrix that is not of full rank is good to six digits.
            let off = (found - wanted).abs() / wanted;
            assert!(off < 1e-5, "{}: {found} here, {wanted} by scipy", case["name"]);
        }
    }

    #[test]
    fn the_same_pictures_are_no_distance_apart() {
        let mut rng = StdRng::seed_from_u64(SEED);
        for (count, dimensions) in [(40, 6), (9, 30)] {
            let some = normal(count, dimensions, 0.0, &mut rng);
            let windows = Windows::of(&some, &some).unwrap();
            assert!(windows.distance().unwrap().abs() < 1e-9);
            assert!(windows.are_small());
        }
    }

    #[test]
    fn a_shift_of_known_size_is_found_where_small_samples_say_more() {
        // Two normal distributions of eight dimensions, half apart in each: the distance is 8 x 0.5² = 2.
        let mut rng = StdRng::seed_from_u64(SEED);
        let (mut naive, mut better, mut held) = (0.0, 0.0, 0);
        let trials = 20;
        for _ in 0..trials {
            let windows = Windows::of(&normal(60, 8, 0.0, &mut rng), &normal(60, 8, 0.5, &mut rng)).unwrap();
            let curve = windows.curve(&mut rng).unwrap();
            assert_eq!((curve.first().unwrap().pictures, curve.last().unwrap().pictures), (60, 30));
            let found = extrapolated(&curve);
            let errors = (0..40).map(|_| windows.error(&mut rng).unwrap()).collect();
            let (low, high) = interval(found, errors).unwrap();
            assert!(low < found && found < high, "{low} {found} {high}");
            held += usize::from(low <= 2.0 && 2.0 <= high);
            naive += windows.distance().unwrap() / f64::from(trials);
            better += found / f64::from(trials);
        }
        assert!(naive > 2.5, "sixty pictures say too much: {naive} (seed {SEED})");
        assert!((better - 2.0).abs() < 0.45, "{better} (seed {SEED})");
        assert!(held >= 15, "the interval of nine in ten holds the truth {held} times of {trials} (seed {SEED})");
    }

    #[test]
    fn what_has_no_distance_is_refused() {
        let mut rng = StdRng::seed_from_u64(SEED);
        let (some, few) = (normal(20, 4, 0.0, &mut rng), normal(FEWEST - 1, 4, 0.0, &mut rng));
        assert!(Windows::of(&some, &few).is_none());
        assert!(Windows::of(&[], &some).is_none());
        assert!(Windows::of(&some, &normal(20, 5, 0.0, &mut rng)).is_none(), "rows of another length");
        let mut broken = some.clone();
        broken[3] = Arc::from([0.0, f32::NAN, 0.0, 0.0]);
        assert!(Windows::of(&some, &broken).is_none());
        assert_eq!(interval(1.0, Vec::new()), None);
    }

    #[test]
    fn the_line_meets_the_axis() {
        let point = |pictures: usize| Point { pictures, distance: 3.0 + 7.0 / pictures as f64 };
        assert!((extrapolated(&[point(10), point(14), point(20)]) - 3.0).abs() < 1e-12);
        assert!((extrapolated(&[point(10)]) - 3.7).abs() < 1e-12);
    }
}
