//! Black-box tests of the control routes, the bill and planned faults.

use std::time::Duration;

use serde_json::json;

use super::*;

const PATH: &str = "/openai/v1/images/generations";

fn ask(bed: &Bed) -> RequestBuilder {
    let body = json!({ "model": "gpt-image-2", "prompt": "fox", "quality": "low", "size": "256x256" });
    bed.post(PATH, &body).bearer_auth("sk-sandbox-openai")
}

/// What one such picture costs: 13 tokens of image and one of text.
const PRICE: u64 = 13 * 30 + 5;

#[tokio::test]
async fn the_page_lists_every_prefix_and_every_key_works() {
    let bed = Bed::new().await;
    let page = bed.get("/").send().await.unwrap().text().await.unwrap();
    for (prefix, key) in super::super::providers() {
        assert!(page.contains(&format!("/{prefix}")) && page.contains(key), "{prefix}");
    }
    assert_eq!(bed.get("/nobody/v1").send().await.unwrap().status(), 404);
    assert_eq!(bed.calls().await.len(), 0, "only calls to providers are on the bill");
}

#[tokio::test]
async fn a_call_is_on_the_bill_with_all_that_the_contract_names() {
    let bed = Bed::new().await;
    let sent = ask(&bed).send().await.unwrap();
    let bytes = sent.bytes().await.unwrap().len();
    let call = &bed.calls().await[0];
    assert_eq!(call["provider"], "openai");
    assert_eq!(call["model"], "openai/gpt-image-2-low");
    assert_eq!(call["path"], "/v1/images/generations");
    assert_eq!(call["key"], "sk-sandbox-openai");
    assert_eq!((call["status"].as_u64(), call["billed_micro_usd"].as_u64()), (Some(200), Some(PRICE)));
    assert_eq!(call["bytes"], bytes);
    assert!(call["at_ms"].is_u64());
}

#[tokio::test]
async fn work_is_billed_when_the_caller_has_gone() {
    let bed = Bed::at_speed(3.0).await;
    let hurried = ask(&bed).timeout(Duration::from_millis(500)).send().await;
    assert!(hurried.unwrap_err().is_timeout());
    while bed.calls().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bed.billed().await, PRICE);
}

#[tokio::test]
async fn verdicts_are_one_answer_and_nonsense_is_refused() {
    let bed = Bed::new().await;
    let ask = |body: Value| answered(bed.post("/_sandbox/verdict", &body));
    let question = json!({ "models": ["ideogram/v3", "stability/upscale-fast"], "prompt": "a sign \"HI\"", "seed": 4 });
    let (status, first) = ask(question.clone()).await;
    assert_eq!(status, 200);
    assert!(first["accepted"].is_boolean() && (0.0..=0.93).contains(&first["p"].as_f64().unwrap()));
    assert_eq!(ask(question).await.1, first);
    for wrong in
        [json!({}), json!({ "models": [], "prompt": "x" }), json!({ "models": ["x/y"], "prompt": "x", "seed": 1 })]
    {
        let (status, body) = ask(wrong).await;
        assert_eq!(status, 400);
        assert!(body["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn faults_before_the_work_cost_nothing() {
    let bed = Bed::new().await;
    bed.plan(
        json!([{ "provider": "openai", "status": 503, "times": 1 }, { "provider": "openai", "reset": true, "times": 1 },
                    { "provider": "openai", "garbage": true, "at": "headers", "times": 1 }]),
    )
    .await;
    let (status, body) = answered(ask(&bed)).await;
    assert_eq!((status, &body["error"]["type"]), (503, &"server_error".into()));
    let reset = ask(&bed).send().await.unwrap_err();
    assert!(format!("{reset:?}").contains("reset"), "{reset:?}");
    let page = ask(&bed).send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (200, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert_eq!(bed.billed().await, 0);
    assert_eq!(bed.calls().await[1]["status"], 0);
    assert_eq!(ask(&bed).send().await.unwrap().status(), 200, "all are spent");
}

#[tokio::test]
async fn faults_after_the_work_are_billed() {
    let bed = Bed::new().await;
    bed.plan(json!([
        { "provider": "openai", "status": 500, "at": "after-bill", "times": 1 },
        { "provider": "openai", "reset": true, "at": "after-bill", "times": 1 },
        { "provider": "openai", "truncate": true, "times": 1 },
        { "provider": "openai", "reset": true, "at": "body", "times": 1 },
        { "provider": "openai", "garbage": true, "times": 1 },
    ]))
    .await;
    assert_eq!(ask(&bed).send().await.unwrap().status(), 500);
    assert!(ask(&bed).send().await.is_err());
    for _ in 0..2 {
        let sent = ask(&bed).send().await.unwrap();
        assert_eq!(sent.status(), 200);
        let promised = sent.content_length().unwrap();
        assert!(promised > 1_000);
        assert!(sent.bytes().await.is_err());
    }
    let page = ask(&bed).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("<html>"));
    assert_eq!(bed.billed().await, 5 * PRICE);
    let calls = bed.calls().await;
    let statuses: Vec<_> = calls.iter().map(|call| call["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [500, 0, 200, 200, 200]);
}

#[tokio::test]
async fn a_stall_holds_back_headers_or_half_of_the_body() {
    let bed = Bed::new().await;
    ask(&bed).send().await.unwrap();
    bed.plan(json!([{ "provider": "openai", "stall_ms": 300, "times": 1 },
                    { "provider": "openai", "stall_ms": 300, "at": "body", "times": 1 }]))
        .await;
    let began = tokio::time::Instant::now();
    assert_eq!(ask(&bed).send().await.unwrap().status(), 200);
    assert!(began.elapsed() >= Duration::from_millis(300));
    let mut sent = ask(&bed).send().await.unwrap();
    let headers = tokio::time::Instant::now();
    let promised = sent.content_length().unwrap();
    let mut got = 0;
    while let Some(chunk) = sent.chunk().await.unwrap() {
        got += chunk.len() as u64;
    }
    assert_eq!(got, promised);
    assert!(headers.elapsed() >= Duration::from_millis(200), "the rest came {:?} after the headers", headers.elapsed());
}

#[tokio::test]
async fn bad_faults_are_refused_and_change_nothing() {
    let bed = Bed::new().await;
    bed.plan(json!([{ "provider": "openai", "status": 500 }])).await;
    for wrong in [
        json!({}),
        json!([{ "provider": "nobody", "status": 500 }]),
        json!([{ "provider": "openai" }]),
        json!([{ "provider": "openai", "status": 200 }]),
        json!([{ "provider": "openai", "status": 500, "ratio": 2.0 }]),
        json!([{ "provider": "openai", "status": 500, "at": "noon" }]),
        json!([{ "provider": "openai", "statsu": 500 }]),
    ] {
        let (status, body) = answered(bed.request(Method::PUT, "/_sandbox/faults").body(wrong.to_string())).await;
        assert_eq!(status, 400, "{wrong}");
        assert!(body["error"]["message"].is_string());
    }
    assert_eq!(ask(&bed).send().await.unwrap().status(), 500);
    assert_eq!(bed.request(Method::DELETE, "/_sandbox").send().await.unwrap().status(), 204);
    assert_eq!(ask(&bed).send().await.unwrap().status(), 200);
    assert_eq!(bed.calls().await.len(), 1);
}

#[tokio::test]
async fn two_sandboxes_of_one_seed_agree() {
    let (one, other) = (Bed::new().await, Bed::new().await);
    let picture = async |bed: &Bed| {
        let path = "/stability/v2beta/stable-image/generate/sd3";
        let request = bed.request(Method::POST, path).bearer_auth("sk-x").multipart(form(&[("prompt", "fox")]));
        request.send().await.unwrap().bytes().await.unwrap()
    };
    assert_eq!(picture(&one).await, picture(&other).await, "the drawn seed is the same too");
}

#[tokio::test]
async fn it_stops_when_told_and_when_dropped() {
    let bed = Bed::new().await;
    let addr = bed.sandbox.addr();
    bed.sandbox.shutdown().await;
    assert!(bed.http.get(format!("http://{addr}/")).send().await.is_err());
    let bed = Bed::new().await;
    let addr = bed.sandbox.addr();
    drop(bed.sandbox);
    let http = bed.http;
    while http.get(format!("http://{addr}/")).send().await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert!(Sandbox::start(listener, Options { seed: 1, speed: 0.0 }).await.is_err());
}
