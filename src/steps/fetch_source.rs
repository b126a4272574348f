//! Stage 1, first part: fetches the newest commit of the branch into a separate workspace, and finds its Dockerfile.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use super::{BuildImage, ResourceClass, RunStep, StepContext, StepError, StepOutcome, remove_workspace};
use crate::clients::ClientError;
use crate::clients::build_context::{BuildContext, ContextError, Descent};
use crate::clients::git::{FetchRequest, Fetched, GitError, GitErrorKind};
use crate::clients::workspace::{DockerfileError, display_path, find_dockerfile};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;
use crate::domain::source::{Revision, Source};
use crate::domain::text;

/// State of the fetch step; it needs none.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FetchSource {}

impl RunStep for FetchSource {
    const NAME: &'static str = "fetch_source";
    const STAGE: u8 = 1;
    const RESOURCE_CLASS: ResourceClass = ResourceClass::Heavy;
    const TIMED_OUT: ErrorCode = ErrorCode::SourceFetchFailed;

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        super::ecr_repository::preflight(cx).await?;
        let deployment = cx.deployment;
        let mut url = cx.services.settings.github_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(&deployment.owner).push(&format!("{}.git", deployment.repo));
        }
        cx.reporter.emit(Event::new(EventCode::CloneStarted)).await;
        let workspace = cx.workspace();
        // Remains of an earlier run: a fetch either completes or leaves nothing.
        remove_workspace(&cx.services.settings.workspace_dir, &deployment.id).await.map_err(|error| {
            StepError::retryable(
                ErrorCode::SourceFetchFailed,
                message!("reason.workspace_kept", error = error.to_string()),
            )
        })?;
        let Source::Revision(revision) = &deployment.requested.source else {
            return Err(StepError::fatal(
                ErrorCode::Internal,
                "a deployment of an existing image has no source to fetch",
            ));
        };
        let fetched = fetch(cx, &url, revision, &workspace).await?;
        let path = workspace.display().to_string();
        cx.reporter.emit(Event::new(EventCode::RepositoryCloned).with("path", path)).await;
        let left_out = &fetched.left_out;
        if !left_out.paths.is_empty() {
            // Without this event a build would fail for no visible reason.
            let event = Event::new(EventCode::SourceLeftOut)
                .with("submodules", left_out.submodules)
                .with("lfs_files", left_out.lfs_files)
                .with("paths", text::cut(&left_out.paths.join(", "), text::MAX_REASON_CHARS));
            cx.reporter.emit(event).await;
        }
        cx.reporter.emit(Event::new(EventCode::DockerfileSearchStarted)).await;
        let (build, health_check) = cx.source_config(&workspace).await?;
        let folder = PathBuf::from(build.context.clone().filter(|context| context != ".").unwrap_or_default());
        // Checked here already, so that an invalid ignore file fails before the deployment waits for a builder.
        let inputs = search(&workspace, build.dockerfile.clone(), folder).await?;
        let found = Event::new(EventCode::DockerfileFound)
            .with("path", workspace.join(&inputs.dockerfile).display().to_string())
            .with("dockerfile", inputs.dockerfile.clone())
            .with_known("link_target", inputs.link_target.as_deref())
            .with("context", if inputs.context.is_empty() { "." } else { inputs.context.as_str() })
            .with_known("ignore_file", inputs.ignore_file.as_deref());
        let (dockerfile, context, options) = (inputs.dockerfile, inputs.context, build.into_options());
        let facts = Facts {
            commit_sha: Some(fetched.commit_sha),
            committed_at: Some(fetched.committed_at),
            commit_author: fetched.author,
            commit_subject: fetched.subject,
            health_check: Some(health_check),
            ..Facts::default()
        };
        Ok(StepOutcome::next(BuildImage { dockerfile, context, options }).with_event(found).with_facts(facts))
    }
}

/// Fetches the source with the token of the connection: a personal one, or a current one of its App.
async fn fetch(cx: &StepContext<'_>, url: &Url, revision: &Revision, workspace: &Path) -> Result<Fetched, StepError> {
    let (github, credential) = (&cx.services.github, &cx.github.token);
    let token = github.access_token(credential).await;
    let token = token.map_err(|error| StepError::from_client(ErrorCode::SourceAccessDenied)(error.into()))?;
    let request = FetchRequest { url, revision, token: Some(&token), into: workspace };
    cx.services.git.fetch(request, cx.stopped.clone()).await.map_err(|error| {
        if error.kind == GitErrorKind::AccessDenied {
            github.forget(credential);
        }
        source_error(cx.deployment, revision, error)
    })
}

/// Inputs of the build; paths are relative to the repository's root.
struct Inputs {
    dockerfile: String,
    /// Target of `dockerfile` if that is a link.
    link_target: Option<String>,
    /// Empty for the root itself.
    context: String,
    ignore_file: Option<String>,
}

/// Finds the Dockerfile and checks the build context, on a thread for blocking work: a repository may have very many folders.
async fn search(workspace: &Path, requested: Option<String>, context: PathBuf) -> Result<Inputs, StepError> {
    let root = workspace.to_owned();
    let found = tokio::task::spawn_blocking(move || {
        let found = find_dockerfile(&root, requested.as_deref()).map_err(|error| no_dockerfile(&error))?;
        let invalid = |error: ContextError| StepError::fatal(ErrorCode::BuildContextInvalid, error.to_string());
        let checked = BuildContext::open(&root, &context, &found.path, Descent::BuildKit).map_err(invalid)?;
        Ok(Inputs {
            dockerfile: utf8(&found.path)?,
            link_target: if found.path == found.target { None } else { Some(utf8(&found.target)?) },
            context: utf8(checked.folder())?,
            ignore_file: checked.ignore_file().map(utf8).transpose()?,
        })
    });
    found.await.unwrap_or_else(|error| Err(StepError::retryable(ErrorCode::SourceFetchFailed, error.to_string())))
}

fn utf8(path: &Path) -> Result<String, StepError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let reason = message!("reason.path_not_utf8", path = display_path(path));
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

/// Converts an error of the fetch to the step's error, with the repository's name for the user.
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
