//! What is wrong with a policy, where, and what would be right.
//!
//! Why it exists: operators know rustc's shape of an error (`--> file:line:column`, labels, help); machines get the same
//! facts as JSON. What it refuses to know: which mistakes exist (`compile/*` names them).
//! To add one: a code in [`codes`], a call of `Sink::report` where the mistake is found, a file in `tests/policies/`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::source::{Source, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy is not applied.
    Error,
    /// The policy works; someone should look.
    Warning,
}

impl Severity {
    /// The word in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `E0501`, `W0101`, …: stable, one for each kind of mistake.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// One line, without a full stop.
    pub message: String,
    /// Where; the first is the place of the mistake, the others explain it.
    pub labels: Vec<Label>,
    /// What to do.
    pub help: Option<String>,
}

/// A marked place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The file.
    pub source: Arc<Source>,
    /// The bytes.
    pub span: Span,
    /// What stands beside the mark; may be empty.
    pub text: String,
}

impl Diagnostic {
    /// A finding of that code: an error for `E…`, a warning for `W…`.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        let severity = if code.starts_with('W') { Severity::Warning } else { Severity::Error };
        Self { code, severity, message: message.into(), labels: Vec::new(), help: None }
    }

    /// Marks a place.
    #[must_use]
    pub fn label(mut self, source: &Arc<Source>, span: &Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { source: Arc::clone(source), span: span.clone(), text: text.into() });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// The same finding in a file of that name, for texts that were checked before anyone asked where they are from.
    #[must_use]
    pub fn in_file(mut self, name: &str) -> Self {
        for label in &mut self.labels {
            label.source = Source::new(name, label.source.text());
        }
        self
    }

    /// As rustc would print it, without a newline at the end.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let level = if self.severity == Severity::Error { Level::ERROR } else { Level::WARNING };
        let mut group = Group::with_title(level.primary_title(self.message.as_str()).id(self.code));
        for (at, label) in self.labels.iter().enumerate() {
            if self.labels.iter().take(at).any(|earlier| earlier.source == label.source) {
                continue;
            }
            group = group.element(snippet(&self.labels, &label.source));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }

    /// The facts as JSON: `code, severity, message, file, line, column, end_line, end_column, label, help`; the place is
    /// that of the first label, and null where there is none.
    pub fn to_json(&self) -> Value {
        let first = self.labels.first();
        let start = first.map(|label| label.source.line_column(label.span.start));
        let end = first.map(|label| label.source.line_column(label.span.end));
        json!({
            "code": self.code,
            "severity": self.severity.name(),
            "message": self.message,
            "file": first.map(|label| label.source.name().as_ref()),
            "line": start.map(|(line, _)| line),
            "column": start.map(|(_, column)| column),
            "end_line": end.map(|(line, _)| line),
            "end_column": end.map(|(_, column)| column),
            "label": first.map(|label| label.text.as_str()),
            "help": self.help,
        })
    }
}

fn snippet<'a>(labels: &'a [Label], source: &'a Arc<Source>) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let marks = labels.iter().enumerate().filter(|(_, label)| label.source == *source).map(|(at, label)| {
        let kind = if at == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let end = label.span.end.min(source.text().len());
        let mark = kind.span(label.span.start.min(end)..end);
        if label.text.is_empty() { mark } else { mark.label(label.text.as_str()) }
    });
    Snippet::source(source.text()).path(source.name().as_ref()).annotations(marks)
}

/// Every diagnostic as text, one blank line between two; empty text for none.
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let rendered: Vec<String> = diagnostics.iter().map(|diagnostic| diagnostic.render(color)).collect();
    rendered.join("\n\n")
}

/// Every diagnostic as a JSON list.
pub fn to_json(diagnostics: &[Diagnostic]) -> Value {
    Value::Array(diagnostics.iter().map(Diagnostic::to_json).collect())
}

/// `2 errors, 1 warning`; `None` when there is nothing to count.
pub fn summary(diagnostics: &[Diagnostic]) -> Option<String> {
    let count = |severity: Severity| diagnostics.iter().filter(|found| found.severity == severity).count();
    let parts: Vec<String> = [Severity::Error, Severity::Warning]
        .into_iter()
        .filter_map(|severity| match count(severity) {
            0 => None,
            1 => Some(format!("1 {}", severity.name())),
            many => Some(format!("{many} {}s", severity.name())),
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `file:line:column: error[E0501]: message`, for logs.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = self.labels.first() {
            let (line, column) = label.source.line_column(label.span.start);
            write!(f, "{}:{line}:{column}: ", label.source.name())?;
        }
        write!(f, "{}[{}]: {}", self.severity.name(), self.code, self.message)
    }
}

/// Collects the findings of one run.
#[derive(Debug, Default)]
pub(super) struct Sink {
    found: RefCell<Vec<Diagnostic>>,
    excused: RefCell<HashSet<(Arc<str>, usize, String)>>,
}

impl Sink {
    /// Takes a finding.
    pub(super) fn report(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    /// Notes that a key is there, but misspelt or of the wrong type, in the table that begins at `table`.
    pub(super) fn excuse(&self, source: &Source, table: usize, key: &str) {
        self.excused.borrow_mut().insert((Arc::clone(source.name()), table, key.to_owned()));
    }

    /// Whether the absence of a key was said better already.
    pub(super) fn is_excused(&self, source: &Source, table: usize, key: &str) -> bool {
        self.excused.borrow().contains(&(Arc::clone(source.name()), table, key.to_owned()))
    }

    /// Everything found, in the order of the files and of their lines; what says the same at the same place, once.
    pub(super) fn into_sorted(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|diagnostic| {
            diagnostic.labels.first().map(|label| (Arc::clone(label.source.name()), label.span.start))
        });
        found.dedup();
        found
    }
}

/// The codes of every finding. Their hundreds group them: 00 the file, 01 its shape, 02 single values, 03 names that
/// point elsewhere, 04 names themselves, 05 models and prices, 06 rules, tiers and tasks, 07 limits, 08 the
/// pass-through.
pub mod codes {
    macro_rules! codes {
        ($($(#[$doc:meta])* $code:ident)*) => { $($(#[$doc])* pub const $code: &str = stringify!($code);)* };
    }
    codes! {
        /// Not TOML.
        E0001
        /// A file that cannot be read: missing, not UTF-8, too large, no policy in the folder.
        E0002
        /// A version of the language that this build does not know.
        E0003
        /// A key that the language does not have.
        E0101
        /// A value of the wrong type.
        E0102
        /// A key that must be there.
        E0103
        /// A word that is not one of the allowed ones.
        E0104
        /// Not a duration.
        E0201
        /// Not an amount of money.
        E0202
        /// Not a base URL.
        E0203
        /// Not a size.
        E0204
        /// A number outside its range.
        E0205
        /// A secret written into the policy.
        E0206
        /// A key's hash that is not a SHA-256 in hexadecimal.
        E0207
        /// Not the name of an environment variable or the path of a file.
        E0208
        /// A dialect that does not exist.
        E0301
        /// A provider that the policy does not define.
        E0302
        /// A task that the policy does not define.
        E0303
        /// A tier that the policy does not define.
        E0304
        /// A pattern that matches no model.
        E0305
        /// A list of sizes that the policy does not define.
        E0306
        /// A name that is taken.
        E0401
        /// A name that is not well-formed.
        E0402
        /// A model without a price.
        E0501
        /// Prices out of order, or twice for one day.
        E0502
        /// A size that no price covers today.
        E0503
        /// A model that has not exactly one of `sizes`, `free` and `upscale`.
        E0504
        /// An upscaler that cannot enlarge anything.
        E0505
        /// A generator without acceptance for a task.
        E0506
        /// A workflow that cannot be read.
        E0507
        /// Bounds of free sizes that contradict each other.
        E0508
        /// A list price below what the tokens of the picture cost, or rates on a model that is not billed by tokens.
        E0509
        /// A verifier without rates, with rates that contradict each other, or with a key of another kind.
        E0510
        /// A condition that does not compile.
        E0601
        /// A condition that costs too much.
        E0602
        /// A rule that can never match.
        E0603
        /// A rule behind one that always matches.
        E0604
        /// A floor that no model can meet.
        E0605
        /// A limit of nothing.
        E0701
        /// A limit whose burst is smaller than one call may need.
        E0702
        /// A window where none belongs, or none where one must be.
        E0703
        /// A budget that buys nothing.
        E0801
        /// A budget that names what is not there.
        E0802
        /// Two budgets that count the same money.
        E0803
        /// A budget by more pairs of metadata than one.
        E0804
        /// A route whose call is not a method and a path.
        E0901
        /// A route's field whose place cannot be read.
        E0902
        /// A route that does not have exactly one of `usd` and `model`.
        E0903
        /// A route for a model that the policy does not sell.
        E0904
        /// A price that nobody has confirmed for over a year.
        W0501
        /// A provider without models.
        W0301
        /// A list of sizes that no model uses.
        W0302
        /// A policy that can buy nothing.
        W0001
    }
}
