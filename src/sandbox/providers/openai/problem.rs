//! The words in which `OpenAI` refuses, and the headers that speak of its limits.

use serde_json::json;

use super::super::super::limit::{Admitted, Refused};
use super::super::super::wire::Answer;
use super::IMAGES_PER_MINUTE;

pub(super) fn problem(status: u16, kind: &str, message: &str, param: Option<&str>, code: Option<&str>) -> Answer {
    Answer::json(status, &json!({ "error": { "message": message, "type": kind, "param": param, "code": code } }))
}

pub(super) fn bad(param: &str, code: &str, message: &str) -> Answer {
    problem(400, "invalid_request_error", message, Some(param), Some(code))
}

pub(super) fn retired(name: &str) -> Answer {
    let message = format!("The model '{name}' does not exist or you do not have access to it.");
    problem(404, "invalid_request_error", &message, None, Some("model_not_found"))
}

pub(super) fn out_of_quota() -> Answer {
    let message = "You exceeded your current quota, please check your plan and billing details. For more information \
                   on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.";
    problem(429, "insufficient_quota", message, None, Some("insufficient_quota"))
}

pub(super) fn throttled(refused: Refused) -> Answer {
    let wait = refused.wait;
    let message = format!(
        "Rate limit exceeded for images per minute in organization org-5bXqTjK2. Limit: {IMAGES_PER_MINUTE}/1min. \
         Current: {}/1min. Please try again in {}.{:03}s.",
        refused.used,
        wait.as_secs(),
        wait.subsec_millis()
    );
    let answer = problem(429, "rate_limit_exceeded", &message, None, Some("rate_limit_exceeded"));
    limits(answer, Admitted { remaining: 0, reset: wait })
        .with("retry-after", (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).to_string())
        .with("retry-after-ms", wait.as_millis().to_string())
}

pub(super) fn blocked(stage: &str, request: &str) -> Answer {
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

pub(super) fn limits(answer: Answer, admitted: Admitted) -> Answer {
    answer
        .with("x-ratelimit-limit-requests", IMAGES_PER_MINUTE.to_string())
        .with("x-ratelimit-remaining-requests", admitted.remaining.to_string())
        .with("x-ratelimit-reset-requests", format!("{}s", admitted.reset.as_secs().max(1)))
        .with("x-ratelimit-limit-tokens", "8000000")
        .with("x-ratelimit-remaining-tokens", "7990000")
        .with("x-ratelimit-reset-tokens", "1s")
}
