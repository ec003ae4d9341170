//! Providers, their credentials, and callers' keys.
//!
//! Why it exists: a provider whose credential is missing is no mistake of the policy: it is off, and says why. A secret
//! in the file is one, and is not repeated. What it refuses to know: calls.

use std::sync::Arc;

use super::super::diagnostic::{Diagnostic, codes};
use super::super::raw::{self, At};
use super::super::snapshot::ApiKey;
use super::super::text;
use super::values::{Scope, base_url};
use super::{Credentials, Entry, World, limits, twice};
use crate::domain::catalog::{Catalog, Dialect, Provider};
use crate::domain::verify::PAYEE;
use crate::transport::{Endpoint, Secret};

/// The providers in the order of their names, and their credentials.
pub(super) fn providers(entries: &[Entry<'_, raw::Provider>], world: &World<'_>) -> (Vec<Provider>, Credentials) {
    entries.iter().map(|entry| provider(entry, world)).unzip()
}

fn provider(entry: &Entry<'_, raw::Provider>, world: &World<'_>) -> (Provider, Option<Secret>) {
    let Entry { scope, name, raw } = entry;
    if scope.name("provider", name) && name.value == PAYEE {
        let help = "call it otherwise: paid looks at pictures are booked under this name";
        scope.error(codes::E0402, format!("`{PAYEE}` is no name for a provider"), &name.span, "taken", help);
    }
    let dialect = dialect(entry);
    let address = if dialect == Dialect::Local { Ok(Arc::from("")) } else { address(entry, world) };
    let credential = credential(entry, world);
    let why = [
        raw.off.as_ref().map(|why| Arc::from(why.value.as_str())),
        address.as_ref().err().cloned(),
        credential.as_ref().err().cloned(),
    ];
    let provider = Provider {
        name: name.value.as_str().into(),
        dialect,
        base_url: address.unwrap_or_default(),
        off: why.into_iter().flatten().next(),
        local: raw.local || dialect == Dialect::Local,
        only_on_prem: raw.only_on_prem,
        limits: limits::limits(*scope, &raw.limits),
        options: raw.options.clone(),
        place: scope.place(&name.span),
    };
    (provider, credential.ok().flatten())
}

/// An unknown dialect is reported; the provider goes on as [`Dialect::Openai`], so that its models are checked too.
fn dialect(entry: &Entry<'_, raw::Provider>) -> Dialect {
    let named = entry.raw.dialect.as_ref();
    let wanted = named.unwrap_or(entry.name);
    if let Some(known) = Dialect::ALL.into_iter().find(|dialect| dialect.name() == wanted.value) {
        return known;
    }
    let names = Dialect::ALL.map(Dialect::name);
    let near = text::nearest(&wanted.value, names.into_iter());
    let all = names.join(", ");
    let help = match (near, named) {
        (Some(near), _) => format!("did you mean `{near}`? Dialects: {all}"),
        (None, Some(_)) => format!("dialects: {all}"),
        (None, None) => format!("say which wire format it speaks: dialect = \"openai\"; dialects: {all}"),
    };
    let message = format!("there is no dialect `{}`", wanted.value);
    entry.scope.error(codes::E0301, message, &wanted.span, "unknown dialect", &help);
    Dialect::Openai
}

/// Where its calls go, or why that is not known yet.
fn address(entry: &Entry<'_, raw::Provider>, world: &World<'_>) -> Result<Arc<str>, Arc<str>> {
    let Entry { scope, name, raw } = entry;
    let instead = world.overrides.get(&name.value).and_then(|instead| instead.base_url.as_deref());
    let Some(written) = &raw.base_url else {
        if !scope.is_excused(&name.span, &["base_url"]) {
            let help = "base_url = \"https://…\", or \"env:NAME\" for a server of your own";
            let message = format!("provider `{}` has no address", name.value);
            scope.error(codes::E0103, message, &name.span, "needs `base_url`", help);
        }
        return Err("".into());
    };
    let (text, from) = match written.value.strip_prefix("env:") {
        _ if instead.is_some() => (instead.unwrap_or_default().to_owned(), Some("the address in the settings")),
        None => (written.value.clone(), None),
        Some(variable) => {
            variable_name(*scope, variable, written);
            match world.env.var(variable).filter(|value| !value.trim().is_empty()) {
                Some(value) => (value.trim().to_owned(), Some(variable)),
                None => return Err(format!("{variable} is not set").into()),
            }
        }
    };
    base_url(&text).map_err(|wrong| {
        if let Some(origin) = from {
            return format!("{origin} is {wrong}").into();
        }
        // A password may stand in it.
        let hidden = if text.contains('@') { &scope.source.masked(&written.span) } else { scope.source };
        let help = "write scheme and host: \"https://api.example.com\"";
        let message = "`base_url` is not a base URL".to_owned();
        Scope { source: hidden, ..*scope }.error(codes::E0203, message, &written.span, wrong, help);
        "".into()
    })
}

/// The credential; `Ok(None)` where the policy names none, `Err` with what is missing.
fn credential(entry: &Entry<'_, raw::Provider>, world: &World<'_>) -> Result<Option<Secret>, Arc<str>> {
    let Entry { scope, name, raw } = entry;
    let instead = world.overrides.get(&name.value).and_then(|instead| instead.key.clone());
    match &raw.key {
        None => Ok(instead),
        Some(written) => secret(*scope, written, instead, world),
    }
}

/// The credential at the place that is written, or `instead` of it; `Err` with what is missing.
pub(super) fn secret(
    scope: Scope<'_>,
    written: &At<String>,
    instead: Option<Secret>,
    world: &World<'_>,
) -> Result<Option<Secret>, Arc<str>> {
    let (text, origin) = match written.value.split_once(':') {
        Some(("env", variable)) if variable_name(scope, variable, written) => (world.env.var(variable), variable),
        Some(("file", path)) if !path.is_empty() => (None, path),
        Some(("env" | "file", _)) => return Ok(None),
        _ => {
            literal_secret(scope, written);
            return Ok(None);
        }
    };
    if instead.is_some() {
        return Ok(instead);
    }
    let text = match (text, written.value.starts_with("file:")) {
        (_, true) => world.env.read(origin).map_err(|error| Arc::from(format!("cannot read {origin}: {error}")))?,
        (Some(text), false) => text,
        (None, false) => return Err(format!("{origin} is not set").into()),
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("{origin} is empty").into());
    }
    if !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(format!("{origin} holds a character that no header may carry").into());
    }
    Ok(Secret::new(text))
}

fn variable_name(scope: Scope<'_>, variable: &str, written: &At<String>) -> bool {
    let fits = !variable.is_empty() && variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !fits {
        let message = format!("`{variable}` is not the name of an environment variable");
        let help = "write letters, digits and `_`: \"env:STABILITY_API_KEY\"";
        scope.error(codes::E0208, message, &written.span, "", help);
    }
    fits
}

/// Points at the secret without printing it.
fn literal_secret(scope: Scope<'_>, written: &At<String>) {
    let hidden = scope.source.masked(&written.span);
    let found = Diagnostic::new(codes::E0206, "a secret does not belong in a policy")
        .label(&hidden, &written.span, "hidden here, readable in the file")
        .help(
            "say where it is: \"env:NAME\" or \"file:/run/secrets/name\"; and replace the key, it may have been seen",
        );
    scope.sink.report(found);
}

/// Warns of providers that sell nothing.
pub(super) fn unused(entries: &[Entry<'_, raw::Provider>], models: &[Entry<'_, raw::Model>], start: Scope<'_>) {
    if models.is_empty() {
        let help = "add a model: [model.\"provider/name\"]";
        start.error(codes::W0001, "the policy has no model".to_owned(), &(0..0), "can buy nothing", help);
        return;
    }
    for Entry { scope, name, raw } in entries {
        let sells = models.iter().any(|model| model.name.value.split('/').next() == Some(name.value.as_str()));
        if !sells && raw.off.is_none() {
            let message = format!("provider `{}` has no models", name.value);
            let help = format!("add one, [model.\"{}/…\"], or take the provider out", name.value);
            scope.error(codes::W0301, message, &name.span, "never used", &help);
        }
    }
}

/// One endpoint a provider, in the catalog's order.
pub(super) fn endpoints(catalog: &Catalog, credentials: Credentials) -> Vec<Endpoint> {
    let endpoint = |(provider, credential): (&Provider, Option<Secret>)| Endpoint {
        provider: Arc::clone(&provider.name),
        base_url: Arc::clone(&provider.base_url).into(),
        credential,
    };
    catalog.providers.iter().zip(credentials).map(endpoint).collect()
}

/// Callers' keys.
pub(super) fn keys(rows: &[(Scope<'_>, &raw::Key)]) -> Vec<ApiKey> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for (at, (scope, row)) in rows.iter().enumerate() {
        let (Some(name), Some(written)) = (&row.name, &row.sha256) else {
            continue;
        };
        scope.name("key", name);
        let earlier = || rows.iter().take(at);
        if let Some((first, other)) = earlier().find(|(_, other)| other.name.as_ref() == Some(name)) {
            let span = other.name.as_ref().map_or(0..0, |name| name.span.clone());
            twice(*scope, &format!("the key `{}`", name.value), &name.span, *first, &span);
        }
        if let Some(hash) = sha256(&written.value) {
            keys.push(ApiKey {
                name: name.value.as_str().into(),
                sha256: hash,
                owner: format!("key:{}", name.value).into(),
                limits: limits::limits(*scope, &row.limits),
                reviewer: row.reviewer,
                place: scope.place(&name.span),
            });
        } else {
            let hidden = scope.source.masked(&written.span);
            let found = Diagnostic::new(codes::E0207, format!("the hash of key `{}` is malformed", name.value))
                .label(&hidden, &written.span, "not 64 hexadecimal digits")
                .help("`tollgate key new NAME` prints a key once, and its row");
            scope.sink.report(found);
        }
    }
    keys
}

fn sha256(hex: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}
