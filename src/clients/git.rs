//! Fetching one branch's newest commit over HTTP(S).
//!
//! The tree appears at its place in one rename, so what is there is always whole: a crash leaves only a hidden sibling
//! folder, which the next fetch to the same place removes. The token lives in the credentials callback alone: it is in no
//! URL, no file and no message.
//!
//! What arrives is other people's: it is looked through before anything is written (`tree`). libgit2 runs no hooks and no filters of
//! others (Git LFS is one), and fetches no submodules; what is missing for that is told as [`LeftOut`].

mod tree;

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use git2::{
    AutotagOption, Cred, ErrorCode, FetchOptions, RemoteCallbacks, RemoteRedirect, Repository, RepositoryInitOptions,
    build::CheckoutBuilder,
};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{ClientError, ErrorKind};
use crate::domain::validate;
use crate::failpoints::reached;

pub use super::workspace::find_dockerfile;
pub use tree::LeftOut;
use tree::TreeError;

const CALL: &str = "git fetch";

/// The user that GitHub (and most others) take a token from; the name itself is not checked.
const TOKEN_USER: &str = "x-access-token";

/// How far a fetch may go.
#[derive(Clone, Copy, Debug)]
pub struct GitLimits {
    /// The most bytes that are received, and the most that files have when they are unpacked.
    pub max_bytes: usize,
    /// The most files and folders.
    pub max_files: usize,
    /// The longest that a fetch takes.
    pub timeout: Duration,
}

impl Default for GitLimits {
    fn default() -> Self {
        Self { max_bytes: 2 << 30, max_files: 200_000, timeout: Duration::from_mins(10) }
    }
}

/// What to fetch, and where to.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    /// The repository, `https` (`http` on this machine only), without user or password.
    pub url: &'a Url,
    /// The branch's name, without `refs/heads/`.
    pub branch: &'a str,
    /// The token, when the repository is private.
    pub token: Option<&'a SecretString>,
    /// Where the tree goes: an empty folder or one that is not there yet.
    pub into: &'a Path,
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The commit's full id.
    pub commit_sha: String,
    /// When it was committed.
    pub committed_at: DateTime<Utc>,
    /// What the commit refers to and is not there.
    pub left_out: LeftOut,
}

/// Fetches repositories.
#[derive(Clone, Debug, Default)]
pub struct Git {
    limits: GitLimits,
}

/// A request with everything of its own, for the thread that serves it.
struct Job {
    into: PathBuf,
    url: String,
    branch: String,
    token: Option<SecretString>,
    limits: GitLimits,
    stop: Arc<AtomicBool>,
}

impl Git {
    /// A client that keeps to `limits`.
    pub fn new(limits: GitLimits) -> Self {
        Self { limits }
    }

    /// Fetches the branch's newest commit alone (depth 1, no tags, no submodules) and checks it out.
    ///
    /// No such branch or repository: `NotFound`. A wrong or missing token: `Denied`. `into` not empty: `Conflict`.
    /// Cancelled, too slow, or no network: `Unavailable`. A redirect is followed on the same host only (a renamed repository);
    /// to another host it is `Invalid`.
    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    pub async fn fetch(&self, request: FetchRequest<'_>, cancel: CancellationToken) -> Result<Fetched, ClientError> {
        let invalid = |message: &str| ClientError::new(ErrorKind::Invalid, CALL, message);
        // The configuration says so too; but this is where the token leaves.
        validate::private_url(request.url).map_err(|rule| invalid(&rule))?;
        validate::branch(request.branch).map_err(|rule| invalid(&format!("the branch {rule}")))?;
        let job = Job {
            into: request.into.to_owned(),
            url: request.url.as_str().to_owned(),
            branch: request.branch.to_owned(),
            token: request.token.cloned(),
            limits: self.limits,
            stop: Arc::default(),
        };
        // However this future ends, the thread is told: its callbacks look at this flag.
        let _stop = StopOnDrop(Arc::clone(&job.stop));
        // A thread of its own, not tokio's: libgit2 waits for a silent server without any limit that safe code could set,
        // and the runtime would wait for such a thread when the program ends.
        reached("git fetch/before");
        let (done, result) = tokio::sync::oneshot::channel();
        let spawned = std::thread::Builder::new().name("git-fetch".into()).spawn(move || {
            let fetched = prepare(&job.into).and_then(|folder| Ok((fetch(&job, folder.path())?, folder)));
            // The folder travels with the result: when nobody waits any more it is removed here, never renamed.
            let _ = done.send(fetched);
        });
        spawned.map_err(|error| ClientError::new(ErrorKind::Unavailable, CALL, error))?;
        let unavailable = |message: &str| ClientError::new(ErrorKind::Unavailable, CALL, message);
        let (fetched, folder) = tokio::select! {
            result = result => result.map_err(|_| unavailable("the fetching thread died"))??,
            () = cancel.cancelled() => return Err(unavailable("cancelled")),
            () = tokio::time::sleep(self.limits.timeout) => return Err(unavailable("the git server was too slow")),
        };
        reached("git fetch/after");
        // Over an empty folder rename is atomic too; over anything else it fails.
        fs::rename(folder.keep(), request.into).map_err(|error| unplaced(request.into, &error))?;
        Ok(fetched)
    }
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn unplaced(path: &Path, error: &std::io::Error) -> ClientError {
    ClientError::new(ErrorKind::Unavailable, CALL, format!("{}: {error}", path.display()))
}

/// Makes `folder` when it is not there, for this user alone: sources are not everybody's on the machine. One that is another user's is
/// refused, root's excepted: who owns a folder in /tmp may put something else in the place of what we write into it.
fn private_folder(folder: &Path) -> Result<(), ClientError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let owner = made.and_then(|()| fs::metadata(folder)).map_err(|error| unplaced(folder, &error))?.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        let message =
            format!("{} belongs to another user: give a folder of your own (PANDA_WORKSPACE_DIR)", folder.display());
        return Err(ClientError::new(ErrorKind::Invalid, CALL, message));
    }
    Ok(())
}

/// An empty hidden folder beside `into`; what earlier tries left there is removed.
fn prepare(into: &Path) -> Result<TempDir, ClientError> {
    let (Some(parent), Some(name)) = (into.parent(), into.file_name()) else {
        return Err(ClientError::new(ErrorKind::Invalid, CALL, "the target folder has no parent"));
    };
    private_folder(parent)?;
    if fs::read_dir(into).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!("{} is not empty: remove it first", into.display());
        return Err(ClientError::new(ErrorKind::Conflict, CALL, message));
    }
    let prefix = format!(".{}.fetch-", name.to_string_lossy());
    for entry in fs::read_dir(parent).map_err(|error| unplaced(parent, &error))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // Left by a crash, or still written to by a try that was given up: either way nobody will use it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new().prefix(&prefix).tempdir_in(parent).map_err(|error| unplaced(parent, &error))
}

/// What the callbacks have seen: libgit2's own error tells neither.
#[derive(Default)]
struct Seen {
    asked: AtomicBool,
    too_large: AtomicBool,
    too_many: AtomicBool,
}

/// The blocking part. One connection lists the branches and fetches, so both see one state of the server.
fn fetch(job: &Job, folder: &Path) -> Result<Fetched, ClientError> {
    let seen = Seen::default();
    let explain = |error: git2::Error| explain(&error, job, &seen);
    let mut init = RepositoryInitOptions::new();
    let repository = Repository::init_opts(folder, init.external_template(false)).map_err(explain)?;
    // The folder was made for this user alone; libgit2 opens it to everybody.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(|error| unplaced(folder, &error))?;
    // Anonymous: nothing of it is written to .git/config.
    let mut remote = repository.remote_anonymous(&job.url).map_err(explain)?;
    let reference = format!("refs/heads/{}", job.branch);
    let mut options = FetchOptions::new();
    options.depth(1).download_tags(AutotagOption::None).update_fetchhead(false);
    // "None" still allows the same host. By default libgit2 would follow the first redirect to any host, and answer its
    // question with our token.
    options.follow_redirects(RemoteRedirect::None).remote_callbacks(callbacks(job, &seen));
    // Downloads nothing, and says nothing, when there is no such branch: the list tells.
    remote.download(&[&reference], Some(&mut options)).map_err(explain)?;
    let heads = remote.list().map_err(explain)?;
    let oid = heads.iter().find(|head| head.name() == reference).map(git2::RemoteHead::oid).ok_or_else(|| {
        ClientError::new(ErrorKind::NotFound, CALL, format!("the repository has no branch {:?}", job.branch))
    })?;
    let commit = repository.find_commit(oid).map_err(explain)?;
    let left_out =
        tree::inspect(&repository, commit.tree_id(), &job.limits, &job.stop).map_err(|error| match error {
            TreeError::Refused(message) => ClientError::new(ErrorKind::Invalid, CALL, message),
            TreeError::Stopped => ClientError::new(ErrorKind::Unavailable, CALL, "cancelled"),
            TreeError::Git(error) => explain(error),
        })?;
    let mut checkout = CheckoutBuilder::new();
    checkout.force();
    repository.checkout_tree(commit.as_object(), Some(&mut checkout)).map_err(explain)?;
    repository.set_head_detached(oid).map_err(explain)?;
    let committed_at = DateTime::from_timestamp(commit.time().seconds(), 0)
        .ok_or_else(|| ClientError::new(ErrorKind::Invalid, CALL, "the commit's time is on no calendar"))?;
    Ok(Fetched { commit_sha: oid.to_string(), committed_at, left_out })
}

fn callbacks<'a>(job: &'a Job, seen: &'a Seen) -> RemoteCallbacks<'a> {
    let mut callbacks = RemoteCallbacks::new();
    // A second question means that the first answer was wrong: libgit2 would go on asking for ever.
    callbacks.credentials(|_, _, _| match (&job.token, seen.asked.swap(true, Ordering::Relaxed)) {
        (Some(token), false) => Cred::userpass_plaintext(TOKEN_USER, token.expose_secret()),
        _ => Err(git2::Error::new(ErrorCode::Auth, git2::ErrorClass::Http, "authentication failed")),
    });
    callbacks.transfer_progress(|progress| {
        // One commit's objects are its files and folders; a pack that announces far more is not this repository's.
        let too_many = progress.total_objects() > job.limits.max_files.saturating_mul(2).saturating_add(10);
        if too_many || progress.received_bytes() > job.limits.max_bytes {
            seen.too_many.store(too_many, Ordering::Relaxed);
            seen.too_large.store(true, Ordering::Relaxed);
            return false;
        }
        !job.stop.load(Ordering::Relaxed)
    });
    callbacks.sideband_progress(|_| !job.stop.load(Ordering::Relaxed));
    callbacks
}

/// What libgit2's error means; its texts are the only place where it tells the HTTP status.
fn explain(error: &git2::Error, job: &Job, seen: &Seen) -> ClientError {
    let text = error.message();
    let status = text.split_once("http status code: ").and_then(|(_, code)| code.trim().parse::<u16>().ok());
    let (kind, message) = match (error.code(), status) {
        _ if seen.too_many.load(Ordering::Relaxed) => (ErrorKind::Invalid, tree::too_many(&job.limits)),
        _ if seen.too_large.load(Ordering::Relaxed) => (ErrorKind::Invalid, tree::too_large(&job.limits)),
        (ErrorCode::Auth, _) if job.token.is_none() => {
            (ErrorKind::Denied, "the repository asks for a token, and there is none".into())
        }
        (ErrorCode::Auth, _) => (ErrorKind::Denied, "the repository refuses the token".into()),
        (_, Some(status)) => (ErrorKind::of_status(status), format!("the git server answered with status {status}")),
        _ if text.contains("authentication replays") && seen.asked.load(Ordering::Relaxed) => {
            (ErrorKind::Denied, "the repository refuses the token".into())
        }
        _ if text.contains("redirect") => {
            (ErrorKind::Invalid, "the git server redirects to another host: give the repository's own address".into())
        }
        (ErrorCode::Certificate, _) => (ErrorKind::Invalid, text.to_owned()),
        _ => match error.class() {
            git2::ErrorClass::Net | git2::ErrorClass::Http | git2::ErrorClass::Ssl | git2::ErrorClass::Os => {
                (ErrorKind::Unavailable, text.to_owned())
            }
            _ => (ErrorKind::Invalid, text.to_owned()),
        },
    };
    ClientError::new(kind, CALL, message)
}
