//! A real Prometheus that scrapes what it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::support::{PATIENCE, get, until};

/// How much shorter every window of the rules is in tests.
const SHORTER: u64 = 20;

/// A Prometheus; killed when dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `target` every second, with the rules of these files, their windows [`SHORTER`].
    pub(crate) fn scraping(targets: &[SocketAddr], rules: &[std::path::PathBuf]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in rules {
            let text = std::fs::read_to_string(file).unwrap();
            std::fs::write(folder.path().join(file.file_name().unwrap()), shorter(&text)).unwrap();
        }
        let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}/*.yml\"]\n\
             scrape_configs:\n  - job_name: tollgate\n    static_configs: [{{ targets: [{}] }}]\n",
            folder.path().display(),
            targets.join(", ")
        );
        std::fs::write(folder.path().join("prometheus.config"), config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.config").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap_or_else(|why| panic!("prometheus does not run ({why}): install Debian's prometheus"));
        let running = Self { child, address, _folder: folder };
        until("Prometheus to be ready", || TcpStream::connect(address).is_ok() && get(address, "/-/ready").0 == 200);
        running
    }

    /// The series of an instant query: labels and value.
    pub(crate) fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let (status, body) = get(self.address, &format!("/api/v1/query?query={encoded}"));
        assert_eq!(status, 200, "{query}\n{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}\n{answer}"));
        series.iter().map(|one| (one["metric"].clone(), one["value"][1].as_str().unwrap().parse().unwrap())).collect()
    }

    /// The names of the alerts that fire now.
    pub(crate) fn firing(&self) -> Vec<String> {
        let firing = self.query("count by (alertname) (ALERTS{alertstate=\"firing\"})");
        firing.into_iter().map(|(labels, _)| labels["alertname"].as_str().unwrap().to_owned()).collect()
    }

    /// What a board's question finds, with its variables filled in as Grafana would.
    pub(crate) fn panel(&self, query: &str) -> Vec<(Value, f64)> {
        let filled = [("$job", ".+"), ("$instance", ".+"), ("$__rate_interval", "15s"), ("$__range", "1m")];
        self.query(&filled.iter().fold(query.to_owned(), |text, (variable, value)| text.replace(variable, value)))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Rules whose every duration is [`SHORTER`], five seconds at least in a range and a second in a `for`.
fn shorter(rules: &str) -> String {
    let mut text = String::new();
    let mut rest = rules;
    while let Some((at, marker)) =
        ["[", "offset ", "for: "].iter().filter_map(|marker| Some((rest.find(marker)?, *marker))).min()
    {
        let (before, after) = rest.split_at(at + marker.len());
        text.push_str(before);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
        let seconds = match after[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => 0,
        };
        if digits == 0 || seconds == 0 {
            rest = after;
            continue;
        }
        let least = if marker == "for: " { 1 } else { 5 };
        let long: u64 = after[..digits].parse::<u64>().unwrap() * seconds;
        text.push_str(&(long / SHORTER).max(least).to_string());
        text.push('s');
        rest = &after[digits + 1..];
    }
    text + rest
}

#[test]
fn windows_get_shorter_and_nothing_else_changes() {
    let rules = "expr: sum(rate(x[5m])) > 4 * sum(rate(x[1d] offset 15m)) and by (a) [odd]\nfor: 2m\n";
    let wanted = "expr: sum(rate(x[15s])) > 4 * sum(rate(x[4320s] offset 45s)) and by (a) [odd]\nfor: 6s\n";
    assert_eq!(shorter(rules), wanted);
}

/// `METHOD path` with a JSON body: the status of the answer, whose body is read and left.
pub(crate) fn send(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         {headers}content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

/// Writes a file in one step, as editors and deployments do.
pub(crate) fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}
