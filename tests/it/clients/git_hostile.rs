//! Servers and repositories that try to consume time, memory or disk without limit, and the remains of a cancelled fetch.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use panda::clients::git::{FetchRequest, Fetched, GitError, GitErrorKind, GitLimits};
use panda::domain::source::Revision;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::git::{fetch_revision, git, names};
use crate::support::endless_server::EndlessServer;
use crate::support::git_server::{GitServer, TOKEN};
use crate::support::process::processes_in;
use crate::support::wait_for;

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const ID: &str = "0123456789012345678901234567890123456789";

fn main_branch() -> Revision {
    Revision::Branch("main".to_owned())
}

fn packet(text: &str) -> Vec<u8> {
    format!("{:04x}{text}", text.len() + 4).into_bytes()
}

async fn fetch(url: &Url, into: &Path) -> Result<Fetched, GitError> {
    fetch_revision(url, &main_branch(), None, into).await
}

#[tokio::test]
async fn git_hostile__attributes_not_matched() {
    let server = GitServer::start().await;
    server.commit_objects("main", |repository, tree| {
        let pattern = format!("{}b/x text\n", "*a".repeat(40));
        tree.insert(".gitattributes", repository.blob(pattern.as_bytes()).unwrap(), 0o100_644).unwrap();
        let mut folder = repository.treebuilder(None).unwrap();
        folder.insert("x", repository.blob(b"x\n").unwrap(), 0o100_644).unwrap();
        tree.insert("a".repeat(200), folder.write().unwrap(), 0o040_000).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    let began = Instant::now();
    fetch(&server.repository("public/shop.git"), &into).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(fs::read(into.join("a".repeat(200)).join("x")).unwrap(), b"x\n");
}

#[tokio::test]
async fn git_hostile__author_and_subject_bounded_without_address() {
    let server = GitServer::start().await;
    server.commit("main", "a.txt", "a").await;
    let written = |author: &str, message: &str| {
        let repository = server.on_disk();
        let head = repository.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
        let when = "1700000000 +0000";
        let raw =
            format!("tree {}\nauthor {author} {when}\ncommitter c <c@example.com> {when}\n\n{message}", head.tree_id());
        let id = repository.odb().unwrap().write(git2::ObjectType::Commit, raw.as_bytes()).unwrap();
        repository.reference("refs/heads/main", id, true, "raw").unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    let long = "가".repeat(500);
    for (n, (author, message, expected)) in [
        (
            "Kim\u{1b}[31m Panda <kim@example.com>",
            "Fix the cart\u{7}\u{202e}\n\nbody",
            (Some("Kim\u{fffd}[31m Panda"), Some("Fix the cart\u{fffd}\u{fffd}")),
        ),
        ("kim.panda@example.com <kim@example.com>", "two\nlines\n", (Some("kim.panda"), Some("two lines"))),
        (" <kim@example.com>", "", (None, None)),
        (
            &format!("{long} <kim@example.com>"),
            &long,
            (Some(&*format!("{}…", "가".repeat(99))), Some(&*format!("{}…", "가".repeat(199)))),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        written(author, message);
        let fetched = fetch(&server.repository("public/shop.git"), &folder.path().join(n.to_string())).await.unwrap();
        assert_eq!((fetched.author.as_deref(), fetched.subject.as_deref()), expected, "{author:?}");
    }
}

#[tokio::test]
async fn git_hostile__inflating_file_refused() {
    let server = GitServer::start().await;
    server.commit_objects("main", |repository, tree| {
        let lines = b"the same line again\n".repeat((24 << 20) / 20);
        tree.insert("lines.txt", repository.blob(&lines).unwrap(), 0o100_644).unwrap();
        tree.insert(".gitattributes", repository.blob(b"* text\n").unwrap(), 0o100_644).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    let (url, revision) = (server.repository("public/shop.git"), main_branch());
    let request = FetchRequest { url: &url, revision: &revision, token: None, into: &into };
    let limits = GitLimits { max_file_bytes: 20 << 20, ..GitLimits::default() };
    let error = git(limits).fetch(request, CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind, GitErrorKind::TooLarge);
    assert!(error.message.contains("lines.txt") && error.message.contains("PANDA_SOURCE_MAX_FILE_BYTES"), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn git_hostile__endless_refs_refused_in_both_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    let first = [packet("# service=git-upload-pack\n"), b"0000".to_vec(), packet(&format!("{ID} HEAD\0shallow\n"))];
    let old =
        EndlessServer::start("200 OK", ADVERTISEMENT, &first.concat(), &packet(&format!("{ID} refs/heads/m\n"))).await;
    let capabilities = EndlessServer::start("200 OK", ADVERTISEMENT, &packet("version 2\n"), &packet("x=y\n")).await;
    for server in [old, capabilities] {
        let error = fetch(&server.url, &into).await.unwrap_err();
        assert_eq!(error.kind, GitErrorKind::TooLarge, "{error}");
        assert!(server.sent() < 100 << 20, "{}", server.sent());
    }
}

#[tokio::test]
async fn git_hostile__endless_error_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    for (status, kind) in [
        ("500 Oh", GitErrorKind::Unavailable),
        ("401 No", GitErrorKind::AccessDenied),
        ("403 No", GitErrorKind::AccessDenied),
        ("404 No", GitErrorKind::RepositoryNotFound),
        ("429 Wait", GitErrorKind::Throttled),
        ("200 OK", GitErrorKind::Invalid),
    ] {
        let server = EndlessServer::start(status, "text/html", b"<html>", b"and so on ").await;
        let error = fetch(&server.url, &into).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status}: {error}");
        assert!(server.sent() < 16 << 20, "{}", server.sent());
    }
}

#[tokio::test]
async fn git_hostile__invalid_packet_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = EndlessServer::start("200 OK", ADVERTISEMENT, b"zzzz", b"zzzz").await;
    let error = fetch(&server.url, &folder.path().join("s")).await.unwrap_err();
    assert_eq!(error.kind, GitErrorKind::Invalid, "{error}");
}

/// Writes the child's request directly, without the client: limits that are not in it must come from the child's arguments.
#[tokio::test]
async fn git_hostile__memory_limit_is_an_error() {
    let server = GitServer::start().await;
    server.commit_objects("main", |repository, tree| {
        tree.insert("zeros", repository.blob(&vec![0; 100 << 20]).unwrap(), 0o100_644).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let request = serde_json::json!({
        "url": server.repository("public/shop.git").as_str(), "revision": {"kind": "branch", "name": "main"}, "token": null,
        "limits": {"max_bytes": 1 << 30, "max_files": 10, "max_file_bytes": 1 << 30, "timeout": {"secs": 60, "nanos": 0}},
        "parent": std::process::id(),
    });
    fs::write(folder.path().join("request"), request.to_string()).unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_panda"))
        .args(["fetch-source", "--memory=60000000", "--file=1000000000", "--cpu=60"])
        .current_dir(folder.path())
        .env_clear()
        .stdin(fs::File::open(folder.path().join("request")).unwrap())
        .output()
        .await
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["error"]["kind"], "too_large", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("memory"), "{answer}");
}

#[tokio::test]
async fn git_hostile__cancellation_leaves_no_process_and_hides_token() {
    let server = GitServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = server.repository("silent/shop.git");
    for is_dropped in [false, true] {
        let (cancel, into) = (CancellationToken::new(), folder.path().join("s"));
        let (url, stopped) = (url.clone(), cancel.clone());
        let fetching = tokio::spawn(async move {
            let (revision, token) = (main_branch(), SecretString::from(TOKEN));
            let request = FetchRequest { url: &url, revision: &revision, token: Some(&token), into: &into };
            git(GitLimits::default()).fetch(request, stopped).await
        });
        let asked = server.asked();
        wait_for("the process asks", async || server.asked() > asked || !processes_in(folder.path()).is_empty()).await;
        wait_for("the process is there", async || !processes_in(folder.path()).is_empty()).await;
        for pid in processes_in(folder.path()) {
            for file in ["cmdline", "environ"] {
                let shown = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                assert!(!shown.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()), "{file}");
            }
        }
        if is_dropped {
            fetching.abort();
            assert!(fetching.await.unwrap_err().is_cancelled());
            wait_for("the process is gone", async || processes_in(folder.path()).is_empty()).await;
            wait_for("the folder is removed", async || names(folder.path()).is_empty()).await;
        } else {
            cancel.cancel();
            let began = Instant::now();
            assert_eq!(fetching.await.unwrap().unwrap_err().kind, GitErrorKind::Cancelled);
            assert!(began.elapsed() < Duration::from_secs(5));
            assert!(processes_in(folder.path()).is_empty() && names(folder.path()).is_empty());
        }
    }
}
