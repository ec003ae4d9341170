//! Every setting: its name, what it takes, where it goes.
//!
//! Why it exists: files, environment and error messages all read this one table. What it refuses to know: layers.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::super::args::address;
use super::{Entry, Mistake, Settings, Written};
use crate::policy::Override;
use crate::state::Durability;
use crate::state::encoder::Pixels;
use crate::telemetry::log::Look;
use crate::transport::Secret;
use crate::transport::webhook::Signers;

/// What a setting takes, and the field that it fills.
enum Kind {
    Address(fn(&mut Settings) -> &mut SocketAddr),
    Choice(&'static [&'static str], fn(&mut Settings, &str)),
    List(fn(&mut Settings) -> &mut Vec<String>),
    Path(fn(&mut Settings) -> &mut Option<PathBuf>),
    Signers(fn(&mut Settings) -> &mut Option<Signers>),
    Switch(fn(&mut Settings) -> &mut bool),
    Text(fn(&mut Settings) -> &mut Option<String>),
    Whole(RangeInclusive<u64>, fn(&mut Settings) -> &mut u64),
}

const KEYS: &[(&str, &str, Kind)] = &[
    ("audit", "encoder", Kind::Path(|s| &mut s.audit.encoder)),
    ("audit", "hours", Kind::Whole(0..=8_760, |s| &mut s.audit.hours)),
    ("audit", "pixels", Kind::Choice(&Pixels::NAMES, pixels)),
    ("audit", "window", Kind::Whole(8..=2_048, |s| &mut s.audit.window)),
    ("data", "dir", Kind::Path(|s| &mut s.data)),
    ("images", "url", Kind::Text(|s| &mut s.images_url)),
    ("jobs", "at_once", Kind::Whole(1..=10_000, |s| &mut s.jobs.at_once)),
    ("ledger", "durability", Kind::Choice(&["power", "process"], durability)),
    ("ledger", "url", Kind::Text(|s| &mut s.ledger.url)),
    ("log", "format", Kind::Choice(&["auto", "text", "json"], format)),
    ("log", "level", Kind::Choice(&["error", "warn", "info", "debug", "trace"], level)),
    ("log", "prompts", Kind::Switch(|s| &mut s.log.prompts)),
    ("policy", "path", Kind::Path(|s| &mut s.policy)),
    ("server", "admin", Kind::Address(|s| &mut s.server.admin)),
    ("server", "body_limit", Kind::Whole(1_024..=1 << 30, |s| &mut s.server.body_limit)),
    ("server", "drain_seconds", Kind::Whole(0..=3_600, |s| &mut s.server.drain_seconds)),
    ("server", "listen", Kind::Address(|s| &mut s.server.listen)),
    ("server", "max_connections", Kind::Whole(1..=1_000_000, |s| &mut s.server.max_connections)),
    ("server", "max_in_flight", Kind::Whole(1..=1_000_000, |s| &mut s.server.max_in_flight)),
    ("server", "proxy", Kind::Address(|s| &mut s.server.proxy)),
    ("server", "public_url", Kind::Text(|s| &mut s.public_url)),
    ("server", "read_seconds", Kind::Whole(1..=3_600, |s| &mut s.server.read_seconds)),
    ("state", "url", Kind::Text(|s| &mut s.state_url)),
    ("traces", "percent", Kind::Whole(0..=100, |s| &mut s.traces.percent)),
    ("traces", "url", Kind::Text(|s| &mut s.traces.url)),
    ("trial", "evidence", Kind::Whole(1..=1_000_000, |s| &mut s.trial.evidence)),
    ("trial", "mode", Kind::Choice(&["shadow", "canary"], |s, word| s.trial.canary = word == "canary")),
    ("trial", "percent", Kind::Whole(1..=100, |s| &mut s.trial.percent)),
    ("trial", "policy", Kind::Path(|s| &mut s.trial.policy)),
    ("trial", "stop_acceptance", Kind::Whole(0..=100, |s| &mut s.trial.stop_acceptance)),
    ("trial", "stop_cost", Kind::Whole(0..=10_000, |s| &mut s.trial.stop_cost)),
    ("trial", "stop_errors", Kind::Whole(0..=100, |s| &mut s.trial.stop_errors)),
    ("webhooks", "own", Kind::List(|s| &mut s.jobs.own)),
    ("webhooks", "secrets", Kind::Signers(|s| &mut s.jobs.signers)),
];

/// What may stand for the built-in stores.
const BUILT_IN: [&str; 3] = ["local", "memory", "sqlite"];

fn durability(settings: &mut Settings, word: &str) {
    settings.ledger.durability = if word == "process" { Durability::Process } else { Durability::Power };
}

fn format(settings: &mut Settings, word: &str) {
    settings.log.format = match word {
        "json" => Look::Json,
        "text" => Look::Human,
        _ => Look::Auto,
    };
}

fn level(settings: &mut Settings, word: &str) {
    settings.log.level = word.parse().unwrap_or(LevelFilter::INFO);
}

fn pixels(settings: &mut Settings, word: &str) {
    settings.audit.pixels = Pixels::from_name(word).unwrap_or_default();
}

/// Fills in one entry.
pub(super) fn apply(settings: &mut Settings, entry: &Entry) -> Result<(), Mistake> {
    let key: Vec<&str> = entry.key.iter().map(String::as_str).collect();
    match key.as_slice() {
        ["providers", provider, field] => self::provider(settings, entry, provider, field),
        [section, name] => match KEYS.iter().find(|(of, key, _)| of == section && key == name) {
            Some((_, _, kind)) => fill(settings, entry, kind),
            None => Err(unknown(entry)),
        },
        _ => Err(unknown(entry)),
    }
}

fn fill(settings: &mut Settings, entry: &Entry, kind: &Kind) -> Result<(), Mistake> {
    match kind {
        Kind::Address(field) => {
            let wrong = || misfit(entry, "an address and a port, such as 127.0.0.1:8080");
            *field(settings) = address(text(entry).ok_or_else(wrong)?).map_err(|_| wrong())?;
        }
        Kind::Choice(words, set) => {
            let word = text(entry).filter(|word| words.contains(word));
            set(settings, word.ok_or_else(|| misfit(entry, &format!("one of {}", words.join(", "))))?);
        }
        Kind::List(field) => {
            let list = text(entry).ok_or_else(|| misfit(entry, "a list parted by commas"))?;
            *field(settings) =
                list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        }
        Kind::Signers(field) => {
            let read = text(entry).and_then(Secret::new).map(|secrets| Signers::read(&secrets));
            let wanted =
                "secrets such as whsec_… (24 to 64 random bytes in base64), the newest first, parted by spaces";
            *field(settings) = Some(read.and_then(Result::ok).ok_or_else(|| misfit(entry, wanted))?);
        }
        Kind::Path(field) => {
            let path = text(entry).filter(|path| !path.is_empty()).ok_or_else(|| misfit(entry, "a path"))?;
            *field(settings) = Some(PathBuf::from(path));
        }
        Kind::Switch(field) => {
            *field(settings) = switch(&entry.value).ok_or_else(|| misfit(entry, "true or false"))?;
        }
        Kind::Text(field) => {
            let url = text(entry).ok_or_else(|| misfit(entry, "a URL"))?;
            *field(settings) = (!url.is_empty() && !BUILT_IN.contains(&url)).then(|| url.to_owned());
        }
        Kind::Whole(range, field) => {
            let wanted = || format!("a whole number from {} to {}", range.start(), range.end());
            let number = whole(&entry.value).filter(|number| range.contains(number));
            *field(settings) = number.ok_or_else(|| misfit(entry, &wanted()))?;
        }
    }
    Ok(())
}

fn provider(settings: &mut Settings, entry: &Entry, provider: &str, field: &str) -> Result<(), Mistake> {
    let text = text(entry).filter(|text| !text.is_empty());
    match field {
        "base_url" => {
            let fits = |text: &&str| text.starts_with("http://") || text.starts_with("https://");
            let url = text.filter(fits).ok_or_else(|| misfit(entry, "a URL, such as https://api.example.com"))?;
            held(settings, provider).base_url = Some(url.trim_end_matches('/').to_owned());
        }
        "key" => {
            let key = text.and_then(Secret::new).ok_or_else(|| misfit(entry, "a credential"))?;
            held(settings, provider).key = Some(key);
        }
        _ => return Err(unknown(entry)),
    }
    Ok(())
}

/// The provider's override. An environment variable's name has no hyphens: it means the provider that is known with
/// them.
fn held<'a>(settings: &'a mut Settings, provider: &str) -> &'a mut Override {
    let known = settings.providers.keys().find(|known| known.replace('-', "_") == provider).cloned();
    settings.providers.entry(known.unwrap_or_else(|| provider.to_owned())).or_default()
}

fn text(entry: &Entry) -> Option<&str> {
    match &entry.value {
        Written::Text(text) => Some(text),
        _ => None,
    }
}

fn switch(value: &Written) -> Option<bool> {
    match value {
        Written::Switch(switch) => Some(*switch),
        Written::Text(text) => match text.as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn whole(value: &Written) -> Option<u64> {
    match value {
        Written::Whole(number) => u64::try_from(*number).ok(),
        Written::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// A value of the wrong kind. A credential is never repeated.
fn misfit(entry: &Entry, wanted: &str) -> Mistake {
    let secret = entry.key.last().is_some_and(|name| name == "key" || name == "secrets");
    let found = match &entry.value {
        Written::Text(text) if text.is_empty() => "empty".to_owned(),
        Written::Text(_) if secret => "text".to_owned(),
        Written::Text(text) => format!("`{text}`"),
        Written::Switch(switch) => format!("`{switch}`"),
        Written::Whole(number) => format!("`{number}`"),
        Written::Other(kind) => (*kind).to_owned(),
    };
    let what = format!("`{}` is {found}, and should be {wanted}", entry.key.join("."));
    Mistake { what, help: None, origin: Some(entry.origin.clone()) }
}

fn unknown(entry: &Entry) -> Mistake {
    let name = entry.key.join(".");
    let mut known: Vec<String> = KEYS.iter().map(|(section, key, _)| format!("{section}.{key}")).collect();
    if let [section, provider, ..] = entry.key.as_slice()
        && section == "providers"
    {
        known = ["base_url", "key"].map(|field| format!("providers.{provider}.{field}")).into();
    }
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(&name, known), known)).min();
    let help = match near {
        Some((distance, near)) if distance <= (name.len() / 4).clamp(1, 4) => format!("did you mean `{near}`?"),
        _ => help(entry),
    };
    Mistake { what: format!("no setting `{name}`"), help: Some(help), origin: Some(entry.origin.clone()) }
}

/// The names that the section has, or the sections that there are.
fn help(entry: &Entry) -> String {
    let section = entry.key.first().map_or("", String::as_str);
    let names: Vec<_> = KEYS.iter().filter(|(of, _, _)| *of == section).map(|(_, name, _)| *name).collect();
    if section == "providers" {
        return "write providers.NAME.base_url or providers.NAME.key".to_owned();
    }
    if !names.is_empty() {
        return format!("`{section}` has {}", names.join(", "));
    }
    let mut sections: Vec<_> = KEYS.iter().map(|(section, _, _)| *section).chain(["providers"]).collect();
    sections.sort_unstable();
    sections.dedup();
    format!("the sections are {}", sections.join(", "))
}
