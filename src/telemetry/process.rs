//! What the process itself uses: processor, memory, files, tasks.
//!
//! Why it exists: the first question of a slow night. It is read when somebody asks, from the kernel's own account; on a
//! system without `/proc` the numbers stay away. What it refuses to know: requests.

use super::Telemetry;
use super::metrics::Metric;

/// Clock ticks a second in `/proc/self/stat`: fixed in Linux's interface.
const TICKS: u64 = 100;
/// Bytes of a page; what Linux reports in, on every machine that this is built for.
const PAGE: i64 = 4096;

impl Telemetry {
    /// Reads them now.
    pub(super) fn process(&self) {
        if let Some(ticks) = std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(ticks) {
            self.counter(Metric::ProcessCpu, &[]).raise(ticks * (1_000_000 / TICKS));
        }
        if let Some(pages) = std::fs::read_to_string("/proc/self/statm").ok().as_deref().and_then(resident) {
            self.gauge(Metric::ProcessMemory, &[]).set(pages * PAGE);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            self.gauge(Metric::ProcessFiles, &[]).set(i64::try_from(files.count()).unwrap_or(i64::MAX));
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let alive = runtime.metrics().num_alive_tasks();
            self.gauge(Metric::RuntimeTasks, &[]).set(i64::try_from(alive).unwrap_or(i64::MAX));
        }
    }
}

/// User and system ticks. The program's name, which may hold anything, ends at the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Pages that are resident.
fn resident(statm: &str) -> Option<i64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_parenthesis_shifts_nothing() {
        let stat = "71 (a) b (c)) S 1 71 71 0 -1 4194560 900 0 3 0 250 31 0 0 20 0 9 0 100 1 2 3";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(resident("5000 1234 800 1 0 900 0"), Some(1234));
    }
}
