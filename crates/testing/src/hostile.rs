//! Hostile input for every parameter of an API, and its exchange byte by byte.

use std::net::SocketAddr;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::WAIT_LIMIT;

#[derive(Deserialize)]
pub struct Corpus {
    pub values: std::collections::BTreeMap<String, Vec<String>>,
    #[serde(rename = "long values")]
    pub long: Vec<Input>,
    pub bodies: Vec<Input>,
    pub targets: Vec<String>,
    pub requests: Vec<String>,
}

/// `text` repeated, then `then` repeated, then `end`; or bytes.
#[derive(Deserialize)]
pub struct Input {
    #[serde(default)]
    text: String,
    #[serde(default = "once")]
    times: usize,
    #[serde(default)]
    then: String,
    #[serde(default)]
    then_times: usize,
    #[serde(default)]
    end: String,
    hex: Option<String>,
}

fn once() -> usize {
    1
}

impl Input {
    pub fn bytes(&self) -> Vec<u8> {
        if let Some(digits) = &self.hex {
            return hex::decode(digits).unwrap();
        }
        format!("{}{}{}", self.text.repeat(self.times), self.then.repeat(self.then_times), self.end).into_bytes()
    }
}

impl Corpus {
    pub fn read() -> Self {
        let corpus: Self = serde_json::from_str(include_str!("../hostile_input.json")).unwrap();
        let inputs = corpus.values().len() + corpus.bodies.len() + corpus.targets.len() + corpus.requests.len();
        assert!(inputs >= 300, "{inputs}");
        corpus
    }

    pub fn values(&self) -> Vec<String> {
        let long = self.long.iter().map(|input| String::from_utf8(input.bytes()).unwrap());
        self.values.values().flatten().cloned().chain(long).collect()
    }
}

/// Percent-encodes every byte with a special meaning; dots too, which clients remove from paths.
pub fn encoded(text: &str) -> String {
    let one =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// Reads the whole answer, or the beginning of an event stream. After `raw` bytes the write side is closed, since the server may wait for more.
pub async fn exchange(address: SocketAddr, request: &[u8], raw: bool) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    let exchange = async {
        // The server may refuse, or reset, before everything is sent.
        let _ = socket.write_all(request).await;
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = socket.read(&mut chunk).await {
            answer.extend_from_slice(&chunk[..read]);
            if raw {
                let _ = socket.shutdown().await;
            }
            let text = String::from_utf8_lossy(&answer);
            if text.contains("text/event-stream")
                && text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.contains("\n\n"))
            {
                break;
            }
        }
    };
    timeout(WAIT_LIMIT, exchange).await.unwrap_or_else(|_| panic!("endless: {}", String::from_utf8_lossy(request)));
    answer
}
