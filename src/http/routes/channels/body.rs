//! The body with which a channel is created and changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::settings::{ChannelMentions, ChannelQuietHours, GitHubChannelSettings, MailSettings, SlackSettings};

/// Settings of a channel.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChannelRequestBody {
    /// `slack`, `teams`, `discord`, `mail` or `github`.
    #[schema(example = "slack", pattern = "^(slack|teams|discord|mail|github)$")]
    pub kind: String,
    /// Bot token of Slack, address of the incoming webhook of Teams or Discord, or password of mail. Required for a new channel, except for mail without
    /// `user`, and for `github`, which has none; absent in a change, the stored one stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "xoxb-0000000000-example", min_length = 1, max_length = 2000)]
    pub secret: Option<String>,
    /// Settings of the kind `slack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackSettings>,
    /// Settings of the kind `mail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<MailSettings>,
    /// Settings of the kind `github`; its defaults when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github: Option<GitHubChannelSettings>,
    /// Purpose, 1 to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "deployments of the shop", min_length = 1, max_length = 500)]
    pub description: Option<String>,
    /// Types (`stage`, `success`, `fail`) and codes (`ready`, `completed`, …) of events with which a message is made or updated; `ready`, `completed` and
    /// `fail` when absent. The kind `github` shows every change of state, and takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["ready", "completed", "fail"]), min_items = 1, max_items = 100)]
    pub events: Option<Vec<String>>,
    /// Repositories whose deployments it shows, `owner/repo` or `owner/*`; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["acme/shop"]), min_items = 1, max_items = 100)]
    pub repositories: Option<Vec<String>>,
    /// Labels that deployments must have to be shown, each with its value, up to 8; all deployments when absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"environment": "production"}))]
    pub labels: BTreeMap<String, String>,
    /// Language of messages: `ko`, the default, or `en`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "en", pattern = "^(ko|en)$")]
    pub language: Option<String>,
    /// Daily time in which deliveries wait; afterwards the newest state of each deployment is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<ChannelQuietHours>,
    /// People to notify when a switch awaits its approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mentions: Option<ChannelMentions>,
    /// `false` disables it; enabled when absent. A channel that is enabled again shows the events from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = true)]
    pub enabled: Option<bool>,
}
