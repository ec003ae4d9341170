//! Policies from outside: every diagnostic as operators see it, and the shipped policy at work.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use jiff::civil::{Date, date};
use tollgate::domain::budget::Scope;
use tollgate::domain::catalog::{Model, TaskIx};
use tollgate::domain::image::Size;
use tollgate::domain::money::Money;
use tollgate::domain::plan::{Gate, ModelView, Planned, View, plan};
use tollgate::domain::quality::{Posterior, Prior};
use tollgate::domain::quote::per_tokens;
use tollgate::domain::request::{Ask, GenerationRequest, ModelChoice, Prompt, Quality};
use tollgate::domain::rule::{Share, Source};
use tollgate::policy::{self, Diagnostic, Env, Overrides, Severity, Snapshot, diagnostic};

const TODAY: Date = date(2026, 11, 22);

/// Every key is set; files are real.
struct Keyed;

impl Env for Keyed {
    fn var(&self, name: &str) -> Option<String> {
        name.ends_with("_KEY").then(|| "a-key".to_owned())
    }

    fn read(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(path)
    }
}

/// Nothing is set.
struct Bare;

impl Env for Bare {
    fn var(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &str) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn shipped() -> Snapshot {
    policy::check(&[], &Keyed, &Overrides::new(), TODAY).snapshot.unwrap()
}

fn compiled(text: &str) -> Result<Snapshot, Vec<Diagnostic>> {
    policy::compile(&[("test.toml".to_owned(), text.to_owned())], &Keyed, &Overrides::new(), TODAY)
}

fn base() -> String {
    fs::read_to_string("tests/policies/base/base.toml").unwrap()
}

fn ask(prompt: &str) -> Ask {
    Ask::of(Prompt::new(prompt).unwrap())
}

fn toml_files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "toml"));
    files.sort();
    files
}

/// One file of `tests/policies/` a mistake, held together with the correct `base/base.toml` unless it stands alone.
#[test]
fn every_diagnostic_reads_as_it_should() {
    let base = PathBuf::from("tests/policies/base/base.toml");
    for case in toml_files("tests/policies") {
        let name = case.file_stem().unwrap().to_str().unwrap().to_owned();
        let alone = name.starts_with("alone-");
        let paths = if alone { vec![case] } else { vec![base.clone(), case] };
        let report = policy::check(&paths, &Keyed, &Overrides::new(), TODAY);
        assert!(!report.diagnostics.is_empty(), "{name} is a mistake");
        let failed = report.diagnostics.iter().any(|found| found.severity == Severity::Error);
        assert_eq!(failed, report.snapshot.is_none(), "{name}");
        let text = diagnostic::render(&report.diagnostics, false);
        assert!(!text.contains("sk-live"), "{name} repeats a secret");
        let json = serde_json::to_string_pretty(&diagnostic::to_json(&report.diagnostics)).unwrap();
        insta::with_settings!({ snapshot_path => "policies/snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name.clone(), text);
            insta::assert_snapshot!(format!("{name}.json"), json);
        });
    }
}

/// Held against what [`every_diagnostic_reads_as_it_should`] keeps.
#[test]
fn every_code_has_a_case() {
    let source = fs::read_to_string("src/policy/diagnostic.rs").unwrap();
    let codes: Vec<&str> = source
        .lines()
        .map(str::trim)
        .filter(|line| {
            line.len() == 5 && line.starts_with(['E', 'W']) && line.bytes().skip(1).all(|b| b.is_ascii_digit())
        })
        .collect();
    assert!(codes.len() > 30);
    let shown: String = fs::read_dir("tests/policies/snapshots")
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    // Files that cannot be read have no text to show: `what_cannot_be_read_is_said`.
    let missing: Vec<&&str> = codes.iter().filter(|code| **code != "E0002" && !shown.contains(**code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let latin = file("latin.toml", b"version = 1 # caf\xe9\n");
    let huge = file("huge.toml", &vec![b'#'; (1 << 20) + 1]);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for (path, why) in [
        (latin, "not UTF-8 at byte 17"),
        (huge, "1048577 bytes are more"),
        (empty, "no *.toml in this folder"),
        (folder.path().join("gone.toml"), "No such file"),
    ] {
        let report = policy::check(&[path], &Keyed, &Overrides::new(), TODAY);
        let [found] = report.diagnostics.as_slice() else { panic!("{:?}", report.diagnostics) };
        assert_eq!(found.code, "E0002");
        assert!(found.labels[0].text.starts_with(why), "{found:?}");
        assert!(!found.render(false).is_empty());
    }
}

#[test]
fn the_shipped_policy_has_nothing_to_complain_about() {
    for env in [&Keyed as &dyn Env, &Bare] {
        for paths in [vec![], vec![PathBuf::from("policies")], vec![PathBuf::from("policies/default.toml")]] {
            let report = policy::check(&paths, env, &Overrides::new(), TODAY);
            assert_eq!(diagnostic::render(&report.diagnostics, false), "");
            assert!(report.snapshot.is_some());
        }
    }
}

#[test]
fn without_keys_the_shipped_policy_says_what_is_off() {
    let snapshot = policy::check(&[], &Bare, &Overrides::new(), TODAY).snapshot.unwrap();
    assert!(snapshot.is_empty_handed());
    let lines = snapshot.off_lines();
    for line in [
        "provider stability is off: STABILITY_API_KEY is not set",
        "provider google is off: GEMINI_API_KEY is not set",
        "provider ideogram is off: IDEOGRAM_API_KEY is not set",
        "provider openai is off: OPENAI_API_KEY is not set",
        "provider comfyui is off: COMFYUI_URL is not set",
        "provider automatic1111 is off: AUTOMATIC1111_URL is not set",
    ] {
        assert!(lines.iter().any(|held| held == line), "{line} not in {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.contains("provider local ")));
    assert!(!shipped().is_empty_handed());
}

#[test]
fn overrides_point_providers_elsewhere() {
    let instead = policy::Override {
        base_url: Some("http://127.0.0.1:9100/comfyui/".to_owned()),
        key: tollgate::transport::Secret::new("sandbox"),
    };
    let overrides: Overrides = ["comfyui", "stability"].map(|name| (name.to_owned(), instead.clone())).into();
    let snapshot = policy::check(&[], &Bare, &overrides, TODAY).snapshot.unwrap();
    for name in ["comfyui", "stability"] {
        let (ix, provider) = snapshot.catalog.providers().find(|(_, provider)| *provider.name == *name).unwrap();
        assert_eq!(provider.off, None);
        let endpoint = &snapshot.endpoints[usize::from(ix.0)];
        assert_eq!((&*endpoint.provider, endpoint.base_url.as_str()), (name, "http://127.0.0.1:9100/comfyui"));
        assert!(endpoint.credential.is_some());
    }
    assert_eq!(snapshot.digest, shipped().digest, "the settings are no part of the policy");
    assert_eq!(snapshot.endpoints.len(), snapshot.catalog.providers.len());
}

/// The plan of a request when nothing was measured yet: what `/plan` would answer on the first day.
fn planned(snapshot: &Snapshot, ask: Ask) -> (GenerationRequest, Planned) {
    let request = snapshot.resolve(ask, "").unwrap();
    let task = usize::from(request.task.0);
    let seen = |model: &Model| {
        let prior = model.priors.get(task).copied().unwrap_or(Prior { mean: 0.5, weight: 1.0 });
        ModelView { gate: Gate::Open, latency: model.latency, accept: Posterior::new(prior, 0.0, 0.0) }
    };
    let view = View { models: snapshot.catalog.models.iter().map(seen).collect(), ..View::default() };
    let plan = plan(&request, &snapshot.catalog, &view, TODAY);
    (request, plan)
}

#[test]
fn a_sword_on_a_table_is_cheap_with_any_one_key() {
    struct Only(&'static str);
    impl Env for Only {
        fn var(&self, name: &str) -> Option<String> {
            (name == self.0).then(|| "a-key".to_owned())
        }
        fn read(&self, _: &str) -> io::Result<String> {
            Err(io::ErrorKind::NotFound.into())
        }
    }
    for key in ["STABILITY_API_KEY", "GEMINI_API_KEY", "IDEOGRAM_API_KEY", "OPENAI_API_KEY"] {
        let snapshot = policy::check(&[], &Only(key), &Overrides::new(), TODAY).snapshot.unwrap();
        let mut sword = ask("studio photo of sword on table, cinematic lighting");
        sword.size = Size::new(512, 512);
        let (request, plan) = planned(&snapshot, sword);
        let best = plan.best().unwrap_or_else(|| panic!("{key}: no plan"));
        assert!(best.quote.expected <= Money::from_micros(40_000), "{key}: {}", best.quote.expected);
        assert_eq!(&*snapshot.catalog.task(request.task).unwrap().name, "concept");
    }
}

/// What the budgets of single payees set aside is together what the plan may cost, in all its branches.
#[test]
fn the_shares_of_a_plan_are_its_worst_price() {
    struct Scored;
    impl Env for Scored {
        fn var(&self, name: &str) -> Option<String> {
            if name == "TOLLGATE_SCORER_URL" { Some("http://127.0.0.1:1/score".to_owned()) } else { Keyed.var(name) }
        }
        fn read(&self, path: &str) -> io::Result<String> {
            Keyed.read(path)
        }
    }
    let snapshot = policy::check(&[], &Scored, &Overrides::new(), TODAY).snapshot.unwrap();
    let of = |name: &str| Scope { provider: Some(name.into()), ..Scope::default() };
    let (mut looked, mut branched) = (0, 0);
    for (prompt, side) in [("a sign that says \"OPEN\"", 1024), ("a lighthouse at dusk", 2048), ("a fox", 512)] {
        let mut ask = ask(prompt);
        (ask.size, ask.n) = (Size::new(side, side), 3);
        for candidate in planned(&snapshot, ask).1.candidates {
            let ahead = candidate.ahead(&snapshot.catalog);
            assert_eq!(ahead.share(&Scope::default()), candidate.quote.worst, "{candidate:?}");
            let mut payees: Vec<_> = ahead.shares.iter().map(|(payee, _)| payee.clone()).collect();
            payees.sort();
            payees.dedup();
            let sum: Money = payees.iter().map(|payee| ahead.share(&of(payee))).sum();
            if candidate.upscale.is_none() {
                assert_eq!(sum, candidate.quote.worst, "{candidate:?}");
            } else {
                assert!(sum >= candidate.quote.worst, "{candidate:?}");
            }
            looked += usize::from(ahead.share(&of("verifier")) > Money::ZERO);
            branched += usize::from(candidate.check.is_some_and(|check| check.stages().next().is_some()));
        }
    }
    assert!(looked > 0 && branched > 0, "{looked} with paid looks, {branched} with branches");
}

/// The first day of a studio with every key: letters go to a model that can write, at a fraction of the best price.
#[test]
fn letters_go_where_they_are_read() {
    let snapshot = shipped();
    let best = |prompt: &str, quality: &str| {
        let mut ask = ask(prompt);
        ask.quality = Some(Quality::Tier(quality.to_owned()));
        let (_, plan) = planned(&snapshot, ask);
        let best = plan.best().unwrap();
        (snapshot.catalog.model(best.model).unwrap().id.to_string(), best.accept.lower(), best.quote.expected)
    };
    for tier in ["draft", "standard", "hero"] {
        let (model, bound, cost) = best("a poster with the words \"BLUE HOUR\"", tier);
        assert!(bound >= snapshot.tier(tier).unwrap().quality, "{tier}: {model}");
        assert!(!model.starts_with("stability/"), "{tier}: {model}");
        assert!(cost < Money::from_micros(70_000), "{tier}: {model} at {cost}");
    }
}

/// What is reserved covers what token-billed pictures cost: the list price of a picture is no less than its tokens.
#[test]
fn token_prices_cover_the_tokens() {
    let snapshot = shipped();
    for (id, size, tokens) in [
        ("openai/gpt-image-2-low", (1024, 1024), 196),
        ("openai/gpt-image-2-medium", (1024, 1024), 1_756),
        ("openai/gpt-image-2-high", (1024, 1024), 7_024),
        ("openai/gpt-image-2.5-flare-medium", (1024, 1024), 439),
        ("openai/gpt-image-2.6-flare-low", (1536, 1024), 664),
        ("openai/gpt-image-2.6-flare-high", (1024, 1024), 1_756),
        ("openai/gpt-image-2.6-flare-high", (1536, 1024), 1_353),
        ("openai/gpt-image-1.5-medium", (1024, 1024), 1_056),
        ("google/gemini-nano-banana-2.1", (1024, 1024), 1_120),
        ("google/gemini-3-pro-image", (2048, 2048), 1_120),
        ("google/gemini-3-pro-image", (4096, 4096), 2_000),
    ] {
        let (_, model) = snapshot.catalog.find_model(id).unwrap();
        let price = model.price(Size::new(size.0, size.1), TODAY).unwrap().usd;
        let cost = per_tokens(model.tokens.unwrap().image_out, tokens);
        assert!(cost <= price, "{id} at {size:?}: {cost} of {price}");
        assert!(price <= cost.scaled_up(3, 2), "{id} at {size:?}: {price} is far from {cost}");
    }
}

/// Every tier can be met for every task by two models of the shipped policy at least.
#[test]
fn every_tier_has_a_choice() {
    let snapshot = shipped();
    for tier in &snapshot.tiers {
        for (at, task) in snapshot.catalog.tasks.iter().enumerate() {
            let good = snapshot.catalog.models.iter().filter(|model| {
                let bound = model.priors.get(at).map(|prior| Posterior::new(*prior, 0.0, 0.0).lower());
                model.retired.is_none() && bound.is_some_and(|bound| bound >= tier.quality)
            });
            assert!(good.count() >= 2, "{} {}", tier.name, task.name);
        }
    }
}

#[test]
fn prompts_find_their_task() {
    let snapshot = shipped();
    for (prompt, task) in [
        ("studio photo of sword on table, cinematic lighting", "concept"),
        ("a red bicycle", "concept"),
        ("an abandoned lighthouse at dusk, volumetric fog", "concept"),
        ("isometric tavern, stylised, game asset", "concept"),
        ("the knight's sword and the king's crown", "concept"),
        ("rock 'n' roll band on a stage", "concept"),
        ("a 6\" ruler beside a 12\" ruler", "concept"),
        ("it's a dog's life, isn't it", "concept"),
        ("a bottle labelled \"\"", "concept"),
        ("contextual lighting in a textured room", "concept"),
        ("a build of a guild in a guitar shop", "concept"),
        ("poster for a jazz night with the words \"Blue Hour\"", "typography"),
        ("a neon sign that says OPEN", "typography"),
        ("a sign that reads 'No Entry'", "typography"),
        ("'Grand Opening' written in gold", "typography"),
        ("the slogan of a coffee brand in bold lettering", "typography"),
        ("minimal LOGO for a bakery", "typography"),
        ("a book titled \u{201c}Winter\u{201d} on a desk", "typography"),
        ("affiche avec \u{ab}Bonjour\u{bb}", "typography"),
        ("Typography experiment, swiss style", "typography"),
        ("hero image for a website, mountain range", "hero"),
        ("key art for a space opera", "hero"),
        ("album cover, synthwave", "hero"),
        ("billboard of a perfume", "hero"),
        ("splash-screen of a racing game", "hero"),
        ("dashboard of a fintech app, dark mode", "ui-mockup"),
        ("mobile app for plants, onboarding", "ui-mockup"),
        ("UI for a smart watch", "ui-mockup"),
        ("landing page of a bank", "ui-mockup"),
        ("a sci-fi HUD with radar", "ui-mockup"),
        ("mock-up of a login screen", "ui-mockup"),
        ("character sheet of a dwarf blacksmith", "character"),
        ("portrait of an old fisherman", "character"),
        ("npc merchant, full body", "character"),
        ("mascot for a bike shop, smiling fox", "character"),
        ("the villain of the third act", "character"),
        ("product photo of a watch on marble", "photo"),
        ("photorealistic kitchen in the morning", "photo"),
        ("street photography in Lisbon", "photo"),
        ("a cup of coffee, 35mm, bokeh", "photo"),
        ("macro shot of a bee", "photo"),
        ("hero shot of a character with the text \"WIN\"", "typography"),
    ] {
        let found = snapshot.catalog.task(snapshot.classify(prompt)).unwrap();
        assert_eq!(&*found.name, task, "{prompt}");
    }
    let long = format!("{} \"{}\"", "word ".repeat(1_990), "x".repeat(81));
    assert_eq!(&*snapshot.catalog.task(snapshot.classify(&long)).unwrap().name, "concept");
}

#[test]
fn a_request_beats_a_rule_beats_the_defaults() {
    let text = base()
        + r#"
[tier.high]
quality = 0.7
max_cost_usd = 0.5
deadline = "90s"

[[rule]]
id = "letters"
when = "task == 'typography' && request.metadata.stage == 'draft'"
quality = 0.4
max_cost_usd = 0.10
deadline = "30s"
only = ["openai/*"]
share = "never"
on_moderation = "next_plan"
drop_negative_prompt = true
review_cost_usd = 0.05
"#;
    let snapshot = compiled(&text).unwrap();
    let plain = snapshot.resolve(ask("a tree"), "").unwrap();
    assert_eq!(
        (plain.terms.floor.value, plain.terms.tier.as_deref(), plain.terms.rule.as_deref()),
        (0.5, Some("standard"), None)
    );
    assert_eq!(plain.terms.deadline.value.as_secs(), 60);
    assert_eq!((plain.terms.max_cost, plain.terms.share), (None, Share::Identical));
    assert_eq!(plain.terms.floor.source.place().unwrap().to_string(), "test.toml:10");

    let staged = |mut ask: Ask| {
        ask.metadata = BTreeMap::from([("stage".to_owned(), "draft".to_owned())]);
        ask
    };
    let ruled = snapshot.resolve(staged(ask("a \"tree\"")), "").unwrap().terms;
    assert_eq!((ruled.floor.value, ruled.tier, ruled.rule.as_deref()), (0.4, None, Some("letters")));
    assert_eq!(ruled.max_cost.as_ref().unwrap().value, Money::from_micros(100_000));
    assert_eq!(ruled.deadline.value.as_secs(), 30);
    assert_eq!((ruled.share, ruled.moderated_next, ruled.drop_negative_prompt), (Share::Never, true, true));
    assert_eq!(ruled.review_cost, Money::from_micros(50_000));
    assert_eq!(ruled.only.unwrap().value.len(), 1);

    let mut asked = staged(ask("a \"tree\""));
    asked.quality = Some(Quality::Tier("high".to_owned()));
    asked.max_cost = Some(Money::from_micros(20_000));
    asked.deadline = Some(std::time::Duration::from_secs(500));
    let asked = snapshot.resolve(asked, "").unwrap().terms;
    assert_eq!((asked.floor.value, asked.tier.as_deref()), (0.7, Some("high")));
    let cap = asked.max_cost.unwrap();
    assert_eq!((cap.value, cap.source), (Money::from_micros(20_000), Source::Request));
    assert_eq!(asked.deadline.value.as_secs(), 30, "a request cannot loosen the policy");

    let mut tiered = ask("a tree");
    tiered.quality = Some(Quality::Tier("high".to_owned()));
    let tiered = snapshot.resolve(tiered, "").unwrap().terms;
    assert_eq!((tiered.max_cost.unwrap().value, tiered.deadline.value.as_secs()), (Money::from_micros(500_000), 90));

    let mut number = ask("a tree");
    number.quality = Some(Quality::AtLeast(0.33));
    let number = snapshot.resolve(number, "").unwrap().terms;
    assert_eq!((number.floor.value, number.floor.source, number.tier), (0.33, Source::Request, None));
}

#[test]
fn names_that_the_policy_does_not_know_are_errors_with_a_pointer() {
    let snapshot = shipped();
    let refused = |change: fn(&mut Ask)| {
        let mut ask = ask("a tree");
        change(&mut ask);
        let refused = snapshot.resolve(ask, "").unwrap_err();
        (refused.pointer, refused.detail)
    };
    assert_eq!(
        refused(|ask| ask.quality = Some(Quality::Tier("herro".to_owned()))),
        ("/quality".to_owned(), "the policy has no tier `herro`; did you mean `hero`?".to_owned())
    );
    assert_eq!(
        refused(|ask| ask.task = Some("typografy".to_owned())),
        ("/task".to_owned(), "the policy has no task `typografy`; did you mean `typography`?".to_owned())
    );
    assert_eq!(
        refused(|ask| ask.model = ModelChoice::Pinned("stability/sd3.5-mediun".to_owned())),
        (
            "/model".to_owned(),
            "the policy has no model `stability/sd3.5-mediun`; did you mean `stability/sd3.5-medium`?".to_owned()
        )
    );
    assert_eq!(
        refused(|ask| ask.model = ModelChoice::Pinned("local/lanczos".to_owned())),
        ("/model".to_owned(), "`local/lanczos` enlarges images and makes none".to_owned())
    );
}

#[test]
fn the_shipped_rules_do_what_they_say() {
    let snapshot = shipped();
    let rule = |change: fn(&mut Ask)| {
        let mut ask = ask("a tree");
        change(&mut ask);
        let terms = snapshot.resolve(ask, "").unwrap().terms;
        (terms.rule.map(|id| id.to_string()), terms.tier.map(|tier| tier.to_string()))
    };
    let some = |rule: &str, tier: &str| (Some(rule.to_owned()), Some(tier.to_owned()));
    assert_eq!(rule(|_| {}), (None, Some("standard".to_owned())));
    assert_eq!(rule(|ask| drop(ask.metadata.insert("stage".to_owned(), "draft".to_owned()))), some("drafts", "draft"));
    assert_eq!(rule(|ask| drop(ask.metadata.insert("stage".to_owned(), "final".to_owned()))), some("finals", "hero"));
    assert_eq!(rule(|ask| (ask.n, ask.size) = (6, Size::new(512, 512))), some("contact-sheets", "draft"));
    assert_eq!(rule(|ask| ask.size = Size::new(4096, 2160)), some("large-formats", "standard"));
}

#[test]
fn the_digest_is_of_the_meaning() {
    let text = base();
    let digest = |text: &str| compiled(text).unwrap().digest;
    let before = digest(&text);
    assert_eq!(before.len(), 12);
    assert!(before.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(digest(&format!("# more\n{}", text.replace(" = ", "   =  "))), before, "spacing and comments");
    let (head, tail) = text.split_at(text.find("[provider").unwrap());
    let (version, rest) = head.split_at(head.find("[defaults]").unwrap());
    assert_eq!(digest(&format!("{version}{tail}\n{rest}")), before, "the order of tables");
    assert_eq!(digest(&text.replace("usd = 0.04", "usd = 0.040")), before, "the same number");
    let halves = [("a.toml".to_owned(), head.to_owned()), ("b.toml".to_owned(), format!("version = 1\n{tail}"))];
    let halves = policy::compile(&halves, &Keyed, &Overrides::new(), TODAY).unwrap();
    assert_eq!(halves.digest, before, "which file says it");
    for (from, to) in
        [("0.9", "0.91"), ("\"60s\"", "\"61s\""), ("usd = 0.04", "usd = 0.040001"), ("env:OPENAI", "env:OTHER")]
    {
        assert_ne!(digest(&text.replace(from, to)), before, "{from} to {to}");
    }
    let swapped = text.replace("[task.concept]", "").replace("[task.typography]", "[task.concept]\n[task.typography]");
    assert_ne!(digest(&swapped), before, "the order of tasks is their priority");
}

#[test]
fn the_digest_knows_every_price() {
    let text = fs::read_to_string("policies/default.toml").unwrap();
    let before = compiled(&text).unwrap().digest;
    let prices: Vec<usize> = text.match_indices("usd = 0").map(|(at, _)| at + "usd = 0".len()).collect();
    assert!(prices.len() > 40);
    let mut digests = std::collections::HashSet::from([before]);
    for at in prices {
        let end = at + text[at..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap();
        let dearer =
            format!("{}{}1{}", &text[..end], if text[at..end].contains('.') { "" } else { ".0" }, &text[end..]);
        let Ok(snapshot) = compiled(&dearer) else { panic!("{}", &dearer[at - 10..at + 20]) };
        assert!(digests.insert(Arc::clone(&snapshot.digest)), "a price without a trace: {}", &text[at - 30..end]);
    }
}

#[test]
fn secrets_come_from_files_too_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("openai");
    let text = base().replace("env:OPENAI_API_KEY", &format!("file:{}", secret.display()));
    let off = compiled(&text).unwrap();
    assert!(off.off_lines()[0].starts_with("provider openai is off: cannot read "), "{:?}", off.off_lines());
    fs::write(&secret, "sk-live-77\n").unwrap();
    let on = compiled(&text).unwrap();
    assert_eq!(on.off_lines(), Vec::<String>::new());
    assert!(!format!("{on:?}").contains("sk-live-77"));
    assert_eq!(on.digest, off.digest);
    for (content, why) in [("", "is empty"), ("two\nlines", "holds a character that no header may carry")] {
        fs::write(&secret, content).unwrap();
        assert!(compiled(&text).unwrap().off_lines()[0].ends_with(why), "{content:?}");
    }
}

#[test]
fn workflows_are_part_of_the_policy() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("workflows")).unwrap();
    let graph = folder.path().join("workflows/x.json");
    fs::write(&graph, r#"{"1": {"class_type": "A"}}"#).unwrap();
    let policy = folder.path().join("policy.toml");
    fs::write(&policy, base() + "options = { workflow = \"workflows/x.json\" }\n").unwrap();
    let read = || policy::check(std::slice::from_ref(&policy), &Keyed, &Overrides::new(), TODAY).snapshot.unwrap();
    let first = read();
    let (_, model) = first.catalog.find_model("openai/good").unwrap();
    assert_eq!(model.options["workflow"]["1"]["class_type"], "A");
    fs::write(&graph, r#"{"1": {"class_type": "B"}}"#).unwrap();
    assert_ne!(read().digest, first.digest);
}

#[test]
fn a_folder_is_one_policy_in_the_order_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let (head, tail) = {
        let text = base();
        let at = text.find("[provider").unwrap();
        (text[..at].to_owned(), format!("version = 1\n{}", &text[at..]))
    };
    fs::write(folder.path().join("20-market.toml"), tail).unwrap();
    fs::write(folder.path().join("10-tasks.toml"), head).unwrap();
    fs::write(folder.path().join("notes.md"), "not a policy").unwrap();
    fs::write(folder.path().join(".20-market.toml.swp"), "not a policy").unwrap();
    let report = policy::check(&[folder.path().to_owned()], &Keyed, &Overrides::new(), TODAY);
    let snapshot = report.snapshot.unwrap();
    assert_eq!(snapshot.classify("a \"b\""), TaskIx(0));
    let (_, model) = snapshot.catalog.find_model("openai/good").unwrap();
    assert_eq!(Path::new(&*model.place.file).file_name().unwrap(), "20-market.toml");
}

#[test]
fn the_schema_is_one_that_editors_read() {
    let schema = policy::schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(schema["additionalProperties"], false);
    assert!(!schema.to_string().contains("\"null\""));
    let price = &schema["properties"]["model"]["additionalProperties"]["properties"]["price"]["items"];
    assert_eq!(price["required"], serde_json::json!(["from", "usd"]));
}
