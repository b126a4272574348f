use std::path::Path;
use std::process::Command;

use git2::{Cred, ErrorClass, ErrorCode, FetchOptions, RemoteCallbacks};
use panda_sandbox::git::{GitError, SourceFile};
use panda_sandbox::github::{GitHub, GitHubFaults};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub async fn github() -> (GitHub, TempDir) {
    let root = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (GitHub::start(listener, root.path()).await.unwrap(), root)
}

/// A private repository `acme/hello` that needs the token `right`, with two commits, and a public one `acme/open`.
async fn served() -> (GitHub, TempDir, String) {
    let (github, root) = github().await;
    let repositories = github.repositories();
    let files = vec![SourceFile::new("Dockerfile", "FROM scratch\n"), SourceFile::new("src/deep/VERSION", "1\n")];
    repositories.add_repository("Acme", "hello", Some("right".into()), "main", files.clone()).await.unwrap();
    let changed = vec![SourceFile::new("src/deep/VERSION", "2\n")];
    let head = repositories.commit("acme", "Hello", "main", changed).await.unwrap();
    repositories.add_repository("acme", "open", None, "main", files).await.unwrap();
    (github, root, head)
}

async fn shallow_clone(
    url: String,
    branch: &'static str,
    token: Option<&'static str>,
) -> Result<(TempDir, String), git2::Error> {
    tokio::task::spawn_blocking(move || {
        let dir = tempfile::tempdir().unwrap();
        let mut callbacks = RemoteCallbacks::new();
        let mut asked = 0;
        callbacks.credentials(move |_, _, _| {
            asked += 1;
            match token {
                Some(token) if asked == 1 => Cred::userpass_plaintext("x-access-token", token),
                _ => Err(git2::Error::new(ErrorCode::Auth, ErrorClass::Http, "no more credentials")),
            }
        });
        let mut options = FetchOptions::new();
        options.depth(1).remote_callbacks(callbacks);
        let repository =
            git2::build::RepoBuilder::new().branch(branch).fetch_options(options).clone(&url, dir.path())?;
        assert!(repository.is_shallow());
        let head = repository.head()?.peel_to_commit()?.id().to_string();
        Ok((dir, head))
    })
    .await
    .unwrap()
}

fn read(dir: &Path, path: &str) -> String {
    std::fs::read_to_string(dir.join(path)).unwrap()
}

#[tokio::test]
async fn git_service__shallow_clone_gets_newest_commit() {
    let (github, _root, head) = served().await;
    for address in ["acme/hello.git", "acme/hello", "ACME/Hello.git"] {
        let (clone, id) =
            shallow_clone(format!("{}/{address}", github.git_url()), "main", Some("right")).await.unwrap();
        assert_eq!(id, head);
        assert_eq!(read(clone.path(), "src/deep/VERSION"), "2\n");
        assert_eq!(read(clone.path(), "Dockerfile"), "FROM scratch\n");
    }
}

#[tokio::test]
async fn git_service__public_repository_needs_no_token() {
    let (github, _root, _) = served().await;
    let (clone, _) = shallow_clone(format!("{}/acme/open.git", github.git_url()), "main", None).await.unwrap();
    assert_eq!(read(clone.path(), "src/deep/VERSION"), "1\n");
}

#[tokio::test]
async fn git_service__wrong_or_missing_token_refused() {
    let (github, _root, _) = served().await;
    for token in [None, Some("wrong")] {
        let error = shallow_clone(format!("{}/acme/hello.git", github.git_url()), "main", token).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Auth, "{token:?}: {error}");
    }
    let url = format!("{}/acme/hello.git/info/refs?service=git-upload-pack", github.git_url());
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"GitHub\"");
}

#[tokio::test]
async fn git_service__missing_branch_refused() {
    let (github, _root, _) = served().await;
    let error = shallow_clone(format!("{}/acme/open.git", github.git_url()), "nowhere", None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound, "{error}");
}

#[tokio::test]
async fn git_service__git_program_clones_and_fetches() {
    let (github, _root, head) = served().await;
    let green = github
        .repositories()
        .commit("acme", "hello", "feature/green", vec![SourceFile::new("new", "n")])
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = github.git_url().replace("http://", "http://x-access-token:right@");
    let into = dir.path().join("clone");
    let git = async |args: &[&str]| {
        let mut command = tokio::process::Command::new("git");
        let output = command.args(args).env("GIT_TERMINAL_PROMPT", "0").output().await.unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let into = into.to_str().unwrap();
    git(&["clone", "--quiet", &format!("{url}/acme/hello.git"), into]).await;
    assert_eq!(git(&["-C", into, "rev-parse", "HEAD", "origin/feature/green"]).await, format!("{head}\n{green}"));
    assert_eq!(git(&["-C", into, "rev-parse", "origin/feature/green^"]).await, head);
    assert_eq!(git(&["-C", into, "rev-list", "--count", "HEAD"]).await, "2");
    let newer = github.repositories().commit("acme", "hello", "main", vec![SourceFile::new("x", "y")]).await.unwrap();
    git(&["-C", into, "fetch", "--quiet", "origin"]).await;
    assert_eq!(git(&["-C", into, "rev-parse", "origin/main"]).await, newer);
}

#[tokio::test]
async fn git_service__compressed_request_understood() {
    let (github, _root, _) = served().await;
    // Many separate branches make many wants, which git sends compressed.
    for index in 0..60 {
        let files = vec![SourceFile::new("index", index.to_string())];
        github.repositories().commit("acme", "open", &format!("branch-{index}"), files).await.unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let url = format!("{}/acme/open.git", github.git_url());
    let clone = tokio::process::Command::new("git").args(["clone", "--quiet", "--bare", &url]).arg(dir.path()).output();
    let output = clone.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let count = Command::new("git").arg("-C").arg(dir.path()).args(["for-each-ref", "--format=x"]).output().unwrap();
    assert_eq!(String::from_utf8(count.stdout).unwrap().lines().count(), 61);
}

#[tokio::test]
async fn git_service__push_dumb_protocol_and_other_paths_refused() {
    let (github, root, _) = served().await;
    std::fs::write(root.path().join("secret"), "secret").unwrap();
    let client = reqwest::Client::new();
    let status = async |path: &str| {
        let url = format!("{}/{path}", github.git_url());
        client.get(url).basic_auth("x", Some("right")).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("acme/open.git/info/refs?service=git-receive-pack").await, 403);
    assert_eq!(status("acme/open.git/info/refs").await, 403);
    assert_eq!(status("acme/open.git/HEAD").await, 404);
    assert_eq!(status("acme/open.git/objects/info/packs").await, 404);
    for path in ["..%2f/open", "acme/..%2f..%2fsecret", "%2e%2e/secret", "acme/open.git%2f..%2f..%2fsecret", "acme/%00"]
    {
        assert_eq!(status(&format!("{path}/info/refs?service=git-upload-pack")).await, 404, "{path}");
    }
    let push = client.post(format!("{}/acme/open.git/git-receive-pack", github.git_url())).send().await.unwrap();
    assert_eq!(push.status(), 404);
}

#[tokio::test]
async fn git_service__other_repository_token_refused() {
    let (github, _root, _) = served().await;
    github.repositories().add_repository("other", "thing", Some("theirs".into()), "main", vec![]).await.unwrap();
    let url = format!("{}/acme/hello.git/info/refs?service=git-upload-pack", github.git_url());
    let answer = reqwest::Client::new().get(url).basic_auth("x", Some("theirs")).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn git_service__repository_added_again_keeps_history() {
    let (github, root, head) = served().await;
    drop(github);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let again = GitHub::start(listener, root.path()).await.unwrap();
    let files = vec![SourceFile::new("Dockerfile", "other")];
    let kept = again.repositories().add_repository("Acme", "hello", Some("right".into()), "main", files).await.unwrap();
    assert_eq!(kept, head);
}

#[tokio::test]
async fn git_service__invalid_names_refused_by_field() {
    let (github, root, _) = served().await;
    let repositories = github.repositories();
    let add = async |owner: &str, repo: &str, branch: &str, path: &str| {
        let files = vec![SourceFile::new(path, "x")];
        match repositories.add_repository(owner, repo, None, branch, files).await.unwrap_err() {
            GitError::Input { field, .. } => field,
            other => panic!("{other}"),
        }
    };
    assert_eq!(add("..", "repo", "main", "a").await, "owner");
    assert_eq!(add("acme", "../../x", "main", "a").await, "repo");
    assert_eq!(add("acme", "new", "a..b", "a").await, "branch");
    assert_eq!(add("acme", "new", "main", "../a").await, "path");
    assert!(!root.path().parent().unwrap().join("x.git").exists());
    let unknown = repositories.commit("acme", "missing", "main", vec![]).await.unwrap_err();
    assert!(matches!(unknown, GitError::UnknownRepository(_)), "{unknown}");
}

#[tokio::test]
async fn git_service__folder_committed_with_modes_without_git() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join(".git")).unwrap();
    std::fs::write(folder.path().join(".git/config"), "x").unwrap();
    std::fs::write(folder.path().join("run.sh"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(folder.path().join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (github, _root) = github().await;
    let files = SourceFile::folder(folder.path()).unwrap();
    assert_eq!(files.len(), 1);
    github.repositories().add_repository("acme", "tools", None, "main", files).await.unwrap();
    let (clone, _) = shallow_clone(format!("{}/acme/tools.git", github.git_url()), "main", None).await.unwrap();
    let mode = std::fs::metadata(clone.path().join("run.sh")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
}

#[tokio::test]
async fn git_service__unavailable_fault_refuses_clone() {
    let (github, _root, _) = served().await;
    github.set_faults(GitHubFaults { unavailable: true, ..GitHubFaults::default() });
    let error = shallow_clone(format!("{}/acme/open.git", github.git_url()), "main", None).await.unwrap_err();
    assert!(error.message().contains("503"), "{error}");
}
