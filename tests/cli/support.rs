//! Runs the binary, and demos in the background.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A fresh folder for a test.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The binary in `folder`, with no setting from this process's environment.
pub(crate) fn tollgate(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.current_dir(folder).env_clear().env("COLUMNS", "110").stdin(Stdio::null());
    command
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// Everything that a person sees, for a snapshot.
    pub(crate) fn seen(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs the binary in `folder` to its end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    tollgate(folder).args(arguments).output().unwrap().into()
}

/// Waits for a condition; the text says what for.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A gateway in the background; killed when dropped.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) sandbox: Option<SocketAddr>,
    pub(crate) proxy: Option<SocketAddr>,
    pub(crate) folder: tempfile::TempDir,
}

impl Serving {
    /// A demo whose providers answer `speed` times as fast as the real ones.
    pub(crate) fn demo(speed: &str) -> Self {
        let folder = folder();
        let any = "127.0.0.1:0";
        let mut command = tollgate(folder.path());
        command.args(["demo", "--listen", any, "--admin", any, "--proxy", any, "--sandbox", any]);
        command.args(["--speed", speed, "--data", "data"]);
        Self::start(command, folder, 4)
    }

    /// A gateway at these addresses whose Stability is the sandbox at `sandbox`; its books are `data` in `folder`.
    pub(crate) fn gateway(folder: tempfile::TempDir, sandbox: SocketAddr, api: &str) -> Self {
        let (prefix, key) = tollgate::sandbox::providers().find(|(prefix, _)| *prefix == "stability").unwrap();
        let mut command = tollgate(folder.path());
        command.env("TOLLGATE_PROVIDERS__STABILITY__BASE_URL", format!("http://{sandbox}/{prefix}"));
        command.env("TOLLGATE_PROVIDERS__STABILITY__KEY", key);
        command.args(["serve", "--listen", api, "--admin", "127.0.0.1:0"]);
        Self::start(command, folder, 2)
    }

    /// Dies at once, as in a power cut; its folder stays.
    pub(crate) fn killed(mut self) -> tempfile::TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, folder())
    }

    /// Starts and waits for this many `listening` lines.
    pub(crate) fn start(mut command: Command, folder: tempfile::TempDir, planes: usize) -> Self {
        let err = std::fs::File::create(folder.path().join("stderr")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(err).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut found: Vec<(String, SocketAddr)> = Vec::new();
        while found.len() < planes {
            let said = || std::fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
            let line = lines.next().unwrap_or_else(|| panic!("ended before it listened: {}", said())).unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!((words[0], words.len()), ("listening", 3), "{line}");
            found.push((words[1].to_owned(), words[2].strip_prefix("http://").unwrap().parse().unwrap()));
        }
        let of = |plane: &str| found.iter().find(|(name, _)| name == plane).map(|(_, address)| *address);
        Self {
            child,
            api: of("api").unwrap(),
            admin: of("admin").unwrap(),
            sandbox: of("sandbox"),
            proxy: of("proxy"),
            folder,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The folder of its ledger and pictures.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// The providers' own bill: what was charged, by prompt-free rows.
    pub(crate) fn bill(&self) -> Vec<Value> {
        let calls: Value = serde_json::from_str(&get(self.sandbox.unwrap(), "/_sandbox/calls").1).unwrap();
        let calls = calls.as_array().unwrap().iter();
        calls.filter(|call| call["billed_micro_usd"].as_i64().unwrap() > 0).cloned().collect()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `GET path`: status and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { unchunked(body) } else { body.to_owned() })
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        whole.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    whole
}
