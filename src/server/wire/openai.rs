//! `OpenAI`'s shapes: its images request, its answer, its list of models.
//!
//! Why it exists: `openai` with another `base_url` works unchanged, and the contract's own fields ride along at the top
//! level, where `extra_body` puts them. What it refuses to know: edits, variations and streams, which are refused in
//! words. `OpenAI`'s words for quality are tiers of the policy where it has one of that name, else its drafts and heroes.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::super::payload::Payload;
use super::super::problem::Problem;
use super::answer;
use super::ask::{self, Parsed};
use super::fields::{Fields, OPENAI_ONLY, Surface};
use super::json::Json;
use crate::domain::catalog::{Catalog, Model};
use crate::domain::refusal::Refusal;
use crate::domain::request::{ModelChoice, Quality, ResponseFormat};
use crate::engine::{Served, ServedImage};

/// What the policy has on offer.
pub(in crate::server) struct Market<'a> {
    /// Its models.
    pub(in crate::server) catalog: &'a Catalog,
    /// The names of its tiers.
    pub(in crate::server) tiers: Vec<&'a str>,
    /// The day, for retirements.
    pub(in crate::server) today: Date,
}

impl<'a> Market<'a> {
    /// Generators that can be bought today.
    fn usable(&self) -> impl Iterator<Item = (&'a Model, &'a str)> {
        let (catalog, today) = (self.catalog, self.today);
        catalog.models.iter().filter_map(move |model| {
            let provider = catalog.provider(model.provider)?;
            let retired = model.retired.is_some_and(|day| day <= today);
            let on = model.sizes().is_some() && model.off.is_none() && provider.off.is_none() && !retired;
            on.then_some((model, &*provider.name))
        })
    }
}

/// Reads the body of `/v1/images/generations`.
pub(in crate::server) fn parse(body: &[u8], market: &Market<'_>) -> Result<Parsed, Problem> {
    let fields = Fields::read(body, Surface::Openai)?;
    if let Some(value) = fields.value("stream")
        && value.flag()?
    {
        return Err(value.refuse("`stream` is not offered; leave it out and the answer comes whole").into());
    }
    let mut ask = ask::common(&fields)?;
    ask.quality = quality(&fields, market)?;
    let mut warnings = fields.warnings();
    for name in OPENAI_ONLY.into_iter().filter(|name| *name != "stream") {
        if fields.value(name).is_some() {
            warnings.push(format!("`{name}` has no meaning here and is ignored"));
        }
    }
    if let Some(name) = ask::name(&fields, "model", "a model id, or \"auto\"")? {
        ask.model = model(&name, market)?;
    }
    let webhook = ask::webhook(&fields)?;
    Ok(Parsed { ask, warnings, names_format: fields.value("output_format").is_some(), webhook })
}

fn quality(fields: &Fields<'_>, market: &Market<'_>) -> Result<Option<Quality>, Refusal> {
    let asked = ask::quality(fields)?;
    let Some(Quality::Tier(word)) = &asked else {
        return Ok(asked);
    };
    let has = |tier: &str| market.tiers.contains(&tier);
    if has(word) {
        return Ok(asked);
    }
    let tier = match word.as_str() {
        "low" => "draft",
        "high" | "hd" | "xhigh" | "max" => "hero",
        "auto" | "medium" | "standard" => return Ok(None),
        _ => return Ok(asked),
    };
    Ok(has(tier).then(|| Quality::Tier(tier.to_owned())))
}

/// A model by its id, or by the provider's own name for it, usable ones first.
fn model(name: &str, market: &Market<'_>) -> Result<ModelChoice, Problem> {
    if name == "auto" {
        return Ok(ModelChoice::Auto);
    }
    let generators = || market.catalog.models.iter().filter(|model| model.sizes().is_some());
    if let Some(model) = generators().find(|model| &*model.id == name) {
        return Ok(ModelChoice::Pinned(model.id.to_string()));
    }
    let bare =
        |model: &&Model| &*model.remote == name || model.id.split_once('/').is_some_and(|(_, bare)| bare == name);
    let usable = market.usable().map(|(model, _)| model).find(bare);
    if let Some(model) = usable.or_else(|| generators().find(bare)) {
        return Ok(ModelChoice::Pinned(model.id.to_string()));
    }
    Err(unknown(name, market))
}

fn unknown(name: &str, market: &Market<'_>) -> Problem {
    let short: String = name.chars().take(100).flat_map(char::escape_debug).collect();
    let near = market.usable().map(|(model, _)| (strsim::jaro_winkler(&model.id, name), &model.id));
    let near = near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.8);
    let hint = near.map_or_else(String::new, |(_, id)| format!(" Did you mean `{id}`?"));
    Problem::model_not_found(format!(
        "The model `{short}` is not in the policy.{hint} GET /v1/models lists those that are; \"auto\" leaves the choice \
         to the planner."
    ))
}

/// The answer of `/v1/images/generations`. `base` is where the caller reaches this gateway, for links.
pub(in crate::server) fn answer(served: &Served, carry: ResponseFormat, base: &str) -> Payload {
    let (mut json, mut payload) = (Json::default(), Payload::default());
    json.open('{');
    json.key("created").raw(served.created.as_second());
    json.key("data").open('[');
    for image in &served.images {
        json.open('{');
        match carry {
            ResponseFormat::B64Json => answer::base64(&mut json, &mut payload, image),
            ResponseFormat::Url => {
                json.key("url").text(&link(base, image));
            }
        }
        json.close('}');
    }
    json.close(']');
    if let Some(first) = served.images.first() {
        json.key("output_format").text(first.format.name());
        json.key("size").text(&first.size.to_string());
    }
    json.key("tollgate").object(|json| {
        answer::head(json, served);
        answer::about(json, served);
    });
    json.close('}');
    payload.push(json.finish());
    payload
}

fn link(base: &str, image: &ServedImage) -> String {
    format!("{base}{}", answer::path(image))
}

/// The answer of `GET /v1/models`: `auto`, then every model that can be bought today.
pub(in crate::server) fn models(market: &Market<'_>) -> Payload {
    let mut json = Json::default();
    json.object(|json| {
        json.key("object").text("list");
        json.key("data").open('[');
        json.object(auto);
        for (model, owner) in market.usable() {
            json.object(|json| entry(json, model, owner));
        }
        json.close(']');
    });
    Payload::of(json.finish())
}

/// The answer of `GET /v1/models/{id}`.
pub(in crate::server) fn one_model(id: &str, market: &Market<'_>) -> Result<Payload, Problem> {
    let mut json = Json::default();
    if id == "auto" {
        json.object(auto);
    } else {
        let (model, owner) = market.usable().find(|(model, _)| &*model.id == id).ok_or_else(|| unknown(id, market))?;
        json.object(|json| entry(json, model, owner));
    }
    Ok(Payload::of(json.finish()))
}

fn auto(json: &mut Json) {
    json.key("id").text("auto");
    json.key("object").text("model");
    json.key("created").raw(0);
    json.key("owned_by").text("tollgate");
}

/// A model as `OpenAI` lists it; it was created when its first price began.
fn entry(json: &mut Json, model: &Model, owner: &str) {
    let first = model.prices.iter().map(|price| price.from).min();
    let created = first.and_then(|day| day.to_zoned(TimeZone::UTC).ok()).map_or(0, |day| day.timestamp().as_second());
    json.key("id").text(&model.id);
    json.key("object").text("model");
    json.key("created").raw(created);
    json.key("owned_by").text(owner);
}

#[cfg(test)]
mod tests;
