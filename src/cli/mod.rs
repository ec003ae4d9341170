//! The command line: one file a command.
//!
//! Why it exists: people and scripts meet the product here first, so what they read is designed: data on stdout,
//! everything else on stderr, an exit code that says what kind of end it was, and errors that say what to type next.
//! What it refuses to know: how a request is planned, paid or served; it starts rooms and asks gateways.
//! To add a command: see `args.rs`.

mod args;
mod ask;
mod batch;
mod client;
mod completions;
mod console;
mod dashboards;
mod demo;
mod doctor;
mod doorway;
mod evaluate;
mod exit;
mod explain;
mod feedback;
mod generate;
mod handover;
pub mod house;
mod key;
mod ledger;
mod policy;
mod sandbox;
mod serve;
pub mod settings;
mod table;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use console::Console;

pub use exit::{Exit, Failure};

/// Runs the command in `arguments` (the program's name first) and returns how it ended; every message has been
/// printed.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return misspelt(&error).into(),
    };
    let console = Console::of_process(cli.json);
    let ended = runtime().and_then(|runtime| runtime.block_on(dispatch(cli.command, console)));
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            console.failure(&failure);
            failure.exit().into()
        }
    }
}

/// Help and version are answers; everything else that clap returns is a usage error.
fn misspelt(error: &clap::Error) -> Exit {
    // Nothing is left to tell when even the terminal is gone.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
        _ => Exit::Usage,
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::usage(format!("the system gives no threads: {why}")))
}

async fn dispatch(command: Command, console: Console) -> Result<Exit, Failure> {
    match command {
        Command::Serve(args) => serve::run(args, console).await,
        Command::Demo(args) => demo::run(args, console).await,
        Command::Sandbox(args) => sandbox::run(&args, console).await,
        Command::Generate(args) => generate::run(args, console).await,
        Command::Batch(args) => batch::run(args, console).await,
        Command::Explain(args) => explain::run(args, console).await,
        Command::Evaluate(args) => evaluate::run(args, console).await,
        Command::Feedback(args) => feedback::run(args, console).await,
        Command::Policy(command) => policy::run(command, console).await,
        Command::Ledger(command) => ledger::run(command, console).await,
        Command::Dashboards(args) => dashboards::run(&args, console),
        Command::Key(command) => key::run(&command, console),
        Command::Completions(args) => completions::run(&args),
        Command::Doctor(args) => doctor::run(args, console).await,
    }
}
