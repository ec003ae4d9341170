//! A provider's own API, as the policy prices it: which calls there are, what tells their price, what they may cost.
//!
//! Why it exists: a call that is passed on as it came has no plan, so its price is found by its route and by the model
//! that it names. An unknown route, model or price is an answer of its own and never zero. What it refuses to know: HTTP,
//! bodies and sockets; a closure reads the fields that a route names. To add a place where a field may stand: [`Place`].

mod path;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;

use super::catalog::{Catalog, Model, ModelIx, Provider, ProviderIx, Sizes, Unit};
use super::image::Size;
use super::money::Money;
use super::quote::{Quote, TOKEN_MARGIN_PERCENT, per_tokens, quote};

pub use path::{Captures, Pattern};

/// The longest prompt that a price must allow for, in bytes; the providers' own limits are near it.
const PROMPT_BYTES: u64 = 32 * 1024;
/// Tokens of the pictures in a body that is longer than a prompt can be: a dozen large ones.
const PICTURE_TOKENS: u64 = 20_000;

/// The pass-through as the policy has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Native {
    /// Whether it is on.
    pub on: bool,
    /// Between two pieces of a provider's answer, the first included.
    pub patience: Duration,
    /// The routes of each provider, by [`ProviderIx`], in the order in which they are tried.
    pub routes: Vec<Vec<Route>>,
}

impl Native {
    /// The first route of the provider that takes this call, with the parts of the path that it names.
    pub fn find<'a>(&'a self, provider: ProviderIx, method: &str, path: &'a str) -> Option<(&'a Route, Captures<'a>)> {
        let routes = self.routes.get(usize::from(provider.0))?;
        routes
            .iter()
            .filter(|route| &*route.method == method)
            .find_map(|route| Some((route, route.path.captures(path)?)))
    }
}

/// One kind of call.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `GET`, `POST`, ….
    pub method: Box<str>,
    /// Its path below the provider's `base_url`.
    pub path: Pattern,
    /// What it costs.
    pub tariff: Tariff,
}

/// What a call costs.
#[derive(Clone, Debug, PartialEq)]
pub enum Tariff {
    /// This much; zero is free, because the policy says so.
    Fixed(Money),
    /// What the model costs that the call names.
    Model(Box<Names>),
}

/// Where a call says what it buys.
#[derive(Clone, Debug, PartialEq)]
pub struct Names {
    /// The model, by the provider's own name.
    pub model: Field,
    /// How many images; one when `None`.
    pub images: Option<Field>,
    /// The size in pixels; the dearest when `None` or not a size.
    pub size: Option<Field>,
    /// What else tells models of one name apart: an option of theirs, and where the call says it.
    pub tell: Vec<(Box<str>, Field)>,
}

impl Tariff {
    /// Every field that it must read.
    pub fn fields(&self) -> Vec<&Field> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Model(names) => {
                let further = names.images.iter().chain(&names.size).chain(names.tell.iter().map(|(_, field)| field));
                std::iter::once(&names.model).chain(further).collect()
            }
        }
    }
}

/// A value of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it stands.
    pub place: Place,
    /// Its name there: a capture, a JSON pointer, a form field; the value itself for [`Place::Here`].
    pub name: Box<str>,
    /// What holds when the call leaves it out.
    pub default: Option<Box<str>>,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A text part of a multipart body.
    Form,
    /// In the policy itself.
    Here,
    /// At a pointer of a JSON body.
    Json,
    /// A named part of the path.
    Path,
}

/// What was read of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The call leaves it out.
    Absent,
    /// It may stand beyond what was looked at.
    Beyond,
    /// Its text.
    Is(String),
}

/// The price of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Priced {
    /// The model of the catalog that is bought.
    pub model: Option<ModelIx>,
    /// What the books call it.
    pub name: Arc<str>,
    /// Images asked for.
    pub images: u8,
    /// Expected and worst; a worst of zero is a free call.
    pub quote: Quote,
}

/// Why a call has no price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpriced {
    /// The field that is to blame, as the policy names it.
    pub field: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

/// A call to be priced.
pub struct Asking<'a> {
    /// Everything that can be bought.
    pub catalog: &'a Catalog,
    /// From whom.
    pub provider: ProviderIx,
    /// The length of its body in bytes, as far as it is known.
    pub body_bytes: u64,
    /// The day by which prices hold.
    pub today: Date,
}

impl Asking<'_> {
    /// What a call of this route costs. `read` reads its fields.
    pub fn price(&self, route: &Route, read: impl Fn(&Field) -> Reading) -> Result<Priced, Unpriced> {
        let provider = self.catalog.provider(self.provider);
        let provider = provider.ok_or_else(|| Unpriced { field: String::new(), detail: "no such provider".into() })?;
        match &route.tariff {
            Tariff::Fixed(usd) => Ok(Priced {
                model: None,
                name: format!("{}{}", provider.name, route.path).into(),
                images: 1,
                quote: Quote { expected: *usd, worst: *usd },
            }),
            Tariff::Model(names) => self.by_model(provider, names, read),
        }
    }

    fn by_model(
        &self,
        provider: &Provider,
        names: &Names,
        read: impl Fn(&Field) -> Reading,
    ) -> Result<Priced, Unpriced> {
        let wanted = text(&names.model, &read)?.ok_or_else(|| {
            let detail = format!("the call names no model at `{}`, so its price is not known", names.model);
            Unpriced { field: names.model.to_string(), detail }
        })?;
        let images = images(names, &read)?;
        let mut models = self.sold_as(&wanted);
        if models.is_empty() {
            let detail = format!("the policy has no price for the model `{}` of {}", brief(&wanted), provider.name);
            return Err(Unpriced { field: names.model.to_string(), detail });
        }
        for (option, field) in &names.tell {
            let told = text(field, &read)?;
            narrow(&mut models, option, told.as_deref());
        }
        let size = match &names.size {
            Some(field) => text(field, &read)?.and_then(|text| text.parse::<Size>().ok()),
            None => None,
        };
        let quotes: Vec<_> =
            models.iter().filter_map(|(ix, model)| Some((*ix, *model, self.quote(model, size, images)?))).collect();
        let unknown = |detail: String| Unpriced { field: names.model.to_string(), detail };
        let Some((ix, model, quote)) = quotes.iter().max_by_key(|(_, _, quote)| quote.worst) else {
            let what = size.map(|size| format!(" at {size}")).unwrap_or_default();
            return Err(unknown(format!("the policy has no price for `{}`{what} today", brief(&wanted))));
        };
        // Where tokens are counted the bill is exact whichever of them it was; a list price must be the one.
        let certain = model.tokens.is_some() || quotes.iter().all(|(_, _, other)| other.expected == quote.expected);
        if !certain {
            let options: Vec<&str> = names.tell.iter().map(|(_, field)| &*field.name).collect();
            let detail = format!("`{}` has several prices: say {}", brief(&wanted), options.join(", "));
            return Err(unknown(detail));
        }
        Ok(Priced { model: Some(*ix), name: Arc::clone(&model.id), images, quote: *quote })
    }

    /// The provider's models that go by this name there, those that are on and not retired.
    fn sold_as(&self, name: &str) -> Vec<(ModelIx, &Model)> {
        let sold = |model: &Model| {
            model.provider == self.provider
                && *model.remote == *name
                && model.off.is_none()
                && model.retired.is_none_or(|day| self.today < day)
        };
        self.catalog.models().filter(|(_, model)| sold(model)).collect()
    }

    /// Of a call: for the size when it is known, else for the dearest one. `None` without a price.
    fn quote(&self, model: &Model, size: Option<Size>, images: u8) -> Option<Quote> {
        let priced = |size: Size| quote(model, size, images, 0, model.latency, self.today);
        let one = match size {
            Some(size) => priced(size)?,
            None => sizes(model).into_iter().filter_map(priced).max_by_key(|quote| quote.worst)?,
        };
        let Some(rates) = model.tokens else {
            return Some(one);
        };
        let text = per_tokens(rates.text_in, self.body_bytes.min(PROMPT_BYTES));
        let pictures =
            if self.body_bytes > PROMPT_BYTES { per_tokens(rates.image_in, PICTURE_TOKENS) } else { Money::ZERO };
        // Thoughts and words come on top of the picture: the margin stands for them.
        let words = per_tokens(rates.text_out, self.body_bytes.min(PROMPT_BYTES) * TOKEN_MARGIN_PERCENT / 100);
        Some(Quote { expected: one.expected, worst: one.worst + text + pictures + words })
    }
}

/// How many images a call asks for.
fn images(names: &Names, read: impl Fn(&Field) -> Reading) -> Result<u8, Unpriced> {
    let Some(field) = &names.images else {
        return Ok(1);
    };
    match text(field, &read)? {
        None => Ok(1),
        Some(text) => text.parse::<u8>().ok().filter(|count| *count > 0).ok_or_else(|| {
            let detail = format!("`{field}` is not a number of images");
            Unpriced { field: field.to_string(), detail }
        }),
    }
}

/// Sizes among which the dearest of a model is.
fn sizes(model: &Model) -> Vec<Size> {
    let square = |side: u32| Size::new(side, side);
    let free = match model.sizes() {
        Some(Sizes::Listed(natives)) => return natives.iter().map(|native| native.size).collect(),
        Some(Sizes::Free { max, .. }) => square(*max),
        None => square(4096),
    };
    let named = model.prices.iter().filter_map(|row| row.size);
    let by_pixels =
        model.prices.iter().any(|row| row.max_pixels.is_some() || matches!(row.unit, Unit::Megapixel { .. }));
    named.chain([free]).chain((!by_pixels).then_some(square(1024))).collect()
}

/// The models whose option says so; all of them when none does, which a token bill can bear.
fn narrow(models: &mut Vec<(ModelIx, &Model)>, option: &str, told: Option<&str>) {
    let Some(told) = told else {
        return;
    };
    let says = |model: &Model| model.option(option).is_some_and(|value| value.eq_ignore_ascii_case(told));
    if models.iter().any(|(_, model)| says(model)) {
        models.retain(|(_, model)| says(model));
    }
}

/// A field's text or its default; an error when it may stand beyond what was looked at.
fn text(field: &Field, read: impl Fn(&Field) -> Reading) -> Result<Option<String>, Unpriced> {
    match read(field) {
        Reading::Is(text) => Ok(Some(text)),
        Reading::Absent => Ok(field.default.as_deref().map(str::to_owned)),
        Reading::Beyond => {
            let detail = format!(
                "`{field}` tells the price and must stand near the start of the body: write it before pictures"
            );
            Err(Unpriced { field: field.to_string(), detail })
        }
    }
}

/// A caller's text, fit for a sentence.
fn brief(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}
