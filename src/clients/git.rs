//! Fetching one commit over HTTP(S), in a process of its own.
//!
//! What arrives is other people's, so the process that reads it has limits of memory, processor time and disk, and is killed when nobody
//! waits for it (docs/decisions/0036-sources-in-a-child.md). It speaks git's smart HTTP itself (`http`, `protocol`), indexes the pack
//! (`pack`), inspects the commit (`tree`) and writes it to disk (`checkout`). No git configuration of the machine is read, no hook, filter
//! or attribute is applied, and no submodule is fetched; what is missing for that is reported as [`LeftOut`].
//!
//! The tree appears at its place in one rename, so what is there is always whole: a crash leaves only a hidden sibling folder, which the
//! next fetch to the same place removes. The token is in no URL, argument, variable, file or message.

mod checkout;
pub mod child;
mod error;
mod folder;
mod http;
mod limits;
mod pack;
mod pkt;
mod process;
mod protocol;
mod tree;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::domain::source::Revision;
use crate::domain::validate;
use crate::failpoints::reached;

pub use error::{GitError, GitErrorKind};
use folder::Folder;
pub use limits::ProcessLimits;
pub use tree::LeftOut;
use wire::RequestOut;

const CALL: &str = "git fetch";

/// The command of the program that is the fetching process.
pub const COMMAND: &str = "fetch-source";

/// The program itself, also after its file was replaced by a newer version.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How far a fetch may go.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct GitLimits {
    /// The most bytes that are received, and the most that files have when they are unpacked.
    pub max_bytes: usize,
    /// The most files and folders.
    pub max_files: usize,
    /// The most bytes of one file. A fetch may use twice as much memory, and 128 MiB more.
    pub max_file_bytes: usize,
    /// The longest that a fetch takes.
    pub timeout: Duration,
}

impl Default for GitLimits {
    fn default() -> Self {
        Self { max_bytes: 2 << 30, max_files: 200_000, max_file_bytes: 128 << 20, timeout: Duration::from_mins(10) }
    }
}

/// What to fetch, and where to.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    /// The repository, `https` (`http` on this machine only), without user or password.
    pub url: &'a Url,
    /// The branch, tag or commit.
    pub revision: &'a Revision,
    /// The token, when the repository is private.
    pub token: Option<&'a SecretString>,
    /// Where the tree goes: an empty folder or one that is not there yet.
    pub into: &'a Path,
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
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
    program: Option<PathBuf>,
}

impl Git {
    /// A client that keeps to `limits`.
    pub fn new(limits: GitLimits) -> Self {
        Self { limits, program: None }
    }

    /// The same with another `panda` as the fetching process: for programs that are not `panda` themselves.
    #[must_use]
    pub fn with_program(self, program: Option<PathBuf>) -> Self {
        Self { program, ..self }
    }

    /// Fetches the commit alone (depth 1, no tags, no submodules) and writes its tree to `into`, without `.git`.
    ///
    /// A redirect is followed on the same host and port only (a renamed repository).
    ///
    /// # Errors
    /// The kinds of [`GitErrorKind`]. `into` is untouched then, and no process is left.
    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    pub async fn fetch(&self, request: FetchRequest<'_>, cancel: CancellationToken) -> Result<Fetched, GitError> {
        // The configuration is checked for it as well; but this is where the token leaves.
        validate::private_url(request.url).map_err(GitError::invalid)?;
        check(request.revision)?;
        let sent = RequestOut {
            url: request.url.as_str(),
            revision: request.revision,
            token: request.token.map(ExposeSecret::expose_secret),
            limits: self.limits,
            parent: std::process::id(),
        };
        reached("git fetch/before");
        let folder = Folder::prepare(request.into).await?;
        let program = self.program.as_deref().unwrap_or(Path::new(THIS_PROGRAM));
        let fetched = process::run(program, &sent, folder.path(), &cancel).await;
        if fetched.is_ok() {
            reached("git fetch/after");
        }
        let placed = fetched.and_then(|fetched| folder.place(request.into).map(|()| fetched));
        folder.remove().await;
        placed
    }
}

fn check(revision: &Revision) -> Result<(), GitError> {
    match revision {
        Revision::Branch(name) => validate::branch(name).map_err(|rule| format!("the branch {rule}")),
        Revision::Tag(name) => validate::branch(name).map_err(|rule| format!("the tag {rule}")),
        Revision::Commit(id) => {
            let is_id = id.len() == 40 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            is_id.then_some(()).ok_or_else(|| "the commit must be 40 hexadecimal digits in lower case".to_owned())
        }
    }
    .map_err(GitError::invalid)
}
