//! A Postgres server of a test's own: on a free port of loopback, gone with its process.
//!
//! It refuses to run as root, so a test that does hands it to an unprivileged user. It lives under a shell that waits for
//! its own input to end: a test process that dies in any way takes its server with it.

#![allow(dead_code, reason = "each test binary uses some of it")]

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Longer than a start takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What ends the server when this process ends.
const GUARD: &str = "\"$@\" >\"$LOG\" 2>&1 & pid=$!; echo $pid; cat >/dev/null; kill -QUIT $pid; wait $pid";

/// A server. Needs the Debian package `postgresql`, which `tests/all` installs.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    port: u16,
    /// Whether it flushes to the disk, as it must where its crash is the point.
    safe: bool,
    running: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Server {
    /// One that runs and answers. Without `safe` it does not wait for the disk.
    pub(crate) fn start(safe: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let mut init = as_nobody("initdb");
        init.args(["--no-sync", "--auth=trust", "--username=tollgate", "--locale=C", "--encoding=UTF8", "--pgdata"]);
        let made = init.arg(folder.path().join("data")).stdin(Stdio::null()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { folder, port: 0, safe, running: Mutex::default(), databases: AtomicU32::default() };
        // Another process may take a port between the look and the start: then the next is tried.
        for _ in 0..20 {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if server.run() {
                return server;
            }
        }
        panic!("no postgres answers: {}", std::fs::read_to_string(server.folder.path().join("log")).unwrap());
    }

    /// The server that the tests of this process share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(false))
    }

    /// A new and empty database: its `postgres://…`.
    pub(crate) fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(program("createdb"))
            .args(["--host=127.0.0.1", "--username=tollgate", "--port", &self.port.to_string(), &name])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!("postgres://tollgate@127.0.0.1:{}/{name}?sslmode=disable", self.port)
    }

    /// Stops at once, as when its machine dies; what was not committed is lost.
    pub(crate) fn stop(&self) {
        if let Some(mut guard) = self.running.lock().unwrap().take() {
            drop(guard.stdin.take());
            guard.wait().unwrap();
        }
    }

    /// Starts again on the same port.
    pub(crate) fn restart(&self) {
        assert!(self.run(), "postgres does not answer again");
    }

    fn run(&self) -> bool {
        let data = self.folder.path().join("data");
        let mut options = format!("-c port={} -c listen_addresses=127.0.0.1 -c unix_socket_directories=", self.port);
        options += " -c max_connections=60 -c shared_buffers=16MB -c autovacuum=off";
        if !self.safe {
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off";
        }
        let server = as_nobody("postgres");
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(server.get_program()).args(server.get_args()).arg("-D").arg(data);
        guard.args(options.split(' ')).env("LOG", self.folder.path().join("log"));
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        *self.running.lock().unwrap() = Some(guard);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.answers() {
                return true;
            }
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if log.contains("could not create any TCP/IP sockets") {
                self.stop();
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn answers(&self) -> bool {
        // A server that is starting accepts and says so: only a database that can be used counts.
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            && Command::new(program("pg_isready"))
                .args(["--quiet", "--host=127.0.0.1", "--port", &self.port.to_string()])
                .stdin(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Rows of a query, as `psql` prints them without decoration.
pub(crate) fn query(url: &str, sql: &str) -> String {
    let output = Command::new(program("psql"))
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--dbname", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut psql| {
            psql.stdin.take().unwrap().write_all(sql.as_bytes())?;
            psql.wait_with_output()
        })
        .unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A program of the server, run by somebody who is not root.
fn as_nobody(name: &str) -> Command {
    let program = program(name);
    // A file that this process has made tells who it is.
    let probe = tempfile::NamedTempFile::new().unwrap();
    if std::fs::metadata(probe.path()).unwrap().uid() != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

/// Where Debian keeps a program of the newest server, or the plain name to be found on the path.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin").join(name)))
        })
        .filter(|(_, path): &(u32, PathBuf)| Path::exists(path))
        .collect();
    found.sort();
    found.pop().map_or_else(|| PathBuf::from(name), |(_, path)| path)
}
