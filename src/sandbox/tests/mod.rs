//! Black-box tests of every simulated provider, over real sockets.

mod automatic1111;
mod comfyui;
mod control;
mod google;
mod ideogram;
mod openai;
mod stability;

use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::net::TcpListener;

use super::picture::dimensions;
use super::{Options, Sandbox};

/// A running sandbox and a client for it.
struct Bed {
    sandbox: Sandbox,
    http: reqwest::Client,
}

impl Bed {
    /// Fast enough that no latency is felt.
    async fn new() -> Self {
        Self::at_speed(100_000.0).await
    }

    async fn at_speed(speed: f64) -> Self {
        // Only the first of the tests in this process installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sandbox = Sandbox::start(listener, Options { seed: 7, speed }).await.unwrap();
        Self { sandbox, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.sandbox.addr()))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        request.body(body.to_string())
    }

    async fn calls(&self) -> Vec<Value> {
        let calls = json(self.get("/_sandbox/calls").send().await.unwrap()).await;
        calls.as_array().unwrap().clone()
    }

    async fn billed(&self) -> u64 {
        self.calls().await.iter().map(|call| call["billed_micro_usd"].as_u64().unwrap()).sum()
    }

    async fn plan(&self, faults: Value) {
        let planned = self.request(Method::PUT, "/_sandbox/faults").body(faults.to_string()).send().await;
        assert_eq!(planned.unwrap().status(), 200);
    }
}

async fn json(response: Response) -> Value {
    let bytes = response.bytes().await.unwrap();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {:?}", bytes.get(..200)))
}

/// The status and the body of an answer.
async fn answered(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), json(response).await)
}

fn form(fields: &[(&str, &str)]) -> Form {
    fields.iter().fold(Form::new(), |form, (name, value)| form.text((*name).to_owned(), (*value).to_owned()))
}

fn png(bytes: Vec<u8>) -> Part {
    Part::bytes(bytes).file_name("picture.png").mime_str("image/png").unwrap()
}

fn size(bytes: &[u8]) -> (u32, u32) {
    dimensions(bytes).expect("a picture")
}

fn decoded(base64: &Value) -> Vec<u8> {
    super::wire::from_base64(base64.as_str().unwrap()).unwrap()
}
