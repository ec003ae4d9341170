//! What a prompt shows: its category, and its signs for the logistic model.
//!
//! Why it exists: a prompt is read once, into a few small numbers that may be kept where its text may not. Signs are
//! slots of a fixed table: the category, hand-made ones (colours, counts, people, length, …), and each word hashed into
//! one of [`HASHED`] slots that many words share. What it refuses to know: models. To add a sign: a line in
//! `hand_made`, its slots before the hashed ones, and the next [`EDITION`].

use super::Category;
use super::lexicon::{self, List};

/// The number of this way to read; what was read in another edition has only its category in common.
pub const EDITION: u32 = 1;
/// Slots of categories and hand-made signs.
pub const HAND_MADE: u16 = 48;
/// Slots that words share.
pub const HASHED: u16 = 512;
/// Every slot.
pub const SLOTS: u16 = HAND_MADE + HASHED;
/// Words beyond these are not read: what a prompt asks for stands at its beginning.
const MOST_WORDS: usize = 400;

/// What a prompt shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Its kind.
    pub category: Category,
    /// Slots below [`SLOTS`], ascending, each once.
    pub signs: Vec<u16>,
}

impl Reading {
    /// Reads a prompt.
    pub fn of(prompt: &str) -> Self {
        let lower = prompt.to_lowercase();
        let words = Words::of(prompt, &lower);
        let category = Category::of(&words);
        let mut signs = Vec::with_capacity(24 + words.len());
        signs.push(category.index());
        hand_made(&words, &mut signs);
        signs.extend(words.lower.iter().map(|word| HAND_MADE + hash(word)));
        signs.sort_unstable();
        signs.dedup();
        Self { category, signs }
    }
}

/// A prompt in words: runs of letters, digits and apostrophes, in lower case. Each is looked up once.
pub(super) struct Words<'a> {
    text: &'a str,
    lower: Vec<&'a str>,
    /// The words with one space around each, for phrases.
    spaced: String,
    lists: u32,
    colours: usize,
    numbers: usize,
    ands: usize,
    places: bool,
    asks: bool,
}

impl<'a> Words<'a> {
    fn of(text: &'a str, lower: &'a str) -> Self {
        let words = lower.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
        let lower: Vec<&str> = words.take(MOST_WORDS).collect();
        let mut spaced = String::with_capacity(lower.iter().map(|word| word.len() + 1).sum::<usize>() + 1);
        spaced.push(' ');
        let mut words = Self {
            text,
            lower: Vec::new(),
            spaced: String::new(),
            lists: 0,
            colours: 0,
            numbers: 0,
            ands: 0,
            places: false,
            asks: false,
        };
        for word in &lower {
            spaced.push_str(word);
            spaced.push(' ');
            let lists = lexicon::lists_of(word);
            words.lists |= lists;
            let on = |list: List| usize::from(lists & list.bit() != 0);
            words.colours += on(List::Colours);
            words.numbers += on(List::Counts).max(usize::from(counts(word)));
            words.ands += on(List::And);
        }
        (words.lower, words.spaced) = (lower, spaced);
        words.places = words.has(List::Places) || words.has_phrase(lexicon::PLACE_PHRASES);
        words.asks = words.wants_text();
        words
    }

    pub(super) fn len(&self) -> usize {
        self.lower.len()
    }

    pub(super) const fn has(&self, list: List) -> bool {
        self.lists & list.bit() != 0
    }

    pub(super) const fn colours(&self) -> usize {
        self.colours
    }

    /// Words that count things: two to twenty.
    pub(super) const fn numbers(&self) -> usize {
        self.numbers
    }

    /// Whether it says where one thing is to another.
    pub(super) const fn places(&self) -> bool {
        self.places
    }

    /// Whether text is to be drawn.
    pub(super) const fn asks_for_text(&self) -> bool {
        self.asks
    }

    fn has_phrase(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| {
            self.spaced.match_indices(phrase).any(|(at, _)| {
                let before = self.spaced.get(..at).is_some_and(|text| text.ends_with(' '));
                before && self.spaced.get(at + phrase.len()..).is_some_and(|text| text.starts_with(' '))
            })
        })
    }

    /// Something in double quotes, in single ones beside a word such as "logo", a phrase such as "the title", or
    /// capitals after "reads".
    fn wants_text(&self) -> bool {
        quoted(self.text, '"', '"')
            || quoted(self.text, '\u{201c}', '\u{201d}')
            || self.has(List::Asks)
            || (self.has(List::Texts) && (opens_single_quote(self.text) || speaks_capitals(self.text)))
            || (self.has(List::Texts) && self.has_phrase(lexicon::TEXT_PHRASES))
    }
}

fn counts(word: &str) -> bool {
    word.len() <= 2 && word.parse().is_ok_and(|n: u32| (2..=20).contains(&n))
}

/// A span of 1 to 80 characters between quotation marks; a `"` behind a digit is an inch mark.
fn quoted(text: &str, open: char, close: char) -> bool {
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once(open) {
        rest = inside;
        if before.ends_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let Some((span, after)) = inside.split_once(close) else {
            return false;
        };
        if span.contains(char::is_alphanumeric) && span.chars().take(81).count() <= 80 {
            return true;
        }
        rest = after;
    }
    false
}

/// A single quote that opens: not an apostrophe between letters.
fn opens_single_quote(text: &str) -> bool {
    let opens = |(at, _)| text.get(..at).is_some_and(|before: &str| !before.ends_with(char::is_alphanumeric));
    text.match_indices(['\'', '\u{2018}']).any(opens)
}

/// "reads" or "says", then a word in capitals.
fn speaks_capitals(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).any(|pair| {
        let [said, what] = pair else {
            return false;
        };
        let capitals = what.chars().filter(|c| c.is_alphabetic()).count() >= 2 && !what.contains(char::is_lowercase);
        capitals && lexicon::SPEAKS.contains(&said.to_lowercase().as_str())
    })
}

/// FNV-1a, folded: small, fast, the same for ever.
fn hash(word: &str) -> u16 {
    let hash = word.bytes().fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    u16::try_from((hash ^ (hash >> 15)) % u32::from(HASHED)).unwrap_or_default()
}

/// Slots in the order of their lines: a line of `most` slots lights the one of `count`.
struct Ladder<'a> {
    next: usize,
    signs: &'a mut Vec<u16>,
}

impl Ladder<'_> {
    fn rung(&mut self, count: usize, most: usize) {
        if count > 0 {
            self.signs.extend(u16::try_from(self.next + count.min(most) - 1));
        }
        self.next += most;
    }
}

fn hand_made(words: &Words<'_>, signs: &mut Vec<u16>) {
    let both = |a: usize, b: usize| usize::from(a > 0 && b > 0);
    let mut ladder = Ladder { next: Category::ALL.len(), signs };
    ladder.rung(words.colours, 2);
    ladder.rung(words.numbers, 2);
    for list in [
        List::People,
        List::Styles,
        List::Materials,
        List::Shapes,
        List::Negations,
        List::Light,
        List::Views,
        List::Feelings,
        List::With,
    ] {
        ladder.rung(usize::from(words.has(list)), 1);
    }
    ladder.rung(usize::from(words.places), 1);
    ladder.rung(usize::from(words.asks), 1);
    ladder.rung(words.ands, 2);
    ladder.rung([6, 10, 16, 28, 45].into_iter().filter(|longer| words.len() > *longer).count(), 5);
    ladder.rung(usize::from(names_something(words.text)), 1);
    ladder.rung(both(words.numbers, words.ands), 1);
    ladder.rung(both(words.colours, words.ands), 1);
    ladder.rung(words.text.matches([',', '.']).count() / 2, 2);
}

/// A capital inside the sentence: a proper name.
fn names_something(text: &str) -> bool {
    text.split_whitespace().skip(1).take(MOST_WORDS).any(|word| word.starts_with(char::is_uppercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_slots_and_the_hand_made_ones_stay_below_the_words() {
        let prompts = [
            "a",
            "two red cats and three blue dogs, beside the Eiffel Tower, with the word 'HELLO'. A portrait. No rain. \
             View from above at dawn, smiling wooden star shapes, oil painting, white and black and gold.",
            &"long, ".repeat(3_000),
        ];
        for prompt in prompts {
            let mut hand = Vec::new();
            let lower = prompt.to_lowercase();
            hand_made(&Words::of(prompt, &lower), &mut hand);
            assert!(hand.iter().all(|slot| *slot < HAND_MADE), "{hand:?}");
            let reading = Reading::of(prompt);
            assert!(reading.signs.iter().all(|slot| *slot < SLOTS));
            assert!(reading.signs.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn a_reading_does_not_depend_on_case_or_space() {
        assert_eq!(Reading::of("A  red\tFOX").signs, Reading::of("a red FOX").signs);
        assert_ne!(Reading::of("a red fox").signs, Reading::of("a blue fox").signs);
    }
}
