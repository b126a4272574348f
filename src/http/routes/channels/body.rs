//! The body with which a channel is created and changed.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::db::receivers::ReceiverView;
use crate::domain::catalogue::Lang;
use crate::domain::github_status::{self, DEFAULT_ENVIRONMENT};
use crate::domain::message::message;
use crate::domain::principal::Scope;
use crate::domain::receiver::channel::mentions::Mentions;
use crate::domain::receiver::channel::quiet::QuietHours;
use crate::domain::receiver::channel::{
    ChannelOptions, DEFAULT_EVENTS, HookChannel, MailSecurity, Mailbox, SLACK_API, SlackChannel, address,
};
use crate::domain::receiver::filter::{self, EventFilter};
use crate::domain::receiver::{ReceiverConfig, ReceiverFamily, ReceiverKind, ReceiverSettings};
use crate::domain::validate::BrokenRule;
use crate::domain::webhook;
use crate::http::error::ApiError;

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

/// A body whose fields are valid.
pub struct CheckedChannel {
    /// The settings to store.
    pub config: ReceiverConfig,
    /// The secret, where the body has one.
    pub secret: Option<SecretString>,
}

impl CheckedChannel {
    /// The part of the API that manages it.
    pub fn family(&self) -> ReceiverFamily {
        ReceiverFamily::Channels
    }

    /// The settings with what a body without a secret leaves as it is: the host of an incoming webhook.
    pub fn config_after(&self, stored: Option<&ReceiverView>) -> ReceiverConfig {
        let mut config = self.config.clone();
        let host = match stored.map(|stored| &stored.settings.0) {
            Some(ReceiverSettings::Teams(hook) | ReceiverSettings::Discord(hook)) => hook.host.clone(),
            _ => return config,
        };
        if let ReceiverSettings::Teams(hook) | ReceiverSettings::Discord(hook) = &mut config.settings {
            hook.host = host;
        }
        config
    }
}

impl ChannelRequestBody {
    /// Checks all fields. A new channel needs a secret.
    pub(super) fn check(self, is_new: bool) -> Result<CheckedChannel, ApiError> {
        let kind = self.kind.parse().ok().filter(|kind: &ReceiverKind| kind.family() == ReceiverFamily::Channels);
        let kind = kind.ok_or_else(|| ApiError::field("kind", message!("rule.channel_kind")))?;
        if let Some(description) = &self.description {
            filter::description(description).map_err(|rule| ApiError::field("description", rule))?;
        }
        let repositories = self.repositories.as_deref().map_or(Ok(Scope::All), Scope::of);
        let repositories = repositories.map_err(|rule| ApiError::field("repositories", rule))?;
        let unknown = |_| ApiError::field("language", message!("rule.expected", expected = "ko or en"));
        let lang = self.language.as_deref().map_or(Ok(Lang::default()), str::parse).map_err(unknown)?;
        if kind == ReceiverKind::GitHub {
            return self.check_github(repositories, lang);
        }
        if self.github.is_some() {
            return Err(ApiError::field("github", settings_rule(kind)));
        }
        let events = self.events.unwrap_or_else(|| DEFAULT_EVENTS.map(str::to_owned).to_vec());
        filter::events(&events).map_err(|rule| ApiError::field("events", rule))?;
        let quiet = self.quiet_hours.map(QuietHours::from);
        if let Some(quiet) = &quiet {
            quiet.check().map_err(|rule| ApiError::field("quietHours", rule))?;
        }
        let mentions = self.mentions.map(Mentions::from).unwrap_or_default();
        mentions.check(kind).map_err(|rule| ApiError::field("mentions", rule))?;
        let options = ChannelOptions { quiet, mentions };
        let settings = settings(kind, self.slack, self.mail, self.secret.as_deref(), options)?;
        let needs = match &settings {
            ReceiverSettings::Mail(mailbox) => mailbox.user.is_some(),
            _ => true,
        };
        if is_new && needs && self.secret.is_none() {
            let what = match kind {
                ReceiverKind::Slack => "xoxb-…",
                ReceiverKind::Mail => "SMTP password",
                _ => "https://…",
            };
            return Err(ApiError::field("secret", message!("rule.channel_secret_needed", what)));
        }
        Ok(CheckedChannel {
            config: ReceiverConfig {
                settings,
                description: self.description,
                filter: EventFilter { events: Some(events), repositories },
                lang,
                enabled: self.enabled.unwrap_or(true),
            },
            secret: self.secret.map(SecretString::from),
        })
    }
}

impl ChannelRequestBody {
    /// Checks the fields of the kind `github`, which has fixed events and no secret.
    fn check_github(self, repositories: Scope, lang: Lang) -> Result<CheckedChannel, ApiError> {
        let others = [
            ("secret", self.secret.is_some()),
            ("slack", self.slack.is_some()),
            ("mail", self.mail.is_some()),
            ("events", self.events.is_some()),
            ("quietHours", self.quiet_hours.is_some()),
            ("mentions", self.mentions.is_some_and(|given| !given.default.is_empty() || !given.subjects.is_empty())),
        ];
        if let Some((field, _)) = others.into_iter().find(|(_, is_given)| *is_given) {
            return Err(ApiError::field(field, message!("rule.channel_not_at_github")));
        }
        let GitHubChannelSettings { environment, production } = self.github.unwrap_or_default();
        let environment = environment.unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned());
        github_status::check_environment(&environment).map_err(|rule| ApiError::field("github.environment", rule))?;
        Ok(CheckedChannel {
            config: ReceiverConfig {
                settings: ReceiverSettings::GitHub { environment, production },
                description: self.description,
                filter: EventFilter { events: Some(github_status::events()), repositories },
                lang,
                enabled: self.enabled.unwrap_or(true),
            },
            secret: None,
        })
    }
}

/// The settings of a kind, without those of another.
fn settings(
    kind: ReceiverKind,
    slack: Option<SlackSettings>,
    mail: Option<MailSettings>,
    secret: Option<&str>,
    options: ChannelOptions,
) -> Result<ReceiverSettings, ApiError> {
    let bad_secret = |rule| ApiError::field("secret", rule);
    match (kind, slack, mail) {
        (ReceiverKind::Slack, Some(slack), None) => {
            secret.map_or(Ok(()), address::secret).map_err(bad_secret)?;
            address::slack_channel(&slack.channel).map_err(|rule| ApiError::field("slack.channel", rule))?;
            let api_url = slack.api_url.unwrap_or_else(|| SLACK_API.to_owned());
            webhook::url(&api_url).map_err(|rule| ApiError::field("slack.apiUrl", rule))?;
            Ok(ReceiverSettings::Slack(SlackChannel { channel: slack.channel, api_url, options }))
        }
        (ReceiverKind::Teams | ReceiverKind::Discord, None, None) => {
            let found = secret.map(address::hook).transpose().map_err(bad_secret)?;
            let hook = HookChannel { host: found.map(|(_, host)| host).unwrap_or_default(), options };
            Ok(if kind == ReceiverKind::Teams {
                ReceiverSettings::Teams(hook)
            } else {
                ReceiverSettings::Discord(hook)
            })
        }
        (ReceiverKind::Mail, None, Some(mail)) => {
            secret.map_or(Ok(()), address::secret).map_err(bad_secret)?;
            mailbox(mail, options).map(ReceiverSettings::Mail)
        }
        (kind, slack, mail) => {
            // The field that is missing, or the one that is too many.
            let field = match kind {
                ReceiverKind::Slack if slack.is_none() => "slack",
                ReceiverKind::Mail if mail.is_none() => "mail",
                _ if slack.is_some() && kind != ReceiverKind::Slack => "slack",
                _ => "mail",
            };
            Err(ApiError::field(field, settings_rule(kind)))
        }
    }
}

fn settings_rule(kind: ReceiverKind) -> BrokenRule {
    let expected = match kind {
        ReceiverKind::Slack => "slack",
        ReceiverKind::Mail => "mail",
        _ => "secret",
    };
    message!("rule.channel_settings", kind = kind.as_str(), expected)
}

fn mailbox(mail: MailSettings, options: ChannelOptions) -> Result<Mailbox, ApiError> {
    address::host(&mail.host).map_err(|rule| ApiError::field("mail.host", rule))?;
    let unknown = |_| ApiError::field("mail.security", message!("rule.expected", expected = "starttls, tls or plain"));
    let security = mail.security.as_deref().map_or(Ok(MailSecurity::Starttls), str::parse).map_err(unknown)?;
    let port = mail.port.unwrap_or(match security {
        MailSecurity::Tls => 465,
        MailSecurity::Starttls => 587,
        MailSecurity::Plain => 25,
    });
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| ApiError::field("mail.port", message!("rule.mail_port")))?;
    if let Some(user) = &mail.user {
        address::mail_user(user).map_err(|rule| ApiError::field("mail.user", rule))?;
    }
    address::mail(&mail.from).map_err(|rule| ApiError::field("mail.from", rule))?;
    address::recipients(&mail.to).map_err(|rule| ApiError::field("mail.to", rule))?;
    Ok(Mailbox { host: mail.host, port, security, user: mail.user, from: mail.from, to: mail.to, options })
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
