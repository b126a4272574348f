//! Fetches from a real smart-HTTP git server.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use panda::clients::{
    ClientError, ErrorKind,
    git::{FetchRequest, Fetched, Git, GitError, GitErrorKind, GitLimits},
};
use panda::domain::source::Revision;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use url::Url;
use walkdir::WalkDir;

use super::unreachable_address;
use crate::hostile_inputs;
use crate::support::git_server::{GitServer, TOKEN};

/// A client with these limits, whose fetch child is the program under test.
pub fn git(limits: GitLimits) -> Git {
    Git::new(limits).with_program(Some(env!("CARGO_BIN_EXE_panda").into()))
}

async fn fetch(url: &Url, branch: &str, token: Option<&str>, into: &Path) -> Result<Fetched, ClientError> {
    Ok(fetch_revision(url, &Revision::Branch(branch.to_owned()), token, into).await?)
}

/// Fetches with the default limits.
pub async fn fetch_revision(
    url: &Url,
    revision: &Revision,
    token: Option<&str>,
    into: &Path,
) -> Result<Fetched, GitError> {
    let token = token.map(SecretString::from);
    let request = FetchRequest { url, revision, token: token.as_ref(), into };
    git(GitLimits::default()).fetch(request, CancellationToken::new()).await
}

/// Names in the folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn git__newest_commit_of_branch() {
    let server = GitServer::start().await;
    server.commit("main", "Dockerfile", "FROM scratch").await;
    server.commit("feature/x", "only-there.txt", "x").await;
    let head = server.commit("feature/x", "deep/er.txt", "y").await;
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("dep_1/source");
    let fetched = fetch(&server.repository("public/shop.git"), "feature/x", None, &into).await.unwrap();
    assert_eq!(fetched.commit_sha, head.sha);
    assert_eq!(fetched.committed_at, head.time);
    assert_eq!(names(&into), ["Dockerfile", "deep", "only-there.txt"]);
    assert_eq!(names(&folder.path().join("dep_1")), ["source"], "nothing is left beside it");
}

#[tokio::test]
async fn git__private_repository_with_token_not_written() {
    let server = GitServer::start().await;
    server.commit("main", "a.txt", "a").await;
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("source");
    // An existing empty folder is treated as missing.
    fs::create_dir(&into).unwrap();
    fetch(&server.repository("private/shop.git"), "main", Some(TOKEN), &into).await.unwrap();
    for entry in WalkDir::new(&into).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file()) {
        let text = fs::read(entry.path()).unwrap();
        for secret in [TOKEN.as_bytes(), b"x-access-token"] {
            assert!(!text.windows(secret.len()).any(|part| part == secret), "{}", entry.path().display());
        }
    }
}

#[tokio::test]
async fn git__wrong_or_missing_token_denied() {
    let server = GitServer::start().await;
    server.commit("main", "a.txt", "a").await;
    let folder = tempfile::tempdir().unwrap();
    for token in [Some("wr0ng"), None] {
        let before = server.asked();
        let error =
            fetch(&server.repository("private/shop.git"), "main", token, &folder.path().join("s")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert!(!error.to_string().contains("wr0ng"));
        assert!(server.asked() - before <= 2);
    }
    assert!(names(folder.path()).is_empty(), "a failed fetch leaves nothing");
}

#[tokio::test]
async fn git__missing_branch_or_repository() {
    let server = GitServer::start().await;
    server.commit("main", "a.txt", "a").await;
    let folder = tempfile::tempdir().unwrap();
    // Without a token a git host does not reveal whether a repository exists.
    let other = ("public/other.git", "main", Some(TOKEN));
    for (path, branch, token) in [("public/shop.git", "nope", None), ("public/shop.git", "mai", None), other] {
        let error = fetch(&server.repository(path), branch, token, &folder.path().join("s")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{path} {branch}: {error}");
    }
}

#[tokio::test]
async fn git__rename_followed_and_other_host_refused() {
    let server = GitServer::start().await;
    let sha = server.commit("main", "a.txt", "a").await.sha;
    let folder = tempfile::tempdir().unwrap();
    let fetched = fetch(&server.repository("renamed/shop.git"), "main", None, &folder.path().join("a")).await.unwrap();
    assert_eq!(fetched.commit_sha, sha);
    let error = fetch(&server.repository("away/shop.git"), "main", None, &folder.path().join("b")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.contains("redirects to another host"), "{error}");
    let error = fetch(&server.repository("port/shop.git"), "main", None, &folder.path().join("c")).await.unwrap_err();
    assert!(error.message.contains("redirects to another host or port"), "{error}");
}

#[tokio::test]
async fn git__invalid_address_or_branch_refused() {
    let server = GitServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    for url in [
        "file:///etc",
        "ssh://git@example.com/a",
        "git://example.com/a",
        "http://user:pass@127.0.0.1/a",
        "https://user@127.0.0.1/a",
        "http://example.com/a.git",
        "http://169.254.169.254/a.git",
    ] {
        assert_eq!(
            fetch(&url.parse().unwrap(), "main", None, &into).await.unwrap_err().kind,
            ErrorKind::Invalid,
            "{url}"
        );
    }
    let before = server.asked();
    for branch in hostile_inputs::inputs("branches.txt") {
        let refused = fetch(&server.repository("public/shop.git"), &branch, None, &into).await.unwrap_err();
        assert!(matches!(refused.kind, ErrorKind::Invalid | ErrorKind::NotFound), "{branch:?}: {refused}");
        assert!(!into.exists(), "{branch:?}");
    }
    assert!(server.asked() - before <= 50, "most are refused before any request");
}

#[tokio::test]
async fn git__links_kept_not_followed() {
    let server = GitServer::start().await;
    let external = tempfile::tempdir().unwrap();
    let kept = external.path().join("kept.txt");
    fs::write(&kept, "mine").unwrap();
    server.commit_objects("main", |repository, tree| {
        let target = repository.blob(external.path().to_str().unwrap().as_bytes()).unwrap();
        tree.insert("up", target, 0o120_000).unwrap();
        tree.insert("Dockerfile", repository.blob(b"FROM scratch").unwrap(), 0o100_644).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    fetch(&server.repository("public/shop.git"), "main", None, &into).await.unwrap();
    assert_eq!(fs::read_link(into.join("up")).unwrap(), external.path());
    fs::remove_dir_all(&into).unwrap();
    assert_eq!(fs::read_to_string(&kept).unwrap(), "mine", "removing the source leaves alone what its links lead to");
}

#[tokio::test]
async fn git__submodules_and_lfs_reported_not_fetched() {
    let server = GitServer::start().await;
    server.commit_objects("main", |repository, tree| {
        let module = "0123456789012345678901234567890123456789".parse().unwrap();
        tree.insert("lib", module, 0o160_000).unwrap();
        let modules = "[submodule \"lib\"]\n\tpath = lib\n\turl = http://169.254.169.254/lib.git\n";
        tree.insert(".gitmodules", repository.blob(modules.as_bytes()).unwrap(), 0o100_644).unwrap();
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n";
        tree.insert("model.bin", repository.blob(pointer).unwrap(), 0o100_644).unwrap();
        let filter = b"*.bin filter=lfs diff=lfs merge=lfs -text\n";
        tree.insert(".gitattributes", repository.blob(filter).unwrap(), 0o100_644).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    let before = server.asked();
    let fetched = fetch(&server.repository("public/shop.git"), "main", None, &into).await.unwrap();
    assert_eq!((fetched.left_out.submodules, fetched.left_out.lfs_files), (1, 1));
    assert_eq!(fetched.left_out.paths, ["lib", "model.bin"]);
    assert!(server.asked() - before <= 3);
    assert!(fs::read_to_string(into.join("model.bin")).unwrap().starts_with("version https://git-lfs"));
    assert_eq!(fs::read_dir(into.join("lib")).unwrap().count(), 0);
}

#[tokio::test]
async fn git__too_many_files_refused_before_writing() {
    let server = GitServer::start().await;
    server.commit_objects("main", |repository, tree| {
        let mut inner = repository.blob(b"boom").unwrap();
        let mut mode = 0o100_644;
        for _ in 0..7 {
            let mut level = repository.treebuilder(None).unwrap();
            for name in 0..10 {
                level.insert(format!("{name}"), inner, mode).unwrap();
            }
            (inner, mode) = (level.write().unwrap(), 0o040_000);
        }
        tree.insert("bomb", inner, mode).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    let error = fetch(&server.repository("public/shop.git"), "main", None, &into).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("more than 200000 files"), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn git__no_hook_or_filter_runs() {
    let server = GitServer::start().await;
    server.commit_objects("main", |repository, tree| {
        tree.insert(".gitattributes", repository.blob(b"* filter=evil\n").unwrap(), 0o100_644).unwrap();
        tree.insert("a.txt", repository.blob(b"plain").unwrap(), 0o100_644).unwrap();
        let config = "[filter \"evil\"]\n\tsmudge = touch evil-ran\n[core]\n\thooksPath = .githooks\n";
        tree.insert(".gitconfig", repository.blob(config.as_bytes()).unwrap(), 0o100_644).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    fetch(&server.repository("public/shop.git"), "main", None, &into).await.unwrap();
    assert_eq!(fs::read_to_string(into.join("a.txt")).unwrap(), "plain");
    assert_eq!(names(&into), [".gitattributes", ".gitconfig", "a.txt"]);
}

#[tokio::test]
async fn git__folder_in_use_conflicts_and_leftovers_removed() {
    let server = GitServer::start().await;
    server.commit("main", "a.txt", "a").await;
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    fs::create_dir_all(folder.path().join(".s.fetch-crashed/.git")).unwrap();
    fetch(&server.repository("public/shop.git"), "main", None, &into).await.unwrap();
    assert_eq!(names(folder.path()), ["s"]);
    let error = fetch(&server.repository("public/shop.git"), "main", None, &into).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(names(&into), ["a.txt"]);
}

#[tokio::test]
async fn git__missing_or_silent_server_and_cancellation() {
    let server = GitServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("s");
    let error = fetch(&unreachable_address().await.join("a.git").unwrap(), "main", None, &into).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");

    let silent = server.repository("silent/shop.git");
    let revision = Revision::Branch("main".to_owned());
    let request = FetchRequest { url: &silent, revision: &revision, token: None, into: &into };
    let limits = GitLimits { timeout: Duration::from_millis(200), ..GitLimits::default() };
    let error = git(limits).fetch(request, CancellationToken::new()).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (GitErrorKind::Unavailable, "the git server was too slow"));

    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = git(GitLimits::default()).fetch(request, cancel).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (GitErrorKind::Cancelled, "cancelled"));
    assert!(!into.exists());
}

#[tokio::test]
async fn git__repository_over_limit_refused() {
    let server = GitServer::start().await;
    let noise: String = (0..4_000).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    server.commit("main", "big.txt", &noise).await;
    let folder = tempfile::tempdir().unwrap();
    let url = server.repository("public/shop.git");
    let into = folder.path().join("s");
    let revision = Revision::Branch("main".to_owned());
    let request = FetchRequest { url: &url, revision: &revision, token: None, into: &into };
    let limits = GitLimits { max_bytes: 10_000, ..GitLimits::default() };
    let error = git(limits).fetch(request, CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind, GitErrorKind::TooLarge);
    assert!(error.message.contains("larger than 10000 bytes"), "{error}");
    assert!(!into.exists());
}

#[tokio::test]
async fn git__sources_private_and_foreign_folder_refused() {
    let server = GitServer::start().await;
    server.commit("main", "a.txt", "a").await;
    let folder = tempfile::tempdir().unwrap();
    let url = server.repository("public/shop.git");
    let workspaces = folder.path().join("workspaces");
    fetch(&url, "main", None, &workspaces.join("s")).await.unwrap();
    for path in [&workspaces, &workspaces.join("s")] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o077, 0, "{}", path.display());
    }
    // Only root can change a folder's owner.
    if std::os::unix::fs::chown(&workspaces, Some(12_345), None).is_ok() {
        let error = fetch(&url, "main", None, &workspaces.join("t")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains("PANDA_WORKSPACE_DIR"), "{error}");
    }
}
