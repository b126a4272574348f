//! Reads GitHub's payloads. Only the members that decisions need are kept; the list of changed paths is bounded, and marked where it may be incomplete.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::facts::{Push, PushFacts};
use crate::domain::validate;

/// The event of pushes to branches and tags.
pub const PUSH: &str = "push";

/// GitHub lists at most this number of commits.
const MAX_COMMITS: usize = 2_048;

/// GitHub lists at most this number of changed files of a commit.
const MAX_FILES: usize = 3_000;

/// Most paths that are kept.
const MAX_PATHS: usize = 2_000;

/// Most bytes of the paths that are kept.
const MAX_PATH_BYTES: usize = 256 * 1024;

/// Longest name of a ref, in bytes.
const MAX_REF: usize = 255;

/// Commit of a ref that does not exist.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// Reason for which a signed payload cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenPayload {
    /// It is no JSON object with the members of the event.
    #[error("the payload is no JSON object with the members of its event")]
    Malformed,
    /// Repository, ref or commit has a form that GitHub's do not have.
    #[error("the member {0} is invalid")]
    Invalid(&'static str),
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    repository: Option<Repository<'a>>,
    #[serde(borrow, default)]
    pull_request: Option<PullRequest<'a>>,
    #[serde(borrow, default, rename = "ref")]
    ref_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    before: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    after: Option<Cow<'a, str>>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    forced: bool,
    #[serde(borrow, default)]
    head_commit: Option<Commit<'a>>,
    #[serde(default)]
    commits: ChangedPaths,
}

#[derive(Deserialize)]
struct Repository<'a> {
    #[serde(borrow, default)]
    full_name: Cow<'a, str>,
    /// Seconds in pushes, a text in other events.
    #[serde(default)]
    pushed_at: Option<PushedAt>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PushedAt {
    Seconds(i64),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct PullRequest<'a> {
    #[serde(borrow, default)]
    head: Option<PullRequestHead<'a>>,
}

#[derive(Deserialize)]
struct PullRequestHead<'a> {
    /// Null where the fork was deleted.
    #[serde(borrow, default)]
    repo: Option<Repository<'a>>,
}

#[derive(Deserialize)]
struct Commit<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    added: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    removed: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    modified: Vec<Cow<'a, str>>,
}

/// Collects the paths of the commits one by one, so that memory is bounded by the payload and the limits.
#[derive(Default)]
struct ChangedPaths {
    commits: usize,
    paths: BTreeSet<String>,
    bytes: usize,
    truncated: bool,
}

impl ChangedPaths {
    fn add(&mut self, commit: &Commit<'_>) {
        self.commits += 1;
        let files = [&commit.added, &commit.removed, &commit.modified];
        self.truncated |= files.iter().map(|list| list.len()).sum::<usize>() >= MAX_FILES;
        for path in files.into_iter().flatten() {
            if self.paths.contains(path.as_ref()) {
                continue;
            }
            // Postgres stores no NUL, and git's paths have none.
            let fits =
                self.paths.len() < MAX_PATHS && self.bytes + path.len() <= MAX_PATH_BYTES && !path.contains('\0');
            if !fits {
                self.truncated = true;
                continue;
            }
            self.bytes += path.len();
            self.paths.insert(path.as_ref().to_owned());
        }
    }
}

impl<'de> Deserialize<'de> for ChangedPaths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Commits;
        impl<'de> Visitor<'de> for Commits {
            type Value = ChangedPaths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of commits")
            }

            /// Only pushes have the list; `pull_request` has no member of this name.
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ChangedPaths, A::Error> {
                let mut all = ChangedPaths::default();
                while let Some(commit) = seq.next_element::<Commit<'de>>()? {
                    all.add(&commit);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_seq(Commits)
    }
}

/// Reads the payload of an event.
///
/// # Errors
/// A push without the members that it must have, or with malformed ones; for other events, no JSON object.
pub fn parse(event: &str, payload: &[u8]) -> Result<PushFacts, BrokenPayload> {
    if !payload.trim_ascii_start().starts_with(b"{") {
        return Err(BrokenPayload::Malformed);
    }
    if event == PUSH {
        return push(serde_json::from_slice(payload).map_err(|_| BrokenPayload::Malformed)?);
    }
    // Their members are for the record only, and may have the same names with other types.
    serde_json::from_slice::<IgnoredAny>(payload).map_err(|_| BrokenPayload::Malformed)?;
    Ok(other(event, payload))
}

#[derive(Deserialize)]
struct OtherPayload<'a> {
    #[serde(borrow, default)]
    repository: Option<Repository<'a>>,
    #[serde(borrow, default)]
    pull_request: Option<PullRequest<'a>>,
}

fn other(event: &str, payload: &[u8]) -> PushFacts {
    let Ok(payload) = serde_json::from_slice::<OtherPayload<'_>>(payload) else { return PushFacts::default() };
    let repository = payload.repository.and_then(|repository| full_name(&repository.full_name));
    let head = payload.pull_request.filter(|_| event.starts_with("pull_request")).and_then(|request| request.head);
    let source = head.and_then(|head| head.repo).and_then(|repo| full_name(&repo.full_name));
    let fork = source.filter(|source| repository.as_ref().is_none_or(|own| !own.eq_ignore_ascii_case(source)));
    PushFacts { repository, fork, push: None }
}

fn push(payload: Payload<'_>) -> Result<PushFacts, BrokenPayload> {
    drop(payload.pull_request);
    let repository = payload.repository.ok_or(BrokenPayload::Invalid("repository"))?;
    let name = full_name(&repository.full_name).ok_or(BrokenPayload::Invalid("repository.full_name"))?;
    let ref_name = payload.ref_name.filter(|name| is_ref(name)).ok_or(BrokenPayload::Invalid("ref"))?;
    let before = commit(payload.before.as_deref(), "before")?;
    let after = commit(payload.after.as_deref(), "after")?;
    let after = after.filter(|_| !payload.deleted);
    // `after` of an annotated tag is the tag's own object.
    let head = match &payload.head_commit {
        Some(head) if after.is_some() => commit(Some(&head.id), "head_commit.id")?,
        _ => None,
    };
    let ChangedPaths { commits, paths, truncated, .. } = payload.commits;
    let paths_complete = before.is_some() && !payload.forced && commits > 0 && commits < MAX_COMMITS && !truncated;
    let push = Push {
        ref_name: ref_name.into_owned(),
        before,
        commit: head.or(after),
        forced: payload.forced,
        commits,
        paths: paths.into_iter().collect(),
        paths_complete,
        pushed_at: repository.pushed_at.and_then(|at| match at {
            PushedAt::Seconds(seconds) => Some(seconds),
            PushedAt::Other(IgnoredAny) => None,
        }),
    };
    Ok(PushFacts { repository: Some(name), fork: None, push: Some(push) })
}

fn full_name(name: &str) -> Option<String> {
    let (owner, repo) = name.split_once('/')?;
    (validate::owner(owner).is_ok() && validate::repo(repo).is_ok()).then(|| name.to_owned())
}

fn is_ref(name: &str) -> bool {
    let rest = name.strip_prefix("refs/").unwrap_or_default();
    name.len() <= MAX_REF && validate::branch(rest).is_ok()
}

/// A commit's id; none where the ref does not exist.
fn commit(id: Option<&str>, member: &'static str) -> Result<Option<String>, BrokenPayload> {
    match id {
        Some(NO_COMMIT) => Ok(None),
        Some(id) if validate::commit(id).is_ok() => Ok(Some(id.to_ascii_lowercase())),
        _ => Err(BrokenPayload::Invalid(member)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn id(digit: &str) -> String {
        digit.repeat(40)
    }

    fn sample() -> Value {
        json!({"ref": "refs/heads/main", "before": id("a"), "after": id("b"), "created": false, "deleted": false, "forced": false,
               "repository": {"full_name": "Acme/shop", "pushed_at": 1_700_000_000, "fork": false},
               "head_commit": {"id": id("b"), "added": [], "removed": [], "modified": ["src/a.rs"]},
               "commits": [{"id": id("b"), "distinct": true, "added": ["src/b.rs"], "removed": [], "modified": ["src/a.rs", "src/b.rs"]}]})
    }

    fn read(payload: &Value) -> Result<Push, BrokenPayload> {
        parse("push", payload.to_string().as_bytes()).map(|facts| facts.push.unwrap())
    }

    #[test]
    fn reads_a_push() {
        let facts = parse("push", sample().to_string().as_bytes()).unwrap();
        assert_eq!(facts.owner_and_repo(), Some(("Acme", "shop")));
        let push = facts.push.unwrap();
        assert_eq!((push.commit, push.before), (Some(id("b")), Some(id("a"))));
        assert_eq!((push.paths, push.paths_complete), (vec!["src/a.rs".to_owned(), "src/b.rs".to_owned()], true));
        assert_eq!(push.pushed_at, Some(1_700_000_000));
    }

    #[test]
    fn annotated_tag_is_its_commit() {
        let mut tag = sample();
        tag["ref"] = json!("refs/tags/v1");
        tag["after"] = json!(id("c"));
        assert_eq!(read(&tag).unwrap().commit, Some(id("b")));
        tag["deleted"] = json!(true);
        assert_eq!(read(&tag).unwrap().commit, None);
    }

    #[test]
    fn paths_are_incomplete_where_github_or_a_limit_cut_them() {
        let complete = |change: &dyn Fn(&mut Value)| {
            let mut payload = sample();
            change(&mut payload);
            read(&payload).unwrap().paths_complete
        };
        assert!(complete(&|_| {}));
        assert!(!complete(&|push| push["forced"] = json!(true)));
        assert!(!complete(&|push| push["before"] = json!(NO_COMMIT)));
        assert!(!complete(&|push| push["commits"] = json!([])));
        assert!(!complete(&|push| push["commits"] = json!(vec![push["commits"][0].clone(); MAX_COMMITS])));
        let files: Vec<String> = (0..MAX_FILES).map(|n| format!("f{n}")).collect();
        assert!(!complete(&|push| push["commits"][0]["added"] = json!(files)));
        assert!(!complete(&|push| push["commits"][0]["added"] = json!(["a\0b"])));
        assert!(!complete(&|push| push["commits"][0]["added"] = json!(["x".repeat(MAX_PATH_BYTES)])));
    }

    #[test]
    fn malformed_members_are_named() {
        for (member, value) in [
            ("ref", json!("main")),
            ("ref", json!("refs/heads/a b")),
            ("ref", json!(null)),
            ("after", json!("HEAD")),
            ("before", json!(null)),
            ("repository", json!(null)),
        ] {
            let mut payload = sample();
            payload[member] = value;
            assert_eq!(read(&payload), Err(BrokenPayload::Invalid(member)));
        }
        for broken in ["", "[]", "{", "null", "{\"commits\": 7}"] {
            assert_eq!(parse("push", broken.as_bytes()), Err(BrokenPayload::Malformed), "{broken}");
        }
    }

    #[test]
    fn pull_request_names_its_fork() {
        let payload = json!({"action": "opened", "repository": {"full_name": "acme/shop", "pushed_at": "2026-01-31T09:30:00Z"},
                             "pull_request": {"head": {"repo": {"full_name": "mallory/shop"}}, "commits": 3}, "ref": 7});
        let facts = parse("pull_request", payload.to_string().as_bytes()).unwrap();
        assert_eq!((facts.repository.as_deref(), facts.fork.as_deref()), (Some("acme/shop"), Some("mallory/shop")));
        assert_eq!(parse("ping", b"{\"zen\": \"x\"}").unwrap(), PushFacts::default());
    }
}
