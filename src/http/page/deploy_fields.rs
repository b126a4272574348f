//! Fields that describe a deployment, shared by the forms of deployments and schedules: choices of connections, and values to begin with.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::db::build_secrets::BuildSecretView;
use crate::db::connections::{AwsSummary, GithubSummary};
use crate::db::deployments::repeat::DeploymentRequest;
use crate::domain::deployment::Concurrency;
use crate::domain::labels::Labels;
use crate::domain::principal::Caller;
use crate::domain::source::{Source, SourceFields};
use crate::http::ApiState;
use crate::http::routes::deploy::requested::RequestedBuild;
use crate::http::routes::schedules::ScheduledDeploy;

/// A connection to a source repository with the names of its build secrets.
pub struct GithubChoice {
    /// Id of the connection.
    pub id: String,
    /// Account or organisation of the repository.
    pub owner: String,
    /// Repository name without the owner.
    pub repo: String,
    /// Branch checked when the connection was made.
    pub branch: String,
    /// Time at which it was connected or renewed.
    pub connected_at: DateTime<Utc>,
    /// Build secrets, by name.
    pub secrets: Vec<BuildSecretView>,
}

impl GithubChoice {
    fn new(row: GithubSummary, secrets: Vec<BuildSecretView>) -> Self {
        let GithubSummary { id, owner, repo, branch, connected_at } = row;
        Self { id, owner, repo, branch, connected_at, secrets }
    }
}

/// A connection to an AWS account.
pub struct AwsChoice {
    /// Id of the connection.
    pub id: String,
    pub region: String,
    /// AWS account, twelve digits.
    pub account_id: String,
    /// Role that Panda assumes; none for access keys.
    pub role_arn: Option<String>,
    /// Repositories that it serves; none for all.
    pub scope: Option<String>,
    /// Role of the targets of its event rules.
    pub rule_target_role_arn: Option<String>,
    /// Time at which it was connected or renewed.
    pub connected_at: DateTime<Utc>,
    /// True while a deployment waits for new credentials.
    pub awaits_renewal: bool,
}

impl AwsChoice {
    fn new(row: AwsSummary, awaits_renewal: bool) -> Self {
        let AwsSummary { id, region, account_id, role_arn, scope, rule_target_role_arn, connected_at } = row;
        let scope = scope.map(|names| names.join(", "));
        Self { id, region, account_id, role_arn, scope, rule_target_role_arn, connected_at, awaits_renewal }
    }
}

/// Connections that a caller sees.
pub struct Connections {
    /// Connections to source repositories, the last connected or renewed first.
    pub github: Vec<GithubChoice>,
    /// Connections to AWS accounts, in the same order.
    pub aws: Vec<AwsChoice>,
}

impl Connections {
    /// Reads the connections of the caller's scope. Names of build secrets need the role deployer, as in the API.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn read(state: &ApiState, caller: &Caller, with_secrets: bool) -> Result<Self, DbError> {
        let github = state.db.github_connections(caller.scope()).await?;
        let aws = state.db.aws_connections(caller.scope()).await?;
        let ids: Vec<String> = aws.iter().map(|connection| connection.id.clone()).collect();
        let refused = state.db.connections_awaiting_renewal(&ids).await?;
        let with_state = |row: AwsSummary| {
            let awaits_renewal = refused.contains(&row.id);
            AwsChoice::new(row, awaits_renewal)
        };
        let aws = aws.into_iter().map(with_state).collect();
        let mut secrets: BTreeMap<String, Vec<BuildSecretView>> = BTreeMap::new();
        if with_secrets {
            let ids: Vec<String> = github.iter().map(|connection| connection.id.clone()).collect();
            for (connection, secret) in state.db.build_secret_names(&ids).await? {
                secrets.entry(connection).or_default().push(secret);
            }
        }
        let with_secrets = |row: GithubSummary| {
            let secrets = secrets.remove(&row.id).unwrap_or_default();
            GithubChoice::new(row, secrets)
        };
        Ok(Self { github: github.into_iter().map(with_secrets).collect(), aws })
    }

    /// True if a deployment has the connections that it needs.
    pub fn are_complete(&self) -> bool {
        !self.github.is_empty() && !self.aws.is_empty()
    }
}

/// Values of the fields. Empty ones are not set.
#[derive(Clone, Debug, Default)]
pub struct DeployValues {
    /// Id of the GitHub connection.
    pub github: String,
    /// Id of the AWS connection.
    pub aws: String,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// `branch`, `commit`, `tag` or `image`.
    pub source: &'static str,
    /// Name of the branch or tag, commit or digest.
    pub revision: String,
    pub build: RequestedBuild,
    /// Reason in the caller's words.
    pub reason: String,
    /// `planned`, `hotfix` or `rollback`.
    pub kind: String,
    /// Labels of the request.
    pub labels: Labels,
}

impl DeployValues {
    /// Values of a new deployment with chosen connections. A connection that is the only one of its kind is chosen.
    pub fn chosen(connections: &Connections, github: &str, aws: &str) -> Self {
        let github = match connections.github.as_slice() {
            [only] if github.is_empty() => Some(only),
            all => all.iter().find(|choice| choice.id == github),
        };
        let aws = match connections.aws.as_slice() {
            [only] if aws.is_empty() => Some(only),
            all => all.iter().find(|choice| choice.id == aws),
        };
        let aws = aws.map(|aws| aws.id.clone()).unwrap_or_default();
        let mut values = Self { source: "branch", aws, ..Self::default() };
        if let Some(chosen) = github {
            values.github.clone_from(&chosen.id);
            values.owner.clone_from(&chosen.owner);
            values.repo.clone_from(&chosen.repo);
            values.revision.clone_from(&chosen.branch);
        }
        values
    }

    /// The value of a source field, if it is the chosen one.
    pub fn of(&self, source: &str) -> &str {
        if self.source == source { &self.revision } else { "" }
    }

    /// True for the chosen kind of source.
    pub fn is_source(&self, source: impl AsRef<str>) -> bool {
        self.source == source.as_ref()
    }

    /// True for the chosen purpose.
    pub fn is_kind(&self, kind: impl AsRef<str>) -> bool {
        self.kind == kind.as_ref()
    }

    /// Build arguments, one on each line.
    pub fn args(&self) -> String {
        let lines: Vec<String> = self.build.args.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.join("\n")
    }

    /// Labels, one on each line.
    pub fn labels(&self) -> String {
        let lines: Vec<String> = self.labels.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.join("\n")
    }

    /// True if a build option is set.
    pub fn has_build(&self) -> bool {
        self.build != RequestedBuild::default()
    }

    /// True if the build may read this secret.
    pub fn reads(&self, secret: &str) -> bool {
        self.build.secrets.iter().any(|name| name == secret)
    }
}

impl From<DeploymentRequest> for DeployValues {
    fn from(row: DeploymentRequest) -> Self {
        let source = Source::of_column(&row.branch);
        Self {
            github: row.github_connection_id,
            aws: row.aws_connection_id,
            owner: row.owner,
            repo: row.repo,
            source: source.kind(),
            revision: source.name().to_owned(),
            build: row.build.and_then(|build| serde_json::from_value(build).ok()).unwrap_or_default(),
            reason: row.reason.unwrap_or_default(),
            kind: row.kind,
            labels: row.requested_labels.0,
        }
    }
}

impl From<ScheduledDeploy> for DeployValues {
    fn from(deploy: ScheduledDeploy) -> Self {
        let SourceFields { branch, commit, tag, image } =
            SourceFields { branch: deploy.branch, commit: deploy.commit, tag: deploy.tag, image: deploy.image };
        let named = [("branch", branch), ("commit", commit), ("tag", tag), ("image", image)];
        let found = named.into_iter().find_map(|(source, name)| Some((source, name?)));
        let (source, revision) = found.unwrap_or(("branch", String::new()));
        Self {
            github: deploy.github_connection_id,
            aws: deploy.aws_connection_id,
            owner: deploy.owner,
            repo: deploy.repo,
            source,
            revision,
            build: deploy.build.unwrap_or_default(),
            reason: deploy.reason.unwrap_or_default(),
            kind: deploy.kind.unwrap_or_default(),
            labels: Labels(deploy.labels),
        }
    }
}

/// The fields as templates show them.
pub struct DeployForm {
    /// Beginning of the names of the fields: empty, or `deploy.`.
    pub prefix: &'static str,
    /// Connections to choose from.
    pub connections: Connections,
    /// Values to begin with.
    pub values: DeployValues,
    /// Behaviour at a taken target while the form chooses none.
    pub default_concurrency: &'static str,
    /// Chosen behaviour at a taken target; empty for the default.
    pub concurrency: String,
}

impl DeployForm {
    /// Values that `concurrency` accepts.
    pub const CONCURRENCY: [Concurrency; 3] = [Concurrency::Reject, Concurrency::Queue, Concurrency::Supersede];

    /// Fields of a new deployment or schedule.
    pub fn new(state: &ApiState, prefix: &'static str, connections: Connections, values: DeployValues) -> Self {
        let default_concurrency = state.config.default_concurrency.as_str();
        Self { prefix, connections, values, default_concurrency, concurrency: String::new() }
    }

    /// True if a chosen connection was removed, or is outside the caller's scope.
    pub fn lacks_connection(&self) -> bool {
        let Self { connections: Connections { github, aws }, values, .. } = self;
        let has_github = github.iter().any(|choice| choice.id == values.github);
        let has_aws = aws.iter().any(|choice| choice.id == values.aws);
        (!values.github.is_empty() && !has_github) || (!values.aws.is_empty() && !has_aws)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(github: usize, aws: usize) -> Connections {
        let at = DateTime::UNIX_EPOCH;
        let github = (0..github).map(|n| GithubChoice {
            id: format!("gh_{n}"),
            owner: "acme".to_owned(),
            repo: format!("shop{n}"),
            branch: "main".to_owned(),
            connected_at: at,
            secrets: Vec::new(),
        });
        let aws = (0..aws).map(|n| AwsChoice {
            id: format!("aws_{n}"),
            region: "ap-northeast-2".to_owned(),
            account_id: "123456789012".to_owned(),
            role_arn: None,
            scope: None,
            rule_target_role_arn: None,
            connected_at: at,
            awaits_renewal: false,
        });
        Connections { github: github.collect(), aws: aws.collect() }
    }

    #[test]
    fn chooses_only_what_is_named_or_alone() {
        let values = DeployValues::chosen(&connections(1, 1), "", "");
        assert_eq!((values.github.as_str(), values.repo.as_str(), values.aws.as_str()), ("gh_0", "shop0", "aws_0"));
        assert_eq!((values.of("branch"), values.of("tag")), ("main", ""));
        let values = DeployValues::chosen(&connections(2, 2), "", "");
        assert_eq!((values.github.as_str(), values.aws.as_str()), ("", ""));
        let values = DeployValues::chosen(&connections(2, 2), "gh_1", "aws_9");
        assert_eq!((values.github.as_str(), values.aws.as_str()), ("gh_1", ""));
    }
}
