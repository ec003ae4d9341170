//! A redis-server of a test's own: on a free port, with nothing on disk, gone when it drops.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than a start takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server. Needs `redis-server`, which `tests/all` installs.
pub(crate) struct RedisServer {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
}

impl RedisServer {
    /// One that runs and answers.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// The same with these options: `["--maxmemory", "10mb"]`.
    pub(crate) fn with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        // Another process may take a port between the look and the start: then the next is tried.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = spawn(port, folder.path(), &options);
            let mut server = Self { child, folder: tempfile::tempdir().unwrap(), port, options: options.clone() };
            if server.answers() {
                server.folder = folder;
                return server;
            }
        }
        panic!("no redis-server answers; is it installed?");
    }

    /// `redis://…` of it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What redis-cli prints for a command.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(command)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Dies at once; what it held is lost.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts again on the same port, empty unless its folder has a snapshot; does not wait for it to answer.
    pub(crate) fn restart(&mut self, more: &[&str]) {
        let mut options = self.options.clone();
        options.extend(more.iter().map(|option| (*option).to_owned()));
        self.child = spawn(self.port, self.folder.path(), &options);
    }

    /// Stands still: takes connections, answers nothing.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Waits until it answers `PONG`; false when it ended instead.
    pub(crate) fn answers(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(self.address()).is_ok() && self.cli(&["PING"]) == "PONG" {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A paused process dies of this too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, folder: &std::path::Path, options: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--dir", folder.to_str().unwrap(), "--daemonize", "no"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is needed (tests/all installs it)")
}
