//! Branches, tags and commits, from servers of both protocol versions.

use panda::clients::git::GitErrorKind;
use panda::domain::source::Revision;
use url::Url;

use super::git::{fetch_revision, names};
use crate::support::git_server::GitServer;

/// A server whose `main` has three commits: the first is tagged `light` and, by nested annotated tags, `v1.0/한글`; `blob` tags a file.
async fn tagged() -> (GitServer, [String; 3]) {
    let server = GitServer::start().await;
    let mut ids = Vec::new();
    for name in ["first", "second", "third"] {
        ids.push(server.commit("main", name, "x").await.sha);
    }
    let repository = server.on_disk();
    let first = repository.find_object(ids[0].parse().unwrap(), None).unwrap();
    let me = git2::Signature::now("test", "test@example.com").unwrap();
    repository.tag_lightweight("light", &first, false).unwrap();
    let inner = repository.tag("inner", &first, &me, "inner", false).unwrap();
    repository.tag("v1.0/한글", &repository.find_object(inner, None).unwrap(), &me, "outer", false).unwrap();
    let file = repository.find_object(repository.blob(b"no commit").unwrap(), None).unwrap();
    repository.tag("blob", &file, &me, "a file", false).unwrap();
    drop(file);
    drop(first);
    drop(repository);
    (server, ids.try_into().unwrap())
}

fn tag(name: &str) -> Revision {
    Revision::Tag(name.to_owned())
}

async fn fetched(url: &Url, revision: &Revision) -> Result<(String, Vec<String>), GitErrorKind> {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("source");
    let fetched = fetch_revision(url, revision, None, &into).await.map_err(|error| error.kind)?;
    Ok((fetched.commit_sha, names(&into)))
}

#[tokio::test]
async fn git_revision__tag_peeled_in_both_protocols() {
    let (server, [first, _, third]) = tagged().await;
    for url in [server.repository("public/shop.git"), server.old_repository()] {
        for name in ["light", "inner", "v1.0/한글"] {
            let (sha, files) = fetched(&url, &tag(name)).await.unwrap();
            assert_eq!((sha.as_str(), files.as_slice()), (first.as_str(), &["first".to_owned()][..]), "{url} {name}");
        }
        let (sha, files) = fetched(&url, &Revision::Branch("main".to_owned())).await.unwrap();
        assert_eq!((sha, files.len()), (third.clone(), 3), "{url}");
    }
}

#[tokio::test]
async fn git_revision__commit_by_id() {
    let (server, [first, second, third]) = tagged().await;
    let url = server.repository("public/shop.git");
    for (id, count) in [(first, 1), (second.clone(), 2), (third.clone(), 3)] {
        let (sha, files) = fetched(&url, &Revision::Commit(id.clone())).await.unwrap();
        assert_eq!((sha, files.len()), (id, count));
    }
    let old = server.old_repository();
    for id in [second, third.clone()] {
        assert_eq!(fetched(&old, &Revision::Commit(id.clone())).await.unwrap().0, id);
    }
    // Before protocol version 2 a server gives only commits reachable from a branch or tag.
    let repository = server.on_disk();
    let commit = repository.find_commit(third.parse().unwrap()).unwrap();
    let me = git2::Signature::now("test", "test@example.com").unwrap();
    let lost = repository.commit(None, &me, &me, "lost", &commit.tree().unwrap(), &[]).unwrap().to_string();
    drop(commit);
    drop(repository);
    let lost = Revision::Commit(lost);
    assert_eq!(fetched(&old, &lost).await, Err(GitErrorKind::CommitNotFound));
    assert!(fetched(&url, &lost).await.is_ok());
}

#[tokio::test]
async fn git_revision__missing_named_by_kind() {
    let (server, [first, ..]) = tagged().await;
    let tree = server.on_disk().find_commit(first.parse().unwrap()).unwrap().tree_id().to_string();
    let branch = |name: &str| Revision::Branch(name.to_owned());
    let commit = |id: &str| Revision::Commit(id.to_owned());
    for url in [server.repository("public/shop.git"), server.old_repository()] {
        for (revision, kind) in [
            (branch("light"), GitErrorKind::BranchNotFound),
            (branch("mai"), GitErrorKind::BranchNotFound),
            (tag("main"), GitErrorKind::TagNotFound),
            (tag("v1.0"), GitErrorKind::TagNotFound),
            // A tag of a file has no commit.
            (tag("blob"), GitErrorKind::TagNotFound),
            (commit("0123456789012345678901234567890123456789"), GitErrorKind::CommitNotFound),
            (commit(&tree), GitErrorKind::CommitNotFound),
            (commit("main"), GitErrorKind::Invalid),
            (commit(&first[..7]), GitErrorKind::Invalid),
            (tag("../x"), GitErrorKind::Invalid),
        ] {
            assert_eq!(fetched(&url, &revision).await, Err(kind), "{url} {revision}");
        }
    }
}
