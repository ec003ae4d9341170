//! Checks every name and type of a condition before any request sees it.
//!
//! Why it exists: CEL finds an unknown name only when it comes past it, which may be next month. What it refuses to
//! know: values. To add a field of `request`: a line in [`FIELDS`].

use cel::Program;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators as op};

use super::super::source::Span;
use super::super::text;
use super::{DATA_POLICIES, Flaw, World, data_policy};

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Number,
    Text,
    Texts,
    Numbers,
    Metadata,
    Request,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::Texts => "a list of texts",
            Self::Numbers => "a list of numbers",
            Self::Metadata => "the metadata",
            Self::Request => "the request",
        }
    }
}

const VARIABLES: [(&str, Type); 4] =
    [("key", Type::Text), ("request", Type::Request), ("task", Type::Text), ("tier", Type::Text)];

/// The fields of `request`.
const FIELDS: [(&str, Type); 8] = [
    ("data_policy", Type::Text),
    ("has_seed", Type::Bool),
    ("height", Type::Number),
    ("metadata", Type::Metadata),
    ("n", Type::Number),
    ("pixels", Type::Number),
    ("prompt_length", Type::Number),
    ("width", Type::Number),
];

/// Operations, names and literals.
pub(super) fn nodes(expression: &IdedExpr) -> usize {
    1 + children(&expression.expr).into_iter().map(nodes).sum::<usize>()
}

/// The parts of an expression.
pub(super) fn children(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Comprehension(all) => vec![&all.iter_range, &all.loop_cond, &all.loop_step, &all.result],
        Expr::Ident(_) | Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => Vec::new(),
    }
}

/// Every flaw of a parsed condition.
pub(super) fn check(program: &Program, text: &str, world: &World<'_>) -> Vec<Flaw> {
    let mut checker = Checker { program, text, world, flaws: Vec::new() };
    let whole = program.expression();
    match checker.infer(whole) {
        Some(Type::Bool) | None => {}
        Some(other) => {
            let label = format!("this is {}", other.name());
            checker.flaw(whole, "a condition must be true or false".to_owned(), label, None);
        }
    }
    checker.flaws
}

struct Checker<'a> {
    program: &'a Program,
    text: &'a str,
    world: &'a World<'a>,
    flaws: Vec<Flaw>,
}

impl Checker<'_> {
    /// The type; `None` after a flaw was noted.
    fn infer(&mut self, expression: &IdedExpr) -> Option<Type> {
        match &expression.expr {
            Expr::Literal(literal) => self.literal(expression, literal),
            Expr::Ident(name) => self.variable(expression, name),
            Expr::Select(select) => self.select(expression, select),
            Expr::List(list) => self.list(expression, &list.elements),
            Expr::Call(call) => self.call(expression, call),
            Expr::Comprehension(_) => {
                let help = "compare with `in`: task in ['hero', 'photo']";
                self.costly(expression, "macros over lists are not allowed", help)
            }
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                self.flaw(expression, "maps and messages have no use in a condition".to_owned(), String::new(), None)
            }
        }
    }

    fn literal(&mut self, at: &IdedExpr, literal: &LiteralValue) -> Option<Type> {
        match literal {
            LiteralValue::Boolean(_) => Some(Type::Bool),
            LiteralValue::Int(_) | LiteralValue::Double(_) => Some(Type::Number),
            LiteralValue::String(_) => Some(Type::Text),
            LiteralValue::UInt(_) => {
                let help = Some("write it without `u`".to_owned());
                self.flaw(at, "unsigned literals have no use here".to_owned(), String::new(), help)
            }
            LiteralValue::Bytes(_) | LiteralValue::Null => {
                self.flaw(at, "bytes and null have no use in a condition".to_owned(), String::new(), None)
            }
        }
    }

    fn variable(&mut self, at: &IdedExpr, name: &str) -> Option<Type> {
        if let Some((_, kind)) = VARIABLES.iter().find(|(known, _)| *known == name) {
            return Some(*kind);
        }
        let names = VARIABLES.iter().map(|(known, _)| *known);
        let help = if FIELDS.iter().any(|(field, _)| *field == name) {
            Some(format!("did you mean `request.{name}`?"))
        } else {
            text::suggestion(name, names)
        };
        self.flaw(at, format!("there is no variable `{name}`"), "unknown".to_owned(), help)
    }

    fn select(&mut self, at: &IdedExpr, select: &SelectExpr) -> Option<Type> {
        let found = match self.infer(&select.operand)? {
            Type::Metadata => Some(Type::Text),
            Type::Request => FIELDS.iter().find(|(name, _)| *name == select.field).map(|(_, kind)| *kind),
            other => {
                let label = format!("this is {}", other.name());
                return self.flaw(at, format!("`{}` is a field of nothing", select.field), label, None);
            }
        };
        if found.is_none() {
            let names: Vec<String> = FIELDS.iter().map(|(name, _)| format!("request.{name}")).collect();
            let help = text::suggestion(&format!("request.{}", select.field), names.iter().map(String::as_str));
            return self.flaw(at, format!("`request` has no field `{}`", select.field), "unknown".to_owned(), help);
        }
        if select.test { Some(Type::Bool) } else { found }
    }

    fn list(&mut self, at: &IdedExpr, elements: &[IdedExpr]) -> Option<Type> {
        let mut kinds = Vec::with_capacity(elements.len());
        for element in elements {
            kinds.push(self.infer(element)?);
        }
        match kinds.first() {
            Some(Type::Text) if kinds.iter().all(|kind| *kind == Type::Text) => Some(Type::Texts),
            Some(Type::Number) if kinds.iter().all(|kind| *kind == Type::Number) => Some(Type::Numbers),
            _ => self.flaw(at, "a list holds texts only, or numbers only".to_owned(), String::new(), None),
        }
    }

    fn call(&mut self, at: &IdedExpr, call: &CallExpr) -> Option<Type> {
        let operands: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let mut kinds = Vec::with_capacity(operands.len());
        for operand in &operands {
            kinds.push(self.infer(operand));
        }
        let kinds: Vec<Type> = kinds.into_iter().collect::<Option<_>>()?;
        self.words(call, &operands);
        let found = match (call.func_name.as_str(), kinds.as_slice()) {
            (op::LOGICAL_AND | op::LOGICAL_OR, [Type::Bool, Type::Bool]) | (op::LOGICAL_NOT, [Type::Bool]) => {
                Some(Type::Bool)
            }
            (op::CONDITIONAL, [Type::Bool, yes, no]) if yes == no => Some(*yes),
            (op::EQUALS | op::NOT_EQUALS, [left, right]) if left == right => Some(Type::Bool),
            (
                op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS,
                [Type::Number, Type::Number] | [Type::Text, Type::Text],
            )
            | (op::IN, [Type::Text, Type::Texts | Type::Metadata] | [Type::Number, Type::Numbers])
            | ("contains" | "endsWith" | "startsWith", [Type::Text, Type::Text]) => Some(Type::Bool),
            (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [Type::Number, Type::Number])
            | (op::NEGATE, [Type::Number])
            | ("int", [Type::Text | Type::Number])
            | ("size", [Type::Text | Type::Texts | Type::Numbers | Type::Metadata]) => Some(Type::Number),
            (op::INDEX, [Type::Metadata, Type::Text]) | ("string", [Type::Number | Type::Text]) => Some(Type::Text),
            _ => None,
        };
        found.or_else(|| self.no_such_call(at, call, &kinds))
    }

    fn no_such_call(&mut self, at: &IdedExpr, call: &CallExpr, kinds: &[Type]) -> Option<Type> {
        let name = call.func_name.as_str();
        let operator = name.contains('_') || name.starts_with(['!', '-', '@']);
        let known = ["contains", "endsWith", "has", "int", "size", "startsWith", "string"];
        if !operator && !known.contains(&name) {
            let help = text::nearest(name, known.into_iter())
                .map_or_else(|| format!("functions: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            return self.flaw(at, format!("there is no function `{name}`"), "unknown".to_owned(), Some(help));
        }
        let word = name.trim_matches(['_', '@']);
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let message = format!("`{word}` does not take {}", kinds.join(" and "));
        self.flaw(at, message, "types do not fit".to_owned(), None)
    }

    /// Names that a comparison misspells: `task == 'tpyography'`.
    fn words(&mut self, call: &CallExpr, operands: &[&IdedExpr]) {
        let compares = matches!(call.func_name.as_str(), op::EQUALS | op::NOT_EQUALS | op::IN);
        let [left, right] = operands else {
            return;
        };
        if !compares {
            return;
        }
        for (name, literals) in [(left, right), (right, left)] {
            let (kind, known): (_, Vec<&str>) = match &name.expr {
                Expr::Ident(name) if name == "task" => ("task", self.world.tasks.to_vec()),
                Expr::Ident(name) if name == "tier" => ("tier", self.world.tiers.iter().copied().chain([""]).collect()),
                Expr::Select(select) if select.field == "data_policy" => {
                    ("data policy", DATA_POLICIES.iter().map(|choice| data_policy(*choice)).collect())
                }
                _ => continue,
            };
            let listed: Vec<&IdedExpr> = match &literals.expr {
                Expr::List(list) => list.elements.iter().collect(),
                _ => vec![*literals],
            };
            for literal in listed {
                if let Expr::Literal(LiteralValue::String(word)) = &literal.expr
                    && !known.contains(&word.inner())
                {
                    let help = text::suggestion(word.inner(), known.iter().copied().filter(|name| !name.is_empty()));
                    let message = format!("there is no {kind} `{}`", word.inner());
                    self.flaw(literal, message, "not defined".to_owned(), help);
                }
            }
        }
    }

    fn costly(&mut self, at: &IdedExpr, message: &str, help: &str) -> Option<Type> {
        self.flaw(at, message.to_owned(), String::new(), Some(help.to_owned()));
        if let Some(flaw) = self.flaws.last_mut() {
            flaw.costly = true;
        }
        None
    }

    fn flaw(&mut self, at: &IdedExpr, message: String, label: String, help: Option<String>) -> Option<Type> {
        self.flaws.push(Flaw { costly: false, message, span: self.span(at), label, help });
        None
    }

    /// From the first to the last character of an expression; the parser notes characters, both ends included.
    fn span(&self, at: &IdedExpr) -> Option<Span> {
        let (first, last) = self.extent(at)?;
        let byte =
            |index: u32| self.text.char_indices().nth(index as usize).map(|(byte, c)| (byte, byte + c.len_utf8()));
        Some(byte(first)?.0..byte(last)?.1)
    }

    fn extent(&self, at: &IdedExpr) -> Option<(u32, u32)> {
        let own = self.program.source_info().offset_for(at.id);
        let parts = children(&at.expr).into_iter().filter_map(|child| self.extent(child));
        // A selection's own offset is its dot: the field's name stands behind it.
        let own = match (&at.expr, own) {
            (Expr::Select(select), Some((dot, _))) => {
                Some((dot, dot + u32::try_from(select.field.chars().count()).ok()?))
            }
            (_, own) => own,
        };
        own.into_iter().chain(parts).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}
