//! The client's address as reported by proxies, and the host named by a request.

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Api, ExternalServices, unreachable_db};
use crate::support::WAIT_LIMIT;

/// More than the burst of ten that a rate of 1 permits, with a margin for a slow machine.
const MANY: usize = 15;

const PROXIED: [&str; 2] = ["--rate-per-client=1", "--trusted-proxies=127.0.0.0/8"];

async fn api(flags: &[&str]) -> Api {
    Api::serve_with(&unreachable_db(), &ExternalServices::default(), flags).await
}

/// Number of [`MANY`] requests that are refused for their rate; `hop` is the address that the proxy reports for each.
async fn refused(api: &Api, header: &str, hop: impl Fn(usize) -> String) -> usize {
    let mut refused = 0;
    for n in 0..MANY {
        let answer = api.request(Method::GET, "/api/v1/nothing").header(header, hop(n)).send().await.unwrap();
        assert!([404, 429].contains(&answer.status().as_u16()), "{}", answer.status());
        refused += usize::from(answer.status() == 429);
    }
    refused
}

#[tokio::test]
async fn real_ip__each_forwarded_notation_identifies_client() {
    let api = api(&PROXIED).await;
    assert!(
        refused(&api, "x-forwarded-for", |n| format!("198.51.100.1:{}", 40_001 + n)).await > 0,
        "one address, many ports"
    );
    assert!(refused(&api, "x-forwarded-for", |_| "::ffff:198.51.100.1".to_owned()).await > 0, "the same address");
    assert_eq!(refused(&api, "x-forwarded-for", |n| format!("198.51.100.{}:40001", n + 2)).await, 0);
    assert!(refused(&api, "x-forwarded-for", |n| format!("\"[2001:db8::{n:x}]:443\"")).await > 0, "one network");
    assert_eq!(
        refused(&api, "x-forwarded-for", |n| format!("\"[2001:db8:0:{n:x}::1]:443\"").replace(":0::", ":ff::")).await,
        0
    );
}

#[tokio::test]
async fn real_ip__hop_without_address_has_own_limit() {
    let api = api(&PROXIED).await;
    for hop in ["unknown", "_hidden", "203.0.113.7, nonsense"] {
        let all = refused(&api, "x-forwarded-for", |n| hop.replace("113.7", &format!("113.{n}"))).await;
        assert!(all > 0, "{hop}");
    }
    for (n, written) in ["unknown", "\"", "_hidden", "6.6.6.6:1", "nonsense"].iter().enumerate() {
        let hop = format!("{written}, 198.51.100.{n}:40001");
        assert_eq!(refused(&api, "x-forwarded-for", |_| hop.clone()).await.min(1), 1, "a separate limit: {hop}");
        let other = format!("{written}, 198.51.100.{}", n + 100);
        let answer = api.request(Method::GET, "/api/v1/nothing").header("x-forwarded-for", other).send().await.unwrap();
        assert_eq!(answer.status(), 404, "a client's header does not affect others");
    }
}

#[tokio::test]
async fn real_ip__forwarded_header_read_only_when_configured() {
    let api_of_one = api(&PROXIED).await;
    assert!(refused(&api_of_one, "forwarded", |n| format!("for=198.51.100.{n}")).await > 0, "written by clients here");
    let flags = [&PROXIED[..], &["--forwarded-header=forwarded"]].concat();
    let api = api(&flags).await;
    assert_eq!(
        refused(&api, "forwarded", |n| format!("for=6.6.6.6, for=\"198.51.100.{n}:40001\";proto=https")).await,
        0
    );
    assert!(refused(&api, "x-forwarded-for", |n| format!("198.51.101.{n}")).await > 0, "written by clients here");
}

/// The status and body of the answer to a head.
async fn answer(api: &Api, head: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(api.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = timeout(WAIT_LIMIT, socket.read_to_end(&mut bytes)).await.expect("the server closes");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{head:?}: {text:?}")), text)
}

/// The end of a head after which the server closes.
const CLOSE: &str = "Connection: close\r\n\r\n";

#[tokio::test]
async fn host__exactly_one_required() {
    let api = api(&[]).await;
    for head in [
        "GET /healthz HTTP/1.1\r\nHost: panda\r\n",
        "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:8080\r\n",
        "GET /healthz HTTP/1.1\r\nHost: [::1]:8080\r\n",
        "GET http://panda/healthz HTTP/1.1\r\nHost: panda:80\r\n",
        // Old health checks and kubelets send no name, or an address.
        "GET /healthz HTTP/1.0\r\n",
        "GET /healthz HTTP/1.0\r\nHost: 10.1.2.3:8080\r\n",
    ] {
        assert_eq!(answer(&api, &format!("{head}{CLOSE}")).await.0, 200, "{head}");
    }
    for head in [
        "GET /healthz HTTP/1.1\r\n",
        "GET /healthz HTTP/1.1\r\nHost:\r\n",
        "GET /healthz HTTP/1.1\r\nHost: panda\r\nHost: panda\r\n",
        "GET /healthz HTTP/1.1\r\nHost: panda\r\nX-Other: 1\r\nhost: evil\r\n",
        "GET /healthz HTTP/1.0\r\nHost: panda\r\nHost: evil\r\n",
        "GET /healthz HTTP/1.1\r\nHost: panda, evil\r\n",
        "GET /healthz HTTP/1.1\r\nHost: user@panda\r\n",
        "GET /healthz HTTP/1.1\r\nHost: panda/evil\r\n",
        "GET /healthz HTTP/1.1\r\nHost: panda:99999\r\n",
        "GET /healthz HTTP/1.1\r\nHost: [::1\r\n",
        "GET http://evil/healthz HTTP/1.1\r\nHost: panda\r\n",
        "GET http://panda:81/healthz HTTP/1.1\r\nHost: panda\r\n",
        "GET http://panda/healthz HTTP/1.1\r\n",
    ] {
        let (status, text) = answer(&api, &format!("{head}{CLOSE}")).await;
        assert_eq!(status, 400, "{head}: {text}");
        let lower = text.to_lowercase();
        assert!(text.contains("\"errorCode\":\"BAD_HOST\"") && lower.contains("x-request-id"), "{head}: {text}");
    }
    // hyper itself refuses these, before any handler.
    for head in ["GET /healthz HTTP/1.1\r\nHost : panda\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\n b\r\n"] {
        assert_eq!(answer(&api, &format!("{head}{CLOSE}")).await.0, 400, "{head}");
    }
}
