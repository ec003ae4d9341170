//! Stability AI, REST v2beta: sd3, core, ultra and the three upscalers.
//!
//! Why it exists: multipart in, bare bytes out, a refusal that hides in a 200, one job that must be polled. What it
//! refuses to know: prices and sizes. To add a route: a [`Route`] with its path and its fields.
//!
//! Options of a model: `route` (`generate/sd3`, `generate/core`, `generate/ultra`, `upscale/fast`, `upscale/conservative`
//! or `upscale/creative`; a remote name that begins with `sd3` needs none), `style_preset`, `cfg_scale`, `creativity`.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::common::{Failure, MAX_WAIT, Text, clean, garbled, is_segment, number, parse, picture, retry_after};
use super::{
    Adapter, Auth, Body, Call, Method, Op, Part, Progress, RawImage, Reply, Stage, Step, Target, Unsupported, Usage,
};
use crate::domain::catalog::{Dialect, Model, Provider};
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::domain::image::{Format, sniff};

/// The dialect.
pub(super) struct Stability;

/// "Do not poll faster than once per 10 s."
const POLL_EVERY: Duration = Duration::from_secs(10);
/// The penalty of a key that went over its rate; no header says so.
const PENALTY: Duration = Duration::from_mins(1);
/// A request beyond 10 MiB is refused; what is not the picture stays within the difference.
const MAX_PICTURE: usize = 10 * 1024 * 1024 - 64 * 1024;
/// Every ratio that can be asked for.
const RATIOS: [&str; 9] = ["21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21"];

impl Adapter for Stability {
    fn dialect(&self) -> Dialect {
        Dialect::Stability
    }

    fn auth(&self, _provider: &Provider) -> Auth {
        Auth::Bearer
    }

    fn encode(&self, step: &Step<'_>, model: &Model, _provider: &Provider) -> Result<Call, Unsupported> {
        let route = Route::of(model)?;
        if step.images != 1 {
            return Err(Unsupported(format!("{} makes one image a call, not {}", model.id, step.images)));
        }
        let mut parts = vec![source(route, step, model)?];
        parts.extend(fields(route, step, model)?);
        Ok(Call {
            stage: Stage::Submit,
            method: Method::Post,
            target: Target::Path(format!("/v2beta/stable-image/{}", route.path())),
            headers: bytes_wanted(),
            auth: Auth::Bearer,
            body: Body::Multipart(parts),
        })
    }

    fn decode(&self, _step: &Step<'_>, model: &Model, call: &Call, reply: &Reply) -> Result<Progress, Fault> {
        // The status of a submit does not tell a picture from a job's ticket; only the route does.
        let ticket = call.stage == Stage::Submit && Route::of(model) == Ok(Route::Creative);
        match reply.status {
            200 | 202 if ticket => job(reply),
            202 if call.stage == Stage::Poll => Ok(Progress::Poll { after: POLL_EVERY, call: call.clone() }),
            200 => made(reply),
            _ => Err(refusal(&Failure::of(call, reply), call, reply)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Sd3,
    Core,
    Ultra,
    Fast,
    Conservative,
    Creative,
}

impl Route {
    fn of(model: &Model) -> Result<Self, Unsupported> {
        Ok(match model.option("route") {
            Some("generate/sd3") => Self::Sd3,
            Some("generate/core") => Self::Core,
            Some("generate/ultra") => Self::Ultra,
            Some("upscale/fast") => Self::Fast,
            Some("upscale/conservative") => Self::Conservative,
            Some("upscale/creative") => Self::Creative,
            None if model.remote.starts_with("sd3") => Self::Sd3,
            other => {
                let what = other.map_or_else(|| "no route".into(), |route| format!("the unknown route {route:?}"));
                return Err(Unsupported(format!("{} has {what}", model.id)));
            }
        })
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Sd3 => "generate/sd3",
            Self::Core => "generate/core",
            Self::Ultra => "generate/ultra",
            Self::Fast => "upscale/fast",
            Self::Conservative => "upscale/conservative",
            Self::Creative => "upscale/creative",
        }
    }

    const fn enlarges(self) -> bool {
        matches!(self, Self::Fast | Self::Conservative | Self::Creative)
    }

    /// The options of a model that become fields of this route.
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Sd3 => &["style_preset", "cfg_scale"],
            Self::Core | Self::Ultra => &["style_preset"],
            Self::Fast => &[],
            Self::Conservative => &["creativity"],
            Self::Creative => &["creativity", "style_preset"],
        }
    }
}

/// `image/*` keeps pictures out of base64.
fn bytes_wanted() -> Vec<(&'static str, String)> {
    vec![("accept", "image/*".into())]
}

/// The picture to enlarge, or the empty part that keeps a body without files multipart.
fn source(route: Route, step: &Step<'_>, model: &Model) -> Result<Part, Unsupported> {
    match &step.op {
        Op::Generate if !route.enlarges() => {
            Ok(Part { name: "none", file_name: Some(""), media_type: None, bytes: Bytes::new() })
        }
        Op::Upscale { image, .. } if route.enlarges() && image.len() > MAX_PICTURE => {
            Err(Unsupported(format!("{} takes no picture of {} bytes", model.id, image.len())))
        }
        Op::Upscale { image, format, .. } if route.enlarges() => {
            let file = match format {
                Format::Jpeg => "image.jpeg",
                Format::Png => "image.png",
                Format::Webp => "image.webp",
            };
            Ok(Part::file("image", file, format.media_type(), (*image).clone()))
        }
        Op::Generate => Err(Unsupported(format!("{} enlarges pictures and makes none", model.id))),
        Op::Upscale { .. } => Err(Unsupported(format!("{} makes pictures and enlarges none", model.id))),
    }
}

fn fields(route: Route, step: &Step<'_>, model: &Model) -> Result<Vec<Part>, Unsupported> {
    let mut parts = Vec::with_capacity(8);
    if route != Route::Fast {
        parts.push(Part::text("prompt", step.prompt));
        parts.extend(step.negative_prompt.map(|text| Part::text("negative_prompt", text)));
        // Zero means "random" here and only here.
        parts.extend(step.seed.filter(|seed| *seed != 0).map(|seed| Part::text("seed", seed.to_string())));
    }
    if !route.enlarges() {
        parts.push(Part::text("aspect_ratio", ratio(step, model)?));
    }
    if route == Route::Sd3 {
        parts.push(Part::text("model", &*model.remote));
    }
    for &name in route.options() {
        parts.extend(model.options.get(name).map(|value| Part::text(name, plain(value))));
    }
    parts.push(Part::text("output_format", step.format.name()));
    Ok(parts)
}

/// There is no width or height: a size is its ratio's name.
fn ratio(step: &Step<'_>, model: &Model) -> Result<&'static str, Unsupported> {
    let square = step.label.is_empty() && step.size.width == step.size.height;
    let label = if square { "1:1" } else { step.label };
    RATIOS
        .into_iter()
        .find(|ratio| *ratio == label)
        .ok_or_else(|| Unsupported(format!("{} has no ratio {label:?} for {}", model.id, step.size)))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[derive(Deserialize)]
struct Ticket<'a> {
    #[serde(borrow)]
    id: Text<'a>,
}

fn job(reply: &Reply) -> Result<Progress, Fault> {
    let ticket: Ticket<'_> = parse(reply)?;
    let id = ticket.id.as_str();
    if !is_segment(id) {
        return Err(garbled("The job's id is none."));
    }
    let call = Call {
        stage: Stage::Poll,
        method: Method::Get,
        target: Target::Path(format!("/v2beta/results/{id}")),
        headers: bytes_wanted(),
        auth: Auth::Bearer,
        body: Body::Empty,
    };
    Ok(Progress::Poll { after: POLL_EVERY, call })
}

/// The JSON form, for which nobody asked; clients have seen its picture under both names.
#[derive(Deserialize)]
struct Made<'a> {
    #[serde(borrow)]
    image: Option<Text<'a>>,
    #[serde(borrow)]
    result: Option<Text<'a>>,
    finish_reason: Option<Value>,
    seed: Option<Value>,
}

fn made(reply: &Reply) -> Result<Progress, Fault> {
    let (bytes, finish, seed) = if sniff(&reply.body).is_some() {
        let seed = reply.header("seed").and_then(|text| text.trim().parse().ok());
        (reply.body.clone(), reply.header("finish-reason").map(str::to_owned), seed)
    } else {
        let made: Made<'_> = parse(reply)?;
        let bytes = made.image.or(made.result).and_then(|text| picture(text.as_str()));
        let finish = made.finish_reason.as_ref().map(plain);
        (bytes.ok_or_else(|| garbled("The answer holds no picture."))?, finish, made.seed.as_ref().and_then(number))
    };
    match finish.as_deref() {
        None | Some("SUCCESS") => Ok(Progress::Done(vec![RawImage { bytes, seed }], Usage::AsQuoted)),
        // The blurred picture was made; only failed and denied requests are stated to be free.
        Some("CONTENT_FILTERED") => {
            let detail = "The picture was made, judged unsafe and blurred.";
            Err(Fault::new(Class::Moderate, Blame::Caller, Billed::Yes, detail))
        }
        Some(other) => Err(garbled(clean(&format!("The picture ended with {other}.")))),
    }
}

/// Failed and denied requests are not charged, where it is Stability that says so: its body has a name and a list.
fn refusal(failure: &Failure<'_>, call: &Call, reply: &Reply) -> Fault {
    let name = failure.text("/name").unwrap_or_default();
    let own = !name.is_empty() && failure.body.pointer("/errors").is_some_and(Value::is_array);
    match (reply.status, name) {
        (403, "content_moderation") | (422, "public_figure") => {
            failure.fault(Class::Moderate, Blame::Caller, Billed::No)
        }
        // The job was accepted and its picture will not come: expired, failed, or another key's.
        (404, _) if call.stage == Stage::Poll => failure.fault(Class::Garbled, Blame::Provider, Billed::Unknown),
        (429, _) => {
            let wait = retry_after(reply).unwrap_or_default().max(PENALTY).min(MAX_WAIT);
            failure.fault(Class::Throttle, Blame::Provider, Billed::No).after(wait)
        }
        (500..=503, _) if own => failure.fault(Class::Unavailable, Blame::Provider, Billed::No),
        _ => failure.by_status(),
    }
}
