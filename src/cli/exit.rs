//! How a command ends: the exit code, and the error that a person reads.
//!
//! Why it exists: scripts branch on the code, people on the words; both are decided where the failure is known. What
//! it refuses to know: terminals.

use std::fmt;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All done.
    Ok,
    /// The command, the settings or the policy must be changed.
    Usage,
    /// Some of it was done.
    Partial,
    /// A budget ended it.
    Budget,
    /// The gateway or every provider is down.
    ProvidersDown,
    /// It is not known whether some money was spent.
    Ambiguous,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Usage => 1,
            Self::Partial => 2,
            Self::Budget => 3,
            Self::ProvidersDown => 4,
            Self::Ambiguous => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command did not do it: what happened, where, and what to type next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    what: String,
    help: Vec<String>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), help: Vec::new() }
    }

    /// A failure that the command line, the settings or the policy can mend.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// The same with a sentence on what to do next.
    #[must_use]
    pub fn help(mut self, next: impl Into<String>) -> Self {
        self.help.push(next.into());
        self
    }

    /// The exit code's kind.
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// What happened.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do next, a sentence each.
    pub fn next(&self) -> &[String] {
        &self.help
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.help.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

impl std::error::Error for Failure {}
