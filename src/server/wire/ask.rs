//! A body's bytes to an [`Ask`], each field in the contract's range, or the refusal that names the field.
//!
//! Why it exists: past this module nothing checks a range again. What it refuses to know: the policy; a task, tier or
//! model is only a name here. To add a field: its name in `fields.rs`, its reader here, and `domain::request::Ask`.

use std::time::Duration;

use super::fields::{Fields, Surface};
use super::size;
use super::value::bad;
use crate::domain::image::Format;
use crate::domain::refusal::Refusal;
use crate::domain::request::{
    Ask, DataPolicy, Fit, MAX_IMAGES, MAX_PROMPT_CHARS, MAX_SEED, ModelChoice, Prompt, Quality, ResponseFormat,
};

/// The longest deadline: a day.
const MAX_DEADLINE_MS: u64 = 86_400_000;
/// The longest name of a task, tier or model, in characters.
const MAX_NAME: usize = 200;

const PROMPT: &str = "a string of 1 to 10,000 characters, such as \"a red fox in the snow\"";
const FORMATS: [(&str, Format); 4] =
    [("png", Format::Png), ("jpeg", Format::Jpeg), ("webp", Format::Webp), ("jpg", Format::Jpeg)];

/// A body, read.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::server) struct Parsed {
    /// What is asked.
    pub(in crate::server) ask: Ask,
    /// What the caller should know, unknown fields first.
    pub(in crate::server) warnings: Vec<String>,
    /// Whether the body names an `output_format`.
    pub(in crate::server) names_format: bool,
    /// Where the end of a job is told.
    pub(in crate::server) webhook: Option<String>,
}

/// Reads the body of `/generate` or `/plan`.
pub(in crate::server) fn parse(body: &[u8]) -> Result<Parsed, Refusal> {
    let fields = Fields::read(body, Surface::Native)?;
    let mut ask = common(&fields)?;
    if let Some(value) = fields.value("quality") {
        ask.quality = Some(quality(&fields)?.ok_or_else(|| value.wants(QUALITY))?);
    }
    if let Some(name) = name(&fields, "model", "a model id such as \"stability/sd3.5-medium\", or \"auto\"")? {
        ask.model = if name == "auto" { ModelChoice::Auto } else { ModelChoice::Pinned(name) };
    }
    let names_format = fields.value("output_format").is_some();
    Ok(Parsed { ask, warnings: fields.warnings(), names_format, webhook: webhook(&fields)? })
}

/// The fields that every route reads alike: all but `quality` and `model`.
pub(super) fn common(fields: &Fields<'_>) -> Result<Ask, Refusal> {
    common_of(fields, Ask::of(prompt(fields)?))
}

/// The same over an ask whose prompt is settled.
pub(super) fn common_of(fields: &Fields<'_>, mut ask: Ask) -> Result<Ask, Refusal> {
    if let Some(size) = size::read(fields)? {
        ask.size = size;
    }
    if let Some(value) = fields.value("n") {
        ask.n = u8::try_from(value.integer(1..=u64::from(MAX_IMAGES), 2)?).unwrap_or(MAX_IMAGES);
    }
    if let Some(value) = fields.value("seed") {
        ask.seed = Some(u32::try_from(value.integer(0..=u64::from(MAX_SEED), 42)?).unwrap_or(MAX_SEED));
    }
    if let Some(value) = fields.value("negative_prompt") {
        ask.negative_prompt = negative_prompt(value.text("a string such as \"text, watermark\"")?.as_ref(), fields)?;
    }
    ask.task = name(fields, "task", "the name of a task of the policy, such as \"concept\"")?;
    ask.max_cost = fields.value("max_cost_usd").map(|value| value.usd()).transpose()?;
    if let Some(value) = fields.value("deadline_ms") {
        ask.deadline = Some(Duration::from_millis(value.integer(1..=MAX_DEADLINE_MS, 30_000)?));
    }
    if let Some(value) = fields.value("data_policy") {
        ask.data_policy = value.word(&[("any", DataPolicy::Any), ("on-prem", DataPolicy::OnPrem)])?;
    }
    if let Some(value) = fields.value("fit") {
        ask.fit = value.word(&[("exact", Fit::Exact), ("nearest", Fit::Nearest)])?;
    }
    if let Some(value) = fields.value("output_format") {
        ask.output_format = value.word(&FORMATS)?;
    }
    if let Some(value) = fields.value("response_format") {
        ask.response_format = value.word(&[("b64_json", ResponseFormat::B64Json), ("url", ResponseFormat::Url)])?;
    }
    if let Some(value) = fields.value("metadata") {
        ask.metadata = value.pairs()?;
    }
    ask.strict = fields.value("strict").map_or(Ok(false), |value| value.flag())?;
    Ok(ask)
}

pub(super) const QUALITY: &str = "a number from 0 to 1 such as 0.8, or the name of a tier of the policy";

/// `quality` as a number or a tier; `None` when absent.
pub(super) fn quality(fields: &Fields<'_>) -> Result<Option<Quality>, Refusal> {
    let Some(value) = fields.value("quality") else {
        return Ok(None);
    };
    if value.is_number() {
        return Ok(Some(Quality::AtLeast(value.number(0.0..=1.0, QUALITY)?)));
    }
    let text = value.text(QUALITY)?;
    if text.parse::<f64>().is_ok() {
        return Err(value.refuse(format!("`quality` is the string {}; write the number without quotes", value.json)));
    }
    Ok(name(fields, "quality", QUALITY)?.map(Quality::Tier))
}

/// A name of the policy.
pub(super) fn name(fields: &Fields<'_>, field: &'static str, what: &str) -> Result<Option<String>, Refusal> {
    let Some(value) = fields.value(field) else {
        return Ok(None);
    };
    let text = value.text(what)?;
    let fits = !text.trim().is_empty() && text.chars().count() <= MAX_NAME;
    if fits { Ok(Some(text.into_owned())) } else { Err(value.wants(what)) }
}

/// `webhook` as its address, which is looked at more closely when it is used.
pub(super) fn webhook(fields: &Fields<'_>) -> Result<Option<String>, Refusal> {
    const WANTED: &str = "an object such as {\"url\": \"https://example.com/hook\"}";
    let Some(value) = fields.value("webhook") else {
        return Ok(None);
    };
    let read: Option<serde_json::Value> = serde_json::from_str(value.json).ok();
    let url = read.as_ref().and_then(|read| read.get("url")?.as_str());
    let web = url.filter(|url| url.starts_with("https://") || url.starts_with("http://"));
    web.map(|url| Some(url.to_owned())).ok_or_else(|| value.wants(WANTED))
}

fn prompt(fields: &Fields<'_>) -> Result<Prompt, Refusal> {
    let Some(value) = fields.value("prompt") else {
        return Err(bad("/prompt", format!("`prompt` is missing; it must be {PROMPT}")));
    };
    let text = value.text(PROMPT)?;
    if text.trim().is_empty() {
        return Err(value.refuse("`prompt` is blank; say what the image shows"));
    }
    Prompt::new(&*text).ok_or_else(|| {
        let chars = text.chars().count();
        value.refuse(format!("`prompt` has {chars} characters; it may have at most {MAX_PROMPT_CHARS}"))
    })
}

/// Bounded as a prompt is; an empty one says nothing.
fn negative_prompt(text: &str, fields: &Fields<'_>) -> Result<Option<std::sync::Arc<str>>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    match (Prompt::new(text), fields.value("negative_prompt")) {
        (None, Some(value)) => {
            let most = format!("`negative_prompt` may have at most {MAX_PROMPT_CHARS} characters");
            Err(value.refuse(most))
        }
        _ => Ok(Some(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::Size;
    use crate::domain::money::Money;

    fn error(body: &str) -> String {
        match parse(body.as_bytes()) {
            Err(Refusal::InvalidRequest { pointer, detail }) => format!("{pointer}: {detail}"),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_bare_prompt_has_every_default() {
        let parsed = parse(br#"{"prompt":"a red fox"}"#).unwrap();
        assert_eq!(parsed.ask, Ask::of(Prompt::new("a red fox").unwrap()));
        assert!(parsed.warnings.is_empty() && !parsed.names_format);
    }

    #[test]
    fn every_field_is_read() {
        let body = r#"{"prompt":"a \"red\" fox","size":"640x512","n":2,"seed":0,"negative_prompt":"text","task":"hero",
            "quality":0.8,"max_cost_usd":0.04,"deadline_ms":20000,"model":"stability/core","data_policy":"on-prem",
            "fit":"nearest","output_format":"jpg","response_format":"url","metadata":{"project":"spring"},"strict":true}"#;
        let ask = parse(body.as_bytes()).unwrap().ask;
        let want = Ask {
            size: Size::new(640, 512),
            n: 2,
            seed: Some(0),
            negative_prompt: Some("text".into()),
            task: Some("hero".to_owned()),
            quality: Some(Quality::AtLeast(0.8)),
            max_cost: Some(Money::from_micros(40_000)),
            deadline: Some(Duration::from_secs(20)),
            model: ModelChoice::Pinned("stability/core".to_owned()),
            data_policy: DataPolicy::OnPrem,
            fit: Fit::Nearest,
            output_format: Format::Jpeg,
            response_format: ResponseFormat::Url,
            metadata: [("project".to_owned(), "spring".to_owned())].into(),
            strict: true,
            ..Ask::of(Prompt::new("a \"red\" fox").unwrap())
        };
        assert_eq!(ask, want);
    }

    #[test]
    fn a_tier_is_a_name() {
        let ask = parse(br#"{"prompt":"x","quality":"draft","model":"auto","seed":4294967294}"#).unwrap().ask;
        assert_eq!(ask.quality, Some(Quality::Tier("draft".to_owned())));
        assert_eq!((ask.model, ask.seed), (ModelChoice::Auto, Some(MAX_SEED)));
    }

    #[test]
    fn null_is_absent() {
        let parsed = parse(br#"{"prompt":"x","n":null,"seed":null,"webhook":null,"metadata":null}"#).unwrap();
        assert_eq!(parsed.ask, Ask::of(Prompt::new("x").unwrap()));
    }

    #[test]
    fn a_prompt_of_ten_thousand_characters_passes_and_one_more_does_not() {
        let body = |chars| format!(r#"{{"prompt":"{}"}}"#, "é".repeat(chars));
        assert!(parse(body(10_000).as_bytes()).is_ok());
        assert!(error(&body(10_001)).contains("10001 characters"));
    }

    #[test]
    fn faults_stand_at_their_field() {
        for (body, start) in [
            ("", ": the body must be a JSON object such as {\"prompt\":\"a red fox\"}; it is empty"),
            ("[]", ": the body must be a JSON object such as {\"prompt\":\"a red fox\"}; it is an array"),
            ("<a>", ": the body must be a JSON object"),
            ("{\"prompt\":\"x\"", ": the body is not JSON: EOF"),
            ("{\"prompt\":\"x\"} {}", ": the body is not JSON: trailing characters"),
            ("{\"prompt\":\"x}", "/prompt: the body is not JSON"),
            ("{\"prompt\":NaN}", "/prompt: the body is not JSON"),
            ("{\"prompt\":\"x\",\"n\":01}", "/n: the body is not JSON"),
            ("{}", "/prompt: `prompt` is missing"),
            ("{\"prompt\":null}", "/prompt: `prompt` is missing"),
            ("{\"prompt\":\"\"}", "/prompt: `prompt` is blank"),
            ("{\"prompt\":\" \\n\"}", "/prompt: `prompt` is blank"),
            ("{\"prompt\":7}", "/prompt: `prompt` must be a string of 1 to 10,000 characters, such as \"a red fox"),
            ("{\"prompt\":\"x\",\"prompt\":\"y\"}", "/prompt: `prompt` stands twice"),
            ("{\"prompt\":\"x\",\"n\":0}", "/n: `n` must be an integer from 1 to 8, such as 2; it is 0"),
            ("{\"prompt\":\"x\",\"n\":9}", "/n: "),
            (
                "{\"prompt\":\"x\",\"n\":\"2\"}",
                "/n: `n` must be an integer from 1 to 8, such as 2; it is the string \"2\"",
            ),
            ("{\"prompt\":\"x\",\"seed\":4294967295}", "/seed: "),
            ("{\"prompt\":\"x\",\"seed\":-1}", "/seed: "),
            ("{\"prompt\":\"x\",\"seed\":1.5}", "/seed: "),
            ("{\"prompt\":\"x\",\"quality\":1.01}", "/quality: "),
            ("{\"prompt\":\"x\",\"quality\":\"0.8\"}", "/quality: `quality` is the string \"0.8\"; write the number"),
            ("{\"prompt\":\"x\",\"quality\":true}", "/quality: `quality` must be a number from 0 to 1"),
            ("{\"prompt\":\"x\",\"max_cost_usd\":-0.01}", "/max_cost_usd: "),
            ("{\"prompt\":\"x\",\"max_cost_usd\":\"0.05\"}", "/max_cost_usd: "),
            ("{\"prompt\":\"x\",\"deadline_ms\":0}", "/deadline_ms: "),
            ("{\"prompt\":\"x\",\"deadline_ms\":1e400}", "/deadline_ms: "),
            ("{\"prompt\":\"x\",\"model\":\"\"}", "/model: "),
            ("{\"prompt\":\"x\",\"model\":{}}", "/model: "),
            ("{\"prompt\":\"x\",\"task\":[]}", "/task: "),
            (
                "{\"prompt\":\"x\",\"data_policy\":\"cloud\"}",
                "/data_policy: `data_policy` must be one of \"any\", \"on-prem\"",
            ),
            ("{\"prompt\":\"x\",\"fit\":\"crop\"}", "/fit: "),
            ("{\"prompt\":\"x\",\"output_format\":\"gif\"}", "/output_format: "),
            ("{\"prompt\":\"x\",\"response_format\":\"b64\"}", "/response_format: "),
            ("{\"prompt\":\"x\",\"webhook\":\"http://x\"}", "/webhook: `webhook` must be an object such as"),
            ("{\"prompt\":\"x\",\"webhook\":{\"url\":\"ftp://x\"}}", "/webhook: `webhook` must be an object such as"),
            ("{\"prompt\":\"x\",\"metadata\":{\"a\":1}}", "/metadata/a: "),
            ("{\"prompt\":\"x\",\"strict\":1}", "/strict: `strict` must be true or false; it is 1"),
            ("{\"prompt\":\"x\",\"negative_prompt\":1}", "/negative_prompt: "),
            ("{\"prompt\":\"\\ud800\"}", "/prompt: `prompt` is not Unicode text"),
            ("{\"prompt\":\"a\\u0000\"}", "/prompt: `prompt` contains the character U+0000"),
        ] {
            let text = error(body);
            assert!(text.starts_with(start), "{body}\n  got  {text}\n  want {start}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let Err(Refusal::InvalidRequest { pointer, detail }) = parse(b"{\"prompt\":\"\xff\"}") else { panic!() };
        assert_eq!((pointer.as_str(), detail.contains("byte 11")), ("", true), "{detail}");
    }

    proptest::proptest! {
        #[test]
        fn parsing_is_total(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"{\"prompt\":\"x\",\"seed\":", &bytes[..], b"}"].concat());
        }
    }
}
