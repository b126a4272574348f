//! Middleware: rate limits, body timeouts, CSRF protection and security headers.

use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use super::{Answer, Api, ExternalServices, Fixture, count, fixture, unreachable_db};
use crate::streams_clients::browser::NAMES;
use crate::streams_clients::program;
use crate::support::db::TestDb;
use crate::support::{WAIT_LIMIT, wait_for};

/// More than the burst that a rate of 1 permits.
const MANY: usize = 15;

/// The statuses of `MANY` requests, each made by `request`.
async fn statuses(api: &Api, request: impl Fn(usize, reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Vec<u16> {
    let mut statuses = Vec::new();
    for n in 0..MANY {
        let asked = request(n, api.request(Method::GET, "/api/v1/connections"));
        statuses.push(asked.send().await.unwrap().status().as_u16());
    }
    statuses
}

#[tokio::test]
async fn rate_limit__answers_429_with_retry_after() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--rate-per-client=1"]).await;
    let statuses = statuses(&api, |_, request| request).await;
    assert_eq!(&statuses[..10], [200; 10], "a burst of ten seconds is permitted");
    assert!(statuses[10..].contains(&429), "{statuses:?}");
    let refused = api.get("/api/v1/connections").await;
    let problem = refused.problem(429, "TOO_MANY_REQUESTS");
    assert!(problem["detail"].as_str().unwrap().contains("1 per second"), "{problem}");
    assert_eq!(api.get("/api/v1/nothing").await.status, 429, "on every path");
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(api.get(probe).await.status, 200, "{probe} is never rate limited");
    }
    tokio::time::sleep(Duration::from_secs(refused.header("retry-after").parse().unwrap())).await;
    assert_eq!(api.get("/api/v1/connections").await.status, 200);
}

#[tokio::test]
async fn rate_limit__per_client_and_token_behind_trusted_proxy() {
    let db = TestDb::new().await;
    let flags = ["--rate-per-client=1", "--rate-per-token=1", "--trusted-proxies=127.0.0.0/8"];
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &flags).await;
    let from = |n: usize| format!("192.0.2.{n}");
    let one = statuses(&api, |_, request| request.header("x-forwarded-for", from(1))).await;
    assert!(one.contains(&429), "{one:?}");
    let others = statuses(&api, |n, request| request.header("x-forwarded-for", from(n + 2))).await;
    assert!(!others.contains(&429), "{others:?}");
    let token = statuses(&api, |n, request| request.header("x-forwarded-for", from(n + 50)).bearer_auth("t")).await;
    assert!(token.contains(&429), "a token that everybody has: {token:?}");
    let other = api.request(Method::GET, "/api/v1/connections").header("x-forwarded-for", from(99)).bearer_auth("u");
    assert_eq!(other.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn request_timeout__slow_body_abandoned() {
    let api = Api::serve_with(&unreachable_db(), &ExternalServices::default(), &["--body-timeout-ms=600"]).await;
    for path in ["/api/v1/deploy", "/api/v1/deploy/dep_x/cancel"] {
        let mut socket = TcpStream::connect(api.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 64\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let (mut reading, mut writing) = socket.into_split();
        // Sends a byte now and then, as a client does that only wants to hold a connection.
        let dripping = tokio::spawn(async move {
            while writing.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let mut answer = Vec::new();
        // A reset ends the connection too.
        let _ = timeout(WAIT_LIMIT, reading.read_to_end(&mut answer)).await.expect("the server closes");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("BODY_TIMED_OUT"), "{path}: {answer}");
        assert!((500..5_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        dripping.abort();
    }
}

#[tokio::test]
async fn headers__too_many_refused() {
    let api = Api::serve(&unreachable_db()).await;
    let mut request = api.request(Method::GET, "/healthz");
    for n in 0..200 {
        request = request.header(format!("x-{n}"), "1");
    }
    assert_eq!(request.send().await.unwrap().status(), 431);
}

#[tokio::test]
async fn csrf__foreign_origin_refused() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--cors-origins=https://front.example"]).await;
    let running = Fixture::begin(&db.db).await;
    let cancel = format!("/api/v1/deploy/{}/cancel", running.id());
    let from = async |origin: &str| {
        // As sent by a form or with `no-cors`: without a preflight.
        let request = api.request(Method::POST, &cancel).header("origin", origin).header("content-type", "text/plain");
        Answer::of(request.body("x").send().await.unwrap()).await
    };
    for origin in ["https://evil.example", "null", "https://front.example.evil.example"] {
        from(origin).await.problem(403, "ORIGIN_NOT_ALLOWED");
    }
    let sql = "SELECT count(*) FROM deployments WHERE cancel_requested_at IS NOT NULL";
    let commands: i64 = sqlx::query_scalar(sql).fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(commands, 0);
    assert_eq!(from("https://front.example").await.status, 200);
}

#[tokio::test]
async fn csrf__own_page_behind_proxy_that_rewrites_host() {
    let db = TestDb::new().await;
    let running = Fixture::begin(&db.db).await;
    let cancel = format!("/api/v1/deploy/{}/cancel", running.id());
    // A browser sends no Sec-Fetch-Site to plain http, and the proxy sends its server's name as Host.
    let from = async |api: &Api, origin: &str, header: &str, value: &str| {
        let request = api.request(Method::POST, &cancel).header("host", "panda.internal").header("origin", origin);
        Answer::of(request.header(header, value).send().await.unwrap()).await
    };
    // Without a token, Panda accepts only requests to a name of this machine.
    let direct = Api::serve_with(&db.db, &ExternalServices::default(), &["--auth=none"]).await;
    from(&direct, "http://panda.example", "x-forwarded-host", "panda.example").await.problem(403, "ORIGIN_NOT_ALLOWED");
    let flags = ["--auth=none", "--trusted-proxies=127.0.0.0/8"];
    let proxied = Api::serve_with(&db.db, &ExternalServices::default(), &flags).await;
    for (header, value) in [("x-forwarded-host", "evil.example"), ("forwarded", "host=panda.example"), ("x-y", "z")] {
        let answer = from(&proxied, "http://panda.example", header, value).await;
        let problem = answer.problem(403, "ORIGIN_NOT_ALLOWED");
        assert!(problem["message"].as_str().unwrap().contains("X-Forwarded-Host"), "the remedy: {problem}");
    }
    from(&proxied, "http://evil.example", "x-forwarded-host", "panda.example").await.problem(403, "ORIGIN_NOT_ALLOWED");
    assert_eq!(from(&proxied, "http://panda.example", "x-forwarded-host", "panda.example").await.status, 200);
    // Siblings: chains of proxies, ports, letter case, IPv6.
    for (origin, forwarded) in [
        ("https://panda.example", "panda.example, edge.internal"),
        ("https://panda.example", "edge.internal,PANDA.example:443"),
        ("http://panda.example:8080", "panda.example:8080"),
        ("https://[2001:db8::1]", "[2001:db8::1]:443"),
        ("https://[2001:db8::1]:8443", "a.internal , [2001:DB8::1]:8443"),
    ] {
        let answer = from(&proxied, origin, "x-forwarded-host", forwarded).await;
        assert_eq!(answer.status, 200, "{origin} {forwarded}: {}", answer.text);
    }
    for (origin, forwarded) in [
        ("https://panda.example", "panda.example:8443"),
        ("https://panda.example", "panda.example evil.example"),
        ("https://example", "panda.example"),
        ("https://2001:db8::1", "[2001:db8::1]"),
    ] {
        from(&proxied, origin, "x-forwarded-host", forwarded).await.problem(403, "ORIGIN_NOT_ALLOWED");
    }
    let flags = ["--auth=none", "--trusted-proxies=127.0.0.0/8", "--forwarded-header=forwarded"];
    let standard = Api::serve_with(&db.db, &ExternalServices::default(), &flags).await;
    for forwarded in [
        "for=192.0.2.1;host=panda.example",
        "for=\"[2001:db8::1]:4711\";Host=\"panda.example:80\", for=10.0.0.1;host=edge.internal",
        "proto=http; host=Panda.example; by=_edge",
    ] {
        assert_eq!(from(&standard, "http://panda.example", "forwarded", forwarded).await.status, 200, "{forwarded}");
    }
}

#[tokio::test]
async fn security_headers__on_every_response() {
    let db = TestDb::new().await;
    let api = Api::serve(&db.db).await;
    let fixture = Fixture::begin(&db.db).await;
    let result = format!("/api/v1/deploy/{}/result", fixture.id());
    for path in ["/healthz", "/metrics", "/api/v1/nothing", "/api/v1/connections", &result, "/swagger-ui/index.html"] {
        let answer = api.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert_eq!(policy.contains("script-src"), path.starts_with("/swagger-ui"), "{path}: {policy}");
        assert_eq!(answer.header("cache-control") == "no-store", path.starts_with("/api/"), "{path}");
    }
    let stream = api.request(Method::GET, &format!("/api/v1/deploy/{}/events", fixture.id())).send().await.unwrap();
    assert_eq!(stream.headers()["cache-control"], "no-cache, no-transform");
    assert_eq!(stream.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn security_headers__api_page_works_under_its_policy() {
    let api = Api::serve(&unreachable_db()).await;
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(program(&NAMES));
    // As in the tests of event streams; `--virtual-time-budget` ends the page as soon as it is idle.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000"]);
    command.args(["--enable-logging=stderr", "--dump-dom", &format!("http://{}/swagger-ui/index.html", api.address)]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).env("HOME", profile.path());
    let output = timeout(WAIT_LIMIT, command.stdin(Stdio::null()).kill_on_drop(true).output()).await.unwrap().unwrap();
    let (page, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(page.contains("operations-deployments-switchDeployment"), "the operations are shown: {page}\n{log}");
    assert!(!log.contains("Content Security Policy"), "{log}");
}

#[tokio::test]
async fn request_timeout__abandoned_request_repeatable_with_its_key() {
    let db = TestDb::new().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &["--request-timeout-ms=1000"]).await;
    let (github, aws) = fixture::connections(&db.db).await;
    let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"});
    let post = async || {
        let request = api.request(Method::POST, "/api/v1/deploy").header("idempotency-key", "k").json(&body);
        Answer::of(request.send().await.unwrap()).await
    };
    let mut other = db.psql().await;
    // The table lock makes every write wait.
    sqlx::raw_sql("BEGIN; LOCK TABLE deployments IN ACCESS EXCLUSIVE MODE").execute(&mut other).await.unwrap();
    let answer = post().await;
    answer.problem(503, "REQUEST_TIMED_OUT");
    assert!(!answer.header("retry-after").is_empty());
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    // Until the database has ended the first request's transaction, the repeat meets it.
    wait_for("the repeat is accepted", async || post().await.status == 200).await;
    assert_eq!(count(&db, "deployments").await, 1);
}
