//! `/api/v1/channels`: chats, mailboxes and GitHub, which show deployments to people.

pub mod body;
pub mod change;
mod check;
pub mod create;
pub mod delete;
pub mod deliveries;
pub mod list;
pub mod path;
pub mod settings;
pub mod show;
pub mod test;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use self::settings::{ChannelMentions, ChannelQuietHours, GitHubChannelSettings, MailSettings, SlackSettings};
use crate::db::receivers::ReceiverView;
use crate::domain::receiver::{ReceiverKind, ReceiverSettings};
use crate::http::time;

/// A channel, with the state of its deliveries. Its secret is never shown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Channel)]
pub struct ShownChannel {
    /// Id for `GET /api/v1/channels/{id}`.
    #[schema(example = "chn_4k1zq0v7w3m9x2c8b5n6")]
    pub channel_id: String,
    /// `slack`, `teams`, `discord`, `mail` or `github`.
    #[schema(example = "slack")]
    pub kind: String,
    /// Host of the incoming webhook; null for other kinds.
    pub host: Option<String>,
    /// Settings of Slack; null for other kinds.
    pub slack: Option<SlackSettings>,
    /// Settings of mail; null for other kinds.
    pub mail: Option<MailSettings>,
    /// Settings of GitHub; null for other kinds.
    pub github: Option<GitHubChannelSettings>,
    /// Purpose; null when none was given.
    pub description: Option<String>,
    /// Types and codes of the events that it receives; null for the kind `github`, which shows every change of state.
    pub events: Option<Vec<String>>,
    /// Repositories whose deployments it shows; null for all.
    pub repositories: Option<Vec<String>>,
    /// Labels that deployments must have to be shown; empty for all deployments.
    #[schema(example = json!({"environment": "production"}))]
    pub labels: BTreeMap<String, String>,
    /// Language of messages: `ko` or `en`.
    #[schema(example = "en")]
    pub language: String,
    /// Daily time in which deliveries wait; null without one.
    pub quiet_hours: Option<ChannelQuietHours>,
    /// People to notify when a switch awaits its approval.
    pub mentions: ChannelMentions,
    /// False while it receives no events.
    pub enabled: bool,
    /// `caller` (by the API) or `gone` (the chat answered that channel, bot or webhook exist no longer); null while it is enabled.
    pub disabled_reason: Option<String>,
    /// Time at which it was disabled (UTC); null while it is enabled.
    #[serde(serialize_with = "time::optional_millis")]
    pub disabled_at: Option<DateTime<Utc>>,
    /// Number of events that the channel has shown.
    pub delivered: i64,
    /// Number of deliveries that are tried again, that quiet hours hold, or that wait behind one of these.
    pub pending: i64,
    /// Number of deliveries whose last attempt failed: dead letters.
    pub dead: i64,
    /// Time at which it last showed an event (UTC); null before the first.
    #[serde(serialize_with = "time::optional_millis")]
    pub last_delivered_at: Option<DateTime<Utc>>,
    /// Caller who created it.
    #[schema(example = "alice")]
    pub created_by: String,
    /// Time of its creation (UTC).
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
}

impl From<ReceiverView> for ShownChannel {
    fn from(row: ReceiverView) -> Self {
        let settings = row.settings.0;
        let options = settings.options().cloned().unwrap_or_default();
        let is_github = settings.kind() == ReceiverKind::GitHub;
        let kind = settings.kind().as_str().to_owned();
        let (mut host, mut slack, mut mail, mut github) = (None, None, None, None);
        match settings {
            ReceiverSettings::Slack(channel) => slack = Some(SlackSettings::from(channel)),
            ReceiverSettings::Teams(hook) | ReceiverSettings::Discord(hook) => host = Some(hook.host),
            ReceiverSettings::Mail(mailbox) => mail = Some(MailSettings::from(mailbox)),
            ReceiverSettings::GitHub { environment, production } => {
                github = Some(GitHubChannelSettings { environment: Some(environment), production });
            }
            // The query selects channels only.
            ReceiverSettings::Webhook { .. } => {}
        }
        Self {
            channel_id: row.id,
            kind,
            host,
            slack,
            mail,
            github,
            description: row.description,
            events: row.events.filter(|_| !is_github),
            repositories: row.repositories,
            labels: row.labels.0.0,
            language: row.lang,
            quiet_hours: options.quiet.map(ChannelQuietHours::from),
            mentions: ChannelMentions::from(options.mentions),
            enabled: row.disabled_at.is_none(),
            disabled_reason: row.disabled_reason,
            disabled_at: row.disabled_at,
            delivered: row.delivered,
            pending: row.pending,
            dead: row.dead,
            last_delivered_at: row.last_delivered_at,
            created_by: row.created_by,
            created_at: row.created_at,
        }
    }
}
