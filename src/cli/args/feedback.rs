//! The flags of `tollgate feedback`.
//!
//! Why it exists: a verdict is two words from the shell. What it refuses to know: what it changes.

use std::sync::Arc;

use clap::Args;

use super::GatewayArgs;

/// `tollgate feedback`.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("verdict").required(true)))]
pub(crate) struct FeedbackArgs {
    /// The generation's id, gen_…
    pub(crate) id: String,
    /// The image is taken
    #[arg(long, group = "verdict")]
    pub(crate) accept: bool,
    /// The image is not taken
    #[arg(long, group = "verdict")]
    pub(crate) reject: bool,
    /// Which of the generation's images, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) image: u8,
    /// Who says so [default: the key's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) rater: Option<Arc<str>>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// The gateway.
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
}
