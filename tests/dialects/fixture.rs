//! What a golden file says.
//!
//! A file of `tests/golden/<provider>/` is one step of one model: what is asked, the first call, and a chain of exchanges.
//! `{{png 8x6}}` anywhere in it stands for the base64 of a fixed picture of that format and size.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tollgate::domain::catalog::{
    Dialect, Enlarge, Latency, Model, Place, Provider, ProviderIx, Reach, Role, Sizes, TokenRates,
};
use tollgate::domain::fault::Fault;
use tollgate::domain::image::{Format, Size};
use tollgate::domain::money::Money;
use tollgate::provider::{Adapter, Call, Op, Progress, Reply, Stage, Step, Unsupported, adapter};

/// A golden file.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) adapter: &'static dyn Adapter,
    pub(crate) provider: Provider,
    pub(crate) model: Model,
    pub(crate) call: Value,
    pub(crate) exchanges: Vec<Exchange>,
    ask: Ask,
    picture: Bytes,
}

/// A reply to one call of the step, and what it means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    /// The stage of the call that it answers: the pending one, else the last of that stage.
    pub(crate) on: String,
    pub(crate) reply: Answer,
    pub(crate) gives: Value,
}

/// A reply as a file writes it; at most one of the bodies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Text as it is, anything else as JSON.
    body: Option<Value>,
    body_base64: Option<String>,
    body_png: Option<(u32, u32)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    #[serde(default)]
    provider: Options,
    model: Sold,
    step: Ask,
    call: Value,
    #[serde(default)]
    exchanges: Vec<Exchange>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default)]
    options: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sold {
    remote: String,
    #[serde(default)]
    options: BTreeMap<String, Value>,
    /// Whether it is billed by tokens.
    #[serde(default)]
    tokens: bool,
    /// What it can send; `png` alone when absent.
    #[serde(default)]
    formats: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// The size of the `png` to enlarge; absent for making one.
    upscale: Option<String>,
    prompt: String,
    negative_prompt: Option<String>,
    size: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    scale: String,
    #[serde(default = "one")]
    images: u8,
    seed: Option<u64>,
    #[serde(default = "png")]
    format: String,
}

fn one() -> u8 {
    1
}

fn png() -> String {
    "png".into()
}

/// Every fixture of every registered dialect that makes a call, in the order of their names.
pub(crate) fn all() -> Vec<Fixture> {
    read().into_iter().filter(|fixture| fixture.call.get("unsupported").is_none()).collect()
}

/// Every fixture of every registered dialect, also those whose `call` is `{"unsupported": "the reason"}`.
pub(crate) fn read() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for folder in entries(&golden()) {
        let dialect = dialect_of(&folder).unwrap_or_else(|| panic!("{} is no dialect", folder.display()));
        if let Some(adapter) = adapter(dialect) {
            fixtures.extend(entries(&folder).iter().map(|file| load(file, dialect, adapter)));
        }
    }
    fixtures
}

/// The folder of the golden files.
pub(crate) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What stands in a folder, sorted.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = read.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    paths
}

/// The dialect that a folder of golden files belongs to.
pub(crate) fn dialect_of(folder: &Path) -> Option<Dialect> {
    let name = folder.file_name()?.to_str()?;
    Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)
}

fn load(path: &Path, dialect: Dialect, adapter: &'static dyn Adapter) -> Fixture {
    let name = format!("{}/{}", dialect.name(), path.file_stem().and_then(|s| s.to_str()).unwrap_or_default());
    let text = std::fs::read_to_string(path).expect("a golden file is text");
    let mut file: File = serde_json::from_str(&expand(&text)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(!file.about.is_empty(), "{name} says what it is about");
    file.model.options.entry("workflow".into()).and_modify(load_workflow);
    let place = Place { file: "golden.toml".into(), line: 1, column: 1 };
    let provider = Provider {
        name: dialect.name().into(),
        dialect,
        base_url: "https://provider.example".into(),
        off: None,
        local: matches!(dialect, Dialect::Automatic1111 | Dialect::Comfyui),
        only_on_prem: false,
        limits: Vec::new(),
        options: file.provider.options,
        place: place.clone(),
    };
    Fixture {
        adapter,
        provider,
        model: model(dialect, file.model, &file.step, place),
        call: file.call,
        exchanges: file.exchanges,
        picture: file.step.upscale.as_deref().map(|size| picture("png", size)).unwrap_or_default(),
        ask: file.step,
        name,
    }
}

/// Puts a workflow of ours in the place of its file's name, as the policy does.
fn load_workflow(option: &mut Value) {
    let name = option.as_str().expect("a workflow is named");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/workflows").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    *option = serde_json::from_str(&text).expect("a workflow is JSON");
}

fn model(dialect: Dialect, sold: Sold, ask: &Ask, place: Place) -> Model {
    let role = match ask.upscale {
        None => Role::Generate(Sizes::Listed(Vec::new())),
        Some(_) => Role::Upscale(Reach {
            output: Enlarge::Factor(2.0),
            min_input_pixels: 1,
            max_input_pixels: u64::MAX,
            max_input_side: u32::MAX,
            max_output_pixels: u64::MAX,
            needs_prompt: true,
            keeps: 1.0,
        }),
    };
    let rate = Money::from_micros(1_000_000);
    let mut formats: Vec<_> = sold.formats.iter().map(|name| Format::from_name(name).expect("a format")).collect();
    if formats.is_empty() {
        formats.push(Format::Png);
    }
    Model {
        id: Arc::from(format!("{}/model", dialect.name())),
        provider: ProviderIx(0),
        remote: sold.remote.into(),
        role,
        prices: Vec::new(),
        tokens: sold.tokens.then_some(TokenRates { text_in: rate, image_in: rate, text_out: rate, image_out: rate }),
        retired: None,
        off: None,
        seed: ask.seed.is_some(),
        max_seed: u64::MAX,
        negative_prompt: ask.negative_prompt.is_some(),
        max_images: ask.images,
        max_prompt_chars: None,
        formats,
        latency: Latency::default(),
        priors: Vec::new(),
        limits: Vec::new(),
        options: sold.options,
        place,
    }
}

impl Fixture {
    /// The step that is asked.
    pub(crate) fn step(&self) -> Step<'_> {
        let ask = &self.ask;
        Step {
            op: match &ask.upscale {
                None => Op::Generate,
                Some(from) => Op::Upscale { image: &self.picture, format: Format::Png, from: size(from) },
            },
            prompt: &ask.prompt,
            negative_prompt: ask.negative_prompt.as_deref(),
            size: size(&ask.size),
            label: &ask.label,
            scale: &ask.scale,
            images: ask.images,
            seed: ask.seed,
            format: Format::from_name(&ask.format).expect("a format"),
        }
    }

    /// The first call.
    pub(crate) fn first(&self) -> Call {
        self.encode().unwrap_or_else(|error| panic!("{}: unsupported: {error}", self.name))
    }

    /// The first call, or why there is none.
    pub(crate) fn encode(&self) -> Result<Call, Unsupported> {
        self.adapter.encode(&self.step(), &self.model, &self.provider)
    }

    /// What a reply to `call` means.
    pub(crate) fn decode(&self, call: &Call, reply: &Reply) -> Result<Progress, Fault> {
        self.adapter.decode(&self.step(), &self.model, call, reply)
    }

    /// Each exchange with the call that it answers and what came of it.
    pub(crate) fn play(&self) -> Vec<(&Exchange, Call, Reply, Result<Progress, Fault>)> {
        let mut seen = vec![self.first()];
        let mut pending: Vec<Call> = Vec::new();
        let mut played = Vec::new();
        for exchange in &self.exchanges {
            let next = pending.iter().position(|call| stage(call.stage) == exchange.on);
            let call = match next {
                Some(at) => pending.remove(at),
                None => seen.iter().rev().find(|call| stage(call.stage) == exchange.on).cloned().unwrap_or_else(|| {
                    panic!("{}: no call of the stage {:?} was made before its reply", self.name, exchange.on)
                }),
            };
            let reply = exchange.reply.reply();
            let outcome = self.decode(&call, &reply);
            match &outcome {
                Ok(Progress::Poll { call, .. }) => pending = vec![call.clone()],
                Ok(Progress::Fetch(list, _)) => pending = list.iter().map(|one| one.call.clone()).collect(),
                _ => {}
            }
            seen.push(call.clone());
            seen.extend(pending.iter().cloned());
            played.push((exchange, call, reply, outcome));
        }
        played
    }

    /// One call of every stage that the exchanges reach.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let mut calls = vec![self.first()];
        for (_, call, ..) in self.play() {
            if calls.iter().all(|known| known.stage != call.stage) {
                calls.push(call);
            }
        }
        calls
    }
}

impl Answer {
    /// The reply as the transport gives it.
    pub(crate) fn reply(&self) -> Reply {
        let mut reply = Reply { status: self.status, ..Reply::default() };
        for (name, value) in &self.headers {
            let name: http::HeaderName = name.parse().expect("a header's name");
            reply.headers.insert(name, value.parse().expect("a header's value"));
        }
        reply.body = match (&self.body, &self.body_base64, self.body_png) {
            (None, None, None) => Bytes::new(),
            (Some(Value::String(text)), None, None) => text.clone().into(),
            (Some(json), None, None) => json.to_string().into(),
            (None, Some(text), None) => base64_simd::STANDARD.decode_to_vec(text).expect("base64").into(),
            (None, None, Some((width, height))) => picture("png", &format!("{width}x{height}")),
            _ => panic!("a reply has one body at most"),
        };
        reply
    }
}

/// Replaces every `{{png 8x6}}` by base64.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("a closed placeholder");
        let (format, size) = name.split_once(' ').expect("a format and a size");
        out.push_str(before);
        out.push_str(&base64_simd::STANDARD.encode_to_string(picture(format, size)));
        rest = after;
    }
    out + rest
}

/// The one picture of a format and size.
pub(crate) fn picture(format: &str, at: &str) -> Bytes {
    let Size { width, height } = size(at);
    let pixels = image::RgbImage::from_fn(width, height, |x, y| {
        let level = |n: u32| u8::try_from(n % 256).expect("below 256");
        image::Rgb([level(31 * x), level(17 * y), level(x + y)])
    });
    let format = match Format::from_name(format).expect("a format") {
        Format::Jpeg => image::ImageFormat::Jpeg,
        Format::Png => image::ImageFormat::Png,
        Format::Webp => image::ImageFormat::WebP,
    };
    let mut out = Cursor::new(Vec::new());
    pixels.write_to(&mut out, format).expect("an encoder for every format");
    out.into_inner().into()
}

fn size(text: &str) -> Size {
    text.parse().unwrap_or_else(|()| panic!("{text:?} is no size"))
}

/// A stage's name in the files.
pub(crate) fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Upload => "upload",
        Stage::Submit => "submit",
        Stage::Poll => "poll",
        Stage::Fetch => "fetch",
    }
}
