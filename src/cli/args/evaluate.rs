//! The flags of `tollgate evaluate`.
//!
//! Why it exists: they name files of ratings, which no other command reads. What it refuses to know: what is done.

use std::path::PathBuf;

use clap::Args;

/// `tollgate evaluate`.
#[derive(Args, Debug)]
pub(crate) struct EvaluateArgs {
    /// The ratings to be judged by: CSV with `prompt_id`, group, category, tag, prompt, then a column a model
    #[arg(long, value_name = "CSV")]
    pub(crate) ratings: PathBuf,
    /// What each model costs an image: CSV with `model`, `price_usd`
    #[arg(long, value_name = "CSV")]
    pub(crate) prices: PathBuf,
    /// Ratings to learn from; without, each fifth of the groups is judged by what the other four teach
    #[arg(long, value_name = "CSV")]
    pub(crate) train: Option<PathBuf>,
    /// What is known beforehand: ratings of another benchmark, or published scores with model, category, score
    #[arg(long, value_name = "CSV")]
    pub(crate) priors: Option<PathBuf>,
    /// Also learn one verdict at a time, on the chosen model only, in one pass over the ratings
    #[arg(long)]
    pub(crate) online: bool,
    /// Random orders of that pass, averaged
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) seeds: u64,
}
