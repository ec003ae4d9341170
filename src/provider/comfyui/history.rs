//! What the history of a run says: not done, failed, or which files it made.
//!
//! Why it exists: a history entry is large (it repeats the graph) and its parts come and go with the server's version,
//! so only what decides is read, each part on its own. What it refuses to know: how a run was asked for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::{Watch, call};
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::provider::common::{self, garbled};
use crate::provider::{Body, Call, Method, Pending, Progress, Reply, Stage, Step, Usage};

/// What the reply to a poll means. A run that is not in the history yet is queued or at work, and so is one whose entry
/// is of an older run with the same id.
pub(super) fn progress(step: &Step<'_>, watch: Watch, reply: &Reply) -> Result<Progress, Fault> {
    let history: BTreeMap<String, Entry<'_>> = common::parse(reply)?;
    let Some(entry) = history.get(&watch.run.to_string()) else {
        return Ok(watch.poll());
    };
    if entry.is_older_than(watch.number) {
        return Ok(watch.poll());
    }
    if entry.failed() {
        return Err(Fault::new(Class::Unavailable, Blame::Provider, Billed::No, entry.failure()));
    }
    let pending: Vec<_> = entry.saved().map(|file| Pending { call: view(&file), seed: step.seed }).collect();
    if pending.is_empty() {
        return Err(garbled(
            "The run ended with no saved picture: its workflow saves none, or all of it came from the cache.",
        ));
    }
    Ok(Progress::Fetch(pending, Usage::AsQuoted))
}

/// The download of a saved file. Percent signs for spaces too, which is right in every reading of a query.
fn view(file: &File) -> Call {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("filename", &file.filename)
        .append_pair("subfolder", &file.subfolder)
        .append_pair("type", "output")
        .finish()
        .replace('+', "%20");
    call(Stage::Fetch, Method::Get, format!("/view?{query}"), Body::Empty)
}

#[derive(Deserialize)]
struct Entry<'a> {
    /// `[number, id, graph, extra, outputs]`.
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    outputs: BTreeMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow, default)]
    status: Option<Status<'a>>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow, default)]
    status_str: Cow<'a, str>,
    /// `[["execution_start", {…}], …]`.
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
}

/// The files of one node.
#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    images: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    #[serde(default)]
    subfolder: String,
    #[serde(default, rename = "type")]
    kind: String,
}

impl Entry<'_> {
    fn is_older_than(&self, number: Option<f64>) -> bool {
        let ours = self.prompt.and_then(|prompt| serde_json::from_str::<Vec<&RawValue>>(prompt.get()).ok());
        let ours = ours.and_then(|fields| fields.first()?.get().parse::<f64>().ok());
        ours.zip(number).is_some_and(|(ours, wanted)| ours < wanted)
    }

    fn failed(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.status_str == "error")
    }

    /// The pictures that were saved, in the order of their nodes; previews (`temp`) are not among them.
    fn saved(&self) -> impl Iterator<Item = File> {
        let outputs = self.outputs.values().filter_map(|output| serde_json::from_str::<Output>(output.get()).ok());
        outputs.flat_map(|output| output.images).filter(|file| file.kind == "output")
    }

    /// Why the run failed, in one sentence.
    fn failure(&self) -> String {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Failure {
            node_type: String,
            exception_type: String,
            exception_message: String,
        }
        let messages = self.status.as_ref().and_then(|status| status.messages).map_or("[]", RawValue::get);
        let messages: Vec<(String, &RawValue)> = serde_json::from_str(messages).unwrap_or_default();
        let of = |kind: &str| messages.iter().find(|(name, _)| name == kind).map(|(_, data)| data.get());
        if let Some(data) = of("execution_error") {
            let failure: Failure = serde_json::from_str(data).unwrap_or_default();
            let Failure { node_type, exception_type, exception_message } = failure;
            return common::clean(&format!("{node_type} failed with {exception_type}: {exception_message}"));
        }
        let why =
            if of("execution_interrupted").is_some() { "Someone interrupted the run." } else { "The run failed." };
        why.into()
    }
}
