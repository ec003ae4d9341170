//! Google's Gemini image models by `:generateContent`, and Imagen by `:predict`, on the Gemini API's paths and Vertex's.
//!
//! Its ways: a refusal is a 200 without a picture; tokens are billed, so thinking costs; a throttled call says when
//! to come back in a detail of the body and not in a header; Imagen is gone from the Gemini API and lives on Vertex.

mod predict;
mod problem;
mod quote;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::limit::Window;
use super::super::picture::{Format, Order};
use super::super::truth::{Model, on_the_wire, text_tokens};
use super::super::visit::Visit;
use super::super::wire::{Answer, PICTURE, set};
use super::{Provider, Reply, Screening, accepted, screen};
use problem::{NO_TOKEN, exhausted, gone, invalid, problem, unknown_path, unserved};
use quote::{Asked, asked};

/// The host, on both of its faces.
pub(super) struct Google {
    limit: Window,
}

/// Which face was called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Face {
    Gemini,
    Vertex,
}

impl Google {
    pub(super) fn new() -> Self {
        Self { limit: Window::new(150, Duration::from_mins(1), Duration::ZERO) }
    }

    async fn route(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let path = visit.call.path.clone();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (face, target) = match segments.as_slice() {
            ["v1" | "v1beta", "models"] => return models(visit),
            ["v1" | "v1beta", "models", target] => (Face::Gemini, *target),
            ["v1" | "v1beta1", "projects", _, "locations", _, "publishers", "google", "models", target] => {
                (Face::Vertex, *target)
            }
            _ => return Err(unknown_path(&path)),
        };
        let (name, verb) = target.split_once(':').ok_or_else(|| unknown_path(&path))?;
        if visit.call.method != http::Method::POST {
            return Err(unknown_path(&path));
        }
        let key = authenticate(visit, face)?;
        self.admit(visit, &key, name)?;
        match verb {
            "generateContent" => generate(visit, name, face).await,
            "predict" if face == Face::Vertex => predict::predict(visit, name).await,
            "predict" => Err(gone(name)),
            _ => Err(unknown_path(&path)),
        }
    }

    fn admit(&self, visit: &Visit<'_>, key: &str, model: &str) -> Result<(), Answer> {
        self.limit.admit(key, 1, visit.arrived()).map(drop).map_err(|refused| exhausted(model, Some(refused.wait)))
    }
}

impl Provider for Google {
    fn prefix(&self) -> &'static str {
        "google"
    }

    fn key(&self) -> &'static str {
        "AIzaSandboxGoogle"
    }

    fn answer<'a>(&'a self, visit: &'a mut Visit<'_>) -> Reply<'a> {
        Box::pin(self.route(visit))
    }

    fn error(&self, status: u16) -> Answer {
        match status {
            400 => problem(400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
            401 => problem(401, "UNAUTHENTICATED", NO_TOKEN),
            403 => problem(403, "PERMISSION_DENIED", "The caller does not have permission"),
            404 => problem(404, "NOT_FOUND", "Requested entity was not found."),
            // Planned throttling comes without a hint, as Google's sometimes does.
            429 => exhausted("gemini-nano-banana-2.1", None),
            503 => problem(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
            504 => problem(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
            other => problem(other, "INTERNAL", "An internal error has occurred. Please retry or report."),
        }
    }

    fn forget(&self) {
        self.limit.forget();
    }
}

fn authenticate(visit: &mut Visit<'_>, face: Face) -> Result<String, Answer> {
    if face == Face::Vertex {
        let token = visit.call.bearer().unwrap_or_default().to_owned();
        visit.presents(&token);
        return if accepted(&token, "") { Ok(token) } else { Err(problem(401, "UNAUTHENTICATED", NO_TOKEN)) };
    }
    let key = visit.call.header("x-goog-api-key").map(str::to_owned).or_else(|| visit.call.query("key"));
    let key = key.unwrap_or_default();
    visit.presents(&key);
    if key.is_empty() {
        let message = "Method doesn't allow unregistered callers (callers without established identity). Please use \
                       API Key or other form of API consumer identity to call this API.";
        return Err(problem(403, "PERMISSION_DENIED", message));
    }
    if !accepted(&key, "AIza") {
        let detail = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
            "domain": "googleapis.com", "metadata": { "service": "generativelanguage.googleapis.com" },
        });
        let message = "API key not valid. Please pass a valid API key.";
        return Err(Answer::json(
            400,
            &json!({ "error": { "code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": [detail] } }),
        ));
    }
    Ok(key)
}

fn models(visit: &mut Visit<'_>) -> Result<Answer, Answer> {
    authenticate(visit, Face::Gemini)?;
    let models = ["gemini-nano-banana-2.1", "gemini-3-pro-image"].map(|name| {
        json!({ "name": format!("models/{name}"), "displayName": name, "inputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", "countTokens"] })
    });
    Ok(Answer::json(200, &json!({ "models": models })))
}

async fn generate(visit: &mut Visit<'_>, name: &str, face: Face) -> Result<Answer, Answer> {
    let body: Value = serde_json::from_slice(&visit.call.body)
        .map_err(|error| invalid(&format!("Invalid JSON payload received. {error}")))?;
    let served = matches!(name, "gemini-nano-banana-2.1" | "gemini-3-pro-image");
    let asked = if served {
        asked(&body, name)?
    } else {
        return Err(unserved(name, face));
    };
    let high = asked.thoughts >= quote::HIGH;
    let tier = if high { format!("{name}-high") } else { name.to_owned() };
    let model = on_the_wire("google", &tier).ok_or_else(|| unserved(name, face))?;
    visit.is_about(Some(model.id)).await?;
    let (mut body, pictures) = match (screen(&asked.prompt), asked.wants_image) {
        (Screening::Refused, _) => (refused(&asked), Vec::new()),
        (Screening::Filtered, _) => {
            // The picture was made and withheld; Google says that it does not charge for what its filters block.
            visit.work(model, 0, std::future::ready(())).await;
            (withheld(&asked), Vec::new())
        }
        (Screening::Fine, false) => (spoken(visit, model, &asked).await, Vec::new()),
        (Screening::Fine, true) => painted(visit, model, &asked).await,
    };
    set(&mut body, "modelVersion", name);
    set(&mut body, "responseId", visit.world.draw_id().get(..22).unwrap_or_default());
    Ok(Answer::json_with_pictures(200, &body, &pictures))
}

fn refused(asked: &Asked) -> Value {
    let tokens = text_tokens(&asked.prompt);
    json!({
        "promptFeedback": { "blockReason": "PROHIBITED_CONTENT" },
        "usageMetadata": { "promptTokenCount": tokens, "totalTokenCount": tokens },
    })
}

fn withheld(asked: &Asked) -> Value {
    let message = "Unable to show the generated image. The model could not generate the image based on the prompt \
                   provided. You will not be charged for this request.";
    let candidate = json!({ "index": 0, "finishReason": "IMAGE_SAFETY", "finishMessage": message, "content": {} });
    json!({ "candidates": [candidate], "usageMetadata": usage(asked, 0) })
}

/// Text alone, for a caller that did not ask for an image.
async fn spoken(visit: &mut Visit<'_>, model: &'static Model, asked: &Asked) -> Value {
    const TOKENS: u64 = 12;
    let cost = model.price.cost(1, text_tokens(&asked.prompt), asked.thoughts + TOKENS, 0);
    visit.work(model, cost, std::future::ready(())).await;
    let part = json!({ "text": "I would paint that for you if you asked for an image." });
    let candidate = json!({ "index": 0, "finishReason": "STOP", "content": { "role": "model", "parts": [part] } });
    json!({ "candidates": [candidate], "usageMetadata": usage(asked, TOKENS) })
}

async fn painted(visit: &mut Visit<'_>, model: &'static Model, asked: &Asked) -> (Value, Vec<Bytes>) {
    let order = Order {
        model,
        prompt: asked.prompt.clone(),
        seed: asked.seed.unwrap_or_else(|| visit.world.draw_seed(1 << 31)),
        width: asked.width,
        height: asked.height,
        format: Format::Png,
        blurred: false,
    };
    let cost = model.price.cost(1, text_tokens(&asked.prompt), asked.thoughts, asked.image_tokens);
    let world = visit.world;
    let picture = visit.work(model, cost, world.studio.paint(&order)).await;
    let mut parts = vec![json!({ "inlineData": { "mimeType": "image/png", "data": PICTURE } })];
    if asked.wants_text {
        parts.insert(0, json!({ "text": "Here is your picture." }));
    }
    let body = json!({
        "candidates": [{ "index": 0, "finishReason": "STOP", "content": { "role": "model", "parts": parts } }],
        "usageMetadata": usage(asked, asked.image_tokens),
    });
    (body, vec![picture])
}

fn usage(asked: &Asked, made: u64) -> Value {
    let prompt = text_tokens(&asked.prompt);
    let mut usage = json!({
        "promptTokenCount": prompt,
        "candidatesTokenCount": made,
        "totalTokenCount": prompt + made + asked.thoughts,
        "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": prompt }],
    });
    if asked.thoughts > 0 {
        set(&mut usage, "thoughtsTokenCount", json!(asked.thoughts));
    }
    if asked.wants_image {
        set(&mut usage, "candidatesTokensDetails", json!([{ "modality": "IMAGE", "tokenCount": made }]));
    }
    usage
}
