//! The flags of the commands that need no gateway: policy, ledger, key, completions, doctor.
//!
//! Why it exists: they share nothing with requests. What it refuses to know: what they do.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::TEMPLATE;
use super::gateway::PlaneFlags;

/// `tollgate policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Find every mistake of a policy, with its place
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate policy check policies
  tollgate policy check a.toml b.toml
  tollgate --json policy check policies"
    )]
    Check(PathsArgs),
    /// Put a policy into its usual order and spacing; comments stay
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate policy fmt policies/default.toml       the formatted text, on stdout
  tollgate policy fmt --write policies            in place
  tollgate policy fmt --check policies            exit 1 when something would change"
    )]
    Fmt(FmtArgs),
    /// Print the JSON Schema of a policy, for editors
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate policy schema > policy.schema.json"
    )]
    Schema,
}

/// Policy files and folders.
#[derive(Args, Debug)]
pub(crate) struct PathsArgs {
    /// Policy files, or folders of them: together one policy
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

/// `tollgate dashboards`.
#[derive(Args, Debug)]
pub(crate) struct DashboardsArgs {
    /// Folder to write them into; it is made when it is missing
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

/// `tollgate policy fmt`.
#[derive(Args, Debug)]
pub(crate) struct FmtArgs {
    /// Change nothing; list the files that would change, and exit 1 when there are any
    #[arg(long, conflicts_with = "write")]
    pub(crate) check: bool,
    /// Write the files in place
    #[arg(long)]
    pub(crate) write: bool,
    /// Policy files, or folders of them
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

/// `tollgate ledger`.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Sum what was spent
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate ledger spend
  tollgate ledger spend --by key --since 30d
  tollgate --json ledger spend --by day --data /var/lib/tollgate"
    )]
    Spend(SpendArgs),
    /// Show one generation: its plan, its attempts, its money
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate ledger show gen_0190f3c2"
    )]
    Show(ShowArgs),
}

/// `tollgate ledger spend`.
#[derive(Args, Debug)]
pub(crate) struct SpendArgs {
    /// What to sum by; days are UTC's
    #[arg(long, value_name = "model|task|day|key", default_value = "model", hide_possible_values = true)]
    pub(crate) by: SpendGroup,
    /// How far back: a number with m, h, d or w for minutes, hours, days or weeks
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = span)]
    pub(crate) since: Duration,
    /// Folder of the ledger
    #[arg(long, value_name = "DIR", default_value = "data", env = "TOLLGATE_DATA__DIR", hide_env_values = true)]
    pub(crate) data: PathBuf,
}

/// `--by`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SpendGroup {
    Model,
    Task,
    Day,
    Key,
}

/// `tollgate ledger show`.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The generation's id, gen_…
    pub(crate) id: String,
    /// Folder of the ledger
    #[arg(long, value_name = "DIR", default_value = "data", env = "TOLLGATE_DATA__DIR", hide_env_values = true)]
    pub(crate) data: PathBuf,
}

/// `tollgate key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a fresh key: printed once, kept nowhere
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate key new design-team"
    )]
    New(KeyNewArgs),
}

/// `tollgate key new`.
#[derive(Args, Debug)]
pub(crate) struct KeyNewArgs {
    /// Name of the key in the ledger and in spend reports: letters, digits, `-`, `_` and `.`
    #[arg(value_parser = key_name)]
    pub(crate) name: String,
}

/// `tollgate completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// `tollgate doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Also open a connection to every provider that is on; sends no request
    #[arg(long)]
    pub(crate) reach: bool,
    /// The gateway's settings.
    #[command(flatten)]
    pub(crate) planes: PlaneFlags,
}

/// `30m`, `24h`, `7d`, `2w`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    const WRONG: &str = "write a number with m, h, d or w, such as 30m, 24h or 7d";
    let unit = text.chars().last().ok_or(WRONG)?;
    let seconds: u64 = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(WRONG.to_owned()),
    };
    let count: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| WRONG)?;
    // A century is further back than any ledger, and within what a timestamp can hold.
    let most = 36_525 * 86_400;
    count.checked_mul(seconds).filter(|span| *span <= most).map(Duration::from_secs).ok_or(WRONG.to_owned())
}

fn key_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 64 letters, digits, `-`, `_` or `.`, such as design-team".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        assert_eq!(span("30m"), Ok(Duration::from_mins(30)));
        assert_eq!(span("24h"), span("1d"));
        assert_eq!(span("2w"), span("14d"));
        for wrong in ["", "7", "d", "-7d", "7y", "1.5h", "7dd", "99999999999d"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
