//! `tollgate completions`: the shell learns the commands.
//!
//! Why it exists: the scripts are made from the same types that parse. What it refuses to know: where shells keep them.

use std::io::Write;

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use super::exit::{Exit, Failure};

pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tollgate", &mut script);
    match std::io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::usage(format!("stdout cannot be written: {error}")))
        }
        _ => Ok(Exit::Ok),
    }
}
