//! The connection to Redis: quick to say that it is away, and back without help.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tollgate::state::redis::{Redis, Script, State, Trouble};
use tollgate::state::tally::{RedisTally, Tally as _};

use crate::server::RedisServer;

const LONG: Duration = Duration::from_secs(30);

async fn until(redis: &Redis, wanted: impl FnMut(&State) -> bool) {
    timeout(LONG, redis.watch().wait_for(wanted)).await.unwrap().unwrap();
}

#[tokio::test]
async fn replicas_count_each_other() {
    let server = RedisServer::start();
    let one = Redis::open(&server.url()).unwrap();
    assert_eq!(one.settled().await, State::Up);
    let two = Redis::open(&server.url()).unwrap();
    two.settled().await;
    assert_eq!(two.replicas(), 2);
    let began = Instant::now();
    while one.replicas() < 2 {
        assert!(began.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_one_replica_adds_is_news_to_the_others_only() {
    let server = RedisServer::start();
    let open = async || {
        let redis = Redis::open(&server.url()).unwrap();
        redis.settled().await;
        RedisTally::new(redis)
    };
    let (one, two) = (open().await, open().await);
    let adding = async {
        loop {
            one.add().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, async {
        tokio::select! {
            () = two.changed() => {}
            () = adding => {}
        }
    })
    .await
    .unwrap();
    // Two looks at least: one's own additions are no news.
    let quiet = timeout(Duration::from_millis(1_200), async {
        tokio::join!(one.changed(), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            one.add().await;
        })
    });
    assert!(quiet.await.is_err());
}

#[tokio::test]
async fn a_forgotten_script_is_run_by_its_text() {
    let server = RedisServer::start();
    let redis = Redis::open(&server.url()).unwrap();
    redis.settled().await;
    let script = Script::new("return tonumber(ARGV[1]) + tonumber(redis.call('INCR', KEYS[1]))");
    let (keys, args) = (["n".to_owned()], [b"40".to_vec()]);
    let run = || redis.run::<i64>(&script, &keys, &args);
    assert_eq!(run().await.unwrap(), 41);
    server.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(run().await.unwrap(), 42);
    assert_eq!(redis.state(), State::Up);
}

#[tokio::test]
async fn a_pause_costs_one_short_wait_and_then_nothing() {
    let server = RedisServer::start();
    let redis = Redis::open(&server.url()).unwrap();
    redis.settled().await;
    server.pause();
    let mut get = redis::cmd("GET");
    get.arg("n");
    let began = Instant::now();
    assert_eq!(redis.ask::<Option<String>>(&get).await.unwrap_err().trouble, Trouble::Slow);
    let first = began.elapsed();
    let began = Instant::now();
    for _ in 0..100 {
        redis.ask::<Option<String>>(&get).await.unwrap_err();
    }
    println!("paused: the first command waited {first:?}, the next hundred {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_millis(100));
    server.resume();
    until(&redis, |state| *state == State::Up).await;
    assert_eq!(redis.ask::<Option<String>>(&get).await, Ok(None));
}

#[tokio::test]
async fn a_restart_is_noticed_and_outlived() {
    let mut server = RedisServer::start();
    let redis = Redis::open(&server.url()).unwrap();
    redis.settled().await;
    server.kill();
    until(&redis, |state| matches!(state, State::Down(_))).await;
    server.restart(&[]);
    until(&redis, |state| *state == State::Up).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    until(&redis, |state| *state == State::Down(Trouble::Full)).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    until(&redis, |state| *state == State::Up).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    until(&redis, |state| *state == State::Down(Trouble::ReadOnly)).await;
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    until(&redis, |state| *state == State::Up).await;
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    assert!(Redis::open("http://127.0.0.1").is_err());
    let nobody = Redis::open("redis://127.0.0.1:1").unwrap();
    assert_eq!(nobody.settled().await, State::Down(Trouble::Unreachable));
}
