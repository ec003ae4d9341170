//! Draws from a posterior: Thompson's way to explore.
//!
//! Why it exists: where many replicas or slow raters make an upper bound draw the same wager again and again, a sample
//! needs no coordination (routing notes 4.3). What it refuses to know: which dice. Source of the gamma draw: Marsaglia
//! and Tsang, "A simple method for generating gamma variables", 2000.

use rand::{Rng, RngExt};

use super::Posterior;

/// The posterior with its lift set to where a draw from it fell.
pub fn thompson(posterior: Posterior, dice: &mut (impl Rng + ?Sized)) -> Posterior {
    Posterior { lift: beta(posterior.alpha, posterior.beta, dice) - posterior.mean(), ..posterior }
}

/// A draw from Beta(`a`, `b`), 0 to 1.
pub fn beta(a: f64, b: f64, dice: &mut (impl Rng + ?Sized)) -> f64 {
    let (x, y) = (gamma(a, dice), gamma(b, dice));
    if x + y > 0.0 { x / (x + y) } else { 0.5 }
}

fn gamma(shape: f64, dice: &mut (impl Rng + ?Sized)) -> f64 {
    if shape < 1.0 {
        let below: f64 = dice.random();
        return gamma(shape.max(1e-6) + 1.0, dice) * below.powf(1.0 / shape.max(1e-6));
    }
    let middle = shape - 1.0 / 3.0;
    let spread = 1.0 / (9.0 * middle).sqrt();
    loop {
        let x = normal(dice);
        let cube = (1.0 + spread * x).powi(3);
        let chance: f64 = dice.random();
        if cube > 0.0 && chance.ln() < 0.5 * x * x + middle * (1.0 - cube + cube.ln()) {
            return middle * cube;
        }
    }
}

fn normal(dice: &mut (impl Rng + ?Sized)) -> f64 {
    let (u, v): (f64, f64) = (dice.random(), dice.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn draws_have_the_mean_and_the_spread_of_their_beta() {
        let mut dice = StdRng::seed_from_u64(5);
        for (a, b) in [(0.5, 0.5), (2.0, 5.0), (30.0, 12.0)] {
            let draws: Vec<f64> = (0..40_000).map(|_| beta(a, b, &mut dice)).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
            let wanted = a * b / ((a + b).powi(2) * (a + b + 1.0));
            assert!((mean - a / (a + b)).abs() < 0.005, "{a} {b}: {mean}");
            assert!((variance / wanted - 1.0).abs() < 0.05, "{a} {b}: {variance} for {wanted}");
        }
    }
}
