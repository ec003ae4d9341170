//! `tollgate demo`: the gateway against simulated providers, with no key and no other service.
//!
//! Why it exists: the first five minutes. Whatever the policy buys is bought from the sandbox: the same gateway, the
//! same policy, another address and key for each provider. What it refuses to know: how a provider is simulated.

mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::args::DemoArgs;
use super::console::{Console, Style};
use super::exit::{Exit, Failure};
use super::house::{self, House};
use super::sandbox;
use super::serve::{self, Signals};
use super::settings::Settings;
use crate::domain::catalog::{Dialect, Provider};
use crate::policy::{Override, Overrides, Snapshot};
use crate::sandbox::providers;
use crate::transport::Secret;

pub(crate) async fn run(args: DemoArgs, console: Console) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let mut settings = Settings::of_process(&args.planes)?;
    serve::begin_log(settings.log);
    let folder = Folder::of(&mut settings)?;
    let sandbox = sandbox::start(args.sandbox, args.world, "--sandbox").await?;
    settings.providers = simulated(&settings, sandbox.addr());
    settings.server.proxy_always = true;
    let house = House::open(settings).await?;
    serve::announce(&house, console)?;
    console.data(format_args!("listening sandbox http://{}", sandbox.addr()))?;
    console.say(welcome(&house, sandbox.addr(), console.styles_messages()));
    let day = args.traffic.map(|minutes| traffic::Day {
        gateway: format!("http://{}", house.api_addr()),
        sandbox: format!("http://{}", sandbox.addr()),
        seed: args.world.seed,
        length: Duration::from_secs_f64(minutes * 60.0),
    });
    let visitors = async {
        if let Some(day) = day {
            day.pass().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = serve::attend(house, None, &mut signals, console) => {}
        () = visitors => {}
    }
    sandbox.shutdown().await;
    drop(folder);
    Ok(Exit::Ok)
}

/// The demo's data: a folder of its own that goes with it, unless one was named.
struct Folder(Option<PathBuf>);

impl Folder {
    fn of(settings: &mut Settings) -> Result<Self, Failure> {
        if settings.data.is_some() {
            return Ok(Self(None));
        }
        let path = std::env::temp_dir().join(format!("tollgate-demo-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&path).map_err(|why| {
            Failure::usage(format!("{} cannot be made: {why}", path.display())).help("name a folder with --data")
        })?;
        settings.data = Some(path.clone());
        Ok(Self(Some(path)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // A folder that stays behind is the system's to clear.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// Every provider of the policy, at the sandbox. A policy that cannot be read is reported when the house opens it.
fn simulated(settings: &Settings, sandbox: SocketAddr) -> Overrides {
    let report = house::check_policy(settings);
    report.snapshot.map(|snapshot| overrides(&snapshot, sandbox)).unwrap_or_default()
}

fn overrides(snapshot: &Snapshot, sandbox: SocketAddr) -> Overrides {
    let simulated = |provider: &Provider| {
        let (prefix, key) = counterpart(provider)?;
        let address = Override { base_url: Some(format!("http://{sandbox}/{prefix}")), key: Secret::new(key) };
        Some((provider.name.to_string(), address))
    };
    snapshot.catalog.providers.iter().filter_map(simulated).collect()
}

/// The simulator of a provider: the one of its name, else the one of its dialect.
fn counterpart(provider: &Provider) -> Option<(&'static str, &'static str)> {
    let of = |name: &str| providers().find(|(prefix, _)| *prefix == name);
    match provider.dialect {
        Dialect::Local => None,
        dialect => of(&provider.name).or_else(|| of(dialect.name())),
    }
}

/// What to try first.
fn welcome(house: &House, sandbox: SocketAddr, styled: bool) -> String {
    let api = house.api_addr();
    let bold = |text: &str| Style::Bold.paint(text, styled);
    let url = if api.port() == 8080 { String::new() } else { format!(" --url http://{api}") };
    let curl = format!(
        "curl -s http://{api}/generate -d '{{\"prompt\": \"a red bicycle\", \"width\": 512, \"height\": 512}}' | head -c 400"
    );
    format!(
        "\n{}: every provider is simulated, nothing costs money. Try, in another terminal:\n\n  {}\n  {}\n  {}\n\n\
         Metrics are at http://{}/metrics, the providers' own bill at http://{sandbox}/_sandbox/calls.\nCtrl-C ends it.",
        bold("Tollgate demo"),
        bold(&curl),
        bold(&format!("printf 'a fox\\na bicycle\\n' | tollgate batch - -o out{url}")),
        bold(&format!("tollgate explain \"a poster that says 'SALE'\"{url}")),
        house.admin_addr(),
    )
}
