//! Searches the requests that can be told apart by a condition.
//!
//! Why it exists: a rule that can never match is a mistake that no request would show. A condition of comparisons
//! changes its answer only at the values that it names; so for each variable that it reads, the values that it names,
//! their neighbours and the ends of the range stand for all. Where an expression does arithmetic or the combinations
//! are too many, nothing is claimed. What it refuses to know: rules.

use std::collections::{BTreeMap, BTreeSet};

use cel::Program;
use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators as op};

use super::{Condition, DATA_POLICIES, Facts, Reach, World, types};
use crate::domain::image::Size;
use crate::domain::request::{DataPolicy, MAX_IMAGES, MAX_PROMPT_CHARS, MAX_SIDE, MIN_SIDE};

/// The most combinations that are tried.
const MAX_POINTS: usize = 10_000;

/// A name that no policy gives.
const NOBODY: &str = "\u{1}";

pub(super) fn reach(condition: &Condition, program: &Program, world: &World<'_>) -> Reach {
    let mut reads = Reads { simple: true, ..Reads::default() };
    reads.collect(program.expression());
    let Some(space) = reads.space(world) else {
        return Reach::Sometimes;
    };
    let (mut some, mut all) = (false, true);
    space.each(|facts| {
        let holds = condition.holds(&facts.bind());
        some |= holds;
        all &= holds;
    });
    match (some, all) {
        (false, _) => Reach::Never,
        (true, true) => Reach::Always,
        (true, false) => Reach::Sometimes,
    }
}

/// What a condition reads, and the values that it names.
#[derive(Default)]
struct Reads {
    /// Only comparisons and logic.
    simple: bool,
    variables: BTreeSet<String>,
    fields: BTreeSet<String>,
    metadata: BTreeSet<String>,
    texts: BTreeSet<String>,
    numbers: BTreeSet<i64>,
}

impl Reads {
    fn collect(&mut self, expression: &IdedExpr) {
        match &expression.expr {
            Expr::Ident(name) => {
                self.variables.insert(name.clone());
            }
            Expr::Literal(LiteralValue::String(text)) => {
                self.texts.insert(text.inner().to_owned());
            }
            Expr::Literal(LiteralValue::Int(number)) => {
                self.numbers.insert(*number.inner());
            }
            Expr::Literal(LiteralValue::Double(_)) => self.simple = false,
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(_) => {
                    self.fields.insert(select.field.clone());
                }
                _ => {
                    self.metadata.insert(select.field.clone());
                }
            },
            Expr::Call(call) => {
                let compares = [
                    op::LOGICAL_AND,
                    op::LOGICAL_OR,
                    op::LOGICAL_NOT,
                    op::EQUALS,
                    op::NOT_EQUALS,
                    op::LESS,
                    op::LESS_EQUALS,
                    op::GREATER,
                    op::GREATER_EQUALS,
                    op::IN,
                    op::CONDITIONAL,
                ];
                // Texts are compared with those that are named: a search within a text, or an order of texts, can tell
                // more apart.
                self.simple &= compares.contains(&call.func_name.as_str());
            }
            _ => {}
        }
        for child in types::children(&expression.expr) {
            self.collect(child);
        }
    }

    /// The combinations to try; `None` when they would not tell, or are too many.
    fn space(self, world: &World<'_>) -> Option<Space> {
        if !self.simple {
            return None;
        }
        let reads = |variable: &str| self.variables.contains(variable);
        let field = |field: &str| self.fields.contains(field);
        let one = |name: &str| vec![name.to_owned()];
        let space = Space {
            tasks: if reads("task") { owned(world.tasks) } else { one(NOBODY) },
            tiers: if reads("tier") { [owned(world.tiers), one("")].concat() } else { one("") },
            keys: if reads("key") { self.named() } else { one(NOBODY) },
            sizes: self.sizes(field("width"), field("height"), field("pixels")),
            counts: if field("n") { (1..=MAX_IMAGES).collect() } else { vec![1] },
            lengths: if field("prompt_length") {
                self.near(1, i64::try_from(MAX_PROMPT_CHARS).unwrap_or(i64::MAX))
            } else {
                vec![1]
            },
            seeds: if field("has_seed") { vec![false, true] } else { vec![false] },
            data_policies: if field("data_policy") { &DATA_POLICIES } else { &[DataPolicy::Any] },
            metadata: self.metadata()?,
        };
        (space.points() <= MAX_POINTS).then_some(space)
    }

    /// The texts that are named, and one that is not.
    fn named(&self) -> Vec<String> {
        self.texts.iter().cloned().chain([NOBODY.to_owned()]).collect()
    }

    /// The numbers that are named, their neighbours, and the ends.
    fn near(&self, least: i64, most: i64) -> Vec<i64> {
        let around =
            self.numbers.iter().flat_map(|number| [number.saturating_sub(1), *number, number.saturating_add(1)]);
        let within: BTreeSet<i64> =
            around.filter(|number| (least..=most).contains(number)).chain([least, most]).collect();
        within.into_iter().collect()
    }

    fn sizes(&self, width: bool, height: bool, pixels: bool) -> Vec<Size> {
        let (least, most) = (i64::from(MIN_SIDE), i64::from(MAX_SIDE));
        let side = |read: bool| if read || pixels { self.near(least, most) } else { vec![1024] };
        let (widths, heights) = (side(width), side(height));
        let mut sizes: BTreeSet<(i64, i64)> = BTreeSet::new();
        for &width in &widths {
            sizes.extend(heights.iter().map(|&height| (width, height)));
            if pixels {
                let across = |area: &i64| [area / width - 1, area / width, area / width + 1];
                let fits = |height: &i64| (least..=most).contains(height);
                sizes.extend(self.numbers.iter().flat_map(across).filter(fits).map(|height| (width, height)));
            }
        }
        if pixels {
            // Areas that no named width divides: squares near them.
            sizes.extend(
                self.numbers
                    .iter()
                    .filter(|area| **area > 0)
                    .map(|area| area.isqrt())
                    .flat_map(|side| [(side, side), (side + 1, side), (side + 1, side + 1)])
                    .filter(|(width, height)| (least..=most).contains(width) && (least..=most).contains(height)),
            );
        }
        let side = |side: i64| u32::try_from(side).unwrap_or(MIN_SIDE);
        sizes.into_iter().map(|(width, height)| Size::new(side(width), side(height))).collect()
    }

    /// Each named pair absent, at each named value, and at another; `None` for too many.
    fn metadata(&self) -> Option<Vec<BTreeMap<String, String>>> {
        let mut all = vec![BTreeMap::new()];
        // Keys may be named by selection (`metadata.stage`) or as a text (`metadata['stage']`, `'stage' in metadata`).
        let texts: &BTreeSet<String> = if self.fields.contains("metadata") { &self.texts } else { &BTreeSet::new() };
        for key in self.metadata.union(texts) {
            let with = |held: &BTreeMap<String, String>, value: &String| {
                let mut held = held.clone();
                held.insert(key.clone(), value.clone());
                held
            };
            let more: Vec<_> = all
                .iter()
                .flat_map(|held| self.named().iter().map(|value| with(held, value)).collect::<Vec<_>>())
                .collect();
            all.extend(more);
            if all.len() > MAX_POINTS {
                return None;
            }
        }
        Some(all)
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Every combination of these.
struct Space {
    tasks: Vec<String>,
    tiers: Vec<String>,
    keys: Vec<String>,
    sizes: Vec<Size>,
    counts: Vec<u8>,
    lengths: Vec<i64>,
    seeds: Vec<bool>,
    data_policies: &'static [DataPolicy],
    metadata: Vec<BTreeMap<String, String>>,
}

impl Space {
    fn points(&self) -> usize {
        let lengths = [
            self.tasks.len(),
            self.tiers.len(),
            self.keys.len(),
            self.sizes.len(),
            self.counts.len(),
            self.lengths.len(),
            self.seeds.len(),
            self.data_policies.len(),
            self.metadata.len(),
        ];
        lengths.into_iter().fold(1, usize::saturating_mul)
    }

    /// Calls `see` for every combination: the number of a combination is its place in each list.
    fn each(&self, mut see: impl FnMut(&Facts<'_>)) {
        for number in 0..self.points() {
            let mut rest = number;
            let mut pick = |length: usize| {
                let at = rest % length.max(1);
                rest /= length.max(1);
                at
            };
            let facts = (|| {
                Some(Facts {
                    task: self.tasks.get(pick(self.tasks.len()))?,
                    tier: self.tiers.get(pick(self.tiers.len()))?,
                    key: self.keys.get(pick(self.keys.len()))?,
                    size: *self.sizes.get(pick(self.sizes.len()))?,
                    n: *self.counts.get(pick(self.counts.len()))?,
                    prompt_length: usize::try_from(*self.lengths.get(pick(self.lengths.len()))?).ok()?,
                    has_seed: *self.seeds.get(pick(self.seeds.len()))?,
                    data_policy: *self.data_policies.get(pick(self.data_policies.len()))?,
                    metadata: self.metadata.get(pick(self.metadata.len()))?,
                })
            })();
            if let Some(facts) = facts {
                see(&facts);
            }
        }
    }
}
