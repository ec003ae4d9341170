//! Validates a graph as the server does: every output node with all that it leans on, errors gathered by node.
//!
//! A graph with one good output runs, and the bad ones are only mentioned: a 200 that carries errors.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::super::wire::Answer;
use super::nodes::{Input, Node, class};

/// What may run, and what is wrong with the rest.
pub(super) struct Checked {
    /// Ids of output nodes that are good.
    pub(super) outputs: Vec<String>,
    /// `node_errors` as they are sent.
    pub(super) errors: Value,
}

/// Errors of one node, and the outputs that fail by them.
#[derive(Default)]
struct Wrong {
    errors: Vec<Value>,
    outputs: BTreeSet<String>,
}

/// Checks `graph`; `uploads` are the names that `LoadImage` may name.
pub(super) fn check(graph: &Map<String, Value>, uploads: &[String]) -> Result<Checked, Answer> {
    for (id, node) in graph {
        let name = node.get("class_type").and_then(Value::as_str);
        let name = name.ok_or_else(|| missing(id, "a node is missing the class_type property."))?;
        if class(name).is_none() {
            return Err(missing(id, &format!("Node '{name}' not found. The custom node may not be installed.")));
        }
    }
    let outputs: Vec<&String> =
        graph.iter().filter(|(_, node)| described(node).is_some_and(|node| node.is_output)).map(|(id, _)| id).collect();
    if outputs.is_empty() {
        return Err(refusal("prompt_no_outputs", "Prompt has no outputs", "", &json!({})));
    }
    let mut walk = Walk { graph, uploads, wrong: BTreeMap::new() };
    let good: Vec<String> = outputs.into_iter().filter(|id| walk.is_good(id, id, &mut Vec::new())).cloned().collect();
    let errors = walk.node_errors();
    if good.is_empty() {
        return Err(refusal("prompt_outputs_failed_validation", "Prompt outputs failed validation", "", &errors));
    }
    Ok(Checked { outputs: good, errors })
}

/// A 400 of `POST /prompt`.
pub(super) fn refusal(kind: &str, message: &str, details: &str, node_errors: &Value) -> Answer {
    let error = json!({ "type": kind, "message": message, "details": details, "extra_info": {} });
    Answer::json(400, &json!({ "error": error, "node_errors": node_errors }))
}

fn missing(id: &str, message: &str) -> Answer {
    refusal("missing_node_type", message, &format!("Node ID '#{id}'"), &json!({}))
}

fn described(node: &Value) -> Option<&'static Node> {
    class(node.get("class_type")?.as_str()?)
}

struct Walk<'a> {
    graph: &'a Map<String, Value>,
    uploads: &'a [String],
    wrong: BTreeMap<String, Wrong>,
}

impl Walk<'_> {
    /// Whether node `id` and all below it are good; what is wrong is blamed on `output` too.
    fn is_good(&mut self, id: &str, output: &str, above: &mut Vec<String>) -> bool {
        let Some(node) = self.graph.get(id) else {
            return false;
        };
        let Some(described) = described(node) else {
            return false;
        };
        if above.iter().any(|seen| seen == id) {
            self.blame(id, output, "dependency_cycle", "Dependency cycle detected", "", &Value::Null);
            return false;
        }
        above.push(id.to_owned());
        let mut good = true;
        for (name, input) in described.inputs {
            let given = node.get("inputs").and_then(|inputs| inputs.get(name)).filter(|given| !given.is_null());
            let fits = match given {
                None => {
                    let extra = json!({ "input_name": name });
                    self.blame(id, output, "required_input_missing", "Required input is missing", name, &extra);
                    false
                }
                Some(given) => self.fits(id, output, (name, *input), given, above),
            };
            good &= fits;
        }
        above.pop();
        good
    }

    fn fits(
        &mut self,
        id: &str,
        output: &str,
        (name, input): (&str, Input),
        given: &Value,
        above: &mut Vec<String>,
    ) -> bool {
        let (kind, message, details) = match (input, given) {
            (Input::Link(wanted), Value::Array(link)) => match self.linked(link, wanted) {
                Ok(below) => return self.is_good(&below, output, above),
                Err(wrong) => wrong,
            },
            (Input::Link(_), _) => (
                "bad_linked_input",
                "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                name.to_owned(),
            ),
            (input, given) => match value(name, input, given, self.uploads) {
                Ok(()) => return true,
                Err(wrong) => wrong,
            },
        };
        let config = input.config(self.uploads);
        let extra = json!({ "input_name": name, "input_config": config, "received_value": given });
        self.blame(id, output, kind, message, &details, &extra);
        false
    }

    /// The node that a link leads to, when that output has the wanted type.
    fn linked(&self, link: &[Value], wanted: &str) -> Result<String, (&'static str, &'static str, String)> {
        let [Value::String(id), slot] = link else {
            return Err((
                "bad_linked_input",
                "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                String::new(),
            ));
        };
        let found = self.graph.get(id).and_then(described);
        let outputs = found.map(|node| node.outputs).unwrap_or_default();
        let slot = slot.as_u64().and_then(|slot| usize::try_from(slot).ok());
        match slot.and_then(|slot| outputs.get(slot)) {
            Some(kind) if *kind == wanted => Ok(id.clone()),
            Some(kind) => Err((
                "return_type_mismatch",
                "Return type mismatch between linked nodes",
                format!("received_type({kind}) mismatch input_type({wanted})"),
            )),
            None => {
                Err(("exception_during_inner_validation", "Exception when validating inner node", format!("'{id}'")))
            }
        }
    }

    fn blame(&mut self, id: &str, output: &str, kind: &str, message: &str, details: &str, extra: &Value) {
        let wrong = self.wrong.entry(id.to_owned()).or_default();
        let error = json!({ "type": kind, "message": message, "details": details, "extra_info": extra });
        if !wrong.errors.contains(&error) {
            wrong.errors.push(error);
        }
        wrong.outputs.insert(output.to_owned());
    }

    fn node_errors(&self) -> Value {
        let errors = self.wrong.iter().map(|(id, wrong)| {
            let class = self.graph.get(id).and_then(|node| node.get("class_type"));
            let entry = json!({ "errors": wrong.errors, "dependent_outputs": wrong.outputs, "class_type": class });
            (id.clone(), entry)
        });
        Value::Object(errors.collect())
    }
}

/// Whether a literal fits an input.
fn value(
    name: &str,
    input: Input,
    given: &Value,
    uploads: &[String],
) -> Result<(), (&'static str, &'static str, String)> {
    let below = || ("value_smaller_than_min", "Value smaller than min", name.to_owned());
    let above = || ("value_bigger_than_max", "Value bigger than max", name.to_owned());
    let mistyped = |kind: &str| {
        let details = format!("{name}, {given}, could not convert to {kind}");
        ("invalid_input_type", "Failed to convert an input value to a known type", details)
    };
    match input {
        Input::Link(_) | Input::Text if given.is_string() => Ok(()),
        Input::Link(_) | Input::Text => Err(mistyped("STRING")),
        Input::Whole(least, most) => match (given.as_u64(), given.as_i64(), given.as_f64()) {
            (Some(number), _, _) if number < least => Err(below()),
            (Some(number), _, _) if number > most => Err(above()),
            (Some(_), _, _) => Ok(()),
            (None, Some(_), _) => Err(below()),
            (None, None, Some(number)) if number.fract() == 0.0 && number > 0.0 => Ok(()),
            _ => Err(mistyped("INT")),
        },
        Input::Real(least, most) => match given.as_f64() {
            Some(number) if number < least => Err(below()),
            Some(number) if number > most => Err(above()),
            Some(_) => Ok(()),
            None => Err(mistyped("FLOAT")),
        },
        Input::OneOf(values) => match given.as_str() {
            Some(text) if values.contains(&text) => Ok(()),
            _ => Err(("value_not_in_list", "Value not in list", not_in(name, given, values))),
        },
        Input::Upload => match given.as_str() {
            Some(text) if uploads.iter().any(|name| name == text) => Ok(()),
            _ => {
                let text = given.as_str().unwrap_or_default();
                let details = format!("{name} - Invalid image file: {text}");
                Err(("custom_validation_failed", "Custom validation failed for node", details))
            }
        },
    }
}

fn not_in(name: &str, given: &Value, values: &[&str]) -> String {
    let given = given.as_str().map_or_else(|| given.to_string(), |text| format!("'{text}'"));
    let values: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
    format!("{name}: {given} not in [{}]", values.join(", "))
}
