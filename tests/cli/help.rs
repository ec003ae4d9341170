//! Help is a page of the product.

use super::support::{folder, run};

#[test]
fn every_command_explains_itself() {
    let commands = [
        "",
        "serve",
        "demo",
        "sandbox",
        "generate",
        "batch",
        "explain",
        "evaluate",
        "feedback",
        "policy",
        "policy check",
        "policy fmt",
        "policy schema",
        "ledger",
        "ledger spend",
        "ledger show",
        "key",
        "key new",
        "dashboards",
        "completions",
        "doctor",
    ];
    let folder = folder();
    for command in commands {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let ran = run(folder.path(), &arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{command}");
        let name = if command.is_empty() { "tollgate".to_owned() } else { command.replace(' ', "-") };
        insta::assert_snapshot!(format!("help-{name}"), ran.out);
    }
}

#[test]
fn a_misspelt_command_is_a_usage_error() {
    let folder = folder();
    for arguments in
        [&["serv"][..], &["generate"], &["batch", "x", "-o", "y", "--concurrency", "0"], &["--nonsense"], &[]]
    {
        let ran = run(folder.path(), arguments);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    }
    let ran = run(folder.path(), &["serv"]);
    assert!(ran.err.contains("serve"), "{}", ran.err);
    assert_eq!(run(folder.path(), &["--version"]).out, concat!("tollgate ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn shells_learn_every_command() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(folder.path(), &["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("doctor") && ran.out.contains("explain"), "{shell}");
    }
}
