//! The machine: its clock, its limits, its addresses, its disk.
//!
//! Why it exists: these are what a container or a fresh host gets wrong. What it refuses to know: the policy.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::super::settings::Settings;
use super::{Check, Mark};
use crate::telemetry::clock;

/// Flushes that are timed.
const FLUSHES: usize = 100;
/// A flush that takes longer holds up every request, since money is written before it is spent.
const SLOW: Duration = Duration::from_millis(50);
/// Files beside connections: the ledger, the pictures, the policy.
const OTHER_FILES: u64 = 64;

/// A clock that is older than this program is wrong, and prices, keys and reports would be too.
pub(super) fn clock() -> Check {
    let now = clock::now();
    let program = std::env::current_exe().and_then(|path| path.metadata()).and_then(|file| file.modified()).ok();
    let built = program.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    if now < built {
        let detail = format!("{now:.0} is before this program was made ({built:.0})");
        return Check::new("clock", Mark::Fail, detail).help("set the clock, or let NTP do it");
    }
    Check::ok("clock", format!("{now:.0}"))
}

/// Whether the process may hold a file for each connection, inward and outward.
pub(super) fn open_files(settings: &Settings) -> Check {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let wanted = settings.server.max_connections + settings.server.max_in_flight + OTHER_FILES;
    match soft.map(str::parse::<u64>) {
        None => Check::ok("open files", "this system does not tell its limit"),
        Some(Ok(soft)) if soft < wanted => {
            let detail = format!("{soft} may be open, and {wanted} can be needed");
            Check::new("open files", Mark::Warn, detail).help("ulimit -n 65536, or a lower server.max_connections")
        }
        // `unlimited` is no number.
        Some(_) => Check::ok("open files", format!("{} may be open", soft.unwrap_or_default())),
    }
}

/// Whether the addresses can be had that every gateway listens on.
pub(super) fn addresses(settings: &Settings) -> Vec<Check> {
    let server = &settings.server;
    vec![address("listen", "--listen", server.listen), address("admin", "--admin", server.admin)]
}

/// Whether the pass-through's address can be had, where the policy turns it on.
pub(super) fn pass_through(settings: &Settings) -> Check {
    address("proxy", "--proxy", settings.server.proxy)
}

fn address(name: &str, flag: &str, address: SocketAddr) -> Check {
    match TcpListener::bind(address) {
        Ok(_) if address.port() == 0 => Check::ok(name, format!("{} has a free port", address.ip())),
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(why) => Check::new(name, Mark::Fail, format!("{address} cannot be had: {why}"))
            .help(format!("stop what listens there, or choose another with {flag}")),
    }
}

/// Writes and flushes as the ledger does, in the data folder or where it would be made.
pub(super) fn disk(data: &Path) -> Check {
    let folder = existing(data);
    match flushes(&folder) {
        Err(why) => Check::new("disk", Mark::Fail, format!("{} cannot be written: {why}", folder.display()))
            .help("choose another data folder with --data"),
        Ok(mut times) => {
            times.sort_unstable();
            let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
            let (median, tail) = (at(50), at(99));
            let detail = format!(
                "{}: a flush takes {:.1} ms (p50), {:.1} ms (p99)",
                folder.display(),
                median.as_secs_f64() * 1e3,
                tail.as_secs_f64() * 1e3
            );
            if tail > SLOW {
                Check::new("disk", Mark::Warn, detail)
                    .help("every request waits for one: use a faster disk, or ledger.durability = \"process\"")
            } else {
                Check::ok("disk", detail)
            }
        }
    }
}

/// The folder, or the nearest above it that is there.
fn existing(data: &Path) -> PathBuf {
    let found = data.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    if found == Path::new("") { PathBuf::from(".") } else { found.to_owned() }
}

fn flushes(folder: &Path) -> std::io::Result<Vec<Duration>> {
    let path = folder.join(format!(".tollgate-doctor-{}", std::process::id()));
    let timed = File::create_new(&path).and_then(|mut file| {
        let flush = |_| {
            let began = Instant::now();
            file.write_all(&[0; 4_096])?;
            file.sync_data()?;
            Ok(began.elapsed())
        };
        (0..FLUSHES).map(flush).collect()
    });
    // The probe goes, whatever it found.
    let _ = std::fs::remove_file(&path);
    timed
}
