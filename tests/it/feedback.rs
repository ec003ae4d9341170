//! Verdicts: what a person says, what is believed of it, and where the traffic goes.

use std::time::Instant;

use serde_json::{Value, json};
use tollgate::domain::request::{Ask, Fit, Prompt};
use tollgate::engine::{Engine, Feedback};
use tollgate::server::Bounds;
use tollgate::telemetry::Telemetry;

use crate::harness::{House, SWORD, inbound};

/// Two models of which nothing is known: a cheap general one, and one at twice the price that can write.
const NOTHING: &str = include_str!("../../benches/nothing_known.toml");

const GENERAL: &str = "stability/sd3.5-flash";
const SPECIALIST: &str = "ideogram/v1";

#[tokio::test]
async fn a_verdict_is_taken_replaced_and_shown() {
    let house = House::open().await;
    let made = house.post("/generate", &json!({"prompt": SWORD, "size": "512x512"})).await.json();
    let (id, model, task) = (made["id"].as_str().unwrap(), made["model"].as_str().unwrap(), &made["task"]);
    let path = format!("/generations/{id}/feedback");
    let verdicts = async |house: &House| {
        let shown = house.ops("/providers").await.json();
        let providers = shown["providers"].as_array().unwrap().clone();
        let models = providers.iter().flat_map(|provider| provider["models"].as_array().unwrap().clone());
        let ours = models.into_iter().find(|shown| shown["id"] == model).unwrap();
        let photo = ours["accept"].as_array().unwrap().iter().find(|row| row["task"] == *task).unwrap().clone();
        (photo["verdicts"].as_f64().unwrap(), photo["mean"].as_f64().unwrap())
    };
    let (none, before) = verdicts(&house).await;
    assert_eq!(none, 0.0);

    let taken = house.post(&path, &json!({"accepted": false, "rater": "ann", "reason": "two hilts"})).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    let taken = taken.json();
    assert_eq!((&taken["model"], &taken["task"], &taken["replaced"]), (&json!(model), task, &json!(false)));
    let (one, worse) = verdicts(&house).await;
    assert!(one == 1.0 && worse < before, "{worse} after {before}");

    let again = house.post(&path, &json!({"accepted": true, "rater": "ann"})).await.json();
    assert_eq!(again["replaced"], true);
    let (still_one, better) = verdicts(&house).await;
    assert!(still_one == 1.0 && better > before, "{better} after {before}");
    house.post(&path, &json!({"accepted": true, "rater": "bob"})).await;
    assert!((verdicts(&house).await.0 - 2.0).abs() < 0.01);

    let plan = house.post("/plan", &json!({"prompt": SWORD, "size": "512x512", "model": model})).await.json();
    assert!(plan["candidates"][0]["verdicts"].as_f64().unwrap() > 1.9, "{plan}");
    for (path, body, status) in [
        (path.as_str(), json!({}), 400),
        (path.as_str(), json!({"accepted": true, "image": 1}), 400),
        ("/generations/gen_0/feedback", json!({"accepted": true}), 404),
    ] {
        assert_eq!(house.post(path, &body).await.status, status, "{path} {body}");
    }

    // A new process on the same books believes the same.
    let engine = house.another(Telemetry::new(false).unwrap());
    assert_eq!(engine.learn().await, Ok(2));
    let of = |engine: &Engine| {
        let standings = engine.standings();
        let models = standings.into_iter().flat_map(|provider| provider.models);
        models.flat_map(|model| model.accept).map(|row| row.posterior).collect::<Vec<_>>()
    };
    assert_eq!(of(&engine), of(&house.engine));
}

/// What a hundred verdicts came to.
#[derive(Default)]
struct Lap {
    accepted: f64,
    usd: f64,
    seconds: f64,
    models: Vec<String>,
}

impl Lap {
    fn share(&self, model: &str, last: usize) -> f64 {
        let tail = &self.models[self.models.len() - last..];
        tail.iter().filter(|name| *name == model).count() as f64 / last as f64
    }

    fn print(&self, name: &str) {
        let count = self.models.len() as f64;
        println!(
            "{name:<28} first-accept {:.2}   ${:.3} per accepted asset   {:.2} s   specialist {:.2}",
            self.accepted / count,
            (self.usd + 0.02 * count) / self.accepted.max(1.0),
            self.seconds / count,
            self.share(SPECIALIST, self.models.len())
        );
    }
}

/// Buys, asks the sandbox's person, says so; `spoilt` turns a model's accepts into rejects.
async fn lap(house: &House, prompts: impl Iterator<Item = String>, spoilt: &str) -> Lap {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut lap = Lap::default();
    for prompt in prompts {
        let mut ask = Ask::of(Prompt::new(prompt.as_str()).unwrap());
        ask.fit = Fit::Nearest;
        let begun = Instant::now();
        let served = house.engine.serve(inbound(ask, None)).await.unwrap();
        lap.seconds += begun.elapsed().as_secs_f64();
        let question = json!({"models": [&*served.model], "prompt": prompt, "seed": served.images[0].seed});
        let url = format!("http://{}/_sandbox/verdict", house.sandbox.addr());
        let text = client.post(url).body(question.to_string()).send().await.unwrap().text().await.unwrap();
        let verdict: Value = serde_json::from_str(&text).unwrap();
        let accepted = verdict["accepted"].as_bool().unwrap() && *served.model != *spoilt;
        let feedback = Feedback { accepted, rater: Some("ann".into()), reason: None, image: 0 };
        house.engine.feedback(None, &served.id, feedback).await.unwrap();
        lap.accepted += f64::from(u8::from(accepted));
        lap.usd += served.cost.micros() as f64 / 1e6;
        lap.models.push(served.model.to_string());
    }
    lap
}

#[tokio::test]
async fn the_story_is_learned_from_nothing_and_unlearned_when_it_ends() {
    let house = House::with(Bounds::default(), |_| NOTHING.to_owned()).await;
    let signs = |from: usize, to: usize| (from..to).map(|n| format!("a shop sign with the word \"NORTH {n}\" on it"));
    let scenes = |from: usize, to: usize| (from..to).map(|n| format!("a harbour number {n} in the early fog, boats"));

    let first = lap(&house, signs(0, 50), "").await;
    let then = lap(&house, signs(50, 65), "").await;
    let other = lap(&house, scenes(0, 40), "").await;
    let worse = lap(&house, scenes(40, 100), GENERAL).await;
    for (name, lap) in [
        ("signs, verdicts 0 to 50", &first),
        ("signs, 50 to 65", &then),
        ("scenes, 0 to 40", &other),
        ("scenes, spoilt", &worse),
    ] {
        lap.print(name);
    }
    assert!(
        then.share(SPECIALIST, 15) >= 0.8,
        "typography is with the specialist after 50 verdicts: {:?}",
        then.models
    );
    assert!(other.share(GENERAL, 40) >= 0.5, "other prompts mostly stay with the cheaper model: {:?}", other.models);
    assert!(worse.share(GENERAL, 20) <= 0.1, "a model that worsens loses its traffic: {:?}", worse.models);
    assert!(then.accepted / 15.0 > 0.4, "at about .61 of 15: {}", then.accepted);
}
