//! Event streams, read without any parser that the program or its clients use.
//!
//! [`Blocks`] splits bytes, [`EventStream`] reads one connection leniently, [`Reader`] accepts only the contract's four lines, [`Follower`] reconnects with the
//! id of the last event, as a browser does, and [`RestlessClient`] also leaves at any byte.

mod follower;
mod restless;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::time::timeout;

use crate::WAIT_LIMIT;
pub use follower::{Follower, Service};
pub use restless::{Addresses, Expected, Followed, RestlessClient};

/// Splits a stream's bytes at blank lines.
#[derive(Debug, Default)]
pub struct Blocks(Vec<u8>);

impl Blocks {
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next complete block, without the blank line.
    pub fn next(&mut self) -> Option<String> {
        let end = self.0.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = self.0.drain(..end + 2).collect();
        Some(String::from_utf8(block[..end].to_vec()).unwrap())
    }

    /// True unless it ended within a block.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The text behind `name: ` in the first line that has it.
pub fn field<'a>(block: &'a str, name: &str) -> Option<&'a str> {
    block.split('\n').find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// One connection of a reader that does not examine messages.
pub struct EventStream {
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    blocks: Blocks,
}

impl EventStream {
    pub fn of(response: Response) -> Self {
        Self { bytes: response.bytes_stream().boxed(), blocks: Blocks::default() }
    }

    /// The next block with an id; none when the connection has ended or is broken.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            while let Some(block) = self.blocks.next() {
                if field(&block, "id").is_some() {
                    return Some(block);
                }
            }
            self.blocks.push(&self.bytes.next().await?.ok()?);
        }
    }
}

/// One message: its four lines.
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

/// Reads one connection byte by byte, so that tests compare what is on the wire.
pub struct Reader {
    pub status: u16,
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    blocks: Blocks,
    /// Comments between the messages.
    pub comments: Vec<String>,
}

impl Reader {
    pub async fn open(request: RequestBuilder) -> Self {
        let response: Response = timeout(WAIT_LIMIT, request.send()).await.expect("an answer in time").unwrap();
        let status = response.status().as_u16();
        Self { status, bytes: response.bytes_stream().boxed(), blocks: Blocks::default(), comments: Vec::new() }
    }

    /// The next block up to a blank line; none when the stream ended cleanly between two blocks.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(block) = self.blocks.next() {
                return Some(block);
            }
            let Some(bytes) = timeout(WAIT_LIMIT, self.bytes.next()).await.expect("something to read in time") else {
                assert!(self.blocks.is_empty(), "ended within a message: {:?}", self.blocks);
                return None;
            };
            self.blocks.push(&bytes.expect("the stream does not break"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_blocks_wherever_pieces_end() {
        let whole = "id: 1\nevent: stage\ndata: é\n\n: keep-alive\n\nid: 2\ndata:";
        for at in 0..whole.len() {
            let mut blocks = Blocks::default();
            let mut found = Vec::new();
            for piece in [&whole.as_bytes()[..at], &whole.as_bytes()[at..]] {
                blocks.push(piece);
                found.extend(std::iter::from_fn(|| blocks.next()));
            }
            assert_eq!(found, ["id: 1\nevent: stage\ndata: é", ": keep-alive"]);
            assert!(!blocks.is_empty());
        }
    }

    #[test]
    fn reads_fields_by_their_whole_name() {
        assert_eq!(field("event: x\nid: 7", "id"), Some("7"));
        assert_eq!(field("identity: x\ndata: id: 7", "id"), None);
    }

    #[test]
    #[should_panic(expected = "not four lines")]
    fn refuses_messages_with_another_line() {
        Message::of("id: 1\nevent: stage\nretry: 5000\ndata: a\ndata: b");
    }
}
