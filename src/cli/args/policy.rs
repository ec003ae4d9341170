//! The flags of `tollgate policy`.
//!
//! Why it exists: a policy has more to be asked than any other noun here. What it refuses to know: what they do.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::TEMPLATE;
use super::tools::span;

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
    /// Hold a policy against cases: a request and a world, and the plan that must come of them
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate policy test policies/tests/shipped.toml
  tollgate policy test --policy candidate.toml tests/*.toml      exit 1 when a case fails"
    )]
    Test(TestArgs),
    /// Tell two policies apart: prices, models, rules; with a ledger, decisions too
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate policy diff policies candidate
  tollgate policy diff policies candidate --ledger data --since 7d"
    )]
    Diff(DiffArgs),
    /// Make the decisions of the past again under another policy: dollars, acceptance, latency, refusals
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate policy replay --ledger data --since 7d candidate
  tollgate --json policy replay --ledger postgres://books/tollgate candidate.toml"
    )]
    Replay(ReplayArgs),
    /// What another floor would cost, from the requests of the past
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate policy calibrate --ledger data policies
  tollgate policy calibrate --ledger data --plot frontier.svg policies"
    )]
    Calibrate(CalibrateArgs),
}

/// Policy files and folders.
#[derive(Args, Debug)]
pub(crate) struct PathsArgs {
    /// Policy files, or folders of them: together one policy
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
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

/// `tollgate policy test`.
#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Files of cases
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The policy, in the place of the one that the files name
    #[arg(long, value_name = "PATH")]
    pub(crate) policy: Option<PathBuf>,
}

/// `tollgate policy diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The policy as it is: a file or folder
    pub(crate) old: PathBuf,
    /// The policy as it would be
    pub(crate) new: PathBuf,
    /// Also tell which decisions of this ledger would change: a data folder, its tollgate.db, or a postgres:// URL
    #[arg(long, value_name = "DB")]
    pub(crate) ledger: Option<String>,
    /// How far back: a number with m, h, d or w
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = span)]
    pub(crate) since: Duration,
}

/// `tollgate policy replay`.
#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The policy to try: a file or folder
    pub(crate) candidate: PathBuf,
    /// The ledger: a data folder, its tollgate.db, or a postgres:// URL
    #[arg(long, value_name = "DB", default_value = "data")]
    pub(crate) ledger: String,
    /// How far back: a number with m, h, d or w
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = span)]
    pub(crate) since: Duration,
}

/// `tollgate policy calibrate`.
#[derive(Args, Debug)]
pub(crate) struct CalibrateArgs {
    /// The policy whose floors are asked about: a file or folder
    pub(crate) policy: PathBuf,
    /// The ledger: a data folder, its tollgate.db, or a postgres:// URL
    #[arg(long, value_name = "DB", default_value = "data")]
    pub(crate) ledger: String,
    /// How far back: a number with m, h, d or w
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = span)]
    pub(crate) since: Duration,
    /// Also draw the frontier of cost and acceptance, as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}
