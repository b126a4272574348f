//! Stage 1, first part: the newest commit of the branch, in a workspace of its own, and its Dockerfile.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BuildImage, Context, Lane, Outcome, Run, StepError, remove_workspace};
use crate::clients::ClientError;
use crate::clients::docker::{Context as DockerContext, ContextError, Descent};
use crate::clients::git::{FetchRequest, GitError, GitErrorKind};
use crate::clients::workspace::{DockerfileError, find_dockerfile, shown};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::source::{Revision, Source};
use crate::domain::text;

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FetchSource {}

impl Run for FetchSource {
    const NAME: &'static str = "fetch_source";
    const STAGE: u8 = 1;
    const LANE: Lane = Lane::Heavy;
    const TIMED_OUT: ErrorCode = ErrorCode::SourceFetchFailed;

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        super::ecr_repository::preflight(cx).await?;
        let deployment = cx.deployment;
        let mut url = cx.services.settings.github_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(&deployment.owner).push(&format!("{}.git", deployment.repo));
        }
        cx.reporter.tell(Event::new(EventCode::CloneStarted)).await;
        let workspace = cx.workspace();
        // What a run before this one left: a fetch is whole or not there.
        remove_workspace(&cx.services.settings.workspace_dir, &deployment.id).await.map_err(|error| {
            StepError::retryable(ErrorCode::SourceFetchFailed, format!("the old workspace cannot be removed: {error}"))
        })?;
        let Source::Revision(revision) = &deployment.requested.source else {
            return Err(StepError::fatal(ErrorCode::Internal, "an image has no source"));
        };
        let request = FetchRequest { url: &url, revision, token: Some(&cx.github.token), into: &workspace };
        let fetched = cx
            .services
            .git
            .fetch(request, cx.stopped.clone())
            .await
            .map_err(|error| source_error(deployment, revision, error))?;
        let path = workspace.display().to_string();
        cx.reporter.tell(Event::new(EventCode::RepositoryCloned).with("path", path)).await;
        let left_out = &fetched.left_out;
        if !left_out.paths.is_empty() {
            // Or a build that misses them would fail for reasons that nobody understands.
            let told = Event::new(EventCode::SourceLeftOut)
                .with("submodules", left_out.submodules)
                .with("lfs_files", left_out.lfs_files)
                .with("paths", text::cut(&left_out.paths.join(", "), text::MAX_REASON_CHARS));
            cx.reporter.tell(told).await;
        }
        cx.reporter.tell(Event::new(EventCode::DockerfileSearchStarted)).await;
        let build = cx.build_spec(&workspace).await?;
        let folder = PathBuf::from(build.context.clone().filter(|context| context != ".").unwrap_or_default());
        // Checked already, so that a wrong ignore file fails before the deployment waits for a builder.
        let inputs = search(&workspace, build.dockerfile.clone(), folder).await?;
        let found = Event::new(EventCode::DockerfileFound)
            .with("path", workspace.join(&inputs.dockerfile).display().to_string())
            .with("dockerfile", inputs.dockerfile.clone())
            .with_known("link_target", inputs.link_target.as_deref())
            .with("context", if inputs.context.is_empty() { "." } else { inputs.context.as_str() })
            .with_known("ignore_file", inputs.ignore_file.as_deref());
        let (dockerfile, context, options) = (inputs.dockerfile, inputs.context, build.into_options());
        let learned = Facts {
            commit_sha: Some(fetched.commit_sha),
            committed_at: Some(fetched.committed_at),
            ..Facts::default()
        };
        Ok(Outcome::next(BuildImage { dockerfile, context, options }).telling(found).learning(learned))
    }
}

/// What is built; paths are relative to the repository's root.
struct Inputs {
    dockerfile: String,
    /// The file that `dockerfile` is a link to.
    link_target: Option<String>,
    /// Empty: the root.
    context: String,
    ignore_file: Option<String>,
}

/// Finds the Dockerfile and checks the build context, on a thread for blocking work: a repository may have very many folders.
async fn search(workspace: &Path, requested: Option<String>, context: PathBuf) -> Result<Inputs, StepError> {
    let root = workspace.to_owned();
    let found = tokio::task::spawn_blocking(move || {
        let found = find_dockerfile(&root, requested.as_deref()).map_err(|error| no_dockerfile(&error))?;
        let invalid = |error: ContextError| StepError::fatal(ErrorCode::BuildContextInvalid, error.to_string());
        let opened = DockerContext::open(&root, &context, &found.path, Descent::BuildKit).map_err(invalid)?;
        Ok(Inputs {
            dockerfile: utf8(&found.path)?,
            link_target: if found.path == found.target { None } else { Some(utf8(&found.target)?) },
            context: utf8(opened.folder())?,
            ignore_file: opened.ignore_file().map(utf8).transpose()?,
        })
    });
    found.await.unwrap_or_else(|error| Err(StepError::retryable(ErrorCode::SourceFetchFailed, error.to_string())))
}

fn utf8(path: &Path) -> Result<String, StepError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let reason = format!("the path `{}` is not valid UTF-8", shown(path));
        StepError::fatal(ErrorCode::DockerfileNotFound, reason)
    })
}

fn no_dockerfile(error: &DockerfileError) -> StepError {
    let code = match error {
        DockerfileError::NotFound(_) | DockerfileError::Unusable(_) => ErrorCode::DockerfileNotFound,
        DockerfileError::Ambiguous(_) => ErrorCode::DockerfileAmbiguous,
        DockerfileError::Unreadable(_) => ErrorCode::SourceFetchFailed,
    };
    StepError::fatal(code, error.to_string())
}

/// Git's answers, named for the user.
fn source_error(deployment: &crate::domain::Deployment, revision: &Revision, error: GitError) -> StepError {
    let code = match error.kind {
        GitErrorKind::BranchNotFound => ErrorCode::BranchNotFound,
        GitErrorKind::TagNotFound => ErrorCode::TagNotFound,
        GitErrorKind::CommitNotFound => ErrorCode::CommitNotFound,
        GitErrorKind::RepositoryNotFound => ErrorCode::RepositoryNotFound,
        GitErrorKind::AccessDenied => ErrorCode::SourceAccessDenied,
        GitErrorKind::TooLarge => ErrorCode::SourceTooLarge,
        GitErrorKind::TreeRefused
        | GitErrorKind::Redirected
        | GitErrorKind::Throttled
        | GitErrorKind::Conflict
        | GitErrorKind::Cancelled
        | GitErrorKind::Unavailable
        | GitErrorKind::Invalid => ErrorCode::SourceFetchFailed,
    };
    let mut error = ClientError::from(error);
    error.message = format!("{}/{} {revision}: {}", deployment.owner, deployment.repo, error.message);
    StepError::from_client(code)(error)
}
