//! The subject of a check: the connection, its repository, and the names that follow from them.

use super::PreflightContext;
use crate::clients::aws::UserAws;
use crate::commands::error::CommandError;
use crate::db::Db;
use crate::db::deployments::ListFilter;
use crate::domain::aws_permissions::{AwsIdentity, Feature, PolicyNames, PolicyStatement};
use crate::domain::aws_role::partition;
use crate::domain::bus_policy::BusPolicy;
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::event_route::default_target_role;
use crate::domain::principal::Caller;
use crate::domain::rollout::RolloutId;

/// Newest deployments among which one with a rollout is sought.
const SEARCHED: i64 = 10;

/// Stands for the end of a name that AWS chooses.
const ANY_NAME: &str = "preflight";

/// A connection with everything that follows from it.
pub(super) struct Subject<'a> {
    pub(super) cx: PreflightContext<'a>,
    pub(super) connection: &'a AwsConnection,
    pub(super) source: Option<&'a GithubConnection>,
    /// CodeDeploy deployment of the repository's newest rollout.
    pub(super) rollout: Option<&'a str>,
    /// ARN of that rollout, if ECS shifts its traffic.
    pub(super) native: Option<&'a str>,
    pub(super) user: UserAws,
    /// ECR repository, if its name is valid.
    pub(super) repository: Option<String>,
    /// Event rule of the repository.
    pub(super) rule: Option<String>,
    /// Secret with the latest execution of the repository.
    pub(super) secret: Option<String>,
    /// Role of the rule's target.
    pub(super) role: Option<String>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(
        cx: PreflightContext<'a>,
        connection: &'a AwsConnection,
        source: Option<&'a GithubConnection>,
        rollout: Option<&'a RolloutId>,
    ) -> Self {
        let (rollout, native) = match rollout {
            Some(RolloutId::CodeDeploy(id)) => (Some(id.as_str()), None),
            Some(RolloutId::EcsNative(arn)) => (None, Some(arn.as_str())),
            None => (None, None),
        };
        let default = cx.settings.rule_target_role_arn.as_deref();
        let role = connection.rule_target_role_arn.clone();
        Self {
            cx,
            connection,
            source,
            rollout,
            native,
            user: cx.aws.user_of(connection, &connection.region),
            repository: source.and_then(|of| cx.names.ecr_repository(&of.owner, &of.repo).ok()),
            rule: source.map(|of| cx.names.rule(&of.owner, &of.repo)),
            secret: source.map(|of| cx.names.secret(&of.owner, &of.repo)),
            role: role.or_else(|| default_target_role(default, &connection.account_id)),
        }
    }

    /// The statements that deployments need of an identity, and those of the check.
    pub(super) fn statements(&self, identity: AwsIdentity) -> Vec<&'static PolicyStatement> {
        let mut features = vec![Feature::Preflight];
        if self.cx.settings.bus_policy != BusPolicy::Managed {
            features.push(Feature::WritesBusPolicy);
        }
        if self.cx.settings.has_status_queue {
            features.push(Feature::StatusQueue);
        }
        PolicyNames { values: Vec::new(), features }.statements(identity).collect()
    }

    /// The resource on which an identity needs an action; none as long as a part of it is unknown. `names` are those that the looks found.
    pub(super) fn resource(
        &self,
        statement: &PolicyStatement,
        action: &str,
        names: &[(&'static str, String)],
    ) -> Option<String> {
        let (account, region) = match statement.identity {
            AwsIdentity::User => (self.connection.account_id.clone(), self.connection.region.clone()),
            AwsIdentity::Controller => {
                let account = names.iter().find(|(name, _)| *name == "account").map(|(_, account)| account.clone());
                (account?, self.cx.aws.controller_region().unwrap_or_default().to_owned())
            }
        };
        let mut values = vec![("partition", partition(&region).to_owned()), ("account", account), ("region", region)];
        values.push(("bus", self.cx.settings.event_bus.clone()));
        let known = [
            ("repositories", self.repository.clone()),
            ("rules", self.rule.clone()),
            ("secret", self.secret.clone()),
            ("target_role", self.role.clone()),
        ];
        values.extend(known.into_iter().filter_map(|(name, value)| Some((name, value?))));
        values.extend(names.iter().filter(|(name, _)| *name != "account").cloned());
        let resources = PolicyNames { values, features: Vec::new() }.resources(statement);
        // Statements with several resources have those of their first actions last.
        let first = action.ends_with("DeploymentConfig") || action.ends_with("DescribeStateMachine");
        let resource = if first { resources.first() } else { resources.last() }?;
        if resource == "*" {
            return Some("*".to_owned());
        }
        let concrete = match (resource.strip_suffix(":*").or(resource.strip_suffix("/*")), resource.strip_suffix('*')) {
            (Some(start), _) => format!("{start}{}{ANY_NAME}", &resource[start.len()..=start.len()]),
            (None, Some(start)) => start.to_owned(),
            (None, None) => resource.clone(),
        };
        (!concrete.contains('{')).then_some(concrete)
    }
}

/// The newest rollout of a repository; none before the first.
pub(super) async fn newest_rollout(
    db: &Db,
    by: &Caller,
    source: &GithubConnection,
) -> Result<Option<RolloutId>, CommandError> {
    let (owner, repo) = (Some(source.owner.clone()), Some(source.repo.clone()));
    let newest = ListFilter { owner, repo, limit: SEARCHED, ..ListFilter::default() };
    let found = db.list_deployments(by.scope(), &newest).await?;
    Ok(found.into_iter().find_map(|deployment| deployment.facts.rollout()))
}
