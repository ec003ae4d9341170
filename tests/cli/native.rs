//! The native pass-through of the real binary: its memory, and its listeners' way to a new binary.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::support::{PATIENCE, Serving, folder, tollgate};

const MIB: usize = 1024 * 1024;
const CALL: &str = "/stability/v2beta/stable-image/upscale/conservative";

/// A gateway on the shipped policy with the pass-through on, and Stability at `stability`.
pub(super) fn gateway(folder: tempfile::TempDir, stability: &str, ports: [u16; 3], more: &[&str]) -> Serving {
    let policy = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default.toml")).unwrap();
    let unlimited = "limits = [{ units = 140, unit = \"requests\", per = \"10s\", burst = 6 }]\n";
    assert!(policy.contains(unlimited));
    let on = policy.replace(unlimited, "").replace("\n[defaults]", "\n[proxy]\non = true\n\n[defaults]");
    std::fs::write(folder.path().join("policy.toml"), on).unwrap();
    let mut command = tollgate(folder.path());
    command.env("TOLLGATE_PROVIDERS__STABILITY__BASE_URL", stability);
    command.env("TOLLGATE_PROVIDERS__STABILITY__KEY", "sk-test-unlimited");
    command.env("TOLLGATE_LEDGER__DURABILITY", "process");
    let [api, admin, proxy] = ports.map(|port| format!("127.0.0.1:{port}"));
    command.args(["serve", "--policy", "policy.toml", "--listen", &api, "--admin", &admin, "--proxy", &proxy]);
    command.args(more);
    Serving::start(command, folder, 3)
}

/// Peak and present memory of a process, in bytes.
fn memory(child: &Child) -> (usize, usize) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    };
    (of("VmHWM:"), of("VmRSS:"))
}

/// The head of a form with an image of `length` bytes, and what follows the image.
fn upload(host: SocketAddr, length: usize) -> (String, &'static str) {
    let before = "--B\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na fox\r\n\
                  --B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n";
    let after = "\r\n--B--\r\n";
    let head = format!(
        "POST {CALL} HTTP/1.1\r\nhost: {host}\r\ncontent-type: multipart/form-data; boundary=B\r\nauthorization: Bearer x\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{before}",
        before.len() + length + after.len()
    );
    (head, after)
}

/// Reads `n` bytes or to the end.
fn drain(tcp: &mut TcpStream, mut n: usize) -> usize {
    let (mut scratch, mut all) = (vec![0; 256 * 1024], 0);
    while n > 0 {
        let most = n.min(scratch.len());
        match tcp.read(&mut scratch[..most]).unwrap() {
            0 => break,
            read => {
                n -= read;
                all += read;
            }
        }
    }
    all
}

/// A provider that takes nothing until `callers` wait, then everything, and answers with a picture of a MiB.
fn patient_provider(callers: usize) -> (SocketAddr, thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let waiting: Vec<TcpStream> = (0..callers).map(|_| listener.accept().unwrap().0).collect();
        // Every buffer on the way is full by now, or will be before anything is taken out of it.
        let serving: Vec<_> = waiting.into_iter().map(|tcp| thread::spawn(move || swallow(tcp))).collect();
        serving.into_iter().map(|one| one.join().unwrap()).sum()
    };
    (address, thread::spawn(serve))
}

fn swallow(mut tcp: TcpStream) -> usize {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
    let heard = drain(&mut tcp, length);
    write!(tcp, "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {MIB}\r\n\r\n").unwrap();
    tcp.write_all(&vec![0x89; MIB]).unwrap();
    heard
}

/// 640 MiB on their way at once, and the gateway holds next to nothing of them.
#[test]
fn sixty_four_bodies_of_ten_mib_are_not_held() {
    const CALLERS: usize = 64;
    let (provider, swallowed) = patient_provider(CALLERS);
    let gateway = gateway(folder(), &format!("http://{provider}"), [0, 0, 0], &[]);
    let proxy = gateway.proxy.unwrap();
    let (_, before) = memory(&gateway.child);
    let call = move || {
        let (head, after) = upload(proxy, 10 * MIB);
        let mut tcp = TcpStream::connect(proxy).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.write_all(head.as_bytes()).unwrap();
        let piece = vec![7; 64 * 1024];
        (0..160).for_each(|_| tcp.write_all(&piece).unwrap());
        tcp.write_all(after.as_bytes()).unwrap();
        drain(&mut tcp, usize::MAX)
    };
    let callers: Vec<_> = (0..CALLERS).map(|_| thread::spawn(call)).collect();
    let came: usize = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
    assert!(came > CALLERS * MIB, "{came}");
    assert!(swallowed.join().unwrap() > CALLERS * 10 * MIB);
    let (peak, _) = memory(&gateway.child);
    let growth = peak.saturating_sub(before) / MIB;
    println!("64 bodies of 10 MiB: the gateway grew by {growth} MiB");
    assert!(growth <= 80, "the gateway grew by {growth} MiB");
}

/// A provider that answers every call at once with a small picture, on as many connections as come.
fn quick_provider() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let counted = Arc::clone(&counted);
            thread::spawn(move || answer_all(tcp.unwrap(), &counted));
        }
    });
    (address, calls)
}

fn answer_all(mut tcp: TcpStream, calls: &AtomicUsize) {
    let mut unread = Vec::new();
    while let Some(length) = request(&mut tcp, &mut unread) {
        let body = length.saturating_sub(unread.len().min(length));
        unread.drain(..length.min(unread.len()));
        drain(&mut tcp, body);
        // A call takes its time, so that some are under way whenever something ends.
        thread::sleep(Duration::from_millis(20));
        calls.fetch_add(1, Ordering::Relaxed);
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 4\r\n\r\n\u{7f}PNG";
        if tcp.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The length of the next message's body; `None` at the end. What came of the body stays in `unread`.
fn request(tcp: &mut TcpStream, unread: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = unread.drain(..end + 4).collect();
            let head = String::from_utf8(head).unwrap().to_lowercase();
            return Some(
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0),
            );
        }
        let mut more = [0; 16 * 1024];
        match tcp.read(&mut more) {
            Ok(0) | Err(_) => return None,
            Ok(read) => unread.extend_from_slice(&more[..read]),
        }
    }
}

/// Calls one after the other until told to stop; counts those that were answered, and tells of the first that was not.
pub(super) fn caller(
    address: SocketAddr,
    call: String,
    fresh: bool,
    stop: Arc<AtomicBool>,
) -> thread::JoinHandle<usize> {
    thread::spawn(move || {
        let mut answered = 0;
        let mut connection: Option<TcpStream> = None;
        while !stop.load(Ordering::Relaxed) {
            let mut tcp = connection.take().unwrap_or_else(|| TcpStream::connect(address).expect("never refused"));
            tcp.set_read_timeout(Some(PATIENCE)).unwrap();
            tcp.write_all(call.as_bytes()).expect("never cut off");
            let (status, last) = whole_answer(&mut tcp).unwrap_or_else(|| panic!("cut off after {answered} answers"));
            assert_eq!(status, 200, "after {answered} answers");
            answered += 1;
            connection = (!fresh && !last).then_some(tcp);
        }
        answered
    })
}

/// The status of an answer that came whole, and whether it is the connection's last.
pub(super) fn whole_answer(tcp: &mut TcpStream) -> Option<(u16, bool)> {
    let mut answer = Vec::new();
    loop {
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
            let left = (end + 4 + length).saturating_sub(answer.len());
            if drain(tcp, left) < left {
                return None;
            }
            let status = head.split(' ').nth(1)?.parse().ok()?;
            return Some((status, head.lines().any(|line| line == "connection: close")));
        }
        let mut more = [0; 16 * 1024];
        match tcp.read(&mut more).ok()? {
            0 => return None,
            read => answer.extend_from_slice(&more[..read]),
        }
    }
}

/// A new binary takes the listeners over under steady load, on old connections and on new ones, on every plane.
#[test]
fn a_new_binary_takes_over_and_nobody_notices() {
    let (provider, calls) = quick_provider();
    let mut old = gateway(folder(), &format!("http://{provider}"), [0, 0, 0], &["--data", "data"]);
    let (api, admin, proxy) = (old.api, old.admin, old.proxy.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let get = |path: &str, host: SocketAddr| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let form = "--B\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na fox\r\n--B--\r\n";
    let paid = format!(
        "POST /stability/v2beta/stable-image/generate/core HTTP/1.1\r\nhost: {proxy}\r\n\
         content-type: multipart/form-data; boundary=B\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    let mut callers = Vec::new();
    for fresh in [false, true] {
        for (address, call) in [
            (api, get("/v1/models", api)),
            (admin, get("/healthz", admin)),
            (proxy, paid.clone()),
            (proxy, paid.clone()),
        ] {
            callers.push(caller(address, call, fresh, Arc::clone(&stop)));
        }
    }
    let until = |least: usize| {
        super::support::until("the load", || calls.load(Ordering::Relaxed) >= least);
    };
    until(50);
    // The new one runs in the old one's folder, on its ports and books.
    let place = std::mem::replace(&mut old.folder, folder());
    let here = place.path().to_owned();
    let ports = [api, admin, proxy].map(|address| address.port());
    let new = gateway(place, &format!("http://{provider}"), ports, &["--data", "data", "--take-over"]);
    assert_eq!((new.api, new.admin, new.proxy), (api, admin, Some(proxy)));
    assert_eq!(old.ended(), 0, "the old one ended well");
    let so_far = calls.load(Ordering::Relaxed);
    until(so_far + 50);
    stop.store(true, Ordering::Relaxed);
    let answered: Vec<usize> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    println!("0 refused, 0 cut of {} calls, {answered:?}", answered.iter().sum::<usize>());
    assert!(answered.iter().all(|count| *count > 10), "{answered:?}");
    assert_eq!(settled(&here, &new), calls.load(Ordering::Relaxed) * 30_000, "every call is in one ledger, once");
}

/// Charged, in micro-dollars, once nothing is under way.
pub(super) fn settled(here: &Path, gateway: &Serving) -> usize {
    super::support::until("the books", || {
        super::support::get(gateway.admin, "/metrics").1.contains("tollgate_requests_in_flight{route=\"proxy\"} 0")
    });
    let sql = "SELECT coalesce(sum(charged), 0), sum(state IN ('held', 'ambiguous')) + \
        (SELECT count(first_held) FROM generation) FROM attempt";
    let mut sums = (0, 1);
    super::support::until("the last row", || {
        let path = here.join("data/tollgate.db");
        let read = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        sums = read.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap();
        sums.1 == 0
    });
    usize::try_from(sums.0).unwrap()
}
