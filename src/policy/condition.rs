//! A rule's condition: a small typed CEL expression over one request.
//!
//! Why it exists: operators know CEL from Kubernetes and Envoy; it cannot loop. This room narrows it further: no
//! macros but `has`, no functions but those on text, at most 1,000 characters and 200 operations (about 50 µs), every
//! name and type checked at load (`condition/types.rs`), and searched for conditions that can never hold
//! (`condition/reach.rs`). The bound counts operations instead of measuring time, so that a policy that one machine
//! takes no other refuses. What it refuses to know: rules. To add a variable: [`Facts`], and its type in `types.rs`.
//!
//! A condition that asks for metadata which the request does not have does not hold.

mod reach;
mod types;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, Program, Value};

use super::source::Span;
use crate::domain::image::Size;
use crate::domain::request::{Ask, DataPolicy};

/// The longest condition, in characters.
const MAX_CHARS: usize = 1_000;
/// The most operations, names and literals of a condition.
const MAX_NODES: usize = 200;

/// The standard environment, built once: it is the greater part of an evaluation's cost.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled condition.
pub(super) struct Condition {
    /// `None` never holds.
    program: Option<Program>,
}

/// The names that a condition may compare with.
pub(super) struct World<'a> {
    pub(super) tasks: &'a [&'a str],
    pub(super) tiers: &'a [&'a str],
}

/// What is wrong with a condition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Whether it costs too much, rather than being wrong.
    pub(super) costly: bool,
    /// One line.
    pub(super) message: String,
    /// Its bytes in the condition; the whole when unknown.
    pub(super) span: Option<Span>,
    /// What stands beside the mark.
    pub(super) label: String,
    /// What to do.
    pub(super) help: Option<String>,
}

/// Whether a condition can hold at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// For every request.
    Always,
    /// For none.
    Never,
    /// For some, or not known.
    Sometimes,
}

impl Condition {
    /// The condition that never holds.
    pub(super) const fn never() -> Self {
        Self { program: None }
    }

    /// Parses and checks a condition; `Err` has every flaw.
    pub(super) fn compile(text: &str, world: &World<'_>) -> Result<Self, Vec<Flaw>> {
        if text.chars().count() > MAX_CHARS {
            return Err(vec![Flaw {
                costly: true,
                message: "the condition is too long".to_owned(),
                span: None,
                label: format!("more than {MAX_CHARS} characters"),
                help: Some("split it into several rules".to_owned()),
            }]);
        }
        let program = ENV.compile(text).map_err(|errors| {
            errors.errors.iter().map(|error| unreadable(text, error.pos, &error.msg)).collect::<Vec<_>>()
        })?;
        let nodes = types::nodes(program.expression());
        if nodes > MAX_NODES {
            return Err(vec![Flaw {
                costly: true,
                message: "the condition costs too much".to_owned(),
                span: None,
                label: format!("{nodes} operations, more than {MAX_NODES}"),
                help: Some("every request evaluates it: split it into several rules".to_owned()),
            }]);
        }
        let flaws = types::check(&program, text, world);
        if flaws.is_empty() { Ok(Self { program: Some(program) }) } else { Err(flaws) }
    }

    /// Whether it holds for these facts.
    pub(super) fn holds(&self, facts: &Bound) -> bool {
        self.program.as_ref().is_some_and(|program| program.execute(&facts.0) == Ok(Value::Bool(true)))
    }

    /// Whether any request can make it hold.
    pub(super) fn reach(&self, world: &World<'_>) -> Reach {
        self.program.as_ref().map_or(Reach::Never, |program| reach::reach(self, program, world))
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.program.as_ref().map(|program| program.source_info().source.as_str());
        f.debug_tuple("Condition").field(&text.unwrap_or("false")).finish()
    }
}

/// A parser's complaint at a line and column, both from 1.
fn unreadable(text: &str, (line, column): (isize, isize), message: &str) -> Flaw {
    let line_start: usize =
        text.split_inclusive('\n').take(usize::try_from(line - 1).unwrap_or_default()).map(str::len).sum();
    let rest = text.get(line_start..).unwrap_or_default();
    let column = usize::try_from(column - 1).unwrap_or_default();
    let at = line_start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
    let end = text.get(at..).and_then(|rest| rest.chars().next()).map_or(at, |c| at + c.len_utf8());
    let message = message.lines().next().unwrap_or_default().trim_start_matches("Syntax error: ");
    let label = match message.split_once(" expecting ").map_or(message, |(what, _)| what) {
        ends if ends.contains("<EOF>") => "it ends too early".to_owned(),
        what => what.replace("mismatched input", "not expected here:").replace("extraneous input", "too much:"),
    };
    Flaw {
        costly: false,
        message: "the condition is not CEL".to_owned(),
        span: (end > at).then_some(at..end),
        label,
        help: Some("such as: task == 'typography' && request.width <= 1024".to_owned()),
    }
}

/// What a condition can ask.
pub(super) struct Facts<'a> {
    pub(super) task: &'a str,
    pub(super) tier: &'a str,
    pub(super) key: &'a str,
    pub(super) size: Size,
    pub(super) n: u8,
    pub(super) prompt_length: usize,
    pub(super) has_seed: bool,
    pub(super) data_policy: DataPolicy,
    pub(super) metadata: &'a BTreeMap<String, String>,
}

/// Facts in CEL's own values.
pub(super) struct Bound(Context<'static, 'static>);

impl<'a> Facts<'a> {
    pub(super) fn of(task: &'a str, tier: &'a str, key: &'a str, ask: &'a Ask) -> Self {
        Self {
            task,
            tier,
            key,
            size: ask.size,
            n: ask.n,
            prompt_length: ask.prompt.as_str().chars().count(),
            has_seed: ask.seed.is_some(),
            data_policy: ask.data_policy,
            metadata: &ask.metadata,
        }
    }

    pub(super) fn bind(&self) -> Bound {
        let int = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let metadata: HashMap<&str, &str> =
            self.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request: HashMap<&str, Value> = HashMap::from([
            ("width", int(self.size.width.into())),
            ("height", int(self.size.height.into())),
            ("pixels", int(self.size.pixels())),
            ("n", int(self.n.into())),
            ("prompt_length", int(self.prompt_length as u64)),
            ("has_seed", Value::Bool(self.has_seed)),
            ("data_policy", Value::from(data_policy(self.data_policy))),
            ("metadata", Value::Map(metadata.into())),
        ]);
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.add_variable_from_value("task", self.task);
        context.add_variable_from_value("tier", self.tier);
        context.add_variable_from_value("key", self.key);
        context.add_variable_from_value("request", Value::Map(request.into()));
        Bound(context)
    }
}

/// The name in requests.
const fn data_policy(choice: DataPolicy) -> &'static str {
    match choice {
        DataPolicy::Any => "any",
        DataPolicy::OnPrem => "on-prem",
    }
}

/// Every name of a data policy.
const DATA_POLICIES: [DataPolicy; 2] = [DataPolicy::Any, DataPolicy::OnPrem];

#[cfg(test)]
mod tests;
