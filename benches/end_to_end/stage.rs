//! The processes of the bench, and what is asked of them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::load::{Load, Shot};

/// A process under measurement.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The gateway's native pass-through.
    pub(crate) native: Option<SocketAddr>,
    child: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A process that has ended already is as good.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// CPU time of the process and its children, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let pids = family(self.child.id());
        let ticks: u64 = pids.into_iter().filter_map(ticks).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The most resident memory that it ever had, in bytes.
    pub(crate) fn peak_memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a status");
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        kib * 1024.0
    }
}

/// The kernel counts in hundredths of a second.
fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut all = vec![pid];
    all.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(family));
    all
}

/// Where a process runs. What is measured has a core to itself, as in the figures that the targets come from: it neither
/// shares its caches with what it is measured by nor wakes another core. `BENCH_CORES=all` lets the kernel choose.
#[derive(Clone, Copy)]
enum Side {
    Measured,
    /// The sandbox and the load.
    Around,
}

impl Side {
    fn command(self, program: &str) -> Command {
        if !apart() {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.args(["-c", self.cores(), program]);
        command
    }

    fn cores(self) -> &'static str {
        match self {
            Self::Measured => "0",
            Self::Around => "1",
        }
    }
}

/// Whether what is measured has a core to itself.
pub(crate) fn apart() -> bool {
    std::env::var("BENCH_CORES").as_deref() != Ok("all")
}

/// Everything that is running.
pub(crate) struct Stage {
    pub(crate) sandbox: Peer,
    pub(crate) nginx: Peer,
    pub(crate) bare: Peer,
    /// The gateway with `durability = "process"`.
    pub(crate) process: Peer,
    /// The gateway with `durability = "power"`.
    pub(crate) power: Peer,
    folder: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Stage {
    pub(crate) async fn open() -> Self {
        // On a disk, so that "power" pays for real flushes.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("end-to-end-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        if apart() {
            let own = std::process::id().to_string();
            let moved = Command::new("taskset").args(["-a", "-c", "-p", Side::Around.cores(), &own]).output();
            assert!(moved.expect("taskset, from util-linux").status.success(), "this machine has no second core");
        }
        let flags = ["sandbox", "--listen", "127.0.0.1:0", "--speed", "1000000", "--seed", "7"];
        let sandbox = tollgate(Side::Around, &flags, &[]);
        let nginx = nginx(&folder, sandbox.address);
        let bare = bare(sandbox.address);
        let process = gateway(&folder, "process", sandbox.address);
        let power = gateway(&folder, "power", sandbox.address);
        let stage = Self { sandbox, nginx, bare, process, power, folder };
        for peer in [&stage.sandbox, &stage.nginx] {
            Load::closed(peer.address, &stage.small_direct(), 4, Duration::from_millis(300)).await;
        }
        stage
    }

    /// Another gateway, for a peak of its own.
    pub(crate) fn fresh(&self) -> Peer {
        gateway(&self.folder, "process", self.sandbox.address)
    }

    pub(crate) fn small_direct(&self) -> Shot {
        Shot {
            path: "/openai/v1/images/generations".to_owned(),
            headers: "content-type: application/json\r\nauthorization: Bearer sk-unlimited\r\n".to_owned(),
            body: r#"{"model":"gpt-image-2","prompt":"tile {n}","size":"96x96","quality":"low","n":1,"output_format":"jpeg"}"#
                .to_owned(),
        }
    }

    pub(crate) fn small_generate(&self) -> Shot {
        generate(r#"{"prompt":"tile {n}","model":"small/picture","width":96,"height":96,"output_format":"jpeg"}"#, "")
    }

    pub(crate) fn small_joined(&self) -> Shot {
        generate(r#"{"prompt":"one tile","model":"small/picture","width":96,"height":96,"output_format":"jpeg"}"#, "")
    }

    /// A key that has been answered once.
    pub(crate) async fn small_replayed(&self) -> Shot {
        let body = r#"{"prompt":"kept tile","model":"small/picture","width":96,"height":96,"output_format":"jpeg"}"#;
        let shot = generate(body, "idempotency-key: kept\r\n");
        Load::closed(self.process.address, &shot, 1, Duration::from_millis(200)).await;
        shot
    }

    pub(crate) fn large_direct(&self) -> Shot {
        let boundary = "b";
        let part = |name: &str, value: &str| {
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let body = [part("prompt", "view {n}"), part("model", "sd3.5-medium"), format!("--{boundary}--\r\n")].concat();
        Shot {
            path: "/stability/v2beta/stable-image/generate/sd3".to_owned(),
            headers: format!(
                "content-type: multipart/form-data; boundary={boundary}\r\naccept: image/*\r\nauthorization: Bearer sk-unlimited\r\n"
            ),
            body,
        }
    }

    /// The same calls through the pass-through: the provider's name before the path.
    pub(crate) fn native(&self, direct: &Shot) -> Shot {
        let path = direct.path.replacen("/openai", "/small", 1).replacen("/stability", "/large", 1);
        Shot { path, ..direct.clone() }
    }

    pub(crate) fn large_generate(&self) -> Shot {
        generate(r#"{"prompt":"view {n}","model":"large/picture"}"#, "")
    }

    pub(crate) fn large_raw(&self) -> Shot {
        generate(r#"{"prompt":"view {n}","model":"large/picture"}"#, "accept: image/png\r\n")
    }
}

fn generate(body: &str, headers: &str) -> Shot {
    let headers = format!("content-type: application/json\r\n{headers}");
    Shot { path: "/generate".to_owned(), headers, body: body.to_owned() }
}

fn gateway(folder: &Path, durability: &str, sandbox: SocketAddr) -> Peer {
    let data = folder.join(format!("data-{durability}-{}", rand::random::<u32>()));
    let data = data.to_string_lossy();
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/end_to_end/policy.toml");
    let settings = [
        ("TOLLGATE_LEDGER__DURABILITY", durability.to_owned()),
        ("TOLLGATE_LOG__LEVEL", "warn".to_owned()),
        ("BENCH_SMALL_URL", format!("http://{sandbox}/openai")),
        ("BENCH_SMALL_KEY", "sk-unlimited".to_owned()),
        ("BENCH_LARGE_URL", format!("http://{sandbox}/stability")),
        ("BENCH_LARGE_KEY", "sk-unlimited".to_owned()),
    ];
    let any = "127.0.0.1:0";
    let flags = ["serve", "--listen", any, "--admin", any, "--proxy", any, "--policy", policy, "--data", &data];
    tollgate(Side::Measured, &flags, &settings)
}

/// The flag with which this program is [`super::bare`].
pub(crate) const BARE: &str = "--bare";

fn bare(sandbox: SocketAddr) -> Peer {
    let own = std::env::current_exe().expect("this program");
    let mut command = Side::Measured.command(&own.to_string_lossy());
    listening(command.args([BARE, &sandbox.to_string()]), false)
}

fn tollgate(side: Side, flags: &[&str], settings: &[(&str, String)]) -> Peer {
    let binary = std::env::var("TOLLGATE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tollgate").to_owned());
    let mut command = side.command(&binary);
    command.args(flags).envs(settings.iter().map(|(name, value)| (name, value)));
    listening(&mut command, flags.first() == Some(&"serve"))
}

/// Starts a process and waits for its listeners: with a `gateway`'s, API, admin plane and pass-through.
fn listening(command: &mut Command, gateway: bool) -> Peer {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a program");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut listens = || {
        let line = lines.next().expect("a listening line").expect("text");
        line.rsplit("http://").next().and_then(|at| at.parse().ok()).expect("an address")
    };
    let address = listens();
    let native = gateway.then(|| (listens(), listens()).1);
    // Nothing else is read; the pipe holds the few lines that follow.
    std::mem::forget(lines);
    Peer { address, native, child }
}

fn nginx(folder: &Path, sandbox: SocketAddr) -> Peer {
    let address: SocketAddr = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let place = folder.display();
    let config = format!(
        "daemon off; master_process on; worker_processes 1; pid {place}/nginx.pid; error_log {place}/error.log warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
         fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;\n\
         keepalive_requests 1000000; upstream sandbox {{ server {sandbox}; keepalive 64; keepalive_requests 1000000; }}\n\
         server {{ listen {address}; location / {{ proxy_pass http://sandbox; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host {sandbox}; }} }} }}\n"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).expect("a configuration");
    let child = Side::Measured.command("nginx").arg("-c").arg(&file).arg("-e").arg(folder.join("error.log")).spawn();
    let child = child.expect("nginx, from Debian's package nginx-light");
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::yield_now();
    }
    Peer { address, native: None, child }
}
