//! `tollgate evaluate`: its figures, its words, its errors.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::support::{folder, run};

const PRICES: &str = "model,price_usd\ncheap,0.01\ndear,0.06\n";

/// Hand-made: the cheap model does everything but signs.
fn ratings(prompts: usize) -> String {
    let mut text = "prompt_id,group,category,tag,prompt,cheap,dear\n".to_owned();
    for at in 0..prompts {
        let (prompt, cheap) = match at % 3 {
            0 => (format!("\"a sign that says \"\"OPEN {at}\"\"\""), u8::from(at % 30 == 0)),
            1 => (format!("a fox number {at} in a garden"), u8::from(at % 10 != 0)),
            _ => (format!("a man with {at} hats walks along a quiet street"), 1),
        };
        let dear = u8::from(at % 11 != 0);
        let _ = writeln!(text, "p{at},g{},x,x,{prompt},{cheap},{dear}", at / 2);
    }
    text
}

fn made(prompts: usize) -> tempfile::TempDir {
    let folder = folder();
    std::fs::write(folder.path().join("prices.csv"), PRICES).unwrap();
    std::fs::write(folder.path().join("ratings.csv"), ratings(prompts)).unwrap();
    folder
}

const BASE: [&str; 5] = ["evaluate", "--ratings", "ratings.csv", "--prices", "prices.csv"];

#[test]
fn the_curve_has_every_figure_and_beats_dice() {
    let folder = made(240);
    let ran = run(folder.path(), &[&BASE[..], &["--online", "--seeds", "3", "--json"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let found = ran.json();
    assert_eq!(found["best_model"], "dear");
    let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}"));
    for quality in ["0.95", "0.98", "1.00"] {
        let (saved, dice) = (number(&format!("/saved_at/{quality}")), number(&format!("/mixing_saved_at/{quality}")));
        assert!(saved > 0.4 && saved > dice, "{quality}: {saved} against {dice}");
    }
    for point in found["sweep"].as_array().unwrap() {
        let of = |name: &str| point[name].as_f64().unwrap();
        assert!((of("saved") - (1.0 - of("mean_cost_usd") / 0.06)).abs() < 1e-4, "{point}");
        assert!(of("knob") >= 0.0 && of("quality") > 0.0 && of("mean_accept") <= 1.0);
    }
    assert!((number("/online/utility") - (number("/online/accept") - 2.0 * number("/online/cost_usd"))).abs() < 1e-5);
    assert_eq!(found["online"]["curve"].as_array().unwrap().last().unwrap()["verdicts"], 240);
    let again = run(folder.path(), &[&BASE[..], &["--online", "--seeds", "3", "--json"]].concat());
    assert_eq!(again.out, ran.out, "the same question has the same answer");
    let table = run(folder.path(), &[&BASE[..], &["--train", "ratings.csv"]].concat());
    assert!(table.out.contains("the best model is dear") && table.out.contains("by mixing"), "{}", table.out);
}

#[test]
fn a_bad_table_says_where() {
    let folder = made(9);
    let wrong = |name: &str, text: &str, says: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        let ran = run(folder.path(), &BASE);
        assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains(says), "{says}: {ran:?}");
        std::fs::write(folder.path().join("prices.csv"), PRICES).unwrap();
        std::fs::write(folder.path().join("ratings.csv"), ratings(9)).unwrap();
    };
    wrong(
        "ratings.csv",
        "prompt,group,cheap,dear\na fox,g,1,0\na cat,g,1,yes\n",
        "ratings.csv:3:11: `yes` is no rating",
    );
    wrong("ratings.csv", "prompt,group,cheap,deer\na fox,g,1,0\n", "did you mean `deer`?");
    wrong("ratings.csv", "prompt,cheap,dear\na fox,1\n", "ratings.csv:2:1: 2 fields under 3 columns");
    wrong("ratings.csv", "prompt,cheap,dear\n", "a header and no rows");
    wrong("prices.csv", "model,price_usd\ncheap,free\n", "prices.csv:2:7: `free` is no price");
    wrong("prices.csv", "model,usd\ncheap,1\n", "there is no column `price_usd`");
    wrong("prices.csv", "", "prices.csv:1:1: the table is empty");
}

/// On 1,050 human-judged prompts, where they are at hand: what must be reached.
#[test]
fn human_ratings_are_served_cheaper_at_the_same_quality() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let ratings = data.join("evalmi50k_wide_accept_dev.csv");
    if !ratings.is_file() {
        return;
    }
    let folder = folder();
    let evaluate = |catalogue: &str, more: &[&str]| {
        let prices = data.join("catalogues").join(catalogue);
        let (ratings, prices) = (ratings.to_string_lossy(), prices.to_string_lossy());
        let base = ["evaluate", "--ratings", &ratings, "--prices", &prices, "--online", "--json"];
        let ran = run(folder.path(), &[&base[..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        let found = ran.json();
        let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_f64).unwrap();
        let figures = [number("/saved_at/0.98"), number("/saved_at/1.00"), number("/online/utility")];
        println!("{catalogue} {more:?}: {figures:?}");
        figures
    };
    for (catalogue, least) in
        [("k2.csv", [0.62, 0.57, 0.715]), ("k3.csv", [0.43, 0.38, 0.705]), ("k4.csv", [0.70, 0.0, 0.0])]
    {
        let figures = evaluate(catalogue, &["--seeds", "20"]);
        assert!(figures.iter().zip(least).all(|(figure, least)| *figure >= least), "{catalogue}: {figures:?}");
    }
    let priors = data.join("tiif_wide_accept_gpt4o_dev.csv");
    let warm = evaluate("k2.csv", &["--seeds", "20", "--priors", &priors.to_string_lossy()]);
    assert!(warm[2] >= 0.725, "{warm:?}");
}
