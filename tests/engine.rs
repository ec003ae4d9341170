//! The engine against the sandbox: what is bought, what is booked, what is shared.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::domain::image::{Size, sniff};
use tollgate::domain::ledger::MoneyState;
use tollgate::domain::money::Money;
use tollgate::domain::refusal::Refusal;
use tollgate::domain::request::{Ask, DataPolicy, Fit, ModelChoice, Prompt, Quality};
use tollgate::engine::{Engine, How, Inbound, Parts, Repeat, Served};
use tollgate::policy::watch::Settings;
use tollgate::policy::{Origin, Override, Process, Snapshots};
use tollgate::sandbox::{Options, Sandbox};
use tollgate::state::{
    Durability, Ledger, images::StoredImages, limits::LocalLimits, reader::Tesseract, sqlite::SqliteLedger,
};
use tollgate::telemetry::{Telemetry, clock};
use tollgate::transport::{HttpTransport, Secret};

struct House {
    engine: Arc<Engine>,
    ledger: Arc<SqliteLedger>,
    sandbox: Sandbox,
    client: reqwest::Client,
    _data: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        Self::with(|text| text).await
    }

    /// A house whose policy is the shipped one, changed by `edit`.
    async fn with(edit: impl FnOnce(String) -> String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = Sandbox::start(listener, Options { seed: 7, speed: 200.0 }).await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let policy = data.path().join("policy.toml");
        std::fs::write(&policy, edit(std::fs::read_to_string("policies/default.toml").unwrap())).unwrap();
        let snapshots = Snapshots::load(Settings {
            origin: Origin::of(&[policy]),
            env: Arc::new(Process),
            overrides: overrides(sandbox.addr()),
            clock: Arc::new(clock::now),
            hook: Arc::new(()),
        })
        .unwrap_or_else(|found| panic!("{}", tollgate::policy::diagnostic::render(&found, false)));
        let ledger = Arc::new(SqliteLedger::open(data.path().join("tollgate.db"), Durability::Process).unwrap());
        let engine = Engine::new(Parts {
            snapshots,
            ledger: Arc::clone(&ledger) as Arc<dyn Ledger>,
            images: Arc::new(StoredImages::open(&data.path().join("images").to_string_lossy()).unwrap()),
            limits: Arc::new(LocalLimits::new()),
            reader: Arc::new(Tesseract::default()),
            transport: Arc::new(HttpTransport::new().unwrap()),
            telemetry: Telemetry::new(false).unwrap(),
            keep_prompts: false,
            dice: Some(7),
        });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { engine: Arc::new(engine), ledger, sandbox, client, _data: data }
    }

    async fn serve(&self, ask: Ask) -> Result<Served, Refusal> {
        self.engine.serve(inbound(ask)).await
    }

    async fn calls(&self) -> Vec<Value> {
        let url = format!("http://{}/_sandbox/calls", self.sandbox.addr());
        let text = self.client.get(url).send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The providers' own bill.
    async fn bill(&self) -> Money {
        let micros = |call: &Value| call["billed_micro_usd"].as_i64().unwrap();
        Money::from_micros(self.calls().await.iter().map(micros).sum())
    }

    async fn bought(&self) -> usize {
        self.calls().await.iter().filter(|call| call["billed_micro_usd"].as_i64() > Some(0)).count()
    }

    async fn faults(&self, faults: Value) {
        let url = format!("http://{}/_sandbox/faults", self.sandbox.addr());
        let reply = self.client.put(url).body(faults.to_string()).send().await.unwrap();
        assert!(reply.status().is_success(), "{}", reply.text().await.unwrap());
    }
}

fn overrides(sandbox: SocketAddr) -> BTreeMap<String, Override> {
    tollgate::sandbox::providers()
        .map(|(prefix, key)| {
            let base_url = Some(format!("http://{sandbox}/{prefix}"));
            (prefix.to_owned(), Override { base_url, key: Secret::new(key) })
        })
        .collect()
}

fn inbound(ask: Ask) -> Inbound {
    Inbound {
        ask,
        key: None,
        request_id: "req_test".into(),
        idempotency_key: None,
        repeat: Repeat::default(),
        share_never: false,
        warnings: Vec::new(),
        arrived: tokio::time::Instant::now(),
        received: clock::now(),
    }
}

fn ask(prompt: &str) -> Ask {
    let mut ask = Ask::of(Prompt::new(prompt).unwrap());
    ask.size = Size::new(512, 512);
    ask
}

const SWORD: &str = "studio photo of sword on table, cinematic lighting";

#[tokio::test]
async fn the_cheapest_good_enough_image_is_bought_and_booked() {
    let house = House::open().await;
    let served = house.serve(ask(SWORD)).await.unwrap();
    assert_eq!(served.how, How::Fresh);
    let image = &served.images[0];
    assert_eq!(sniff(&image.bytes).unwrap().size, Size::new(512, 512));
    assert_eq!(served.cost, house.bill().await);
    assert_eq!(served.state, MoneyState::Settled);
    let record = house.ledger.show(&served.id).await.unwrap().unwrap();
    assert_eq!(record.closing.unwrap().attempts, served.attempts);
    assert_eq!(house.engine.image(&image.sha256, image.format).await.unwrap(), Some(image.bytes.clone()));
    assert!(served.adjustments.iter().any(|note| note.contains("resized to 512x512")), "{:?}", served.adjustments);
}

#[tokio::test]
async fn every_hosted_generator_delivers_and_its_bill_agrees() {
    let house = House::open().await;
    let snapshot = house.engine.snapshot();
    let mut tried = BTreeSet::new();
    for (_, model) in snapshot.catalog.models() {
        let provider = snapshot.catalog.provider(model.provider).unwrap();
        let usable =
            model.sizes().is_some() && model.off.is_none() && model.retired.is_none() && provider.off.is_none();
        if !usable {
            continue;
        }
        let before = house.bill().await;
        let mut ask = ask("a lighthouse at dawn, with the word \"HARBOR\" on its door");
        ask.model = ModelChoice::Pinned(model.id.to_string());
        ask.fit = Fit::Nearest;
        let served = house
            .serve(ask)
            .await
            .unwrap_or_else(|refusal| panic!("{}: {} {:?}", model.id, refusal.code(), refusal.attempts()));
        assert_eq!(served.model, model.id);
        if !provider.local {
            assert_eq!(served.cost, house.bill().await - before, "{}", model.id);
        }
        tried.insert(model.id.to_string());
    }
    println!("{} models: {tried:?}", tried.len());
    assert!(tried.len() >= 20);
}

#[tokio::test]
async fn every_upscaler_that_a_plan_may_use_delivers() {
    let house = House::open().await;
    let snapshot = house.engine.snapshot();
    for (ix, model) in snapshot.catalog.models() {
        let provider = snapshot.catalog.provider(model.provider).unwrap();
        if model.reach().is_none() || model.off.is_some() || provider.off.is_some() || model.id.contains("creative") {
            continue;
        }
        let mut ask = ask("a lighthouse at dawn");
        (ask.size, ask.quality) = (Size::new(2048, 2048), Some(Quality::AtLeast(0.0)));
        ask.model = ModelChoice::Pinned("stability/sd3.5-medium".to_owned());
        ask.metadata = [("upscaler".to_owned(), model.id.to_string())].into();
        let others: Vec<_> = snapshot
            .catalog
            .models()
            .filter(|(other, m)| m.reach().is_some() && *other != ix)
            .map(|(_, m)| format!("{:?}", &*m.id))
            .collect();
        let rule = format!(
            "\n[[rule]]\nid = \"only-this\"\nwhen = \"request.metadata.upscaler != ''\"\nnever = [{}]\n",
            others.join(", ")
        );
        let house = House::with(|text| first_rule(&text, &rule)).await;
        if provider.local {
            ask.data_policy = DataPolicy::Any;
        }
        let served = house.serve(ask).await;
        let Ok(served) = served else { panic!("{}: {:?}", model.id, served.map_err(|refusal| refusal.code()).err()) };
        assert_eq!(sniff(&served.images[0].bytes).unwrap().size, Size::new(2048, 2048));
        assert_eq!(served.steps[1].model.as_deref(), Some(&*model.id));
    }
}

/// Puts a rule before the others of the shipped policy.
fn first_rule(text: &str, rule: &str) -> String {
    match text.find("[[rule]]") {
        Some(at) => format!("{}{rule}\n{}", &text[..at], &text[at..]),
        None => format!("{text}{rule}"),
    }
}

#[tokio::test]
async fn identical_requests_in_flight_share_one_purchase() {
    let house = House::open().await;
    let answers = join_all((0..50).map(|_| house.serve(ask(SWORD)))).await;
    let how: Vec<How> = answers.iter().map(|answer| answer.as_ref().unwrap().how).collect();
    assert_eq!(how.iter().filter(|how| **how == How::Fresh).count(), 1);
    assert_eq!(how.iter().filter(|how| **how == How::Joined).count(), 49);
    assert_eq!(house.bought().await, 1);
    let paid: Money = answers.iter().map(|answer| answer.as_ref().unwrap().cost).sum();
    assert_eq!(paid, house.bill().await);
}

#[tokio::test]
async fn those_who_opt_out_buy_their_own() {
    let house = House::open().await;
    let alone = |_| house.engine.serve(Inbound { share_never: true, ..inbound(ask(SWORD)) });
    let answers = join_all((0..4).map(alone)).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().how == How::Fresh));
    assert_eq!(house.bought().await, 4);
    let pictures: BTreeSet<_> =
        answers.iter().map(|answer| answer.as_ref().unwrap().images[0].sha256.clone()).collect();
    assert_eq!(pictures.len(), 4, "without a seed they are different images");
}

#[tokio::test]
async fn a_caller_that_leaves_strands_nobody_and_wastes_nothing() {
    let house = House::open().await;
    let leaver = tokio::time::timeout(Duration::from_millis(1), house.serve(ask(SWORD))).await;
    assert!(leaver.is_err());
    // Joined when the first call had left by then, else called off and bought anew: one picture either way.
    let stayer = house.serve(ask(SWORD)).await.unwrap();
    assert!(matches!(stayer.how, How::Joined | How::Fresh));
    house.engine.idle().await;
    assert_eq!(house.bought().await, 1);
}

#[tokio::test]
async fn one_key_buys_once_and_replays() {
    let house = House::open().await;
    let keyed = |prompt: &str| Inbound { idempotency_key: Some("line-1".into()), ..inbound(ask(prompt)) };
    let first = house.engine.serve(keyed(SWORD)).await.unwrap();
    let again = house.engine.serve(keyed(SWORD)).await.unwrap();
    assert_eq!((again.how, again.cost), (How::Replayed, Money::ZERO));
    assert_eq!(again.images[0].bytes, first.images[0].bytes);
    assert_eq!((&again.id, &again.model, &again.steps), (&first.id, &first.model, &first.steps));
    assert!(matches!(house.engine.serve(keyed("something else")).await, Err(Refusal::IdempotencyKeyReused)));
    assert_eq!(house.bought().await, 1);
}

#[tokio::test]
async fn a_key_belongs_to_its_route_and_lasts_while_another_body_flies() {
    let house = House::open().await;
    let keyed = |prompt: &str, route| Inbound {
        idempotency_key: Some("k".into()),
        repeat: Repeat { route, count: None, durable: false },
        ..inbound(ask(prompt))
    };
    let both = [house.engine.serve(keyed(SWORD, "generate")), house.engine.serve(keyed("else", "generate"))];
    let [first, other] = join_all(both).await.try_into().unwrap();
    assert_eq!(first.unwrap().how, How::Fresh);
    assert!(matches!(other, Err(Refusal::IdempotencyKeyReused)), "also while the first is under way");
    assert_eq!(house.engine.serve(keyed(SWORD, "other")).await.unwrap().how, How::Fresh);
    assert_eq!(house.bought().await, 2);
}

#[tokio::test]
async fn a_marked_repeat_without_a_key_is_replayed_and_a_new_ask_is_bought() {
    let house = House::open().await;
    let counted =
        |count| Inbound { repeat: Repeat { route: "v1", count: Some(count), durable: false }, ..inbound(ask(SWORD)) };
    let mut how = Vec::new();
    for count in [0, 1, 2, 0, 1] {
        how.push(house.engine.serve(counted(count)).await.unwrap().how);
    }
    assert_eq!(how, [How::Fresh, How::Replayed, How::Replayed, How::Fresh, How::Replayed]);
    assert_eq!(house.bought().await, 2);
    // A client that does not count its tries is not remembered.
    for _ in 0..2 {
        assert_eq!(house.serve(ask("a quiet harbour")).await.unwrap().how, How::Fresh);
    }
    assert_eq!(house.bought().await, 4);
}

#[tokio::test]
async fn the_policy_s_window_replays_what_is_the_same() {
    let house = House::with(|text| text.replacen("[defaults]", "[defaults]\nretry_window = \"1m\"", 1)).await;
    let first = house.serve(ask(SWORD)).await.unwrap();
    let again = house.serve(ask(SWORD)).await.unwrap();
    assert_eq!((again.how, &again.id, again.cost), (How::Replayed, &first.id, Money::ZERO));
    let own = house.engine.serve(Inbound { share_never: true, ..inbound(ask(SWORD)) }).await.unwrap();
    assert_eq!(own.how, How::Fresh, "who wants an own picture gets one");
    assert_eq!(house.bought().await, 2);
}

#[tokio::test]
async fn a_refusal_that_lasts_is_not_asked_for_again() {
    let house = House::open().await;
    let keyed = || Inbound { idempotency_key: Some("k".into()), ..inbound(ask("nsfw scene")) };
    for _ in 0..3 {
        assert_eq!(house.engine.serve(keyed()).await.unwrap_err().code(), "content_refused");
        assert_eq!(house.serve(ask("nsfw picture")).await.unwrap_err().code(), "content_refused");
    }
    assert_eq!(house.calls().await.len(), 2, "each once, by key and by content");
}

#[tokio::test]
async fn a_failure_that_cost_nothing_may_be_tried_again_under_its_key() {
    let house = House::open().await;
    house.faults(json!([{"provider": "stability", "status": 401}])).await;
    let keyed = || {
        let mut ask = ask(SWORD);
        ask.model = ModelChoice::Pinned("stability/sd3.5-medium".to_owned());
        Inbound { idempotency_key: Some("k".into()), ..inbound(ask) }
    };
    assert_eq!(house.engine.serve(keyed()).await.unwrap_err().code(), "providers_failed");
    let calls = house.calls().await.len();
    // The breaker of the provider is open now, so it is refused again, but anew.
    assert_eq!(house.engine.serve(keyed()).await.unwrap_err().code(), "providers_failed");
    assert_eq!((calls, house.bought().await), (1, 0));
}

#[tokio::test]
async fn doubt_is_told_again_and_bought_again_only_where_the_policy_says_so() {
    for (policy, bought, code) in [("", 1, "providers_failed"), ("\ntakeover = \"buy_again\"", 2, "succeeded")] {
        let house = House::with(|text| text.replacen("[defaults]", &format!("[defaults]{policy}"), 1)).await;
        house.faults(json!([{"provider": "stability", "at": "after-bill", "reset": true, "times": 1}])).await;
        let keyed = || {
            let mut ask = ask(SWORD);
            ask.model = ModelChoice::Pinned("stability/sd3.5-medium".to_owned());
            Inbound { idempotency_key: Some("k".into()), ..inbound(ask) }
        };
        assert_eq!(house.engine.serve(keyed()).await.unwrap_err().code(), "providers_failed");
        for _ in 0..2 {
            let again = house.engine.serve(keyed()).await;
            assert_eq!(again.map_or_else(|refusal| refusal.code(), |_| "succeeded"), code);
        }
        assert_eq!(house.bought().await, bought, "takeover:{policy}");
    }
}

/// All callers gone before anything was sent: called off. The limit makes the purchase wait for its turn.
#[tokio::test]
async fn what_everybody_left_before_it_was_sent_is_called_off() {
    let house = House::with(|text| {
        let stability = "limits = [{ units = 140, unit = \"requests\", per = \"10s\", burst = 6 }]";
        assert!(text.contains(stability));
        text.replacen(stability, "limits = [{ units = 1, unit = \"requests\", per = \"10s\", burst = 1 }]", 1)
    })
    .await;
    let pinned = |prompt: &str| {
        let mut ask = ask(prompt);
        ask.model = ModelChoice::Pinned("stability/sd3.5-medium".to_owned());
        ask
    };
    house.serve(pinned(SWORD)).await.unwrap();
    let waiting = || tokio::time::timeout(Duration::from_millis(50), house.serve(pinned("a fox")));
    let (one, other) = tokio::join!(waiting(), waiting());
    assert!(one.is_err() && other.is_err());
    house.engine.idle().await;
    assert_eq!(house.calls().await.len(), 1, "the fox was called off");
}

#[tokio::test]
async fn n_images_are_n_different_images() {
    let house = House::open().await;
    for seed in [None, Some(0)] {
        let mut ask = ask(SWORD);
        (ask.n, ask.seed) = (3, seed);
        let served = house.serve(ask).await.unwrap();
        let distinct: BTreeSet<_> = served.images.iter().map(|image| image.sha256.clone()).collect();
        assert_eq!(distinct.len(), 3);
        if seed.is_some() {
            assert_eq!(served.images.iter().map(|image| image.seed).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
        }
    }
}

#[tokio::test]
async fn throttles_and_unbilled_errors_are_survived_and_the_books_agree() {
    let house = House::open().await;
    house
        .faults(json!([
            {"provider": "stability", "status": 503, "ratio": 0.2},
            {"provider": "google", "status": 429, "ratio": 0.3},
            {"provider": "ideogram", "status": 500, "ratio": 0.2},
        ]))
        .await;
    let mut paid = Money::ZERO;
    for round in 0..30 {
        let served = house.serve(ask(&format!("a red bicycle number {round} against a wall"))).await;
        paid +=
            served.unwrap_or_else(|refusal| panic!("round {round}: {} {:?}", refusal.code(), refusal.attempts())).cost;
    }
    assert_eq!(paid, house.bill().await);
}

#[tokio::test]
async fn a_call_that_may_have_been_billed_is_held_in_doubt_and_not_repeated_there() {
    let house = House::open().await;
    house.faults(json!([{"provider": "stability", "at": "after-bill", "reset": true}])).await;
    let mut ask = ask(SWORD);
    ask.model = ModelChoice::Pinned("stability/sd3.5-medium".to_owned());
    let refusal = house.serve(ask).await.unwrap_err();
    let Refusal::ProvidersFailed(attempts) = &refusal else { panic!("{refusal:?}") };
    assert_eq!(attempts.len(), 1, "one call, never repeated");
    assert_eq!(attempts[0].state, MoneyState::Ambiguous);
    assert_eq!(house.bill().await, attempts[0].held, "the doubt covers what was billed");
}

#[tokio::test]
async fn a_moderated_prompt_is_not_carried_from_door_to_door() {
    let house = House::open().await;
    let refusal = house.serve(ask("nsfw scene")).await.unwrap_err();
    assert_eq!(refusal.code(), "content_refused");
    assert_eq!(refusal.attempts().len(), 1);
    assert_eq!(house.bill().await, Money::ZERO);
}

#[tokio::test]
async fn what_no_plan_can_do_says_why() {
    let house = House::open().await;
    let mut dear = ask(SWORD);
    dear.max_cost = Some(Money::from_micros(1));
    let Err(Refusal::NoPlan(explained)) = house.serve(dear).await else { panic!("a plan for a micro-dollar") };
    assert!(explained.lines.iter().all(|line| line.reason.is_some()));
    let mut good = ask(SWORD);
    good.quality = Some(Quality::AtLeast(0.999));
    assert!(matches!(house.serve(good).await, Err(Refusal::NoPlan(_))));
    let mut premises = ask(SWORD);
    premises.data_policy = DataPolicy::OnPrem;
    premises.quality = Some(Quality::AtLeast(0.3));
    let served = house.serve(premises).await.unwrap();
    let provider = served.model.split('/').next().unwrap().to_owned();
    assert!(["comfyui", "automatic1111"].contains(&provider.as_str()), "{provider}");
    assert_eq!(house.bill().await, Money::ZERO);
}

/// Two models of one provider, a default floor that both meet, and one budget.
fn two_models(budget: &str) -> String {
    let model = |name: &str, usd: &str, accept: &str| {
        format!(
            "[model.\"stability/{name}\"]\nsizes = [\"1:1 1024x1024\"]\noptions = {{ route = \"generate/sd3\" }}\n\
             price = [{{ from = 2026-01-01, usd = {usd} }}]\nlatency = {{ p50 = \"5s\", p95 = \"9s\" }}\n\
             accept = {{ concept = {accept} }}\n\n"
        )
    };
    let head = "version = 1\n\n[defaults]\nquality = \"plain\"\ndeadline = \"60s\"\ntask = \"concept\"\nshare = \"never\"\n\n\
                [tier.plain]\nquality = 0.3\n\n[task.concept]\n\n[provider.stability]\n\
                base_url = \"https://api.stability.ai\"\nkey = \"env:STABILITY_API_KEY\"\n\n";
    let models = model("sd3.5-medium", "0.035", "0.6") + &model("sd3.5-large", "0.065", "0.95");
    format!("{head}{models}[[budget]]\nname = \"purse\"\nusd = 0.12\nper = \"ever\"\n{budget}")
}

fn choosy() -> Ask {
    let mut choosy = ask(SWORD);
    choosy.quality = Some(Quality::AtLeast(0.7));
    choosy
}

#[tokio::test]
async fn a_budget_refuses_and_says_what_is_left() {
    let house = House::with(|_| two_models("")).await;
    assert_eq!(&*house.serve(choosy()).await.unwrap().model, "stability/sd3.5-large");
    let Err(Refusal::BudgetExhausted(full)) = house.serve(choosy()).await else { panic!("38") };
    assert_eq!((&*full.budget.name, full.left, full.resets), ("purse", Money::from_micros(55_000), None));
    assert_eq!(house.bill().await, Money::from_micros(65_000), "nothing was sent");
    let explained = house.engine.explain(&inbound(choosy())).await.unwrap();
    let why =
        explained.lines.iter().find(|line| &*line.model == "stability/sd3.5-large").unwrap().reason.clone().unwrap();
    assert_eq!(why.code, "budget_exhausted");
    assert!(why.text.contains("`purse` has $0.055 left"), "{}", why.text);
    assert!(why.place.unwrap().to_string().contains("policy.toml:"));
    // A plan that fits is bought all the same.
    assert_eq!(&*house.serve(ask(SWORD)).await.unwrap().model, "stability/sd3.5-medium");
    let standing = &house.engine.budgets().await.unwrap()[0];
    assert_eq!((standing.total.settled, standing.left), (Money::from_micros(100_000), Money::from_micros(20_000)));
}

#[tokio::test]
async fn a_budget_that_downgrades_buys_the_cheapest_of_the_tier() {
    let house = House::with(|_| two_models("on_exhausted = \"downgrade\"\n")).await;
    assert_eq!(&*house.serve(choosy()).await.unwrap().model, "stability/sd3.5-large");
    let lesser = house.serve(choosy()).await.unwrap();
    assert_eq!(&*lesser.model, "stability/sd3.5-medium");
    assert!(lesser.adjustments.iter().any(|note| note.contains("budget `purse` had $0.055 left")), "{lesser:?}");
    assert!(matches!(house.serve(choosy()).await, Err(Refusal::BudgetExhausted(_))));
    assert_eq!(house.bill().await, Money::from_micros(100_000));
}

#[tokio::test]
async fn doubt_counts_against_a_budget() {
    let house = House::with(|_| two_models("")).await;
    house.faults(json!([{"provider": "stability", "at": "after-bill", "reset": true}])).await;
    assert!(house.serve(choosy()).await.is_err());
    let standing = &house.engine.budgets().await.unwrap()[0];
    assert_eq!((standing.total.ambiguous, standing.left), (Money::from_micros(65_000), Money::from_micros(55_000)));
    assert!(matches!(house.serve(choosy()).await, Err(Refusal::BudgetExhausted(_))));
    assert_eq!(house.bill().await, Money::from_micros(65_000));
}
