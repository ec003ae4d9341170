//! The workshop behind the routes: one machine, a queue, a history, and folders of pictures.
//!
//! It refuses to know HTTP. Jobs run strictly one after another, whoever is still waiting for them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::super::super::truth::Model;
use super::super::super::world::World;
use super::graph::{Frame, Made};

const HISTORY: usize = 10_000;
const FILES: usize = 1_000;

/// A graph that was accepted.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) number: f64,
    pub(super) graph: Value,
    pub(super) extra: Value,
    pub(super) outputs: Vec<Output>,
    pub(super) model: Option<&'static str>,
}

/// An output node and what it saves where.
#[derive(Clone)]
pub(super) struct Output {
    pub(super) node: String,
    pub(super) folder: &'static str,
    pub(super) prefix: String,
    pub(super) frame: Frame,
}

impl Job {
    /// The job as the queue and the history list it.
    pub(super) fn tuple(&self) -> Value {
        let outputs: Vec<&String> = self.outputs.iter().map(|output| &output.node).collect();
        json!([self.number, self.id, self.graph, self.extra, outputs])
    }

    fn models(&self) -> impl Iterator<Item = &'static Model> {
        self.outputs.iter().flat_map(|output| output.frame.models.iter().copied())
    }
}

/// The workshop; clones share it.
#[derive(Clone, Default)]
pub(super) struct Shop {
    machine: Arc<tokio::sync::Mutex<()>>,
    state: Arc<Mutex<State>>,
}

/// A picture in a folder.
#[derive(Clone)]
pub(super) enum File {
    Posted(Bytes),
    Made(Made, Option<&'static str>),
}

#[derive(Default)]
pub(super) struct State {
    pub(super) accepted: u32,
    pub(super) pending: Vec<Job>,
    pub(super) running: Option<(Job, Arc<Notify>)>,
    history: HashMap<String, (Value, Option<&'static str>)>,
    history_order: VecDeque<String>,
    /// By folder (`input`, `output`, `temp`) and path below it.
    files: BTreeMap<(String, String), File>,
    file_order: VecDeque<(String, String)>,
    counters: HashMap<String, u32>,
}

impl Shop {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `job`, at the front or by its number, and lets the machine come to it.
    pub(super) fn enqueue(&self, world: &Arc<World>, job: Job) {
        let mut state = self.state();
        let at = state.pending.partition_point(|other| other.number <= job.number);
        state.pending.insert(at, job);
        drop(state);
        let (shop, this) = (self.clone(), Arc::clone(world));
        world.spawn(async move { shop.run_next(&this).await });
    }

    /// One turn of the machine: whatever is first in the queue by then.
    async fn run_next(&self, world: &World) {
        let _turn = self.machine.lock().await;
        let stop = Arc::new(Notify::new());
        let job = {
            let mut state = self.state();
            if state.pending.is_empty() {
                return;
            }
            let job = state.pending.remove(0);
            state.running = Some((job.clone(), Arc::clone(&stop)));
            job
        };
        let mut latency = std::time::Duration::ZERO;
        for model in job.models() {
            latency += world.draw_latency(model);
        }
        let finished = tokio::select! {
            () = sleep(latency) => true,
            () = stop.notified() => false,
        };
        let mut state = self.state();
        state.running = None;
        state.close(&job, finished, world.clock.unix());
    }
}

impl State {
    fn close(&mut self, job: &Job, finished: bool, unix: u64) {
        let stamp = unix * 1_000;
        let mut messages = vec![json!(["execution_start", { "prompt_id": job.id, "timestamp": stamp }])];
        let mut outputs = serde_json::Map::new();
        if finished {
            for output in &job.outputs {
                let images = self.save(output, job.model);
                outputs.insert(output.node.clone(), json!({ "images": images }));
            }
            messages.push(json!(["execution_cached", { "nodes": [], "prompt_id": job.id, "timestamp": stamp }]));
            messages.push(json!(["execution_success", { "prompt_id": job.id, "timestamp": stamp }]));
        } else {
            let node = job.outputs.first().map(|output| &output.node);
            let interrupted = json!({ "prompt_id": job.id, "node_id": node, "node_type": "KSampler", "executed": [] });
            messages.push(json!(["execution_interrupted", interrupted]));
        }
        let status = if finished { "success" } else { "error" };
        let entry = json!({
            "prompt": job.tuple(), "outputs": outputs, "meta": {},
            "status": { "status_str": status, "completed": finished, "messages": messages },
        });
        self.history.insert(job.id.clone(), (entry, job.model));
        self.history_order.push_back(job.id.clone());
        if self.history_order.len() > HISTORY
            && let Some(oldest) = self.history_order.pop_front()
        {
            self.history.remove(&oldest);
        }
    }

    fn save(&mut self, output: &Output, model: Option<&'static str>) -> Vec<Value> {
        let Output { folder, prefix, frame, .. } = output;
        let (subfolder, stem) = prefix.rsplit_once('/').unwrap_or(("", prefix.as_str()));
        let (subfolder, stem) = (subfolder.to_owned(), stem.to_owned());
        let mut images = Vec::new();
        for nth in 0..frame.batch {
            let Some(made) = frame.made(nth) else {
                continue;
            };
            let counter = self.counters.entry(format!("{folder}/{prefix}")).or_default();
            *counter += 1;
            let name = format!("{stem}_{counter:05}_.png");
            self.keep(folder, &subfolder, &name, File::Made(made, model));
            images.push(json!({ "filename": name, "subfolder": subfolder, "type": folder }));
        }
        images
    }

    /// Puts a file into a folder; the oldest file leaves when there are too many.
    pub(super) fn keep(&mut self, folder: &str, subfolder: &str, name: &str, file: File) {
        let key = (folder.to_owned(), path(subfolder, name));
        if self.files.insert(key.clone(), file).is_none() {
            self.file_order.push_back(key);
        }
        if self.file_order.len() > FILES
            && let Some(oldest) = self.file_order.pop_front()
        {
            self.files.remove(&oldest);
        }
    }

    pub(super) fn file(&self, folder: &str, subfolder: &str, name: &str) -> Option<File> {
        self.files.get(&(folder.to_owned(), path(subfolder, name))).cloned()
    }

    /// The pictures that `LoadImage` may name.
    pub(super) fn uploads(&self) -> Vec<String> {
        self.files.keys().filter(|(folder, _)| folder == "input").map(|(_, name)| name.clone()).collect()
    }

    pub(super) fn finished(&self, id: &str) -> Option<&(Value, Option<&'static str>)> {
        self.history.get(id)
    }

    /// The whole history, newest last.
    pub(super) fn all_finished(&self) -> Value {
        let entries = self.history_order.iter().filter_map(|id| Some((id.clone(), self.history.get(id)?.0.clone())));
        Value::Object(entries.collect())
    }

    pub(super) fn forget_finished(&mut self, gone: impl Fn(&str) -> bool) {
        self.history_order.retain(|id| !gone(id));
        self.history.retain(|id, _| !gone(id));
    }

    /// The model of a job, wherever it is.
    pub(super) fn model_of(&self, id: &str) -> Option<&'static str> {
        let running = self.running.iter().map(|(job, _)| job);
        let waiting = running.chain(&self.pending).find(|job| job.id == id).and_then(|job| job.model);
        waiting.or_else(|| self.history.get(id).and_then(|(_, model)| *model))
    }
}

fn path(subfolder: &str, name: &str) -> String {
    if subfolder.is_empty() { name.to_owned() } else { format!("{subfolder}/{name}") }
}
