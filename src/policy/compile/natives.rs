//! Routes of the pass-through: patterns, places, prices.
//!
//! Why it exists: a route that names a place which cannot be read, or a model that nobody sells, would refuse every call,
//! and two routes for one call would hide a price; all are found here. What it refuses to know: requests.

use std::time::Duration;

use super::super::diagnostic::codes;
use super::super::raw::{self, At};
use super::super::text;
use super::values::Scope;
use super::{Entry, twice};
use crate::domain::catalog::{Catalog, ProviderIx};
use crate::domain::native::{Field, Names, Native, Pattern, Place, Route, Tariff};

/// The longest silence of a provider unless the policy says so; the vendors' SDKs wait as long.
const PATIENCE: Duration = Duration::from_mins(10);

/// The pass-through.
pub(super) fn native(
    proxy: Option<(Scope<'_>, &At<raw::Proxy>)>,
    providers: &[Entry<'_, raw::Provider>],
    catalog: &Catalog,
) -> Native {
    let patience = proxy.and_then(|(scope, raw)| scope.duration("patience", raw.value.patience.as_ref()?));
    let of_provider = |(ix, entry): (u16, &Entry<'_, raw::Provider>)| routes(entry, ProviderIx(ix), catalog);
    Native {
        on: proxy.and_then(|(_, raw)| raw.value.on.as_ref()).is_some_and(|on| on.value),
        patience: patience.unwrap_or(PATIENCE),
        routes: (0..).zip(providers).map(of_provider).collect(),
    }
}

fn routes(entry: &Entry<'_, raw::Provider>, ix: ProviderIx, catalog: &Catalog) -> Vec<Route> {
    let scope = entry.scope;
    let mut routes: Vec<(Route, &At<raw::Route>)> = Vec::new();
    for row in &entry.raw.route {
        let Some(route) = route(scope, row, ix, catalog) else {
            continue;
        };
        let same = |other: &&(Route, &At<raw::Route>)| other.0.method == route.method && other.0.path == route.path;
        match routes.iter().find(same) {
            Some((_, first)) => {
                twice(scope, &format!("the route `{} {}`", route.method, route.path), &row.span, scope, &first.span);
            }
            None => routes.push((route, row)),
        }
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

fn route(scope: Scope<'_>, row: &At<raw::Route>, ix: ProviderIx, catalog: &Catalog) -> Option<Route> {
    let (method, path) = call(scope, row.value.call.as_ref()?)?;
    let tariff = match (&row.value.usd, &row.value.model) {
        (Some(usd), None) => Tariff::Fixed(scope.money("usd", usd)?),
        (None, Some(model)) => Tariff::Model(Box::new(names(scope, &row.value, model, &path)?)),
        _ if scope.is_excused(&row.span, &["usd", "model"]) => return None,
        _ => {
            let help =
                "write usd = 0.04 for a fixed price (0 is free), or model = \"json:/model\" for its model's price";
            let message = format!("the route `{method} {path}` does not say what it costs");
            scope.error(codes::E0903, message, &row.span, "needs exactly one of `usd` and `model`", help);
            return None;
        }
    };
    if let (Tariff::Model(names), Some(model)) = (&tariff, &row.value.model) {
        sold(scope, names, model, ix, catalog);
    }
    Some(Route { method, path, tariff })
}

/// Method and path.
fn call(scope: Scope<'_>, written: &At<String>) -> Option<(Box<str>, Pattern)> {
    let wrong = |label: &str| {
        let help = "write a method and a path: \"POST /v1/images/generations\", \"POST /v1/models/{model}:generate\", \
                    \"GET /v2beta/results/**\"";
        scope.error(codes::E0901, format!("`{}` is not a call", written.value), &written.span, label, help);
    };
    let Some((method, path)) = written.value.split_once(' ') else {
        wrong("not a method, a space and a path");
        return None;
    };
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        wrong("the method is not in capital letters");
        return None;
    }
    match Pattern::parse(path) {
        Ok(path) => Some((method.into(), path)),
        Err(why) => {
            wrong(&format!("the path {why}"));
            None
        }
    }
}

fn names(scope: Scope<'_>, raw: &raw::Route, model: &At<String>, path: &Pattern) -> Option<Names> {
    let optional = |written: &Option<At<String>>| match written {
        Some(written) => field(scope, written, path).map(Some),
        None => Some(None),
    };
    let (images, size) = (optional(&raw.images), optional(&raw.size));
    let tell: Vec<_> =
        raw.tell.iter().map(|(name, at)| Some((name.as_str().into(), field(scope, at, path)?))).collect();
    Some(Names {
        model: field(scope, model, path)?,
        images: images?,
        size: size?,
        tell: tell.into_iter().collect::<Option<_>>()?,
    })
}

/// `place:name`, `place:name=default`, or the value itself.
fn field(scope: Scope<'_>, written: &At<String>, path: &Pattern) -> Option<Field> {
    let wrong = |label: &str| {
        let help = "write \"json:/pointer\", \"form:field\" or \"path:part\", with \"=value\" for what holds when it is left \
                    out; or the value itself";
        scope.error(codes::E0902, format!("`{}` is no place of a call", written.value), &written.span, label, help);
        None
    };
    let Some((place, rest)) = written.value.split_once(':') else {
        return Some(Field { place: Place::Here, name: written.value.as_str().into(), default: None });
    };
    let (name, default) = rest.split_once('=').map_or((rest, None), |(name, default)| (name, Some(default.into())));
    let field = |place| Some(Field { place, name: name.into(), default });
    match place {
        "form" if !name.is_empty() => field(Place::Form),
        "json" if name.starts_with('/') => field(Place::Json),
        "json" => wrong("a JSON pointer begins with a slash"),
        "path" if path.names(name) => field(Place::Path),
        "path" => wrong("the path has no such part"),
        _ => wrong("not `json:`, `form:` or `path:`"),
    }
}

/// A model that the policy itself names must be sold under that name.
fn sold(scope: Scope<'_>, names: &Names, written: &At<String>, ix: ProviderIx, catalog: &Catalog) {
    let named = if names.model.place == Place::Here { Some(&names.model.name) } else { names.model.default.as_ref() };
    let Some(named) = named else {
        return;
    };
    let models = || catalog.models.iter().filter(|model| model.provider == ix).map(|model| &*model.remote);
    if models().any(|remote| *remote == **named) {
        return;
    }
    let help = text::nearest(named, models()).map_or_else(
        || "write the provider's own name of one of its models".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    let message = format!("this provider sells no model as `{named}`");
    scope.error(codes::E0904, message, &written.span, "nothing has this name there", &help);
}
