//! The flags of the commands that need no gateway: ledger, key, completions, doctor.
//!
//! Why it exists: they share nothing with requests. What it refuses to know: what they do.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::TEMPLATE;
use super::gateway::PlaneFlags;

/// `tollgate dashboards`.
#[derive(Args, Debug)]
pub(crate) struct DashboardsArgs {
    /// Folder to write them into; it is made when it is missing
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
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
    /// List the money in doubt; ends with 5 while there is any
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate ledger ambiguous
  tollgate --json ledger ambiguous --data /var/lib/tollgate"
    )]
    Ambiguous(AmbiguousArgs),
    /// Settle money in doubt from an invoice
    #[command(
        help_template = TEMPLATE,
        after_help = "\
The file has a header. With the columns `id` and `usd` (and `seq` where a generation has several calls in doubt), each
row settles that call; 0 frees it. Without `id`, the columns `provider`, `usd` and, where the invoice has them, `model`
and `at` settle the oldest call in doubt that fits.

Examples:
  tollgate ledger reconcile invoice.csv
  tollgate ledger reconcile invoice.csv --dry-run"
    )]
    Reconcile(ReconcileArgs),
}

/// `tollgate ledger ambiguous`.
#[derive(Args, Debug)]
pub(crate) struct AmbiguousArgs {
    /// The gateway's data folder
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,
}

/// `tollgate ledger reconcile`.
#[derive(Args, Debug)]
pub(crate) struct ReconcileArgs {
    /// The invoice
    #[arg(value_name = "FILE.csv")]
    pub(crate) file: PathBuf,
    /// Tell what would be settled, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The gateway's data folder
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,
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
