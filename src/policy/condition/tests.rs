use super::*;

const WORLD: World<'static> = World { tasks: &["concept", "typography", "hero"], tiers: &["draft", "hero"] };

fn compiled(text: &str) -> Condition {
    Condition::compile(text, &WORLD).unwrap_or_else(|flaws| panic!("{text}: {flaws:?}"))
}

fn reach_of(text: &str) -> Reach {
    compiled(text).reach(&WORLD)
}

fn holds(text: &str, metadata: &[(&str, &str)]) -> bool {
    let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let facts = Facts {
        task: "typography",
        tier: "draft",
        key: "studio",
        size: Size::new(1024, 768),
        n: 2,
        prompt_length: 40,
        has_seed: true,
        data_policy: DataPolicy::OnPrem,
        metadata: &metadata,
    };
    compiled(text).holds(&facts.bind())
}

#[test]
fn every_fact_can_be_asked() {
    for text in [
        "task == 'typography'",
        "tier == 'draft' && key == 'studio'",
        "request.width == 1024 && request.height < 1000",
        "request.pixels == 1024 * 768",
        "request.n > 1 && request.prompt_length >= 40",
        "request.has_seed",
        "request.data_policy == 'on-prem'",
        "task in ['hero', 'typography']",
        "!(task == 'hero')",
        "key.startsWith('stu')",
        "request.has_seed ? task == 'typography' : false",
    ] {
        assert!(holds(text, &[]), "{text}");
    }
}

#[test]
fn absent_metadata_makes_no_rule_match() {
    let stage = "request.metadata.stage == 'draft'";
    assert!(holds(stage, &[("stage", "draft")]));
    assert!(!holds(stage, &[("stage", "final")]));
    assert!(!holds(stage, &[]));
    assert!(!holds("request.metadata.stage != 'draft'", &[]));
    assert!(holds("!has(request.metadata.stage)", &[]));
    assert!(holds("request.metadata.stage == 'draft' || task == 'typography'", &[]));
    assert!(holds("request.metadata['two words'] == 'x'", &[("two words", "x")]));
    assert!(holds("int(request.metadata.priority) > 2", &[("priority", "3")]));
    assert!(!holds("int(request.metadata.priority) > 2", &[("priority", "high")]));
}

#[test]
fn flaws_are_found_before_any_request_and_marked() {
    for (text, message, marked) in [
        ("width > 3", "there is no variable `width`", "width"),
        ("request.widht > 3", "`request` has no field `widht`", "request.widht"),
        ("task == 'hero' && request.nope", "`request` has no field `nope`", "request.nope"),
        ("task == 'tpyography'", "there is no task `tpyography`", "'tpyography'"),
        ("tier in ['draft', 'her']", "there is no tier `her`", "'her'"),
        ("request.data_policy == 'onprem'", "there is no data policy `onprem`", "'onprem'"),
        ("request.width", "a condition must be true or false", "request.width"),
        ("request.width > 'x'", "`>` does not take a number and text", "request.width > 'x'"),
        ("task.matches('a.*')", "there is no function `matches`", "task.matches('a.*'"),
        ("[1, 2].exists(x, x == request.n)", "macros over lists are not allowed", ""),
        ("task == ", "the condition is not CEL", ""),
    ] {
        let flaws = Condition::compile(text, &WORLD).unwrap_err();
        let flaw = flaws.first().unwrap();
        assert_eq!(flaw.message, message, "{text}");
        if !marked.is_empty() {
            let span = flaw.span.clone().unwrap();
            assert_eq!(&text[span], marked, "{text}");
        }
    }
}

#[test]
fn a_condition_has_a_price() {
    let long = format!("task == '{}'", "x".repeat(1_000));
    let wide = vec!["request.n>0"; 80].join("&&");
    for text in [long, wide] {
        assert!(Condition::compile(&text, &WORLD).unwrap_err().iter().all(|flaw| flaw.costly), "{text}");
    }
}

#[test]
fn reach_is_told_where_it_can_be_known() {
    for (text, expected) in [
        ("true", Reach::Always),
        ("false", Reach::Never),
        ("task == 'hero' && task == 'concept'", Reach::Never),
        ("task == 'hero' || task != 'hero'", Reach::Always),
        ("request.width > 4096", Reach::Never),
        ("request.width >= 4096", Reach::Sometimes),
        ("request.width < 64", Reach::Never),
        ("request.width >= 64", Reach::Always),
        ("request.width > 1024 && request.width < 1000", Reach::Never),
        ("request.width <= 512 && request.pixels > 3000000", Reach::Never),
        ("request.width <= 512 && request.pixels > 2000000", Reach::Sometimes),
        ("request.pixels == 1048576", Reach::Sometimes),
        ("request.n > 8", Reach::Never),
        ("request.n == 7", Reach::Sometimes),
        ("request.prompt_length > 10000", Reach::Never),
        ("key == 'a' && key == 'b'", Reach::Never),
        ("key == 'a'", Reach::Sometimes),
        ("request.metadata.stage == 'draft'", Reach::Sometimes),
        ("request.metadata.stage == 'draft' && request.metadata.stage == 'final'", Reach::Never),
        ("has(request.metadata.a) && !has(request.metadata.a)", Reach::Never),
        ("request.metadata['stage'] == 'draft'", Reach::Sometimes),
        ("'stage' in request.metadata", Reach::Sometimes),
        // Arithmetic and searches within texts: nothing is claimed.
        ("request.width % 7 == 3", Reach::Sometimes),
        ("key.contains('z') && !key.contains('z')", Reach::Sometimes),
    ] {
        assert_eq!(reach_of(text), expected, "{text}");
    }
}
