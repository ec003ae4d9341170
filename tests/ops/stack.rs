//! The stack of `compose.yaml` and its kin, checked by what a machine without an engine has: systemd's own judgement, an
//! empty root, and the same processes started by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::prometheus::{Prometheus, send};
use super::redis::RedisServer;
use super::rules::files;
use super::support::{Serving, folder, get, tollgate, until};

fn compose() -> String {
    std::fs::read_to_string("compose.yaml").unwrap()
}

/// The gateways' environment as `compose.yaml` writes it.
fn environment() -> BTreeMap<String, String> {
    let text = compose();
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("TOLLGATE_"));
    lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// `(path here, path there)` of every file that is mounted.
fn mounts() -> Vec<(PathBuf, String)> {
    let text = compose();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("- ./"));
    lines
        .map(|line| {
            let mut parts = line.split(':');
            (PathBuf::from(parts.next().unwrap()), parts.next().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn compose_mounts_what_there_is() {
    let mounts = mounts();
    assert!(mounts.len() >= 7, "{mounts:?}");
    for (here, there) in &mounts {
        assert!(here.exists() && there.starts_with('/'), "{}: {there}", here.display());
    }
    let provisioned = std::fs::read_to_string("dashboards/grafana/provisioning/dashboards/tollgate.yml").unwrap();
    let boards = mounts.iter().find(|(here, _)| here.ends_with("grafana/boards")).unwrap();
    assert!(provisioned.contains(&format!("path: {}", boards.1)), "Grafana looks where the boards are");
    let engine = Command::new("docker").args(["compose", "version"]).output();
    if engine.is_ok_and(|ran| ran.status.success()) {
        let ran = Command::new("docker").args(["compose", "config", "--quiet"]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
fn systemd_finds_nothing_to_say_and_little_to_attack() {
    let unit = std::fs::read_to_string("deploy/tollgate.service").unwrap();
    let folder = folder();
    let path = folder.path().join("tollgate.service");
    std::fs::write(&path, unit.replace("/usr/local/bin/tollgate", env!("CARGO_BIN_EXE_tollgate"))).unwrap();
    let judge = |arguments: &[&str]| {
        let ran = Command::new("systemd-analyze").args(arguments).arg(&path).output();
        let ran = ran.unwrap_or_else(|why| panic!("systemd-analyze does not run ({why}): install Debian's systemd"));
        let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
        assert!(ran.status.success(), "{said}");
        said
    };
    assert_eq!(judge(&["verify", "--man=no"]), "");
    // Of 10; the threshold is in tenths.
    judge(&["security", "--offline=true", "--threshold=15", "--no-pager"]);
}

#[test]
fn kubernetes_asks_routes_that_there_are() {
    let text = std::fs::read_to_string("deploy/kubernetes.yaml").unwrap();
    let house = Serving::demo("200");
    let probes: Vec<&str> = text.split("path: /").skip(1).filter_map(|rest| rest.split([' ', ',']).next()).collect();
    assert_eq!(probes, ["readyz", "readyz", "healthz"]);
    for probe in probes {
        assert_eq!(get(house.admin, &format!("/{probe}")).0, 200, "{probe}");
    }
    for hardening in ["readOnlyRootFilesystem: true", "runAsNonRoot: true", "drop: [ALL]"] {
        assert!(text.contains(hardening), "{hardening}");
    }
}

/// A root with the binary, its libraries and one folder to write, as nobody: what the image has, on any machine where
/// the tests run as root.
#[test]
fn the_binary_needs_an_empty_root_only() {
    if !is_root() {
        eprintln!("skipped: only root may change its root");
        return;
    }
    let root = folder();
    let binary = Path::new(env!("CARGO_BIN_EXE_tollgate"));
    let into = |path: &Path| {
        let there = root.path().join(path.strip_prefix("/").unwrap());
        std::fs::create_dir_all(there.parent().unwrap()).unwrap();
        std::fs::copy(path, &there).unwrap();
    };
    let needs = Command::new("ldd").arg(binary).output().unwrap();
    let needs = String::from_utf8(needs.stdout).unwrap();
    needs
        .split_whitespace()
        .filter(|word| word.starts_with("/lib") || word.starts_with("/usr/lib"))
        .for_each(|library| into(Path::new(library)));
    std::fs::copy(binary, root.path().join("tollgate")).unwrap();
    let data = root.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(65532), Some(65532)).unwrap();
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let any = "127.0.0.1:0";
    let mut command = Command::new("/usr/sbin/chroot");
    command.arg("--userspec=65532:65532").arg(root.path()).arg("/tollgate").env_clear();
    command.args(["demo", "--listen", any, "--admin", any, "--proxy", any, "--sandbox", any, "--speed", "200"]);
    command.args(["--data", "/data"]);
    let house = Serving::start(command, folder(), 4);
    let body = json!({ "prompt": "a fox in an empty room", "width": 256, "height": 256 }).to_string();
    let (status, said) = send(house.api, "POST", "/generate", "", &body);
    assert_eq!(status, 200, "{said}\n{}", house.said());
    assert!(data.join("tollgate.db").exists());
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A gateway as `compose.yaml` starts it, at `sandbox` and `redis`, with its files where the mounts say.
fn gateway(sandbox: SocketAddr, redis: &str) -> Serving {
    let folder = folder();
    let root = folder.path().to_owned();
    let there = |path: &str| root.join(path.trim_start_matches('/'));
    for (here, path) in
        mounts().iter().filter(|(_, path)| path.starts_with("/etc/tollgate/") && path.ends_with(".toml"))
    {
        std::fs::create_dir_all(there(path).parent().unwrap()).unwrap();
        std::fs::copy(here, there(path)).unwrap();
    }
    let mut command = tollgate(&root);
    for (name, value) in environment() {
        let value = match name.as_str() {
            // The ledger on Postgres has tests of its own; here each gateway keeps a file.
            "TOLLGATE_LEDGER__URL" => continue,
            "TOLLGATE_STATE__URL" => redis.to_owned(),
            "TOLLGATE_POLICY__PATH" | "TOLLGATE_IMAGES__URL" => there(&value).display().to_string(),
            _ => value.replace("sandbox:9100", &sandbox.to_string()),
        };
        command.env(name, value);
    }
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", "data"]);
    Serving::start(command, folder, 2)
}

#[test]
fn the_stacks_processes_work_together() {
    let simulators = Serving::demo("200");
    let sandbox = simulators.sandbox.unwrap();
    let redis = RedisServer::start();
    let gateways = [gateway(sandbox, &redis.url()), gateway(sandbox, &redis.url())];
    let prometheus = Prometheus::scraping(&gateways.each_ref().map(|gateway| gateway.admin), &files());
    for gateway in &gateways {
        let body = json!({ "prompt": "a red fox", "width": 256, "height": 256, "response_format": "url" }).to_string();
        let (status, said) = send(gateway.api, "POST", "/generate", "", &body);
        assert_eq!(status, 401, "{said}");
        let (status, said) = send(gateway.api, "POST", "/generate", "authorization: Bearer tg_compose\r\n", &body);
        assert_eq!(status, 200, "{said}");
    }
    until("Prometheus to see a picture of each", || {
        prometheus.query("sum by (instance) (tollgate_images_total) > 0").len() == gateways.len()
    });
    until("both to share their limits", || {
        prometheus.query("sum(tollgate_quota_mode{mode=\"shared\"}) == 2").len() == 1
    });
    let policies = prometheus.query("count by (hash) (tollgate_policy_info)");
    assert!(matches!(policies.as_slice(), [(_, both)] if (*both - 2.0).abs() < 0.1), "one policy: {policies:?}");
}
