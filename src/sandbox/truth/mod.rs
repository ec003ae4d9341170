//! What the simulated world is: models, their prices, their pace, and what a person thinks of what they make.
//!
//! It refuses to be anyone's estimate: a policy file may believe other prices and other odds, and the difference is
//! what a rehearsal is for. To add a model: one line in `models.rs`.

mod models;
mod verdict;

pub(super) use verdict::quoted;

pub(super) use verdict::accept;

/// One model, or one quality tier of a model, as a gateway tells them apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    /// The name in a gateway's catalogue: `stability/core`.
    pub(super) id: &'static str,
    /// What the provider calls it in a request.
    pub(super) wire: &'static str,
    pub(super) act: Act,
    pub(super) price: Price,
    /// Median latency in milliseconds.
    pub(super) median_ms: u32,
    /// Standard deviation of the latency's logarithm.
    pub(super) spread: f64,
}

/// What a model does, and how well.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// Makes a picture; the chance that a person accepts it at first look, for an average prompt of each
    /// [`Kind`], in the order of [`Kind`].
    Generate([f64; 6]),
    /// Works on a picture; what is left of the chance afterwards.
    Refine(f64),
}

/// What a provider charges.
#[derive(Debug, Clone, Copy)]
pub(super) enum Price {
    /// Nothing: the machine is one's own.
    Free,
    /// Micro-dollars an image.
    Flat(u64),
    /// Micro-dollars a million tokens.
    Tokens { text_in: u64, text_out: u64, image_out: u64 },
}

impl Price {
    /// Micro-dollars for `images` images that used these tokens, rounded up once.
    pub(super) fn cost(self, images: u64, text_in: u64, text_out: u64, image_out: u64) -> u64 {
        match self {
            Self::Free => 0,
            Self::Flat(each) => each * images,
            Self::Tokens { text_in: text, text_out: thought, image_out: image } => {
                (text_in * text + text_out * thought + image_out * image).div_ceil(1_000_000)
            }
        }
    }
}

impl Model {
    /// The chance that one drawn letter is the right one. A person accepts a sign when all of a short word is
    /// right, so it is the fourth root of the chance for typography.
    pub(super) fn legibility(&self) -> f64 {
        match self.act {
            Act::Generate([_, typography, ..]) => typography.powf(0.25),
            Act::Refine(_) => 1.0,
        }
    }
}

/// The model that a gateway's catalogue calls `id`, in any case.
pub(super) fn model(id: &str) -> Option<&'static Model> {
    models::MODELS.iter().find(|model| model.id.eq_ignore_ascii_case(id))
}

/// The model of `provider` that a request calls `wire`.
pub(super) fn on_the_wire(provider: &str, wire: &str) -> Option<&'static Model> {
    models::MODELS
        .iter()
        .find(|model| model.wire == wire && model.id.split_once('/').is_some_and(|(prefix, _)| prefix == provider))
}

/// Text tokens of a prompt: four bytes each.
pub(super) fn text_tokens(prompt: &str) -> u64 {
    (prompt.len() as u64).div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_rounded_up_once() {
        let price = Price::Tokens { text_in: 1_500_000, text_out: 7_500_000, image_out: 30_000_000 };
        assert_eq!(price.cost(1, 6, 0, 1_120), 33_609);
        assert_eq!(price.cost(1, 7, 0, 1_120), 33_611, "33,610.5 is a whole micro-dollar more");
    }

    #[test]
    fn ids_are_unique_and_prefixed() {
        let mut ids: Vec<_> = models::MODELS.iter().map(|model| model.id).collect();
        assert!(ids.iter().all(|id| id.contains('/')));
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
