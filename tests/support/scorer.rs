//! A scorer of pictures in this process, for verifiers of `kind = "http"`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Answers every call with this score: its port, and how many it has answered.
pub(crate) async fn scores(score: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, heard) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut got = Vec::new();
            let mut buffer = vec![0; 65_536];
            loop {
                let head = got.windows(4).position(|end| end == b"\r\n\r\n");
                let length = head.and_then(|at| {
                    let text = String::from_utf8_lossy(&got[..at]).to_lowercase();
                    Some(at + 4 + text.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?)
                });
                if length.is_some_and(|length| got.len() >= length) {
                    break;
                }
                match socket.read(&mut buffer).await {
                    Ok(read) if read > 0 => got.extend_from_slice(&buffer[..read]),
                    _ => return,
                }
            }
            counted.fetch_add(1, Ordering::Relaxed);
            let body = format!("{{\"score\":{score}}}");
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    (port, heard)
}
