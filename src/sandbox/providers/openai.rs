//! OpenAI's images API: JSON in, base64 out, billed by tokens.
//!
//! Its ways: an unknown parameter is an error, and so is `response_format` since the GPT image models; two different
//! 429s, of which one never gets better; limits count images a minute; the models before GPT image 1.5 are gone.

mod price;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::limit::{Admitted, Refused, Window};
use super::super::picture::{Format, Order};
use super::super::truth::{Model, model, text_tokens};
use super::super::visit::Visit;
use super::super::wire::{Answer, PICTURE};
use super::{Provider, Reply, Screening, accepted, masked, screen};
use price::{Family, family, image_tokens, side_rules};

const IMAGES_PER_MINUTE: u32 = 250;

const PARAMETERS: [&str; 16] = [
    "prompt",
    "model",
    "n",
    "size",
    "quality",
    "background",
    "output_format",
    "output_compression",
    "moderation",
    "stream",
    "partial_images",
    "user",
    "complexity",
    "input_fidelity",
    "safety_identifier",
    "prompt_cache_key",
];

/// The host.
pub(super) struct OpenAi {
    limit: Window,
}

/// A valid request.
struct Ask {
    model: &'static Model,
    prompt: String,
    images: u32,
    width: u32,
    height: u32,
    quality: String,
    format: Format,
    tokens: u64,
    stream: bool,
}

impl OpenAi {
    pub(super) fn new() -> Self {
        Self {
            limit: Window::new(IMAGES_PER_MINUTE, Duration::from_secs(60), Duration::ZERO),
        }
    }

    async fn route(&self, visit: &mut Visit<'_>) -> Result<Answer, Answer> {
        let request = format!(
            "req_{}",
            visit.world.draw_id().get(..32).unwrap_or_default()
        );
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
                .with(
                    "openai-processing-ms",
                    began.elapsed().as_millis().to_string(),
                )
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
        let admitted = self
            .limit
            .admit(&key, ask.images, visit.arrived())
            .map_err(throttled)?;
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
        let orders: Vec<Order> = (0..ask.images)
            .map(|_| ask.order(world.draw_seed(1 << 32)))
            .collect();
        let work = async {
            let mut pictures = Vec::new();
            for order in &orders {
                pictures.push(world.studio.paint(order).await);
            }
            pictures
        };
        let pictures = visit
            .work(ask.model, ask.model.price.cost(1, text, 0, made), work)
            .await;
        Ok(limits(
            ask.answer(world.clock.unix(), text, made, &pictures),
            admitted,
        ))
    }
}

impl Ask {
    fn order(&self, seed: u64) -> Order {
        Order {
            model: self.model,
            prompt: self.prompt.clone(),
            seed,
            width: self.width,
            height: self.height,
            format: self.format,
            blurred: false,
        }
    }

    fn answer(&self, created: u64, text: u64, made: u64, pictures: &[Bytes]) -> Answer {
        let usage = json!({
            "total_tokens": text + made, "input_tokens": text, "output_tokens": made,
            "input_tokens_details": { "text_tokens": text, "image_tokens": 0 },
            "output_tokens_details": { "image_tokens": made, "text_tokens": 0 },
        });
        let size = format!("{}x{}", self.width, self.height);
        let mut body = json!({
            "background": "opaque", "output_format": self.format.name(), "size": size, "quality": self.quality,
            "usage": usage,
        });
        if !self.stream {
            body["created"] = json!(created);
            body["data"] = pictures
                .iter()
                .map(|_| json!({ "b64_json": PICTURE }))
                .collect();
            return Answer::json_with_pictures(200, &body, pictures);
        }
        body["type"] = json!("image_generation.completed");
        body["created_at"] = json!(created);
        body["b64_json"] = json!(PICTURE);
        let event = Answer::json_with_pictures(200, &body, pictures);
        let mut stream = b"event: image_generation.completed\ndata: ".to_vec();
        stream.extend_from_slice(&event.body);
        stream.extend_from_slice(b"\n\n");
        Answer::new(200, "text/event-stream; charset=utf-8", stream)
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
            400 => problem(
                400,
                kind,
                "Billing hard limit has been reached",
                None,
                Some("billing_hard_limit_reached"),
            ),
            401 => problem(
                401,
                kind,
                "Incorrect API key provided.",
                None,
                Some("invalid_api_key"),
            ),
            402 => out_of_quota(),
            403 => problem(
                403,
                kind,
                "Your organization must be verified to use the model `gpt-image-2`.",
                None,
                None,
            ),
            404 => retired("gpt-image-1"),
            429 => throttled(Refused {
                wait: Duration::from_millis(12_480),
                used: IMAGES_PER_MINUTE,
            }),
            503 => problem(
                503,
                "server_error",
                "The server is currently overloaded. Please try again later.",
                None,
                None,
            ),
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

fn problem(
    status: u16,
    kind: &str,
    message: &str,
    param: Option<&str>,
    code: Option<&str>,
) -> Answer {
    Answer::json(
        status,
        &json!({ "error": { "message": message, "type": kind, "param": param, "code": code } }),
    )
}

fn bad(param: &str, code: &str, message: &str) -> Answer {
    problem(
        400,
        "invalid_request_error",
        message,
        Some(param),
        Some(code),
    )
}

fn retired(name: &str) -> Answer {
    let message = format!("The model '{name}' does not exist or you do not have access to it.");
    problem(
        404,
        "invalid_request_error",
        &message,
        None,
        Some("model_not_found"),
    )
}

fn out_of_quota() -> Answer {
    let message = "You exceeded your current quota, please check your plan and billing details. For more information \
                   on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.";
    problem(
        429,
        "insufficient_quota",
        message,
        None,
        Some("insufficient_quota"),
    )
}

fn throttled(refused: Refused) -> Answer {
    let wait = refused.wait;
    let message = format!(
        "Rate limit exceeded for images per minute in organization org-5bXqTjK2. Limit: {IMAGES_PER_MINUTE}/1min. \
         Current: {}/1min. Please try again in {}.{:03}s.",
        refused.used,
        wait.as_secs(),
        wait.subsec_millis()
    );
    let answer = problem(
        429,
        "rate_limit_exceeded",
        &message,
        None,
        Some("rate_limit_exceeded"),
    );
    limits(
        answer,
        Admitted {
            remaining: 0,
            reset: wait,
        },
    )
    .with(
        "retry-after",
        (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).to_string(),
    )
    .with("retry-after-ms", wait.as_millis().to_string())
}

fn blocked(stage: &str, request: &str) -> Answer {
    let message = format!(
        "Your request was rejected by the safety system. If you believe this is an error, contact us at \
         help.openai.com and include the request ID {request}. safety_violations=[sexual]."
    );
    Answer::json(
        400,
        &json!({ "error": {
            "message": message, "type": "image_generation_user_error", "param": null, "code": "moderation_blocked",
            "moderation_details": { "moderation_stage": stage, "categories": ["sexual"] },
        }}),
    )
}

fn limits(answer: Answer, admitted: Admitted) -> Answer {
    answer
        .with("x-ratelimit-limit-requests", IMAGES_PER_MINUTE.to_string())
        .with(
            "x-ratelimit-remaining-requests",
            admitted.remaining.to_string(),
        )
        .with(
            "x-ratelimit-reset-requests",
            format!("{}s", admitted.reset.as_secs().max(1)),
        )
        .with("x-ratelimit-limit-tokens", "8000000")
        .with("x-ratelimit-remaining-tokens", "7990000")
        .with("x-ratelimit-reset-tokens", "1s")
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
        return Err(problem(
            401,
            "invalid_request_error",
            &message,
            None,
            Some("invalid_api_key"),
        ));
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

fn ask(body: &Value) -> Result<Ask, Answer> {
    let fields = body
        .as_object()
        .ok_or_else(|| bad("body", "invalid_type", "The body must be a JSON object."))?;
    if let Some(unknown) = fields
        .keys()
        .find(|key| !PARAMETERS.contains(&key.as_str()))
    {
        return Err(bad(
            unknown,
            "unknown_parameter",
            &format!("Unknown parameter: '{unknown}'."),
        ));
    }
    let name = body.get("model").and_then(Value::as_str);
    let name = name.ok_or_else(|| {
        bad(
            "model",
            "missing_required_parameter",
            "Missing required parameter: 'model'.",
        )
    })?;
    let family = family(name).ok_or_else(|| retired(name))?;
    let prompt = body
        .get("prompt")
        .and_then(Value::as_str)
        .filter(|prompt| !prompt.is_empty());
    let prompt = prompt.ok_or_else(|| {
        bad(
            "prompt",
            "missing_required_parameter",
            "Missing required parameter: 'prompt'.",
        )
    })?;
    if prompt.chars().count() > 32_000 {
        let message =
            "Invalid 'prompt': string too long. Expected a string with maximum length 32000.";
        return Err(bad("prompt", "string_above_max_length", message));
    }
    let images = body
        .get("n")
        .map_or(Some(1), Value::as_u64)
        .filter(|n| (1..=10).contains(n));
    let images = images.ok_or_else(|| {
        bad(
            "n",
            "integer_out_of_range",
            "Invalid 'n': must be between 1 and 10.",
        )
    })?;
    let (quality, model) = tier(body, family)?;
    let (width, height) = side_rules(one_of(body, "size", &[])?.unwrap_or("auto"), family)
        .map_err(|message| bad("size", "invalid_value", &message))?;
    let format = one_of(body, "output_format", &["png", "jpeg", "webp"])?.and_then(Format::named);
    if one_of(body, "background", &["transparent", "opaque", "auto"])? == Some("transparent") {
        let message = "Transparent background is not supported for this model.";
        return Err(bad("background", "invalid_value", message));
    }
    one_of(body, "moderation", &["low", "auto"])?;
    Ok(Ask {
        model,
        prompt: prompt.to_owned(),
        images: u32::try_from(images).unwrap_or(1),
        width,
        height,
        tokens: image_tokens(family, &quality, width, height),
        quality,
        format: format.unwrap_or(Format::Png),
        stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// The quality as it is echoed, and the tier of the model that a gateway would call by its own name.
fn tier(body: &Value, family: Family) -> Result<(String, &'static Model), Answer> {
    let known: &[&str] = match family {
        Family::Gpt15 | Family::Gpt2 => &["low", "medium", "high", "auto"],
        Family::Flare25 | Family::Flare26 => &["low", "medium", "high", "xhigh", "max", "auto"],
    };
    let quality = one_of(body, "quality", known)?
        .filter(|quality| *quality != "auto")
        .unwrap_or("high");
    let tier = if matches!(quality, "low" | "medium") {
        quality
    } else {
        "high"
    };
    let model =
        model(&format!("openai/{}-{tier}", family.name())).ok_or_else(|| retired(family.name()))?;
    Ok((quality.to_owned(), model))
}

/// A string field, one of `values` unless that is empty.
fn one_of<'a>(body: &'a Value, name: &str, values: &[&str]) -> Result<Option<&'a str>, Answer> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let text = value
        .as_str()
        .filter(|text| values.is_empty() || values.contains(text));
    text.map(Some).ok_or_else(|| {
        let supported: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
        let message = format!(
            "Invalid value: {value}. Supported values are: {}.",
            supported.join(", ")
        );
        bad(name, "invalid_value", &message)
    })
}
