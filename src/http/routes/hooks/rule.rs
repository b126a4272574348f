//! A rule of a push hook in requests and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::deployment::Concurrency;
use crate::domain::labels::Labels;
use crate::domain::principal::Caller;
use crate::domain::push_hook::PushRule;
use crate::domain::request::Purpose;
use crate::http::error::ApiError;
use crate::http::error::input::InputError;
use crate::http::routes::deploy::create::{Deploy, new_deployment};
use crate::http::routes::deploy::requested::RequestedBuild;
use crate::http::{ApiState, strict_object};

/// Which pushes to a repository start a deployment, and of what kind. Patterns: `*` stands for any characters but `/`, `**` for any characters, `?` for
/// one character but `/`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PushHookRule {
    /// Id of the GitHub connection with the source.
    #[schema(example = "gh_4k1zq0v7w3m9x2c8b5n6")]
    pub github_connection_id: String,
    /// Id of the AWS connection with the target account.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub aws_connection_id: String,
    /// Account or organisation of the source; must be that of the GitHub connection.
    #[schema(example = "acme", min_length = 1, max_length = 39)]
    pub owner: String,
    /// Repository of the source; must be that of the GitHub connection.
    #[schema(example = "shop", min_length = 1, max_length = 100)]
    pub repo: String,
    /// Patterns of branches; `branches` or `tags` must have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["main"]), max_items = 50)]
    pub branches: Vec<String>,
    /// Patterns of tags that start a deployment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["v*"]), max_items = 50)]
    pub tags: Vec<String>,
    /// Patterns of paths of which a push to a branch must change one; all paths when absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["services/api/**"]), max_items = 50)]
    pub paths: Vec<String>,
    /// Patterns of paths whose changes do not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["docs/**"]), max_items = 50)]
    pub ignore_paths: Vec<String>,
    /// Behaviour when another deployment of the target is unfinished: `supersede` (when absent), `queue` or `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "supersede", pattern = "^(reject|queue|supersede)$")]
    pub concurrency: Option<String>,
    /// Build options of the deployments.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "strict_object::optional")]
    pub build: Option<RequestedBuild>,
    /// Purpose: `planned` (the default), `hotfix` or `rollback`. Only reports use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "planned", pattern = "^(planned|hotfix|rollback)$")]
    pub kind: Option<String>,
    /// Labels of the deployments, up to 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"environment": "production"}))]
    pub labels: BTreeMap<String, String>,
}

impl PushHookRule {
    /// Validates the rule, whose fields are named below `at`.
    pub(super) async fn check(self, state: &ApiState, caller: &Caller, at: &str) -> Result<PushRule, ApiError> {
        let within = |error| match error {
            ApiError::Input(InputError::Field { field, rule }) => ApiError::field(format!("{at}.{field}"), rule),
            other => other,
        };
        let deploy = Deploy {
            github_connection_id: self.github_connection_id,
            aws_connection_id: self.aws_connection_id,
            owner: self.owner,
            repo: self.repo,
            // Each push names its commit; any valid source passes the checks.
            branch: Some("main".to_owned()),
            commit: None,
            tag: None,
            image: None,
            build: self.build,
            reason: None,
            kind: self.kind,
            labels: self.labels,
            concurrency: self.concurrency.or_else(|| Some(Concurrency::Supersede.as_str().to_owned())),
            freeze_override: None,
        };
        let new = new_deployment(state, caller, deploy).await.map_err(within)?;
        let rule = PushRule {
            owner: new.owner,
            repo: new.repo,
            github_connection_id: new.github_connection_id,
            aws_connection_id: new.aws_connection_id,
            branches: self.branches,
            tags: self.tags,
            paths: self.paths,
            ignore_paths: self.ignore_paths,
            concurrency: new.concurrency,
            build: new.requested.build,
            kind: new.requested.kind,
            labels: new.requested.labels,
        };
        rule.check_patterns().map_err(|refused| ApiError::from(refused.within(at)))?;
        Ok(rule)
    }
}

impl From<PushRule> for PushHookRule {
    fn from(rule: PushRule) -> Self {
        let Labels(labels) = rule.labels;
        Self {
            github_connection_id: rule.github_connection_id,
            aws_connection_id: rule.aws_connection_id,
            owner: rule.owner,
            repo: rule.repo,
            branches: rule.branches,
            tags: rule.tags,
            paths: rule.paths,
            ignore_paths: rule.ignore_paths,
            concurrency: Some(rule.concurrency.as_str().to_owned()),
            build: if rule.build.is_empty() { None } else { Some(rule.build.into()) },
            kind: (rule.kind != Purpose::default()).then(|| rule.kind.as_str().to_owned()),
            labels,
        }
    }
}
