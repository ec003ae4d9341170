//! A model's prices as its provider lists them: dated, by size, in the provider's own units.
//!
//! Why it exists: a price is a row of a list, and the list changes on a day. What it refuses to know: what a call comes
//! to (`quote.rs`).

use jiff::civil::Date;

use super::catalog::Place;
use super::image::Size;
use super::money::Money;

/// A dated price.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// The first day on which it holds.
    pub from: Date,
    /// Only for this size.
    pub size: Option<Size>,
    /// Only up to this many pixels.
    pub max_pixels: Option<u64>,
    /// What it counts.
    pub unit: Unit,
    /// The price of one unit.
    pub usd: Money,
    /// Where the policy says so.
    pub place: Place,
}

impl Price {
    pub(super) fn covers(&self, size: Size) -> bool {
        self.size.is_none_or(|only| only == size) && self.max_pixels.is_none_or(|most| size.pixels() <= most)
    }

    pub(super) fn is_specific(&self) -> bool {
        self.size.is_some() || self.max_pixels.is_some()
    }
}

/// What a price counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One image.
    Image,
    /// The first million pixels at the price, each further one, begun, at `extra`.
    Megapixel {
        /// Price of each further million pixels.
        extra: Money,
    },
    /// A second of the model's own time.
    Second,
}

/// Micro-dollars a million tokens, the unit of the providers' lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenRates {
    /// Text of the prompt.
    pub text_in: Money,
    /// Pictures sent.
    pub image_in: Money,
    /// Text and thoughts made.
    pub text_out: Money,
    /// Pictures made.
    pub image_out: Money,
}
