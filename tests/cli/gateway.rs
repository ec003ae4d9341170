//! The commands that run a gateway, and those that ask one.

use super::support::{Serving, folder, get, run, tollgate, until};

/// A model whose provider bills by the picture: the simulators of one's own servers bill nothing.
const MODEL: &str = "stability/sd3.5-medium";

/// A series of `/metrics`, summed over its labels.
fn counted(demo: &Serving, metric: &str) -> f64 {
    let text = get(demo.admin, "/metrics").1;
    let series = text.lines().filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn a_demo_with_traffic_comes_alive_by_itself() {
    let folder = folder();
    let any = "127.0.0.1:0";
    let mut command = tollgate(folder.path());
    command.args(["demo", "--traffic", "--listen", any, "--admin", any, "--proxy", any, "--sandbox", any]);
    command.args(["--speed", "200", "--data", "data"]);
    let demo = Serving::start(command, folder, 4);
    until("pictures of several people, and what they say of them", || {
        counted(&demo, "tollgate_images_total") >= 20.0 && counted(&demo, "tollgate_review_verdicts_total") >= 5.0
    });
    assert!(counted(&demo, "tollgate_cost_usd_total") > 0.0);
    assert_eq!(get(demo.api, "/studio").0, 200);
}

#[test]
fn a_demo_makes_explains_and_accounts() {
    let demo = Serving::demo("200");
    let (here, url) = (demo.folder.path(), demo.url());
    assert_eq!(get(demo.admin, "/readyz").0, 200);

    let made = run(
        here,
        &["generate", "a red bicycle", "-o", "bike.png", "--size", "512x512", "--model", MODEL, "--url", &url],
    );
    assert_eq!(made.code, 0, "{made:?}");
    let picture = std::fs::read(here.join("bike.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
    assert!(made.out.starts_with("bike.png  ") && made.out.contains("task concept"), "{}", made.out);

    let made =
        run(here, &["--json", "generate", "two foxes", "-o", "fox.jpg", "--n", "2", "--model", MODEL, "--url", &url]);
    let answer = made.json();
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(answer["images"][1]["file"], "fox-2.jpg");
    assert!(answer["images"][0].get("b64_json").is_none());
    assert!(std::fs::read(here.join("fox-2.jpg")).unwrap().starts_with(&[0xff, 0xd8, 0xff]));

    let explained = run(here, &["explain", "a red bicycle", "--url", &url]);
    assert_eq!(explained.code, 0);
    assert!(explained.out.starts_with("task concept") && explained.out.contains("\n→  "), "{}", explained.out);

    let billed: f64 = demo.bill().iter().map(|call| call["billed_micro_usd"].as_f64().unwrap()).sum();
    let spend = run(here, &["--json", "ledger", "spend", "--by", "model", "--since", "1h"]).json();
    let settled = |row: &serde_json::Value| (row["settled_usd"].as_f64().unwrap() * 1e6).round();
    assert_eq!(
        spend["rows"].as_array().unwrap().iter().map(settled).sum::<f64>().to_string(),
        billed.to_string(),
        "{spend}"
    );
    let shown = run(here, &["ledger", "show", answer["id"].as_str().unwrap()]);
    assert!(shown.out.contains("succeeded") && shown.out.contains("image     /images/"), "{}", shown.out);
    let table = run(here, &["ledger", "spend", "--by", "task"]);
    assert!(table.out.starts_with("task"), "{}", table.out);
}

#[test]
fn a_refusal_says_why_and_costs_nothing() {
    let demo = Serving::demo("200");
    let (here, url) = (demo.folder.path(), demo.url());
    let dear = run(
        here,
        &["generate", "a fox", "-o", "fox.png", "--max-cost-usd", "0.0001", "--quality", "0.99", "--url", &url],
    );
    assert_eq!(dear.code, 1, "{dear:?}");
    assert!(dear.err.contains("error: no_plan: ") && dear.err.contains("not chosen because"), "{}", dear.err);
    let wrong = run(here, &["generate", "a fox", "-o", "fox.png", "--width", "9", "--url", &url]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("error: invalid_request: ") && wrong.err.contains("width"), "{}", wrong.err);
    assert!(demo.bill().is_empty());
    assert!(!here.join("fox.png").exists());
}

#[test]
fn signals_reload_and_stop() {
    let folder = folder();
    std::fs::write(folder.path().join("shop.toml"), include_str!("shop.toml")).unwrap();
    let mut command = tollgate(folder.path());
    command.args(["serve", "--policy", "shop.toml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut serving = Serving::start(command, folder, 2);
    assert!(serving.said().contains("provider openai is off: OPENAI_API_KEY is not set"), "{}", serving.said());
    assert_eq!(get(serving.admin, "/healthz").0, 200);

    serving.signal("-HUP");
    until("the reload", || serving.said().contains(" is in force"));
    let path = serving.folder.path().join("shop.toml");
    std::fs::write(path, "version = 2\n").unwrap();
    serving.signal("-HUP");
    until("the refused reload", || serving.said().contains("the policy was not applied"));

    serving.signal("-TERM");
    assert_eq!(serving.ended(), 0, "{}", serving.said());
}

#[test]
fn one_gateway_writes_a_data_folder() {
    let demo = Serving::demo("200");
    let any = "127.0.0.1:0";
    let data = demo.data();
    let arguments =
        ["demo", "--listen", any, "--admin", any, "--proxy", any, "--sandbox", any, "--data", data.to_str().unwrap()];
    let second = run(demo.folder.path(), &arguments);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.err.contains("one gateway writes a data folder"), "{}", second.err);
}

#[test]
fn the_sandbox_stands_alone() {
    let folder = folder();
    let mut command = tollgate(folder.path());
    let mut child = command
        .args(["sandbox", "--listen", "127.0.0.1:0", "--seed", "7", "--speed", "100"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let address = line.trim().strip_prefix("listening sandbox http://").unwrap().parse().unwrap();
    assert_eq!(get(address, "/_sandbox/calls"), (200, "[]".to_owned()));
    child.kill().unwrap();
    child.wait().unwrap();
}
