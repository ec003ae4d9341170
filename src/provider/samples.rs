//! A plain provider, model and step for the tests of this room: a test changes what it is about.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Op, Step};
use crate::domain::catalog::{Dialect, Latency, Model, Place, Provider, ProviderIx, Role, Sizes};
use crate::domain::image::{Format, Size};

/// A provider of `dialect` without options.
pub(super) fn provider(dialect: Dialect) -> Provider {
    Provider {
        name: dialect.name().into(),
        dialect,
        base_url: "https://provider.example".into(),
        off: None,
        local: false,
        only_on_prem: false,
        limits: Vec::new(),
        options: BTreeMap::new(),
        place: place(),
    }
}

/// A generator with these options.
pub(super) fn model<const N: usize>(remote: &str, options: [(&str, Value); N]) -> Model {
    Model {
        id: "provider/model".into(),
        provider: ProviderIx(0),
        remote: remote.into(),
        role: Role::Generate(Sizes::Listed(Vec::new())),
        prices: Vec::new(),
        tokens: None,
        retired: None,
        off: None,
        seed: true,
        max_seed: u64::MAX,
        negative_prompt: true,
        max_images: 4,
        max_prompt_chars: None,
        formats: vec![Format::Png],
        latency: Latency::default(),
        priors: Vec::new(),
        limits: Vec::new(),
        options: options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        place: place(),
    }
}

/// One picture of 1024x768 with a seed.
pub(super) fn step() -> Step<'static> {
    Step {
        op: Op::Generate,
        prompt: "a red bicycle",
        negative_prompt: None,
        size: Size::new(1024, 768),
        label: "4:3",
        scale: "",
        images: 1,
        seed: Some(42),
        format: Format::Png,
    }
}

fn place() -> Place {
    Place { file: "test.toml".into(), line: 1, column: 1 }
}
