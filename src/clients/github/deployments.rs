//! GitHub's deployments and commit statuses: what a team sees of Panda's deployments at its commits, pull requests and environments.
//!
//! Each effect is looked up before it is made, so that an attempt after a crash changes nothing twice.

use reqwest::{Method, Response};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use super::answer::{CALL, accepted};
use super::{GitHub, GitHubError, masked, send};
use crate::bounded;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::github_status::{CommitState, GitHubState};

/// Maximum number of bytes to read of a list. An entry has about 4 KB.
const MAX_LIST_BYTES: usize = 1 << 20;

/// Entries of a list, the newest first. A deployment that was made before a crash is among them.
const LIST: &str = "30";

/// Deployments of an environment that are looked at for one that still counts as active.
const EARLIER: usize = 10;

/// Member of a deployment's payload with Panda's id of the deployment.
const PAYLOAD_ID: &str = "pandaDeployment";

/// A repository at GitHub with the token for it.
#[derive(Clone, Copy, Debug)]
pub struct Repository<'a> {
    /// Account or organisation of the repository.
    pub owner: &'a str,
    /// Name of the repository.
    pub name: &'a str,
    /// Token with the permissions `deployments: write` and `statuses: write`.
    pub token: &'a SecretString,
}

/// A deployment as GitHub gets it.
#[derive(Clone, Copy, Debug)]
pub struct DeploymentAtGitHub<'a> {
    /// Panda's id of the deployment, by which it is found again.
    pub id: &'a str,
    /// Commit that is deployed.
    pub sha: &'a str,
    /// Name of the environment at GitHub.
    pub environment: &'a str,
    /// True if people use the environment.
    pub is_production: bool,
}

/// A state with what GitHub shows beside it.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a, State> {
    /// State in the terms of GitHub.
    pub state: State,
    /// Text beside the state, 140 characters at most.
    pub description: &'a str,
    /// Page of the deployment at Panda; none where the server has no public address.
    pub page: Option<&'a Url>,
}

#[derive(Deserialize)]
struct StoredDeployment {
    id: u64,
    #[serde(default)]
    payload: serde_json::Value,
}

impl StoredDeployment {
    /// GitHub returns the payload as it was sent, and as a text where another program sent one.
    fn panda_id(&self) -> Option<&str> {
        self.payload.get(PAYLOAD_ID)?.as_str()
    }
}

#[derive(Deserialize)]
struct StoredStatus {
    state: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    environment_url: Option<String>,
    #[serde(default)]
    context: Option<String>,
}

impl GitHub {
    /// Returns GitHub's id of the deployment, and creates it where there is none, with the state `queued`.
    pub async fn ensure_deployment(
        &self,
        repository: Repository<'_>,
        new: DeploymentAtGitHub<'_>,
        queued: Shown<'_, GitHubState>,
    ) -> Result<u64, GitHubError> {
        let ensured = async {
            let query = [("sha", new.sha), ("environment", new.environment), ("per_page", LIST)];
            let known: Vec<StoredDeployment> = self.list(repository, &["deployments"], &query).await?;
            let found = known.iter().find(|one| one.panda_id() == Some(new.id));
            let id = match found {
                Some(found) => found.id,
                None => self.create_deployment(repository, new).await?,
            };
            let number = id.to_string();
            if self.newest_status(repository, &["deployments", &number, "statuses"]).await?.is_none() {
                self.show_deployment(repository, id, queued, None).await?;
            }
            Ok(id)
        };
        ensured.await.map_err(|error| masked(error, repository.token))
    }

    async fn create_deployment(
        &self,
        repository: Repository<'_>,
        new: DeploymentAtGitHub<'_>,
    ) -> Result<u64, GitHubError> {
        let body = json!({
            "ref": new.sha,
            "environment": new.environment,
            "production_environment": new.is_production,
            "payload": {PAYLOAD_ID: new.id},
            "description": format!("Panda {}", new.id),
            // Panda deploys this commit as it is, whatever its checks say: rules for that belong to the branch.
            "auto_merge": false,
            "required_contexts": [],
        });
        let created: StoredDeployment = self.create(repository, &["deployments"], &body).await?;
        Ok(created.id)
    }

    /// Returns state and description of the deployment's newest status; none before the first.
    pub async fn shown(&self, repository: Repository<'_>, id: u64) -> Result<Option<(String, String)>, GitHubError> {
        let number = id.to_string();
        let newest = self.newest_status(repository, &["deployments", &number, "statuses"]).await;
        let newest = newest.map_err(|error| masked(error, repository.token))?;
        Ok(newest.map(|newest| (newest.state, newest.description.unwrap_or_default())))
    }

    /// Gives the deployment a status, unless it is the newest one already.
    pub async fn show_deployment(
        &self,
        repository: Repository<'_>,
        id: u64,
        shown: Shown<'_, GitHubState>,
        environment_url: Option<&str>,
    ) -> Result<(), GitHubError> {
        let number = id.to_string();
        let path = ["deployments", &number, "statuses"];
        let shown_there = async {
            let newest = self.newest_status(repository, &path).await?;
            let is_shown = newest.is_some_and(|newest| {
                newest.state == shown.state.as_str()
                    && newest.description.as_deref() == Some(shown.description)
                    && newest.environment_url.unwrap_or_default() == environment_url.unwrap_or_default()
            });
            if is_shown {
                return Ok(());
            }
            let mut body = json!({
                "state": shown.state.as_str(),
                "description": shown.description,
                // Production environments are excepted from it at GitHub: `end_earlier_deployments` ends them all.
                "auto_inactive": false,
            });
            insert(&mut body, "log_url", shown.page.map(Url::as_str));
            insert(&mut body, "environment_url", environment_url);
            let _: StoredStatus = self.create(repository, &path, &body).await?;
            Ok(())
        };
        shown_there.await.map_err(|error| masked(error, repository.token))
    }

    /// Ends Panda's earlier deployments of the environment, of which GitHub shows one as active.
    pub async fn end_earlier_deployments(
        &self,
        repository: Repository<'_>,
        environment: &str,
        id: u64,
    ) -> Result<(), GitHubError> {
        self.change_earlier(repository, environment, id, [GitHubState::Success, GitHubState::Inactive]).await
    }

    /// Makes the deployment before this one active again, because it has the traffic again.
    pub async fn revive_earlier_deployment(
        &self,
        repository: Repository<'_>,
        environment: &str,
        id: u64,
    ) -> Result<(), GitHubError> {
        self.change_earlier(repository, environment, id, [GitHubState::Inactive, GitHubState::Success]).await
    }

    /// Moves the newest earlier deployment that succeeded, or was ended after it had, from one state to the other.
    async fn change_earlier(
        &self,
        repository: Repository<'_>,
        environment: &str,
        id: u64,
        [from, to]: [GitHubState; 2],
    ) -> Result<(), GitHubError> {
        let changed = async {
            let query = [("environment", environment), ("per_page", LIST)];
            let known: Vec<StoredDeployment> = self.list(repository, &["deployments"], &query).await?;
            let earlier = known.iter().filter(|one| one.id < id && one.panda_id().is_some());
            for deployment in earlier.take(EARLIER) {
                let number = deployment.id.to_string();
                let path = ["deployments", &number, "statuses"];
                let statuses: Vec<StoredStatus> = self.list(repository, &path, &[("per_page", LIST)]).await?;
                let has = |state: GitHubState| statuses.iter().any(|one| one.state == state.as_str());
                if !has(GitHubState::Success) {
                    continue;
                }
                // Those before it were ended when it succeeded.
                if statuses.first().is_some_and(|newest| newest.state == from.as_str()) {
                    let body = json!({"state": to.as_str(), "auto_inactive": false});
                    let _: StoredStatus = self.create(repository, &path, &body).await?;
                }
                break;
            }
            Ok(())
        };
        changed.await.map_err(|error| masked(error, repository.token))
    }

    /// Gives the commit a status in `context`, unless it is the newest one of it already.
    pub async fn show_commit(
        &self,
        repository: Repository<'_>,
        sha: &str,
        context: &str,
        shown: Shown<'_, CommitState>,
    ) -> Result<(), GitHubError> {
        let shown_there = async {
            let query = [("per_page", LIST)];
            let known: Vec<StoredStatus> = self.list(repository, &["commits", sha, "statuses"], &query).await?;
            // GitHub ignores the case of contexts.
            let of_context = |one: &&StoredStatus| {
                one.context.as_deref().is_some_and(|known| known.to_lowercase() == context.to_lowercase())
            };
            let newest = known.iter().find(of_context);
            let is_shown = newest.is_some_and(|newest| {
                newest.state == shown.state.as_str() && newest.description.as_deref() == Some(shown.description)
            });
            if is_shown {
                return Ok(());
            }
            let mut body = json!({"state": shown.state.as_str(), "description": shown.description, "context": context});
            insert(&mut body, "target_url", shown.page.map(Url::as_str));
            let _: StoredStatus = self.create(repository, &["statuses", sha], &body).await?;
            Ok(())
        };
        shown_there.await.map_err(|error| masked(error, repository.token))
    }

    async fn newest_status(
        &self,
        repository: Repository<'_>,
        path: &[&str],
    ) -> Result<Option<StoredStatus>, GitHubError> {
        let newest: Vec<StoredStatus> = self.list(repository, path, &[("per_page", "1")]).await?;
        Ok(newest.into_iter().next())
    }

    async fn list<T: DeserializeOwned>(
        &self,
        repository: Repository<'_>,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, GitHubError> {
        let request = self.request(Method::GET, &below(repository, path), repository.token)?.query(query);
        read(accepted(send(request).await?, GitHubError::RepositoryNotFound).await?).await
    }

    async fn create<T: DeserializeOwned>(
        &self,
        repository: Repository<'_>,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, GitHubError> {
        let request = self.request(Method::POST, &below(repository, path), repository.token)?.json(body);
        read(accepted(send(request).await?, GitHubError::RepositoryNotFound).await?).await
    }
}

fn below<'a>(repository: Repository<'a>, path: &[&'a str]) -> Vec<&'a str> {
    ["repos", repository.owner, repository.name].into_iter().chain(path.iter().copied()).collect()
}

fn insert(body: &mut serde_json::Value, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        body[name] = json!(value);
    }
}

async fn read<T: DeserializeOwned>(answer: Response) -> Result<T, GitHubError> {
    let failed = |kind, text: String| GitHubError::from(ClientError::new(kind, CALL, text));
    let body = bounded::body(answer, MAX_LIST_BYTES).await;
    let body = body.map_err(|error| failed(ErrorKind::Unavailable, error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| failed(ErrorKind::Invalid, format!("unexpected answer: {error}")))
}
