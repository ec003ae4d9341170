//! Dated prices and token rates.
//!
//! Why it exists: an unknown price is never zero; a model that nobody priced, or not for every size that it makes, is
//! refused here and not found out on the bill. What it refuses to know: how a plan is priced (`domain::quote`).

use jiff::civil::Date;

use super::super::diagnostic::codes;
use super::super::raw::{self, At, Per};
use super::super::source::Span;
use super::values::Scope;
use super::{Entry, twice};
use crate::domain::catalog::{Dialect, Price, Role, Sizes, TokenRates, Unit};
use crate::domain::image::Size;
use crate::domain::money::Money;

/// Days after which a price should be looked at again.
const OLD_AFTER_DAYS: i32 = 400;

/// The price rows of a model, oldest first.
pub(super) fn prices(entry: &Entry<'_, raw::Model>, dialect: Dialect) -> Vec<Price> {
    let scope = entry.scope;
    let mut rows: Vec<(Price, &Span)> = Vec::new();
    for row in &entry.raw.price {
        let Some(price) = price(scope, row, dialect) else {
            continue;
        };
        let same = |other: &&(Price, &Span)| {
            let (other, _) = other;
            (other.from, other.size, other.max_pixels) == (price.from, price.size, price.max_pixels)
        };
        if let Some((_, first)) = rows.iter().find(same) {
            twice(scope, &format!("the price from {}", price.from), &row.span, scope, first);
            continue;
        }
        if let Some((last, _)) = rows.last().filter(|(last, _)| last.from > price.from) {
            let message = format!("the price from {} stands behind the one from {}", price.from, last.from);
            let help = "write prices oldest first: the last line is the newest";
            scope.error(codes::E0502, message, &row.span, "older than the row above", help);
        }
        rows.push((price, &row.span));
    }
    if entry.raw.price.is_empty() && !scope.is_excused(&entry.name.span, &["price"]) {
        let message = format!("model `{}` has no price", entry.name.value);
        let help = "write price = [{ from = 2026-11-22, usd = 0.04 }]: an unknown price is never zero";
        scope.error(codes::E0501, message, &entry.name.span, "nobody knows what it costs", help);
    }
    rows.sort_by_key(|(price, _)| price.from);
    rows.into_iter().map(|(price, _)| price).collect()
}

fn price(scope: Scope<'_>, row: &At<raw::Price>, dialect: Dialect) -> Option<Price> {
    let At { value: raw, span } = row;
    let usd = scope.money("usd", raw.usd.as_ref()?)?;
    let extra = raw.extra_usd.as_ref().and_then(|extra| scope.money("extra_usd", extra));
    let per = raw.per.as_ref().map_or(Per::Image, |per| per.value);
    if let Some(extra) = raw.extra_usd.as_ref().filter(|_| per != Per::Megapixel) {
        let help = "`extra_usd` is the price of each further million pixels: add per = \"megapixel\"";
        scope.error(codes::E0502, "`extra_usd` counts nothing here".to_owned(), &extra.span, "", help);
    }
    if usd == Money::ZERO && dialect != Dialect::Local {
        let help = "only the dialect `local` costs nothing; a machine of your own costs its time: per = \"second\"";
        scope.error(codes::E0501, "a call to a provider is not free".to_owned(), span, "zero", help);
    }
    let unit = match per {
        Per::Image => Unit::Image,
        Per::Megapixel => Unit::Megapixel { extra: extra.unwrap_or(usd) },
        Per::Second => Unit::Second,
    };
    let size = match &raw.size {
        Some(text) => Some(scope.size(&text.value, &text.span)?),
        None => None,
    };
    let max_pixels = raw.max_pixels.as_ref().map(|pixels| pixels.value);
    Some(Price { from: raw.from.as_ref()?.value.0, size, max_pixels, unit, usd, place: scope.place(span) })
}

/// Reports sizes without a price on `today`, and prices that nobody has looked at for long.
pub(super) fn coverage(
    entry: &Entry<'_, raw::Model>,
    role: &Role,
    prices: &[Price],
    price_of: impl Fn(Size) -> bool,
    today: Date,
) {
    let (Some(first), Some(last)) = (entry.raw.price.first(), entry.raw.price.last()) else {
        return;
    };
    if prices.len() < entry.raw.price.len() {
        return;
    }
    let Some(newest) = prices.iter().filter(|price| price.from <= today).map(|price| price.from).max() else {
        let message = format!("model `{}` has no price yet", entry.name.value);
        let help = "add the price of today: an unknown price is never zero";
        entry.scope.error(codes::E0503, message, &first.span, "of the future", help);
        return;
    };
    if let Some(size) = sizes(role).into_iter().find(|size| !price_of(*size)) {
        let message = format!("model `{}` has no price for {size}", entry.name.value);
        let help = "add a row without `size` and `max_pixels`, or one for that size";
        entry.scope.error(codes::E0503, message, &first.span, "these rows leave it out", help);
    }
    let age = newest.until(today).map_or(0, |span| span.get_days());
    if age > OLD_AFTER_DAYS && entry.raw.retired.is_none() && prices.iter().any(|price| price.usd != Money::ZERO) {
        let message = format!("the newest price of `{}` is {age} days old", entry.name.value);
        let help = "look it up again, and add a row with today's date even if it has not changed";
        entry.scope.error(codes::W0501, message, &last.span, "prices change", help);
    }
}

/// Sizes that show whether the prices cover everything.
fn sizes(role: &Role) -> Vec<Size> {
    match role {
        Role::Generate(Sizes::Listed(natives)) => natives.iter().map(|native| native.size).collect(),
        Role::Generate(Sizes::Free { min, max, max_pixels, .. }) => {
            let side = u32::try_from(max_pixels.isqrt()).unwrap_or(u32::MAX);
            vec![Size::new(*min, *min), Size::new(*max, *min), Size::new(side.min(*max), side.min(*max))]
        }
        Role::Upscale(_) => vec![Size::new(64, 64), Size::new(4096, 4096)],
    }
}

/// The rates of a token-billed model; every price must then cover what the picture's own tokens cost.
pub(super) fn token_rates(scope: Scope<'_>, raw: &At<raw::TokenRates>) -> Option<TokenRates> {
    let rate = |key: &str, number: &Option<At<f64>>| match number {
        Some(number) => scope.money(key, number),
        None => Some(Money::ZERO),
    };
    let rates = TokenRates {
        text_in: rate("text_in", &raw.value.text_in)?,
        image_in: rate("image_in", &raw.value.image_in)?,
        text_out: rate("text_out", &raw.value.text_out)?,
        image_out: rate("image_out", &raw.value.image_out)?,
    };
    if rates.image_out == Money::ZERO {
        let help = "a picture's own tokens are the bulk of its price: add `image_out`";
        scope.error(
            codes::E0509,
            "token rates without `image_out`".to_owned(),
            &raw.span,
            "pictures cost nothing",
            help,
        );
    }
    Some(rates)
}
