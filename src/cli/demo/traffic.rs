//! A day of plausible traffic in minutes, for a demo that looks alive.
//!
//! Why it exists: boards, spend and review say nothing about a gateway that nobody asks. A studio's day is played
//! against it from outside, over HTTP: quiet nights and a busy afternoon, drafts and finals of several projects, people
//! who ask for the same thing, people who judge, a provider that fails after lunch. The same seed is the same day. What
//! it refuses to know: the gateway's inside. To add a kind of request: a line in [`SCENES`].

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::transport;

/// Requests of each hour.
const HOURS: [u32; 24] = [4, 3, 2, 2, 2, 4, 8, 14, 26, 36, 40, 36, 24, 30, 40, 42, 36, 28, 18, 12, 10, 8, 6, 5];
/// Requests under way at once: the day's people are not more.
const AT_ONCE: usize = 48;
/// How many of a hundred requests are somebody else's again, word for word.
const AGAIN: u32 = 12;
/// How many of a hundred pictures a person judges.
const JUDGED: u32 = 60;
/// Answers are megabytes; nobody waits longer.
const PATIENCE: Duration = Duration::from_mins(5);

/// What is asked for: stage, project, width, height, pictures, prompt. `{}` is a subject.
const SCENES: [(&str, &str, u32, u32, u32, &str); 10] = [
    ("draft", "atlas", 512, 512, 4, "concept sketch of {} in a misty valley, loose brush strokes"),
    ("draft", "atlas", 768, 768, 1, "character sheet of {}, three poses, flat colours"),
    ("draft", "harvest", 512, 512, 6, "thumbnail ideas for a cover with {}"),
    ("", "harvest", 1024, 1024, 1, "studio photo of {} on a wooden table, soft light"),
    ("", "harvest", 1024, 1024, 1, "poster that says 'FRESH TODAY' above {}"),
    ("", "pocket", 1024, 1024, 1, "mobile app screen of a shop that sells {}, clean UI mockup"),
    ("", "pocket", 512, 512, 1, "an icon of {}, two colours"),
    ("final", "atlas", 1536, 1024, 1, "hero banner, {} at dawn, cinematic wide shot"),
    ("final", "harvest", 1024, 1024, 1, "advertising photo of {} with the words 'ONLY THIS WEEK'"),
    ("final", "pocket", 1024, 1536, 1, "portrait of {}, dramatic rim light, highly detailed"),
];

/// What is drawn.
const SUBJECTS: [&str; 12] = [
    "a red fox",
    "a lighthouse",
    "a clay teapot",
    "an old sailor",
    "a paper dragon",
    "ripe tomatoes",
    "a brass compass",
    "a snow leopard",
    "a violin",
    "a night market",
    "a moss giant",
    "a bicycle",
];

/// A day to be played.
pub(super) struct Day {
    /// Where the gateway's API is, without a slash at the end.
    pub(super) gateway: String,
    /// Where the simulators are, likewise.
    pub(super) sandbox: String,
    /// Which day.
    pub(super) seed: u64,
    /// How long it takes.
    pub(super) length: Duration,
}

/// One request of the day.
#[derive(Clone, Debug)]
struct Ask {
    body: Value,
    judged: bool,
}

impl Day {
    /// Plays it. What goes wrong goes wrong for the day's people, and is seen where theirs is.
    pub(super) async fn pass(self) {
        transport::install_tls();
        let Ok(http) = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build() else { return };
        let mut dice = StdRng::seed_from_u64(self.seed);
        let mut under_way = FuturesUnordered::new();
        let mut before: Vec<Ask> = Vec::new();
        let (begun, hour) = (Instant::now(), self.length / 24);
        for (at, requests) in (0u32..).zip(HOURS) {
            self.weather(&http, at).await;
            let mut moments: Vec<f64> = (0..requests).map(|_| dice.random::<f64>()).collect();
            moments.sort_by(f64::total_cmp);
            for moment in moments {
                let ask = next(&mut dice, &before);
                before.push(ask.clone());
                let when = begun + hour * at + hour.mul_f64(moment);
                loop {
                    let full = under_way.len() >= AT_ONCE;
                    tokio::select! {
                        Some(()) = under_way.next(), if !under_way.is_empty() => {}
                        () = sleep_until(when), if !full => break,
                    }
                }
                under_way.push(self.request(&http, ask));
            }
        }
        while under_way.next().await.is_some() {}
    }

    /// What the providers go through at this hour: after lunch one fails for a while, later another is slow to answer.
    async fn weather(&self, http: &reqwest::Client, hour: u32) {
        let faults = match hour {
            13 => json!([{ "provider": "stability", "status": 503, "at": "headers", "ratio": 0.6 }]),
            16 => json!([{ "provider": "openai", "status": 429, "at": "headers", "ratio": 0.4 }]),
            19 => json!([{ "provider": "google", "garbage": true, "at": "body", "ratio": 0.05 }]),
            14 | 17 | 20 => json!([]),
            _ => return,
        };
        // A simulator that does not listen leaves fair weather.
        let _ = http.put(format!("{}/_sandbox/faults", self.sandbox)).body(faults.to_string()).send().await;
    }

    async fn request(&self, http: &reqwest::Client, ask: Ask) {
        if let Some(answer) = post(http, &format!("{}/generate", self.gateway), &ask.body).await
            && ask.judged
        {
            self.judge(http, &ask, &answer).await;
        }
    }

    /// A person looks at the first picture and says yes or no, as the simulators' people would.
    async fn judge(&self, http: &reqwest::Client, ask: &Ask, answer: &Value) {
        let steps = answer.pointer("/plan/steps").and_then(Value::as_array);
        let models: Vec<&Value> = steps.into_iter().flatten().filter_map(|step| step.get("model")).collect();
        let seed = answer.pointer("/images/0/seed").cloned().unwrap_or_default();
        let question = json!({ "models": models, "prompt": ask.body.get("prompt"), "seed": seed });
        let Some(verdict) = post(http, &format!("{}/_sandbox/verdict", self.sandbox), &question).await else { return };
        let Some(id) = answer.get("id").and_then(Value::as_str) else { return };
        let said = json!({ "accepted": verdict.get("accepted"), "rater": "demo", "image": 0 });
        post(http, &format!("{}/generations/{id}/feedback", self.gateway), &said).await;
    }
}

/// The answer to a body, when there is one and it is no refusal.
async fn post(http: &reqwest::Client, url: &str, body: &Value) -> Option<Value> {
    let request = http.post(url).header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await.ok().filter(|answer| answer.status().is_success())?;
    serde_json::from_slice(&answer.bytes().await.ok()?).ok()
}

fn next(dice: &mut StdRng, before: &[Ask]) -> Ask {
    let recent = before.len().saturating_sub(20)..before.len();
    if !recent.is_empty()
        && dice.random_range(0..100) < AGAIN
        && let Some(ask) = before.get(dice.random_range(recent))
    {
        return ask.clone();
    }
    let pick = |dice: &mut StdRng, of: usize| dice.random_range(0..of);
    let (scene, subject) = (pick(dice, SCENES.len()), pick(dice, SUBJECTS.len()));
    let (stage, project, width, height, n, prompt) = SCENES.get(scene).copied().unwrap_or_default();
    let prompt = prompt.replace("{}", SUBJECTS.get(subject).copied().unwrap_or_default());
    let metadata =
        if stage.is_empty() { json!({ "project": project }) } else { json!({ "project": project, "stage": stage }) };
    let body = json!({
        "prompt": prompt, "width": width, "height": height, "n": n,
        "response_format": "url", "metadata": metadata,
    });
    Ask { body, judged: dice.random_range(0..100) < JUDGED }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_a_day_and_its_people_are_not_all_alike() {
        let day = |seed| {
            let mut dice = StdRng::seed_from_u64(seed);
            let mut asks = Vec::new();
            for _ in 0..200 {
                let ask = next(&mut dice, &asks);
                asks.push(ask);
            }
            asks.into_iter().map(|ask| ask.body.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(day(7), day(7));
        assert_ne!(day(7), day(8));
        let different: BTreeSet<_> = day(7).into_iter().collect();
        assert!((60..195).contains(&different.len()), "{}", different.len());
    }
}
