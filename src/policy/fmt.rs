//! `policy fmt`: the one order of tables and keys, comments kept.
//!
//! Why it exists: two people's policies should differ where they mean different things. Tables come in the order of
//! [`Policy`](super::raw::Policy), each provider with its models behind it; keys in the order below. Formatting twice
//! changes nothing more. What it refuses to know: whether the policy is right.

use toml_edit::{Array, Decor, DocumentMut, Item, RawString, Table, TomlError, Value};

use super::diagnostic::{Diagnostic, codes};
use super::source::Source;

const ROOT: &[&str] = &[
    "version", "defaults", "breaker", "proxy", "key", "budget", "tier", "rule", "task", "sizes", "verifier",
    "provider", "model",
];
const DEFAULTS: &[&str] = &[
    "quality",
    "deadline",
    "task",
    "max_cost_usd",
    "review_cost_usd",
    "wait_value_usd_per_s",
    "tries",
    "retry_correlation",
    "share",
    "explore",
    "drop_negative_prompt",
    "on_moderation",
    "takeover",
    "retry_window",
    "prior_weight",
];
const BREAKER: &[&str] = &["consecutive", "success_share", "min_samples", "window", "open_for", "open_at_most"];
const KEY: &[&str] = &["name", "sha256", "reviewer", "limits"];
const BUDGET: &[&str] = &["name", "usd", "per", "key", "metadata", "task", "provider", "on_exhausted"];
const TIER: &[&str] = &["about", "quality", "max_cost_usd", "deadline", "priority", "explore"];
const RULE: &[&str] = &[
    "id",
    "when",
    "quality",
    "max_cost_usd",
    "deadline",
    "only",
    "never",
    "share",
    "drop_negative_prompt",
    "on_moderation",
    "review_cost_usd",
];
const TASK: &[&str] = &["about", "quoted_text", "words"];
const VERIFIER: &[&str] =
    &["kind", "off", "url", "key", "local", "usd", "most_wrong", "least_score", "latency", "passes", "passes_default"];
const PASSES: &[&str] = &["good", "bad"];
const PROVIDER: &[&str] = &["dialect", "base_url", "key", "off", "local", "only_on_prem", "limits", "options", "route"];
const PROXY: &[&str] = &["on", "patience"];
const ROUTE: &[&str] = &["call", "usd", "model", "images", "size", "tell"];
const LIMIT: &[&str] = &["name", "units", "unit", "per", "burst", "mode", "degrade"];
const MODEL: &[&str] = &[
    "remote",
    "off",
    "retired",
    "sizes",
    "free",
    "upscale",
    "price",
    "usd_per_million_tokens",
    "max_seed",
    "negative_prompt",
    "max_images",
    "max_prompt_chars",
    "formats",
    "latency",
    "accept",
    "accept_default",
    "limits",
    "options",
];
const FREE: &[&str] = &["min", "max", "step", "max_pixels", "max_ratio"];
const UPSCALE: &[&str] = &[
    "factor",
    "to_pixels",
    "up_to",
    "min_input_pixels",
    "max_input_pixels",
    "max_input_side",
    "max_output_pixels",
    "needs_prompt",
    "keeps",
];
const PRICE: &[&str] = &["from", "usd", "per", "size", "max_pixels", "extra_usd"];
const TOKENS: &[&str] = &["text_in", "image_in", "text_out", "image_out"];
const LATENCY: &[&str] = &["p50", "p95"];

/// The order of the keys of a table, by the table's path without names; `None` keeps the written order.
fn order(path: &[&str]) -> Option<&'static [&'static str]> {
    Some(match path {
        [] => ROOT,
        ["defaults"] => DEFAULTS,
        ["breaker"] => BREAKER,
        ["proxy"] => PROXY,
        ["key"] => KEY,
        ["budget"] => BUDGET,
        ["tier", _] => TIER,
        ["rule"] => RULE,
        ["task", _] => TASK,
        ["verifier", _] => VERIFIER,
        ["verifier", _, "passes", _] | ["verifier", _, "passes_default"] => PASSES,
        ["provider", _] => PROVIDER,
        ["provider", _, "route"] => ROUTE,
        ["model", _] => MODEL,
        ["provider" | "model", _, "limits"] | ["key", "limits"] => LIMIT,
        ["model", _, "free"] => FREE,
        ["model", _, "upscale"] => UPSCALE,
        ["model", _, "price"] => PRICE,
        ["model", _, "usd_per_million_tokens"] => TOKENS,
        ["model" | "verifier", _, "latency"] => LATENCY,
        _ => return None,
    })
}

/// The file in canonical order and spacing. Fails where the text is not TOML; [`Diagnostic::in_file`] then names the
/// file.
pub fn fmt(text: &str) -> Result<String, Diagnostic> {
    let text = text.replace("\r\n", "\n");
    let mut document: DocumentMut = text.parse().map_err(|error: TomlError| {
        let span = error.span().unwrap_or(text.len()..text.len());
        let source = Source::new("policy.toml", text.as_str());
        Diagnostic::new(codes::E0001, "this is not TOML").label(&source, &span, error.message())
    })?;
    let trailing = lines(document.trailing().as_str().unwrap_or_default(), true);
    document.set_trailing(if trailing.trim().is_empty() { String::new() } else { format!("\n{}", trailing.trim()) });
    let root = document.as_table_mut();
    tidy(root, &[]);
    Positions::default().assign(root);
    Ok(format!("{}\n", document.to_string().trim()))
}

/// Orders the keys of a table and of those within it, and evens out their spacing.
fn tidy(table: &mut Table, path: &[&str]) {
    if !path.is_empty() && !table.is_dotted() {
        let prefix = lines(text(table.decor().prefix()), true);
        let suffix = same_line(text(table.decor().suffix()));
        *table.decor_mut() = Decor::new(format!("\n{}", prefix.trim_start_matches('\n')), suffix);
    }
    if let Some(order) = order(path) {
        table.sort_values_by(|a, _, b, _| rank(order, a.get()).cmp(&rank(order, b.get())));
    }
    for (mut key, item) in table.iter_mut() {
        let name = key.get().to_owned();
        let inside = [path, &[name.as_str()]].concat();
        match item {
            Item::Table(table) => tidy(table, &inside),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|table| tidy(table, &inside)),
            Item::Value(value) => {
                let comments = lines(text(key.leaf_decor().prefix()), path.is_empty());
                *key.leaf_decor_mut() = Decor::new(comments, " ");
                let suffix = same_line(text(value.decor().suffix()));
                self::value(value, &inside);
                *value.decor_mut() = Decor::new(" ", suffix);
            }
            Item::None => {}
        }
    }
}

/// Evens out what stands within a value; what spans several lines keeps its lines.
fn value(value: &mut Value, path: &[&str]) {
    match value {
        Value::Array(array) => self::array(array, path),
        Value::InlineTable(table) if !table.to_string().contains('\n') => {
            if let Some(order) = order(path) {
                table.sort_values_by(|a, _, b, _| rank(order, a.get()).cmp(&rank(order, b.get())));
            }
            for (key, value) in table.iter_mut() {
                let name = key.get().to_owned();
                self::value(value, &[path, &[name.as_str()]].concat());
            }
            table.set_trailing_comma(false);
            table.fmt();
        }
        _ => {}
    }
}

fn array(array: &mut Array, path: &[&str]) {
    let one_line = !array.to_string().contains('\n');
    for item in array.iter_mut() {
        let (prefix, suffix) = (text(item.decor().prefix()).to_owned(), text(item.decor().suffix()).to_owned());
        value(item, path);
        if !one_line {
            *item.decor_mut() = Decor::new(indented(&prefix, "  "), if suffix.contains('#') { &suffix } else { "" });
        }
    }
    if one_line {
        array.fmt();
    } else {
        let trailing = array.trailing().as_str().unwrap_or_default();
        let trailing = if trailing.contains('\n') { indented(trailing, "") } else { "\n".to_owned() };
        array.set_trailing(trailing);
        array.set_trailing_comma(true);
    }
}

fn rank(order: &[&str], key: &str) -> usize {
    order.iter().position(|known| *known == key).unwrap_or(order.len())
}

fn text(raw: Option<&RawString>) -> &str {
    raw.and_then(RawString::as_str).unwrap_or_default()
}

/// Comment lines without indentation, each with its line's end; blank lines at most one in a row, or none.
fn lines(text: &str, blanks: bool) -> String {
    let mut out = String::new();
    for line in text.lines().map(str::trim) {
        let blank = line.is_empty();
        if !blank || (blanks && !out.is_empty() && !out.ends_with("\n\n")) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// A comment behind a value or header.
fn same_line(text: &str) -> String {
    let comment = text.trim();
    if comment.is_empty() { String::new() } else { format!(" {comment}") }
}

/// What stands before an item of a list: its line's start and its comments.
fn indented(text: &str, indent: &str) -> String {
    let Some((same, rest)) = text.split_once('\n') else {
        return if text.is_empty() { String::new() } else { " ".to_owned() };
    };
    let comments = rest.lines().map(str::trim).filter(|line| !line.is_empty());
    let comments = comments.fold(String::new(), |before, line| before + "\n  " + line);
    format!("{}{comments}\n{indent}", same_line(same))
}

/// Where tables stand in the file: a provider's models behind it.
#[derive(Default)]
struct Positions(isize);

impl Positions {
    fn assign(mut self, root: &mut Table) {
        let names: Vec<String> = root.iter().map(|(name, _)| name.to_owned()).collect();
        let of = |root: &Table, top: &str| -> Vec<String> {
            let table = root.get(top).and_then(Item::as_table);
            table.into_iter().flat_map(Table::iter).map(|(name, _)| name.to_owned()).collect()
        };
        let (providers, models) = (of(root, "provider"), of(root, "model"));
        let vendor = |model: &str| model.split_once('/').map_or("", |(provider, _)| provider).to_owned();
        for name in names.iter().filter(|name| !matches!(name.as_str(), "provider" | "model")) {
            self.maybe(root.get_mut(name));
        }
        for top in ["provider", "model"] {
            if let Some(Item::Table(table)) = root.get_mut(top)
                && !table.is_implicit()
            {
                table.set_position(Some(self.next()));
            }
        }
        for provider in &providers {
            self.maybe(child(root, "provider", provider));
            for model in models.iter().filter(|model| vendor(model) == *provider) {
                self.maybe(child(root, "model", model));
            }
        }
        for model in models.iter().filter(|model| !providers.contains(&vendor(model))) {
            self.maybe(child(root, "model", model));
        }
    }

    fn maybe(&mut self, item: Option<&mut Item>) {
        if let Some(item) = item {
            self.item(item);
        }
    }

    fn item(&mut self, item: &mut Item) {
        match item {
            Item::Table(table) => self.table(table),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|table| self.table(table)),
            Item::Value(_) | Item::None => {}
        }
    }

    fn table(&mut self, table: &mut Table) {
        table.set_position(Some(self.next()));
        table.iter_mut().for_each(|(_, item)| self.item(item));
    }

    const fn next(&mut self) -> isize {
        self.0 += 1;
        self.0
    }
}

fn child<'t>(root: &'t mut Table, top: &str, name: &str) -> Option<&'t mut Item> {
    root.get_mut(top)?.as_table_mut()?.get_mut(name)
}

#[cfg(test)]
mod tests;
