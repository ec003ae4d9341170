//! AUTOMATIC1111's API and the servers that copy it: Forge, SD.Next and stable-diffusion.cpp's `sd-server`.
//!
//! Why it exists: only this file knows `/sdapi/v1`. What it refuses to know: progress routes; a call blocks until its
//! picture is done, one at a time a server, and nothing can be asked about it after a time-out.
//!
//! Options: `flavour` of the model or its provider is `forge` (the default), `automatic1111`, `sdnext` or `sd-server`;
//! only the last is asked differently, the others differ in their answers, and every answer is understood from all. Of a
//! generator: `steps`, `cfg_scale`, `sampler_name`, `scheduler` and `checkpoint`, for servers that hold several. Of an
//! upscaler: `upscaler`, the server's name for it.
//!
//! Such a server bills no one, so no fault here is billed. To add a flavour: a variant of [`Flavour`], its name, and
//! what it cannot do in `encode`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::common::{self, Failure, Text, garbled};
use super::{Adapter, Auth, Body, Call, Method, Op, Progress, RawImage, Reply, Stage, Step, Target};
use super::{Unsupported, Usage};
use crate::domain::catalog::{Dialect, Model, Provider};
use crate::domain::fault::{Billed, Blame, Class, Fault};

/// The dialect of `/sdapi/v1`.
pub(super) struct Automatic1111;

impl Adapter for Automatic1111 {
    fn dialect(&self) -> Dialect {
        Dialect::Automatic1111
    }

    fn auth(&self, _provider: &Provider) -> Auth {
        Auth::Basic
    }

    fn encode(&self, step: &Step<'_>, model: &Model, provider: &Provider) -> Result<Call, Unsupported> {
        let flavour = Flavour::of(model, provider)?;
        let (path, body) = match step.op {
            Op::Generate => ("/sdapi/v1/txt2img", generate(step, model, flavour)?),
            Op::Upscale { image, .. } => ("/sdapi/v1/extra-single-image", upscale(step, model, flavour, image)?),
        };
        Ok(Call {
            stage: Stage::Submit,
            method: Method::Post,
            target: Target::Path(path.into()),
            headers: Vec::new(),
            auth: Auth::Basic,
            body: Body::json(&body),
        })
    }

    fn decode(&self, step: &Step<'_>, _model: &Model, call: &Call, reply: &Reply) -> Result<Progress, Fault> {
        let images = match (&step.op, reply.status) {
            (Op::Generate, 200..300) => made(step, reply),
            (Op::Upscale { .. }, 200..300) => enlarged(reply),
            _ => Err(refusal(&Failure::of(call, reply), reply.status)),
        };
        images
            .map(|images| Progress::Done(images, Usage::AsQuoted))
            .map_err(|fault| Fault { billed: Billed::No, ..fault })
    }
}

/// Which server it is.
#[derive(Clone, Copy, PartialEq)]
enum Flavour {
    Forge,
    Automatic1111,
    Sdnext,
    SdServer,
}

impl Flavour {
    fn of(model: &Model, provider: &Provider) -> Result<Self, Unsupported> {
        match model.option("flavour").or_else(|| common::provider_option(provider, "flavour")) {
            None | Some("forge") => Ok(Self::Forge),
            Some("automatic1111") => Ok(Self::Automatic1111),
            Some("sdnext") => Ok(Self::Sdnext),
            Some("sd-server") => Ok(Self::SdServer),
            Some(other) => Err(Unsupported(format!(
                "the flavour of {} is forge, automatic1111, sdnext or sd-server, not {other}",
                model.id
            ))),
        }
    }

    /// A prompt as this server may read it. sd-server takes settings of any kind out of a prompt that holds them between
    /// these marks; a caller has no business there, so the marks are broken and their inside is drawn as text.
    fn plain(self, prompt: &str) -> Cow<'_, str> {
        const MARK: &str = "<sd_cpp_extra_args>";
        match self {
            Self::SdServer if prompt.contains(MARK) => prompt.replace(MARK, " ").into(),
            _ => prompt.into(),
        }
    }
}

fn generate(step: &Step<'_>, model: &Model, flavour: Flavour) -> Result<Value, Unsupported> {
    if !(step.size.width.is_multiple_of(8) && step.size.height.is_multiple_of(8)) {
        return Err(Unsupported(format!("{} makes sizes in steps of 8, not {}", model.id, step.size)));
    }
    let mut body = Map::new();
    body.insert("prompt".into(), flavour.plain(step.prompt).into());
    body.insert("width".into(), step.size.width.into());
    body.insert("height".into(), step.size.height.into());
    body.insert("batch_size".into(), step.images.into());
    if let Some(negative) = step.negative_prompt {
        body.insert("negative_prompt".into(), flavour.plain(negative).into());
    }
    if let Some(seed) = step.seed {
        body.insert("seed".into(), seed.into());
    }
    for option in ["steps", "cfg_scale", "sampler_name", "scheduler"] {
        if let Some(value) = model.options.get(option) {
            body.insert(option.into(), value.clone());
        }
    }
    match (flavour, model.option("checkpoint")) {
        (Flavour::SdServer, Some(_)) => {
            return Err(Unsupported(format!("{} names a checkpoint, and sd-server has but one", model.id)));
        }
        (_, Some(checkpoint)) => {
            body.insert("override_settings".into(), json!({ "sd_model_checkpoint": checkpoint }));
        }
        (_, None) => {}
    }
    if flavour != Flavour::SdServer {
        body.insert("send_images".into(), true.into());
        body.insert("save_images".into(), false.into());
    }
    Ok(Value::Object(body))
}

/// Enlarges to the exact size. An upscaler must be named: the server's default is the one called `None`, which returns
/// the picture as it was.
fn upscale(step: &Step<'_>, model: &Model, flavour: Flavour, image: &[u8]) -> Result<Value, Unsupported> {
    if flavour == Flavour::SdServer {
        return Err(Unsupported("sd-server has no route that only enlarges".into()));
    }
    let Some(upscaler) = model.option("upscaler") else {
        return Err(Unsupported(format!("{} needs the option `upscaler`", model.id)));
    };
    Ok(json!({
        "image": base64_simd::STANDARD.encode_to_string(image),
        "resize_mode": 1,
        "upscaling_resize_w": step.size.width,
        "upscaling_resize_h": step.size.height,
        "upscaling_crop": true,
        "upscaler_1": upscaler,
    }))
}

/// The answer to txt2img. `info` is JSON in a string, empty from sd-server; it may name a grid before the pictures, and
/// extensions may add pictures of their own behind them.
fn made(step: &Step<'_>, reply: &Reply) -> Result<Vec<RawImage>, Fault> {
    #[derive(Deserialize)]
    struct Made<'a> {
        #[serde(borrow)]
        images: Vec<Text<'a>>,
        #[serde(borrow, default)]
        info: Option<&'a RawValue>,
    }
    let made: Made<'_> = common::parse(reply)?;
    let info = made.info.map(unwrapped).unwrap_or_default();
    let first = info.get("index_of_first_image").and_then(common::number);
    let pictures = made.images.iter().skip(first.and_then(|first| first.try_into().ok()).unwrap_or(0));
    let images = pictures.take(step.images.into()).enumerate().map(|(at, picture)| {
        let seed = info.pointer(&format!("/all_seeds/{at}")).and_then(common::number);
        raw_image(picture, seed)
    });
    let images = images.collect::<Result<Vec<_>, _>>()?;
    if images.is_empty() { Err(garbled("The answer holds no picture.")) } else { Ok(images) }
}

fn enlarged(reply: &Reply) -> Result<Vec<RawImage>, Fault> {
    #[derive(Deserialize)]
    struct Enlarged<'a> {
        #[serde(borrow)]
        image: Text<'a>,
    }
    let answer: Enlarged<'_> = common::parse(reply)?;
    Ok(vec![raw_image(&answer.image, None)?])
}

fn raw_image(picture: &Text<'_>, seed: Option<u64>) -> Result<RawImage, Fault> {
    let bytes = common::picture(picture.as_str()).ok_or_else(|| garbled("A picture is not base64."))?;
    Ok(RawImage { bytes, seed })
}

/// JSON out of the string that it may be wrapped in; `Null` when it is none.
fn unwrapped(raw: &RawValue) -> Value {
    let parse = |text: &str| serde_json::from_str(text).unwrap_or_default();
    match parse(raw.get()) {
        Value::String(text) => parse(&text),
        value => value,
    }
}

/// What a server refuses is in our policy or our encoding, and some refuse with 500. Out of memory passes: another job
/// held the card.
fn refusal(failure: &Failure<'_>, status: u16) -> Fault {
    let ours = |detail| Fault::new(Class::Reject, Blame::Ourselves, Billed::No, detail);
    match status {
        404 if failure.text("/detail") == Some("Not Found") => {
            ours("The server has no such route; it is started without `--api`, or the base URL is wrong.".into())
        }
        400 | 422 => ours(validation(failure).unwrap_or_else(|| failure.detail())),
        500 if failure.says(&["invalid encoded image", "requests not allowed"]) => ours(failure.detail()),
        _ => failure.by_status(),
    }
}

/// `FastAPI`'s complaint, with the name of the field.
fn validation(failure: &Failure<'_>) -> Option<String> {
    let field = failure.body.pointer("/detail/0/loc")?.as_array()?.last()?.as_str()?;
    Some(common::clean(&format!("{field}: {}", failure.text("/detail/0/msg")?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::{Format, Size};
    use crate::provider::samples;
    use bytes::Bytes;

    fn encode(model: &Model, step: &Step<'_>) -> Result<Value, String> {
        let call =
            Automatic1111.encode(step, model, &samples::provider(Dialect::Automatic1111)).map_err(|why| why.0)?;
        let Body::Json(json) = call.body else { panic!("{:?}", call.body) };
        Ok(serde_json::from_slice(&json).unwrap())
    }

    #[test]
    fn what_a_server_cannot_do_is_refused() {
        let image = Bytes::from_static(b"picture");
        let op = Op::Upscale { image: &image, format: Format::Png, from: Size::new(8, 8) };
        let upscale = Step { op, ..samples::step() };
        let sd_server = ("flavour", Value::from("sd-server"));
        let rows = [
            (samples::model("", [("flavour", "comfy".into())]), samples::step(), "not comfy"),
            (samples::model("", []), Step { size: Size::new(1020, 768), ..samples::step() }, "steps of 8"),
            (samples::model("", [sd_server.clone(), ("checkpoint", "x".into())]), samples::step(), "checkpoint"),
            (samples::model("", [sd_server]), upscale.clone(), "only enlarges"),
            (samples::model("", []), upscale, "`upscaler`"),
        ];
        for (model, step, reason) in rows {
            let why = encode(&model, &step).unwrap_err();
            assert!(why.contains(reason), "{why}");
        }
    }

    #[test]
    fn a_prompt_cannot_hold_settings_for_sd_server() {
        let prompt = "a cat <sd_cpp_<sd_cpp_extra_args>extra_args>{}</sd_cpp_extra_args>";
        let body = |flavour: &str| {
            let step = Step { prompt, negative_prompt: Some(prompt), ..samples::step() };
            encode(&samples::model("", [("flavour", flavour.into())]), &step).unwrap()
        };
        let safe = body("sd-server");
        assert!(!safe.to_string().contains("<sd_cpp_extra_args>"), "{safe}");
        assert_eq!(body("forge")["prompt"], prompt);
    }
}
