//! Rules of the body with which a channel is created and changed.

use secrecy::SecretString;

use super::body::ChannelRequestBody;
use super::settings::{GitHubChannelSettings, MailSettings, SlackSettings};
use crate::db::receivers::ReceiverView;
use crate::domain::catalogue::Lang;
use crate::domain::github_status::{self, DEFAULT_ENVIRONMENT};
use crate::domain::labels::Labels;
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

/// A body whose fields are valid.
pub struct CheckedChannel {
    /// The settings to store.
    pub config: ReceiverConfig,
    /// The secret, where the body has one.
    pub secret: Option<SecretString>,
}

impl CheckedChannel {
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
        let labels = Labels(self.labels.clone()).checked()?;
        let unknown = |_| ApiError::field("language", message!("rule.expected", expected = "ko or en"));
        let lang = self.language.as_deref().map_or(Ok(Lang::default()), str::parse).map_err(unknown)?;
        if kind == ReceiverKind::GitHub {
            return self.check_github(repositories, labels, lang);
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
                filter: EventFilter { events: Some(events), repositories, labels },
                lang,
                enabled: self.enabled.unwrap_or(true),
            },
            secret: self.secret.map(SecretString::from),
        })
    }
}

impl ChannelRequestBody {
    /// Checks the fields of the kind `github`, which has fixed events and no secret.
    fn check_github(self, repositories: Scope, labels: Labels, lang: Lang) -> Result<CheckedChannel, ApiError> {
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
                filter: EventFilter { events: Some(github_status::events()), repositories, labels },
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
