//! The server itself: slow, broken and idle clients.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Api, absent_db};
use crate::support::{SOON, wait_for};

async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends it as well.
    let _ = timeout(SOON, socket.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_cut() {
    let api = Api::serve(&absent_db()).await;
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    let begun = Instant::now();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: pan").await.unwrap();
    read_to_end(&mut socket).await;
    let waited = begun.elapsed().as_secs_f64();
    assert!((9.0..15.0).contains(&waited), "{waited} s");
}

#[tokio::test]
async fn absurdly_long_heads_are_refused() {
    let api = Api::serve(&absent_db()).await;
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nHost: panda\r\nLast-Event-ID: {}\r\n\r\n", "9".repeat(100_000));
    let _ = socket.write_all(head.as_bytes()).await;
    let answer = read_to_end(&mut socket).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(api.get("/healthz").await.status, 200, "others are served");
}

#[tokio::test]
async fn a_client_in_the_middle_of_its_head_does_not_hold_up_the_end() {
    let mut api = Api::serve(&absent_db()).await;
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    socket.write_all(b"GET /hea").await.unwrap();
    assert_eq!(api.get("/healthz").await.status, 200);
    let told = Instant::now();
    api.shutdown.cancel();
    (&mut api.serving).await.unwrap().unwrap();
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    read_to_end(&mut socket).await;
}

/// Reads one answer without a body of its own size: up to its end by `Content-Length`.
async fn read_answer(socket: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return text;
            }
        }
        let mut bytes = vec![0; 4_096];
        let read = timeout(SOON, socket.read(&mut bytes)).await.expect("an answer in time").unwrap();
        assert!(read > 0, "closed within an answer: {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
}

#[tokio::test]
async fn a_request_that_is_on_its_way_when_the_end_comes_is_answered_and_told_that_it_is_the_last() {
    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: panda\r\n\r\n";
    let mut api = Api::serve(&absent_db()).await;
    let (mut busy, mut idle) =
        (TcpStream::connect(api.address).await.unwrap(), TcpStream::connect(api.address).await.unwrap());
    for socket in [&mut busy, &mut idle] {
        socket.write_all(REQUEST).await.unwrap();
        let answer = read_answer(socket).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 200") && !answer.contains("connection: close"), "{answer}");
    }
    api.shutdown.cancel();
    // The listener is closed once the end has begun; what is sent from now on met an open connection.
    wait_for("nobody is let in any more", async || TcpStream::connect(api.address).await.is_err()).await;
    busy.write_all(REQUEST).await.unwrap();
    let last = read_answer(&mut busy).await.to_lowercase();
    assert!(last.starts_with("http/1.1 200") && last.contains("connection: close"), "{last}");
    assert_eq!(read_to_end(&mut busy).await, "");
    assert_eq!(read_to_end(&mut idle).await, "", "one that asks for nothing is closed as well");
    (&mut api.serving).await.unwrap().unwrap();
}
