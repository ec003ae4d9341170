//! Static settings: addresses, folders, stores, limits of this process; read once, at start.
//!
//! Why it exists: defaults, then `tollgate.toml`, then the environment (`TOLLGATE_SECTION__KEY`), then flags, each layer
//! over the one before, all through one table of keys. Every mistake of every layer is told together, with its place.
//! What it refuses to know: what is bought and for how much; that is the policy's. To add a setting: a field here and a
//! line in `keys.rs`; its flag, if it has one, in `args/gateway.rs` and `Settings::flags`.

mod env;
mod file;
mod keys;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::args::PlaneFlags;
use super::exit::Failure;
use crate::policy::Overrides;
use crate::state::Durability;
use crate::state::encoder::Pixels;
use crate::telemetry::log::Look;
use crate::transport::webhook::Signers;

/// Everything that is set at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The doors.
    pub server: Server,
    /// Where callers reach the gateway, for links in answers; the host that they named when none.
    pub public_url: Option<String>,
    /// The policy: a file or a folder; `policies` when there is one, else the built-in.
    pub policy: Option<PathBuf>,
    /// The folder of the ledger and the images.
    pub data: Option<PathBuf>,
    /// The books.
    pub ledger: LedgerSettings,
    /// Where limits and flights live; none is in the process.
    pub state_url: Option<String>,
    /// Where pictures live: a folder or an S3 bucket; none is `images` in the data folder.
    pub images_url: Option<String>,
    /// Jobs, and the messages about them.
    pub jobs: JobSettings,
    /// The log.
    pub log: Log,
    /// The traces.
    pub traces: Traces,
    /// Whether models still draw as they did.
    pub audit: AuditSettings,
    /// A policy that is tried beside the one in force.
    pub trial: TrialSettings,
    /// What replaces a provider's address or credential, by the provider's name.
    pub providers: Overrides,
}

/// A policy that is tried beside the one in force. Shares are in whole hundredths.
#[derive(Clone, Debug)]
pub struct TrialSettings {
    /// Its file or folder; nothing is tried without.
    pub policy: Option<PathBuf>,
    /// Whether it serves a few callers, and not only decides beside.
    pub canary: bool,
    /// Callers among the few.
    pub percent: u64,
    /// What each side must have of requests, or of verdicts, before it is judged.
    pub evidence: u64,
    /// Requests that may fail in addition.
    pub stop_errors: u64,
    /// By how much an image may be dearer.
    pub stop_cost: u64,
    /// Images that may be rejected in addition.
    pub stop_acceptance: u64,
}

impl Default for TrialSettings {
    fn default() -> Self {
        Self {
            policy: None,
            canary: false,
            percent: 5,
            evidence: 50,
            stop_errors: 2,
            stop_cost: 25,
            stop_acceptance: 5,
        }
    }
}

/// The doors of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// The API.
    pub listen: SocketAddr,
    /// Metrics, health, reload.
    pub admin: SocketAddr,
    /// The native pass-through.
    pub proxy: SocketAddr,
    /// Whether the pass-through runs also while the policy has it off, as in a demo; no setting.
    pub proxy_always: bool,
    /// Whether the gateway that runs on the data folder hands over its listeners; no setting.
    pub take_over: bool,
    /// Open connections of one plane.
    pub max_connections: u64,
    /// Requests under way at once.
    pub max_in_flight: u64,
    /// The longest request body, in bytes.
    pub body_limit: u64,
    /// From the first byte of a request's body to its last, in seconds.
    pub read_seconds: u64,
    /// How long a shutdown waits for requests under way, in seconds.
    pub drain_seconds: u64,
}

/// The books.
#[derive(Clone, Debug, Default)]
pub struct LedgerSettings {
    /// Another ledger than the file in the data folder.
    pub url: Option<String>,
    /// What a power cut may take.
    pub durability: Durability,
}

/// Jobs, and the messages about them.
#[derive(Clone, Debug)]
pub struct JobSettings {
    /// Jobs under way at once.
    pub at_once: u64,
    /// What signs webhooks; without any, webhooks are off.
    pub signers: Option<Signers>,
    /// Origins that webhooks may go to though they are not public, such as `http://10.0.0.5:9000`.
    pub own: Vec<String>,
}

/// Whether models still draw as they did.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// Hours between two audits, in which models draw fixed prompts again to be held against their baseline; 0 is never,
    /// since they cost what they cost.
    pub hours: u64,
    /// An ONNX graph that turns pictures into features; without one, windows of pictures are not compared.
    pub encoder: Option<PathBuf>,
    /// How it wants its pixels.
    pub pixels: Pixels,
    /// Pictures of a window, at most.
    pub window: u64,
}

/// The log on stderr.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// How lines look.
    pub format: Look,
    /// The least important lines that are written.
    pub level: tracing::level_filters::LevelFilter,
    /// Whether prompts are written into the log and the ledger.
    pub prompts: bool,
}

/// The traces.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The collector of OTLP over HTTP, such as `http://127.0.0.1:4318`; without one nothing is recorded.
    pub url: Option<String>,
    /// How many of a hundred requests are recorded that came without a trace of their own.
    pub percent: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            server: Server {
                listen: local(8080),
                admin: local(8081),
                proxy: local(8082),
                proxy_always: false,
                take_over: false,
                max_connections: 4_096,
                max_in_flight: 1_024,
                body_limit: 16 << 20,
                read_seconds: 300,
                drain_seconds: 30,
            },
            public_url: None,
            policy: None,
            data: None,
            ledger: LedgerSettings::default(),
            state_url: None,
            images_url: None,
            jobs: JobSettings { at_once: 16, signers: None, own: Vec::new() },
            log: Log { format: Look::Auto, level: tracing::level_filters::LevelFilter::INFO, prompts: false },
            traces: Traces { url: None, percent: 100 },
            audit: AuditSettings { hours: 0, encoder: None, pixels: Pixels::default(), window: 256 },
            trial: TrialSettings::default(),
            providers: Overrides::default(),
        }
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// In a settings file.
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// In this environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => f.write_str(name),
        }
    }
}

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
enum Written {
    Switch(bool),
    Text(String),
    Whole(i64),
    /// Something that no setting is, by its name.
    Other(&'static str),
}

/// One setting of one layer.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    /// `server.listen`, `providers.stability.key`.
    key: Vec<String>,
    value: Written,
    origin: Origin,
}

/// A mistake in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mistake {
    what: String,
    help: Option<String>,
    origin: Option<Origin>,
}

impl Settings {
    /// The settings of this process: the file that the flags name (or `tollgate.toml`, if there is one), the
    /// environment, the flags.
    pub(super) fn of_process(flags: &PlaneFlags) -> Result<Self, Failure> {
        let named = flags.config.as_deref();
        let text = match named {
            Some(path) => Some((path, read(path)?)),
            None => std::fs::read_to_string("tollgate.toml").ok().map(|text| (Path::new("tollgate.toml"), text)),
        };
        let file = text.as_ref().map(|(path, text)| (*path, text.as_str()));
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let variables = environment.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
        let mut settings = Self::layered(file, variables)?;
        settings.flags(flags);
        settings.supported()?;
        Ok(settings)
    }

    /// Defaults, then the file's text, then the environment's variables. Every mistake of both is told.
    fn layered(
        file: Option<(&Path, &str)>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Failure> {
        let (mut settings, mut mistakes) = (Self::default(), Vec::new());
        let mut entries = Vec::new();
        if let Some((path, text)) = file {
            match file::entries(path, text) {
                Ok(found) => entries.extend(found),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        entries.extend(env::entries(environment));
        mistakes.extend(entries.iter().filter_map(|entry| keys::apply(&mut settings, entry).err()));
        if mistakes.is_empty() { Ok(settings) } else { Err(wrong(&mistakes)) }
    }

    fn flags(&mut self, flags: &PlaneFlags) {
        let server = &mut self.server;
        server.listen = flags.listen.unwrap_or(server.listen);
        server.admin = flags.admin.unwrap_or(server.admin);
        server.proxy = flags.proxy.unwrap_or(server.proxy);
        self.policy = flags.policy.clone().or(self.policy.take());
        self.data = flags.data.clone().or(self.data.take());
    }

    /// Refuses what this build has no code for, by name: a setting that is read and ignored would be a lie.
    fn supported(&self) -> Result<(), Failure> {
        let shared = [("state.url", &self.state_url, "limits and flights"), ("ledger.url", &self.ledger.url, "money")];
        for (key, url, what) in shared {
            if let Some(url) = url {
                let scheme = url.split_once(':').map_or(url.as_str(), |(scheme, _)| scheme);
                let known: &[&str] =
                    if key == "state.url" { &["redis", "rediss"] } else { &["postgres", "postgresql"] };
                if known.contains(&scheme) {
                    continue;
                }
                return Err(Failure::usage(format!(
                    "`{key}` names a {scheme} store, which this build does not support"
                ))
                .help(format!("leave `{key}` out: {what} then live in this process and its data folder")));
            }
        }
        Ok(())
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new("data"))
    }

    /// Where pictures live, as a URL or a folder.
    pub fn images(&self) -> String {
        self.images_url.clone().unwrap_or_else(|| self.data().join("images").display().to_string())
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|why| {
        Failure::usage(format!("the settings {} cannot be read: {why}", path.display()))
            .help("leave out --config to use tollgate.toml, or the defaults")
    })
}

/// One failure of all mistakes.
fn wrong(mistakes: &[Mistake]) -> Failure {
    let line = |mistake: &Mistake| {
        let place = mistake.origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default();
        let help = mistake.help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
        format!("{place}{}{help}", mistake.what)
    };
    let lines: Vec<_> = mistakes.iter().map(line).collect();
    match lines.as_slice() {
        [only] => Failure::usage(only),
        all => Failure::usage(format!("the settings have {} mistakes\n{}", all.len(), all.join("\n"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Secret;

    fn layered(text: &str, environment: &[(&str, &str)]) -> Result<Settings, Failure> {
        let variables = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::layered(Some((Path::new("tollgate.toml"), text)), variables)
    }

    #[test]
    fn each_layer_lies_over_the_one_before() {
        let text = "[server]\nlisten = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\nmax_in_flight = 7\n";
        let mut settings = layered(text, &[("TOLLGATE_SERVER__ADMIN", "127.0.0.1:3"), ("HOME", "/")]).unwrap();
        settings.flags(&PlaneFlags { proxy: Some("127.0.0.1:4".parse().unwrap()), ..PlaneFlags::default() });
        let server = settings.server;
        let ports = [server.listen, server.admin, server.proxy].map(|address| address.port());
        assert_eq!(ports, [1, 3, 4]);
        assert_eq!((server.max_in_flight, server.max_connections), (7, 4_096));
    }

    #[test]
    fn providers_are_overridden_from_file_and_environment() {
        let text = "[providers.my-forge]\nbase_url = \"http://10.0.0.7:7860\"\n";
        let environment =
            [("TOLLGATE_PROVIDERS__STABILITY__KEY", "sk-1"), ("TOLLGATE_PROVIDERS__MY_FORGE__KEY", "u:p")];
        let settings = layered(text, &environment).unwrap();
        let forge = &settings.providers["my-forge"];
        assert_eq!(forge.base_url.as_deref(), Some("http://10.0.0.7:7860"));
        assert_eq!(forge.key, Secret::new("u:p"), "an underscore stands for the hyphen of a known provider");
        assert_eq!(settings.providers["stability"].key, Secret::new("sk-1"));
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = "[server]\nlisten = 8080\nmax_inflight = 3\n\n[log]\nlevel = \"loud\"\n\n[sever]\nx = 1\n";
        let environment = [("TOLLGATE_SERVER__BODY_LIMIT", "lots"), ("TOLLGATE_LOG__PROMPT", "1")];
        let failure = layered(text, &environment).unwrap_err();
        insta::assert_snapshot!(failure.what(), @r"
        the settings have 6 mistakes
        tollgate.toml:2:1: `server.listen` is `8080`, and should be an address and a port, such as 127.0.0.1:8080
        tollgate.toml:3:1: no setting `server.max_inflight`
          help: did you mean `server.max_in_flight`?
        tollgate.toml:6:1: `log.level` is `loud`, and should be one of error, warn, info, debug, trace
        tollgate.toml:9:1: no setting `sever.x`
          help: the sections are audit, data, images, jobs, ledger, log, policy, providers, server, state, traces, trial, webhooks
        TOLLGATE_LOG__PROMPT: no setting `log.prompt`
          help: did you mean `log.prompts`?
        TOLLGATE_SERVER__BODY_LIMIT: `server.body_limit` is `lots`, and should be a whole number from 1024 to 1073741824
        ");
    }

    #[test]
    fn an_empty_webhook_secret_is_refused_and_never_told() {
        for secret in ["", "whsec_", "whsec_c2hvcnQ="] {
            let failure = layered("", &[("TOLLGATE_WEBHOOKS__SECRETS", secret)]).unwrap_err();
            assert!(failure.what().starts_with("TOLLGATE_WEBHOOKS__SECRETS: `webhooks.secrets` is "), "{failure}");
            assert!(secret.is_empty() || !failure.what().contains(&format!("`{secret}`")), "{failure}");
        }
        let two = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert!(layered("", &[("TOLLGATE_WEBHOOKS__SECRETS", two)]).unwrap().jobs.signers.is_some());
    }

    #[test]
    fn broken_toml_is_told_with_its_place() {
        let failure = layered("[server]\nlisten = \n", &[]).unwrap_err();
        assert!(failure.what().starts_with("tollgate.toml:2:"), "{failure}");
    }

    #[test]
    fn a_store_that_is_not_built_in_is_refused_by_name() {
        let settings = layered("[state]\nurl = \"memcached://cache:11211\"\n", &[]).unwrap();
        let failure = settings.supported().unwrap_err();
        assert_eq!(failure.what(), "`state.url` names a memcached store, which this build does not support");
        assert!(layered("[state]\nurl = \"rediss://cache:6379\"\n", &[]).unwrap().supported().is_ok());
        assert!(layered("[state]\nurl = \"local\"\n[ledger]\nurl = \"sqlite\"\n", &[]).unwrap().supported().is_ok());
    }
}
