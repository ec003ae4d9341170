//! The commands that need no gateway.

use std::net::TcpListener;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::support::{folder, run, tollgate};

const SHOP: &str = include_str!("shop.toml");

/// A folder with the shop's policy in it.
fn shop() -> tempfile::TempDir {
    let folder = folder();
    std::fs::write(folder.path().join("shop.toml"), SHOP).unwrap();
    folder
}

#[test]
fn explain_plans_from_the_policy_alone() {
    let folder = shop();
    let ran = run(folder.path(), &["explain", "a red bicycle", "--policy", "shop.toml"]);
    insta::assert_snapshot!("explain-concept", ran.seen());
    let ran = run(folder.path(), &["explain", "a sign that says \"OPEN\"", "--policy", "shop.toml", "--all"]);
    insta::assert_snapshot!("explain-no-plan", ran.seen());
}

#[test]
fn explain_gives_the_plan_as_the_api_does() {
    let folder = shop();
    std::fs::write(folder.path().join("ask.json"), r#"{"prompt": "a red bicycle", "width": 512, "height": 512}"#)
        .unwrap();
    let ran = run(folder.path(), &["--json", "explain", "--request", "ask.json", "--policy", "shop.toml"]);
    let plan = ran.json();
    assert_eq!((ran.code, plan["task"].as_str()), (0, Some("concept")));
    assert_eq!(plan["candidates"][0]["chosen"], true);
    let wrong = run(folder.path(), &["explain", "a fox", "--policy", "shop.toml", "--model", "automatic1111/medum"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("did you mean `automatic1111/medium`?"), "{}", wrong.err);
    let wrong = run(folder.path(), &["explain", "a fox", "--policy", "shop.toml", "--width", "9"]);
    insta::assert_snapshot!("explain-bad-field", wrong.seen());
}

#[test]
fn a_policy_with_mistakes_is_told_where() {
    let folder = shop();
    let broken = SHOP
        .replace("deadline = \"30s\"", "deadline = \"30 bananas\"")
        .replace("[tier.standard]", "[tier.standard]\nqualty = 1");
    std::fs::write(folder.path().join("broken.toml"), broken).unwrap();
    let ran = run(folder.path(), &["policy", "check", "broken.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("--> broken.toml:6:"), "{}", ran.err);
    assert!(
        ran.err.contains("error: 2 errors; the policy would not be applied")
            || ran.err.contains("the policy would not be applied"),
        "{}",
        ran.err
    );

    let ran = run(folder.path(), &["--json", "policy", "check", "broken.toml"]);
    let report = ran.json();
    assert_eq!((ran.code, &report["ok"], &report["policy"]), (1, &false.into(), &serde_json::Value::Null));
    assert_eq!(report["diagnostics"][0]["file"], "broken.toml");

    let ran = run(folder.path(), &["policy", "check", "shop.toml"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert!(ran.err.contains("ok: policy "), "{}", ran.err);
    assert_eq!(run(folder.path(), &["policy", "check", "nowhere.toml"]).code, 1);
}

#[test]
fn the_shipped_policy_checks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = run(root, &["policy", "check", "policies"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn formatting_is_checked_written_and_stable() {
    let folder = shop();
    let path = folder.path().join("shop.toml");
    std::fs::write(&path, SHOP.replace("quality = \"standard\"", "quality='standard'  # why")).unwrap();
    let before = std::fs::read_to_string(&path).unwrap();
    let check = run(folder.path(), &["policy", "fmt", "--check", "shop.toml"]);
    assert_eq!((check.code, check.out.as_str()), (1, "shop.toml\n"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before, "--check changes nothing");
    let shown = run(folder.path(), &["policy", "fmt", "shop.toml"]);
    let written = run(folder.path(), &["policy", "fmt", "--write", "."]);
    assert_eq!((shown.code, written.code), (0, 0), "{}", written.err);
    let after = std::fs::read_to_string(&path).unwrap();
    assert_eq!(after, shown.out);
    assert!(after.contains("# why"));
    assert_eq!(run(folder.path(), &["policy", "fmt", "--check", "shop.toml"]).code, 0);
}

#[test]
fn the_schema_is_json() {
    let schema = run(folder().path(), &["policy", "schema"]).json();
    assert!(schema["properties"]["model"].is_object());
}

#[test]
fn a_key_is_shown_once_with_its_row() {
    let folder = shop();
    let ran = run(folder.path(), &["key", "new", "design-team"]);
    let (key, row) = ran.out.split_once("\n\n").unwrap();
    let hex = |bytes: &[u8]| {
        bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).map(char::from).collect::<String>()
    };
    let sha256 = hex(&Sha256::digest(key));
    assert!(key.len() == 67 && key.starts_with("tg_"), "{key}");
    assert_eq!(row, format!("[[key]]\nname = \"design-team\"\nsha256 = \"{sha256}\"\n"));
    std::fs::write(folder.path().join("shop.toml"), format!("{SHOP}\n{row}")).unwrap();
    let checked = run(folder.path(), &["policy", "check", "shop.toml"]);
    assert_eq!(checked.code, 0, "the row is one that a policy takes: {}", checked.err);

    let again = run(folder.path(), &["--json", "key", "new", "design-team"]).json();
    assert_ne!(again["key"], key);
    assert_eq!(again["sha256"], hex(&Sha256::digest(again["key"].as_str().unwrap())));
    assert_eq!(run(folder.path(), &["key", "new", "a b"]).code, 1);
}

#[test]
fn doctor_names_what_is_missing() {
    let folder = shop();
    let any = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let healthy = run(folder.path(), &[&["--json", "doctor", "--policy", "shop.toml"], &any[..]].concat());
    let report = healthy.json();
    let mark = |report: &serde_json::Value, name: &str| {
        let checks = report["checks"].as_array().unwrap().iter();
        checks.clone().find(|check| check["name"] == name).map(|check| check["mark"].clone()).unwrap_or_default()
    };
    assert_eq!((healthy.code, &report["ok"]), (0, &true.into()), "{report}");
    for name in ["clock", "listen", "admin", "disk", "ledger", "policy"] {
        assert_eq!(mark(&report, name), "ok", "{name}: {report}");
    }
    // One provider wants a key that is not there: the rest still works.
    assert_eq!(mark(&report, "secrets"), "warn");
    assert!(report.to_string().contains("OPENAI_API_KEY"), "{report}");

    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let ill = run(
        folder.path(),
        &["--json", "doctor", "--policy", "shop.toml", "--listen", &address, "--admin", "127.0.0.1:0"],
    );
    let report = ill.json();
    assert_eq!((ill.code, mark(&report, "listen")), (1, "fail".into()), "{report}");
}

/// The pass-through has an address only where the policy turns it on, and is held to the same rules as the API.
#[test]
fn doctor_looks_at_the_pass_through_that_the_policy_turns_on() {
    let folder = shop();
    std::fs::write(folder.path().join("open.toml"), SHOP.replacen("[defaults]", "[proxy]\non = true\n\n[defaults]", 1))
        .unwrap();
    let report = |policy: &str, proxy: &str| {
        let any = "127.0.0.1:0";
        let arguments = ["--json", "doctor", "--policy", policy, "--listen", any, "--admin", any, "--proxy", proxy];
        let ran = run(folder.path(), &arguments);
        (ran.code, ran.json())
    };
    let check = |report: &serde_json::Value, name: &str| {
        let checks = report["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["name"] == name).unwrap_or_default()
    };
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = busy.local_addr().unwrap().to_string();
    let (code, off) = report("shop.toml", &taken);
    assert_eq!((code, check(&off, "proxy")), (0, serde_json::Value::Null), "{off}");
    let (code, on) = report("open.toml", "127.0.0.1:0");
    assert_eq!((code, &check(&on, "proxy")["mark"]), (0, &"ok".into()), "{on}");
    let (code, ill) = report("open.toml", &taken);
    assert_eq!((code, &check(&ill, "proxy")["mark"]), (1, &"fail".into()), "{ill}");
    assert!(check(&ill, "proxy")["help"].as_str().unwrap().contains("--proxy"), "{ill}");
    // Without keys, others would spend the owner's money through it.
    let (code, exposed) = report("open.toml", "0.0.0.0:0");
    assert_eq!((code, &check(&exposed, "exposure")["mark"]), (1, &"fail".into()), "{exposed}");
}

#[test]
fn a_secret_is_never_printed() {
    let folder = shop();
    let ran = tollgate(folder.path())
        .env("OPENAI_API_KEY", "sk-hunter2")
        .env("TOLLGATE_PROVIDERS__AUTOMATIC1111__KEY", "user:hunter2")
        .args(["doctor", "--policy", "shop.toml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .output()
        .unwrap();
    let text = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
    assert!(text.contains("3 of 3 providers are on"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn settings_come_from_file_environment_and_flags_in_this_order() {
    let folder = shop();
    let settings =
        "[server]\nlisten = \"127.0.0.1:17001\"\nadmin = \"127.0.0.1:17002\"\n[policy]\npath = \"shop.toml\"\n";
    std::fs::write(folder.path().join("tollgate.toml"), settings).unwrap();
    let details = |command: &mut std::process::Command| {
        let output = command.args(["--json", "doctor", "--admin", "127.0.0.1:0"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let file = details(&mut tollgate(folder.path()));
    assert!(file.contains("127.0.0.1:17001") && !file.contains("17002"), "{file}");
    let environment = details(tollgate(folder.path()).env("TOLLGATE_SERVER__LISTEN", "127.0.0.1:17003"));
    assert!(environment.contains("127.0.0.1:17003") && !environment.contains("17001"), "{environment}");
}

#[test]
fn serve_refuses_what_would_be_unsafe_or_useless() {
    let folder = shop();
    std::fs::write(folder.path().join("broken.toml"), "version = 1\n[server]\n").unwrap();
    let idle = SHOP.replace("base_url = \"http://127.0.0.1:1\"", "base_url = \"env:FORGE_URL\"");
    std::fs::write(folder.path().join("idle.toml"), idle).unwrap();
    let mut seen = String::new();
    for (variables, arguments) in [
        (&[("TOLLGATE_SERVER__LISTN", "x"), ("TOLLGATE_LOG__LEVEL", "loud")][..], &["serve"][..]),
        (&[("TOLLGATE_STATE__URL", "redis://cache")], &["serve"]),
        (&[], &["serve", "--policy", "shop.toml", "--listen", "0.0.0.0:0"]),
        (&[], &["serve", "--policy", "idle.toml"]),
        (&[], &["serve", "--policy", "nowhere.toml"]),
        (&[], &["serve", "--config", "nowhere.toml"]),
        (&[], &["ledger", "spend"]),
        (&[], &["generate", "a fox", "-o", "nowhere/fox.png", "--url", "http://127.0.0.1:1"]),
        (&[], &["generate", "a fox", "-o", "fox.png", "--url", "http://127.0.0.1:1"]),
        (&[], &["generate", "a fox", "-o", "fox.gif"]),
        (&[], &["explain", "a fox", "--url", "gateway"]),
    ] {
        let ran: super::support::Ran =
            tollgate(folder.path()).envs(variables.iter().copied()).args(arguments).output().unwrap().into();
        seen.extend(["$ tollgate ", &arguments.join(" "), "\n", &ran.seen(), "\n"]);
    }
    insta::assert_snapshot!("refusals", seen);
}
