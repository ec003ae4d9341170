//! What a decision was made from, so that it can be made again.
//!
//! Why it exists: a policy is tried on last week's requests before it goes live, and "what would it have cost" is only
//! worth something when the planner sees again exactly what it saw then. A [`Situation`] holds what was asked and how
//! the world differed from the policy's own guesses; the ledger keeps it as JSON beside the money. What it refuses to
//! know: the prompt's text. Its lengths are kept, because prices and rules read them, and whether it quotes any text,
//! because a verifier may read that; the task was settled from the text and is kept by name. To add an input of the
//! planner: in [`note`], and here where it is read back, or replays stop being exact.

pub mod note;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use serde_json::Value;

use super::catalog::{Catalog, Latency, ModelIx};
use super::image::{Format, Size};
use super::money::Money;
use super::plan::{Approved, Gate, ModelView, VerifierView, View};
use super::quality::Posterior;
use super::request::{Ask, DataPolicy, Fit, ModelChoice, Prompt, Quality};
use super::verify::Verifier;

/// Everything that the planner read, but for the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Situation {
    /// What was asked; the prompt is a stand-in of the same length.
    pub ask: Ask,
    /// The day by which prices and retirements were judged.
    pub day: Date,
    /// The models that were not as the policy guesses, by id.
    pub models: BTreeMap<String, ModelView>,
    /// The verifiers that were not as the policy guesses, by name.
    pub verifiers: BTreeMap<String, VerifierView>,
    /// In a second pass, the draft: its maker's id, its size, and whether its prompt was known.
    pub approved: Option<(String, Size, bool)>,
    /// Providers and verifiers that the policy had on, and the process lacked an address or a credential for.
    pub lacking: Vec<String>,
}

/// For how long what a process lacks is out of order.
const LACKING: Duration = Duration::from_hours(24 * 365);

/// Why a verifier of then could not judge: its own words are not kept.
const WAS_ABSENT: &str = "it was not there then";

impl Situation {
    /// Out of the ledger's JSON; `None` when it is not a note.
    pub fn read(note: &Value) -> Option<Self> {
        let models = match note.get("models") {
            None => BTreeMap::new(),
            Some(models) => {
                let read = |(id, value): (&String, &Value)| Some((id.clone(), model_read(value)?));
                models.as_object()?.iter().map(read).collect::<Option<_>>()?
            }
        };
        let verifiers = note.get("verifiers").and_then(Value::as_object).into_iter().flatten();
        let approved = match note.get("approved") {
            None => None,
            Some(draft) => Some(approved_read(draft)?),
        };
        let lacking = note.get("lacking").and_then(Value::as_array).into_iter().flatten();
        Some(Self {
            lacking: lacking.filter_map(Value::as_str).map(str::to_owned).collect(),
            ask: ask_read(note.get("ask")?)?,
            day: note.get("day")?.as_str()?.parse().ok()?,
            models,
            verifiers: verifiers
                .map(|(name, seen)| Some((name.clone(), verifier_read(seen)?)))
                .collect::<Option<_>>()?,
            approved,
        })
    }

    /// The approved draft by this catalog's numbers; a maker that it does not have has none.
    pub fn approved(&self, catalog: &Catalog) -> Option<Approved> {
        let (maker, size, has_prompt) = self.approved.as_ref()?;
        let model = catalog.find_model(maker).map_or(ModelIx(u16::MAX), |(ix, _)| ix);
        Some(Approved { model, size: *size, has_prompt: *has_prompt })
    }

    /// The world of then over this catalog: models that it knew are as they were, others as `guess` has them.
    pub fn view(&self, catalog: &Catalog, mut guess: View) -> View {
        for (model, view) in catalog.models.iter().zip(&mut guess.models) {
            if let Some(seen) = self.models.get(&*model.id) {
                *view = *seen;
            }
            if catalog.provider(model.provider).is_some_and(|provider| self.lacked(&provider.name)) {
                view.gate = Gate::Broken(LACKING);
            }
        }
        let usual = |verifier: &Verifier| VerifierView {
            absent: self.lacked(&verifier.name).then_some(WAS_ABSENT),
            latency: verifier.latency,
        };
        let seen = |verifier: &Verifier| self.verifiers.get(&*verifier.name).copied();
        guess.verifiers = catalog.verifiers.iter().map(|one| seen(one).unwrap_or_else(|| usual(one))).collect();
        guess
    }
}

impl Situation {
    fn lacked(&self, name: &str) -> bool {
        self.lacking.iter().any(|lacked| lacked == name)
    }
}

/// Of [`note::SeenVerifier`].
fn verifier_read(value: &Value) -> Option<VerifierView> {
    let span = |at: usize| value.get(at)?.as_u64().map(Duration::from_nanos);
    let absent = value.get(0)?.as_bool()?.then_some(WAS_ABSENT);
    Some(VerifierView { absent, latency: Latency { p50: span(1)?, p95: span(2)? } })
}

fn approved_read(value: &Value) -> Option<(String, Size, bool)> {
    let side = |at: usize| u32::try_from(value.get(at)?.as_u64()?).ok();
    Some((value.get(0)?.as_str()?.to_owned(), Size::new(side(1)?, side(2)?), value.get(3)?.as_bool()?))
}

/// Of [`note::SeenModel`].
fn model_read(value: &Value) -> Option<ModelView> {
    let at = |at: usize| value.get(at);
    let span = |index: usize| at(index)?.as_u64().map(Duration::from_nanos);
    let number = |index: usize| at(index)?.as_f64();
    let wait = span(1)?;
    let gate = match at(0)?.as_str()? {
        "broken" => Gate::Broken(wait),
        "spent" => Gate::Spent(wait),
        _ => Gate::Open,
    };
    let accept = Posterior { alpha: number(4)?, beta: number(5)?, verdicts: number(6)?, lift: number(7)? };
    Some(ModelView { gate, latency: Latency { p50: span(2)?, p95: span(3)? }, accept })
}

fn ask_read(value: &Value) -> Option<Ask> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let whole = |name: &str| value.get(name).and_then(Value::as_u64);
    let is = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or_default();
    let side = |at: usize| u32::try_from(value.get("size")?.get(at)?.as_u64()?).ok();
    let mut ask = Ask::of(Prompt::new(stand_in(value.get("prompt")?)?)?);
    ask.task = text("task");
    ask.size = Size::new(side(0)?, side(1)?);
    ask.n = whole("n").map_or(Some(1), |n| u8::try_from(n).ok())?;
    ask.seed = whole("seed").and_then(|seed| u32::try_from(seed).ok());
    ask.negative_prompt = value.get("negative").and_then(stand_in).map(Arc::from);
    ask.quality = match value.get("quality") {
        Some(Value::String(tier)) => Some(Quality::Tier(tier.clone())),
        other => other.and_then(Value::as_f64).map(Quality::AtLeast),
    };
    ask.max_cost = value.get("max_cost").and_then(Value::as_i64).map(Money::from_micros);
    ask.deadline = whole("deadline").map(Duration::from_nanos);
    ask.model = text("model").map_or(ModelChoice::Auto, ModelChoice::Pinned);
    ask.data_policy = if is("on_prem") { DataPolicy::OnPrem } else { DataPolicy::Any };
    ask.fit = if is("nearest") { Fit::Nearest } else { Fit::Exact };
    ask.output_format = text("format").map_or(Some(Format::Png), |name| Format::from_name(&name))?;
    ask.strict = is("strict");
    if let Some(pairs) = value.get("metadata").and_then(Value::as_object) {
        let pair = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        ask.metadata = pairs.iter().filter_map(pair).collect();
    }
    Some(ask)
}

/// Letters of one byte to four.
const LETTERS: [char; 4] = ['x', 'é', '日', '𝐱'];

/// A text of those lengths, that quotes a letter where the other quoted something.
fn stand_in(length: &Value) -> Option<String> {
    let of = |at: usize| usize::try_from(length.get(at)?.as_u64()?).ok();
    let (bytes, characters) = (of(0)?, of(1)?);
    let mut beyond = bytes.checked_sub(characters)?;
    let quotes = length.get(2).and_then(Value::as_bool).unwrap_or_default();
    // Quotation marks of three bytes, where letters alone cannot be as long.
    let wide = quotes && beyond > 3 * characters.checked_sub(2)?;
    let marks = if wide { ['\u{201c}', '\u{201d}'] } else { ['"', '"'] };
    beyond = beyond.checked_sub(if wide { 4 } else { 0 })?;
    let mut letters = (0..characters.checked_sub(if quotes { 2 } else { 0 })?).map(|_| {
        let more = beyond.min(LETTERS.len() - 1);
        beyond -= more;
        LETTERS.get(more).copied().unwrap_or_default()
    });
    let mut text = String::with_capacity(bytes);
    if quotes {
        let [open, close] = marks;
        text.extend([open, letters.next()?, close]);
    }
    text.extend(&mut letters);
    (text.len() == bytes).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_string, to_value};

    use super::note::{Asked, Length, SeenModel, SeenVerifier};
    use super::*;
    use crate::domain::quoted;

    #[test]
    fn stand_ins_have_the_lengths_of_their_texts() {
        let quoting = ["\"a\"", "“日”", "«𝐱𝐱»", "“𝐱”", "a sign that says 'stop' — in 𝐱𝐱𝐱", "\"naïve\" …", "‘a’ logo"];
        let plain = ["a", "plain words", "naïve", "…", "🖼🖼x", "日本の春, in ink — \u{1F338}", "the dog's 12\" bone"];
        for (text, quotes) in quoting.map(|text| (text, true)).into_iter().chain(plain.map(|text| (text, false))) {
            let other = stand_in(&to_value(Length::of(text)).unwrap()).unwrap();
            assert_eq!((other.len(), other.chars().count()), (text.len(), text.chars().count()), "{text}");
            assert_eq!((quoted::any(text), quoted::any(&other)), (quotes, quotes), "{text} as {other}");
        }
        assert_eq!(stand_in(&json!([1, 2])), None, "fewer bytes than characters");
    }

    #[test]
    fn every_field_of_an_ask_comes_back() {
        let mut ask = Ask::of(Prompt::new("a fox").unwrap());
        ask.prompt = Prompt::new("xxxxx").unwrap();
        ask.size = Size::new(640, 480);
        (ask.n, ask.seed) = (3, Some(0));
        ask.negative_prompt = Some("xxxx".into());
        ask.task = Some("photo".to_owned());
        ask.quality = Some(Quality::AtLeast(0.1 + 0.2));
        (ask.max_cost, ask.deadline) = (Some(Money::from_micros(70_001)), Some(Duration::from_millis(2_501)));
        ask.model = ModelChoice::Pinned("a/b".to_owned());
        (ask.data_policy, ask.fit, ask.output_format) = (DataPolicy::OnPrem, Fit::Nearest, Format::Webp);
        ask.strict = true;
        ask.metadata.insert("project".to_owned(), "x".to_owned());
        let text = to_string(&Asked::of(&ask, "photo")).unwrap();
        assert_eq!(ask_read(&serde_json::from_str(&text).unwrap()), Some(ask.clone()));
        ask.quality = Some(Quality::Tier("hero".to_owned()));
        let text = to_string(&Asked::of(&ask, "photo")).unwrap();
        assert_eq!(ask_read(&serde_json::from_str(&text).unwrap()), Some(ask));
    }

    #[test]
    fn a_verifier_and_a_draft_come_back() {
        let latency = Latency { p50: Duration::from_micros(1_234_567), p95: Duration::from_micros(2_345_678) };
        for absent in [None, Some(WAS_ABSENT)] {
            let seen = VerifierView { absent, latency };
            let value = to_string(&SeenVerifier::of(&seen)).unwrap();
            assert_eq!(verifier_read(&serde_json::from_str(&value).unwrap()), Some(seen));
        }
        let draft = approved_read(&json!(["a/b", 512, 768, true]));
        assert_eq!(draft, Some(("a/b".to_owned(), Size::new(512, 768), true)));
    }

    #[test]
    fn a_model_comes_back_to_the_last_bit() {
        let accept = Posterior { alpha: 9.1 + 0.2, beta: 1.0 / 3.0, verdicts: 7.25, lift: 0.1 };
        let latency = Latency { p50: Duration::from_micros(1_234_567), p95: Duration::from_micros(2_345_678) };
        for gate in [Gate::Open, Gate::Broken(Duration::from_secs(9)), Gate::Spent(Duration::from_micros(1))] {
            let view = ModelView { gate, latency, accept };
            let text = to_string(&SeenModel::of(&view)).unwrap();
            assert_eq!(model_read(&serde_json::from_str(&text).unwrap()), Some(view));
        }
    }
}
