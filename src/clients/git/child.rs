//! The fetching process `panda fetch-source`, started by a server inside a dedicated empty folder.

use std::io::Write as _;
use std::path::Path;

use chrono::DateTime;
use git2::{Commit, ObjectType, Repository};
use url::Url;

use super::http::Remote;
use super::limits::{ProcessLimits, end_with};
use super::pack::Pack;
use super::wire::{FetchAnswer, IncomingRequest, MAX_REQUEST_BYTES, TREE};
use super::{Fetched, GitError, GitErrorKind, MAX_AUTHOR_CHARS, MAX_SUBJECT_CHARS, checkout, protocol, tree};
use crate::bounded;
use crate::domain::mask::Mask;
use crate::domain::text;

/// Maximum length of a chain of annotated tags.
const MAX_TAG_CHAIN: usize = 8;

/// Serves the single request on standard input and writes the answer to standard output. Fails if the answer cannot be written.
pub fn run(limits: &ProcessLimits) -> std::io::Result<()> {
    let answer = limits.apply().and_then(|()| serve()).map_or_else(FetchAnswer::Error, FetchAnswer::Ok);
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)?;
    out.flush()
}

fn serve() -> Result<Fetched, GitError> {
    let unreadable = |error: &dyn std::fmt::Display| GitError::invalid(format!("the request is not readable: {error}"));
    let text = bounded::all(std::io::stdin().lock(), MAX_REQUEST_BYTES).map_err(|error| unreadable(&error))?;
    let request: IncomingRequest = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
    end_with(request.parent)?;
    // The indexer has verified the hashes already; verifying them on each read would double the cost.
    git2::opts::strict_hash_verification(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(GitError::unavailable)?;
    runtime.block_on(fetch(&request)).map_err(|mut error| {
        // The server's message may repeat the token that it received.
        Mask::of(&request.token).string(&mut error.message);
        error
    })
}

async fn fetch(request: &IncomingRequest) -> Result<Fetched, GitError> {
    let limits = request.limits;
    let mut pack = Pack::new(limits)?;
    let url = Url::parse(&request.url).map_err(GitError::invalid)?;
    let mut remote = Remote::new(url, request.token.as_ref(), limits.max_bytes)?;
    let received = protocol::fetch(&mut remote, &request.revision, limits.max_bytes, &mut pack).await;
    let id = received.map_err(|error| pack.explain(error))?;
    let repository = pack.finish()?;
    let commit = commit(&repository, &id).map_err(|error| match error.kind {
        GitErrorKind::CommitNotFound => protocol::not_found(&request.revision),
        _ => error,
    })?;
    let left_out = tree::inspect(&repository, commit.tree_id(), &limits)?;
    checkout::write(&repository, commit.tree_id(), Path::new(TREE))?;
    let committed_at = DateTime::from_timestamp(commit.time().seconds(), 0)
        .ok_or_else(|| GitError::invalid("the commit's time is outside the calendar's range"))?;
    let author = text::author_name(&String::from_utf8_lossy(commit.author().name_bytes()), MAX_AUTHOR_CHARS);
    let subject =
        commit.summary_bytes().and_then(|line| text::one_line(&String::from_utf8_lossy(line), MAX_SUBJECT_CHARS));
    Ok(Fetched { commit_sha: commit.id().to_string(), committed_at, author, subject, left_out })
}

/// Returns the commit `id`, or the commit that the annotated tag `id` leads to.
fn commit<'a>(repository: &'a Repository, id: &str) -> Result<Commit<'a>, GitError> {
    let failed = |error: git2::Error| match error.code() {
        git2::ErrorCode::NotFound => GitError::invalid("the git server did not send the commit"),
        _ => GitError::of_objects(&error),
    };
    let mut id = git2::Oid::from_str(id).map_err(failed)?;
    for _ in 0..MAX_TAG_CHAIN {
        let object = repository.find_object(id, None).map_err(failed)?;
        match object.kind() {
            Some(ObjectType::Commit) => return repository.find_commit(id).map_err(failed),
            Some(ObjectType::Tag) => id = object.peel_to_tag().map_err(failed)?.target_id(),
            // A tag may also refer to a file or a folder.
            _ => return Err(GitError::new(GitErrorKind::CommitNotFound, "no commit")),
        }
    }
    Err(GitError::new(GitErrorKind::CommitNotFound, "no commit"))
}
