//! A policy file as written: one struct a table, every value with its place.
//!
//! Why it exists: these types are the language. The JSON Schema that editors read and the check of a file's shape
//! (`shape.rs`) both come from them, so the two cannot disagree. What it refuses to know: what a value means.
//! To add a key: a field here with a sentence for the operator, its place in the order of `fmt.rs`, its meaning in
//! `compile/`. Fields that must be written are `Option` with `schemars(required)`: the shape check reports their
//! absence, and the compiler goes on with the rest of the file.

mod at;
mod budget;
mod market;
mod native;
mod verifier;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use at::{At, Day, Level};
pub(super) use budget::{Budget, OnExhausted, Period};
pub(super) use market::{
    Degrade, Format, Free, Latency, Limit, LimitMode, LimitUnit, Model, Per, Price, Provider, TokenRates, Upscale,
};
pub(super) use native::{Proxy, Route};
pub(super) use verifier::{Passes, Verifier, VerifierKind};

/// Tables by name, as `[model."stability/core"]`.
pub(super) type Named<T> = BTreeMap<At<String>, T>;

/// A policy of Tollgate: what may be bought, from whom, at what price, for whom and how good it must be.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    /// The version of this language: 1.
    #[schemars(required)]
    pub(super) version: Option<At<i64>>,
    /// What holds when neither the request nor a rule says otherwise.
    pub(super) defaults: Option<At<Defaults>>,
    /// When a provider or model is left alone after failures.
    pub(super) breaker: Option<Breaker>,
    /// The native pass-through; off when left out.
    pub(super) proxy: Option<At<Proxy>>,
    /// Callers' API keys; `tollgate key new NAME` prints a row. Without any, callers need none.
    #[serde(default)]
    pub(super) key: Vec<Key>,
    /// Hard caps on money.
    #[serde(default)]
    pub(super) budget: Vec<At<Budget>>,
    /// Names for levels of quality.
    #[serde(default)]
    pub(super) tier: Named<Tier>,
    /// The first rule whose condition holds decides.
    #[serde(default)]
    pub(super) rule: Vec<Rule>,
    /// What images are for; the first task in the file that claims a prompt gets it.
    #[serde(default)]
    pub(super) task: Named<Task>,
    /// Lists of sizes that models share, each entry as in a model's `sizes`.
    #[serde(default)]
    pub(super) sizes: Named<At<Vec<At<String>>>>,
    /// What looks at pictures before a person does: `[verifier.text]`.
    #[serde(default)]
    pub(super) verifier: Named<Verifier>,
    /// Hosts with an API and a key.
    #[serde(default)]
    pub(super) provider: Named<Provider>,
    /// What can be bought: `[model."provider/name"]`.
    #[serde(default)]
    pub(super) model: Named<Model>,
}

/// What holds when neither the request nor a rule says otherwise.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Defaults {
    /// A tier, or the least probability (0 to 1) that a person accepts the image at first look.
    #[schemars(required)]
    pub(super) quality: Option<At<Level>>,
    /// From a request's arrival to its answer, such as "60s".
    #[schemars(required)]
    pub(super) deadline: Option<At<String>>,
    /// The task of a prompt that no other task claims.
    #[schemars(required)]
    pub(super) task: Option<At<String>>,
    /// The most that one request may cost.
    pub(super) max_cost_usd: Option<At<f64>>,
    /// What showing one image to a person costs; rejected images cost it in vain.
    pub(super) review_cost_usd: Option<At<f64>>,
    /// What a second of waiting for a provider's limit costs: a cheaper plan is waited for as long as it saves more. When
    /// left out, a plan is waited for only when no other fits.
    pub(super) wait_value_usd_per_s: Option<At<f64>>,
    /// How often a person asks again for one prompt before giving up, 1 to 8; 1 when left out.
    pub(super) tries: Option<At<u8>>,
    /// How alike a model's tries on one prompt are, 0 (not at all) to 1 (one fails, all fail); 0.2 when left out.
    pub(super) retry_correlation: Option<At<f64>>,
    /// When identical requests in flight share one purchase.
    pub(super) share: Option<Share>,
    /// How the planner learns what it knows too little of; nothing is explored before the first verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) explore: Option<Explore>,
    /// Whether a model without negative prompts may serve a request that has one; declared in the answer.
    pub(super) drop_negative_prompt: Option<bool>,
    /// What follows when a provider's moderation refuses.
    pub(super) on_moderation: Option<OnModeration>,
    /// What follows when a key comes again whose purchase is in doubt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) takeover: Option<Takeover>,
    /// For how long an identical request without an idempotency key is taken for a repeat, such as "30s".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_window: Option<At<String>>,
    /// How many verdicts the `accept` numbers of this file are worth.
    pub(super) prior_weight: Option<At<f64>>,
}

/// When a provider or model is left alone after failures.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Breaker {
    /// Opens after this many failures in a row.
    pub(super) consecutive: Option<At<u32>>,
    /// Opens below this share of successes, 0 to 1, in a window with enough samples.
    pub(super) success_share: Option<At<f64>>,
    /// Samples that a window needs before its share counts.
    pub(super) min_samples: Option<At<u32>>,
    /// The window, such as "30s".
    pub(super) window: Option<At<String>>,
    /// How long it stays open the first time; doubles with each failed probe.
    pub(super) open_for: Option<At<String>>,
    /// The longest that it stays open.
    pub(super) open_at_most: Option<At<String>>,
}

/// When identical requests in flight share one purchase.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Share {
    /// Whenever they are identical.
    Identical,
    /// Only when they give a seed.
    Seeded,
    /// Never.
    Never,
}

/// How the planner learns what it knows too little of.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Explore {
    /// Not at all.
    Off,
    /// It prefers what may be better, the less the more it knows.
    Optimistic,
    /// It draws lots by what it believes: for many replicas or slow raters.
    Sampled,
}

/// What follows when a provider's moderation refuses.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnModeration {
    /// The request ends.
    Stop,
    /// The next provider is asked.
    NextPlan,
}

/// What follows when a key comes again whose purchase is in doubt.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Takeover {
    /// It is bought again: the doubtful purchase is paid twice at worst.
    BuyAgain,
    /// The answer says that it is in doubt, until someone knows.
    FailAmbiguous,
}

/// A caller's API key.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    /// The caller's name, as rules and the ledger call it.
    #[schemars(required)]
    pub(super) name: Option<At<String>>,
    /// SHA-256 of the key, in hexadecimal; never the key itself.
    #[schemars(required)]
    pub(super) sha256: Option<At<String>>,
    /// What the caller may ask for.
    #[serde(default)]
    pub(super) limits: Vec<At<Limit>>,
    /// Sees and judges the pictures of every key in the studio; without it, its own alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) reviewer: bool,
}

/// A name for a level of quality.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tier {
    /// One sentence for the people who choose it.
    pub(super) about: Option<String>,
    /// The least probability, 0 to 1, that a person accepts the image at first look.
    #[schemars(required)]
    pub(super) quality: Option<At<f64>>,
    /// The most that one request of this tier may cost.
    pub(super) max_cost_usd: Option<At<f64>>,
    /// From a request's arrival to its answer, such as "2m".
    pub(super) deadline: Option<At<String>>,
    /// Whether its requests may be used to learn; they may when it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) explore: Option<bool>,
    /// Which jobs go first: those of a greater number. 0 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<At<i64>>,
}

/// What holds for requests of a kind. What a rule leaves out comes from the tier, then from `[defaults]`.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Its name in answers and reports.
    #[schemars(required)]
    pub(super) id: Option<At<String>>,
    /// A CEL condition over task, tier, key and request.
    #[schemars(required)]
    pub(super) when: Option<At<String>>,
    /// A tier or a probability, for requests that name neither.
    pub(super) quality: Option<At<Level>>,
    /// The most that one request may cost.
    pub(super) max_cost_usd: Option<At<f64>>,
    /// From a request's arrival to its answer, such as "60s".
    pub(super) deadline: Option<At<String>>,
    /// Only these models: ids or patterns such as "ideogram/*".
    pub(super) only: Option<At<Vec<At<String>>>>,
    /// Never these models: ids or patterns.
    pub(super) never: Option<At<Vec<At<String>>>>,
    /// When identical requests in flight share one purchase.
    pub(super) share: Option<Share>,
    /// Whether a model without negative prompts may serve a request that has one; declared in the answer.
    pub(super) drop_negative_prompt: Option<bool>,
    /// What follows when a provider's moderation refuses.
    pub(super) on_moderation: Option<OnModeration>,
    /// What showing one image to a person costs.
    pub(super) review_cost_usd: Option<At<f64>>,
}

/// What images are for, and the signs by which a prompt is recognised. Any one sign is enough.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Task {
    /// One sentence for the people who choose it.
    pub(super) about: Option<String>,
    /// Words and phrases, matched whole, upper or lower case alike.
    #[serde(default)]
    pub(super) words: Vec<At<String>>,
    /// Whether quoted text in the prompt is a sign: it will have to be readable.
    #[serde(default)]
    pub(super) quoted_text: bool,
}

/// The JSON Schema of a policy file.
pub(super) fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Policy>().to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: a key that may be left out is one that is not required.
fn without_null(schema: &mut serde_json::Value) {
    use serde_json::Value;
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    for (key, value) in only {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            // Defaults are `null`, `[]` or `{}` here: what is left out is said by each key's sentence.
            map.remove("default");
            map.values_mut().for_each(without_null);
        }
        _ => {}
    }
}
