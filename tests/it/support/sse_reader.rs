//! Reads an event stream byte by byte, so that tests compare what is on the wire.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::time::timeout;

use super::WAIT_LIMIT;

/// One message: its four lines, split without any parser that the program or its clients use.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub id: String,
    pub event: String,
    pub data: String,
}

impl Message {
    /// Parses exactly the four lines of the contract, in its order.
    fn of(frame: &str) -> Self {
        let lines: Vec<&str> = frame.split('\n').collect();
        let [id, event, retry, data] = lines.as_slice() else { panic!("not four lines: {frame:?}") };
        assert_eq!(*retry, "retry: 5000");
        let value = |line: &str, name: &str| line.strip_prefix(name).unwrap_or_else(|| panic!("{line:?}")).to_owned();
        // In the feed, the position precedes the event's own id.
        uuid::Uuid::parse_str(value(id, "id: ").rsplit('.').next().unwrap()).unwrap();
        Self { id: value(id, "id: "), event: value(event, "event: "), data: value(data, "data: ") }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    /// The text of the message.
    pub fn text(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

pub struct Reader {
    pub status: u16,
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: Vec<u8>,
    /// Comments between the messages.
    pub comments: Vec<String>,
}

impl Reader {
    pub async fn open(request: RequestBuilder) -> Self {
        let response: Response = timeout(WAIT_LIMIT, request.send()).await.expect("an answer in time").unwrap();
        let status = response.status().as_u16();
        Self { status, bytes: response.bytes_stream().boxed(), buffer: Vec::new(), comments: Vec::new() }
    }

    /// The next block up to a blank line; none when the stream ended cleanly between two blocks.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8(block[..end].to_vec()).unwrap());
            }
            let Some(bytes) = timeout(WAIT_LIMIT, self.bytes.next()).await.expect("something to read in time") else {
                assert!(self.buffer.is_empty(), "ended within a message: {:?}", self.buffer);
                return None;
            };
            self.buffer.extend_from_slice(&bytes.expect("the stream does not break"));
        }
    }

    /// The next comment, without its colon.
    pub async fn comment(&mut self) -> String {
        let block = self.block().await.expect("a comment");
        block.strip_prefix(": ").unwrap_or_else(|| panic!("no comment: {block:?}")).to_owned()
    }

    /// The next message, or none at the end of the stream. Comments are collected in `comments`.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            let block = self.block().await?;
            match block.strip_prefix(": ") {
                Some(comment) => self.comments.push(comment.to_owned()),
                None => return Some(Message::of(&block)),
            }
        }
    }

    /// The next `n` messages.
    pub async fn take(&mut self, n: usize) -> Vec<Message> {
        let mut messages = Vec::with_capacity(n);
        while messages.len() < n {
            messages.push(self.next().await.unwrap_or_else(|| panic!("ended after {messages:?}")));
        }
        messages
    }

    /// All messages until the server ends the stream.
    pub async fn rest(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            messages.push(message);
        }
        messages
    }
}

pub fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(Message::text).collect()
}
