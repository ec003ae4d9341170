//! What may be typed: every command, flag and argument, with the sentence that help prints for it.
//!
//! Why it exists: the command line is a product surface, so its words stand in one place, apart from what the commands
//! do. What it refuses to know: anything a command does. To add a command: a variant here, its arguments in a part
//! beside, a file with its `run`, and a line in `cli::dispatch`.

mod client;
mod evaluate;
mod feedback;
mod gateway;
mod policy;
mod tools;

use clap::{Parser, Subcommand};

#[cfg(test)]
pub(crate) use client::DataPolicyFlag;
pub(crate) use client::{AskFlags, BatchArgs, ExplainArgs, FormatFlag, GatewayArgs, GenerateArgs};
pub(crate) use evaluate::EvaluateArgs;
pub(crate) use feedback::FeedbackArgs;
pub(crate) use gateway::{DemoArgs, PlaneFlags, SandboxArgs, ServeArgs, WorldFlags, address};
pub(crate) use policy::{CalibrateArgs, DiffArgs, FmtArgs, PathsArgs, PolicyCommand, ReplayArgs, TestArgs};
pub(crate) use tools::{
    AmbiguousArgs, CompletionsArgs, DashboardsArgs, DoctorArgs, KeyCommand, KeyNewArgs, LedgerCommand, ReconcileArgs,
    ShowArgs, SpendArgs, SpendGroup,
};

/// Examples first: most people read no further.
pub(crate) const TEMPLATE: &str = "\
{about}{after-help}

{usage-heading} {usage}

{all-args}";

/// A gateway that buys the cheapest image a person will accept.
#[derive(Debug, Parser)]
#[command(
    name = "tollgate",
    version,
    help_template = TEMPLATE,
    max_term_width = 110,
    after_help = "\
Examples:
  tollgate demo                                  try it: no keys, no other service
  tollgate generate \"a red bicycle\" -o bike.png  one image
  tollgate explain \"a red bicycle\"               what it would buy, and why
  tollgate serve --policy policies               the gateway itself

Exit codes:
  0 ok   1 usage or policy error   2 partial   3 budget   4 providers down   5 ambiguous money left"
)]
pub(crate) struct Cli {
    /// Print data as JSON on stdout instead of tables and sentences
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate serve                                  policies/ and data/ of this folder
  tollgate serve --policy shop.toml --data /var/lib/tollgate
  tollgate serve --listen 127.0.0.1:0             any free port; it is printed
  TOLLGATE_SERVER__LISTEN=127.0.0.1:9000 tollgate serve
  tollgate serve --take-over                      a new binary, no request refused or cut

SIGTERM and Ctrl-C finish the requests under way and stop; SIGHUP reloads the policy."
    )]
    Serve(ServeArgs),
    /// Run the gateway against simulated providers: no keys, no cost
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate demo
  tollgate demo --speed 20                        providers answer twenty times as fast
  tollgate demo --traffic --speed 20              and a day of traffic in four minutes, to look at
  tollgate demo --policy mine.toml                your own policy, bought from the simulators"
    )]
    Demo(DemoArgs),
    /// Run the provider simulators alone
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate sandbox
  tollgate sandbox --listen 127.0.0.1:0 --seed 7 --speed 100
  curl -s http://127.0.0.1:9100/_sandbox/calls    the providers' own bill"
    )]
    Sandbox(SandboxArgs),
    /// Make one image, or a few of one prompt
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate generate \"a red bicycle\" -o bike.png
  tollgate generate \"a poster that says \\\"SALE\\\"\" --quality 0.8 --size 1536x1024 -o poster.jpg
  tollgate generate \"four sketches of a fox\" --n 4 -o fox.png      fox-1.png to fox-4.png
  tollgate generate \"a red bicycle\" -o - | display"
    )]
    Generate(GenerateArgs),
    /// Make an image of every line of a file; a rerun resumes and buys nothing twice
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate batch prompts.txt -o out
  tollgate batch asks.jsonl -o out --concurrency 8 --budget 5
  cat prompts.txt | tollgate batch - -o out --size 512x512

A line is a prompt, or, when it begins with `{`, a JSON body of POST /generate, whose fields win over
the flags. Empty lines, and lines that begin with `#`, are skipped.

out/manifest.jsonl tells what became of every line: run the same command again to finish what a crash
or Ctrl-C left. Ctrl-C once finishes what is under way, twice stops at once.

The last line of stdout is the folder's total. `saved` is what answers would have cost that were shared
with, or repeated from, a purchase made for another line or another folder."
    )]
    Batch(BatchArgs),
    /// Show what a request would buy, and why; buys nothing
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate explain \"a red bicycle\"
  tollgate explain \"a logo that says \\\"Acme\\\"\" --quality 0.9 --policy policies
  tollgate explain --request ask.json --json | jq '.candidates[0]'

With --policy, or when no gateway answers at the default address, it plans from the policy alone, with
the policy's guesses in the place of measurements."
    )]
    Explain(ExplainArgs),
    /// Check, format and describe policies
    #[command(subcommand, help_template = TEMPLATE, after_help = "\
Examples:
  tollgate policy check policies
  tollgate policy fmt --write policies
  tollgate policy schema > policy.schema.json")]
    Policy(PolicyCommand),
    /// Say whether an image was taken; the planner learns from it
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate feedback gen_0190f3c2 --accept
  tollgate feedback gen_0190f3c2 --reject --reason \"six fingers\"
  tollgate feedback gen_0190f3c2 --image 2 --accept --rater ann

A later verdict of the same rater on the same image replaces the earlier one."
    )]
    Feedback(FeedbackArgs),
    /// Try the planner on a table of human ratings: what it saves, at what quality
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate evaluate --ratings ratings.csv --prices prices.csv
  tollgate evaluate --ratings test.csv --train train.csv --prices prices.csv --json
  tollgate evaluate --ratings ratings.csv --prices prices.csv --online --priors published.csv

The sweep turns one knob, review_cost_usd, from thrift to quality; `saved` is against always buying the
most accepted model, `by mixing` is what throwing dice between two models would save."
    )]
    Evaluate(EvaluateArgs),
    /// What was spent, on what
    #[command(subcommand, help_template = TEMPLATE, after_help = "\
Examples:
  tollgate ledger spend --by model --since 7d
  tollgate ledger show gen_0190f3c2")]
    Ledger(LedgerCommand),
    /// Make API keys
    #[command(subcommand, help_template = TEMPLATE, after_help = "\
Examples:
  tollgate key new design-team")]
    Key(KeyCommand),
    /// Write the Grafana boards
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate dashboards boards                      one JSON file a board; import them, or provision the folder"
    )]
    Dashboards(DashboardsArgs),
    /// Print shell completions
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate completions bash > /etc/bash_completion.d/tollgate
  tollgate completions zsh > ~/.zfunc/_tollgate
  tollgate completions fish > ~/.config/fish/completions/tollgate.fish"
    )]
    Completions(CompletionsArgs),
    /// Check that this machine can run the gateway
    #[command(
        help_template = TEMPLATE,
        after_help = "\
Examples:
  tollgate doctor
  tollgate doctor --reach                         also connect to every provider; no paid call
  tollgate doctor --policy policies --data /var/lib/tollgate --json"
    )]
    Doctor(DoctorArgs),
}
