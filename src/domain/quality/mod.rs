//! How likely a person accepts an image, learned from what people accepted.
//!
//! Why it exists: the planner buys by expected cost per accepted image, so the probability of acceptance is worth money.
//! [`prompt::Reading`] is what a prompt shows (a category and its signs), [`Estimator`] is what is believed of each
//! model for it: a Beta cell per (category, model) pooled to the model and its prior, averaged with a small logistic
//! model over the signs. What it refuses to know: clocks, dice (an `Rng` is an argument), where verdicts come from, and
//! what a plan costs. Formulas and what each is worth: routing notes 3 and 4. To add a category: `category.rs`; a
//! sign: `prompt.rs`; both change what is learned, so the stored readings carry [`prompt::EDITION`].

mod arm;
pub mod category;
mod drift;
mod estimator;
#[rustfmt::skip] // lists of words read better as paragraphs
mod lexicon;
mod logistic;
mod pending;
mod posterior;
mod prior;
pub mod prompt;
mod sample;

pub use category::Category;
pub use estimator::{ArmPrior, Estimator, Heard, Settings};
pub use pending::Pending;
pub use posterior::{Posterior, Prior, Z};
pub use prior::{Scores, level_and_offsets};
pub use prompt::Reading;
pub use sample::{beta, thompson};

/// The logarithm of the odds of `p`, which is kept within 2 and 98 in a hundred.
pub fn logit(p: f64) -> f64 {
    let p = p.clamp(0.02, 0.98);
    (p / (1.0 - p)).ln()
}

/// The probability of which `odds` is the logarithm of the odds.
pub fn sigmoid(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}
