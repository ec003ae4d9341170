//! What kind of prompt it is, as far as models differ on it: eleven categories by rule.
//!
//! Why it exists: of all that is known from a prompt alone, its kind says most about which model pleases (routing notes
//! 0.1); a rule costs less than a microsecond and cannot drift. What it refuses to know: the policy's tasks, which are
//! the operator's words for what images are for. Order matters: the first rule that holds wins (routing notes 4.1).

use super::lexicon::List;
use super::prompt::Words;

/// Eleven kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Text must be readable.
    Typography,
    /// Something must not be there.
    Negation,
    /// A number of things.
    Counting,
    /// Things in places to each other.
    Spatial,
    /// More than forty words.
    Long,
    /// A manner of drawing.
    Style,
    /// People.
    People,
    /// Two colours or more.
    Attributes,
    /// A colour, a material or a shape.
    Attribute,
    /// Eight words at most.
    Simple,
    /// Everything else.
    Scene,
}

/// More words than this are long.
const LONG: usize = 40;
/// No more words than this are simple.
const SIMPLE: usize = 8;

impl Category {
    /// Every category, in the order of its rule.
    pub const ALL: [Self; 11] = [
        Self::Typography,
        Self::Negation,
        Self::Counting,
        Self::Spatial,
        Self::Long,
        Self::Style,
        Self::People,
        Self::Attributes,
        Self::Attribute,
        Self::Simple,
        Self::Scene,
    ];

    /// The name in tables and stored decisions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Typography => "typography",
            Self::Negation => "negation",
            Self::Counting => "counting",
            Self::Spatial => "spatial",
            Self::Long => "long",
            Self::Style => "style",
            Self::People => "people",
            Self::Attributes => "attributes",
            Self::Attribute => "attribute",
            Self::Simple => "simple",
            Self::Scene => "scene",
        }
    }

    /// The category of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.name() == name)
    }

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> u16 {
        self as u16
    }

    /// The category of a prompt in words.
    pub(super) fn of(words: &Words<'_>) -> Self {
        let has = |list| words.has(list);
        if words.asks_for_text() {
            Self::Typography
        } else if has(List::Negations) {
            Self::Negation
        } else if words.numbers() > 0 {
            Self::Counting
        } else if words.places() {
            Self::Spatial
        } else if words.len() > LONG {
            Self::Long
        } else if has(List::Styles) {
            Self::Style
        } else if has(List::People) {
            Self::People
        } else if words.colours() >= 2 {
            Self::Attributes
        } else if [List::Colours, List::Materials, List::Shapes, List::Sizes].into_iter().any(has) {
            Self::Attribute
        } else if words.len() <= SIMPLE {
            Self::Simple
        } else {
            Self::Scene
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::prompt::Reading;
    use super::*;

    #[test]
    fn the_first_rule_that_holds_wins() {
        for (prompt, category) in [
            ("a poster that says \"GRAND OPENING\"", Category::Typography),
            ("a neon sign with the word 'open' above a door", Category::Typography),
            ("a mug that reads HELLO", Category::Typography),
            ("a dog's bowl on the cat's mat", Category::Simple),
            ("a street without any cars, three dogs", Category::Negation),
            ("seven paper lanterns over a river", Category::Counting),
            ("a 1980 car beside 12 geese", Category::Counting),
            ("a lamp left of a red sofa", Category::Spatial),
            ("an oil painting of a harbour", Category::Style),
            ("a woman with an umbrella walks through rain", Category::People),
            ("a blue door in a yellow wall", Category::Attributes),
            ("a wooden boat", Category::Attribute),
            ("a fox", Category::Simple),
            ("steam rises from a market stall while vendors call out to passers-by", Category::Scene),
        ] {
            assert_eq!(Reading::of(prompt).category, category, "{prompt}");
        }
        let long = "word ".repeat(41);
        assert_eq!(Reading::of(&long).category, Category::Long);
        for category in Category::ALL {
            assert_eq!(Category::from_name(category.name()), Some(category));
            assert_eq!(Category::ALL.get(usize::from(category.index())), Some(&category));
        }
    }
}
