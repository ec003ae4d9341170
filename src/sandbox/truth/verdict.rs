//! Would a person accept it: one seeded answer for what a chain of models makes of a prompt.
//!
//! It refuses to look at pixels. The first model sets the chance by the prompt's kind, the prompt's own difficulty
//! shifts it for every model alike (which is what makes retries on one prompt correlated), each later model takes
//! its share, and one draw for (models, prompt, seed) decides.

use serde::Serialize;

use super::super::dice::{dice, normal, unit};
use super::{Act, model, models};

/// What a prompt asks for, as far as a person's eye cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Kind {
    Concept,
    Typography,
    Hero,
    Character,
    Mockup,
    Photo,
}

/// A person's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(in crate::sandbox) struct Verdict {
    pub(in crate::sandbox) accepted: bool,
    /// The chance it had.
    pub(in crate::sandbox) p: f64,
}

/// The spread of a prompt's difficulty, in logits. It gives retries on one prompt a correlation of about 0.25.
const DIFFICULTY: f64 = 1.2;

/// Keeps the mean over prompts at the table's chance although the logit is spread:
/// the square root of 1 + (0.588 · 1.2)², the probit approximation of a logistic with a normal shift.
const STEEPNESS: f64 = 1.224;

/// The verdict on what `models`, one a step, make of `prompt` with `seed`: the same every time.
pub(in crate::sandbox) fn accept(world: u64, models: &[String], prompt: &str, seed: u64) -> Result<Verdict, String> {
    let (first, rest) = models.split_first().ok_or("models is empty: name the model of each step")?;
    let kind = Kind::of(prompt);
    let Act::Generate(chances) = known(first)? else {
        return Err(format!("the first model must be one that makes a picture; {first:?} only works on one"));
    };
    let [concept, typography, hero, character, mockup, photo] = chances;
    let chance = match kind {
        Kind::Concept => concept,
        Kind::Typography => typography,
        Kind::Hero => hero,
        Kind::Character => character,
        Kind::Mockup => mockup,
        Kind::Photo => photo,
    };
    let ease = normal(&mut dice(&[b"difficulty", &world.to_le_bytes(), prompt.as_bytes()]));
    let logit = STEEPNESS * (chance / (1.0 - chance)).ln() + DIFFICULTY * ease;
    let mut p = 1.0 / (1.0 + (-logit).exp());
    for id in rest {
        match known(id)? {
            Act::Refine(share) => p *= share,
            Act::Generate(_) => {
                return Err(format!("{id:?} makes a new picture; only the first model may"));
            }
        }
    }
    let chain = models.join("\n").to_ascii_lowercase();
    let draw = unit(&[b"verdict", &world.to_le_bytes(), chain.as_bytes(), prompt.as_bytes(), &seed.to_le_bytes()]);
    Ok(Verdict { accepted: draw < p, p })
}

fn known(id: &str) -> Result<Act, String> {
    if let Some(model) = model(id) {
        return Ok(model.act);
    }
    let local = models::LOCAL.iter().find(|(name, _)| name.eq_ignore_ascii_case(id));
    local.map(|(_, share)| Act::Refine(*share)).ok_or_else(|| format!("unknown model {id:?}"))
}

const MOCKUP: [&str; 10] = [
    "mockup",
    "mock-up",
    "wireframe",
    "dashboard",
    "landing page",
    "app screen",
    "user interface",
    "ui ",
    "ux ",
    "website",
];
const HERO: [&str; 7] = ["hero", "banner", "key visual", "key art", "billboard", "cover image", "campaign"];
const CHARACTER: [&str; 10] = [
    "character",
    "portrait of",
    "mascot",
    "warrior",
    "knight",
    "wizard",
    "hero sheet",
    "avatar",
    "villain",
    "princess",
];
const PHOTO: [&str; 8] = ["photo", "dslr", "35mm", "85mm", "bokeh", "film grain", "macro shot", "studio shot"];
const TEXT: [&str; 10] = [
    "typography",
    "lettering",
    "wordmark",
    "calligraphy",
    "that says",
    "that reads",
    "the text",
    "the words",
    "the word",
    "slogan",
];

impl Kind {
    pub(in crate::sandbox) fn of(prompt: &str) -> Self {
        let lower = format!("{} ", prompt.to_lowercase());
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if !quoted(prompt).is_empty() || has(&TEXT) {
            Self::Typography
        } else if has(&MOCKUP) {
            Self::Mockup
        } else if has(&HERO) {
            Self::Hero
        } else if has(&CHARACTER) {
            Self::Character
        } else if has(&PHOTO) {
            Self::Photo
        } else {
            Self::Concept
        }
    }
}

/// The spans that a prompt sets in quotation marks, straight or curly. An apostrophe inside a word opens nothing.
pub(in crate::sandbox) fn quoted(prompt: &str) -> Vec<String> {
    let mut spans = Vec::new();
    let mut open: Option<(char, String)> = None;
    let mut last = ' ';
    let mut letters = prompt.chars().peekable();
    while let Some(letter) = letters.next() {
        match open.take() {
            None => {
                let closing = match letter {
                    '"' => Some('"'),
                    '\u{201c}' => Some('\u{201d}'),
                    '\'' if !last.is_alphanumeric() => Some('\''),
                    '\u{2018}' => Some('\u{2019}'),
                    _ => None,
                };
                open = closing.map(|closing| (closing, String::new()));
            }
            Some((closing, span)) if letter == closing && ends(closing, letters.peek()) => {
                let span = span.trim().to_owned();
                if !span.is_empty() {
                    spans.push(span);
                }
            }
            Some((closing, mut span)) => {
                span.push(letter);
                open = (span.chars().count() <= 120).then_some((closing, span));
            }
        }
        last = letter;
    }
    spans
}

fn ends(closing: char, next: Option<&char>) -> bool {
    closing != '\'' || next.is_none_or(|next| !next.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn kinds_are_told_apart() {
        for (prompt, kind) in [
            ("a poster that says \"OPEN\"", Kind::Typography),
            ("a dog's bowl on the cat's mat", Kind::Concept),
            ("a neon sign 'EAT' at night", Kind::Typography),
            ("dashboard for a bank", Kind::Mockup),
            ("hero banner of a mountain", Kind::Hero),
            ("a wizard in the rain", Kind::Character),
            ("photo of a red bicycle", Kind::Photo),
            ("fluid ui", Kind::Mockup),
        ] {
            assert_eq!(Kind::of(prompt), kind, "{prompt}");
        }
        assert_eq!(quoted("it's \"A B\" and ‘C’ at the dogs' home"), ["A B", "C"]);
    }

    #[test]
    fn the_mean_over_prompts_is_the_table() {
        for (id, wanted) in [("stability/sd3.5-large", 0.28), ("ideogram/v3", 0.80), ("ideogram/v1", 0.61)] {
            let models = chain(&[id]);
            let total: f64 = (0..4_000).map(|n| accept(3, &models, &format!("a sign \"N{n}\""), 1).unwrap().p).sum();
            let mean = total / 4_000.0;
            assert!((mean - wanted).abs() < 0.03, "{id}: {mean} for {wanted}");
        }
    }

    #[test]
    fn retries_on_one_prompt_are_correlated() {
        let models = chain(&["stability/sd3.5-medium"]);
        let (mut pairs, mut both, mut hits) = (0.0, 0.0, 0.0);
        for n in 0..4_000 {
            let prompt = format!("a lighthouse number {n}");
            let first = accept(9, &models, &prompt, 1).unwrap().accepted;
            let second = accept(9, &models, &prompt, 2).unwrap().accepted;
            pairs += 1.0;
            both += f64::from(u8::from(first && second));
            hits += f64::from(u8::from(first)) + f64::from(u8::from(second));
        }
        let p: f64 = hits / (2.0 * pairs);
        let rho = (both / pairs - p * p) / (p * (1.0 - p));
        assert!((0.15..0.35).contains(&rho), "rho {rho}");
    }

    #[test]
    fn it_is_one_answer_and_refuses_nonsense() {
        let models = chain(&["stability/sd3.5-medium", "stability/upscale-fast"]);
        let verdict = accept(1, &models, "a fox", 7).unwrap();
        assert_eq!(verdict, accept(1, &models, "a fox", 7).unwrap());
        let plain = accept(1, &chain(&["stability/sd3.5-medium"]), "a fox", 7).unwrap();
        assert!((verdict.p - plain.p * 0.93).abs() < 1e-12);
        assert!(accept(1, &[], "a fox", 7).is_err());
        assert!(accept(1, &chain(&["stability/sd9"]), "a fox", 7).unwrap_err().contains("stability/sd9"));
        assert!(accept(1, &chain(&["stability/upscale-fast"]), "a fox", 7).is_err());
    }
}
