//! The ways in which Redis is away.
//!
//! Why it exists: an operator reads the reason, and the connection is dropped or kept by it. What it refuses to know:
//! what callers do instead. To add one: a variant, its name, and how it is recognised.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why Redis cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Another script has run for too long.
    Busy,
    /// No memory is left (`maxmemory`), or the disk takes no snapshot.
    Full,
    /// It reads its file after a start.
    Loading,
    /// It wants a credential, or the credential may not do this.
    NotAllowed,
    /// It is a replica, or cut off from its replicas.
    ReadOnly,
    /// No answer in time: paused, overloaded, or the way there is broken.
    Slow,
    /// No connection.
    Unreachable,
    /// It refused this command; the server itself is well.
    Refused,
}

impl Trouble {
    /// Every one of them.
    pub const ALL: [Self; 8] = [
        Self::Busy,
        Self::Full,
        Self::Loading,
        Self::NotAllowed,
        Self::ReadOnly,
        Self::Slow,
        Self::Unreachable,
        Self::Refused,
    ];

    /// The name in metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Full => "full",
            Self::Loading => "loading",
            Self::NotAllowed => "not_allowed",
            Self::ReadOnly => "read_only",
            Self::Slow => "slow",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }

    /// Whether the next command would fail too.
    pub(super) const fn takes_it_away(self) -> bool {
        !matches!(self, Self::Refused)
    }

    /// Whether the connection is of no use any more: replies may be late, or the primary is elsewhere by now.
    pub(super) const fn taints_the_connection(self) -> bool {
        matches!(self, Self::NotAllowed | Self::ReadOnly | Self::Slow | Self::Unreachable)
    }
}

/// Redis could not be asked, or did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Why.
    pub trouble: Trouble,
    /// What the server or the system said; empty when it was known to be away and was not asked.
    pub detail: String,
}

impl Away {
    pub(super) fn of(error: &RedisError) -> Self {
        let trouble = match error.kind() {
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::BusyLoading => Trouble::Loading,
                ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown => {
                    Trouble::ReadOnly
                }
                ServerErrorKind::NoPerm => Trouble::NotAllowed,
                ServerErrorKind::TryAgain => Trouble::Busy,
                _ => of_code(error),
            },
            ErrorKind::Extension => of_code(error),
            ErrorKind::AuthenticationFailed => Trouble::NotAllowed,
            ErrorKind::Io if error.is_timeout() => Trouble::Slow,
            ErrorKind::Io | ErrorKind::Client | ErrorKind::Parse => Trouble::Unreachable,
            _ => Trouble::Refused,
        };
        Self { trouble, detail: error.to_string() }
    }
}

/// Errors that the client knows by their first word only.
fn of_code(error: &RedisError) -> Trouble {
    match error.code() {
        Some("BUSY") => Trouble::Busy,
        Some("MISCONF" | "OOM") => Trouble::Full,
        Some("NOREPLICAS") => Trouble::ReadOnly,
        Some("NOAUTH" | "WRONGPASS") => Trouble::NotAllowed,
        _ if error.to_string().contains("max number of clients") => Trouble::Unreachable,
        _ => Trouble::Refused,
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis is {}", self.trouble.name())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl std::error::Error for Away {}
