//! Settings of channels by their kinds, as the API has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::receiver::channel::mentions::Mentions;
use crate::domain::receiver::channel::quiet::QuietHours;
use crate::domain::receiver::channel::{Mailbox, SlackChannel};

/// Settings of a Slack channel.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SlackSettings {
    /// Id of the channel; the bot must be a member.
    #[schema(example = "C0123456789")]
    pub channel: String,
    /// Address of Slack's Web API; `https://slack.com/api` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://slack-gov.com/api")]
    pub api_url: Option<String>,
}

/// Settings of a mail channel.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MailSettings {
    /// Name or address of the server of SMTP.
    #[schema(example = "smtp.example.com")]
    pub host: String,
    /// Port of the server; 465 for `tls`, 587 for `starttls` and 25 for `plain` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 587, minimum = 1, maximum = 65535)]
    pub port: Option<i64>,
    /// `starttls`, the default, `tls` (from the beginning) or `plain` (only to private addresses).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "starttls", pattern = "^(starttls|tls|plain)$")]
    pub security: Option<String>,
    /// User name, whose password is `secret`; absent where the server requires none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "panda", min_length = 1, max_length = 254)]
    pub user: Option<String>,
    /// Address of the sender.
    #[schema(example = "panda@example.com")]
    pub from: String,
    /// Addresses that get each mail.
    #[schema(example = json!(["deploys@example.com"]), min_items = 1, max_items = 50)]
    pub to: Vec<String>,
}

/// Settings of a channel that shows deployments at GitHub.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[schema(default)]
pub struct GitHubChannelSettings {
    /// Environment at GitHub of deployments without the label `environment`; `production` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "production", min_length = 1, max_length = 100)]
    pub environment: Option<String>,
    /// True if people use its environments; by default those named `production`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = true)]
    pub production: Option<bool>,
}

/// Daily time in which deliveries wait.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChannelQuietHours {
    /// Begin of the hours, `HH:MM`.
    #[schema(example = "22:00")]
    pub from: String,
    /// End, `HH:MM`; on the next day where it is before the begin.
    #[schema(example = "08:00")]
    pub to: String,
    /// IANA name of the time zone.
    #[schema(example = "Asia/Seoul")]
    pub time_zone: String,
    /// Types and codes of events that are sent nevertheless.
    #[serde(default)]
    #[schema(example = json!(["fail"]), max_items = 100)]
    pub except: Vec<String>,
}

/// Ids that the channel's kind knows: `U…`, `W…` and `S…` of Slack, numbers of Discord (`&` before those of roles), mail addresses of Teams and mail.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[schema(default)]
pub struct ChannelMentions {
    /// Ids that are always notified, such as a group of approvers.
    #[schema(example = json!(["S0123456789"]), max_items = 50)]
    pub default: Vec<String>,
    /// Approvers: ids by their subjects in Panda. Who started a deployment is not notified of it.
    #[schema(example = json!({"alice": "U0123456789"}))]
    pub subjects: BTreeMap<String, String>,
}

impl From<SlackChannel> for SlackSettings {
    fn from(stored: SlackChannel) -> Self {
        Self { channel: stored.channel, api_url: Some(stored.api_url) }
    }
}

impl From<Mailbox> for MailSettings {
    fn from(stored: Mailbox) -> Self {
        let security: &'static str = stored.security.into();
        Self {
            host: stored.host,
            port: Some(i64::from(stored.port)),
            security: Some(security.to_owned()),
            user: stored.user,
            from: stored.from,
            to: stored.to,
        }
    }
}

impl From<ChannelQuietHours> for QuietHours {
    fn from(given: ChannelQuietHours) -> Self {
        Self { from: given.from, to: given.to, time_zone: given.time_zone, except: given.except }
    }
}

impl From<QuietHours> for ChannelQuietHours {
    fn from(stored: QuietHours) -> Self {
        Self { from: stored.from, to: stored.to, time_zone: stored.time_zone, except: stored.except }
    }
}

impl From<ChannelMentions> for Mentions {
    fn from(given: ChannelMentions) -> Self {
        Self { default: given.default, subjects: given.subjects }
    }
}

impl From<Mentions> for ChannelMentions {
    fn from(stored: Mentions) -> Self {
        Self { default: stored.default, subjects: stored.subjects }
    }
}
