//! The server itself: slow, broken and idle clients.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Api, absent_db};
use crate::support::SOON;

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
