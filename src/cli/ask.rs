//! Flags and lines into the JSON body of a request.
//!
//! Why it exists: `generate`, `batch` and `explain` send the same body for the same words. What it refuses to know:
//! whether the values are in range; the gateway says so with the field's name.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::args::AskFlags;
use super::exit::Failure;
use super::wire;

/// A request body.
pub(crate) type Body = Map<String, Value>;

/// The fields that were given as flags.
pub(crate) fn fields(flags: &AskFlags) -> Body {
    let mut body = Body::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("width", flags.width.map(Value::from));
    put("height", flags.height.map(Value::from));
    put("size", flags.size.clone().map(Value::from));
    put("aspect_ratio", flags.aspect_ratio.clone().map(Value::from));
    put("n", flags.n.map(Value::from));
    put("seed", flags.seed.map(Value::from));
    put("negative_prompt", flags.negative_prompt.clone().map(Value::from));
    put("task", flags.task.clone().map(Value::from));
    put("quality", flags.quality.as_deref().map(quality));
    put("max_cost_usd", flags.max_cost_usd.map(wire::dollars));
    put("deadline_ms", flags.deadline_ms.map(Value::from));
    put("model", flags.model.clone().map(Value::from));
    put("data_policy", flags.data_policy.map(name_of));
    put("fit", flags.fit.map(name_of));
    put("output_format", flags.output_format.map(name_of));
    let metadata: Map<_, _> = flags.metadata.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    put("metadata", (!metadata.is_empty()).then(|| metadata.into()));
    put("strict", flags.strict.then_some(Value::Bool(true)));
    body
}

/// The flags' fields with this prompt.
pub(crate) fn body(prompt: &str, flags: &AskFlags) -> Body {
    let mut body = fields(flags);
    body.insert("prompt".to_owned(), prompt.into());
    body
}

/// A JSON object whose fields win over the flags.
pub(crate) fn merged(text: &str, flags: &AskFlags) -> Result<Body, String> {
    let own: Value = serde_json::from_str(text).map_err(|why| format!("not JSON: {why}"))?;
    let Value::Object(own) = own else {
        return Err("not a JSON object, such as {\"prompt\": \"a red bicycle\"}".to_owned());
    };
    let mut body = fields(flags);
    // A line that spells its size in one way must not meet a flag that spells it in another.
    let spellings = ["width", "height", "w", "h", "size", "aspect_ratio"];
    if spellings.iter().any(|name| own.contains_key(*name)) {
        body.retain(|name, _| !spellings.contains(&name.as_str()));
    }
    body.extend(own);
    Ok(body)
}

/// The text of a file, or of stdin for `-`.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|why| Failure::usage(format!("{} cannot be read: {why}", path.display())))
}

/// A probability is a number; everything else is a tier's name.
fn quality(text: &str) -> Value {
    text.parse::<f64>().ok().filter(|p| p.is_finite()).map_or_else(|| text.into(), Value::from)
}

fn name_of(flag: impl clap::ValueEnum + Copy) -> Value {
    flag.to_possible_value().map(|value| value.get_name().into()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::args::{DataPolicyFlag, FormatFlag};
    use super::*;

    #[test]
    fn flags_spell_the_fields() {
        let flags = AskFlags {
            size: Some("512x512".to_owned()),
            quality: Some("0.75".to_owned()),
            max_cost_usd: "0.04".parse().ok(),
            data_policy: Some(DataPolicyFlag::OnPrem),
            output_format: Some(FormatFlag::Webp),
            metadata: vec![("project".to_owned(), "autumn".to_owned())],
            ..AskFlags::default()
        };
        let expected = json!({
            "prompt": "a fox", "size": "512x512", "quality": 0.75, "max_cost_usd": 0.04, "data_policy": "on-prem",
            "output_format": "webp", "metadata": {"project": "autumn"}
        });
        assert_eq!(Value::Object(body("a fox", &flags)), expected);
    }

    #[test]
    fn a_line_wins_over_the_flags() {
        let flags =
            AskFlags { width: Some(512), height: Some(512), quality: Some("draft".to_owned()), ..AskFlags::default() };
        let line = r#"{"prompt": "a fox", "size": "1024x768"}"#;
        let expected = json!({"prompt": "a fox", "size": "1024x768", "quality": "draft"});
        assert_eq!(merged(line, &flags).map(Value::Object), Ok(expected));
        assert!(merged("{\"prompt\": ", &flags).is_err());
        assert!(merged("[1]", &flags).is_err());
    }
}
