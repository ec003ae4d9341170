//! A batch buys every line once, whatever happens to it. The providers' own bill is the truth.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::support::{Serving, folder, run, tollgate, until};

/// One call a line: a model that draws the asked size itself.
const MODEL: [&str; 4] = ["--model", "stability/sd3.5-medium", "--size", "1024x1024"];

fn prompts(here: &Path, count: usize) {
    let lines: Vec<_> = (1..=count).map(|number| format!("a fox, study number {number}")).collect();
    std::fs::write(here.join("prompts.txt"), lines.join("\n")).unwrap();
}

fn manifest(here: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(here.join("out/manifest.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn count(here: &Path, status: &str) -> usize {
    manifest(here).iter().filter(|record| record["status"] == status).count()
}

fn arguments<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["batch", "prompts.txt", "-o", "out", "--url", url], &MODEL[..], more].concat()
}

fn start(here: &Path, url: &str) -> Child {
    tollgate(here).args(arguments(url, &[])).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn pictures(here: &Path) -> usize {
    let files = std::fs::read_dir(here.join("out")).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|kind| kind == "png")).count()
}

#[test]
fn a_rerun_after_a_kill_buys_nothing_twice() {
    let demo = Serving::demo("10");
    let (here, url) = (demo.folder.path().to_owned(), demo.url());
    prompts(&here, 12);
    // Twice: once with nothing finished, once with some lines finished and some under way.
    for finished in [0, 3] {
        let mut child = start(&here, &url);
        until("lines under way", || count(&here, "succeeded") >= finished && count(&here, "sent") > finished);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = run(&here, &arguments(&url, &[]));
    assert_eq!(last.code, 0, "{last:?}");
    assert_eq!(pictures(&here), 12);
    let bill = demo.bill();
    assert_eq!(bill.len(), 12, "each line is on the providers' bill once: {bill:#?}");
    // What the crashed runs paid belongs to this folder's total.
    assert_eq!(last.out, "12 images, cost $0.42, saved $0.00, ambiguous $0.00\n", "{last:?}");

    let again = run(&here, &arguments(&url, &[]));
    assert_eq!((again.code, again.out), (0, last.out));
    assert_eq!(demo.bill().len(), 12);
}

#[test]
fn a_gateway_that_dies_leaves_doubt_and_no_second_purchase() {
    let world = Serving::demo("10");
    let place = folder();
    let here = place.path().to_owned();
    prompts(&here, 12);
    let gateway = Serving::gateway(place, world.sandbox.unwrap(), "127.0.0.1:0");
    let (api, url) = (gateway.api.to_string(), gateway.url());
    let child =
        tollgate(&here).args(arguments(&url, &[])).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("lines under way", || count(&here, "succeeded") >= 1 && count(&here, "sent") >= 5);
    let place = gateway.killed();
    let gateway = Serving::gateway(place, world.sandbox.unwrap(), &api);
    let ran: super::support::Ran = child.wait_with_output().unwrap().into();
    let (done, doubtful) = (count(&here, "succeeded"), count(&here, "ambiguous"));
    assert_eq!(done + doubtful, 12, "{ran:?}");
    assert_eq!(ran.code, if doubtful > 0 { 5 } else { 0 }, "{ran:?}");
    let again = run(&here, &arguments(&url, &[]));
    assert_eq!(again.code, ran.code, "{again:?}");
    assert_eq!(pictures(&here), done);
    let bill = world.bill().len();
    assert!((done..=12).contains(&bill), "{done} pictures, {doubtful} in doubt, {bill} on the bill");
    if doubtful > 0 {
        let sum = doubtful as f64 * 0.035;
        assert!(
            again.out.contains(&format!("ambiguous ${sum:.3}")) || again.out.contains(&format!("ambiguous ${sum:.2}")),
            "{again:?}"
        );
        let rebought = run(&here, &arguments(&url, &["--rebuy"]));
        assert_eq!((rebought.code, pictures(&here)), (5, 12), "what was in doubt stays so: {rebought:?}");
    }
    drop(gateway);
}

#[test]
fn a_lost_file_is_fetched_and_a_copy_of_the_batch_is_replayed() {
    let demo = Serving::demo("200");
    let (here, url) = (demo.folder.path().to_owned(), demo.url());
    prompts(&here, 3);
    assert_eq!(run(&here, &arguments(&url, &[])).code, 0);
    let file = manifest(&here).last().unwrap()["file"].as_str().unwrap().to_owned();
    let before = std::fs::read(here.join("out").join(&file)).unwrap();
    std::fs::remove_file(here.join("out").join(&file)).unwrap();
    assert_eq!(run(&here, &arguments(&url, &[])).code, 0);
    assert_eq!(std::fs::read(here.join("out").join(&file)).unwrap(), before);

    std::fs::remove_dir_all(here.join("out")).unwrap();
    let copy = run(&here, &arguments(&url, &["--json"]));
    let totals = copy.json();
    assert_eq!((copy.code, &totals["images"], &totals["cost_usd"]), (0, &3.into(), &0.0.into()), "{totals}");
    assert_eq!(totals["saved_usd"], 0.105);
    assert_eq!(demo.bill().len(), 3);
}

#[test]
fn lines_fail_alone_and_the_exit_says_so() {
    let demo = Serving::demo("200");
    let (here, url) = (demo.folder.path().to_owned(), demo.url());
    let lines = "# mixed\na fox\n\n{\"prompt\": \"a bicycle\", \"n\": 2}\n{\"prompt\": \"a cat\", \"width\": 9}\n";
    std::fs::write(here.join("prompts.txt"), lines).unwrap();
    let ran = run(&here, &arguments(&url, &[]));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.out.starts_with("3 images, cost $"), "{}", ran.out);
    assert!(ran.err.contains("line 5: invalid_request: "), "{}", ran.err);
    let records = manifest(&here);
    let of = |line: u64| records.iter().rfind(|record| record["line"] == line).unwrap();
    assert_eq!((&of(5)["status"], of(2)["served"].as_str()), (&"failed".into(), Some("fresh")));
    let two = of(4);
    let files: HashSet<_> =
        [&two["file"], &two["more"][0]["file"]].into_iter().map(|file| file.as_str().unwrap()).collect();
    assert!(files.iter().all(|file| here.join("out").join(file).is_file()) && files.len() == 2, "{two}");
}

#[test]
fn the_budget_is_kept() {
    let demo = Serving::demo("200");
    let (here, url) = (demo.folder.path().to_owned(), demo.url());
    prompts(&here, 6);
    let ran = run(&here, &arguments(&url, &["--budget", "0.12"]));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(demo.bill().len(), 3, "three lines of $0.035 fit into $0.12");
    // More money finishes it.
    let ran = run(&here, &arguments(&url, &["--budget", "0.21"]));
    assert_eq!((ran.code, demo.bill().len()), (0, 6), "{ran:?}");
}

#[test]
fn nobody_there_is_exit_four() {
    let folder = folder();
    prompts(folder.path(), 2);
    let ran = run(folder.path(), &arguments("http://127.0.0.1:1", &[]));
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("nothing is bought twice"), "{}", ran.err);
    assert_eq!(ran.out, "0 images, cost $0.00, saved $0.00, ambiguous $0.00\n");
}

#[test]
fn an_interrupt_finishes_what_is_under_way() {
    let demo = Serving::demo("4");
    let (here, url) = (demo.folder.path().to_owned(), demo.url());
    prompts(&here, 12);
    let child =
        tollgate(&here).args(arguments(&url, &[])).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("lines under way", || count(&here, "sent") >= 4);
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let ran: super::support::Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 2, "{ran:?}");
    let (sent, done) = (count(&here, "sent"), count(&here, "succeeded"));
    assert!(sent == done && (4..12).contains(&done), "{sent} sent, {done} done");
    assert_eq!(run(&here, &arguments(&url, &[])).code, 0);
    assert_eq!(demo.bill().len(), 12);
}
