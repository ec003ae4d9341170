//! The transport against a raw TCP server: what reaches the wire, what comes back, and what may have been charged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the functions that tests are made of are tests too"
)]

#[path = "transport/server.rs"]
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;
use tollgate::domain::fault::{Billed, Blame, Class, Fault};
use tollgate::provider::{Auth, Body, Call, Method, Part, Reply, Stage, Target};
use tollgate::transport::{Endpoint, HttpTransport, Scripted, Secret, Transport, Turn};

use server::{Act, Server, ok};

const KEY: &str = "sk-canary-0123456789";

fn endpoint(base_url: String) -> Endpoint {
    Endpoint { provider: "acme".into(), base_url: base_url.into(), credential: Secret::new(KEY) }
}

fn submit(path: &str) -> Call {
    Call {
        stage: Stage::Submit,
        method: Method::Post,
        target: Target::Path(path.into()),
        headers: vec![("accept", "image/*".into())],
        auth: Auth::Bearer,
        body: Body::Json(Bytes::from_static(br#"{"prompt":"a fox"}"#)),
    }
}

fn fetch(target: Target) -> Call {
    Call {
        stage: Stage::Fetch,
        method: Method::Get,
        target,
        headers: Vec::new(),
        auth: Auth::Bearer,
        body: Body::Empty,
    }
}

fn through(resolver: impl Resolve + 'static) -> HttpTransport {
    HttpTransport::with_resolver(&(Arc::new(resolver) as Arc<dyn Resolve>)).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn send(to: &Server, call: &Call) -> Result<Reply, Fault> {
    HttpTransport::new().unwrap().send(&endpoint(to.url()), call, soon()).await
}

#[tokio::test]
async fn a_call_arrives_as_it_was_written_and_its_reply_comes_back() {
    let server = Server::start([Act::Answer(
        "HTTP/1.1 202 Accepted\r\nX-Kept: yes\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\nhello".into(),
    )])
    .await;
    let reply = send(&server, &submit("/v2/generate?model=x%20y")).await.unwrap();
    assert_eq!((reply.status, &reply.body[..]), (202, &b"hello"[..]));
    assert_eq!((reply.header("x-kept"), reply.header("set-cookie")), (Some("yes"), Some("a=b")));
    let request = server.requests().remove(0);
    assert!(request.head.starts_with("POST /v2/generate?model=x%20y HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("content-length"), Some("18"));
    assert_eq!(request.header("accept"), Some("image/*"));
    assert_eq!(request.header("accept-encoding"), None);
    assert_eq!(&request.body[..], br#"{"prompt":"a fox"}"#);
}

#[tokio::test]
async fn each_scheme_puts_the_credential_where_it_belongs() {
    let server = Server::start(vec![ok("x"); 5]).await;
    let transport = HttpTransport::new().unwrap();
    let mut call = submit("/");
    for auth in [Auth::None, Auth::Basic, Auth::Bearer, Auth::Header("X-Api-Key")] {
        call.auth = auth;
        let mut endpoint = endpoint(server.url());
        if auth == Auth::Basic {
            endpoint.credential = Secret::new("ann:pass:word");
        }
        transport.send(&endpoint, &call, soon()).await.unwrap();
    }
    let none = Endpoint { credential: None, ..endpoint(server.url()) };
    transport.send(&none, &call, soon()).await.unwrap();
    let put: Vec<_> = server
        .requests()
        .iter()
        .map(|r| (r.header("authorization").map(str::to_owned), r.header("x-api-key").map(str::to_owned)))
        .collect();
    let basic = "Basic YW5uOnBhc3M6d29yZA==".to_owned();
    assert_eq!(
        put,
        [
            (None, None),
            (Some(basic), None),
            (Some(format!("Bearer {KEY}")), None),
            (None, Some(KEY.into())),
            (None, None),
        ]
    );
}

#[tokio::test]
async fn a_link_never_carries_the_credential() {
    let server = Server::start(vec![ok("picture"); 2]).await;
    for auth in [Auth::Bearer, Auth::Header("x-api-key")] {
        let mut call = fetch(Target::Link(format!("{}/img.png?sig=abc", server.url())));
        call.auth = auth;
        assert_eq!(&send(&server, &call).await.unwrap().body[..], b"picture");
    }
    for request in server.requests() {
        assert!(request.head.starts_with("GET /img.png?sig=abc "));
        assert!(!request.head.contains(KEY) && request.header("authorization").is_none());
    }
}

#[tokio::test]
async fn multipart_arrives_part_by_part() {
    let picture = Bytes::from((0..=255u8).cycle().take(100_000).collect::<Vec<_>>());
    let server = Server::start([ok("{}")]).await;
    let mut call = submit("/v2beta/stable-image/generate/core");
    call.body = Body::Multipart(vec![
        Part::text("prompt", "naïve \"fox\"\r\n--boundary"),
        Part::file("image", "image.png", "image/png", picture.clone()),
        Part { name: "none", file_name: Some(""), media_type: None, bytes: Bytes::new() },
    ]);
    send(&server, &call).await.unwrap();
    let request = server.requests().remove(0);
    // A length and no chunks: some providers take nothing else.
    assert_eq!(request.header("content-length"), Some(request.body.len().to_string().as_str()));
    assert_eq!(request.header("transfer-encoding"), None);
    let boundary = multer::parse_boundary(request.header("content-type").unwrap()).unwrap();
    let body = request.body.clone();
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(text.contains("Content-Disposition: form-data; name=\"none\"; filename=\"\"\r\n"), "{text:.600}");
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(body)]);
    let mut form = multer::Multipart::new(stream, boundary);
    let mut fields = Vec::new();
    while let Some(field) = form.next_field().await.unwrap() {
        let head = (
            field.name().map(str::to_owned),
            field.file_name().map(str::to_owned),
            field.content_type().map(ToString::to_string),
        );
        fields.push((head, field.bytes().await.unwrap()));
    }
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        fields,
        [
            ((some("prompt"), None, None), Bytes::from_static("naïve \"fox\"\r\n--boundary".as_bytes())),
            ((some("image"), some("image.png"), some("image/png")), picture),
            ((some("none"), some(""), None), Bytes::new()),
        ]
    );
}

#[tokio::test]
async fn one_connection_serves_calls_in_turn() {
    let server = Server::start(vec![ok("x"); 3]).await;
    let transport = HttpTransport::new().unwrap();
    for _ in 0..3 {
        transport.send(&endpoint(server.url()), &submit("/"), soon()).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 3));
}

/// In a bare container there are none, and the sandbox must be reached all the same.
#[test]
fn without_root_certificates_plain_http_works() {
    let empty = tempfile::tempdir().unwrap();
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "one_connection_serves_calls_in_turn", "nothing_is_charged_where_nothing_was_reached"])
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", empty.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("2 passed"), "{said}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let trap = Server::start([ok("trap")]).await;
    let moved = format!("HTTP/1.1 307 X\r\nLocation: {}/\r\nContent-Length: 0\r\n\r\n", trap.url());
    let server = Server::start([Act::Answer(moved.clone()), Act::Answer(moved)]).await;
    assert_eq!(send(&server, &submit("/")).await.unwrap().status, 307);
    let link = fetch(Target::Link(format!("{}/img.png", server.url())));
    assert_eq!(send(&server, &link).await.unwrap().status, 307);
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn nothing_is_charged_where_nothing_was_reached() {
    let gone = Server::start([]).await.url();
    let transport = through(Nobody);
    for base in [gone, "http://no-such-host.invalid".into(), "https://127.0.0.1:1".into()] {
        let fault = transport.send(&endpoint(base), &submit("/"), soon()).await.unwrap_err();
        assert_eq!((fault.class, fault.blame, fault.billed), (Class::Unavailable, Blame::Provider, Billed::No));
        assert!(fault.detail.starts_with("acme cannot be reached: "), "{}", fault.detail);
    }
    // Not TLS at all.
    let plain = Server::start([Act::Garbage]).await;
    let base = plain.url().replace("http:", "https:");
    let fault = transport.send(&endpoint(base), &submit("/"), soon()).await.unwrap_err();
    assert_eq!((fault.class, fault.billed), (Class::Unavailable, Billed::No));
}

/// Whatever goes wrong once the request is on its way, a call that buys is in doubt and one that does not is free.
#[tokio::test]
async fn what_was_sent_may_have_been_charged() {
    let cases = [
        (Act::Reset, Class::Unavailable),
        (Act::Close, Class::Unavailable),
        (Act::Garbage, Class::Unavailable),
        (Act::AnswerAndClose("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort".into()), Class::Unavailable),
        (
            Act::AnswerAndClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n".into()),
            Class::Unavailable,
        ),
        (Act::Answer(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Many: 1\r\n".repeat(500))), Class::Unavailable),
        (Act::Answer(format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20))), Class::Unavailable),
    ];
    for (act, class) in cases {
        let shown = format!("{act:.60?}");
        let server = Server::start([act.clone(), act]).await;
        let bought = send(&server, &submit("/")).await.unwrap_err();
        let expected = (class, Blame::Provider, Billed::Unknown);
        assert_eq!((bought.class, bought.blame, bought.billed), expected, "{shown}: {bought}");
        let free = send(&server, &fetch(Target::Path("/".into()))).await.unwrap_err();
        assert_eq!((free.class, free.billed), (class, Billed::No), "{shown}");
    }
}

/// A server that closes idle connections just as they are used again: `No` is said only of calls that it never saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_meets_a_closing_connection_is_free_only_if_unseen() {
    let server = Server::start(vec![Act::AnswerAndClose(ok_text("x")); 400]).await;
    let transport = HttpTransport::new().unwrap();
    let (mut answered, mut doubtful, mut free) = (0, 0, 0);
    for _ in 0..200 {
        match transport.send(&endpoint(server.url()), &submit("/"), soon()).await {
            Ok(_) => answered += 1,
            Err(fault) if fault.billed == Billed::No => free += 1,
            Err(_) => doubtful += 1,
        }
    }
    let seen = server.requests().len();
    assert!(answered <= seen && seen <= answered + doubtful, "{answered} {doubtful} {free}: {seen} seen");
    assert!(answered > 0);
}

fn ok_text(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_body_stops_at_the_cap() {
    const CAP: usize = 100_000;
    let long = "x".repeat(CAP + 1);
    let claimed = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", CAP + 1);
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", CAP + 1);
    let endless = Act::Endless;
    let server = Server::start([Act::Answer(claimed), Act::Answer(chunked), endless]).await;
    let transport = HttpTransport::new().unwrap().with_body_cap(CAP);
    for _ in 0..3 {
        let fault = transport.send(&endpoint(server.url()), &submit("/"), soon()).await.unwrap_err();
        assert_eq!((fault.class, fault.billed), (Class::Garbled, Billed::Unknown), "{fault}");
        assert!(fault.detail.contains("longer than 100000 bytes"));
    }
    let exact = Server::start([Act::Answer(ok_text(&long[1..]))]).await;
    let reply = transport.send(&endpoint(exact.url()), &submit("/"), soon()).await.unwrap();
    assert_eq!(reply.body.len(), CAP);
}

#[tokio::test]
async fn long_bodies_come_whole_with_and_without_a_length() {
    let body = "0123456789abcdef".repeat(100_000);
    let chunks: String = body
        .as_bytes()
        .chunks(9_999)
        .fold(String::new(), |all, chunk| format!("{all}{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    let to_the_end = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
    let server =
        Server::start([Act::Answer(ok_text(&body)), Act::Answer(chunked), Act::AnswerAndClose(to_the_end)]).await;
    for _ in 0..3 {
        assert!(send(&server, &submit("/")).await.unwrap().body == body.as_bytes());
    }
    let empty = Server::start([Act::Answer("HTTP/1.1 204 No Content\r\n\r\n".into()), Act::Answer(ok_text(""))]).await;
    for _ in 0..2 {
        assert!(send(&empty, &submit("/")).await.unwrap().body.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_is_kept_wherever_the_answer_stalls() {
    let stalls = [
        Act::Stall(String::new()),
        Act::Stall("HTTP/1.1 200 OK\r\n".into()),
        Act::Stall("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".into()),
        Act::Stall("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12345678".into()),
    ];
    let transport = HttpTransport::new().unwrap();
    for stall in stalls {
        for (stage, billed) in [(Stage::Submit, Billed::Unknown), (Stage::Poll, Billed::No)] {
            let server = Server::start([stall.clone()]).await;
            let call = Call { stage, ..submit("/") };
            let deadline = Instant::now() + Duration::from_millis(150);
            let fault = transport.send(&endpoint(server.url()), &call, deadline).await.unwrap_err();
            let over = deadline.elapsed();
            assert_eq!((fault.class, fault.billed), (Class::TimeOut, billed), "{stall:?}");
            assert!(Instant::now() >= deadline && over < Duration::from_millis(100), "{over:?} over");
        }
    }
}

/// A deadline that passes before the connection stands leaves nothing in doubt.
#[tokio::test]
async fn a_deadline_before_anything_was_sent_is_free() {
    struct Never;
    impl Resolve for Never {
        fn resolve(&self, _: Name) -> Resolving {
            Box::pin(std::future::pending())
        }
    }
    let transport = through(Never);
    let deadline = Instant::now() + Duration::from_millis(50);
    let fault = transport.send(&endpoint("http://acme.test".into()), &submit("/"), deadline).await.unwrap_err();
    assert_eq!((fault.class, fault.billed), (Class::TimeOut, Billed::No));
}

/// Knows no name.
struct Nobody;

impl Resolve for Nobody {
    fn resolve(&self, _: Name) -> Resolving {
        Box::pin(async { Err("no such name".into()) })
    }
}

/// Resolves every name to this machine.
struct ToHere;

impl Resolve for ToHere {
    fn resolve(&self, _: Name) -> Resolving {
        let here: Vec<SocketAddr> = ["127.0.0.1:0", "[::1]:0", "10.0.0.1:0"].map(|a| a.parse().unwrap()).into();
        Box::pin(async move { Ok(Box::new(here.into_iter()) as Addrs) })
    }
}

#[tokio::test]
async fn a_link_by_name_to_this_machine_is_not_followed() {
    let server = Server::start([ok("secret")]).await;
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let transport = through(ToHere);
    for link in [
        format!("http://images.acme.test:{port}/x.png"),
        format!("http://localhost:{port}/x.png"),
        format!("http://127.1:{}/x.png", 6379),
        format!("http://[::ffff:127.0.0.1]:{port}/x.png"),
        format!("http://2130706433:{port}/x.png"),
        format!("https://127.0.0.1:{port}/x.png"),
        format!("http://user@127.0.0.1:{port}/x.png"),
        "http://169.254.169.254/latest/meta-data".into(),
        "file:///etc/passwd".into(),
    ] {
        let call = fetch(Target::Link(link.clone()));
        let base = format!("http://acme.test:{port}");
        let fault = transport.send(&endpoint(base), &call, soon()).await.unwrap_err();
        assert_eq!((fault.class, fault.blame, fault.billed), (Class::Garbled, Blame::Provider, Billed::No), "{link}");
        assert!(fault.detail.starts_with("the provider's link "), "{}", fault.detail);
    }
    assert_eq!(server.connections(), 0);
    // The operator wrote this address, so its name may lead here.
    let own = endpoint(format!("http://acme.test:{port}"));
    let call = fetch(Target::Link(format!("http://acme.test:{port}/x.png")));
    assert_eq!(&transport.send(&own, &call, soon()).await.unwrap().body[..], b"secret");
}

/// A key may stand in a header, a path or a link; no fault shows it.
#[tokio::test]
async fn no_fault_shows_a_key() {
    let acts = [
        Act::Reset,
        Act::Close,
        Act::Garbage,
        Act::AnswerAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".into()),
    ];
    let transport = HttpTransport::new().unwrap();
    let nobody = through(Nobody);
    let mut faults = Vec::new();
    for act in acts {
        let server = Server::start([act.clone(), act]).await;
        let path = format!("/x?key={KEY}");
        faults.push(transport.send(&endpoint(server.url()), &submit(&path), soon()).await.unwrap_err());
        let link = fetch(Target::Link(format!("{}{path}", server.url())));
        faults.push(transport.send(&endpoint(server.url()), &link, soon()).await.unwrap_err());
    }
    for base in ["http://no-such-host.invalid", "http://127.0.0.1:1", "nonsense"] {
        let path = format!("/x?key={KEY}");
        faults.push(nobody.send(&endpoint(base.into()), &submit(&path), soon()).await.unwrap_err());
    }
    for link in [format!("gopher://{KEY}/"), format!("http://u:{KEY}@h/"), KEY.into(), format!("http://10.0.0.1/{KEY}")]
    {
        let link = fetch(Target::Link(link));
        faults.push(transport.send(&endpoint("https://acme.test".into()), &link, soon()).await.unwrap_err());
    }
    let broken = Endpoint { credential: Secret::new(format!("{KEY}\n")), ..endpoint("http://127.0.0.1:1".into()) };
    for auth in [Auth::Bearer, Auth::Header("x-api-key"), Auth::Header("not a header")] {
        let call = Call { auth, ..submit("/") };
        let fault = transport.send(&broken, &call, soon()).await.unwrap_err();
        assert_eq!((fault.blame, fault.billed), (Blame::Ourselves, Billed::No));
        faults.push(fault);
    }
    for fault in faults {
        assert!(!format!("{fault:?} {fault}").contains(KEY), "{fault:?}");
    }
    assert!(!format!("{:?}", endpoint("http://h".into())).contains(KEY));
}

/// The base decides the host, whatever a path looks like.
#[tokio::test]
async fn a_path_cannot_leave_its_host() {
    let server = Server::start([ok("x")]).await;
    let transport = HttpTransport::new().unwrap();
    for path in ["@evil.test/", ".evil.test/", "", "evil"] {
        let fault = transport.send(&endpoint(server.url()), &submit(path), soon()).await.unwrap_err();
        assert_eq!((fault.class, fault.blame, fault.billed), (Class::Reject, Blame::Ourselves, Billed::No));
    }
    assert_eq!(server.connections(), 0);
    send(&server, &submit("//evil.test/x")).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_script_is_played_in_order() {
    let reply = Reply { status: 201, ..Reply::default() };
    let down = Fault::new(Class::Unavailable, Blame::Provider, Billed::No, "down");
    let scripted = Scripted::new([
        Turn { after: Duration::from_millis(30), outcome: Ok(reply) },
        Turn { after: Duration::ZERO, outcome: Err(down.clone()) },
        Turn { after: Duration::from_mins(1), outcome: Ok(Reply::default()) },
    ]);
    let to = endpoint("http://acme.test".into());
    let start = Instant::now();
    assert_eq!(scripted.send(&to, &submit("/1"), soon()).await.unwrap().status, 201);
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(scripted.send(&to, &submit("/2"), soon()).await.unwrap_err(), down);
    let deadline = Instant::now() + Duration::from_millis(30);
    let late = scripted.send(&to, &submit("/3"), deadline).await.unwrap_err();
    assert_eq!((late.class, late.billed), (Class::TimeOut, Billed::Unknown));
    assert!(Instant::now() >= deadline && start.elapsed() < Duration::from_mins(1));
    let ended = scripted.send(&to, &submit("/4"), soon()).await.unwrap_err();
    assert_eq!((ended.blame, ended.billed, scripted.left()), (Blame::Ourselves, Billed::No, 0));
    let paths: Vec<_> = scripted.calls().into_iter().map(|(_, call)| call.target).collect();
    assert_eq!(paths, ["/1", "/2", "/3", "/4"].map(|path| Target::Path(path.into())));
}
