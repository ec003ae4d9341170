//! A step put into a workflow: the graph of the policy's file with its placeholders filled.
//!
//! Why it exists: a graph can load any file and run any node of its server, so callers never send one; they fill typed
//! holes in one that the operator wrote. What it refuses to know: nodes and their inputs.
//!
//! A placeholder is a whole text value, `"{{seed}}"`, and is replaced by a value of its own type: text stays text, a
//! number is a number. Text is never searched, so a prompt cannot hold a placeholder. To add one: [`Slot`].

use serde_json::{Value, json};

use super::digest;
use crate::domain::catalog::Model;
use crate::provider::{Op, Step, Unsupported};

/// The model's workflow with `step` in it; `image` is the server's name of the picture to enlarge.
///
/// What a step asks must have its place: a workflow without `{{negative_prompt}}` cannot take one, and so on.
pub(super) fn filled(step: &Step<'_>, model: &Model, image: Option<&str>) -> Result<Value, Unsupported> {
    let template =
        model.options.get("workflow").filter(|graph| graph.is_object()).ok_or_else(|| {
            Unsupported(format!("{} needs the option `workflow`: a graph in the API format", model.id))
        })?;
    let mut filling = Filling { step, image, prefix: prefix(step, model, image), used: Vec::new() };
    let graph = filling.fill(template)?;
    let needed = [
        (Slot::Prompt, matches!(step.op, Op::Generate)),
        (Slot::Image, matches!(step.op, Op::Upscale { .. })),
        (Slot::NegativePrompt, step.negative_prompt.is_some()),
        (Slot::Seed, step.seed.is_some()),
        (Slot::Batch, step.images > 1),
    ];
    match needed.into_iter().find(|(slot, asked)| *asked && !filling.used.contains(slot)) {
        Some((slot, _)) => Err(Unsupported(format!("the workflow of {} has no {}", model.id, slot.name()))),
        None => Ok(graph),
    }
}

/// A hole in a workflow.
#[derive(Clone, Copy, PartialEq)]
enum Slot {
    Prompt,
    NegativePrompt,
    Seed,
    Width,
    Height,
    Batch,
    Image,
    Prefix,
}

impl Slot {
    const ALL: [Self; 8] = [
        Self::Prompt,
        Self::NegativePrompt,
        Self::Seed,
        Self::Width,
        Self::Height,
        Self::Batch,
        Self::Image,
        Self::Prefix,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Prompt => "{{prompt}}",
            Self::NegativePrompt => "{{negative_prompt}}",
            Self::Seed => "{{seed}}",
            Self::Width => "{{width}}",
            Self::Height => "{{height}}",
            Self::Batch => "{{batch}}",
            Self::Image => "{{image}}",
            Self::Prefix => "{{prefix}}",
        }
    }
}

struct Filling<'a> {
    step: &'a Step<'a>,
    image: Option<&'a str>,
    prefix: String,
    used: Vec<Slot>,
}

impl Filling<'_> {
    fn fill(&mut self, template: &Value) -> Result<Value, Unsupported> {
        match template {
            Value::String(text) if text.contains("{{") => {
                let slot = Slot::ALL.into_iter().find(|slot| slot.name() == text).ok_or_else(|| {
                    Unsupported(format!("`{text}` in a workflow is no placeholder: one is a whole value"))
                })?;
                self.used.push(slot);
                self.value(slot)
            }
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect::<Result<_, _>>().map(Value::Array),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(name, field)| Ok((name.clone(), self.fill(field)?)));
                filled.collect::<Result<_, _>>().map(Value::Object)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(template.clone()),
        }
    }

    fn value(&self, slot: Slot) -> Result<Value, Unsupported> {
        let step = self.step;
        let missing = |what| Unsupported(format!("the workflow wants {}, and the step has no {what}", slot.name()));
        Ok(match slot {
            Slot::Prompt => step.prompt.into(),
            Slot::NegativePrompt => step.negative_prompt.unwrap_or_default().into(),
            Slot::Seed => step.seed.ok_or_else(|| missing("seed"))?.into(),
            Slot::Width => step.size.width.into(),
            Slot::Height => step.size.height.into(),
            Slot::Batch => step.images.into(),
            Slot::Image => self.image.ok_or_else(|| missing("picture"))?.into(),
            Slot::Prefix => self.prefix.as_str().into(),
        })
    }
}

/// The start of the names of the files that are saved: another for every step, because a graph that changes in nothing
/// is served from the server's cache, some versions of which then tell no outputs.
fn prefix(step: &Step<'_>, model: &Model, image: Option<&str>) -> String {
    let Step { prompt, negative_prompt, size, images, seed, .. } = step;
    let told = json!([&*model.id, prompt, negative_prompt, size.to_string(), images, seed, image]).to_string();
    format!("tollgate_{}", digest("prefix", told.as_bytes()).simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::{Format, Size};
    use crate::provider::samples;
    use bytes::Bytes;

    fn fill(graph: Value, step: &Step<'_>, image: Option<&str>) -> Result<Value, String> {
        filled(step, &samples::model("", [("workflow", graph)]), image).map_err(|why| why.0)
    }

    #[test]
    fn a_placeholder_becomes_a_value_of_its_type() {
        let graph = json!({"1": {"inputs": {
            "text": "{{prompt}}", "not": "{{negative_prompt}}", "seed": "{{seed}}", "width": "{{width}}",
            "sizes": ["{{height}}", "{{batch}}", 1.5, null, "{plain}"],
        }}});
        let step = Step { seed: Some(u64::MAX), prompt: "a \"{{seed}}\"", images: 3, ..samples::step() };
        let expected = json!({"1": {"inputs": {
            "text": "a \"{{seed}}\"", "not": "", "seed": u64::MAX, "width": 1024,
            "sizes": [768, 3, 1.5, null, "{plain}"],
        }}});
        assert_eq!(fill(graph, &step, None), Ok(expected));
    }

    #[test]
    fn the_prefix_is_another_for_another_step() {
        let graph = json!({"prompt": "{{prompt}}", "prefix": "{{prefix}}"});
        let prefix = |seed| {
            let step = Step { seed: None, prompt: seed, ..samples::step() };
            fill(graph.clone(), &step, None).unwrap()["prefix"].clone()
        };
        assert_eq!(prefix("a"), prefix("a"));
        assert_ne!(prefix("a"), prefix("b"));
    }

    #[test]
    fn a_workflow_that_cannot_take_the_step_is_refused() {
        let full = json!(["{{prompt}}", "{{seed}}"]);
        let seedless = Step { seed: None, ..samples::step() };
        let picture = Bytes::new();
        let from = Size::new(8, 8);
        let upscale =
            Step { op: Op::Upscale { image: &picture, format: Format::Png, from }, seed: None, ..samples::step() };
        let rows = [
            (json!({"a": full}), seedless.clone(), "no seed"),
            (json!({"a": "{{prompt}}"}), samples::step(), "has no {{seed}}"),
            (json!({"a": "{{seed}}"}), samples::step(), "has no {{prompt}}"),
            (json!({"a": full}), Step { images: 2, ..samples::step() }, "has no {{batch}}"),
            (json!({"a": full}), Step { negative_prompt: Some("x"), ..samples::step() }, "has no {{negative_prompt}}"),
            (json!({"a": "{{prompt}}", "b": "{{image}}"}), seedless.clone(), "no picture"),
            (json!({"a": "{{prompt}}"}), upscale, "has no {{image}}"),
            (json!({"a": "{{promt}}"}), seedless.clone(), "`{{promt}}`"),
            (json!({"a": "nice, {{prompt}}"}), seedless.clone(), "whole value"),
            (json!("sd35-large.json"), seedless, "API format"),
        ];
        for (graph, step, reason) in rows {
            let why = fill(graph.clone(), &step, None).unwrap_err();
            assert!(why.contains(reason), "{graph}: {why}");
        }
    }
}
