//! `ComfyUI`: a workflow is queued, its history polled, its files fetched.
//!
//! Why it exists: only this folder knows `ComfyUI`. What it refuses to know: nodes; what a workflow does is the policy's
//! file (see [`workflow`] for what a step puts into it), and a caller can never send one.
//!
//! - Making: `POST /prompt`, then `GET /history/{id}` until it is done, then `GET /view` for each picture.
//! - Enlarging: `POST /upload/image` first. The picture goes into a folder named by its hash, so that the same picture
//!   is the same file however often it is sent; the server may still rename it, and its word is used.
//!
//! The model's option `workflow` holds the graph itself, as the policy loaded it. A workflow with a seed needs a step
//! with one: nothing here is random, so the engine draws a seed for every step of this dialect.
//!
//! The server has no idempotency: one id sent twice runs twice, and its history then holds the newer run only. The
//! place in the queue, which the submit names and the history repeats, tells a run from an older one of the same step.
//! It rides in the poll's query, which the server ignores.
//!
//! Such a server bills no one, so no fault here is billed. It knows no credential either; a proxy before it may, and
//! gets one as a bearer when the policy names one.

mod history;
mod workflow;

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::common::{self, Failure, garbled};
use super::{Adapter, Auth, Body, Call, Method, Op, Part, Progress, Reply, Stage, Step, Target, Unsupported};
use crate::domain::catalog::{Dialect, Model, Provider};
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::domain::image::Format;

/// The dialect of a `ComfyUI` server.
pub(super) struct Comfyui;

/// The wait before a poll: short beside the seconds of a run, and a history that is not there yet costs the server
/// nothing.
const PACE: Duration = Duration::from_millis(500);

impl Adapter for Comfyui {
    fn dialect(&self) -> Dialect {
        Dialect::Comfyui
    }

    fn auth(&self, _provider: &Provider) -> Auth {
        Auth::Bearer
    }

    fn encode(&self, step: &Step<'_>, model: &Model, _provider: &Provider) -> Result<Call, Unsupported> {
        match &step.op {
            Op::Generate => submit(step, model, None),
            Op::Upscale { image, format, .. } => {
                // A workflow that cannot take a picture is found out before one is sent.
                submit(step, model, Some("picture"))?;
                Ok(upload(image, *format))
            }
        }
    }

    fn decode(&self, step: &Step<'_>, model: &Model, call: &Call, reply: &Reply) -> Result<Progress, Fault> {
        let progress = match (call.stage, reply.status) {
            (Stage::Fetch, _) => common::fetched(call, reply, None),
            (Stage::Upload, 200..300) => uploaded(step, model, reply),
            (Stage::Submit, 200..300) => submitted(reply),
            (Stage::Poll, 200..300) => match Watch::of(&call.target) {
                Some(watch) => history::progress(step, watch, reply),
                None => Err(garbled("A poll of no run was answered.")),
            },
            _ => Err(refusal(&Failure::of(call, reply), reply)),
        };
        progress.map_err(|fault| Fault { billed: Billed::No, ..fault })
    }
}

fn upload(image: &Bytes, format: Format) -> Call {
    let name = match format {
        Format::Jpeg => "image.jpg",
        Format::Png => "image.png",
        Format::Webp => "image.webp",
    };
    let folder = format!("tollgate/{}", digest("picture", image).simple());
    let parts = vec![
        Part::file("image", name, format.media_type(), image.clone()),
        Part::text("type", "input"),
        Part::text("subfolder", folder),
        Part::text("overwrite", "true"),
    ];
    call(Stage::Upload, Method::Post, "/upload/image".into(), Body::Multipart(parts))
}

fn submit(step: &Step<'_>, model: &Model, image: Option<&str>) -> Result<Call, Unsupported> {
    let graph = workflow::filled(step, model, image)?;
    let text = graph.to_string();
    let body = json!({
        "prompt": graph,
        "prompt_id": digest("run", text.as_bytes()).to_string(),
        "client_id": digest("client", text.as_bytes()).to_string(),
    });
    Ok(call(Stage::Submit, Method::Post, "/prompt".into(), Body::json(&body)))
}

/// A picture lies on the server: the run that enlarges it.
fn uploaded(step: &Step<'_>, model: &Model, reply: &Reply) -> Result<Progress, Fault> {
    #[derive(Deserialize)]
    struct Uploaded {
        name: String,
        #[serde(default)]
        subfolder: String,
    }
    let file: Uploaded = common::parse(reply)?;
    let path = if file.subfolder.is_empty() { file.name } else { format!("{}/{}", file.subfolder, file.name) };
    let call = submit(step, model, Some(&path)).map_err(|why| rejected(why.0))?;
    Ok(Progress::Poll { after: Duration::ZERO, call })
}

/// A run is queued. With errors beside the id, some of its outputs will never come, and the wanted one may be among
/// them: the run is given up.
fn submitted(reply: &Reply) -> Result<Progress, Fault> {
    #[derive(Deserialize)]
    struct Queued {
        prompt_id: String,
        #[serde(default)]
        number: Option<f64>,
        #[serde(default)]
        node_errors: Value,
    }
    let queued: Queued = common::parse(reply)?;
    if let Some(error) = node_error(&queued.node_errors) {
        return Err(rejected(error));
    }
    let run = queued.prompt_id.parse().map_err(|_| garbled("The run was given no id."))?;
    Ok(Watch { run, number: queued.number }.poll())
}

/// A 400 speaks of the graph, which is ours; the first node's complaint says more than the summary above it.
fn refusal(failure: &Failure<'_>, reply: &Reply) -> Fault {
    if reply.status != 400 {
        return failure.by_status();
    }
    let node = failure.body.get("node_errors").and_then(node_error);
    rejected(node.unwrap_or_else(|| failure.detail()))
}

fn rejected(why: String) -> Fault {
    Fault::new(Class::Reject, Blame::Ourselves, Billed::No, why)
}

/// The first complaint of `node_errors`, which is empty when there is none.
fn node_error(nodes: &Value) -> Option<String> {
    let (id, node) = nodes.as_object()?.iter().next()?;
    let text = |pointer| node.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (class, message, details) = (text("/class_type"), text("/errors/0/message"), text("/errors/0/details"));
    Some(common::clean(&format!("Node {id} ({class}): {message}: {details}")))
}

/// A run that is waited for.
#[derive(Clone, Copy)]
struct Watch {
    run: Uuid,
    /// Its place in the queue, which grows with every run: an older run of the same id has a lower one.
    number: Option<f64>,
}

impl Watch {
    /// The watch that a poll's target was made of.
    fn of(target: &Target) -> Option<Self> {
        let Target::Path(path) = target else { return None };
        let path = path.strip_prefix("/history/")?;
        let (run, number) = path.split_once("?number=").map_or((path, None), |(run, number)| (run, Some(number)));
        Some(Self { run: run.parse().ok()?, number: number.and_then(|number| number.parse().ok()) })
    }

    fn poll(self) -> Progress {
        let number = self.number.map(|number| format!("?number={number}")).unwrap_or_default();
        let path = format!("/history/{}{number}", self.run);
        Progress::Poll { after: PACE, call: call(Stage::Poll, Method::Get, path, Body::Empty) }
    }
}

fn call(stage: Stage, method: Method, path: String, body: Body) -> Call {
    Call { stage, method, target: Target::Path(path), headers: Vec::new(), auth: Auth::Bearer, body }
}

/// Sixteen bytes of SHA-256 in the form of a version 8 UUID; `what` keeps different uses apart.
fn digest(what: &str, bytes: &[u8]) -> Uuid {
    let hash = Sha256::new().chain_update(what).chain_update([0]).chain_update(bytes).finalize();
    let mut id = [0; 16];
    id.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
    uuid::Builder::from_custom_bytes(id).into_uuid()
}
