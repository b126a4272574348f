//! The looks: calls that only read, each bounded by the deadline of the whole check.

use std::collections::BTreeMap;

use chrono::Utc;
use futures_util::future::{OptionFuture, join_all};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::LIMIT;
use super::subject::Subject;
use crate::clients::aws::{
    BusDescription, CallerIdentity, DeploymentGroup, EcrRepository, Iam, ListedRule, RuleDescription, RuleTarget,
    ServiceDeployment, StateMachine,
};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::aws_permissions::AwsIdentity;
use crate::domain::aws_role::partition;
use crate::domain::connection::{AwsConnection, AwsCredentials, GithubConnection};
use crate::domain::ecs_service::ServiceName;
use crate::domain::execution_input::execution_arn;
use crate::domain::mask::Mask;
use crate::domain::service_revision::ServiceRevision;

/// Answer to a look.
pub(super) type Look<T> = Result<T, ClientError>;

/// Digest that no image has.
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Makes looks until the deadline, and masks the secrets of the connections in what services answer.
pub(super) struct Looker {
    deadline: Instant,
    mask: Mask,
}

impl Looker {
    pub(super) fn new(deadline: Instant, connection: &AwsConnection, source: Option<&GithubConnection>) -> Self {
        let token = source.map(|source| &source.token);
        Self { deadline, mask: Mask::of(connection.credentials.secrets().into_iter().chain(token)) }
    }

    /// Makes one look. A service that does not answer before the deadline is [`ErrorKind::Unavailable`].
    pub(super) async fn look<T>(&self, call: &'static str, look: impl Future<Output = Look<T>>) -> Look<T> {
        let Ok(answer) = timeout_at(self.deadline, Box::pin(look)).await else {
            let reason = format!("no answer within {} s", LIMIT.as_secs());
            return Err(ClientError::new(ErrorKind::Unavailable, call, reason));
        };
        answer.map_err(|mut error| {
            self.mask.string(&mut error.message);
            error
        })
    }

    /// Masks the secrets in a text.
    pub(super) fn masked(&self, text: &str) -> String {
        self.mask.text(text).into_owned()
    }
}

/// Decisions of the simulated policies by action; absent where the resource is unknown.
pub(super) type Simulated = BTreeMap<&'static str, Look<bool>>;

/// Answers of the connected account.
pub(super) struct UserLooks {
    pub(super) identity: Look<CallerIdentity>,
    pub(super) login: Look<()>,
    pub(super) rules: Look<Vec<ListedRule>>,
    /// Trust policy of the role of the rule's target, if there is such a role.
    pub(super) role: Option<Look<Option<Value>>>,
    pub(super) rule: Option<Look<Option<RuleDescription>>>,
    pub(super) targets: Option<Look<Vec<RuleTarget>>>,
    pub(super) repository: Option<Look<Option<EcrRepository>>>,
    pub(super) manifest: Option<Look<()>>,
    /// Lifecycle policy of the repository, if it has one.
    pub(super) lifecycle: Option<Look<Option<String>>>,
    /// Application and group of the newest rollout.
    pub(super) rollout: Option<Look<Option<(String, String)>>>,
    /// Deployment group of that rollout.
    pub(super) group: Option<Look<Option<DeploymentGroup>>>,
    /// The newest rollout, if ECS shifts its traffic.
    pub(super) native: Option<NativeLooks>,
    /// Answers about a listener and a target group that need not exist, by action.
    pub(super) balancers: Vec<(&'static str, Look<()>)>,
    pub(super) simulated: Simulated,
}

/// Answers about a rollout of ECS.
pub(super) struct NativeLooks {
    pub(super) deployment: Look<ServiceDeployment>,
    /// Images and load balancers of its revision.
    pub(super) revision: Option<Look<Vec<ServiceRevision>>>,
    /// Other deployments of its service.
    pub(super) listed: Option<Look<()>>,
}

pub(super) async fn of_user(looker: &Looker, subject: &Subject<'_>) -> UserLooks {
    let user = &subject.user;
    let (identity, (rollout, group), native, login, rules, role, balancers) = tokio::join!(
        looker.look("sts:GetCallerIdentity", user.sts.caller_identity()),
        Box::pin(rollout(looker, subject)),
        Box::pin(native(looker, subject)),
        looker.look("ecr:GetAuthorizationToken", async { user.ecr.login().await.map(drop) }),
        looker.look("events:ListRules", user.rules.list(&subject.connection.account_id, &subject.connection.region)),
        optional(subject.role.as_deref().map(|role| {
            let name = role.rsplit('/').next().unwrap_or_default();
            looker.look("iam:GetRole", user.iam.trust_policy(name))
        })),
        Box::pin(balancers(looker, subject)),
    );
    let known = rollout.as_ref().and_then(|found| found.as_ref().ok()?.clone());
    let group_name =
        known.map_or_else(|| assumed_group(subject), |(application, group)| Some(format!("{application}/{group}")));
    let names: Vec<(&'static str, String)> = group_name.into_iter().map(|group| ("group", group)).collect();
    let own = identity.as_ref().ok().and_then(|identity| identity_arn(&subject.connection.credentials, identity));
    let (of_rule, of_ecr) = (subject.rule.as_deref(), subject.repository.as_deref());
    let (described, targets, repository, manifest, lifecycle, simulated) = tokio::join!(
        optional(of_rule.map(|name| looker.look("events:DescribeRule", user.rules.describe_rule(name)))),
        optional(of_rule.map(|name| looker.look("events:ListTargetsByRule", user.rules.targets(name)))),
        optional(of_ecr.map(|name| looker.look("ecr:DescribeRepositories", user.ecr.find_repository(name)))),
        optional(of_ecr.map(|name| {
            looker.look("ecr:BatchGetImage", async move { user.ecr.manifest(name, NO_DIGEST).await.map(drop) })
        })),
        optional(of_ecr.map(|name| looker.look("ecr:GetLifecyclePolicy", user.ecr.lifecycle_policy(name)))),
        Box::pin(simulate(looker, subject, (AwsIdentity::User, &user.iam), own.as_deref(), &names)),
    );
    UserLooks {
        identity,
        login,
        rules,
        role,
        rule: described,
        targets,
        repository,
        manifest,
        lifecycle,
        rollout,
        group,
        native,
        balancers,
        simulated,
    }
}

/// Reads what does not exist: AWS decides about the permission first.
async fn balancers(looker: &Looker, subject: &Subject<'_>) -> Vec<(&'static str, Look<()>)> {
    let (balancers, region) = (&subject.user.load_balancers, subject.connection.region.as_str());
    let place = format!("{}:elasticloadbalancing:{region}:{}", partition(region), subject.connection.account_id);
    let listener = |kind: &str| format!("arn:{place}:listener/{kind}/panda-check/0000000000000000/0000000000000000");
    let group = format!("arn:{place}:targetgroup/panda-check/0000000000000000");
    let (application, network) = (listener("app"), listener("net"));
    let (rules, listeners, groups, health) = tokio::join!(
        looker.look("elasticloadbalancing:DescribeRules", balancers.routes(&application)),
        looker.look("elasticloadbalancing:DescribeListeners", balancers.routes(&network)),
        looker.look("elasticloadbalancing:DescribeTargetGroups", balancers.target_group("panda-check")),
        looker.look("elasticloadbalancing:DescribeTargetHealth", balancers.target_health(&group)),
    );
    vec![
        ("elasticloadbalancing:DescribeRules", rules.map(drop)),
        ("elasticloadbalancing:DescribeListeners", listeners.map(drop)),
        ("elasticloadbalancing:DescribeTargetGroups", groups.map(drop)),
        ("elasticloadbalancing:DescribeTargetHealth", health.map(drop)),
    ]
}

/// The names that the templates give application and group, for the simulation before the first rollout.
fn assumed_group(subject: &Subject<'_>) -> Option<String> {
    subject.repository.as_ref().map(|name| format!("panda-{name}/panda-{name}"))
}

async fn optional<T>(look: Option<impl Future<Output = T>>) -> Option<T> {
    OptionFuture::from(look).await
}

async fn native(looker: &Looker, subject: &Subject<'_>) -> Option<NativeLooks> {
    let (arn, ecs) = (subject.native?, &subject.user.ecs);
    let deployment = looker.look("ecs:DescribeServiceDeployments", ecs.service_deployment(arn)).await;
    let revision = deployment.as_ref().ok().and_then(|found| found.target_revision.clone());
    let names: Vec<&str> = arn.split('/').collect();
    let name = match names.as_slice() {
        [_, cluster, service, _] => {
            Some(ServiceName { cluster: (*cluster).to_owned(), service: (*service).to_owned() })
        }
        _ => None,
    };
    let (revision, listed) = tokio::join!(
        optional(
            revision.map(|arn| async move { looker.look("ecs:DescribeServiceRevisions", ecs.revisions(&[arn])).await })
        ),
        // After the present: a page without entries suffices.
        optional(name.map(|name| async move {
            let look = async { ecs.deployments_since(&name, Utc::now()).await.map(drop) };
            looker.look("ecs:ListServiceDeployments", look).await
        })),
    );
    Some(NativeLooks { deployment, revision, listed })
}

type RolloutLooks = (Option<Look<Option<(String, String)>>>, Option<Look<Option<DeploymentGroup>>>);

async fn rollout(looker: &Looker, subject: &Subject<'_>) -> RolloutLooks {
    let Some(id) = subject.rollout else { return (None, None) };
    let codedeploy = &subject.user.codedeploy;
    let found = looker.look("codedeploy:GetDeployment", codedeploy.group_of(id)).await;
    let group = match &found {
        Ok(Some((application, group))) => {
            let look = codedeploy.deployment_group(application, group);
            Some(looker.look("codedeploy:GetDeploymentGroup", look).await)
        }
        _ => None,
    };
    (Some(found), group)
}

/// Answers of the controller's account.
pub(super) struct ControllerLooks {
    pub(super) identity: Look<CallerIdentity>,
    pub(super) bus: Look<BusDescription>,
    /// ARNs of the targets of the bus's rules.
    pub(super) targets: Look<Vec<String>>,
    /// The state machine among them.
    pub(super) machine: Option<Look<Option<StateMachine>>>,
    pub(super) secret: Option<Look<Option<String>>>,
    /// Answers about an execution, which need not exist.
    pub(super) execution: Option<Look<()>>,
    pub(super) history: Option<Look<()>>,
    pub(super) simulated: Simulated,
}

pub(super) async fn of_controller(looker: &Looker, subject: &Subject<'_>) -> ControllerLooks {
    let (controller, bus) = (subject.cx.aws.controller(), subject.cx.settings.event_bus.as_str());
    let (identity, bus, (targets, machine), secret) = tokio::join!(
        looker.look("sts:GetCallerIdentity", controller.sts.caller_identity()),
        looker.look("events:DescribeEventBus", controller.bus.describe(bus)),
        Box::pin(pipeline(looker, subject)),
        optional(
            subject
                .secret
                .as_deref()
                .map(|secret| { looker.look("secretsmanager:GetSecretValue", controller.secrets.value(secret)) })
        ),
    );
    let latest = secret.as_ref().and_then(|found| execution_arn(found.as_ref().ok()?.as_deref()?));
    let started = targets.as_ref().ok().and_then(|targets| machine_of(targets)).map(execution_of);
    let execution = latest.or(started);
    let mut names = Vec::new();
    names.extend(identity.as_ref().ok().map(|identity| ("account", identity.account_id.clone())));
    let machine_name = execution.as_deref().and_then(|arn| arn.split(':').nth(6));
    names.extend(machine_name.map(|name| ("machine", name.to_owned())));
    if let AwsCredentials::Role { role_arn, .. } = &subject.connection.credentials {
        names.push(("assumed", role_arn.clone()));
    }
    let own = identity.as_ref().ok().and_then(|identity| iam_arn(&identity.arn));
    let (described, history, simulated) = tokio::join!(
        optional(execution.as_deref().map(|arn| {
            let look = async move { controller.executions.describe(arn).await.map(drop) };
            looker.look("states:DescribeExecution", look)
        })),
        optional(execution.as_deref().map(|arn| {
            // After the last event that a history can have, so that one small page is read.
            let look = async move { controller.executions.history_after(arn, i64::from(i32::MAX)).await.map(drop) };
            looker.look("states:GetExecutionHistory", look)
        })),
        Box::pin(simulate(looker, subject, (AwsIdentity::Controller, &controller.iam), own.as_deref(), &names)),
    );
    ControllerLooks { identity, bus, targets, machine, secret, execution: described, history, simulated }
}

async fn pipeline(looker: &Looker, subject: &Subject<'_>) -> (Look<Vec<String>>, Option<Look<Option<StateMachine>>>) {
    let controller = subject.cx.aws.controller();
    let targets = looker.look("events:ListRules", controller.bus.targets(&subject.cx.settings.event_bus)).await;
    let machine = targets.as_ref().ok().and_then(|targets| machine_of(targets));
    let machine = optional(
        machine.map(|arn| looker.look("states:DescribeStateMachine", controller.executions.state_machine(arn))),
    )
    .await;
    (targets, machine)
}

/// The first target that is a state machine.
pub(super) fn machine_of(targets: &[String]) -> Option<&str> {
    targets.iter().map(String::as_str).find(|arn| arn.contains(":states:") && arn.contains(":stateMachine:"))
}

/// An execution of the machine that does not exist.
fn execution_of(machine: &str) -> String {
    format!("{}:preflight", machine.replacen(":stateMachine:", ":execution:", 1))
}

/// The ARN under which IAM knows a connection's identity.
fn identity_arn(credentials: &AwsCredentials, identity: &CallerIdentity) -> Option<String> {
    match credentials {
        AwsCredentials::Role { role_arn, .. } => Some(role_arn.clone()),
        AwsCredentials::Keys(_) => iam_arn(&identity.arn),
    }
}

/// The role of a session, or the user; none for an account's root, which has no policies. STS omits the path of a role.
fn iam_arn(arn: &str) -> Option<String> {
    if arn.contains(":user/") {
        return Some(arn.to_owned());
    }
    let (start, rest) = arn.split_once(":assumed-role/")?;
    let account = start.rsplit(':').next()?;
    let place = start.split(':').nth(1).unwrap_or_else(|| partition(""));
    Some(format!("arn:{place}:iam::{account}:role/{}", rest.split('/').next()?))
}

/// Simulates the identity's policies for all actions whose resource is known, one call for each resource, all concurrently.
async fn simulate(
    looker: &Looker,
    subject: &Subject<'_>,
    (of, iam): (AwsIdentity, &Iam),
    own: Option<&str>,
    names: &[(&'static str, String)],
) -> Simulated {
    let Some(own) = own else { return Simulated::new() };
    let mut by_resource: BTreeMap<(String, Option<&str>), Vec<&'static str>> = BTreeMap::new();
    for statement in subject.statements(of) {
        for action in statement.actions {
            let resource = match *action {
                "iam:SimulatePrincipalPolicy" => Some(own.to_owned()),
                "sts:AssumeRole" => names.iter().find(|(name, _)| *name == "assumed").map(|(_, role)| role.clone()),
                action => subject.resource(statement, action, names),
            };
            if let Some(resource) = resource {
                by_resource.entry((resource, statement.passed_to)).or_default().push(action);
            }
        }
    }
    let mut calls = Vec::new();
    for ((resource, passed_to), actions) in &by_resource {
        calls.push(looker.look("iam:SimulatePrincipalPolicy", iam.simulate(own, actions, resource, *passed_to)));
    }
    let mut simulated = Simulated::new();
    for (actions, answer) in by_resource.values().zip(join_all(calls).await) {
        for action in actions {
            let decision = match &answer {
                Ok(decided) => decided.iter().find(|(name, _)| name == action).map(|(_, allowed)| Ok(*allowed)),
                Err(error) => Some(Err(error.clone())),
            };
            simulated.extend(decision.map(|decision| (*action, decision)));
        }
    }
    simulated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_of_a_session_is_its_role() {
        let role = "arn:aws-cn:sts::123456789012:assumed-role/panda/session";
        assert_eq!(iam_arn(role).as_deref(), Some("arn:aws-cn:iam::123456789012:role/panda"));
        let user = "arn:aws:iam::123456789012:user/team/panda";
        assert_eq!(iam_arn(user).as_deref(), Some(user));
        assert_eq!(iam_arn("arn:aws:iam::123456789012:root"), None);
    }

    #[test]
    fn state_machine_is_among_the_targets() {
        let targets = ["arn:aws:sqs:r:1:q", "arn:aws:states:r:1:stateMachine:panda"].map(str::to_owned);
        let machine = machine_of(&targets).unwrap();
        assert_eq!(execution_of(machine), "arn:aws:states:r:1:execution:panda:preflight");
        assert_eq!(machine_of(&targets[..1]), None);
    }
}
