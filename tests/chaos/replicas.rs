//! Three gateways on one Redis.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::state::flights::redis::RedisBoard;
use tollgate::state::redis::Redis;

use crate::redis::RedisServer;
use crate::world::{SWORD, World};

async fn three(world: &World, redis: &RedisServer) -> (Vec<tollgate::server::Server>, Vec<String>) {
    let (mut doors, mut urls) = (Vec::new(), Vec::new());
    for name in ["one", "two", "three"] {
        let redis = Redis::open(&redis.url()).unwrap();
        redis.settled().await;
        let (engine, _) = world.engine(name);
        let engine = Arc::new(engine.among(Arc::new(RedisBoard::new(&redis))));
        let door = world.door(&engine).await;
        urls.push(format!("http://{}/generate", door.address()));
        doors.push(door);
    }
    (doors, urls)
}

fn served(answer: &Value) -> &str {
    answer["served"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_identical_posts_at_once_buy_one_image() {
    const N: usize = 200;
    let (world, redis) = (World::open(20.0).await, RedisServer::start());
    let (_doors, urls) = three(&world, &redis).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({"prompt": SWORD, "width": 512, "height": 512}).to_string();
    let post = |n: usize| {
        let request = client.post(&urls[n % urls.len()]).header("content-type", "application/json").body(body.clone());
        async move { serde_json::from_str::<Value>(&request.send().await.unwrap().text().await.unwrap()).unwrap() }
    };
    let answers = join_all((0..N).map(post)).await;
    let fresh = answers.iter().filter(|answer| served(answer) == "fresh").count();
    let pictures: std::collections::BTreeSet<_> =
        answers.iter().map(|answer| answer["images"][0]["sha256"].to_string()).collect();
    let bought = world.bought().await;
    println!("{N} identical POSTs over 3 replicas: {bought} bought, {fresh} paid, {} pictures", pictures.len());
    assert_eq!((bought, fresh, pictures.len()), (1, 1, 1));
    let paid: f64 = answers.iter().map(|answer| answer["cost"]["usd"].as_f64().unwrap()).sum();
    let billed: i64 = world.calls().await.iter().filter_map(|call| call["billed_micro_usd"].as_i64()).sum();
    assert!((paid * 1e6 - billed as f64).abs() < 0.5, "{paid} {billed}");
    // A new ask of the same is a new purchase; refusals are shared as well.
    assert_eq!(served(&post(0).await), "fresh");
    let refused = json!({"prompt": "nsfw scene"}).to_string();
    let before = world.calls().await.len();
    let refusals = join_all((0..30).map(|n| {
        let request = client.post(&urls[n % 3]).header("content-type", "application/json").body(refused.clone());
        async move { request.send().await.unwrap().status().as_u16() }
    }))
    .await;
    assert!(refusals.iter().all(|status| *status == 422), "{refusals:?}");
    assert!(world.calls().await.len() - before <= 3, "each replica asks at most once");
    let keys = redis.cli(&["--scan"]);
    let longest = keys.lines().map(|key| redis.cli(&["MEMORY", "USAGE", key]).parse::<u64>().unwrap_or(0)).max();
    assert!(longest < Some(8_192), "no picture lies in Redis: {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_replica_shares_by_itself() {
    let (world, mut redis) = (World::open(20.0).await, RedisServer::start());
    let (_doors, urls) = three(&world, &redis).await;
    redis.kill();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({"prompt": SWORD, "width": 512, "height": 512}).to_string();
    let answers = join_all((0..60).map(|n| {
        let request = client.post(&urls[n % 3]).header("content-type", "application/json").body(body.clone());
        async move { request.send().await.unwrap().status().as_u16() }
    }));
    let answers = tokio::time::timeout(Duration::from_mins(1), answers).await.unwrap();
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    let bought = world.bought().await;
    println!("60 identical POSTs over 3 replicas without Redis: {bought} bought");
    assert!((1..=3).contains(&bought));
}
