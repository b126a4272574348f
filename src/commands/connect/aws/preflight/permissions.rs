//! Items about the actions of both identities: which follow from the looks, and from the simulated policies where only a change would show them.

use std::collections::BTreeMap;

use super::looks::{ControllerLooks, Look, Simulated, UserLooks};
use super::subject::Subject;
use crate::clients::aws::EcrRepository;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::aws_permissions::AwsIdentity;
use crate::domain::connection::AwsCredentials;
use crate::domain::message::message;
use crate::domain::preflight::{ItemState, PreflightItem};

/// Simulates policies; without it, permissions to change something remain unknown.
const SIMULATION: &str = "iam:SimulatePrincipalPolicy";

/// Actions with the answer to a look that needs them.
type Evidence<'a> = BTreeMap<&'static str, Result<(), &'a ClientError>>;

pub(super) fn items(
    subject: &Subject<'_>,
    user: &UserLooks,
    controller: &ControllerLooks,
    resources: &[PreflightItem],
) -> Vec<PreflightItem> {
    let state = |id: &str| resources.iter().find(|item| item.id == id).map(|item| item.state);
    let of = |identity: AwsIdentity, evidence: &Evidence<'_>, simulated: &Simulated| {
        let statements = subject.statements(identity);
        let actions = statements.iter().flat_map(|statement| statement.actions);
        let actions = actions.filter(|action| is_needed(subject, action, &state));
        actions.map(|action| judged(subject, identity, action, evidence, simulated)).collect::<Vec<_>>()
    };
    let mut items = of(AwsIdentity::Controller, &of_controller(user, controller), &controller.simulated);
    items.extend(of(AwsIdentity::User, &of_user(user), &user.simulated));
    for item in &mut items {
        // Nothing is created that is there already.
        item.required &= match item.name.as_str() {
            "ecr:CreateRepository" => state("ecrRepository") != Some(ItemState::Present),
            "events:PutPermission" => state("busPolicy") != Some(ItemState::Present),
            _ => true,
        };
    }
    items
}

/// Access keys assume no role, and a bus of the same account and region needs neither role nor statement.
fn is_needed(subject: &Subject<'_>, action: &str, state: &impl Fn(&str) -> Option<ItemState>) -> bool {
    match action {
        "sts:AssumeRole" => matches!(subject.connection.credentials, AwsCredentials::Role { .. }),
        "iam:PassRole" | "iam:GetRole" => subject.role.is_some() && state("ruleRole").is_some(),
        "events:PutPermission" | "events:RemovePermission" => state("busPolicy").is_some(),
        "codedeploy:GetDeploymentGroup" => subject.rollout.is_some(),
        // Each service's traffic is shifted by one of the two.
        _ if action.starts_with("codedeploy:") => subject.native.is_none(),
        _ if action.starts_with("ecs:") => subject.native.is_some(),
        _ => true,
    }
}

fn of_user(looks: &UserLooks) -> Evidence<'_> {
    let described = looks.repository.as_ref().map(done);
    // The second call of that look may be the denied one.
    let described =
        described.filter(|answer| answer.err().is_none_or(|error| error.call == "ecr:DescribeRepositories"));
    let tagged = matches!(&looks.repository, Some(Ok(Some(EcrRepository { tags: Some(_), .. }))));
    let all = [
        ("ecr:GetAuthorizationToken", Some(done(&looks.login))),
        ("events:ListRules", Some(done(&looks.rules))),
        ("iam:GetRole", looks.role.as_ref().map(done)),
        ("events:DescribeRule", looks.rule.as_ref().map(done)),
        ("events:ListTargetsByRule", looks.targets.as_ref().map(done)),
        ("ecr:BatchGetImage", looks.manifest.as_ref().map(done)),
        ("ecr:GetLifecyclePolicy", looks.lifecycle.as_ref().map(done)),
        ("codedeploy:GetDeployment", looks.rollout.as_ref().map(done)),
        ("codedeploy:GetDeploymentGroup", looks.group.as_ref().map(done)),
        ("ecr:DescribeRepositories", described),
        ("ecr:ListTagsForResource", tagged.then_some(Ok(()))),
        (SIMULATION, simulation(&looks.simulated)),
    ];
    let native = looks.native.as_ref();
    let of_native = [
        ("ecs:DescribeServiceDeployments", native.map(|native| done(&native.deployment))),
        ("ecs:DescribeServiceRevisions", native.and_then(|native| native.revision.as_ref()).map(done)),
        ("ecs:ListServiceDeployments", native.and_then(|native| native.listed.as_ref()).map(done)),
    ];
    let balancers = looks.balancers.iter().map(|(action, look)| (*action, Some(done(look))));
    all.into_iter().chain(of_native).chain(balancers).filter_map(|(action, answer)| Some((action, answer?))).collect()
}

fn of_controller<'a>(user: &'a UserLooks, looks: &'a ControllerLooks) -> Evidence<'a> {
    let targets = done(&looks.targets);
    // Targets are listed only once rules were.
    let rules = targets.or_else(|error| if error.call == "events:ListTargetsByRule" { Ok(()) } else { Err(error) });
    let all = [
        ("events:ListRules", Some(rules)),
        ("events:ListTargetsByRule", rules.is_ok().then_some(targets)),
        ("events:DescribeEventBus", Some(done(&looks.bus))),
        // The connection's first call has assumed its role.
        ("sts:AssumeRole", Some(done(&user.identity))),
        ("secretsmanager:GetSecretValue", looks.secret.as_ref().map(done)),
        ("states:DescribeStateMachine", looks.machine.as_ref().map(done)),
        ("states:DescribeExecution", looks.execution.as_ref().map(done)),
        ("states:GetExecutionHistory", looks.history.as_ref().map(done)),
        (SIMULATION, simulation(&looks.simulated)),
    ];
    all.into_iter().filter_map(|(action, answer)| Some((action, answer?))).collect()
}

fn done<T>(look: &Look<T>) -> Result<(), &ClientError> {
    look.as_ref().map(drop)
}

/// The answers to the simulations are evidence of the permission to simulate.
fn simulation(simulated: &Simulated) -> Option<Result<(), &ClientError>> {
    let refused = simulated.values().find_map(|decision| decision.as_ref().err());
    (!simulated.is_empty()).then(|| refused.map_or(Ok(()), Err))
}

/// A call that AWS answers in any other way than with a denial is permitted. Policies that the look did not cover are simulated.
fn judged(
    subject: &Subject<'_>,
    identity: AwsIdentity,
    action: &'static str,
    evidence: &Evidence<'_>,
    simulated: &Simulated,
) -> PreflightItem {
    let item = PreflightItem::permission(identity, action);
    match evidence.get(action) {
        Some(Ok(())) => return item,
        Some(Err(error)) => match error.kind {
            ErrorKind::Denied => {
                return item
                    .missing(message!("preflight.denied", error = error.to_string()), message!("preflight.retry"))
                    .lacking(action);
            }
            ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::LimitExceeded | ErrorKind::Invalid => return item,
            ErrorKind::Credentials => {
                let reason = message!("preflight.credentials_refused", error = error.to_string());
                return item.unknown(reason, message!("preflight.renew", id = &subject.connection.id));
            }
            ErrorKind::Throttled | ErrorKind::Unavailable => {}
        },
        None => {}
    }
    let unanswered = evidence.get(action).and_then(|answer| answer.as_ref().err());
    match (simulated.get(action), unanswered) {
        (Some(Ok(true)), _) => item,
        (Some(Ok(false)), _) if is_assumed(subject, action) => {
            item.unknown(message!("preflight.group_assumed"), message!("preflight.after_rollout"))
        }
        (Some(Ok(false)), _) => {
            item.missing(message!("preflight.simulated"), message!("preflight.retry")).lacking(action)
        }
        (_, Some(error)) => unanswered_item(item, error),
        (Some(Err(error)), None) if error.kind == ErrorKind::Denied => {
            item.unknown(message!("preflight.not_simulated"), message!("preflight.retry")).lacking(SIMULATION)
        }
        (Some(Err(error)), None) => unanswered_item(item, error),
        (None, None) if subject.source.is_none() => {
            item.unknown(message!("preflight.no_repository"), message!("preflight.name_repository"))
        }
        (None, None) => item.unknown(message!("preflight.not_simulatable"), message!("preflight.compare_policy")),
    }
}

fn unanswered_item(item: PreflightItem, error: &ClientError) -> PreflightItem {
    item.unknown(message!("preflight.unanswered", error = error.to_string()), message!("preflight.retry"))
}

/// Before the first rollout, the names of application and group are those of the templates.
fn is_assumed(subject: &Subject<'_>, action: &str) -> bool {
    subject.rollout.is_none() && matches!(action, "codedeploy:GetDeployment" | "codedeploy:BatchGetDeployments")
}
