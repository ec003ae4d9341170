//! The flags of the commands that talk to a gateway.
//!
//! Why it exists: `generate`, `batch` and `explain` spell the same fields of a request with the same flags. What it
//! refuses to know: which values are in range; the gateway judges and says what would be right.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::domain::money::Money;

/// `tollgate generate`.
#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    /// What to draw, 1 to 10,000 characters; `-` reads it from stdin
    pub(crate) prompt: String,
    /// File to write, `-` for stdout; its extension sets the format; with --n above 1, NAME-1.EXT and so on
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The request.
    #[command(flatten)]
    pub(crate) ask: AskFlags,
    /// The gateway.
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
}

/// `tollgate batch`.
#[derive(Args, Debug)]
pub(crate) struct BatchArgs {
    /// File with a prompt or a JSON body a line; `-` reads stdin
    pub(crate) file: PathBuf,
    /// Folder for the images and manifest.jsonl
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Requests under way at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrency: u16,
    /// Most that this folder may cost, in US dollars: a line is sent when the worst price of its plan still fits
    #[arg(long, value_name = "USD", value_parser = money)]
    pub(crate) budget: Option<Money>,
    /// Send lines again whose money is in doubt: they may be paid for twice
    #[arg(long)]
    pub(crate) rebuy: bool,
    /// The request.
    #[command(flatten)]
    pub(crate) ask: AskFlags,
    /// The gateway.
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
}

/// `tollgate explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// What to draw, 1 to 10,000 characters
    #[arg(required_unless_present = "request")]
    pub(crate) prompt: Option<String>,
    /// File with the JSON body of POST /generate; `-` reads stdin
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) request: Option<PathBuf>,
    /// Show every candidate, not only the first of each kind
    #[arg(long)]
    pub(crate) all: bool,
    /// Plan from this policy, a file or a folder, and ask no gateway
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub(crate) policy: Option<PathBuf>,
    /// The request.
    #[command(flatten)]
    pub(crate) ask: AskFlags,
    #[arg(
        long,
        help_heading = "Gateway",
        value_name = "URL",
        help = "Ask the gateway at this address [default: http://127.0.0.1:8080, if it answers]",
        env = "TOLLGATE_URL",
        hide_env_values = true
    )]
    pub(crate) url: Option<String>,
    /// API key, when the gateway wants one
    #[arg(long, help_heading = "Gateway", value_name = "KEY", env = "TOLLGATE_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

/// Which gateway, and as whom.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct GatewayArgs {
    /// Address of the gateway
    #[arg(
        long,
        value_name = "URL",
        env = "TOLLGATE_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080"
    )]
    pub(crate) url: String,
    /// API key, when the gateway wants one
    #[arg(long, value_name = "KEY", env = "TOLLGATE_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

/// The fields of a request.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Request")]
pub(crate) struct AskFlags {
    /// Width in pixels, 64 to 4096 [default: 1024]
    #[arg(long, value_name = "PX")]
    pub(crate) width: Option<u32>,
    /// Height in pixels, 64 to 4096 [default: 1024]
    #[arg(long, value_name = "PX")]
    pub(crate) height: Option<u32>,
    /// Both sides in pixels, such as 1536x1024
    #[arg(long, value_name = "WxH")]
    pub(crate) size: Option<String>,
    /// Ratio of width to height, such as 16:9
    #[arg(long, value_name = "W:H")]
    pub(crate) aspect_ratio: Option<String>,
    /// Different images of the prompt, 1 to 8 [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) n: Option<u8>,
    /// Seed, 0 to 4294967294: the same seed, prompt and model give the same image [default: none]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// What not to draw
    #[arg(long, value_name = "TEXT")]
    pub(crate) negative_prompt: Option<String>,
    /// Task of the policy, such as photo [default: told from the prompt]
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,
    /// Least probability, 0 to 1, that a person accepts the image, or a tier of the policy [default: the policy's]
    #[arg(long, value_name = "P|TIER")]
    pub(crate) quality: Option<String>,
    /// Most that the request may cost, in US dollars [default: the policy's]
    #[arg(long, value_name = "USD", value_parser = money)]
    pub(crate) max_cost_usd: Option<Money>,
    /// Longest wait for the answer, in milliseconds [default: the policy's]
    #[arg(long, value_name = "MS")]
    pub(crate) deadline_ms: Option<u64>,
    /// Model, such as stability/sd3.5-medium [default: auto]
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Where the prompt may go: anywhere, or only to providers that the policy marks local [default: any]
    #[arg(long, value_name = "any|on-prem", hide_possible_values = true)]
    pub(crate) data_policy: Option<DataPolicyFlag>,
    /// Exactly the asked pixels, resized or cropped, or the model's nearest size [default: exact]
    #[arg(long, value_name = "exact|nearest", hide_possible_values = true)]
    pub(crate) fit: Option<FitFlag>,
    /// Format of the image [default: the extension's, else png]
    #[arg(long, value_name = "png|jpeg|webp", hide_possible_values = true)]
    pub(crate) output_format: Option<FormatFlag>,
    /// A name and a value for the ledger and the policy's rules; may be given 16 times
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// Refuse instead of adjusting: no resize, no dropped negative prompt
    #[arg(long)]
    pub(crate) strict: bool,
}

/// `data_policy`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DataPolicyFlag {
    Any,
    OnPrem,
}

/// `fit`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FitFlag {
    Exact,
    Nearest,
}

/// `output_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatFlag {
    Png,
    #[value(alias = "jpg")]
    Jpeg,
    Webp,
}

fn money(text: &str) -> Result<Money, String> {
    let amount: Money = text.strip_prefix('$').unwrap_or(text).parse().map_err(|why| format!("{why}; write 0.05"))?;
    if amount < Money::ZERO { Err("an amount cannot be negative".to_owned()) } else { Ok(amount) }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, such as project=autumn".to_owned()),
    }
}
