//! The HTTP server itself: slow, broken and idle clients.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Api, unreachable_db};
use crate::support::{WAIT_LIMIT, wait_for};

async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends the connection too.
    let _ = timeout(WAIT_LIMIT, socket.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn request_head__endless_head_disconnected() {
    let api = Api::serve(&unreachable_db()).await;
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    let begun = Instant::now();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: pan").await.unwrap();
    read_to_end(&mut socket).await;
    let waited = begun.elapsed().as_secs_f64();
    assert!((9.0..15.0).contains(&waited), "{waited} s");
}

#[tokio::test]
async fn request_head__too_long_refused() {
    let api = Api::serve(&unreachable_db()).await;
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nHost: panda\r\nLast-Event-ID: {}\r\n\r\n", "9".repeat(100_000));
    let _ = socket.write_all(head.as_bytes()).await;
    let answer = read_to_end(&mut socket).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(api.get("/healthz").await.status, 200, "others are served");
}

#[tokio::test]
async fn shutdown__incomplete_request_head_does_not_delay() {
    let mut api = Api::serve(&unreachable_db()).await;
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    socket.write_all(b"GET /hea").await.unwrap();
    assert_eq!(api.get("/healthz").await.status, 200);
    let received = Instant::now();
    api.shutdown.cancel();
    (&mut api.serving).await.unwrap().unwrap();
    assert!(received.elapsed() < Duration::from_secs(3), "{:?}", received.elapsed());
    read_to_end(&mut socket).await;
}

/// Reads one answer up to the end given by `Content-Length`.
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
        let read = timeout(WAIT_LIMIT, socket.read(&mut bytes)).await.expect("an answer in time").unwrap();
        assert!(read > 0, "closed within an answer: {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
}

#[tokio::test]
async fn shutdown__in_flight_request_answered_with_connection_close() {
    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: panda\r\n\r\n";
    let mut api = Api::serve(&unreachable_db()).await;
    let (mut busy, mut idle) =
        (TcpStream::connect(api.address).await.unwrap(), TcpStream::connect(api.address).await.unwrap());
    for socket in [&mut busy, &mut idle] {
        socket.write_all(REQUEST).await.unwrap();
        let answer = read_answer(socket).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 200") && !answer.contains("connection: close"), "{answer}");
    }
    api.shutdown.cancel();
    // The listener closes when shutdown begins; a request sent from here on uses a connection that was open before.
    wait_for("the listener is closed", async || TcpStream::connect(api.address).await.is_err()).await;
    busy.write_all(REQUEST).await.unwrap();
    let last = read_answer(&mut busy).await.to_lowercase();
    assert!(last.starts_with("http/1.1 200") && last.contains("connection: close"), "{last}");
    assert_eq!(read_to_end(&mut busy).await, "");
    assert_eq!(read_to_end(&mut idle).await, "", "one that asks for nothing is closed as well");
    (&mut api.serving).await.unwrap().unwrap();
}
