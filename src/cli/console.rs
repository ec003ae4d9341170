//! The two streams of a command and how they look.
//!
//! Why it exists: one place decides about colour (`NO_COLOR`, terminals) and survives a reader that went away. What it
//! refuses to know: what is printed.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};

use serde::Serialize;

use super::exit::{Exit, Failure};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Console {
    /// Data as JSON.
    pub(crate) json: bool,
    out_styled: bool,
    err_styled: bool,
}

/// An ANSI style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Bold,
    Dim,
    Green,
    Red,
    Yellow,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Red => "1;31",
            Self::Yellow => "33",
        }
    }

    /// `text` in this style when `styled`, else as it is.
    pub(crate) fn paint(self, text: &str, styled: bool) -> String {
        if styled && !text.is_empty() { format!("\u{1b}[{}m{text}\u{1b}[0m", self.code()) } else { text.to_owned() }
    }
}

impl Console {
    /// As this process's streams and environment want it.
    pub(crate) fn of_process(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { json, out_styled: wanted && stdout().is_terminal(), err_styled: wanted && stderr().is_terminal() }
    }

    /// Whether stdout takes styles.
    pub(crate) const fn styles_data(self) -> bool {
        self.out_styled
    }

    /// Whether stderr takes styles.
    pub(crate) const fn styles_messages(self) -> bool {
        self.err_styled
    }

    /// Writes data and a newline to stdout, at once. A reader that went away (`| head`) is a quiet success.
    #[expect(clippy::unused_self, reason = "the console is the leave to print")]
    pub(crate) fn data(self, text: impl Display) -> Result<(), Failure> {
        let mut out = stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::new(Exit::Usage, format!("stdout cannot be written: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Writes a value as one line of JSON to stdout.
    pub(crate) fn value(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|why| Failure::new(Exit::Usage, format!("the answer cannot be written as JSON: {why}")))?;
        self.data(text)
    }

    /// Writes a message to stderr; a closed stderr loses it.
    #[expect(clippy::unused_self, reason = "the console is the leave to print")]
    pub(crate) fn say(self, text: impl Display) {
        let _ = writeln!(stderr().lock(), "{text}");
    }

    /// A message that something is not as it should be.
    pub(crate) fn warn(self, text: impl Display) {
        self.say(format_args!("{} {text}", Style::Yellow.paint("warning:", self.err_styled)));
    }

    /// The error that ends a command.
    pub(crate) fn failure(self, failure: &Failure) {
        self.say(format_args!("{} {}", Style::Red.paint("error:", self.err_styled), failure.what()));
        for next in failure.next() {
            self.say(format_args!("  {} {next}", Style::Bold.paint("help:", self.err_styled)));
        }
    }
}
