//! `tollgate sandbox`: the provider simulators alone.
//!
//! Why it exists: a gateway elsewhere, or a client of a provider, can be rehearsed against them. What it refuses to
//! know: the gateway.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::args::{SandboxArgs, WorldFlags};
use super::console::Console;
use super::exit::{Exit, Failure};
use super::serve::Signals;
use crate::sandbox::{Options, Sandbox};

pub(crate) async fn run(args: &SandboxArgs, console: Console) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let sandbox = start(args.listen, args.world, "--listen").await?;
    console.data(format_args!("listening sandbox http://{}", sandbox.addr()))?;
    signals.stop().await;
    sandbox.shutdown().await;
    Ok(Exit::Ok)
}

/// Starts the simulators at `address`, which `flag` sets.
pub(crate) async fn start(address: SocketAddr, world: WorldFlags, flag: &str) -> Result<Sandbox, Failure> {
    let taken = |why: std::io::Error| {
        Failure::usage(format!("the sandbox cannot listen on {address}: {why}"))
            .help(format!("choose another address with {flag}; port 0 takes a free one"))
    };
    let listener = TcpListener::bind(address).await.map_err(taken)?;
    Sandbox::start(listener, Options { seed: world.seed, speed: world.speed }).await.map_err(taken)
}
