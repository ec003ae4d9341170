//! The models and prices as a policy, and the gateway's planner over it.
//!
//! Why it exists: what is evaluated must be what runs; a policy compiled as any other is planned for as any other. What
//! it refuses to know: ratings.

use std::fmt::Write;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, date};

use super::super::exit::Failure;
use super::csv::Table;
use super::ratings::Row;
use crate::domain::money::Money;
use crate::domain::plan::{Gate, ModelView, View, plan};
use crate::domain::quality::{ArmPrior, Posterior};
use crate::domain::request::{Ask, GenerationRequest};
use crate::policy::{Overrides, Process, Snapshot, compile};

/// The day of every price.
const TODAY: Date = date(2026, 1, 2);
/// Acceptance of a model of which nothing is known, and the verdicts that this guess counts. Source: routing notes 4.2.
const USUAL: f64 = 0.7;
const GUESS: f64 = 2.0;
/// Verdicts that a category's prior counts (`n0`).
pub(super) const CELL: f64 = 8.0;

/// What can be bought.
pub(super) struct Market {
    names: Vec<String>,
    prices: Vec<Money>,
    snapshot: Snapshot,
}

impl Market {
    /// Reads `model,price_usd`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let table = Table::read(path)?;
        let (model, price) = (table.needed("model")?, table.needed("price_usd")?);
        let (mut names, mut prices) = (Vec::new(), Vec::new());
        for row in &table.rows {
            let (name, usd) = (row.get(model), row.get(price));
            let text = usd.map(|cell| cell.text.trim()).unwrap_or_default();
            let money = Money::from_str(text).ok().filter(|money| *money > Money::ZERO).ok_or_else(|| {
                table.wrong(usd, &format!("`{text}` is no price")).help("dollars above zero, such as 0.035")
            })?;
            let name = name.map(|cell| cell.text.clone()).unwrap_or_default();
            if names.contains(&name) {
                return Err(table.wrong(row.get(model), &format!("model `{name}` has two prices")));
            }
            names.push(name);
            prices.push(money);
        }
        if names.is_empty() {
            return Err(table.wrong(table.header.first(), "the table has a header and no rows"));
        }
        let snapshot = snapshot(&prices)?;
        Ok(Self { names, prices, snapshot })
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn price(&self, arm: usize) -> f64 {
        self.prices.get(arm).map_or(0.0, |price| price.micros() as f64 / 1e6)
    }

    /// What is believed of each model when nothing is known.
    pub(super) fn ignorance(&self) -> Vec<ArmPrior> {
        self.names.iter().map(|_| ArmPrior::flat(USUAL, GUESS, CELL, 1)).collect()
    }

    /// The request of a prompt: no floor, no cap, time enough.
    pub(super) fn request(&self, row: &Row) -> Result<GenerationRequest, Failure> {
        let request = self.snapshot.resolve(Ask::of(row.prompt.clone()), "");
        request.map_err(|wrong| Failure::usage(wrong.detail))
    }

    /// What the planner would see; a model that nobody judged on this prompt cannot be bought for it.
    pub(super) fn view(&self, row: &Row, believe: impl Fn(u16) -> Posterior) -> View {
        let models = (0u16..).zip(&self.snapshot.catalog.models).zip(&row.accepts).map(|((arm, model), accepts)| {
            let gate = if accepts.is_some() { Gate::Open } else { Gate::Broken(Duration::MAX) };
            ModelView { gate, latency: model.latency, accept: believe(arm) }
        });
        View { models: models.collect(), ..View::default() }
    }

    /// The cost of a look at which the planner's choice is also the one of most net worth, when an accepted image is
    /// worth this many dollars. With `h = max(V p - c)`, no plan has `(c + h) / p` below `V`, and the one that makes `h`
    /// reaches it. Below zero where no plan is worth its price.
    pub(super) fn review_cost(&self, row: &Row, view: &View, worth: f64) -> Money {
        let judged = view.models.iter().zip(&self.prices).zip(&row.accepts).filter(|(_, accepts)| accepts.is_some());
        let net = judged.map(|((model, price), _)| worth * model.accept.hoped() - price.micros() as f64 / 1e6);
        usd(net.fold(f64::NEG_INFINITY, f64::max).max(-1e3))
    }

    /// What the planner chooses, by its place in the prices.
    pub(super) fn choose(&self, request: &GenerationRequest, view: &View) -> Option<usize> {
        let planned = plan(request, &self.snapshot.catalog, view, TODAY);
        planned.best().map(|best| usize::from(best.model.0))
    }
}

/// Dollars in whole micro-dollars.
#[expect(clippy::cast_possible_truncation, reason = "dollars between a thousandth and a hundred")]
pub(super) fn usd(dollars: f64) -> Money {
    Money::from_micros((dollars * 1e6).round() as i64)
}

/// Models by their number, so that their order is the catalog's.
fn snapshot(prices: &[Money]) -> Result<Snapshot, Failure> {
    let mut text = String::from(
        "version = 1\n[defaults]\nquality = \"any\"\ndeadline = \"1h\"\ntask = \"any\"\nreview_cost_usd = 0\n\
         [tier.any]\nquality = 0.0\n[task.any]\n[provider.automatic1111]\nbase_url = \"http://127.0.0.1:1\"\n\
         local = true\n",
    );
    for (at, price) in prices.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[model.\"automatic1111/m{at:05}\"]\nsizes = [\"1024x1024\"]\nprice = [{{ from = 2026-01-01, usd = {price} \
             }}]\nlatency = {{ p50 = \"5s\", p95 = \"9s\" }}\naccept_default = {USUAL}\n"
        );
    }
    compile(&[("prices".to_owned(), text)], &Process, &Overrides::default(), TODAY).map_err(|diagnostics| {
        Failure::usage(format!(
            "the prices make no policy\n\n{}",
            crate::policy::diagnostic::render(&diagnostics, false)
        ))
    })
}
