//! The words in which Google refuses: `google.rpc.Status` in an envelope.

use std::time::Duration;

use serde_json::json;

use super::super::super::wire::Answer;
use super::Face;

pub(super) const NO_TOKEN: &str = "Request is missing required authentication credential. Expected OAuth 2 access token, login \
                        cookie or other valid authentication credential.";

pub(super) fn problem(code: u16, status: &str, message: &str) -> Answer {
    Answer::json(code, &json!({ "error": { "code": code, "message": message, "status": status } }))
}

pub(super) fn invalid(message: &str) -> Answer {
    problem(400, "INVALID_ARGUMENT", message)
}

pub(super) fn unknown_path(path: &str) -> Answer {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n<p><b>404.</b> The requested URL <code>{path}</code> was not found on this server.\n"
    );
    Answer::new(404, "text/html; charset=UTF-8", page)
}

pub(super) fn gone(model: &str) -> Answer {
    let message = format!(
        "models/{model} is not found for API version v1beta, or is not supported for predict. Call ListModels to see \
         the list of available models and their supported methods."
    );
    problem(404, "NOT_FOUND", &message)
}

pub(super) fn exhausted(model: &str, wait: Option<Duration>) -> Answer {
    let mut details = vec![
        json!({ "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel",
            "quotaDimensions": { "model": model, "location": "global" },
        }]}),
        json!({ "@type": "type.googleapis.com/google.rpc.Help", "links": [{
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }]}),
    ];
    if let Some(wait) = wait {
        let delay = format!("{}.{:09}s", wait.as_secs(), wait.subsec_nanos());
        details.push(json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay }));
    }
    let message = "You exceeded your current quota, please check your plan and billing details. For more information \
                   on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.";
    let status = "RESOURCE_EXHAUSTED";
    Answer::json(429, &json!({ "error": { "code": 429, "message": message, "status": status, "details": details } }))
}

/// The 404 of a model that a face does not serve.
pub(super) fn unserved(name: &str, face: Face) -> Answer {
    match face {
        Face::Gemini => problem(
            404,
            "NOT_FOUND",
            &format!(
                "models/{name} is not found for API version v1beta, or is not supported for generateContent. Call \
                 ListModels to see the list of available models and their supported methods."
            ),
        ),
        Face::Vertex => problem(
            404,
            "NOT_FOUND",
            &format!(
                "Publisher Model `publishers/google/models/{name}` was not found or your project does not have access to it."
            ),
        ),
    }
}
