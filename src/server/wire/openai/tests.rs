use std::sync::Arc;

use jiff::civil::date;

use super::*;
use crate::domain::catalog::{Dialect, Latency, Place, Price, Provider, ProviderIx, Role, Sizes, Unit};
use crate::domain::image::Size;
use crate::domain::money::Money;
use crate::server::problem::Readers;
use crate::server::wire::answer::tests::{read, served};

fn place() -> Place {
    Place { file: "policies/x.toml".into(), line: 1, column: 1 }
}

fn provider(name: &str, off: Option<&str>) -> Provider {
    Provider {
        name: name.into(),
        dialect: Dialect::Openai,
        base_url: "https://example.test".into(),
        off: off.map(Arc::from),
        local: false,
        only_on_prem: false,
        limits: Vec::new(),
        options: std::collections::BTreeMap::default(),
        place: place(),
    }
}

fn generator(id: &str, provider: u16, remote: &str) -> Model {
    Model {
        id: id.into(),
        provider: ProviderIx(provider),
        remote: remote.into(),
        role: Role::Generate(Sizes::Listed(Vec::new())),
        prices: vec![Price {
            from: date(2026, 4, 1),
            size: None,
            max_pixels: None,
            unit: Unit::Image,
            usd: Money::from_micros(35_000),
            place: place(),
        }],
        tokens: None,
        retired: None,
        off: None,
        seed: true,
        max_seed: 1,
        negative_prompt: false,
        max_images: 1,
        max_prompt_chars: None,
        formats: Vec::new(),
        latency: Latency::default(),
        priors: Vec::new(),
        limits: Vec::new(),
        options: std::collections::BTreeMap::default(),
        place: place(),
    }
}

fn catalog() -> Catalog {
    let mut retired = generator("openai/old", 0, "gpt-image-1");
    retired.retired = Some(date(2026, 1, 1));
    Catalog {
        providers: vec![provider("openai", None), provider("mirror", Some("no key"))],
        models: vec![
            generator("mirror/gpt-image-2", 1, "gpt-image-2"),
            generator("openai/image-2", 0, "gpt-image-2"),
            retired,
        ],
        ..Catalog::default()
    }
}

fn market(catalog: &Catalog) -> Market<'_> {
    Market { catalog, tiers: vec!["draft", "hero"], today: date(2026, 11, 22) }
}

fn ask(body: &str) -> Result<Parsed, String> {
    let catalog = catalog();
    parse(body.as_bytes(), &market(&catalog)).map_err(|problem| read(problem.answer(Readers::Openai, "r1").into_body()))
}

#[test]
fn what_the_sdk_sends_is_taken() {
    let parsed =
        ask(r#"{"prompt":"x","model":"gpt-image-2","n":2,"size":"auto","quality":"high","background":"opaque",
        "moderation":"low","user":"u","style":"vivid","stream":false,"output_compression":80,"seed":7}"#)
        .unwrap();
    assert_eq!(parsed.ask.model, ModelChoice::Pinned("openai/image-2".to_owned()), "the usable one of two");
    assert_eq!(parsed.ask.quality, Some(Quality::Tier("hero".to_owned())));
    assert_eq!((parsed.ask.n, parsed.ask.size, parsed.ask.seed), (2, Size::new(1024, 1024), Some(7)));
    assert_eq!(parsed.warnings.len(), 5, "{:?}", parsed.warnings);
    assert!(parsed.warnings.iter().all(|warning| warning.ends_with("ignored")));
}

#[test]
fn words_of_quality_are_tiers() {
    let quality = |word: &str| ask(&format!(r#"{{"prompt":"x","quality":{word}}}"#)).unwrap().ask.quality;
    let tier = |name: &str| Some(Quality::Tier(name.to_owned()));
    for (word, want) in [
        ("\"low\"", tier("draft")),
        ("\"medium\"", None),
        ("\"standard\"", None),
        ("\"auto\"", None),
        ("\"hd\"", tier("hero")),
        ("\"draft\"", tier("draft")),
        ("\"final\"", tier("final")),
        ("0.7", Some(Quality::AtLeast(0.7))),
    ] {
        assert_eq!(quality(word), want, "{word}");
    }
}

#[test]
fn models_go_by_id_or_by_the_provider_s_name() {
    let model = |name: &str| ask(&format!(r#"{{"prompt":"x","model":"{name}"}}"#)).map(|parsed| parsed.ask.model);
    let pinned = |id: &str| Ok(ModelChoice::Pinned(id.to_owned()));
    assert_eq!(model("auto"), Ok(ModelChoice::Auto));
    assert_eq!(model("mirror/gpt-image-2"), pinned("mirror/gpt-image-2"));
    assert_eq!(model("gpt-image-1"), pinned("openai/old"), "the engine says why not");
    let body: serde_json::Value = serde_json::from_str(&model("dall-e-3").unwrap_err()).unwrap();
    assert_eq!((&body["status"], &body["error"]["code"]), (&404.into(), &"model_not_found".into()));
    assert_eq!(body["error"]["param"], "model");
}

#[test]
fn a_stream_is_refused() {
    let body: serde_json::Value = serde_json::from_str(&ask(r#"{"prompt":"x","stream":true}"#).unwrap_err()).unwrap();
    assert_eq!((&body["status"], &body["error"]["param"]), (&400.into(), &"/stream".into()));
}

#[test]
fn the_answer_is_what_the_sdk_reads() {
    let image = bytes::Bytes::from_static(b"\x89PNG");
    let json = |carry| -> serde_json::Value {
        serde_json::from_str(&read(answer(&served(std::slice::from_ref(&image)), carry, "http://h:1"))).unwrap()
    };
    let body = json(ResponseFormat::B64Json);
    assert_eq!(body["created"], 1_795_000_000);
    assert_eq!(body["data"], serde_json::json!([{"b64_json": "iVBORw=="}]));
    assert_eq!((&body["output_format"], &body["size"]), (&"png".into(), &"512x512".into()));
    assert_eq!(body["tollgate"]["cost"]["usd"], 0.035);
    assert_eq!(body["tollgate"]["id"], "gen_1");
    let link = json(ResponseFormat::Url)["data"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(link, format!("http://h:1/images/{}.png", "ab".repeat(32)));
}

#[test]
fn the_list_has_auto_and_what_can_be_bought() {
    let catalog = catalog();
    let list: serde_json::Value = serde_json::from_str(&read(models(&market(&catalog)))).unwrap();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert_eq!((list["object"].as_str(), ids), (Some("list"), vec!["auto", "openai/image-2"]));
    assert_eq!(list["data"][1]["owned_by"], "openai");
    assert_eq!(list["data"][1]["created"], 1_775_001_600);
    let one: serde_json::Value =
        serde_json::from_str(&read(one_model("openai/image-2", &market(&catalog)).unwrap())).unwrap();
    assert_eq!(one, list["data"][1]);
    assert!(one_model("openai/old", &market(&catalog)).is_err());
}
