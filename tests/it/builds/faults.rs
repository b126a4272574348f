//! Failed builds are attributed to the repository, a registry or the builder.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use panda::clients::build::{BuildError, BuildFault};
use panda::domain::builder::BuilderChoice;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Built, TestEngine, Wanted, build};

/// A registry's answer to every request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(&'static str, &'static str),
    Unauthorized,
    Close,
}

/// Starts a registry that gives every request the same answer; returns its port and the number of requests.
async fn registry(answer: Answer) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, requests) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let Ok(1..) = stream.read(&mut head).await else { return };
                counted.fetch_add(1, Ordering::Relaxed);
                let (status, more, body) = match answer {
                    Answer::Status(status, body) => (status, "", body),
                    Answer::Unauthorized => ("401 Unauthorized", "www-authenticate: Basic realm=\"x\"\r\n", "{}"),
                    Answer::Close => return,
                };
                let is_head = head.starts_with(b"HEAD");
                let body_sent = if is_head { "" } else { body };
                let text = format!(
                    "HTTP/1.1 {status}\r\n{more}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body_sent}",
                    body.len()
                );
                // The engine may have closed the connection.
                let _ = stream.write_all(text.as_bytes()).await;
            });
        }
    });
    (port, requests)
}

#[track_caller]
fn fault(built: &Built) -> BuildFault {
    match &built.result {
        Err(BuildError::Failed { fault, .. }) => *fault,
        other => panic!("{other:?} {:#?}", built.lines),
    }
}

#[tokio::test]
async fn build_error__registry_failure_not_blamed_on_dockerfile() {
    let limited = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
    let answers = [
        (Answer::Status("503 Service Unavailable", "busy"), BuildFault::RegistryUnavailable),
        (Answer::Status("500 Internal Server Error", "{}"), BuildFault::RegistryUnavailable),
        (Answer::Status("429 Too Many Requests", limited), BuildFault::RegistryUnavailable),
        (Answer::Unauthorized, BuildFault::BaseImageDenied),
    ];
    let mut registries = Vec::new();
    for (answer, fault) in answers {
        registries.push((answer, fault, registry(answer).await.0));
    }
    let closing = registry(Answer::Close).await.0;
    let insecure: Vec<String> = registries.iter().map(|(.., port)| format!("127.0.0.1:{port}")).collect();
    let mut engines = vec![TestEngine::usual().await];
    engines.extend(TestEngine::current(json!({"insecure-registries": insecure})).await);
    for engine in &engines {
        for choice in [BuilderChoice::BuildKit, BuilderChoice::Classic] {
            let builder = engine.builder(choice);
            for (answer, expected, port) in &registries {
                for dockerfile in [
                    format!("FROM 127.0.0.1:{port}/x/y:1\n"),
                    format!("FROM busybox:1\nCOPY --from=127.0.0.1:{port}/x/y:1 /a /a\n"),
                ] {
                    let built = build(&builder, Wanted::new("acme", &[("Dockerfile", &dockerfile)])).await;
                    assert_eq!(fault(&built), *expected, "{choice:?} {answer:?} {dockerfile}: {built:#?}");
                }
            }
            // Port 1 has no listener; the classic builder also meets a registry that ends each connection.
            let mut refused = vec![1];
            refused.extend((choice == BuilderChoice::Classic).then_some(closing));
            for port in refused {
                let dockerfile = format!("FROM 127.0.0.1:{port}/x:1\n");
                let built = build(&builder, Wanted::new("acme", &[("Dockerfile", &dockerfile)])).await;
                assert_eq!(fault(&built), BuildFault::RegistryUnavailable, "{choice:?} {port}: {built:#?}");
            }
        }
    }
}

#[tokio::test]
async fn build_error__missing_base_and_bad_dockerfile_blamed_on_source() {
    let engine = TestEngine::usual().await;
    for choice in [BuilderChoice::BuildKit, BuilderChoice::Classic] {
        let builder = engine.builder(choice);
        for (dockerfile, expected) in [
            ("FROM busybox:1\nRUN exit 3\n", BuildFault::Source),
            ("FROM busybox:1\nCOPY nope /\n", BuildFault::Source),
            ("FROM busybox:1\nRUN echo no space left on device; exit 1\n", BuildFault::Source),
            ("FROM Not/Lower:1\n", BuildFault::Source),
            ("FROMM busybox:1\n", BuildFault::Source),
        ] {
            let built = build(&builder, Wanted::new("acme", &[("Dockerfile", dockerfile)])).await;
            assert_eq!(fault(&built), expected, "{choice:?} {dockerfile}: {built:#?}");
        }
    }
}

#[tokio::test]
async fn build_error__killed_step_is_out_of_memory() {
    let engine = TestEngine::usual().await;
    // As the kernel's OOM killer does: the process of the step ends with SIGKILL.
    let dockerfile = "FROM busybox:1\nRUN sh -c 'kill -9 $$'; exit $?\n";
    for choice in [BuilderChoice::BuildKit, BuilderChoice::Classic] {
        let built = build(&engine.builder(choice), Wanted::new("acme", &[("Dockerfile", dockerfile)])).await;
        assert_eq!(fault(&built), BuildFault::OutOfMemory, "{choice:?}: {built:#?}");
    }
}
