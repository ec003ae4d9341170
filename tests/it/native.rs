//! The native pass-through: vendors' own calls against the sandbox, and against a provider that shows what it heard.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tollgate::domain::money::Money;
use tollgate::server::Bounds;
use tollgate::state::{Ledger as _, SpendBy};

use crate::harness::{House, nobody};
use crate::raw::{Answer, Wire};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn native(house: &House) -> Wire {
    Wire::connect(house.native.address()).await
}

/// A multipart body of text fields, as `requests` writes it.
fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let part = |(name, value): &(&str, &str)| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    (fields.iter().map(part).collect::<String>() + "--B--\r\n").into_bytes()
}

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=B");

async fn core(house: &House, prompt: &str) -> Answer {
    let body = form(&[("prompt", prompt), ("seed", "7"), ("output_format", "png")]);
    let path = "/stability/v2beta/stable-image/generate/core";
    native(house).await.post(path, &[FORM, ("authorization", "Bearer whatever"), ("accept", "image/*")], &body).await
}

/// What the books say: charged and in doubt, once every call has ended.
async fn books(house: &House) -> (Money, Money) {
    house.until("tollgate_requests_in_flight{route=\"proxy\"}", Some(0.0)).await;
    let mut last = (Money::MAX, Money::MAX);
    for _ in 0..200 {
        let rows = house.ledger.spend(SpendBy::Model, Timestamp::UNIX_EPOCH).await.unwrap();
        let now = (rows.iter().map(|row| row.settled).sum(), rows.iter().map(|row| row.ambiguous).sum());
        let open: i64 = house.held();
        if open == 0 {
            return now;
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    last
}

/// What the providers charged.
async fn billed(house: &House) -> Money {
    let calls = Wire::connect(house.sandbox.addr()).await.get("/_sandbox/calls", &[]).await.json();
    let micros = calls.as_array().unwrap().iter().map(|call| call["billed_micro_usd"].as_i64().unwrap());
    Money::from_micros(micros.sum())
}

#[tokio::test]
async fn a_picture_passes_as_it_is_and_is_booked() {
    let house = House::open().await;
    let passed = core(&house, "a heron").await;
    assert_eq!(passed.status, 200, "{}", String::from_utf8_lossy(&passed.body));
    assert_eq!(passed.header("content-type"), Some("image/png"));
    assert_eq!(passed.header("finish-reason"), Some("SUCCESS"));
    assert_eq!(passed.header("tollgate-model"), Some("stability/core"));
    let direct = {
        let body = form(&[("prompt", "a heron"), ("seed", "7"), ("output_format", "png")]);
        let key = ("authorization", "Bearer sk-sandbox-stability");
        let mut wire = Wire::connect(house.sandbox.addr()).await;
        wire.post("/stability/v2beta/stable-image/generate/core", &[FORM, key, ("accept", "image/*")], &body).await
    };
    assert_eq!(passed.body, direct.body, "the same bytes");
    assert_eq!(books(&house).await, (Money::from_micros(30_000), Money::ZERO));
    assert_eq!(billed(&house).await, Money::from_micros(60_000), "once here and once beside it");
    let attempts = "tollgate_provider_attempts_total{model=\"stability/core\",outcome=\"ok\",provider=\"stability\"}";
    assert_eq!(house.metric(attempts).await, Some(1.0));
    assert_eq!(
        house.metric("tollgate_http_requests_total{code=\"200\",method=\"POST\",route=\"proxy\"}").await,
        Some(1.0)
    );
}

/// Whatever is asked for, in whatever way it is priced: the books say what the provider's bill says.
#[tokio::test]
async fn every_price_is_the_providers_own() {
    let house = House::open().await;
    let asks: [(&str, Value); 5] = [
        (
            "/openai/v1/images/generations",
            json!({"model": "gpt-image-2", "prompt": "a brass telescope", "quality": "low"}),
        ),
        (
            "/openai/v1/images/generations",
            json!({"prompt": "two foxes", "model": "gpt-image-2", "n": 2, "size": "1024x1536", "quality": "medium"}),
        ),
        (
            "/google/v1beta/models/gemini-nano-banana-2.1:generateContent",
            json!({"contents": [{"parts": [{"text": "a kettle"}]}]}),
        ),
        (
            "/google/v1beta/models/gemini-3-pro-image:generateContent",
            json!({"contents": [{"parts": [{"text": "a kettle on linen"}]}]}),
        ),
        ("/ideogram/generate", json!({"image_request": {"prompt": "a fox", "model": "V_2_TURBO", "num_images": 2}})),
    ];
    for (path, body) in asks {
        let answer = native(&house).await.post(path, &[JSON], body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    for speed in ["TURBO", "DEFAULT"] {
        let body = form(&[("prompt", "a sign"), ("rendering_speed", speed), ("num_images", "2")]);
        let answer = native(&house).await.post("/ideogram/v1/ideogram-v3/generate", &[FORM], &body).await;
        assert_eq!(answer.status, 200, "{speed}: {}", answer.text());
    }
    let (settled, doubt) = books(&house).await;
    assert_eq!((settled, doubt), (billed(&house).await, Money::ZERO));
    assert!(settled > Money::from_micros(300_000), "{settled}");
}

/// Nothing that has no price reaches a provider, and each refusal says what would help.
#[tokio::test]
async fn what_has_no_price_is_refused() {
    let house = House::open().await;
    let images = "/openai/v1/images/generations";
    let long = format!("{{\"prompt\": \"{}\", \"model\": \"gpt-image-2\"}}", "x".repeat(200_000));
    let cases: [(&str, &str, String, u16, &str); 9] = [
        ("POST", "/nobody/v1/images", String::new(), 404, "no provider `nobody`"),
        ("POST", "/openai/v1/audio/speech", String::new(), 404, "has no route `POST /v1/audio/speech`"),
        ("DELETE", images, String::new(), 404, "has no route"),
        ("POST", "/openai/v1/../v1/images/generations", String::new(), 404, "has no route"),
        ("POST", images, json!({"model": "gpt-image-9"}).to_string(), 400, "no price for the model `gpt-image-9`"),
        ("POST", images, json!({"prompt": "a fox"}).to_string(), 400, "names no model at `/model`"),
        ("POST", images, json!({"model": "gpt-image-2", "size": "2048x2048"}).to_string(), 400, "at 2048x2048"),
        ("POST", images, json!({"model": "gpt-image-2", "n": "many"}).to_string(), 400, "not a number of images"),
        ("POST", images, long, 400, "near the start of the body"),
    ];
    for (method, path, body, status, words) in cases {
        let answer = native(&house).await.request(method, path, &[JSON], body.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert!(answer.text().contains(words), "{method} {path}: {}", answer.text());
        assert!(answer.header("x-request-id").is_some());
    }
    assert_eq!(billed(&house).await, Money::ZERO);
    assert_eq!(books(&house).await, (Money::ZERO, Money::ZERO));
}

#[tokio::test]
async fn only_a_key_of_the_policy_lets_by() {
    // SHA-256 of `tg_1`.
    let row = "\n[[key]]\nname = \"sdk\"\nsha256 = \"SUM\"\n";
    let sum = tollgate::domain::fingerprint::sha256_hex(b"tg_1");
    let house = House::with(Bounds::default(), |policy| policy + &row.replace("SUM", &sum)).await;
    let path = "/google/v1beta/models";
    for (headers, query, status) in [
        (vec![], "", 401),
        (vec![("authorization", "Bearer AIzaSandboxGoogle")], "", 401),
        (vec![("authorization", "Bearer tg_1")], "", 200),
        (vec![("x-goog-api-key", "tg_1")], "", 200),
        (vec![], "?pageSize=1&key=tg_1", 200),
    ] {
        let answer = native(&house).await.get(&format!("{path}{query}"), &headers).await;
        assert_eq!(answer.status, status, "{headers:?} {query}: {}", answer.text());
    }
    let calls = Wire::connect(house.sandbox.addr()).await.get("/_sandbox/calls", &[]).await.json();
    assert!(calls.as_array().unwrap().iter().all(|call| call["key"] == "AIzaSandboxGoogle"), "{calls}");
}

/// What a call that failed cost, by how it failed.
#[tokio::test]
async fn money_follows_the_failure() {
    let house = House::open().await;
    let ambiguous = Money::from_micros(30_000);
    let cases = [
        (json!([{"provider": "stability", "status": 429}]), 429, Money::ZERO),
        // Stability says that it charges for nothing that failed.
        (json!([{"provider": "stability", "status": 500}]), 500, Money::ZERO),
        (json!([{"provider": "stability", "reset": true}]), 502, ambiguous),
        (json!([{"provider": "stability", "reset": true, "at": "after-bill"}]), 502, ambiguous),
    ];
    for (faults, status, doubt) in cases {
        let house = House::open().await;
        house.faults(&faults).await;
        let answer = core(&house, "a fox").await;
        assert_eq!(answer.status, status, "{faults}: {}", answer.text());
        assert_eq!(books(&house).await, (Money::ZERO, doubt), "{faults}");
        let calls = Wire::connect(house.sandbox.addr()).await.get("/_sandbox/calls", &[]).await.json();
        assert_eq!(calls.as_array().unwrap().len(), 1, "{faults}: nothing is sent twice");
        if doubt > Money::ZERO && status == 502 {
            assert_eq!(answer.error().1, "providers_failed");
            assert_eq!(answer.header("x-should-retry"), Some("false"));
        }
    }
    let refused = core(&house, "nsfw").await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("content_moderation"), "the provider's own words");
    assert_eq!(books(&house).await, (Money::ZERO, Money::ZERO));
}

/// A provider that nobody can reach was not paid, and its breaker opens.
#[tokio::test]
async fn an_unreachable_provider_costs_nothing() {
    let (_held, gone) = nobody();
    let house = House::with_stability_at(gone).await;
    let answer = core(&house, "a fox").await;
    assert_eq!((answer.status, answer.error().1.as_str()), (502, "providers_failed"));
    assert_eq!(answer.header("x-should-retry"), None, "it may be sent again");
    assert_eq!(books(&house).await, (Money::ZERO, Money::ZERO));
}

/// A refusal that comes while the body is still on its way is heard to its end.
#[tokio::test]
async fn a_refusal_in_the_middle_of_a_body_is_not_lost() {
    let (_held, gone) = nobody();
    let house = House::with_stability_at(gone).await;
    let mut tcp = TcpStream::connect(house.native.address()).await.unwrap();
    let head = format!(
        "POST /stability/v2beta/stable-image/generate/core HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: 400000\r\n\r\n",
        FORM.1
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    tcp.write_all(&vec![0; 100_000]).await.unwrap();
    let mut heard = Vec::new();
    tcp.read_to_end(&mut heard).await.unwrap();
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.starts_with("HTTP/1.1 502") && heard.ends_with('}'), "{heard}");
    assert_eq!(books(&house).await, (Money::ZERO, Money::ZERO));
}

/// Both ways of a call: as it streams, and from the look at it.
const WAYS: [(&str, &[(&str, &str)]); 2] =
    [("core", &[("prompt", "a fox")]), ("sd3", &[("model", "sd3.5-large"), ("prompt", "a fox")])];

/// What a provider hears: the caller's own words, the gateway's credential, and nothing of the way between them.
#[tokio::test]
async fn a_provider_hears_the_call_and_not_the_way() {
    for (route, fields) in WAYS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let house = House::with_stability_at(address).await;
        let provider = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let heard = hear(&mut tcp).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 4\r\nset-cookie: a=b\r\n\
                          x-request-id: theirs\r\n\r\n\x7fPNG";
            tcp.write_all(answer.as_bytes()).await.unwrap();
            heard
        });
        let mut wire = native(&house).await;
        let body = form(fields);
        let headers = [
            FORM,
            ("authorization", "Bearer the-callers"),
            ("cookie", "session=1"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("accept", "image/*"),
            ("accept-encoding", "gzip"),
            ("user-agent", "requests/2"),
            ("stability-client-id", "me"),
        ];
        let path = format!("/stability/v2beta/stable-image/generate/{route}?x=1");
        let answer = wire.post(&path, &headers, &body).await;
        let heard = provider.await.unwrap().to_lowercase();
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"\x7fPNG".as_slice()));
        assert_eq!((answer.header("set-cookie"), answer.header("x-request-id")), (None, Some("theirs")));
        let begins = format!("post /prefix/v2beta/stable-image/generate/{route}?x=1 http/1.1\r\n");
        assert!(heard.starts_with(&begins), "{heard}");
        for line in [
            format!("host: {address}"),
            "accept: image/*".into(),
            "accept-encoding: identity".into(),
            "user-agent: requests/2".into(),
            "stability-client-id: me".into(),
            "authorization: bearer sk-bare".into(),
            format!("content-type: {}", FORM.1.to_lowercase()),
            format!("content-length: {}", body.len()),
        ] {
            assert_eq!(heard.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}: {heard}");
        }
        for word in ["the-callers", "cookie", "x-hop", "\r\nte:", "x-forwarded", "gzip", "\r\nconnection:"] {
            assert!(!heard.contains(word), "{word} went on: {heard}");
        }
        assert!(heard.ends_with(&String::from_utf8(body).unwrap().to_lowercase()), "{heard}");
    }
}

/// However an answer tells where it ends, it is passed on whole, and the connections on both sides go on where they can.
#[tokio::test]
async fn an_answer_passes_whole_however_it_is_framed() {
    let long = "picture ".repeat(20_000);
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nPNG!".to_owned(),
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nPNG!\r\n3\r\n...\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{long}", long.len()),
        format!("HTTP/1.0 200 OK\r\n\r\n{long}"),
    ];
    let bodies = ["PNG!", "", "PNG!...", "", &long, &long];
    for (route, fields) in WAYS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let house = House::with_stability_at(listener.local_addr().unwrap()).await;
        let told = answers.clone();
        let provider = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            for answer in told {
                hear(&mut tcp).await;
                tcp.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let mut wire = native(&house).await.live();
        let path = format!("/stability/v2beta/stable-image/generate/{route}");
        for (answer, body) in answers.iter().zip(bodies) {
            let mut passed = wire.post(&path, &[FORM], &form(fields)).await;
            if passed.status == 103 {
                passed = wire.answer().await;
            }
            let head = answer.split("\r\n\r\n").next().unwrap();
            assert!(passed.status == 200 || passed.status == 204, "{route}: {head}: {}", passed.text());
            assert!(passed.body == body.as_bytes(), "{route}: {head}");
        }
        provider.await.unwrap();
    }
}

/// A call that is in hand leaves in one piece, in however many it came.
#[tokio::test]
async fn head_and_body_leave_together() {
    let (route, fields) = WAYS[1];
    let body = String::from_utf8(form(fields)).unwrap();
    let (first, second) = body.split_at(20);
    let whole = format!("content-length: {}\r\n\r\n{body}", body.len());
    let chunks = format!(
        "transfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    for framed in [whole, chunks] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let house = House::with_stability_at(listener.local_addr().unwrap()).await;
        let provider = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut first = vec![0; 64 * 1024];
            let read = tcp.read(&mut first).await.unwrap();
            tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&first[..read]).into_owned()
        });
        let path = format!("/stability/v2beta/stable-image/generate/{route}");
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\n", FORM.1);
        let mut wire = native(&house).await;
        wire.send(format!("{head}{framed}").as_bytes()).await.unwrap();
        assert_eq!(wire.answer().await.status, 200);
        let heard = provider.await.unwrap();
        assert!(heard.starts_with("POST ") && heard.ends_with(&format!("\r\n\r\n{body}")), "{heard}");
        assert_eq!(heard.matches(&format!("\r\ncontent-length: {}\r\n", body.len())).count(), 1, "{heard}");
        assert!(!heard.contains("transfer-encoding"), "{heard}");
    }
}

/// A request with its body.
async fn hear(tcp: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&heard).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return String::from_utf8(heard).unwrap();
            }
        }
        let mut more = [0; 4096];
        let read = tcp.read(&mut more).await.unwrap();
        assert!(read > 0, "the call broke off: {text}");
        heard.extend_from_slice(&more[..read]);
    }
}

/// A caller that leaves in the middle of its body has bought nothing; one that leaves after it has.
#[tokio::test]
async fn a_caller_that_leaves_pays_for_what_was_heard() {
    let house = House::open().await;
    let mut wire = native(&house).await;
    let image = vec![0_u8; 300_000];
    let head = format!(
        "POST /stability/v2beta/stable-image/generate/core HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
        FORM.1, 400_000
    );
    wire.send(head.as_bytes()).await.unwrap();
    wire.send(&image).await.unwrap();
    drop(wire);
    assert_eq!(books(&house).await, (Money::ZERO, Money::ZERO));

    for (route, fields) in WAYS {
        let house = House::open().await;
        let mut wire = native(&house).await;
        let body = form(fields);
        let head = format!(
            "POST /stability/v2beta/stable-image/generate/{route} HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
            FORM.1,
            body.len()
        );
        wire.send(&[head.as_bytes(), &body].concat()).await.unwrap();
        while billed(&house).await == Money::ZERO {
            // The sandbox bills when it answers; until then the call is under way.
            if house.metric("tollgate_requests_in_flight{route=\"proxy\"}").await == Some(1.0) {
                break;
            }
        }
        drop(wire);
        let (settled, doubt) = books(&house).await;
        assert!(settled > Money::ZERO && doubt == Money::ZERO, "{route}: it was seen to its end");
        assert_eq!(settled, billed(&house).await, "{route}");
    }
}

/// A body longer than what is looked at passes whole, whatever the pieces it comes in.
#[tokio::test]
async fn long_bodies_pass_whole() {
    for size in [1_000, 60_000, 65_536, 66_000, 80_000, 130_000, 1_000_000] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let house = House::with_stability_at(listener.local_addr().unwrap()).await;
        let provider = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let heard = hear_bytes(&mut tcp).await;
            tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            heard
        });
        let mut wire = native(&house).await;
        let mut body = form(&[("model", "sd3.5-large"), ("prompt", "a fox")]);
        body.truncate(body.len() - "--B--\r\n".len());
        body.extend_from_slice(b"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n");
        body.extend((0..size).map(|at| u8::try_from(at % 251).unwrap()));
        body.extend_from_slice(b"\r\n--B--\r\n");
        let answer = wire.post("/stability/v2beta/stable-image/generate/sd3", &[FORM], &body).await;
        assert_eq!(answer.status, 200, "{size}: {}", answer.text());
        assert!(provider.await.unwrap() == body, "{size} bytes came out otherwise");
    }
}

async fn hear_bytes(tcp: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut more = vec![0; 64 * 1024];
    loop {
        let read = tcp.read(&mut more).await.unwrap();
        assert!(read > 0, "the call broke off");
        heard.extend_from_slice(&more[..read]);
        let Some(end) = heard.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&heard[..end]).to_lowercase();
        let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
        if heard.len() >= end + 4 + length {
            return heard.split_off(end + 4);
        }
    }
}

/// A provider's limits bind the pass-through as they bind everything.
#[tokio::test]
async fn limits_are_shared() {
    let limits = |policy: String| {
        policy.replace(
            "limits = [{ units = 140, unit = \"requests\", per = \"10s\", burst = 6 }]",
            "limits = [{ units = 2, unit = \"requests\", per = \"1h\", burst = 2 }]",
        )
    };
    let house = House::with(Bounds::default(), limits).await;
    assert_eq!(core(&house, "one").await.status, 200);
    assert_eq!(core(&house, "two").await.status, 200);
    let third = core(&house, "three").await;
    assert_eq!((third.status, third.error().1.as_str()), (503, "quota_exhausted"));
    assert_eq!(third.header("retry-after"), Some("120"));
    assert_eq!(billed(&house).await, Money::from_micros(60_000));
}

/// A price that was decided on the beginning of a body is not undone by its end.
#[tokio::test]
async fn a_body_that_takes_back_its_model_is_not_sent_to_its_end() {
    let house = House::open().await;
    let mut body = form(&[("model", "sd3.5-medium"), ("prompt", "a fox")]);
    body.truncate(body.len() - "--B--\r\n".len());
    body.extend_from_slice(b"--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n");
    body.extend(std::iter::repeat_n(b'x', 500_000));
    body.extend_from_slice(
        b"\r\n--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsd3.5-large\r\n--B--\r\n",
    );
    let path = "/stability/v2beta/stable-image/generate/sd3";
    let answer = native(&house).await.post(path, &[FORM], &body).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("comes a second time"), "{}", answer.text());
    assert_eq!(books(&house).await, (Money::ZERO, Money::ZERO));
    assert_eq!(billed(&house).await, Money::ZERO);
}

/// A cap on money holds here as everywhere.
#[tokio::test]
async fn budgets_are_shared() {
    let cap = "\n[[budget]]\nname = \"pocket\"\nusd = 0.05\nper = \"ever\"\n";
    let house = House::with(Bounds::default(), |policy| policy + cap).await;
    assert_eq!(core(&house, "one").await.status, 200);
    books(&house).await;
    let second = core(&house, "two").await;
    assert_eq!((second.status, second.error().1.as_str()), (402, "budget_exhausted"), "{}", second.text());
    assert_eq!(billed(&house).await, Money::from_micros(30_000));
}
