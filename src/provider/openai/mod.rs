//! `OpenAI` images, and every server that speaks like it.
//!
//! Why it exists: one request shape with four accents, which stand here; the answers and errors stand in `answer`. What
//! it refuses to know: prices and sizes. To add a server: a [`Flavour`] with what it takes.
//!
//! The `base_url` of a provider is what comes before `/v1`. Options of a model: `flavour` (`openai`, the default,
//! `compatible`, `sd-server` or `localai`), `quality` (required for pictures that `OpenAI` bills by tokens: left out,
//! the provider picks one and the price with it), `moderation`, `background`, `complexity`, `style`, `steps`.

mod answer;

use serde_json::{Map, Value, json};

use super::common::fetched;
use super::{Adapter, Auth, Body, Call, Method, Op, Progress, Reply, Stage, Step, Target, Unsupported};
use crate::domain::catalog::{Dialect, Model, Provider};
use crate::domain::fault::Fault;
use crate::domain::quota::Allowance;

/// The dialect.
pub(super) struct Openai;

/// The most images of one call at `OpenAI`.
const MOST_IMAGES: u8 = 10;

impl Adapter for Openai {
    fn dialect(&self) -> Dialect {
        Dialect::Openai
    }

    fn auth(&self, _provider: &Provider) -> Auth {
        Auth::Bearer
    }

    fn encode(&self, step: &Step<'_>, model: &Model, _provider: &Provider) -> Result<Call, Unsupported> {
        if !matches!(step.op, Op::Generate) {
            return Err(Unsupported(format!("{} makes pictures and enlarges none", model.id)));
        }
        let mut body = Map::new();
        body.insert("n".into(), step.images.into());
        body.insert("size".into(), step.size.to_string().into());
        match Flavour::of(model)? {
            Flavour::Openai => openai(step, model, &mut body)?,
            Flavour::Compatible => compatible(step, model, &mut body),
            Flavour::SdServer => sd_server(step, model, &mut body),
            Flavour::Localai => localai(step, model, &mut body),
        }
        Ok(Call {
            stage: Stage::Submit,
            method: Method::Post,
            target: Target::Path("/v1/images/generations".into()),
            headers: Vec::new(),
            auth: Auth::Bearer,
            body: Body::json(&body.into()),
        })
    }

    fn decode(&self, step: &Step<'_>, model: &Model, call: &Call, reply: &Reply) -> Result<Progress, Fault> {
        match (call.stage, reply.status) {
            (Stage::Fetch, _) => fetched(call, reply, None),
            (_, 200) => answer::pictures(step, model, call, reply),
            _ => Err(answer::refusal(call, reply)),
        }
    }

    fn allowance(&self, reply: &Reply) -> Option<Allowance> {
        answer::allowance(reply)
    }
}

/// Whose accent it is.
#[derive(Clone, Copy)]
enum Flavour {
    Openai,
    Compatible,
    SdServer,
    Localai,
}

impl Flavour {
    fn of(model: &Model) -> Result<Self, Unsupported> {
        match model.option("flavour") {
            None | Some("openai") => Ok(Self::Openai),
            Some("compatible") => Ok(Self::Compatible),
            Some("sd-server") => Ok(Self::SdServer),
            Some("localai") => Ok(Self::Localai),
            Some(other) => Err(Unsupported(format!("{} has the unknown flavour {other:?}", model.id))),
        }
    }
}

/// No model takes a seed or a negative prompt. GPT image models always send base64 and refuse `response_format`; DALL-E
/// sends links unless told, and PNG only.
fn openai(step: &Step<'_>, model: &Model, body: &mut Map<String, Value>) -> Result<(), Unsupported> {
    if step.seed.is_some() || step.negative_prompt.is_some() {
        return Err(Unsupported(format!("{} takes neither a seed nor a negative prompt", model.id)));
    }
    if step.images > MOST_IMAGES {
        return Err(Unsupported(format!("{} makes {MOST_IMAGES} images a call at most", model.id)));
    }
    body.insert("model".into(), (&*model.remote).into());
    body.insert("prompt".into(), step.prompt.into());
    if model.remote.starts_with("dall-e") {
        pass(model, &["quality", "style"], body);
        body.insert("response_format".into(), "b64_json".into());
        return Ok(());
    }
    if model.option("quality").is_none() {
        return Err(Unsupported(format!("{} has no quality, so its price is not known", model.id)));
    }
    pass(model, &["quality", "moderation", "background", "complexity"], body);
    body.insert("output_format".into(), step.format.name().into());
    Ok(())
}

/// A server that says it is compatible: what the SDK sends, and beside it what its `extra_body` would carry.
fn compatible(step: &Step<'_>, model: &Model, body: &mut Map<String, Value>) {
    body.insert("model".into(), (&*model.remote).into());
    body.insert("prompt".into(), step.prompt.into());
    pass(model, &["quality", "moderation", "background", "style"], body);
    // A relay of a GPT image model refuses it as the model does.
    if !model.remote.contains("gpt-image") {
        body.insert("response_format".into(), "b64_json".into());
    }
    // A server with one format has no field for it.
    if model.formats.len() > 1 {
        body.insert("output_format".into(), step.format.name().into());
    }
    if let Some(text) = step.negative_prompt {
        body.insert("negative_prompt".into(), text.into());
    }
    if let Some(seed) = step.seed {
        body.insert("seed".into(), seed.into());
    }
}

/// stable-diffusion.cpp: one model, and what the shape has no field for rides in the prompt, between tags.
fn sd_server(step: &Step<'_>, model: &Model, body: &mut Map<String, Value>) {
    const TAG: &str = "sd_cpp_extra_args";
    let mut extra = Map::new();
    if let Some(text) = step.negative_prompt {
        extra.insert("negative_prompt".into(), text.into());
    }
    if let Some(seed) = step.seed {
        extra.insert("seed".into(), seed.into());
    }
    if let Some(steps) = model.options.get("steps") {
        extra.insert("sample_params".into(), json!({"sample_steps": steps}));
    }
    // A caller's own tag would set what the policy has not priced, and one in the negative prompt would end ours.
    let mut prompt = step.prompt.replace(TAG, "sd cpp extra args");
    if !extra.is_empty() {
        let extra = Value::Object(extra).to_string().replace('<', "\\u003c");
        prompt = format!("{prompt} <{TAG}>{extra}</{TAG}>");
    }
    body.insert("prompt".into(), prompt.into());
    body.insert("output_format".into(), step.format.name().into());
}

/// `LocalAI`: the negative prompt stands behind a bar in the prompt, which itself can therefore hold none.
fn localai(step: &Step<'_>, model: &Model, body: &mut Map<String, Value>) {
    let mut prompt = step.prompt.replace('|', ",");
    if let Some(text) = step.negative_prompt {
        prompt.push('|');
        prompt.push_str(&text.replace('|', ","));
    }
    body.insert("model".into(), (&*model.remote).into());
    body.insert("prompt".into(), prompt.into());
    body.insert("response_format".into(), "b64_json".into());
    if let Some(steps) = model.options.get("steps") {
        body.insert("step".into(), steps.clone());
    }
    if let Some(seed) = step.seed {
        body.insert("seed".into(), seed.into());
    }
}

fn pass(model: &Model, options: &[&str], body: &mut Map<String, Value>) {
    for name in options {
        if let Some(word) = model.option(name) {
            body.insert((*name).into(), word.into());
        }
    }
}
