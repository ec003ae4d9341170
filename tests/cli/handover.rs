//! The hand-over where the books are shared: both gateways run side by side, each a replica of one ledger.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tollgate::sandbox::{Options, Sandbox};

use super::native::{caller, gateway, whole_answer};
use super::postgres::{Server, query};
use super::support::{PATIENCE, folder, get, until};

/// Longer than a replica may be silent before its calls are taken for lost.
const DRAIN: Duration = Duration::from_secs(17);

fn post(to: SocketAddr, path: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\ncontent-type: {kind}\r\ntollgate-share: never\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

fn generate(to: SocketAddr, model: &str) -> String {
    let ask =
        json!({"prompt": "a fox", "model": model, "quality": 0.1, "deadline_ms": 60_000, "response_format": "url"});
    post(to, "/generate", "application/json", &ask.to_string())
}

fn native(to: SocketAddr, route: &str, filler: usize) -> String {
    let part =
        |name: &str, text: &str| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    let form = part("prompt", "a fox") + &part("filler", &"x".repeat(filler)) + "--B--\r\n";
    post(to, &format!("/stability/v2beta/stable-image/generate/{route}"), "multipart/form-data; boundary=B", &form)
}

/// A connection on which so much of a call was sent.
fn begun(to: SocketAddr, call: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(to).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(call.as_bytes()).unwrap();
    tcp
}

/// The provider's own bill: how many calls it charged for, and what, in micro-dollars.
fn bill(sandbox: &Sandbox) -> (usize, i64) {
    let calls: Value = serde_json::from_str(&get(sandbox.addr(), "/_sandbox/calls").1).unwrap();
    let micros = calls.as_array().unwrap().iter().map(|call| call["billed_micro_usd"].as_i64().unwrap());
    let charged: Vec<i64> = micros.filter(|micros| *micros > 0).collect();
    (charged.len(), charged.iter().sum())
}

/// One answer of a model stands still in the middle of its body, and another's before its head.
fn stall(sandbox: &Sandbox) {
    let stall_ms = DRAIN.as_millis();
    let faults = json!([
        {"provider": "stability", "model": "stability/sd3.5-large", "stall_ms": stall_ms, "at": "body", "times": 1},
        {"provider": "stability", "model": "stability/sd3.5-medium", "stall_ms": stall_ms, "at": "after-bill", "times": 1},
    ]);
    let planned = format!(
        "PUT /_sandbox/faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{faults}",
        faults.to_string().len()
    );
    assert!(matches!(whole_answer(&mut begun(sandbox.addr(), &planned)), Some((200..300, _))));
}

fn count(books: &str, what: &str) -> String {
    query(books, &format!("SELECT count(*) FROM attempt WHERE {what}"))
}

/// Once nothing is under way, the books say what the bill says, and nothing is in doubt.
fn balanced(books: &str, sandbox: &Sandbox) {
    until("the last row", || count(books, "state = 'held'") == "0");
    assert_eq!(count(books, "state = 'ambiguous' OR outcome = 'crashed'"), "0");
    let (calls, micros) = bill(sandbox);
    assert_eq!(query(books, "SELECT sum(charged) FROM attempt"), micros.to_string());
    assert_eq!(count(books, "state = 'settled'"), calls.to_string(), "every call is in the books, once");
}

/// While the old gateway finishes for longer than a replica's lease what it was handed, up and down and in `/generate`,
/// the new one serves on the same ports and books, and takes nothing for lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_gateways_share_the_books_while_one_takes_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sandbox = Sandbox::start(listener, Options { seed: 7, speed: 200.0 }).await.unwrap();
    let server = Server::start(false);
    let books = server.database();
    let place = folder();
    std::fs::write(place.path().join("tollgate.toml"), format!("[ledger]\nurl = \"{books}\"\n")).unwrap();
    let base = format!("http://{}/stability", sandbox.addr());
    let mut old = gateway(place, &base, [0, 0, 0], &["--data", "data"]);
    let (api, admin, proxy) = (old.api, old.admin, old.proxy.unwrap());

    stall(&sandbox);
    let upload = native(proxy, "ultra", 400_000);
    let (first, rest) = upload.split_at(upload.len() / 2);
    let (mut up, mut down, mut made) = (
        begun(proxy, first),
        begun(proxy, &native(proxy, "sd3", 0)),
        begun(api, &generate(api, "stability/sd3.5-medium")),
    );
    until("three calls under way", || count(&books, "state = 'held'") == "3");

    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for fresh in [false, true] {
        for (to, call) in [(proxy, native(proxy, "core", 0)), (api, generate(api, "stability/core"))] {
            callers.push(caller(to, call, fresh, Arc::clone(&stop)));
        }
    }
    until("the load", || bill(&sandbox).0 >= 10);
    let place = std::mem::replace(&mut old.folder, folder());
    let ports = [api, admin, proxy].map(|address| address.port());
    let new = gateway(place, &base, ports, &["--data", "data", "--take-over"]);
    assert_eq!((new.api, new.admin, new.proxy), (api, admin, Some(proxy)));
    assert!(old.child.try_wait().unwrap().is_none(), "the new one did not wait for the old one's end");

    let (end, so_far) = (Instant::now() + DRAIN, bill(&sandbox).0);
    let mut pieces = rest.as_bytes().chunks(rest.len() / 30);
    while Instant::now() < end {
        up.write_all(pieces.next().unwrap()).unwrap();
        assert_eq!(count(&books, "outcome = 'crashed'"), "0");
        thread::sleep(Duration::from_secs(1));
    }
    pieces.for_each(|piece| up.write_all(piece).unwrap());
    for (tcp, what) in
        [(&mut up, "the body on its way up"), (&mut down, "the answer on its way down"), (&mut made, "the purchase")]
    {
        assert!(matches!(whole_answer(tcp), Some((200, _))), "{what} was cut");
    }
    assert_eq!(old.ended(), 0, "the old one ended well");
    until("the new one serves", || bill(&sandbox).0 >= so_far + 10);
    stop.store(true, Ordering::Relaxed);
    let answered: Vec<usize> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    println!("0 refused, 0 cut of {} calls, {answered:?}", answered.iter().sum::<usize>() + 3);
    assert!(answered.iter().all(|count| *count > 1), "{answered:?}");
    balanced(&books, &sandbox);
}
