//! Real files, changed in every way in which people and machines change them.

use std::fs;
use std::future::Future;
use std::os::unix::fs::symlink;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::policy::Process;

/// Longer than any machine needs; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Events only: a poll would hide a lost one.
const EVENTS: Pace = Pace { poll: Duration::from_hours(1), debounce: Duration::from_millis(20) };

struct Ear(UnboundedSender<ReloadReport>);

impl OnReload for Ear {
    fn reloaded(&self, report: &ReloadReport) {
        let _ = self.0.send(report.clone());
    }
}

fn policy(price: &str) -> String {
    include_str!("../../../tests/policies/base/base.toml").replace("usd = 0.04", &format!("usd = {price}"))
}

/// What a policy of that price is called.
fn digest(price: &str) -> Arc<str> {
    let today = crate::telemetry::clock::now().to_zoned(TimeZone::UTC).date();
    let files = [("x.toml".to_owned(), policy(price))];
    crate::policy::compile(&files, &Process, &Overrides::new(), today).unwrap().digest
}

struct Scene {
    snapshots: Arc<Snapshots>,
    reports: UnboundedReceiver<ReloadReport>,
}

impl Scene {
    fn of(path: &Path) -> Self {
        let (sender, reports) = unbounded_channel();
        let settings = Settings {
            origin: Origin::Paths(vec![path.to_owned()]),
            env: Arc::new(Process),
            overrides: Overrides::new(),
            clock: Arc::new(crate::telemetry::clock::now),
            hook: Arc::new(Ear(sender)),
        };
        Self { snapshots: Snapshots::load(settings).unwrap(), reports }
    }

    /// The next report that satisfies; half-written states may come before it.
    async fn hear(&mut self, wanted: impl Fn(&ReloadReport) -> bool) -> ReloadReport {
        let next = async {
            loop {
                let report = self.reports.recv().await.unwrap();
                if wanted(&report) {
                    return report;
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a change must be noticed")
    }

    async fn hear_price(&mut self, price: &str) {
        let wanted = digest(price);
        self.hear(|report| report.ok && report.digest == wanted).await;
        assert_eq!(self.snapshots.current().digest, wanted);
        assert_eq!(self.snapshots.last_reload().digest, wanted);
    }
}

/// Plays `acts` while the policy is watched.
async fn watched<F: Future<Output = ()>>(path: &Path, pace: Pace, acts: impl FnOnce(Scene) -> F) {
    let scene = Scene::of(path);
    let watch = Arc::clone(&scene.snapshots).watch(pace);
    tokio::select! {
        () = watch => unreachable!("a watch does not end"),
        () = acts(scene) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, policy("0.01")).unwrap();
    watched(&file, EVENTS, async |mut scene: Scene| {
        for price in ["0.02", "0.03", "0.04"] {
            fs::write(&file, policy(price)).unwrap();
            scene.hear_price(price).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_beside_and_renaming() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, policy("0.01")).unwrap();
    watched(&file, EVENTS, async |mut scene: Scene| {
        for price in ["0.02", "0.03", "0.04"] {
            let beside = folder.path().join("policy.toml.tmp");
            fs::write(&beside, policy(price)).unwrap();
            fs::rename(&beside, &file).unwrap();
            scene.hear_price(price).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeping_a_backup_as_vim_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, policy("0.01")).unwrap();
    watched(&file, EVENTS, async |mut scene: Scene| {
        for price in ["0.02", "0.03", "0.04"] {
            let backup = folder.path().join("policy.toml~");
            fs::rename(&file, &backup).unwrap();
            fs::write(&file, policy(price)).unwrap();
            fs::remove_file(&backup).unwrap();
            scene.hear_price(price).await;
        }
    })
    .await;
}

/// Kubernetes mounts `policy.toml -> ..data/policy.toml` and `..data -> ..2026_1`, and renames a new `..data` over the
/// old one: no event ever names `policy.toml`.
#[tokio::test(flavor = "multi_thread")]
async fn swapping_a_link_as_kubernetes_does() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let publish = |version: &str, price: &str| {
        let data = root.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("policy.toml"), policy(price)).unwrap();
        symlink(format!("..{version}"), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    publish("1", "0.01");
    symlink("..data/policy.toml", root.join("policy.toml")).unwrap();
    for path in [root.join("policy.toml"), root.to_owned()] {
        watched(&path, EVENTS, async |mut scene: Scene| {
            let name = path.file_name().unwrap().len();
            for (version, price) in [("2", "0.02"), ("3", "0.03"), ("4", "0.04")] {
                publish(&format!("{name}_{version}"), price);
                scene.hear_price(price).await;
                let _ = fs::remove_dir_all(root.join(format!("..{name}_1")));
            }
            publish(&format!("{name}_5"), "0.01");
            scene.hear_price("0.01").await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_policy_changes_nothing_until_a_good_one_comes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, policy("0.01")).unwrap();
    watched(&file, EVENTS, async |mut scene: Scene| {
        fs::write(&file, policy("-1")).unwrap();
        let bad = scene.hear(|report| report.diagnostics.contains("E0202")).await;
        assert!(!bad.ok);
        assert_eq!(bad.digest, digest("0.01"), "the last good one is in force");
        assert!(bad.diagnostics.contains("policy.toml:23:"), "{}", bad.diagnostics);
        assert_eq!(scene.snapshots.current().digest, digest("0.01"));
        assert_eq!(*scene.snapshots.last_reload(), bad);
        fs::write(&file, policy("0.02")).unwrap();
        scene.hear_price("0.02").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_changes_nothing_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, policy("0.01")).unwrap();
    watched(&file, EVENTS, async |mut scene: Scene| {
        fs::remove_file(&file).unwrap();
        let gone = scene.hear(|report| !report.ok).await;
        assert!(gone.diagnostics.contains("E0002"), "{}", gone.diagnostics);
        assert_eq!(scene.snapshots.current().digest, digest("0.01"));
        fs::write(&file, policy("0.02")).unwrap();
        scene.hear_price("0.02").await;
    })
    .await;
}

/// A file system without events: the directory that is watched is not the one in which the file is changed.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_event_tells_the_poll_finds() {
    let folder = tempfile::tempdir().unwrap();
    let far = tempfile::tempdir().unwrap();
    let (middle, file) = (folder.path().join("middle"), folder.path().join("policy.toml"));
    fs::write(far.path().join("a.toml"), policy("0.01")).unwrap();
    fs::write(far.path().join("b.toml"), policy("0.02")).unwrap();
    // policy.toml -> middle/link, middle -> another folder: neither folder of the path nor of the target sees the link
    // in the middle change.
    let links = tempfile::tempdir().unwrap();
    symlink(far.path().join("a.toml"), links.path().join("link")).unwrap();
    symlink(links.path(), &middle).unwrap();
    symlink(middle.join("link"), &file).unwrap();
    let pace = Pace { poll: Duration::from_millis(50), ..EVENTS };
    watched(&file, pace, async |mut scene: Scene| {
        symlink(far.path().join("b.toml"), links.path().join("new")).unwrap();
        fs::rename(links.path().join("new"), links.path().join("link")).unwrap();
        scene.hear_price("0.02").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_without_a_change_does_nothing_and_a_wish_always_reloads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, policy("0.01")).unwrap();
    let mut scene = Scene::of(&file);
    let before = scene.snapshots.last_reload();
    assert_eq!(scene.snapshots.reload(Cause::Hint).await, before);
    assert!(scene.reports.try_recv().is_err());
    assert!(scene.snapshots.reload(Cause::Asked).await.ok);
    assert!(scene.reports.try_recv().is_ok());
    fs::write(&file, "version = 1\nnonsense = true\n").unwrap();
    assert!(!scene.snapshots.reload(Cause::Hint).await.ok);
    assert!(scene.reports.try_recv().is_ok());
    assert!(!scene.snapshots.reload(Cause::Hint).await.ok, "the same mistake is the last report still");
    assert!(scene.reports.try_recv().is_err(), "and is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changes_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("policy.toml"), folder.path().join("secret"));
    let text = policy("0.01").replace("env:OPENAI_API_KEY", &format!("file:{}", secret.display()));
    fs::write(&file, text).unwrap();
    let mut scene = Scene::of(&file);
    assert_eq!(scene.snapshots.current().off_lines().len(), 1);
    fs::write(&secret, "sk-new").unwrap();
    scene.snapshots.reload(Cause::Hint).await;
    assert!(scene.reports.try_recv().is_ok());
    assert_eq!(scene.snapshots.current().off_lines(), Vec::<String>::new());
}

#[test]
fn a_bad_policy_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, "version = 1\n").unwrap();
    let settings = Settings {
        origin: Origin::Paths(vec![file]),
        env: Arc::new(Process),
        overrides: Overrides::new(),
        clock: Arc::new(crate::telemetry::clock::now),
        hook: Arc::new(()),
    };
    assert_eq!(Snapshots::load(settings).unwrap_err().len(), 1);
}
