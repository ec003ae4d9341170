//! What a plan may cost at most, by whom it pays.
//!
//! Why it exists: a budget of one provider has to have room for that provider's part of a plan before its first call, in
//! whatever branch the part stands, and for no more: a cap worth ten specialists is not spent on the drafts before them.
//! What it refuses to know: budgets, and what was paid in the end.

use std::sync::Arc;

use super::super::budget::Ahead;
use super::super::catalog::{Catalog, ModelIx};
use super::super::money::Money;
use super::super::verify::PAYEE;
use super::{Candidate, Check};

impl Candidate {
    /// Its worst price, and the share of each provider and of paid looks. What its generator and its upscaler cost
    /// together counts for each of them where two providers make them.
    pub fn ahead(&self, catalog: &Catalog) -> Ahead {
        let provider = |ix: ModelIx| Some(catalog.provider(catalog.model(ix)?.provider)?.name.clone());
        let behind = self.check.iter().flat_map(Check::stages);
        let mut shares: Vec<(Arc<str>, Money)> =
            behind.filter_map(|stage| Some((provider(stage.model)?, stage.quote.worst))).collect();
        let looks = self.check.map_or(Money::ZERO, |check| check.looks);
        if looks > Money::ZERO {
            shares.push((PAYEE.into(), looks));
        }
        let first = self.quote.worst.less(shares.iter().map(|(_, worst)| *worst).sum());
        // In a second pass the picture is given, and nothing generates.
        let generates = (self.calls > 0 || self.upscale.is_none()).then_some(self.model).and_then(provider);
        let enlarges =
            self.upscale.and_then(|(upscaler, _)| provider(upscaler)).filter(|own| generates.as_ref() != Some(own));
        shares.extend(generates.into_iter().chain(enlarges).map(|provider| (provider, first)));
        Ahead { worst: self.quote.worst, shares }
    }
}
