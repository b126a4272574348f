//! Preflight: the needs of a deployment before it starts, item by item, with the state of each. The looks are made in `commands/connect/aws/preflight`.

use super::aws_permissions::AwsIdentity;
use super::bus_policy::BusPolicy;
use super::message::{Message, message};

/// Settings of the server that decide what a deployment needs.
#[derive(Clone, Debug, Default)]
pub struct PreflightSettings {
    /// Name of the controller's event bus.
    pub event_bus: String,
    /// Owner of the content of the bus policy.
    pub bus_policy: BusPolicy,
    /// Organization whose accounts the bus policy may permit as a whole.
    pub bus_organization: Option<String>,
    /// ARN of the role of the rules' targets, for connections without their own.
    pub rule_target_role_arn: Option<String>,
    /// Set when status events are read from a queue.
    pub has_status_queue: bool,
    /// Number of releases of each target that are kept for rollbacks.
    pub keep_releases: u32,
}

/// Availability of something that a deployment needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum ItemState {
    /// It is there, or permitted.
    Present,
    /// The deployment creates or corrects it.
    WouldBeCreated,
    /// It is absent, denied or unusable: the deployment would fail.
    Missing,
    /// It could not be looked up.
    Unknown,
}

/// Nature of something that a deployment needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum ItemKind {
    /// Credentials that a service accepts.
    Credentials,
    /// Something in an account.
    Resource,
    /// An action of IAM.
    Permission,
    /// Room within a quota.
    Quota,
    /// A service that answers.
    Service,
}

/// Owner of something that a deployment needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum ItemPlace {
    /// Panda itself, with its database and builders.
    Server,
    /// The host of the source repository.
    Source,
    /// AWS account of the controller.
    Controller,
    /// AWS account of the connection.
    User,
}

impl From<AwsIdentity> for ItemPlace {
    fn from(identity: AwsIdentity) -> Self {
        match identity {
            AwsIdentity::Controller => Self::Controller,
            AwsIdentity::User => Self::User,
        }
    }
}

/// Something that a deployment needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightItem {
    /// Stable id, unique in a check.
    pub id: String,
    /// Account or service that has it.
    pub place: ItemPlace,
    /// Distinguishes permissions, resources and others.
    pub kind: ItemKind,
    /// Name of the item: an action, an ARN, a repository.
    pub name: String,
    /// Purpose of the item, for people.
    pub text: Message,
    /// Result of the look.
    pub state: ItemState,
    /// False if deployments succeed without it.
    pub required: bool,
    /// Reason of a state other than present.
    pub reason: Option<Message>,
    /// Steps to resolve a state other than present.
    pub remedy: Option<Message>,
    /// Permission for lack of which the item is missing or unknown.
    pub permission: Option<&'static str>,
}

impl PreflightItem {
    /// An item that is present.
    pub fn new(id: &str, place: ItemPlace, kind: ItemKind, name: impl Into<String>, text: Message) -> Self {
        Self {
            id: id.to_owned(),
            place,
            kind,
            name: name.into(),
            text,
            state: ItemState::Present,
            required: true,
            reason: None,
            remedy: None,
            permission: None,
        }
    }

    /// An action of an identity, as permitted.
    pub fn permission(identity: AwsIdentity, action: &str) -> Self {
        let place = ItemPlace::from(identity);
        let id = format!("{}.{action}", <&str>::from(place));
        let text = match identity {
            AwsIdentity::Controller => message!("preflight.controller_action", action),
            AwsIdentity::User => message!("preflight.user_action", action),
        };
        let required = !OPTIONAL_ACTIONS.contains(&action);
        Self { required, ..Self::new(&id, place, ItemKind::Permission, action, text) }
    }

    /// The item as one that the deployment creates or corrects.
    #[must_use]
    pub fn created(self, reason: Message) -> Self {
        Self { state: ItemState::WouldBeCreated, reason: Some(reason), ..self }
    }

    /// The item as missing.
    #[must_use]
    pub fn missing(self, reason: Message, remedy: Message) -> Self {
        Self { state: ItemState::Missing, reason: Some(reason), remedy: Some(remedy), ..self }
    }

    /// The item as not known.
    #[must_use]
    pub fn unknown(self, reason: Message, remedy: Message) -> Self {
        Self { state: ItemState::Unknown, reason: Some(reason), remedy: Some(remedy), ..self }
    }

    /// Names the permission that lacks, with the command that prints it.
    #[must_use]
    pub fn lacking(self, permission: &'static str) -> Self {
        let remedy = match self.place {
            ItemPlace::User => message!("preflight.permit_user", permission),
            _ => message!("preflight.permit_controller", permission),
        };
        Self { permission: Some(permission), remedy: Some(remedy), ..self }
    }

    /// Without it deployments succeed.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { required: false, ..self }
    }
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum PreflightVerdict {
    /// Every required item is present, or would be created.
    Ready,
    /// A required item is missing.
    Missing,
    /// No required item is known to be missing, but one could not be looked up.
    Unknown,
}

impl PreflightVerdict {
    /// Judges the required items. An item that could not be looked up does not count as present.
    pub fn of(items: &[PreflightItem]) -> Self {
        let any = |state| items.iter().any(|item| item.required && item.state == state);
        match (any(ItemState::Missing), any(ItemState::Unknown)) {
            (true, _) => Self::Missing,
            (false, true) => Self::Unknown,
            (false, false) => Self::Ready,
        }
    }
}

/// Actions without which deployments succeed: docs/aws.md says what is lost. The last seven are for the check alone.
const OPTIONAL_ACTIONS: [&str; 24] = [
    "codedeploy:BatchGetDeployments",
    "codedeploy:GetDeploymentConfig",
    "ecr:DescribeImages",
    "ecr:ListTagsForResource",
    "ecr:PutLifecyclePolicy",
    "ecr:TagResource",
    "ecs:ListServiceDeployments",
    "elasticloadbalancing:DescribeListeners",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "events:DeleteRule",
    "events:DescribeRule",
    "events:RemovePermission",
    "events:RemoveTargets",
    "sqs:DeleteMessage",
    "sqs:ReceiveMessage",
    "codedeploy:GetDeploymentGroup",
    "ecr:GetLifecyclePolicy",
    "events:ListRules",
    "events:ListTargetsByRule",
    "iam:GetRole",
    "iam:SimulatePrincipalPolicy",
    "states:DescribeStateMachine",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::aws_permissions::STATEMENTS;

    fn item(state: ItemState, required: bool) -> PreflightItem {
        let place = ItemPlace::User;
        let item = PreflightItem::new("x", place, ItemKind::Resource, "x", message!("preflight.by_deployment"));
        PreflightItem { state, required, ..item }
    }

    #[test]
    fn unknown_is_not_ready_and_optional_items_do_not_count() {
        use ItemState::{Missing, Present, Unknown, WouldBeCreated};
        let verdict = |items: &[(ItemState, bool)]| {
            PreflightVerdict::of(&items.iter().map(|(state, required)| item(*state, *required)).collect::<Vec<_>>())
        };
        assert_eq!(verdict(&[(Present, true), (WouldBeCreated, true), (Missing, false)]), PreflightVerdict::Ready);
        assert_eq!(verdict(&[(Present, true), (Unknown, true)]), PreflightVerdict::Unknown);
        assert_eq!(verdict(&[(Unknown, true), (Missing, true)]), PreflightVerdict::Missing);
        assert_eq!(verdict(&[(Unknown, false)]), PreflightVerdict::Ready);
    }

    #[test]
    fn optional_actions_are_in_the_policies() {
        let permitted: Vec<&str> = STATEMENTS.iter().flat_map(|statement| statement.actions).copied().collect();
        assert!(OPTIONAL_ACTIONS.iter().all(|action| permitted.contains(action)));
        assert!(!PreflightItem::permission(AwsIdentity::User, "events:ListRules").required);
        let item = PreflightItem::permission(AwsIdentity::Controller, "events:DescribeEventBus");
        assert!(item.required && item.id == "controller.events:DescribeEventBus");
    }
}
