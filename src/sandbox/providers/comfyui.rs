//! `ComfyUI`: a graph is posted, queued, run alone on the one machine, and found in the history when it is done.
//!
//! Its ways: no key and no limit; a 200 may carry errors for part of the graph; the history of an unfinished job is
//! an empty object and not a 404; an upload may get another name; every route is there twice, also below `/api`.

mod check;
mod graph;
mod nodes;
mod shop;

use serde_json::{Map, Value, json};

use super::super::picture::Format;
use super::super::visit::Visit;
use super::super::wire::Answer;
use super::{Provider, Reply};
use graph::{Made, Reader};
use shop::{File, Job, Output, Shop};

/// The server.
#[derive(Default)]
pub(super) struct ComfyUi {
    shop: Shop,
}

impl ComfyUi {
    pub(super) fn new() -> Self {
        Self::default()
    }

    async fn route(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let path = visit.call.path.clone();
        let path = path.strip_prefix("/api/").map_or(path.clone(), |rest| format!("/{rest}"));
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (visit.call.method.as_str(), segments.as_slice()) {
            ("POST", ["prompt"]) => self.submit(visit).await,
            ("GET", ["prompt"]) => {
                let state = self.shop.state();
                let remaining = state.pending.len() + usize::from(state.running.is_some());
                Ok(Answer::json(200, &json!({ "exec_info": { "queue_remaining": remaining } })))
            }
            ("GET", ["history", id]) => self.history(visit, id).await,
            ("GET", ["history"]) => Ok(Answer::json(200, &self.shop.state().all_finished())),
            ("POST", ["history"]) => Ok(self.trim_history(&body(visit))),
            ("GET", ["view"]) => self.view(visit).await,
            ("GET", ["queue"]) => Ok(self.queue()),
            ("POST", ["queue"]) => Ok(self.trim_queue(&body(visit))),
            ("POST", ["interrupt"]) => Ok(self.interrupt(&body(visit))),
            ("POST", ["free"]) => Ok(Answer::empty(200)),
            ("POST", ["upload", "image"]) => self.upload(visit).await,
            ("GET", ["system_stats"]) => Ok(Answer::json(200, &system_stats())),
            ("GET", ["object_info"]) => Ok(Answer::json(200, &nodes::object_info(None, &self.uploads()))),
            ("GET", ["object_info", class]) => Ok(Answer::json(200, &nodes::object_info(Some(class), &self.uploads()))),
            ("GET", _) => Err(Answer::text(404, "404: Not Found")),
            _ => Err(Answer::text(405, "405: Method Not Allowed")),
        }
    }

    async fn submit(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let body = body(visit);
        let graph = body.get("prompt").and_then(Value::as_object);
        let graph =
            graph.ok_or_else(|| check::refusal("no_prompt", "No prompt provided", "No prompt provided", &json!({})))?;
        let id = match body.get("prompt_id").and_then(Value::as_str) {
            Some(id) if !is_uuid(id) => {
                let message = "prompt_id must be a valid UUID";
                return Err(check::refusal("invalid_prompt_id", message, id, &json!({})));
            }
            Some(id) => id.to_owned(),
            None => visit.world.draw_uuid(),
        };
        let (outputs, errors) = self.read(graph)?;
        let model = outputs.iter().find_map(|output| output.frame.models.first()).map(|model| model.id);
        visit.is_about(model).await?;
        let number = {
            let mut state = self.shop.state();
            state.accepted += 1;
            let next = f64::from(state.accepted);
            let front = body.get("front").and_then(Value::as_bool).unwrap_or(false);
            body.get("number").and_then(Value::as_f64).unwrap_or(if front { -next } else { next })
        };
        let extra = body.get("extra_data").cloned().unwrap_or_else(|| json!({}));
        let graph = Value::Object(graph.clone());
        self.shop.enqueue(visit.world, Job { id: id.clone(), number, graph, extra, outputs, model });
        let answer = json!({ "prompt_id": id, "number": number, "node_errors": errors });
        Ok(Answer::json(200, &answer))
    }

    /// The output nodes of a graph that may run, and the errors of those that may not.
    fn read(&self, graph: &Map<String, Value>) -> Result<(Vec<Output>, Value), Answer> {
        let checked = check::check(graph, &self.uploads())?;
        let upload = |name: &str| match self.shop.state().file("input", "", name) {
            Some(File::Posted(bytes)) => Some(bytes),
            _ => None,
        };
        let reader = Reader { graph, upload: &upload };
        Ok((checked.outputs.iter().filter_map(|id| saved(&reader, id)).collect(), checked.errors))
    }

    async fn history(&self, visit: &mut Visit<'_>, id: &str) -> Result<Answer, Answer> {
        let model = self.shop.state().model_of(id);
        visit.is_about(model).await?;
        let state = self.shop.state();
        let body = state.finished(id).map_or_else(|| json!({}), |(entry, _)| json!({ id: entry }));
        Ok(Answer::json(200, &body))
    }

    fn trim_history(&self, body: &Value) -> Answer {
        let gone = listed(body);
        let clear = flag(body, "clear");
        self.shop.state().forget_finished(|id| clear || gone.iter().any(|other| other == id));
        Answer::empty(200)
    }

    async fn view(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let name = visit.call.query("filename").unwrap_or_default();
        let subfolder = visit.call.query("subfolder").unwrap_or_default();
        let folder = visit.call.query("type").unwrap_or_else(|| "output".to_owned());
        if name.is_empty() || name.starts_with('/') || name.contains("..") {
            return Err(Answer::empty(400));
        }
        if subfolder.contains("..") || subfolder.starts_with('/') {
            return Err(Answer::empty(403));
        }
        let file = self.shop.state().file(&folder, &subfolder, &name).ok_or_else(|| Answer::empty(404))?;
        let preview = visit.call.query("preview");
        let preview = preview.and_then(|preview| Format::named(preview.split(';').next().unwrap_or_default()));
        let format = preview.unwrap_or(Format::Png);
        let studio = &visit.world.studio;
        let (bytes, model) = match file {
            File::Posted(bytes) => (Some(bytes), None),
            File::Made(Made::Painted(mut order), model) => {
                order.format = format;
                (Some(studio.paint(&order).await), model)
            }
            File::Made(Made::Resized(image, width, height), model) => {
                (studio.resize(&image, width, height, format).await, model)
            }
        };
        visit.is_about(model).await?;
        let bytes = bytes.ok_or_else(|| Answer::empty(404))?;
        let disposition = format!("filename=\"{name}\"");
        Ok(Answer::new(200, format.media_type(), bytes).with("content-disposition", disposition))
    }

    fn queue(&self) -> Answer {
        let state = self.shop.state();
        let running: Vec<Value> = state.running.iter().map(|(job, _)| job.tuple()).collect();
        let pending: Vec<Value> = state.pending.iter().map(Job::tuple).collect();
        Answer::json(200, &json!({ "queue_running": running, "queue_pending": pending }))
    }

    fn trim_queue(&self, body: &Value) -> Answer {
        let (gone, clear) = (listed(body), flag(body, "clear"));
        self.shop.state().pending.retain(|job| !clear && !gone.contains(&job.id));
        Answer::empty(200)
    }

    fn interrupt(&self, body: &Value) -> Answer {
        let wanted = body.get("prompt_id").and_then(Value::as_str);
        if let Some((job, stop)) = &self.shop.state().running
            && wanted.is_none_or(|wanted| wanted == job.id)
        {
            stop.notify_one();
        }
        Answer::empty(200)
    }

    async fn upload(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let form = visit.call.form().await.ok_or_else(|| Answer::empty(400))?;
        let part = form.part("image").filter(|part| !part.bytes.is_empty()).ok_or_else(|| Answer::empty(400))?;
        let name = part.file_name.clone().filter(|name| !name.is_empty()).ok_or_else(|| Answer::empty(400))?;
        let subfolder = form.text("subfolder").unwrap_or_default();
        if name.contains("..") || subfolder.contains("..") || subfolder.starts_with('/') {
            return Err(Answer::empty(400));
        }
        let folder = form.text("type").unwrap_or_else(|| "input".to_owned());
        let overwrite = matches!(form.text("overwrite").as_deref(), Some("true" | "1"));
        let mut state = self.shop.state();
        let name = if overwrite { name } else { free_name(&state, &folder, &subfolder, &name, &part.bytes) };
        state.keep(&folder, &subfolder, &name, File::Posted(part.bytes.clone()));
        Ok(Answer::json(200, &json!({ "name": name, "subfolder": subfolder, "type": folder })))
    }

    fn uploads(&self) -> Vec<String> {
        self.shop.state().uploads()
    }
}

impl Provider for ComfyUi {
    fn prefix(&self) -> &'static str {
        "comfyui"
    }

    fn key(&self) -> &'static str {
        ""
    }

    fn answer<'a>(&'a self, visit: &'a mut Visit<'_>) -> Reply<'a> {
        Box::pin(self.route(visit))
    }

    fn error(&self, status: u16) -> Answer {
        match status {
            400 => check::refusal("no_prompt", "No prompt provided", "No prompt provided", &json!({})),
            404 => Answer::text(404, "404: Not Found"),
            500 => Answer::text(500, "500 Internal Server Error\n\nServer got itself in trouble"),
            other => Answer::new(other, "text/html", format!("<html><head><title>{other}</title></head></html>\r\n")),
        }
    }

    fn forget(&self) {}
}

/// What an output node saves, and where.
fn saved(reader: &Reader<'_>, id: &str) -> Option<Output> {
    let prefix = reader.literal(id, "filename_prefix").and_then(Value::as_str);
    let (folder, prefix) = prefix.map_or(("temp", "ComfyUI_temp"), |prefix| ("output", prefix));
    Some(Output { node: id.to_owned(), folder, prefix: prefix.to_owned(), frame: reader.output(id)? })
}

fn body(visit: &Visit<'_>) -> Value {
    serde_json::from_slice(&visit.call.body).unwrap_or(Value::Null)
}

fn flag(body: &Value, name: &str) -> bool {
    body.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// The ids of `{"delete": [...]}`.
fn listed(body: &Value) -> Vec<String> {
    let list = body.get("delete").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// `x.png`, or `x (1).png` when that is taken by another picture.
fn free_name(state: &shop::State, folder: &str, subfolder: &str, name: &str, bytes: &[u8]) -> String {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, "png"));
    let names = std::iter::once(name.to_owned()).chain((1_u32..).map(|nth| format!("{stem} ({nth}).{extension}")));
    let free = |name: &String| match state.file(folder, subfolder, name) {
        None => true,
        Some(File::Posted(there)) => there == bytes,
        Some(File::Made(..)) => false,
    };
    names.take(10_000).find(free).unwrap_or_else(|| name.to_owned())
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || matches!(c, '0'..='9' | 'a'..='f'))
}

fn system_stats() -> Value {
    json!({
        "system": {
            "os": "posix", "ram_total": 134_965_448_704_u64, "ram_free": 98_213_486_592_u64,
            "comfyui_version": "0.3.71", "python_version": "3.12.11 (main)", "pytorch_version": "2.9.0+cu128",
            "embedded_python": false, "argv": ["main.py", "--listen"],
        },
        "devices": [{
            "name": "cuda:0 NVIDIA RTX 6000 Ada Generation : cudaMallocAsync", "type": "cuda", "index": 0,
            "vram_total": 51_014_664_192_u64, "vram_free": 31_523_340_288_u64,
            "torch_vram_total": 18_387_828_736_u64, "torch_vram_free": 402_653_184_u64,
        }],
    })
}
