//! Shows deployments at GitHub: as its deployments with their states, and as statuses of the commits.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::clients::github::deployments::{DeploymentAtGitHub, Repository, Shown};
use crate::clients::github::{GitHub, GitHubError};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::Lang;
use crate::domain::event::StoredEvent;
use crate::domain::github_status::{self, Earlier, GitHubReport, GitHubState, ShownService};
use crate::domain::receiver::attempt::AttemptAnswer;
use crate::domain::receiver::snapshot::DeploymentSnapshot;
use crate::domain::receiver::{Projection, ProjectionOutcome};

/// Wait where GitHub's rate limit names none; GitHub asks for at least a minute.
const RATE_LIMIT_WAIT: Duration = Duration::from_mins(1);

/// Answer to a test call: there is no deployment whose token and commit it could use.
pub(super) const NO_TEST: &str =
    "nothing was sent: each deployment is shown with the token of its connection, so start one to test it";

/// Reason of a delivery whose token is gone.
const NO_TOKEN: &str = "the connection to the repository was removed: connect it again, and replay the delivery";

/// What was made at GitHub for a deployment.
#[derive(Debug, Deserialize, Serialize)]
struct Reference {
    /// GitHub's id of its deployment.
    deployment: u64,
    /// Its environment, which stays although the receiver's settings change.
    environment: String,
}

/// Client of GitHub as a receiver.
#[derive(Clone, Debug)]
pub struct GitHubReceiver {
    github: GitHub,
}

/// Settings of the receiver.
#[derive(Clone, Copy, Debug)]
pub struct GitHubSettings<'a> {
    /// Environment of deployments whose labels name none.
    pub environment: &'a str,
    /// True if people use its environments; none decides by their name.
    pub production: Option<bool>,
    /// Language of the descriptions that people read.
    pub lang: Lang,
}

/// An attempt to show one deployment.
struct Attempt<'a> {
    github: &'a GitHub,
    repository: Repository<'a>,
    deployment: &'a DeploymentSnapshot,
    page: Option<&'a Url>,
    settings: GitHubSettings<'a>,
    sha: &'a str,
}

impl GitHubReceiver {
    /// Creates a receiver that calls `github`.
    pub fn new(github: GitHub) -> Self {
        Self { github }
    }

    /// Shows the events that were not shown yet, in order, with the token of the deployment's source connection. `page` is the deployment's.
    pub async fn show(
        &self,
        settings: GitHubSettings<'_>,
        page: Option<&Url>,
        projection: &Projection,
    ) -> ProjectionOutcome {
        let deployment = &projection.deployment;
        let Some(credential) = &projection.source_token else { return AttemptAnswer::failed(NO_TOKEN).into() };
        // Before its commit is known, a deployment has nothing to be shown at.
        let Some(sha) = deployment.facts.commit_sha.as_deref() else {
            return AttemptAnswer::delivered(None).into();
        };
        let token = &match self.github.access_token(credential).await {
            Ok(token) => token,
            Err(error) => return refusal(&error).into(),
        };
        let repository = Repository { owner: &deployment.owner, name: &deployment.repo, token };
        let attempt = Attempt { github: &self.github, repository, deployment, page, settings, sha };
        let known = projection.reference.clone().and_then(|stored| serde_json::from_value(stored).ok());
        let (reference, shown) = attempt.make(known).await;
        let answer = match shown {
            Ok(()) => AttemptAnswer::delivered(Some(201)),
            Err(error) => {
                if matches!(error, GitHubError::BadToken) {
                    self.github.forget(credential);
                }
                refusal(&error)
            }
        };
        ProjectionOutcome { answer, reference: reference.and_then(|made| serde_json::to_value(made).ok()) }
    }
}

impl Attempt<'_> {
    /// Returns what exists at GitHub afterwards, also where a later call failed.
    async fn make(&self, known: Option<Reference>) -> (Option<Reference>, Result<(), GitHubError>) {
        let reports: Vec<(&StoredEvent, GitHubReport)> = self.deployment.milestones.iter().filter_map(report).collect();
        let Some((first, _)) = reports.first() else { return (None, Ok(())) };
        let reference = match known {
            Some(known) => known,
            None => match self.ensure(first).await {
                Ok(made) => made,
                Err(error) => return (None, Err(error)),
            },
        };
        let first = match self.github.shown(self.repository, reference.deployment).await {
            // An attempt that was killed showed those before it: they are not shown again, because GitHub's history would go back.
            Ok(Some((state, description))) => reports.iter().rposition(|(event, report)| {
                report.deployment.as_str() == state && self.description(event) == description
            }),
            Ok(None) => None,
            Err(error) => return (Some(reference), Err(error)),
        };
        for (event, report) in reports.into_iter().skip(first.unwrap_or(0)) {
            if let Err(error) = self.report(&reference, event, report).await {
                return (Some(reference), Err(error));
            }
        }
        (Some(reference), Ok(()))
    }

    async fn ensure(&self, first: &StoredEvent) -> Result<Reference, GitHubError> {
        let environment = github_status::environment(&self.deployment.labels, self.settings.environment);
        let new = DeploymentAtGitHub {
            id: &self.deployment.id,
            sha: self.sha,
            environment,
            is_production: self.settings.production.unwrap_or(environment == github_status::DEFAULT_ENVIRONMENT),
        };
        let description = self.description(first);
        let queued = Shown { state: GitHubState::Queued, description: &description, page: self.page };
        let deployment = self.github.ensure_deployment(self.repository, new, queued).await?;
        Ok(Reference { deployment, environment: environment.to_owned() })
    }

    async fn report(&self, at: &Reference, event: &StoredEvent, report: GitHubReport) -> Result<(), GitHubError> {
        let description = self.description(event);
        let facts = &self.deployment.facts;
        let service = report.service.and_then(|service| match service {
            ShownService::Live => facts.blue_url.as_deref(),
            ShownService::Green => facts.green_url.as_deref(),
        });
        let shown = Shown { state: report.deployment, description: &description, page: self.page };
        self.github.show_deployment(self.repository, at.deployment, shown, service).await?;
        let context = github_status::context(&at.environment);
        let shown = Shown { state: report.commit, description: &description, page: self.page };
        self.github.show_commit(self.repository, self.sha, &context, shown).await?;
        match report.earlier {
            Earlier::Kept => Ok(()),
            Earlier::Ended => {
                self.github.end_earlier_deployments(self.repository, &at.environment, at.deployment).await
            }
            Earlier::Revived => {
                self.github.revive_earlier_deployment(self.repository, &at.environment, at.deployment).await
            }
        }
    }

    fn description(&self, event: &StoredEvent) -> String {
        github_status::description(&event.render(self.settings.lang).message)
    }
}

fn report(event: &StoredEvent) -> Option<(&StoredEvent, GitHubReport)> {
    let event_type = event.render(Lang::En).event_type;
    github_status::report(event_type, &event.code).map(|report| (event, report))
}

/// What a refusal of GitHub means for further attempts.
fn refusal(error: &GitHubError) -> AttemptAnswer {
    match error {
        GitHubError::RateLimited { retry_after } => AttemptAnswer {
            retry_after: Some(retry_after.unwrap_or(RATE_LIMIT_WAIT)),
            ..AttemptAnswer::failed(error.to_string())
        },
        // The commit or the environment will not become acceptable.
        GitHubError::Unavailable(ClientError { kind: ErrorKind::Invalid | ErrorKind::Conflict, .. }) => {
            AttemptAnswer::refused(None, error.to_string())
        }
        // A renewed connection may have the permission that is missing.
        _ => AttemptAnswer::failed(format!(
            "{error}; deployments and commit statuses need a token with the permissions `deployments: write` and `statuses: write`"
        )),
    }
}
