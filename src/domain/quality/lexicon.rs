//! The words that categories and signs look for, in lower case.
//!
//! Why it exists: lists are data, apart from the rules that read them, and a word is looked up once for all of them.
//! What it refuses to know: prompts. To add a word: to its list; a plural is a word of its own. To add a list: a line in
//! [`LISTS`].

use std::collections::HashMap;
use std::sync::LazyLock;

/// The lists, each a bit of what [`lists_of`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Counts,
    Colours,
    Materials,
    Shapes,
    Sizes,
    People,
    Feelings,
    Styles,
    Negations,
    Places,
    Light,
    Views,
    Texts,
    Asks,
    And,
    With,
}

impl List {
    /// Its bit.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

const LISTS: [(List, &[&str]); 16] = [
    (List::Counts, COUNTS),
    (List::Colours, COLOURS),
    (List::Materials, MATERIALS),
    (List::Shapes, SHAPES),
    (List::Sizes, SIZES),
    (List::People, PEOPLE),
    (List::Feelings, FEELINGS),
    (List::Styles, STYLES),
    (List::Negations, NEGATIONS),
    (List::Places, PLACES),
    (List::Light, LIGHT),
    (List::Views, VIEWS),
    (List::Texts, TEXTS),
    (List::Asks, ASKS),
    (List::And, &["and"]),
    (List::With, &["with"]),
];

static BY_WORD: LazyLock<HashMap<&'static str, u32>> = LazyLock::new(|| {
    let mut by_word = HashMap::new();
    for (list, words) in LISTS {
        for word in words {
            *by_word.entry(*word).or_default() |= list.bit();
        }
    }
    by_word
});

/// The lists that a word is on, a bit each.
pub(super) fn lists_of(word: &str) -> u32 {
    BY_WORD.get(word).copied().unwrap_or_default()
}

/// Small numbers that are counted in a picture; digits are read as numbers.
const COUNTS: &[&str] = &[
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty", "dozen", "several",
];

/// Colours.
const COLOURS: &[&str] = &[
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray", "grey", "golden",
    "gold", "silver", "cyan", "magenta", "turquoise", "beige", "violet", "teal", "maroon", "crimson",
];

/// Materials and textures.
const MATERIALS: &[&str] = &[
    "wooden", "wood", "metal", "metallic", "glass", "plastic", "leather", "stone", "rubber", "fabric", "ceramic",
    "ceramics", "velvet", "marble", "brick", "paper", "fluffy", "shiny", "striped",
];

/// Shapes.
const SHAPES: &[&str] = &[
    "round", "square", "oval", "rectangular", "rectangle", "triangular", "triangle", "circular", "circle", "cubic",
    "cube", "cylindrical", "cylinder", "spherical", "sphere", "cone", "star", "heart", "diamond", "hexagon",
];

/// Sizes: an attribute, but no sign of difficulty by themselves.
const SIZES: &[&str] = &["big", "small", "tall", "short", "large", "tiny", "long"];

/// People.
const PEOPLE: &[&str] = &[
    "person", "people", "man", "woman", "men", "women", "boy", "girl", "boys", "girls", "child", "children", "kid",
    "baby", "face", "portrait", "crowd", "lady", "guy", "couple", "he", "she", "king", "queen",
];

/// Faces and what they feel.
const FEELINGS: &[&str] = &[
    "happy", "sad", "angry", "anger", "fear", "joy", "smile", "smiling", "tears", "crying", "laughing", "surprise",
    "emotion", "happiness", "sadness", "eyes", "hair",
];

/// Manners of drawing.
const STYLES: &[&str] = &[
    "painting", "sketch", "watercolor", "watercolour", "anime", "cartoon", "style", "illustration", "drawing",
    "impressionist", "cubist", "pixel", "render", "rendered", "ink", "pencil", "oil", "vintage", "photorealistic",
    "photograph", "surreal", "abstract", "cyberpunk", "ukiyo",
];

/// What is not to be there.
const NEGATIONS: &[&str] = &[
    "no", "not", "without", "never", "except", "empty", "none", "nothing", "lacks", "lacking", "absent", "don't",
    "doesn't", "isn't", "aren't", "wasn't", "can't", "cannot",
];

/// Where one thing is to another, in a word.
const PLACES: &[&str] =
    &["above", "below", "behind", "between", "under", "underneath", "beneath", "beside", "inside", "near", "over"];

/// Where one thing is to another, in several words.
pub(super) const PLACE_PHRASES: &[&str] = &[
    "left of", "right of", "top of", "in front of", "next to", "on the left", "on the right", "to the left",
    "to the right", "side of", "on the bottom of",
];

/// Light and the time of day.
const LIGHT: &[&str] = &[
    "dawn", "dusk", "sunset", "sunrise", "night", "midnight", "noon", "moonlight", "sunlight", "light", "morning",
    "evening", "afternoon", "twilight", "shadow", "shadows",
];

/// From where it is seen.
const VIEWS: &[&str] = &["view", "angle", "aerial", "overhead", "close", "perspective", "shot"];

/// Words that stand beside text to be drawn.
const TEXTS: &[&str] = &[
    "text", "word", "words", "phrase", "letter", "letters", "title", "titled", "logo", "slogan", "caption", "headline",
    "label", "reads", "reading", "says", "saying", "written", "engraved", "sign",
];

/// Words that ask for text by themselves.
const ASKS: &[&str] = &["typography", "lettering", "wordmark"];

/// Phrases that do.
pub(super) const TEXT_PHRASES: &[&str] =
    &["the text", "the word", "the words", "the phrase", "the title", "the slogan"];

/// Words after which capitals are text to be drawn.
pub(super) const SPEAKS: &[&str] = &["reads", "says", "saying", "reading"];
