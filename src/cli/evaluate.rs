//! `tollgate evaluate`: the planner on a table of human ratings.
//!
//! Why it exists: what routing saves, and what it costs in quality, is a number that anyone can check on their own
//! ratings. The models and prices become a policy, and every choice is made by the gateway's own planner with the
//! gateway's own estimator; what is here reads tables, asks, and counts. What it refuses to know: how a plan is chosen.

mod beforehand;
mod csv;
mod market;
mod names;
mod online;
mod ratings;
mod sweep;
mod view;

use super::args::EvaluateArgs;
use super::console::Console;
use super::exit::{Exit, Failure};
use crate::domain::quality::Estimator;
use beforehand::Beginning;
use market::Market;
use ratings::Ratings;

/// Verdicts of a model after which one counts half, where verdicts come one after the other.
const HALF_LIFE: f64 = 1000.0;
/// Groups are dealt into this many parts when there is no table to learn from.
const FOLDS: u64 = 5;

pub(crate) async fn run(args: EvaluateArgs, console: Console) -> Result<Exit, Failure> {
    let work = tokio::task::spawn_blocking(move || evaluate(&args));
    let found = work.await.map_err(|why| Failure::usage(format!("the evaluation stopped: {why}")))??;
    if console.json {
        console.value(&found.json())?;
    } else {
        console.data(found.table(console.styles_data()))?;
    }
    Ok(Exit::Ok)
}

/// Everything that was found.
struct Found {
    market: Market,
    prompts: usize,
    learned_from: String,
    baseline: sweep::Baseline,
    curve: Vec<sweep::Point>,
    online: Option<online::Online>,
}

fn evaluate(args: &EvaluateArgs) -> Result<Found, Failure> {
    let market = Market::read(&args.prices)?;
    let test = Ratings::read(&args.ratings, market.names())?;
    let train = args.train.as_deref().map(|path| Ratings::read(path, market.names())).transpose()?;
    let beginning = match args.priors.as_deref() {
        Some(path) => Beginning::read(path, &market)?,
        None => Beginning::Priors(market.ignorance()),
    };
    // The order of a table's rows means nothing, so nothing of it is forgotten.
    let fresh = beginning.estimator(f64::INFINITY);
    let learned_from = match &train {
        Some(train) => format!("learned from {} prompts of {}", train.rows.len(), train.file),
        None => format!("{FOLDS}-fold cross-validation by group"),
    };
    let baseline = sweep::Baseline::of(&test, &market);
    let curve = match &train {
        Some(train) => {
            let learned = sweep::learn(fresh.clone(), train.rows.iter());
            sweep::sweep(&test, &market, |_| &learned)
        }
        None => cross_validated(&test, &market, &fresh),
    }?;
    let fresh = beginning.estimator(HALF_LIFE);
    let online = args.online.then(|| online::passes(&test, &market, &fresh, &baseline, args.seeds)).transpose()?;
    Ok(Found { prompts: test.rows.len(), market, learned_from, baseline, curve, online })
}

/// Each prompt is judged by an estimator that has seen no prompt of its fold.
fn cross_validated(test: &Ratings, market: &Market, fresh: &Estimator) -> Result<Vec<sweep::Point>, Failure> {
    let others = |fold| test.rows.iter().filter(move |row| row.fold(FOLDS) != fold);
    let learned: Vec<_> = (0..FOLDS).map(|fold| sweep::learn(fresh.clone(), others(fold))).collect();
    let of = |row: &ratings::Row| {
        let fold = usize::try_from(row.fold(FOLDS)).unwrap_or_default();
        learned.get(fold).unwrap_or(fresh)
    };
    sweep::sweep(test, market, of)
}
