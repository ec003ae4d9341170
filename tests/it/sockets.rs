//! Clients that are slow, large, odd or gone; and the end of a door.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};
use tollgate::server::Bounds;

use crate::harness::{House, SWORD};
use crate::raw::Wire;

/// Bounds whose times pass within a test.
fn quick() -> Bounds {
    Bounds {
        head_time: Duration::from_millis(200),
        body_idle: Duration::from_millis(200),
        write_time: Duration::from_millis(200),
        body_bytes: 1024 * 1024,
        ..Bounds::default()
    }
}

fn head(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: gateway.test\r\n{headers}\r\n\r\n")
}

fn posted(body: &str) -> String {
    head("POST", "/generate", &format!("content-type: application/json\r\ncontent-length: {}", body.len())) + body
}

fn good() -> String {
    posted(&json!({"prompt": SWORD, "size": "256x256"}).to_string())
}

/// Whether the same connection serves another request.
async fn serves(wire: &mut Wire) -> bool {
    wire.send(good().as_bytes()).await.unwrap();
    wire.answer().await.status == 200
}

#[tokio::test]
async fn a_slow_head_ends_and_disturbs_nobody() {
    let house = House::with(quick(), |policy| policy).await;
    let mut slow = house.wire().await;
    slow.send(b"POST /generate HTTP/1.1\r\nhost: x\r\nx-slow").await.unwrap();
    assert!(serves(&mut house.wire().await).await);
    assert!(slow.ended().await, "long before the idle time");
}

#[tokio::test]
async fn the_time_for_a_head_begins_with_its_first_byte() {
    let house = House::with(quick(), |policy| policy).await;
    let mut wire = house.wire().await;
    assert!(serves(&mut wire).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(serves(&mut wire).await, "idle for longer than a head may take");
}

#[tokio::test]
async fn an_idle_connection_is_let_go_after_its_time() {
    let idle_time = Duration::from_millis(300);
    let house = House::with(Bounds { idle_time, ..Bounds::default() }, |policy| policy).await;
    let mut wire = house.wire().await;
    assert_eq!(wire.get("/", &[]).await.status, 200);
    let begun = Instant::now();
    assert!(wire.ended().await);
    assert!(begun.elapsed() >= idle_time.saturating_sub(Duration::from_millis(50)), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_a_408() {
    let house = House::with(quick(), |policy| policy).await;
    let mut wire = house.wire().await;
    let text = good();
    wire.send(&text.as_bytes()[..text.len() - 5]).await.unwrap();
    let answer = wire.answer().await;
    assert_eq!((answer.error().0, answer.error().1), (408, "slow_request".to_owned()));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(wire.ended().await);
    assert_eq!(house.bought().await, 0);
}

#[tokio::test]
async fn too_large_by_length_is_refused_before_a_byte_is_read() {
    let house = House::with(quick(), |policy| policy).await;
    let mut wire = house.wire().await;
    let announced = "content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 1048577";
    wire.send(head("POST", "/generate", announced).as_bytes()).await.unwrap();
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.error().1), (413, "too_large".to_owned()), "and not 100");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(wire.ended().await);
}

#[tokio::test]
async fn a_client_that_sends_it_all_first_still_learns_why() {
    let house = House::with(quick(), |policy| policy).await;
    for path in ["/generate", "/nowhere"] {
        let mut wire = house.wire().await;
        let announced = format!("content-type: application/json\r\ncontent-length: {}", 1_500_000);
        wire.send(head("POST", path, &announced).as_bytes()).await.unwrap();
        // As python-requests does: the whole body, then the answer.
        let _ = wire.send(&vec![b' '; 1_500_000]).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, if path == "/generate" { 413 } else { 404 });
        assert!(wire.ended().await);
    }
}

#[tokio::test]
async fn too_large_in_chunks_is_refused_at_the_cap() {
    let house = House::with(quick(), |policy| policy).await;
    let mut wire = house.wire().await;
    let chunked = "content-type: application/json\r\ntransfer-encoding: chunked";
    wire.send(head("POST", "/generate", chunked).as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..17 {
        wire.send(chunk.as_bytes()).await.unwrap();
    }
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.error().1), (413, "too_large".to_owned()));
    assert!(wire.ended().await);
}

#[tokio::test]
async fn a_chunked_body_is_read() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    let body = json!({"prompt": SWORD, "size": "256x256"}).to_string();
    let (first, second) = body.split_at(9);
    let chunked = "content-type: application/json\r\ntransfer-encoding: chunked";
    let chunks = format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
    wire.send((head("POST", "/generate", chunked) + &chunks).as_bytes()).await.unwrap();
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    assert!(serves(&mut wire).await);
}

#[tokio::test]
async fn continue_comes_when_the_body_is_wanted() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    let body = json!({"prompt": SWORD, "size": "256x256"}).to_string();
    let announced = format!("content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}", body.len());
    wire.send(head("POST", "/generate", &announced).as_bytes()).await.unwrap();
    assert_eq!(wire.answer().await.status, 100);
    wire.send(body.as_bytes()).await.unwrap();
    assert_eq!(wire.answer().await.status, 200);
    // A refusal that needs no body comes instead of it.
    let refused = format!("idempotency-key: a b\r\n{announced}");
    wire.send(head("POST", "/generate", &refused).as_bytes()).await.unwrap();
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
}

#[tokio::test]
async fn a_small_unread_body_does_not_cost_the_connection() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    let body = " ".repeat(40_000);
    wire.send(head("POST", "/nowhere", "content-length: 40000").as_bytes()).await.unwrap();
    wire.send(body.as_bytes()).await.unwrap();
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (404, None));
    assert!(serves(&mut wire).await);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    let three = [good(), posted("{}"), head("GET", "/", "accept: */*")].concat();
    wire.send(three.as_bytes()).await.unwrap();
    let statuses = [wire.answer().await.status, wire.answer().await.status, wire.answer().await.status];
    assert_eq!(statuses, [200, 400, 200]);
}

#[tokio::test]
async fn smuggled_requests_are_never_two() {
    let house = House::open().await;
    let inner = head("GET", "/inner", "x: y");
    let length = inner.len();
    for (headers, body) in [
        (format!("content-length: {length}\r\ntransfer-encoding: chunked"), format!("0\r\n\r\n{inner}")),
        (format!("transfer-encoding: chunked\r\ncontent-length: {length}"), format!("0\r\n\r\n{inner}")),
        ("content-length: 0\r\ncontent-length: 40".to_owned(), inner.clone()),
        ("content-length: 0, 40".to_owned(), inner.clone()),
        ("content-length: +5".to_owned(), inner.clone()),
        ("transfer-encoding: xchunked".to_owned(), inner.clone()),
        ("transfer-encoding: chunked, identity".to_owned(), inner.clone()),
        ("transfer-encoding : chunked".to_owned(), format!("0\r\n\r\n{inner}")),
        ("x: y\r\n folded: z".to_owned(), inner.clone()),
    ] {
        let mut wire = house.wire().await;
        wire.send((head("POST", "/outer", &headers) + &body).as_bytes()).await.unwrap();
        let answer = wire.answer().await;
        assert!(matches!(answer.status, 400 | 404), "{headers:?}: {}", answer.status);
        assert!(wire.ended().await, "{headers:?}: a second answer");
    }
}

#[tokio::test]
async fn an_older_client_is_served_and_left() {
    let house = House::open().await;
    let body = json!({"prompt": SWORD, "size": "256x256"}).to_string();
    let mut wire = house.wire().await;
    let text = format!(
        "POST /generate HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    wire.send(text.as_bytes()).await.unwrap();
    assert_eq!(wire.answer().await.status, 200);
    assert!(wire.ended().await);
    let mut wire = house.wire().await;
    wire.send(b"POST /generate HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(wire.answer().await.status, 400);
    assert!(wire.ended().await);
}

#[tokio::test]
async fn an_upgrade_is_not_taken_up() {
    let house = House::open().await;
    let mut wire = house.wire().await;
    let upgrade = head("GET", "/", "connection: upgrade\r\nupgrade: websocket");
    wire.send(upgrade.as_bytes()).await.unwrap();
    assert_eq!(wire.answer().await.status, 200);
    assert!(serves(&mut wire).await);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let house = House::with(quick(), |policy| policy).await;
    let link = {
        let ask = json!({"prompt": SWORD, "size": "1536x1024", "n": 2});
        let answer = house.post("/generate", &ask).await;
        answer.json()["images"][0]["url"].as_str().unwrap().to_owned()
    };
    let mut wire = house.wire().await;
    // More answers than any socket buffers, and nobody to read them.
    let many = head("GET", &link, "accept: */*").repeat(40);
    wire.send(many.as_bytes()).await.unwrap();
    // The first answers fill the sockets' buffers; then one is stuck, and given up with its connection.
    let given_up = async {
        let mut before = None;
        loop {
            let (under_way, done) = (house.metric(IN_FLIGHT).await, house.metric(IMAGES).await);
            if under_way == Some(0.0) && done == before {
                return done;
            }
            before = done;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let done = timeout(Duration::from_secs(20), given_up).await.expect("the connection is given up");
    assert!(done < Some(40.0), "{done:?}: not every picture was pushed into a wall");
}

const IN_FLIGHT: &str = "tollgate_requests_in_flight{route=\"images\"}";
const UNDER_WAY: &str = "tollgate_requests_in_flight{route=\"generate\"}";
const IMAGES: &str = "tollgate_http_requests_total{code=\"200\",method=\"GET\",route=\"images\"}";

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let house = House::with(Bounds { connections: 2, ..Bounds::default() }, |policy| policy).await;
    let (mut first, mut second) = (house.wire().await, house.wire().await);
    assert!(serves(&mut first).await && serves(&mut second).await);
    let mut third = house.wire().await;
    let answer = third.answer().await;
    assert_eq!((answer.status, answer.error().1), (503, "overloaded".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(third.ended().await);
    assert!(serves(&mut first).await);
    drop(second);
    let freed = async { while !matches!(Wire::connect(house.api).await.get_quietly("/").await, Some(200)) {} };
    timeout(Duration::from_secs(10), freed).await.expect("a place that was left is taken again");
    assert!(house.metric("tollgate_shed_total{reason=\"connections\"}").await >= Some(1.0));
}

#[tokio::test]
async fn one_request_too_many_is_a_503_and_the_connection_lives() {
    let house = House::with(Bounds { in_flight: 1, ..Bounds::default() }, |policy| policy).await;
    house.faults(&json!([{"provider": "stability", "stall_ms": 60_000, "at": "headers"}])).await;
    let mut busy = house.wire().await;
    let slow = posted(&json!({"prompt": SWORD, "model": "stability/sd3.5-medium", "quality": 0.1}).to_string());
    busy.send(slow.as_bytes()).await.unwrap();
    house.until(UNDER_WAY, Some(1.0)).await;
    let mut wire = house.wire().await;
    wire.send(good().as_bytes()).await.unwrap();
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.error().1), (503, "overloaded".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    house.faults(&json!([])).await;
    drop(busy);
    house.until(UNDER_WAY, Some(0.0)).await;
    assert!(serves(&mut wire).await);
    assert_eq!(house.metric("tollgate_shed_total{reason=\"overloaded\"}").await, Some(1.0));
}

#[tokio::test]
async fn a_door_that_closes_finishes_what_is_under_way() {
    let house = House::open().await;
    house.faults(&json!([{"provider": "stability", "stall_ms": 400, "at": "headers"}])).await;
    let mut idle = house.wire().await;
    assert!(serves(&mut idle).await);
    let mut busy = house.wire().await;
    let slow = posted(&json!({"prompt": SWORD, "model": "stability/sd3.5-medium", "quality": 0.1}).to_string());
    busy.send(slow.as_bytes()).await.unwrap();
    house.until(UNDER_WAY, Some(1.0)).await;
    let (api, mut doors) = (house.api, house.doors.into_iter());
    let stopping = tokio::spawn(doors.next().unwrap().stop());
    assert!(idle.ended().await, "an idle connection is let go at once");
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(busy.ended().await);
    timeout(Duration::from_secs(10), stopping).await.expect("the door is shut").unwrap();
    assert!(tokio::net::TcpStream::connect(api).await.is_err(), "nobody accepts any more");
}

#[tokio::test]
async fn the_grace_time_ends() {
    let house = House::with(Bounds { grace: Duration::from_millis(100), ..Bounds::default() }, |policy| policy).await;
    let mut stuck = house.wire().await;
    stuck.send(b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n").await.unwrap();
    house.until(UNDER_WAY, Some(1.0)).await;
    let door = house.doors.into_iter().next().unwrap();
    timeout(Duration::from_secs(5), door.stop()).await.expect("the grace time ends");
    assert!(stuck.ended().await);
}
