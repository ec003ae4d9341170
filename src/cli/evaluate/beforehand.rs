//! What is known before the first verdict: another benchmark's ratings, or published scores.
//!
//! Why it exists: a cold learner pays for its lessons; differences between models carry over from one benchmark to the
//! next, levels do not (`domain/quality/prior.rs`). What it refuses to know: how priors are weighed.

use std::path::Path;

use super::super::exit::Failure;
use super::csv::{Cell, Table};
use super::market::{CELL, Market};
use super::names;
use super::ratings::Ratings;
use super::sweep::learn;
use crate::domain::quality::{ArmPrior, Category, Estimator, Scores, Settings, level_and_offsets, logit, sigmoid};

/// The share of the logistic weights' precision that another benchmark's ratings keep here.
const CARRIED: f64 = 0.4;
/// Prompts that a published score stands for: few enough that one table decides nothing alone.
const PROMPTS: f64 = 40.0;

/// Where learning begins.
#[derive(Clone)]
pub(super) enum Beginning {
    /// Priors alone: of nothing, or of published scores.
    Priors(Vec<ArmPrior>),
    /// Another benchmark's ratings, learned, and the priors made of them.
    Learned(Box<Estimator>, Vec<ArmPrior>),
}

impl Beginning {
    /// An estimator that starts here and forgets with this half-life.
    pub(super) fn estimator(&self, half_life: f64) -> Estimator {
        match self {
            Self::Priors(priors) => Estimator::new(Settings { tasks: 1, half_life }, priors.iter().cloned()),
            Self::Learned(learned, priors) => (**learned).clone().as_prior(priors.clone(), CARRIED, half_life),
        }
    }

    /// Where the file says.
    pub(super) fn read(path: &Path, market: &Market) -> Result<Self, Failure> {
        let table = Table::read(path)?;
        let published = ["model", "category", "score"].iter().all(|name| table.column(name).is_some());
        if published { from_scores(&table, market) } else { from_ratings(&table, market) }
    }
}

fn from_ratings(table: &Table, market: &Market) -> Result<Beginning, Failure> {
    let ratings = Ratings::recognised(table, market.names())?;
    let ignorant = Beginning::Priors(market.ignorance()).estimator(f64::INFINITY);
    let learned = learn(ignorant, ratings.rows.iter());
    let arms = 0..u16::try_from(market.names().len()).unwrap_or(u16::MAX);
    let scores = arms.map(|arm| learned.tally(arm).filter(|scores| scores.overall.0 + scores.overall.1 > 0.0));
    let scores: Vec<Option<Scores>> = scores.collect();
    known(table, &scores)?;
    Ok(Beginning::Learned(Box::new(learned), level_and_offsets(&scores, CELL)))
}

fn from_scores(table: &Table, market: &Market) -> Result<Beginning, Failure> {
    let benchmarks = benchmarks(table, market)?;
    let arms = 0..market.names().len();
    let any: Vec<_> = arms.clone().map(|arm| benchmarks.iter().find_map(|scores| *scores.get(arm)?)).collect();
    known(table, &any)?;
    let priors: Vec<Vec<ArmPrior>> = benchmarks.iter().map(|scores| level_and_offsets(scores, CELL)).collect();
    let measured = |arm: usize| {
        let both = benchmarks.iter().zip(&priors);
        both.filter(move |(scores, _)| scores.get(arm).is_some_and(Option::is_some))
            .filter_map(move |(_, priors)| priors.get(arm))
    };
    let mean = arms.map(|arm| averaged(&measured(arm).collect::<Vec<_>>()));
    Ok(Beginning::Priors(mean.collect()))
}

/// The scores of each benchmark by model; rows of unknown models are passed over.
fn benchmarks(table: &Table, market: &Market) -> Result<Vec<Vec<Option<Scores>>>, Failure> {
    let (model, category, score) = (table.needed("model")?, table.needed("category")?, table.needed("score")?);
    let source = table.column("source").unwrap_or(usize::MAX);
    let mut benchmarks: Vec<(&str, Vec<Option<Scores>>)> = Vec::new();
    for row in &table.rows {
        let text = |at: usize| row.get(at).map(|cell: &Cell| cell.text.trim()).unwrap_or_default();
        let value = text(score).parse().ok().filter(|value: &f64| (0.0..=1.0).contains(value));
        let value = value.ok_or_else(|| table.wrong(row.get(score), "a score is a number from 0 to 1"))?;
        let Some(arm) = market.names().iter().position(|name| names::same(name, text(model))) else {
            continue;
        };
        let known = benchmarks.iter().position(|(name, _)| *name == text(source));
        let at = known.unwrap_or(benchmarks.len());
        if known.is_none() {
            benchmarks.push((text(source), vec![None; market.names().len()]));
        }
        if let Some(slot) = benchmarks.get_mut(at).and_then(|(_, models)| models.get_mut(arm)) {
            note(slot.get_or_insert_default(), text(category), value);
        }
    }
    // A benchmark that gives no overall score is the sum of its categories.
    for scores in benchmarks.iter_mut().flat_map(|(_, models)| models).flatten() {
        if scores.overall.0 + scores.overall.1 <= 0.0 {
            let sum = |of: fn(&(f64, f64)) -> f64| scores.categories.iter().map(of).sum();
            scores.overall = (sum(|pair| pair.0), sum(|pair| pair.1));
        }
    }
    Ok(benchmarks.into_iter().map(|(_, models)| models).collect())
}

/// Notes a score under the categories of ours that the benchmark's word speaks of.
fn note(scores: &mut Scores, category: &str, value: f64) {
    let pair = (PROMPTS * value, PROMPTS * (1.0 - value));
    let ours = match category {
        "overall" => {
            scores.overall = pair;
            vec![]
        }
        "attribute" => vec![Category::Attribute, Category::Attributes],
        "object" => vec![Category::Simple],
        "spatial" | "relation" | "layout" => vec![Category::Spatial],
        other => Category::from_name(other).into_iter().collect(),
    };
    for category in ours {
        set(scores, category, pair);
    }
}

fn set(scores: &mut Scores, category: Category, pair: (f64, f64)) {
    if let Some(slot) = scores.categories.get_mut(usize::from(category.index())) {
        *slot = pair;
    }
}

/// The mean of what several benchmarks say of one model, in log odds.
fn averaged(priors: &[&ArmPrior]) -> ArmPrior {
    let Some(first) = priors.first() else {
        return ArmPrior::flat(0.7, 2.0, CELL, 1);
    };
    let count = priors.len() as f64;
    let level = sigmoid(priors.iter().map(|prior| logit(prior.level)).sum::<f64>() / count);
    let mut mean = ArmPrior::flat(level, first.weight, CELL, 1);
    for prior in priors {
        for (sum, offset) in mean.categories.iter_mut().zip(prior.categories) {
            *sum += offset / count;
        }
    }
    mean
}

fn known(table: &Table, scores: &[Option<Scores>]) -> Result<(), Failure> {
    if scores.iter().any(Option::is_some) {
        return Ok(());
    }
    Err(table
        .wrong(table.header.first(), "it knows none of the models of the prices")
        .help("a wide table has a column for each model, a published one names it under `model`"))
}
