//! A load generator on bare sockets, so that it costs little beside what it measures.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// A request to repeat: `{n}` in the body becomes a number that no other request has.
#[derive(Clone)]
pub(crate) struct Shot {
    pub(crate) path: String,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Shot {
    fn bytes(&self, number: u64) -> Vec<u8> {
        let number = number.to_string();
        let body = self.body.replace("{n}", &number);
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n{}\r\n",
            self.path,
            body.len(),
            self.headers.replace("{n}", &number)
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

/// What a run of requests gave.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) count: u64,
    pub(crate) failed: u64,
    /// The first bad answer.
    pub(crate) sample: String,
    /// Bytes of an answer's body, in the mean.
    pub(crate) image_bytes: f64,
    latencies: Vec<f64>,
}

impl Done {
    /// In milliseconds.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (share * sorted.len() as f64) as usize;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }

    fn add(&mut self, other: Self) {
        let bytes = self.image_bytes * self.count as f64 + other.image_bytes * other.count as f64;
        self.count += other.count;
        self.failed += other.failed;
        self.image_bytes = bytes / (self.count.max(1)) as f64;
        self.latencies.extend(other.latencies);
        if self.sample.is_empty() {
            self.sample = other.sample;
        }
    }
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Ways to fire.
pub(crate) struct Load;

impl Load {
    /// Every caller fires again as soon as it is answered.
    pub(crate) async fn closed(to: SocketAddr, shot: &Shot, callers: usize, span: Duration) -> Done {
        let end = Instant::now() + span;
        Self::together(
            (0..callers).map(|_| caller(to, shot.clone(), move |_| (Instant::now() < end).then(Instant::now))),
        )
        .await
    }

    /// `rate` requests a second fall due, whether or not earlier ones are answered. Each caller has a thread, whose sleep
    /// ends when it should; the runtime's would end at its clock's next millisecond.
    pub(crate) fn open(to: SocketAddr, shot: &Shot, rate: u32, span: Duration) -> Done {
        let (start, callers) = (Instant::now() + Duration::from_millis(20), 32_u32);
        let due = move |caller: u32, turn: u32| {
            let due = start + Duration::from_secs(1) / rate * (turn * callers + caller);
            (due < start + span).then_some(due)
        };
        let fire = |at| {
            let shot = shot.clone();
            std::thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(caller(to, shot, |turn| due(at, turn)))
            })
        };
        let threads: Vec<_> = (0..callers).map(fire).collect();
        let mut all = Done::default();
        for thread in threads {
            all.add(thread.join().expect("a caller"));
        }
        all
    }

    async fn together(callers: impl Iterator<Item = impl Future<Output = Done> + 'static>) -> Done {
        let local = LocalSet::new();
        let handles: Vec<_> = callers.map(|caller| local.spawn_local(caller)).collect();
        local.await;
        let mut all = Done::default();
        for handle in handles {
            all.add(handle.await.expect("a caller"));
        }
        all
    }
}

async fn caller(to: SocketAddr, shot: Shot, due: impl Fn(u32) -> Option<Instant>) -> Done {
    let mut done = Done::default();
    let mut stream = TcpStream::connect(to).await.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let mut buffer = vec![0; 256 << 10];
    for turn in 0.. {
        let Some(due) = due(turn) else { break };
        // A caller that has something to wait for has a thread of its own.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let bytes = shot.bytes(NUMBER.fetch_add(1, Ordering::Relaxed));
        stream.write_all(&bytes).await.expect("sent");
        let (ok, length, head) = answer(&mut stream, &mut buffer).await;
        done.latencies.push(due.elapsed().as_secs_f64() * 1e3);
        done.image_bytes += length as f64;
        done.count += 1;
        if !ok {
            done.failed += 1;
            done.sample = head;
        }
    }
    done.image_bytes /= done.count.max(1) as f64;
    done
}

/// Reads one answer with a content length; whether it is a 200, the length of its body, its head.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> (bool, usize, String) {
    let mut filled = 0;
    let head = loop {
        let read = stream.read(&mut buffer[filled..]).await.expect("an answer");
        assert!(read > 0, "the connection was closed");
        filled += read;
        if let Some(end) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
    let length: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or_else(|| panic!("no length: {text}"));
    let ok = text.starts_with("http/1.1 200");
    let mut sample = text;
    if !ok {
        sample.push_str(&String::from_utf8_lossy(&buffer[head..filled]));
    }
    let mut left = length - (filled - head);
    while left > 0 {
        let most = buffer.len().min(left);
        let read = stream.read(&mut buffer[..most]).await.expect("a body");
        assert!(read > 0, "the body was cut");
        left -= read;
    }
    (ok, length, sample)
}
