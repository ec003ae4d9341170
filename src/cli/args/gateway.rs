//! The flags of the commands that run servers.
//!
//! Why it exists: `serve` and `demo` share most flags, and each flag is a layer over the settings. What it refuses to
//! know: the defaults, which are the settings' own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// `tollgate serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Where the gateway listens and lives.
    #[command(flatten)]
    pub(crate) planes: PlaneFlags,
    /// Take over the listeners of the gateway that runs on this data folder; it then finishes and ends
    #[arg(long)]
    pub(crate) take_over: bool,
}

/// `tollgate demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Where the gateway listens and lives.
    #[command(flatten)]
    pub(crate) planes: PlaneFlags,
    /// Address of the provider simulators; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100", value_parser = address)]
    pub(crate) sandbox: SocketAddr,
    /// The simulators' world.
    #[command(flatten)]
    pub(crate) world: WorldFlags,
    /// Play a day of traffic against it, in so many minutes
    #[arg(long, value_name = "MINUTES", num_args = 0..=1, default_missing_value = "4", value_parser = minutes)]
    pub(crate) traffic: Option<f64>,
}

/// `tollgate sandbox`.
#[derive(Args, Debug)]
pub(crate) struct SandboxArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// The simulators' world.
    #[command(flatten)]
    pub(crate) world: WorldFlags,
}

/// What the simulators draw from.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WorldFlags {
    /// Seed of latencies and acceptance: the same seed is the same world
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Divide every latency by this factor
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed)]
    pub(crate) speed: f64,
}

/// A layer over the settings: what is not given here stays as the settings file or the environment has it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PlaneFlags {
    /// Address of the API; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Address of metrics, health and reload; port 0 takes a free one [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) admin: Option<SocketAddr>,
    /// Address of the native pass-through, when the policy turns it on [default: 127.0.0.1:8082]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) proxy: Option<SocketAddr>,
    /// Policy: a TOML file, or a folder of them [default: policies]
    #[arg(long, value_name = "PATH")]
    pub(crate) policy: Option<PathBuf>,
    /// Settings file [default: tollgate.toml, if there is one]
    #[arg(long, value_name = "PATH", env = "TOLLGATE_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Folder of the ledger and the images [default: data; `demo`: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric
        .as_deref()
        .unwrap_or(text)
        .parse()
        .map_err(|_| "write an IP address and a port, such as 127.0.0.1:8080 or 0.0.0.0:8080".to_owned())
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes <= 1440.0 => Ok(minutes),
        _ => Err("write a number of minutes above 0, at most a real day's 1440".to_owned()),
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("write a number above 0, such as 20".to_owned()),
    }
}
