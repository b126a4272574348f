//! Stage 1, first part: the newest commit of the branch, in a workspace of its own, and its Dockerfile.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BuildImage, Context, Lane, Outcome, Run, StepError, remove_workspace};
use crate::clients::git::{FetchRequest, find_dockerfile};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
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
        let request =
            FetchRequest { url: &url, branch: &deployment.branch, token: Some(&cx.github.token), into: &workspace };
        let fetched = cx
            .services
            .git
            .fetch(request, cx.stopped.clone())
            .await
            .map_err(|error| source_error(deployment, error))?;
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
        let found = search(&workspace).await.map_err(StepError::from_client(ErrorCode::SourceFetchFailed))?;
        let Some(dockerfile) = found else {
            return Err(StepError::fatal(
                ErrorCode::DockerfileNotFound,
                format!("commit {} of {}/{} has none", fetched.commit_sha, deployment.owner, deployment.repo),
            ));
        };
        let full_path = workspace.join(&dockerfile).display().to_string();
        let dockerfile = dockerfile.to_str().map(str::to_owned).ok_or_else(|| {
            StepError::fatal(ErrorCode::DockerfileNotFound, format!("the path {full_path:?} is not valid UTF-8"))
        })?;
        Ok(Outcome::next(BuildImage { dockerfile })
            .telling(Event::new(EventCode::DockerfileFound).with("path", full_path))
            .learning(Facts {
                commit_sha: Some(fetched.commit_sha),
                committed_at: Some(fetched.committed_at),
                ..Facts::default()
            }))
    }
}

/// Looks through the workspace on a thread for blocking work: a repository may have very many folders.
async fn search(workspace: &Path) -> Result<Option<PathBuf>, ClientError> {
    let root = workspace.to_owned();
    let found = tokio::task::spawn_blocking(move || find_dockerfile(&root)).await;
    found.unwrap_or_else(|error| Err(ClientError::new(ErrorKind::Unavailable, "dockerfile search", error)))
}

/// Git's answers, named for the user.
fn source_error(deployment: &crate::domain::Deployment, error: ClientError) -> StepError {
    let code = match error.kind {
        // Connecting has shown that the repository is there: what is missing now is mostly the branch.
        ErrorKind::NotFound if error.message.contains("branch") => ErrorCode::BranchNotFound,
        ErrorKind::NotFound => ErrorCode::RepositoryNotFound,
        ErrorKind::Denied => ErrorCode::SourceAccessDenied,
        _ => ErrorCode::SourceFetchFailed,
    };
    let mut error = error;
    error.message = format!("{}/{} branch {}: {}", deployment.owner, deployment.repo, deployment.branch, error.message);
    StepError::from_client(code)(error)
}
