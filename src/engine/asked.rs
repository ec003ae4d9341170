//! An ask as text and back: what a job keeps of its request.
//!
//! Why it exists: a job is done long after its connection, perhaps by another process, so its ask is written down whole.
//! What it refuses to know: the inbound wire; this is our own form of what was read from it. To add a field of [`Ask`]:
//! here, both ways; the test fails until it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::image::{Format, Size};
use crate::domain::money::Money;
use crate::domain::request::{Ask, DataPolicy, Fit, ModelChoice, Prompt, Quality, ResponseFormat};

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the ask, which has a type for it")]
struct Asked {
    prompt: Arc<str>,
    width: u32,
    height: u32,
    n: u8,
    seed: Option<u32>,
    negative_prompt: Option<Arc<str>>,
    task: Option<String>,
    quality: Option<f64>,
    tier: Option<String>,
    max_cost_micros: Option<i64>,
    deadline_us: Option<u64>,
    model: Option<String>,
    on_prem: bool,
    nearest: bool,
    output_format: String,
    link: bool,
    metadata: BTreeMap<String, String>,
    strict: bool,
}

/// The text of an ask.
pub(super) fn write(ask: &Ask) -> String {
    let (quality, tier) = match &ask.quality {
        None => (None, None),
        Some(Quality::AtLeast(least)) => (Some(*least), None),
        Some(Quality::Tier(tier)) => (None, Some(tier.clone())),
    };
    let asked = Asked {
        prompt: ask.prompt.as_str().into(),
        width: ask.size.width,
        height: ask.size.height,
        n: ask.n,
        seed: ask.seed,
        negative_prompt: ask.negative_prompt.clone(),
        task: ask.task.clone(),
        quality,
        tier,
        max_cost_micros: ask.max_cost.map(Money::micros),
        deadline_us: ask.deadline.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        model: match &ask.model {
            ModelChoice::Auto => None,
            ModelChoice::Pinned(id) => Some(id.clone()),
        },
        on_prem: ask.data_policy == DataPolicy::OnPrem,
        nearest: ask.fit == Fit::Nearest,
        output_format: ask.output_format.name().to_owned(),
        link: ask.response_format == ResponseFormat::Url,
        metadata: ask.metadata.clone(),
        strict: ask.strict,
    };
    // Text, numbers and maps with text keys always serialise.
    serde_json::to_string(&asked).unwrap_or_default()
}

/// The ask of a text; `None` when it is none.
pub(super) fn read(text: &str) -> Option<Ask> {
    let asked: Asked = serde_json::from_str(text).ok()?;
    let mut ask = Ask::of(Prompt::new(asked.prompt)?);
    ask.size = Size::new(asked.width, asked.height);
    ask.n = asked.n;
    ask.seed = asked.seed;
    ask.negative_prompt = asked.negative_prompt;
    ask.task = asked.task;
    ask.quality = asked.quality.map(Quality::AtLeast).or(asked.tier.map(Quality::Tier));
    ask.max_cost = asked.max_cost_micros.map(Money::from_micros);
    ask.deadline = asked.deadline_us.map(Duration::from_micros);
    ask.model = asked.model.map_or(ModelChoice::Auto, ModelChoice::Pinned);
    ask.data_policy = if asked.on_prem { DataPolicy::OnPrem } else { DataPolicy::Any };
    ask.fit = if asked.nearest { Fit::Nearest } else { Fit::Exact };
    ask.output_format = Format::from_name(&asked.output_format)?;
    ask.response_format = if asked.link { ResponseFormat::Url } else { ResponseFormat::B64Json };
    ask.metadata = asked.metadata;
    ask.strict = asked.strict;
    Some(ask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_comes_back_whole() {
        let bare = Ask::of(Prompt::new("a \"red\" fox\n").unwrap());
        // Every field by name, so that a new one does not compile until it is thought of.
        let full = Ask {
            prompt: Prompt::new("é").unwrap(),
            size: Size::new(640, 512),
            n: 3,
            seed: Some(0),
            negative_prompt: Some("text".into()),
            task: Some("hero".to_owned()),
            quality: Some(Quality::AtLeast(0.8)),
            max_cost: Some(Money::from_micros(7)),
            deadline: Some(Duration::from_micros(20_000_001)),
            model: ModelChoice::Pinned("a/b".to_owned()),
            data_policy: DataPolicy::OnPrem,
            fit: Fit::Nearest,
            output_format: Format::Webp,
            response_format: ResponseFormat::Url,
            metadata: [("a".to_owned(), "b".to_owned())].into(),
            strict: true,
        };
        let tier = Ask { quality: Some(Quality::Tier("draft".to_owned())), ..bare.clone() };
        for ask in [bare, full, tier] {
            assert_eq!(read(&write(&ask)), Some(ask));
        }
        assert_eq!(read("{}"), None);
    }
}
