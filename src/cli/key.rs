//! `tollgate key new`: a fresh API key.
//!
//! Why it exists: the policy holds a key's SHA-256 only, so the key itself must be made, shown once and forgotten. What
//! it refuses to know: who uses it.

use rand::TryRng;
use rand::rngs::SysRng;
use serde_json::json;

use super::args::{KeyCommand, KeyNewArgs};
use super::console::Console;
use super::exit::{Exit, Failure};
use super::wire;

pub(crate) fn run(command: &KeyCommand, console: Console) -> Result<Exit, Failure> {
    match command {
        KeyCommand::New(args) => fresh(args, console),
    }
}

fn fresh(args: &KeyNewArgs, console: Console) -> Result<Exit, Failure> {
    let mut bytes = [0; 32];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|why| Failure::usage(format!("the system gives no randomness: {why}")))?;
    let key = format!("tg_{}", wire::hex(&bytes));
    let sha256 = wire::sha256(key.as_bytes());
    let row = row(&args.name, &sha256);
    if console.json {
        console.value(&json!({"name": args.name, "key": key, "sha256": sha256, "policy": row}))?;
    } else {
        console.data(format_args!("{key}\n\n{row}"))?;
        console.say(format_args!(
            "\nGive the first line to {}; it is shown once and kept nowhere. Put the rest into a file of the policy:\n\
             once a policy has a key, every request needs one.",
            args.name
        ));
    }
    Ok(Exit::Ok)
}

/// The key's row of a policy. The name is plain by its parser, so it needs no escapes.
fn row(name: &str, sha256: &str) -> String {
    format!("[[key]]\nname = \"{name}\"\nsha256 = \"{sha256}\"")
}
