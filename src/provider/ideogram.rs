//! Ideogram: four routes with three spellings of the same ratio, and answers that hold links.
//!
//! Why it exists: only this file knows Ideogram's wire format. What it refuses to know: prices, which belong to the
//! policy, and the download itself, which the transport does without our credential.
//!
//! Options of a model: `route` is `generate` (`V_1` to `V_2A`), `v3`, `v4` or `upscale`; `magic_prompt` is `AUTO`, `ON` or
//! `OFF`, which is the default because a rewritten prompt is not reproduced by its seed (v4 rewrites always);
//! `rendering_speed`, `style_type` and `style_preset` pass through; `resemblance` and `detail`, 1 to 100, are for
//! `upscale`. A size with the label `16:9` is asked for by its ratio, one without a label by its pixels.
//!
//! One seed for several images gives the same picture each time, so a step with a seed asks for one image: more are
//! [`Unsupported`], and the engine sends one call each.
//!
//! To add a route: a variant of [`Route`], its name, and its arm in `encode`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::common::{self, Failure, garbled};
use super::{Adapter, Auth, Body, Call, Method, Op, Part, Pending, Progress, Reply, Stage, Step, Target};
use super::{Unsupported, Usage};
use crate::domain::catalog::{Dialect, Model, Provider};
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::domain::image::Format;

/// The dialect of `api.ideogram.ai`.
pub(super) struct Ideogram;

/// The limit counts calls in flight, not calls a minute, and no hint comes with a refusal: one of ours must end first.
const BUSY: Duration = Duration::from_secs(1);

/// The largest picture that `/upscale` takes, in bytes.
const MAX_UPLOAD: usize = 10_000_000;

impl Adapter for Ideogram {
    fn dialect(&self) -> Dialect {
        Dialect::Ideogram
    }

    fn auth(&self, _provider: &Provider) -> Auth {
        Auth::Header("Api-Key")
    }

    fn encode(&self, step: &Step<'_>, model: &Model, _provider: &Provider) -> Result<Call, Unsupported> {
        if step.seed.is_some() && step.images > 1 {
            return Err(Unsupported("one seed gives the same picture in every image of an Ideogram call".into()));
        }
        let route = Route::of(model)?;
        let body = match (route, &step.op) {
            (Route::Generate, Op::Generate) => legacy(step, model)?,
            (Route::V3, Op::Generate) => v3(step, model)?,
            (Route::V4, Op::Generate) => v4(step, model)?,
            (Route::Upscale, Op::Upscale { image, format, .. }) => {
                if image.len() > MAX_UPLOAD {
                    return Err(Unsupported("Ideogram upscales pictures of at most 10 MB".into()));
                }
                let file = Part::file("image_file", file_name(*format), format.media_type(), (*image).clone());
                upscale(step, model, file)
            }
            (Route::Upscale, Op::Generate) | (_, Op::Upscale { .. }) => {
                return Err(Unsupported(format!("the route of {} does not do this step", model.id)));
            }
        };
        Ok(Call {
            stage: Stage::Submit,
            method: Method::Post,
            target: Target::Path(route.path().into()),
            headers: Vec::new(),
            auth: Auth::Header("Api-Key"),
            body,
        })
    }

    fn decode(&self, _step: &Step<'_>, _model: &Model, call: &Call, reply: &Reply) -> Result<Progress, Fault> {
        match (call.stage, reply.status) {
            (Stage::Fetch, _) => common::fetched(call, reply, None),
            (_, 200..300) => links(reply),
            _ => Err(refusal(&Failure::of(call, reply), reply)),
        }
    }
}

/// Which generation of the API serves a model.
#[derive(Clone, Copy)]
enum Route {
    Generate,
    V3,
    V4,
    Upscale,
}

impl Route {
    fn of(model: &Model) -> Result<Self, Unsupported> {
        match model.option("route") {
            Some("generate") => Ok(Self::Generate),
            Some("v3") => Ok(Self::V3),
            Some("v4") => Ok(Self::V4),
            Some("upscale") => Ok(Self::Upscale),
            other => Err(Unsupported(format!(
                "{} needs the option `route`: generate, v3, v4 or upscale, not {}",
                model.id,
                other.unwrap_or("nothing")
            ))),
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Generate => "/generate",
            Self::V3 => "/v1/ideogram-v3/generate",
            Self::V4 => "/v1/ideogram-v4/generate",
            Self::Upscale => "/upscale",
        }
    }
}

/// `/generate`: JSON, ratios as `ASPECT_16_9`, sizes as `RESOLUTION_1312_736`.
fn legacy(step: &Step<'_>, model: &Model) -> Result<Body, Unsupported> {
    let mut request = Map::new();
    request.insert("prompt".into(), step.prompt.into());
    request.insert("model".into(), (*model.remote).into());
    request.insert("magic_prompt_option".into(), magic_prompt(model).into());
    request.insert("num_images".into(), step.images.into());
    if let Some((width, height)) = ratio(step)? {
        request.insert("aspect_ratio".into(), format!("ASPECT_{width}_{height}").into());
    } else if matches!(&*model.remote, "V_2" | "V_2_TURBO") {
        request.insert("resolution".into(), format!("RESOLUTION_{}_{}", step.size.width, step.size.height).into());
    } else {
        return Err(Unsupported(format!("{} is asked by ratio: its sizes need labels such as 16:9", model.id)));
    }
    if let Some(seed) = step.seed {
        request.insert("seed".into(), seed.into());
    }
    if let Some(negative) = step.negative_prompt {
        request.insert("negative_prompt".into(), negative.into());
    }
    if let Some(style) = model.option("style_type") {
        request.insert("style_type".into(), style.into());
    }
    Ok(Body::json(&json!({ "image_request": request })))
}

/// `/v1/ideogram-v3/generate`: multipart, ratios as `16x9`, sizes as `1312x736`.
fn v3(step: &Step<'_>, model: &Model) -> Result<Body, Unsupported> {
    let mut parts = vec![
        Part::text("prompt", step.prompt),
        match ratio(step)? {
            Some((width, height)) => Part::text("aspect_ratio", format!("{width}x{height}")),
            None => Part::text("resolution", step.size.to_string()),
        },
        Part::text("num_images", step.images.to_string()),
        Part::text("magic_prompt", magic_prompt(model)),
    ];
    parts.extend(step.seed.map(|seed| Part::text("seed", seed.to_string())));
    parts.extend(step.negative_prompt.map(|negative| Part::text("negative_prompt", negative)));
    for option in ["rendering_speed", "style_type", "style_preset"] {
        parts.extend(model.option(option).map(|value| Part::text(option, value)));
    }
    Ok(Body::Multipart(parts))
}

/// `/v1/ideogram-v4/generate`: one picture of listed pixels, with no seed and no negative prompt.
fn v4(step: &Step<'_>, model: &Model) -> Result<Body, Unsupported> {
    if step.images != 1 || step.seed.is_some() || step.negative_prompt.is_some() {
        return Err(Unsupported(format!("{} makes one image a call, without seed or negative prompt", model.id)));
    }
    let mut parts = vec![Part::text("text_prompt", step.prompt), Part::text("resolution", step.size.to_string())];
    parts.extend(model.option("rendering_speed").map(|speed| Part::text("rendering_speed", speed)));
    Ok(Body::Multipart(parts))
}

/// `/upscale`: the picture, and the request as a JSON string in a part of its own.
fn upscale(step: &Step<'_>, model: &Model, picture: Part) -> Body {
    let mut request = Map::new();
    request.insert("magic_prompt_option".into(), magic_prompt(model).into());
    request.insert("num_images".into(), step.images.into());
    if !step.prompt.is_empty() {
        request.insert("prompt".into(), step.prompt.into());
    }
    if let Some(seed) = step.seed {
        request.insert("seed".into(), seed.into());
    }
    for option in ["resemblance", "detail"] {
        if let Some(value) = model.options.get(option) {
            request.insert(option.into(), value.clone());
        }
    }
    Body::Multipart(vec![picture, Part::text("image_request", Value::Object(request).to_string())])
}

/// The sides of a label such as `16:9`; `None` where the size has no label.
fn ratio<'a>(step: &Step<'a>) -> Result<Option<(&'a str, &'a str)>, Unsupported> {
    if step.label.is_empty() {
        return Ok(None);
    }
    let number = |side: &str| !side.is_empty() && side.bytes().all(|byte| byte.is_ascii_digit());
    match step.label.split_once(':') {
        Some((width, height)) if number(width) && number(height) => Ok(Some((width, height))),
        _ => Err(Unsupported(format!("an Ideogram ratio is written 16:9, not {}", step.label))),
    }
}

fn magic_prompt(model: &Model) -> &str {
    model.option("magic_prompt").unwrap_or("OFF")
}

const fn file_name(format: Format) -> &'static str {
    match format {
        Format::Jpeg => "image.jpg",
        Format::Png => "image.png",
        Format::Webp => "image.webp",
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    url: Option<String>,
    is_image_safe: bool,
    #[serde(default)]
    seed: Option<u64>,
}

/// The links of a success. What was judged unsafe has none; nobody says whether it is charged, so we take it to be.
fn links(reply: &Reply) -> Result<Progress, Fault> {
    let answer: Answer = common::parse(reply)?;
    let made = u8::try_from(answer.data.len()).unwrap_or(u8::MAX);
    let mut pending = Vec::new();
    for item in answer.data.into_iter().filter(|item| item.is_image_safe) {
        let url = item.url.filter(|url| is_web_link(url)).ok_or_else(|| garbled("A picture came without a link."))?;
        pending.push(Pending { call: download(url), seed: item.seed });
    }
    match (made, pending.is_empty()) {
        (0, _) => Err(garbled("The answer holds no picture.")),
        (_, true) => {
            let detail = "The picture was made, judged unsafe and withheld.";
            Err(Fault::new(Class::Moderate, Blame::Caller, Billed::Unknown, detail))
        }
        (_, false) => Ok(Progress::Fetch(pending, Usage::Images(made))),
    }
}

fn is_web_link(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

fn download(url: String) -> Call {
    Call {
        stage: Stage::Fetch,
        method: Method::Get,
        target: Target::Link(url),
        headers: Vec::new(),
        auth: Auth::None,
        body: Body::Empty,
    }
}

/// 422 is documented for the safety check alone, so one without words is one too. A prompt that was refused made no
/// picture and costs nothing. Some routes say 403 for a wrong key where others say 401.
fn refusal(failure: &Failure<'_>, reply: &Reply) -> Fault {
    match reply.status {
        422 if failure.message().is_none() || failure.says(&["safety", "prohibited"]) => {
            failure.fault(Class::Moderate, Blame::Caller, Billed::No)
        }
        429 => {
            let fault = failure.by_status();
            let wait = fault.retry_after.unwrap_or(BUSY);
            fault.after(wait)
        }
        _ => failure.by_status(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::Size;
    use crate::provider::samples;
    use bytes::Bytes;

    fn refused(model: &Model, step: &Step<'_>) -> String {
        Ideogram.encode(step, model, &samples::provider(Dialect::Ideogram)).unwrap_err().0
    }

    fn routed(route: &str, remote: &str) -> Model {
        samples::model(remote, [("route", route.into())])
    }

    #[test]
    fn what_a_route_cannot_say_is_refused_before_it_costs() {
        let one = samples::step();
        let bare = Step { label: "", ..samples::step() };
        let rows = [
            (routed("v3", "V_3"), Step { images: 2, ..one.clone() }, "same picture"),
            (routed("v4", "V_4"), bare.clone(), "without seed"),
            (routed("v4", "V_4"), Step { seed: None, images: 2, ..bare.clone() }, "one image"),
            (routed("v4", "V_4"), Step { seed: None, negative_prompt: Some("x"), ..bare.clone() }, "negative prompt"),
            (routed("generate", "V_2A"), bare, "labels"),
            (routed("generate", "V_2"), Step { label: "wide", ..one.clone() }, "not wide"),
            (routed("upscale", "upscale"), one.clone(), "does not do"),
            (routed("v5", "V_5"), one.clone(), "not v5"),
            (samples::model("V_2", []), one, "not nothing"),
        ];
        for (model, step, reason) in rows {
            let why = refused(&model, &step);
            assert!(why.contains(reason), "{why}");
        }
    }

    #[test]
    fn a_picture_too_large_to_upload_is_refused() {
        let image = Bytes::from(vec![0; MAX_UPLOAD + 1]);
        let op = Op::Upscale { image: &image, format: Format::Png, from: Size::new(1, 1) };
        assert!(refused(&routed("upscale", "upscale"), &Step { op, ..samples::step() }).contains("10 MB"));
    }
}
