//! Reasons of decisions on deliveries: a code for programs, and a text for people.

use super::payload::BrokenPayload;
use crate::domain::message::{Message, message};

/// Decision on a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum PushDecision {
    /// A deployment was started.
    Started,
    /// The rules want no deployment.
    Ignored,
    /// Signature, payload, permission or target prevented a deployment.
    Rejected,
}

impl PushDecision {
    /// Returns the name used on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Reason of a decision on a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushReason {
    /// Started: the rule with this number, from 1, matches.
    RuleMatched(usize),
    /// Started by the rule with this number: the payload does not list all changed paths, and those that it lists do not match.
    PathsUndecided(usize),
    /// Started by the rule with this number: the deployment to be superseded is switching its traffic, so the new one waits for its end.
    QueuedBehindSwitch(usize),
    /// The event of a new webhook at GitHub.
    Ping,
    /// This event starts no deployment.
    OtherEvent(String),
    /// A pull request starts no deployment.
    PullRequest,
    /// A pull request from this other repository starts no deployment.
    ForkPullRequest(String),
    /// No rule is for this repository.
    OtherRepository(String),
    /// The push deleted this branch.
    BranchDeleted(String),
    /// The push deleted this tag.
    TagDeleted(String),
    /// The push is to neither a branch nor a tag.
    OtherRef(String),
    /// The push created this branch without a commit.
    NoNewCommits(String),
    /// No rule of the repository matches this branch or tag.
    RefNotMatched(String),
    /// The changed paths match no rule of the branch.
    PathsNotMatched(String),
    /// A newer push to the ref was received before: its commit.
    Outdated(String),
    /// An admin has switched the hook off.
    HookDisabled,
    /// The request has no valid signature.
    SignatureInvalid,
    /// The payload cannot be read.
    PayloadInvalid(BrokenPayload),
    /// The permission of this owner of the hook has ended, with this code.
    PermissionEnded(String, &'static str),
    /// This connection of the rule was removed.
    ConnectionRemoved(String),
    /// This connection of the rule is not for the repository, or not in the scope of the hook's owner.
    ConnectionNotFor(String),
    /// This deployment holds the target, and the rule rejects further ones.
    TargetTaken(String),
    /// The ECR repository with this name belongs to another source.
    NameTaken(String),
    /// The repository has a name that ECR does not accept.
    NameUnsuitable(Message),
}

impl PushReason {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RuleMatched(_) => "RULE_MATCHED",
            Self::PathsUndecided(_) => "PATHS_UNDECIDED",
            Self::QueuedBehindSwitch(_) => "QUEUED_BEHIND_SWITCH",
            Self::Ping => "PING",
            Self::OtherEvent(_) => "EVENT_NOT_PUSH",
            Self::PullRequest => "PULL_REQUEST",
            Self::ForkPullRequest(_) => "PULL_REQUEST_FROM_FORK",
            Self::OtherRepository(_) => "REPOSITORY_WITHOUT_RULE",
            Self::BranchDeleted(_) => "BRANCH_DELETED",
            Self::TagDeleted(_) => "TAG_DELETED",
            Self::OtherRef(_) => "REF_NOT_BRANCH_OR_TAG",
            Self::NoNewCommits(_) => "BRANCH_WITHOUT_COMMITS",
            Self::RefNotMatched(_) => "REF_NOT_MATCHED",
            Self::PathsNotMatched(_) => "PATHS_NOT_MATCHED",
            Self::Outdated(_) => "PUSH_OUTDATED",
            Self::HookDisabled => "HOOK_DISABLED",
            Self::SignatureInvalid => "SIGNATURE_INVALID",
            Self::PayloadInvalid(_) => "PAYLOAD_INVALID",
            Self::PermissionEnded(..) => "PERMISSION_ENDED",
            Self::ConnectionRemoved(_) => "CONNECTION_REMOVED",
            Self::ConnectionNotFor(_) => "OUT_OF_SCOPE",
            Self::TargetTaken(_) => "TARGET_TAKEN",
            Self::NameTaken(_) => "REPOSITORY_NAME_TAKEN",
            Self::NameUnsuitable(_) => "REPOSITORY_NAME_UNSUITABLE",
        }
    }

    /// Returns the decision that has this reason.
    pub fn decision(&self) -> PushDecision {
        match self {
            Self::RuleMatched(_) | Self::PathsUndecided(_) | Self::QueuedBehindSwitch(_) => PushDecision::Started,
            Self::SignatureInvalid
            | Self::PayloadInvalid(_)
            | Self::PermissionEnded(..)
            | Self::ConnectionRemoved(_)
            | Self::ConnectionNotFor(_)
            | Self::TargetTaken(_)
            | Self::NameTaken(_)
            | Self::NameUnsuitable(_) => PushDecision::Rejected,
            _ => PushDecision::Ignored,
        }
    }

    /// Returns the text for people, with the remedy where there is one.
    pub fn message(&self) -> Message {
        match self {
            Self::RuleMatched(rule) => message!("push.rule_matched", rule = *rule),
            Self::PathsUndecided(rule) => message!("push.paths_undecided", rule = *rule),
            Self::QueuedBehindSwitch(rule) => message!("push.queued_behind_switch", rule = *rule),
            Self::Ping => message!("push.ping"),
            Self::OtherEvent(event) => message!("push.other_event", event),
            Self::PullRequest => message!("push.pull_request"),
            Self::ForkPullRequest(fork) => message!("push.fork_pull_request", fork),
            Self::OtherRepository(name) => message!("push.other_repository", name),
            Self::BranchDeleted(name) => message!("push.branch_deleted", name),
            Self::TagDeleted(name) => message!("push.tag_deleted", name),
            Self::OtherRef(name) => message!("push.other_ref", name),
            Self::NoNewCommits(name) => message!("push.no_new_commits", name),
            Self::RefNotMatched(name) => message!("push.ref_not_matched", name),
            Self::PathsNotMatched(name) => message!("push.paths_not_matched", name),
            Self::Outdated(commit) => message!("push.outdated", commit),
            Self::HookDisabled => message!("push.hook_disabled"),
            Self::SignatureInvalid => message!("push.signature_invalid"),
            Self::PayloadInvalid(broken) => message!("push.payload_invalid", reason = broken.to_string()),
            Self::PermissionEnded(owner, code) => message!("push.permission_ended", owner, code = *code),
            Self::ConnectionRemoved(id) => message!("push.connection_removed", id),
            Self::ConnectionNotFor(id) => message!("push.connection_not_for", id),
            Self::TargetTaken(id) => message!("push.target_taken", id),
            Self::NameTaken(name) => message!("push.name_taken", name),
            Self::NameUnsuitable(rule) => message!("push.name_unsuitable", rule = rule.clone()),
        }
    }
}
