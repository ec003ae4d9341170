use proptest::prelude::*;

use super::*;
use crate::policy::{builtin, raw};

#[test]
fn the_shipped_policy_is_formatted() {
    let formatted = fmt(builtin::POLICY).unwrap();
    let changed = formatted.lines().zip(builtin::POLICY.lines()).find(|(new, old)| new != old);
    assert_eq!(changed, None);
    assert_eq!(formatted.len(), builtin::POLICY.len());
}

#[test]
fn keys_and_tables_find_their_places_and_comments_go_along() {
    let written = r#"
# A header for the file.

version=1
[model."b/x"]
accept_default = 0.5   # a guess
# how long
latency={p95="2s",p50 = "1s"}


# The price list.
price=[ {usd=0.04,from=2026-01-01}, ]
sizes = [
    "1024x1024",# square
  "512x512" ]
[provider.a]
key = "env:A"
base_url = "https://a.example"
# ---- b ----
[provider.b]
base_url="https://b.example"
[defaults]
task="t"
deadline = "1s"
quality = 0.5
[task.t]
# the end
"#;
    let expected = r#"# A header for the file.

version = 1

[defaults]
quality = 0.5
deadline = "1s"
task = "t"

[task.t]

[provider.a]
base_url = "https://a.example"
key = "env:A"

# ---- b ----
[provider.b]
base_url = "https://b.example"

[model."b/x"]
sizes = [
  "1024x1024", # square
  "512x512",
]
# The price list.
price = [{ from = 2026-01-01, usd = 0.04 }]
# how long
latency = { p50 = "1s", p95 = "2s" }
accept_default = 0.5 # a guess

# the end
"#;
    assert_eq!(fmt(written).unwrap(), expected);
    assert_eq!(fmt(expected).unwrap(), expected);
}

#[test]
fn what_is_not_toml_is_shown() {
    let found = fmt("version = = 1\n").unwrap_err().in_file("studio.toml");
    assert_eq!(found.to_string(), "studio.toml:1:11: error[E0001]: this is not TOML");
}

/// Every key of the language has its place, and no other key has one.
#[test]
fn the_order_knows_every_key() {
    let schema = raw::schema();
    let at = |path: &[&str]| -> Vec<String> {
        let mut here = &schema;
        for step in path {
            here = match *step {
                "*" => &here["additionalProperties"],
                "[]" => &here["items"],
                name => &here["properties"][name],
            };
        }
        here["properties"].as_object().unwrap_or_else(|| panic!("{path:?}")).keys().cloned().collect()
    };
    for (path, order) in [
        (&[][..], ROOT),
        (&["defaults"], DEFAULTS),
        (&["breaker"], BREAKER),
        (&["key", "[]"], KEY),
        (&["tier", "*"], TIER),
        (&["rule", "[]"], RULE),
        (&["task", "*"], TASK),
        (&["provider", "*"], PROVIDER),
        (&["provider", "*", "limits", "[]"], LIMIT),
        (&["model", "*"], MODEL),
        (&["model", "*", "free"], FREE),
        (&["model", "*", "upscale"], UPSCALE),
        (&["model", "*", "price", "[]"], PRICE),
        (&["model", "*", "usd_per_million_tokens"], TOKENS),
        (&["model", "*", "latency"], LATENCY),
    ] {
        let mut known: Vec<&str> = order.to_vec();
        known.sort_unstable();
        assert_eq!(at(path), known, "{path:?}");
    }
}

/// The shipped policy with its tables and keys in another order, some comments and odd spacing.
fn shuffled() -> impl Strategy<Value = String> {
    let sections: Vec<String> = {
        let mut sections: Vec<String> = vec![String::new()];
        for line in builtin::POLICY.lines() {
            if line.starts_with('[') {
                sections.push(String::new());
            }
            let section = sections.last_mut().unwrap();
            section.push_str(line);
            section.push('\n');
        }
        sections.into_iter().skip(1).collect()
    };
    // Without the lists of sizes, to which everything would be the same text again.
    let sections: Vec<String> = sections.into_iter().step_by(3).collect();
    (Just(sections).prop_shuffle(), prop::collection::vec(0..4_u8, 64)).prop_map(|(sections, noise)| {
        let mut text = String::from("version   =1\n");
        for (section, noise) in sections.iter().zip(noise.iter().cycle()) {
            text.push_str(match noise {
                0 => "",
                1 => "\n\n\n",
                2 => "# a note\n",
                _ => "\n  # another\n\n# and more\n",
            });
            text.push_str(&if *noise == 1 { section.replace(" = ", "=") } else { section.clone() });
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn formatting_twice_changes_nothing_and_once_changes_no_meaning(text in shuffled()) {
        let once = fmt(&text).unwrap();
        prop_assert_eq!(&fmt(&once).unwrap(), &once);
        let meaning = |text: &str| text.parse::<toml::Table>().unwrap();
        prop_assert_eq!(meaning(&once), meaning(&text));
        let notes = |text: &str| text.matches('#').count();
        prop_assert_eq!(notes(&once), notes(&text));
    }
}
