//! `OpenAI`'s images API: JSON in, base64 out, billed by tokens.
//!
//! Its ways: an unknown parameter is an error, and so is `response_format` since the GPT image models; two different
//! 429s, of which one never gets better; limits count images a minute; the models before GPT image 1.5 are gone.

mod ask;
mod price;
mod problem;

use std::time::Duration;

use serde_json::{Value, json};

use super::super::limit::{Refused, Window};
use super::super::picture::Order;
use super::super::truth::text_tokens;
use super::super::visit::Visit;
use super::super::wire::Answer;
use super::{Provider, Reply, Screening, accepted, masked, screen};
use ask::ask;
use problem::{blocked, limits, out_of_quota, problem, retired, throttled};

const IMAGES_PER_MINUTE: u32 = 250;

/// The host.
pub(super) struct OpenAi {
    limit: Window,
}

impl OpenAi {
    pub(super) fn new() -> Self {
        Self { limit: Window::new(IMAGES_PER_MINUTE, Duration::from_mins(1), Duration::ZERO) }
    }

    async fn route(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let request = format!("req_{}", visit.world.draw_id().get(..32).unwrap_or_default());
        let began = visit.arrived();
        let answer = match (visit.call.method.as_str(), visit.call.path.as_str()) {
            ("POST", "/v1/images/generations") => self.generate(visit, &request).await,
            ("GET", "/v1/models") => authenticate(visit).map(|_| models()),
            (method, path) => {
                let message = format!("Invalid URL ({method} {path})");
                Err(problem(404, "invalid_request_error", &message, None, None))
            }
        };
        let sign = |answer: Answer| {
            answer
                .with("x-request-id", request.clone())
                .with("openai-organization", "org-5bXqTjK2")
                .with("openai-version", "2020-10-01")
                .with("openai-processing-ms", began.elapsed().as_millis().to_string())
        };
        answer.map(sign).map_err(sign)
    }

    async fn generate(&self, visit: &mut Visit<'_>, request: &str) -> Result<Answer, Answer> {
        let key = authenticate(visit)?;
        let body: Value = serde_json::from_slice(&visit.call.body).map_err(|_| {
            let message = "We could not parse the JSON body of your request.";
            problem(400, "invalid_request_error", message, None, None)
        })?;
        let ask = ask(&body)?;
        visit.is_about(Some(ask.model.id)).await?;
        if key == "sk-broke" {
            return Err(out_of_quota());
        }
        let admitted = self.limit.admit(&key, ask.images, visit.arrived()).map_err(throttled)?;
        match screen(&ask.prompt) {
            Screening::Refused => return Err(blocked("input", request)),
            Screening::Filtered => {
                visit.work(ask.model, 0, std::future::ready(())).await;
                return Err(blocked("output", request));
            }
            Screening::Fine => {}
        }
        let (text, made) = (text_tokens(&ask.prompt), ask.tokens * u64::from(ask.images));
        let world = visit.world;
        let orders: Vec<Order> = (0..ask.images).map(|_| ask.order(world.draw_seed(1 << 32))).collect();
        let work = world.studio.paint_all(&orders);
        let pictures = visit.work(ask.model, ask.model.price.cost(1, text, 0, made), work).await;
        Ok(limits(ask.answer(world.clock.unix(), text, made, &pictures), admitted))
    }
}

impl Provider for OpenAi {
    fn prefix(&self) -> &'static str {
        "openai"
    }

    fn key(&self) -> &'static str {
        "sk-sandbox-openai"
    }

    fn answer<'a>(&'a self, visit: &'a mut Visit<'_>) -> Reply<'a> {
        Box::pin(self.route(visit))
    }

    fn error(&self, status: u16) -> Answer {
        let kind = "invalid_request_error";
        match status {
            400 => problem(400, kind, "Billing hard limit has been reached", None, Some("billing_hard_limit_reached")),
            401 => problem(401, kind, "Incorrect API key provided.", None, Some("invalid_api_key")),
            402 => out_of_quota(),
            403 => problem(403, kind, "Your organization must be verified to use the model `gpt-image-2`.", None, None),
            404 => retired("gpt-image-1"),
            429 => throttled(Refused { wait: Duration::from_millis(12_480), used: IMAGES_PER_MINUTE }),
            503 => {
                problem(503, "server_error", "The server is currently overloaded. Please try again later.", None, None)
            }
            other => problem(
                other,
                "server_error",
                "The server had an error while processing your request. Sorry about that!",
                None,
                None,
            ),
        }
    }

    fn forget(&self) {
        self.limit.forget();
    }
}

fn authenticate(visit: &mut Visit<'_>) -> Result<String, Answer> {
    let key = visit.call.bearer().unwrap_or_default().to_owned();
    visit.presents(&key);
    if key.is_empty() {
        let message = "You didn't provide an API key. You need to provide your API key in an Authorization header \
                       using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
        return Err(problem(401, "invalid_request_error", message, None, None));
    }
    if !accepted(&key, "sk-") {
        let message = format!(
            "Incorrect API key provided: {}. You can find your API key at https://platform.openai.com/account/api-keys.",
            masked(&key)
        );
        return Err(problem(401, "invalid_request_error", &message, None, Some("invalid_api_key")));
    }
    Ok(key)
}

fn models() -> Answer {
    let model = |id: &str, shutdown: Value| json!({ "id": id, "object": "model", "created": 1_776_700_800, "owned_by": "system", "shutdown_date": shutdown });
    let data = [
        model("gpt-image-2", Value::Null),
        model("gpt-image-2.5-flare", Value::Null),
        model("gpt-image-2.6-flare", Value::Null),
        model("gpt-image-1.5", json!("2026-12-01")),
    ];
    Answer::json(200, &json!({ "object": "list", "data": data }))
}
