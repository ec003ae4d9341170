//! A call as an HTTP request.
//!
//! Why it exists: the one place that writes a credential into anything, and that knows whether a request began to leave.
//! What it refuses to know: where the request goes, and what comes back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use reqwest::multipart::{Form, Part as FormPart};
use reqwest::{Client, Request, RequestBuilder};
use url::Url;

use super::Secret;
use crate::provider::{Auth, Body, Call, Method, Part};
use crate::telemetry::trace;

/// Whether any byte of a request may have left.
#[derive(Clone, Debug, Default)]
pub(super) struct Begun(Arc<AtomicBool>);

impl Begun {
    /// False only when nothing was sent for certain.
    pub(super) fn maybe(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Writes `call` for `url`, with `credential` when the call is for the provider itself.
pub(super) fn request(
    client: &Client,
    url: Url,
    call: &Call,
    credential: Option<&Secret>,
    begun: &Begun,
) -> reqwest::Result<Request> {
    let method = match call.method {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
    };
    let mut builder = client.request(method, url);
    for (name, value) in &call.headers {
        builder = builder.header(*name, value);
    }
    if let Some(traceparent) = trace::traceparent() {
        builder = builder.header("traceparent", traceparent);
    }
    if let Some(credential) = credential {
        builder = authorize(builder, call.auth, credential.reveal());
    }
    builder = match &call.body {
        Body::Empty => builder,
        Body::Json(json) => builder.header(CONTENT_TYPE, "application/json").body(json.clone()),
        Body::Multipart(parts) => builder.multipart(form(parts)?),
    };
    let mut request = builder.build()?;
    match request.body_mut().take() {
        Some(body) => *request.body_mut() = Some(reqwest::Body::wrap(Watched { body, begun: begun.clone() })),
        // With no body there is nothing to watch.
        None => begun.set(),
    }
    Ok(request)
}

fn authorize(builder: RequestBuilder, auth: Auth, credential: &str) -> RequestBuilder {
    match auth {
        Auth::None => builder,
        Auth::Basic => {
            let (user, password) = credential.split_once(':').unwrap_or((credential, ""));
            builder.basic_auth(user, Some(password))
        }
        Auth::Bearer => builder.bearer_auth(credential),
        Auth::Header(name) => match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(credential)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                builder.header(name, value)
            }
            // The builder keeps the error, which does not show the credential.
            _ => builder.header(name, credential),
        },
    }
}

/// Names are ours and plain, so they are written as they are; every length is known, so the body is not chunked.
fn form(parts: &[Part]) -> reqwest::Result<Form> {
    let mut form = Form::new().percent_encode_noop();
    for part in parts {
        let mut field = FormPart::stream_with_length(part.bytes.clone(), part.bytes.len() as u64);
        if let Some(file_name) = part.file_name {
            field = field.file_name(file_name);
        }
        if let Some(media_type) = part.media_type {
            field = field.mime_str(media_type)?;
        }
        form = form.part(part.name, field);
    }
    Ok(form)
}

/// A body that tells when it is first asked for. hyper asks for it in the turn in which it writes the request's head,
/// before it flushes anything: a body that was never asked for belongs to a request that never left.
struct Watched {
    body: reqwest::Body,
    begun: Begun,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<reqwest::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        this.begun.set();
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
