//! Dialects: how each provider wants to be asked and how it answers.
//!
//! Why it exists: only `provider/<x>.rs` knows x. A dialect is two pure functions, a request into a [`Call`] and a
//! [`Reply`] into [`Progress`]. What it refuses to know: sockets, clocks and keys, which are the transport's; models,
//! sizes and prices, which are policy data.
//! To add a provider: one file here with an [`Adapter`], one line in [`adapter`], one variant of
//! [`Dialect`], fixtures under `tests/golden/<provider>/`.

mod automatic1111;
mod comfyui;
mod common;
mod google;
mod ideogram;
pub mod local;
pub mod native;
mod openai;
#[cfg(test)]
mod samples;
pub mod scorer;
mod stability;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::domain::catalog::{Dialect, Model, Provider};
use crate::domain::fault::Fault;
use crate::domain::image::{Format, Size};
use crate::domain::money::Money;
use crate::domain::quota::Allowance;
use crate::domain::quote::Tokens;

/// The adapter of a dialect; `None` for [`Dialect::Local`], which makes no call.
pub fn adapter(dialect: Dialect) -> Option<&'static dyn Adapter> {
    Some(match dialect {
        Dialect::Automatic1111 => &automatic1111::Automatic1111,
        Dialect::Comfyui => &comfyui::Comfyui,
        Dialect::Ideogram => &ideogram::Ideogram,
        Dialect::Google => &google::Google,
        Dialect::Openai => &openai::Openai,
        Dialect::Stability => &stability::Stability,
        Dialect::Local => return None,
    })
}

/// One provider's wire format, as two pure functions.
pub trait Adapter: Sync {
    /// The dialect that it speaks.
    fn dialect(&self) -> Dialect;

    /// How this provider wants its credential, for calls that are passed on as they came.
    fn auth(&self, provider: &Provider) -> Auth;

    /// The first call of a step.
    fn encode(&self, step: &Step<'_>, model: &Model, provider: &Provider) -> Result<Call, Unsupported>;

    /// What the reply to one of the step's calls means. `call` is the call that it answers.
    fn decode(&self, step: &Step<'_>, model: &Model, call: &Call, reply: &Reply) -> Result<Progress, Fault>;

    /// What the reply says is left of the provider's limit on requests, where the provider says so.
    fn allowance(&self, reply: &Reply) -> Option<Allowance> {
        let _ = reply;
        None
    }
}

/// What is wanted of a model, already mapped to what the model can do.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// Make or enlarge.
    pub op: Op<'a>,
    /// What to draw.
    pub prompt: &'a str,
    /// What not to draw; `None` also when the model has no such field.
    pub negative_prompt: Option<&'a str>,
    /// The size that comes back: one that the model offers.
    pub size: Size,
    /// The provider's name for that size, e.g. `16:9`; empty where the size says it all.
    pub label: &'a str,
    /// The provider's further word for it, e.g. `2K`; empty where there is none.
    pub scale: &'a str,
    /// Images of this call, at most the model's `max_images`.
    pub images: u8,
    /// A seed within the model's range, never one that the provider takes for "random"; `None` also when the model
    /// takes no seed.
    pub seed: Option<u64>,
    /// A format that the model can send.
    pub format: Format,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Op<'a> {
    /// Makes an image of the prompt.
    Generate,
    /// Enlarges this one.
    Upscale {
        /// The encoded picture.
        image: &'a Bytes,
        /// Its format.
        format: Format,
        /// Its size.
        from: Size,
    },
}

/// A call as data: nothing here opens a socket or holds a secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which part of the step it is; decoders match on it.
    pub stage: Stage,
    /// `GET`, `POST`, ….
    pub method: Method,
    /// Where it goes.
    pub target: Target,
    /// Headers beside the credential and the body's own.
    pub headers: Vec<(&'static str, String)>,
    /// How the credential is put in.
    pub auth: Auth,
    /// What is sent.
    pub body: Body,
}

/// Which part of a step a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Sends an input picture ahead; costs nothing and may be repeated.
    Upload,
    /// The call that buys. Never repeated unless it is certain that it did not buy.
    Submit,
    /// Asks about bought work; costs nothing and may be repeated.
    Poll,
    /// Downloads a bought picture; costs nothing and may be repeated.
    Fetch,
}

impl Stage {
    /// Whether the provider may charge for this call.
    pub const fn buys(self) -> bool {
        matches!(self, Self::Submit)
    }
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A path, with its query, below the provider's `base_url`; begins with a slash.
    Path(String),
    /// An absolute URL that the provider handed out. The transport sends it no credential, and only to public
    /// addresses or to the provider's own host and port.
    Link(String),
}

/// How the credential is put into a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Basic`, when the policy has a credential `user:password`; else not at all.
    Basic,
    /// `Authorization: Bearer`, when the policy has a credential; else not at all.
    Bearer,
    /// Bare in this header.
    Header(&'static str),
}

/// A request body.
#[derive(Clone, PartialEq)]
pub enum Body {
    /// None.
    Empty,
    /// JSON text.
    Json(Bytes),
    /// `multipart/form-data`.
    Multipart(Vec<Part>),
}

impl Body {
    /// JSON of a value that always serialises (strings, numbers, lists and maps with text keys).
    pub fn json(value: &serde_json::Value) -> Self {
        Self::Json(serde_json::to_vec(value).unwrap_or_default().into())
    }
}

/// Shows JSON as text, unless it is so long that it must hold a picture, and pictures by their length.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Json(json) if json.len() > 4 * 1024 => write!(f, "Json(<{} bytes>)", json.len()),
            Self::Json(json) => write!(f, "Json({})", String::from_utf8_lossy(json)),
            Self::Multipart(parts) => f.debug_tuple("Multipart").field(parts).finish(),
        }
    }
}

/// One part of a multipart body.
#[derive(Clone, PartialEq)]
pub struct Part {
    /// The field's name.
    pub name: &'static str,
    /// Set for a file; may be empty text, as Stability's dummy part is.
    pub file_name: Option<&'static str>,
    /// Set for a file.
    pub media_type: Option<&'static str>,
    /// The bytes.
    pub bytes: Bytes,
}

impl Part {
    /// A text field.
    pub fn text(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, file_name: None, media_type: None, bytes: Bytes::from(value.into()) }
    }

    /// A file.
    pub const fn file(name: &'static str, file_name: &'static str, media_type: &'static str, bytes: Bytes) -> Self {
        Self { name, file_name: Some(file_name), media_type: Some(media_type), bytes }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file_name {
            None => write!(f, "{}={}", self.name, String::from_utf8_lossy(&self.bytes)),
            Some(file) => write!(f, "{}=<{file:?}, {} bytes>", self.name, self.bytes.len()),
        }
    }
}

/// A provider's whole answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, complete.
    pub body: Bytes,
}

impl Reply {
    /// Whether the provider took the call for one that it can answer.
    pub const fn succeeded(&self) -> bool {
        self.status < 400
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a reply means for its step.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Every image is here.
    Done(Vec<RawImage>, Usage),
    /// Send this call after a while; with a zero wait, at once. A bought job stays bought while it is polled.
    Poll {
        /// How long to wait first.
        after: Duration,
        /// What to send then.
        call: Call,
    },
    /// The images are bought and stand at these places; each answer to these calls is one image, in order.
    Fetch(Vec<Pending>, Usage),
}

/// A bought image that must still be downloaded.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The download.
    pub call: Call,
    /// The seed that the provider names.
    pub seed: Option<u64>,
}

/// A picture as the provider sent it: not yet sniffed, bounded or stored.
#[derive(Clone, Debug)]
pub struct RawImage {
    /// The encoded bytes.
    pub bytes: Bytes,
    /// The seed that the provider names.
    pub seed: Option<u64>,
}

/// What a provider says that a step cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    /// It says nothing: the quoted price, for each image that came.
    #[default]
    AsQuoted,
    /// Nothing is charged beyond the quote of this many images (some were withheld, free of charge).
    Images(u8),
    /// These tokens, at the model's rates.
    Tokens(Tokens),
    /// This amount.
    Exact(Money),
}

/// Why a step cannot be said in a dialect: a mistake in the policy or the planner, not of the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}
