//! An exchange with a provider when all of the request is in hand.
//!
//! Why it exists: most calls are a few lines of JSON, which were looked at already. Pingora's own way sends head and body
//! apart, and copies every piece of the answer between two tasks; from here a call leaves in one packet, and an answer is
//! written from where it was read. Connections, TLS and HTTP are Pingora's all the same. What it refuses to know: prices,
//! and bodies that still come.

use bytes::{BufMut as _, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{StatusCode, Version};
use pingora::connectors::TransportConnector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::protocols::http::v1::server::HttpSession as CallerSession;
use pingora::proxy::Session;
use pingora::upstreams::peer::{HttpPeer, Peer as _};
use pingora::{Error, ErrorType, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::address::origin;
use super::credential;
use super::journey::{Journey, internal};
use super::proxy::Passthrough;

/// Most heads are no longer than this.
const HEAD: usize = 1024;

impl Passthrough {
    /// Sends the call with this body, and passes its answer on.
    pub(super) async fn exchange(&self, session: &mut Session, journey: &mut Journey, body: &[u8]) -> Result<()> {
        let peer = self.peer(journey).await?;
        let wire = written(session.req_header(), journey, body)?;
        let mut stream = match self.lines.reused_stream(&peer).await {
            Some(stream) => stream,
            // Boxed: it is long, seldom needed, and would be moved about with every call.
            None => Box::pin(self.lines.new_stream(&peer)).await.map_err(Error::into_up)?,
        };
        (journey.sent, journey.complete) = (true, true);
        send(&mut stream, &wire, &peer).await.map_err(Error::into_up)?;
        let mut provider = HttpSession::new_with_options(stream, &peer);
        provider.read_timeout = peer.options.read_timeout;
        let ServerSession::H1(caller) = session.as_downstream_mut() else {
            return Err(internal("the caller does not speak HTTP/1"));
        };
        let mut head = answer(&mut provider, caller).await?;
        let framed = |name| head.headers.contains_key(name);
        if !provider.is_body_done() && !framed(header::CONTENT_LENGTH) && !framed(header::TRANSFER_ENCODING) {
            // It ends with its connection; the caller's goes on.
            head.set_version(Version::HTTP_11);
            head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        journey.answered(&mut head)?;
        caller.write_response_header(head).await.map_err(Error::into_down)?;
        while !provider.is_body_done() {
            match provider.read_body_ref().await.map_err(Error::into_up)? {
                // The last chunk of a body is the empty one.
                Some([]) => {}
                Some(piece) => {
                    journey.answer.feed(piece);
                    caller.write_body(piece).await.map_err(Error::into_down)?;
                }
                None => break,
            }
        }
        caller.finish_body().await.map_err(Error::into_down)?;
        provider.respect_keepalive();
        if let Some(stream) = provider.reuse().await {
            self.lines.release_stream(stream, peer.reuse_hash(), peer.idle_timeout());
        }
        Ok(())
    }
}

/// Idle connections to providers, and new ones.
pub(super) type Lines = TransportConnector;

async fn send(stream: &mut Stream, wire: &[u8], peer: &HttpPeer) -> Result<()> {
    let writing = async {
        stream.write_all(wire).await?;
        stream.flush().await
    };
    let written = match peer.options.write_timeout {
        Some(patience) => timeout(patience, writing).await.map_err(|_| Error::new(ErrorType::WriteTimedout))?,
        None => writing.await,
    };
    written.map_err(|error| Error::because(ErrorType::WriteError, "sending a call", error))
}

/// The head of the answer; what is said before it is passed on.
async fn answer(provider: &mut HttpSession, caller: &mut CallerSession) -> Result<Box<ResponseHeader>> {
    loop {
        provider.read_response().await.map_err(Error::into_up)?;
        let head = provider.resp_header().ok_or_else(|| internal("no head was read"))?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let unasked = Error::explain(ErrorType::InvalidHTTPHeader, "nobody asked for another protocol");
            return Err(unasked.into_up());
        }
        let head = Box::new(head.clone());
        if !head.status.is_informational() {
            return Ok(head);
        }
        caller.write_response_header(head).await.map_err(Error::into_down)?;
    }
}

/// The call as it leaves.
fn written(head: &RequestHeader, journey: &Journey, body: &[u8]) -> Result<BytesMut> {
    let (way, endpoint) = journey.way()?;
    let (authority, _) = endpoint.base_url.url().map(origin).ok_or_else(|| internal("no address"))?;
    let mut wire = BytesMut::with_capacity(HEAD + body.len());
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| wire.put_slice(part));
    let (method, target) = (head.method.as_str().as_bytes(), way.target.as_bytes());
    put(&[method, b" ", target, b" HTTP/1.1\r\nhost: ", authority.as_bytes(), b"\r\n"]);
    let mut announced = !body.is_empty();
    for (name, value) in &head.headers {
        announced |= *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING;
        let packed = way.metered && *name == header::ACCEPT_ENCODING;
        if !packed && !stays(name) && !credential::is_callers(name) && !is_nominated(&head.headers, name) {
            put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
    }
    if way.metered {
        // An answer that is packed cannot be read on its way.
        put(&[b"accept-encoding: identity\r\n"]);
    }
    let ours = credential::header(way.auth, endpoint.credential.as_ref());
    if let Some((name, value)) = ours.map_err(|()| internal("the credential cannot stand in a header"))? {
        put(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    if announced {
        put(&[b"content-length: ", body.len().to_string().as_bytes(), b"\r\n"]);
    }
    put(&[b"\r\n", body]);
    Ok(wire)
}

/// What speaks of one connection, or is written anew for the next.
fn stays(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "expect"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether `Connection` says that it speaks of one connection.
fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    let names =
        headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.into_iter().any(|named| named.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}
