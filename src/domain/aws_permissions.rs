//! Permissions in AWS: the one table of the statements that Panda's two identities need. `panda iam-policy` prints them, the check of a connection lists
//! them, and tests compare them with the calls that the code makes (`metrics::aws`) and with the templates in `aws/`.

use serde_json::{Map, Value, json};

/// AwsIdentity that makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsIdentity {
    /// Panda's own, in the controller's account.
    Controller,
    /// That of a connection, in a user's account.
    User,
}

/// Feature that needs a statement; the others are always needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Panda writes the policy of the bus (`PANDA_BUS_POLICY` other than `managed`).
    WritesBusPolicy,
    /// Status events on a queue.
    StatusQueue,
    /// Keys of KMS in the keyring.
    KmsKeys,
    /// Panda creates the role of the rules.
    CreatesRuleRole,
    /// The check of a connection finds out more: by reading what deployments do not, and by simulating the policies.
    Preflight,
}

/// A statement of a policy. Placeholders in the resources are those of [`PolicyNames`].
#[derive(Clone, Copy, Debug)]
pub struct PolicyStatement {
    /// AwsIdentity that needs it.
    pub identity: AwsIdentity,
    /// Its id in the policy.
    pub sid: &'static str,
    /// Actions in alphabetical order.
    pub actions: &'static [&'static str],
    /// Templates of the ARNs on which it permits the actions.
    pub resources: &'static [&'static str],
    /// Service to which a role may be passed.
    pub passed_to: Option<&'static str>,
    /// Feature without which it is not needed.
    pub feature: Option<Feature>,
}

const fn controller(
    sid: &'static str,
    actions: &'static [&'static str],
    resources: &'static [&'static str],
) -> PolicyStatement {
    PolicyStatement { identity: AwsIdentity::Controller, sid, actions, resources, passed_to: None, feature: None }
}

const fn user(
    sid: &'static str,
    actions: &'static [&'static str],
    resources: &'static [&'static str],
) -> PolicyStatement {
    PolicyStatement { identity: AwsIdentity::User, ..controller(sid, actions, resources) }
}

impl PolicyStatement {
    const fn for_feature(self, feature: Feature) -> Self {
        Self { feature: Some(feature), ..self }
    }
}

/// AWS has no resources for these actions.
const ANY: &[&str] = &["*"];

/// The identity itself: a role, or the user of access keys.
const OWN_IDENTITY: &[&str] = &["arn:{partition}:iam::{account}:{identity}"];

/// All statements, in the order in which they are printed.
pub const STATEMENTS: [PolicyStatement; 28] = [
    controller("AssumeUsersRoles", &["sts:AssumeRole"], &["arn:{partition}:iam::*:role/{role}"]),
    controller(
        "ReadBusPolicy",
        &["events:DescribeEventBus"],
        &["arn:{partition}:events:{region}:{account}:event-bus/{bus}"],
    ),
    controller("WriteBusPolicy", &["events:PutPermission", "events:RemovePermission"], ANY)
        .for_feature(Feature::WritesBusPolicy),
    controller(
        "ReadLatestExecution",
        &["secretsmanager:GetSecretValue"],
        &["arn:{partition}:secretsmanager:{region}:{account}:secret:{secret}*"],
    ),
    controller(
        "FollowExecutions",
        &["states:DescribeExecution", "states:GetExecutionHistory", "states:StopExecution"],
        &["arn:{partition}:states:{region}:{account}:execution:{machine}:*"],
    ),
    controller("ReceiveStatusEvents", &["sqs:DeleteMessage", "sqs:ReceiveMessage"], &["{queue}"])
        .for_feature(Feature::StatusQueue),
    controller("UseKeys", &["kms:Decrypt", "kms:Encrypt"], &["{key}"]).for_feature(Feature::KmsKeys),
    controller("CheckRules", &["events:ListRules"], ANY).for_feature(Feature::Preflight),
    controller(
        "CheckPipeline",
        &["events:ListTargetsByRule", "states:DescribeStateMachine"],
        &[
            "arn:{partition}:states:{region}:{account}:stateMachine:{machine}",
            "arn:{partition}:events:{region}:{account}:rule/{bus}/*",
        ],
    )
    .for_feature(Feature::Preflight),
    controller("SimulateOwnPolicies", &["iam:SimulatePrincipalPolicy"], OWN_IDENTITY).for_feature(Feature::Preflight),
    user("LogInToRegistry", &["ecr:GetAuthorizationToken"], ANY),
    user(
        "PushImages",
        &[
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:CompleteLayerUpload",
            "ecr:CreateRepository",
            "ecr:DescribeImages",
            "ecr:DescribeRepositories",
            "ecr:GetDownloadUrlForLayer",
            "ecr:InitiateLayerUpload",
            "ecr:ListTagsForResource",
            "ecr:PutImage",
            "ecr:PutLifecyclePolicy",
            "ecr:TagResource",
            "ecr:UploadLayerPart",
        ],
        &["arn:{partition}:ecr:{region}:{account}:repository/{repositories}"],
    ),
    user(
        "ManageRules",
        &[
            "events:DeleteRule",
            "events:DescribeRule",
            "events:ListTargetsByRule",
            "events:PutRule",
            "events:PutTargets",
            "events:RemoveTargets",
        ],
        &["arn:{partition}:events:{region}:{account}:rule/{rules}*"],
    ),
    user("ListRules", &["events:ListRules"], ANY),
    PolicyStatement {
        passed_to: Some("events.amazonaws.com"),
        ..user("PassRoleOfRules", &["iam:PassRole"], &["{target_role}"])
    },
    user(
        "ReadRollouts",
        &["codedeploy:BatchGetDeployments", "codedeploy:GetDeployment", "codedeploy:GetDeploymentConfig"],
        &[
            "arn:{partition}:codedeploy:{region}:{account}:deploymentconfig:*",
            "arn:{partition}:codedeploy:{region}:{account}:deploymentgroup:{group}",
        ],
    ),
    user(
        "SwitchTraffic",
        &[
            "codedeploy:BatchGetDeploymentTargets",
            "codedeploy:ContinueDeployment",
            "codedeploy:ListDeploymentTargets",
            "codedeploy:StopDeployment",
        ],
        ANY,
    ),
    user(
        "ReadServiceDeployments",
        &["ecs:DescribeServiceDeployments"],
        &["arn:{partition}:ecs:{region}:{account}:service-deployment/*"],
    ),
    user(
        "ReadServiceRevisions",
        &["ecs:DescribeServiceRevisions"],
        &["arn:{partition}:ecs:{region}:{account}:service-revision/*"],
    ),
    user(
        "FindServiceDeployments",
        &["ecs:ListServiceDeployments"],
        &["arn:{partition}:ecs:{region}:{account}:service/*"],
    ),
    user(
        "SwitchServiceTraffic",
        &["ecs:ContinueServiceDeployment", "ecs:StopServiceDeployment"],
        &["arn:{partition}:ecs:{region}:{account}:service-deployment/*"],
    ),
    user(
        "ReadListeners",
        &[
            "elasticloadbalancing:DescribeListeners",
            "elasticloadbalancing:DescribeRules",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
        ],
        ANY,
    ),
    user("ReadAlarms", &["cloudwatch:DescribeAlarms"], &["arn:{partition}:cloudwatch:{region}:{account}:alarm:*"]),
    user(
        "CreateRoleOfRules",
        &["iam:CreateRole", "iam:GetRole", "iam:GetRolePolicy", "iam:PutRolePolicy"],
        &["arn:{partition}:iam::{account}:role/panda-events-*"],
    )
    .for_feature(Feature::CreatesRuleRole),
    user("CheckRoleOfRules", &["iam:GetRole"], &["{target_role}"]).for_feature(Feature::Preflight),
    user(
        "CheckImages",
        &["ecr:GetLifecyclePolicy"],
        &["arn:{partition}:ecr:{region}:{account}:repository/{repositories}"],
    )
    .for_feature(Feature::Preflight),
    user(
        "CheckRollouts",
        &["codedeploy:GetDeploymentGroup"],
        &["arn:{partition}:codedeploy:{region}:{account}:deploymentgroup:{group}"],
    )
    .for_feature(Feature::Preflight),
    user("SimulateOwnPolicies", &["iam:SimulatePrincipalPolicy"], OWN_IDENTITY).for_feature(Feature::Preflight),
];

/// Names and features for which the policies are printed.
#[derive(Clone, Debug)]
pub struct PolicyNames {
    /// Placeholders with their values.
    pub values: Vec<(&'static str, String)>,
    /// Features whose statements are included.
    pub features: Vec<Feature>,
}

impl PolicyNames {
    fn fill(&self, template: &str) -> String {
        self.values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// Returns the resources of a statement.
    pub fn resources(&self, statement: &PolicyStatement) -> Vec<String> {
        statement.resources.iter().map(|resource| self.fill(resource)).collect()
    }

    /// Returns the statements of an identity.
    pub fn statements(&self, identity: AwsIdentity) -> impl Iterator<Item = &'static PolicyStatement> {
        let wanted = move |statement: &&PolicyStatement| {
            statement.identity == identity && statement.feature.is_none_or(|feature| self.features.contains(&feature))
        };
        STATEMENTS.iter().filter(wanted)
    }
}

/// Returns the policy of an identity.
pub fn policy(identity: AwsIdentity, scope: &PolicyNames) -> Value {
    let statements: Vec<Value> = scope.statements(identity).map(|statement| shown(statement, scope)).collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn shown(statement: &PolicyStatement, scope: &PolicyNames) -> Value {
    let mut shown = Map::new();
    shown.insert("Sid".to_owned(), json!(statement.sid));
    shown.insert("Effect".to_owned(), json!("Allow"));
    shown.insert("Action".to_owned(), json!(statement.actions));
    shown.insert("Resource".to_owned(), json!(scope.resources(statement)));
    if let Some(service) = statement.passed_to {
        shown.insert("Condition".to_owned(), json!({"StringEquals": {"iam:PassedToService": service}}));
    }
    Value::Object(shown)
}
