//! Fetches one commit over HTTP(S), in a dedicated process.
//!
//! The content comes from third parties. So the process that reads it runs with limits on memory, CPU time and disk, and is killed as soon as the
//! caller stops waiting (docs/decisions/0036-sources-in-a-child.md). It speaks git's smart HTTP protocol itself (`http`, `protocol`), indexes the
//! pack (`pack`), inspects the commit (`tree`) and writes it to disk (`checkout`). It reads no git configuration of the machine, applies no hook,
//! filter or attribute, and fetches no submodule; content that is missing because of that is reported as [`LeftOut`].
//!
//! One rename moves the finished tree to its destination, so a tree there is always complete: a crash leaves only a hidden sibling folder, which the
//! next fetch to the same destination removes. The token never appears in a URL, argument, environment variable, file or message.

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
use wire::OutgoingRequest;

const CALL: &str = "git fetch";

/// Subcommand of `panda` that runs the fetching process.
pub const COMMAND: &str = "fetch-source";

/// Path of the running program; still valid after a newer version has replaced its file.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Limits of a fetch.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct GitLimits {
    /// Maximum number of bytes received, and maximum total size of the unpacked files in bytes.
    pub max_bytes: usize,
    /// Maximum number of files and folders.
    pub max_files: usize,
    /// Maximum size of one file in bytes. A fetch may use twice as much memory, plus 128 MiB.
    pub max_file_bytes: usize,
    /// Time limit of the whole fetch.
    pub timeout: Duration,
}

impl Default for GitLimits {
    fn default() -> Self {
        Self { max_bytes: 2 << 30, max_files: 200_000, max_file_bytes: 128 << 20, timeout: Duration::from_mins(10) }
    }
}

/// Source and destination of a fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    /// URL of the repository: `https` (`http` on this machine only), without user or password.
    pub url: &'a Url,
    /// Branch, tag or commit to fetch.
    pub revision: &'a Revision,
    /// Access token; `None` for a public repository.
    pub token: Option<&'a SecretString>,
    /// Destination of the tree: an empty folder, or a path that does not exist yet.
    pub into: &'a Path,
}

/// Longest name of a commit's author, in characters; longer ones are cut.
pub const MAX_AUTHOR_CHARS: usize = 100;

/// Longest subject of a commit, in characters; longer ones are cut.
pub const MAX_SUBJECT_CHARS: usize = 200;

/// Result of a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Fetched {
    /// Full commit id, 40 hexadecimal digits.
    pub commit_sha: String,
    /// Committer date of the commit.
    pub committed_at: DateTime<Utc>,
    /// Name of the author without an e-mail address, at most [`MAX_AUTHOR_CHARS`]; none when the commit names no author.
    pub author: Option<String>,
    /// First line of the message, at most [`MAX_SUBJECT_CHARS`]; none when the message is empty.
    pub subject: Option<String>,
    /// Submodules and LFS files that the commit refers to and that were not fetched.
    pub left_out: LeftOut,
}

/// Client that fetches repositories.
#[derive(Clone, Debug, Default)]
pub struct Git {
    limits: GitLimits,
    program: Option<PathBuf>,
}

impl Git {
    /// Creates a client that enforces `limits` on every fetch.
    pub fn new(limits: GitLimits) -> Self {
        Self { limits, program: None }
    }

    /// Uses `program` as the fetching process: for programs that are not `panda` themselves.
    #[must_use]
    pub fn with_program(self, program: Option<PathBuf>) -> Self {
        Self { program, ..self }
    }

    /// Fetches a single commit (depth 1, no tags, no submodules) and writes its tree to `into`, without `.git`.
    ///
    /// A redirect is followed on the same host and port only, for repositories that were renamed.
    ///
    /// # Errors
    /// An error of any [`GitErrorKind`]. `into` is then unchanged, and no process is left running.
    #[tracing::instrument(name = "call", skip_all, fields(otel.name = CALL, otel.kind = "client"))]
    pub async fn fetch(&self, request: FetchRequest<'_>, cancel: CancellationToken) -> Result<Fetched, GitError> {
        // The configuration is validated for this as well, but the token leaves the process here.
        validate::private_url(request.url).map_err(GitError::invalid)?;
        check(request.revision)?;
        let sent = OutgoingRequest {
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
        let placed = fetched.and_then(|fetched| folder.move_to(request.into).map(|()| fetched));
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
