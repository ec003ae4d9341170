//! The control routes under `/_sandbox`, for tests and rehearsals: the bill, the verdict of a person, planned faults.
//!
//! They refuse to change what a provider says except through faults, and to answer a bad body with a guess.

use std::fmt::Write;

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::door::House;
use super::fault::Fault;
use super::truth;
use super::wire::{Answer, Call};

/// Answers a call whose path begins with `/_sandbox`.
pub(super) fn answer(house: &House, call: &Call) -> Answer {
    match (&call.method, call.path.as_str()) {
        (&Method::GET, "/_sandbox/calls") => match serde_json::to_string(&house.world.bill.lines()) {
            Ok(lines) => Answer::new(200, "application/json", lines),
            Err(error) => problem(500, &error.to_string()),
        },
        (&Method::POST, "/_sandbox/verdict") => verdict(house, call),
        (&Method::PUT, "/_sandbox/faults") => faults(house, call),
        (&Method::DELETE, "/_sandbox") => {
            house.forget();
            Answer::empty(204)
        }
        (_, "/_sandbox/calls" | "/_sandbox/verdict" | "/_sandbox/faults" | "/_sandbox") => {
            problem(405, "this control route takes another method")
        }
        _ => problem(404, "no such control route"),
    }
}

/// The plain-text page at `/`.
pub(super) fn page(house: &House) -> Answer {
    let mut text = "Simulated image providers, one path prefix each:\n\n".to_owned();
    for (prefix, key) in super::providers() {
        let key = if key.is_empty() { "no key" } else { key };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "  /{prefix:<24}{key}");
    }
    text.push_str(
        "\nAny key of the right form is taken; one that contains \"wrong\" is refused, \"sk-broke\" has no money, and one\n\
         that contains \"unlimited\" has no rate limit. \"nsfw\" in a prompt is refused, \"nsfw-output\" is filtered.\n\n\
         Control routes:\n\n\
         \x20 GET    /_sandbox/calls     every call and what it was billed\n\
         \x20 POST   /_sandbox/verdict   {models, prompt, seed}: would a person accept it\n\
         \x20 PUT    /_sandbox/faults    [{provider, model?, path?, status?, stall_ms?, at?, reset?, truncate?, garbage?, times?, ratio?}]\n\
         \x20 DELETE /_sandbox           forget calls, faults and spent limits\n",
    );
    let super::Options { seed, speed } = house.world.options;
    let _ = writeln!(text, "\nSeed {seed}, speed {speed}.");
    Answer::text(200, text)
}

#[derive(Deserialize)]
struct Question {
    models: Vec<String>,
    prompt: String,
    #[serde(default)]
    seed: Option<u64>,
}

fn verdict(house: &House, call: &Call) -> Answer {
    let question: Question = match serde_json::from_slice(&call.body) {
        Ok(question) => question,
        Err(error) => return problem(400, &format!("not a verdict question: {error}")),
    };
    let seed = question.seed.unwrap_or_default();
    match truth::accept(house.world.options.seed, &question.models, &question.prompt, seed) {
        Ok(verdict) => Answer::json(200, &json!({ "accepted": verdict.accepted, "p": verdict.p })),
        Err(message) => problem(400, &message),
    }
}

fn faults(house: &House, call: &Call) -> Answer {
    let faults: Vec<Fault> = match serde_json::from_slice(&call.body) {
        Ok(faults) => faults,
        Err(error) => return problem(400, &format!("not a list of faults: {error}")),
    };
    let known = house.prefixes();
    let wrong = faults.iter().enumerate().find_map(|(at, fault)| fault.problem(&known).map(|wrong| (at, wrong)));
    if let Some((at, wrong)) = wrong {
        return problem(400, &format!("fault {at}: {wrong}"));
    }
    let planned = faults.len();
    house.world.faults.replace(faults);
    Answer::json(200, &json!({ "faults": planned }))
}

fn problem(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "error": { "message": message } }))
}
