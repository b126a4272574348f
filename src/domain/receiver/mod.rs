//! Receivers of events outside Panda: their kinds, what each kind needs, and what the outbox knows about them.

pub mod assignment;
pub mod attempt;
pub mod channel;
pub mod filter;
pub mod snapshot;

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use self::channel::{ChannelOptions, HookChannel, MAX_CHANNELS, Mailbox, SlackChannel};
use self::filter::EventFilter;
use super::catalogue::Lang;
use super::github_status;
use super::ids;
use super::webhook::MAX_WEBHOOKS;
use super::webhook::signing::SigningKey;

/// Kind of a receiver, which decides how events reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum ReceiverKind {
    /// Signed requests, one for each event.
    Webhook,
    /// Messages of a bot in a Slack channel.
    Slack,
    /// Messages in a Teams channel.
    Teams,
    /// Messages in a Discord channel.
    Discord,
    /// Mails by a server of SMTP.
    Mail,
    /// GitHub's deployments and commit statuses.
    GitHub,
}

impl ReceiverKind {
    /// Every kind, in the order of documents.
    pub const ALL: [Self; 6] = [Self::Webhook, Self::Slack, Self::Teams, Self::Discord, Self::Mail, Self::GitHub];

    /// Returns the name used in the table and on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the part of the API that manages it.
    pub fn family(self) -> ReceiverFamily {
        match self {
            Self::Webhook => ReceiverFamily::Webhooks,
            Self::Slack | Self::Teams | Self::Discord | Self::Mail | Self::GitHub => ReceiverFamily::Channels,
        }
    }

    /// Reports that the receiver shows the present state of deployments in place of each event: several waiting events of one deployment are one
    /// delivery, and what was made outside is remembered.
    pub fn is_projection(self) -> bool {
        match self {
            Self::Webhook => false,
            Self::Slack | Self::Teams | Self::Discord | Self::Mail | Self::GitHub => true,
        }
    }

    /// Most requests to a receiver at a time, those included whose answer is not committed yet.
    pub fn max_in_flight(self) -> usize {
        match self {
            Self::Webhook => 32,
            // One after another: chats limit the messages of a channel.
            Self::Slack | Self::Teams | Self::Discord => 1,
            Self::Mail => 2,
            // GitHub asks for few concurrent requests that change something.
            Self::GitHub => 4,
        }
    }

    /// Time without deliveries after one of an event that is no milestone, so that progress does not exhaust the receiver's limits.
    pub fn spacing(self) -> Duration {
        match self {
            Self::Webhook | Self::Teams | Self::Mail | Self::GitHub => Duration::ZERO,
            Self::Slack | Self::Discord => Duration::from_secs(2),
        }
    }

    /// Returns the codes of events that a projection shows one by one.
    pub fn shown_codes(self) -> &'static [String] {
        match self {
            Self::Webhook => &[],
            Self::Slack | Self::Teams | Self::Discord | Self::Mail => filter::milestones(),
            Self::GitHub => github_status::reported_codes(),
        }
    }
}

/// Receivers that one part of the API manages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverFamily {
    /// Webhooks, which `/api/v1/webhooks` manages.
    Webhooks,
    /// Channels, which `/api/v1/channels` manages.
    Channels,
}

impl ReceiverFamily {
    /// Returns the kinds of its receivers, as the table names them.
    pub fn kinds(self) -> Vec<String> {
        let own = ReceiverKind::ALL.into_iter().filter(|kind| kind.family() == self);
        own.map(|kind| kind.as_str().to_owned()).collect()
    }

    /// Generates the id of a receiver.
    pub fn new_id(self) -> String {
        match self {
            Self::Webhooks => ids::webhook_id(),
            Self::Channels => ids::channel_id(),
        }
    }

    /// Most receivers of an installation: each may hold some hundred events in memory.
    pub fn max(self) -> i64 {
        match self {
            Self::Webhooks => MAX_WEBHOOKS,
            Self::Channels => MAX_CHANNELS,
        }
    }
}

/// What a receiver needs besides its secrets, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ReceiverSettings {
    /// Signed requests, one for each event.
    Webhook {
        /// Address of the receiver.
        url: String,
    },
    /// Messages of a bot in a Slack channel.
    Slack(SlackChannel),
    /// Messages in a Teams channel.
    Teams(HookChannel),
    /// Messages in a Discord channel.
    Discord(HookChannel),
    /// Mails by a server of SMTP.
    Mail(Mailbox),
    /// GitHub's deployments and commit statuses, with the tokens of the deployments' source connections.
    GitHub {
        /// Environment at GitHub of deployments without the label `environment`.
        environment: String,
        /// True if people use its environments; none decides by their name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        production: Option<bool>,
    },
}

impl ReceiverSettings {
    /// Returns the kind of the receiver.
    pub fn kind(&self) -> ReceiverKind {
        match self {
            Self::Webhook { .. } => ReceiverKind::Webhook,
            Self::GitHub { .. } => ReceiverKind::GitHub,
            Self::Slack(_) => ReceiverKind::Slack,
            Self::Teams(_) => ReceiverKind::Teams,
            Self::Discord(_) => ReceiverKind::Discord,
            Self::Mail(_) => ReceiverKind::Mail,
        }
    }

    /// Returns the options of a channel; none for other receivers.
    pub fn options(&self) -> Option<&ChannelOptions> {
        match self {
            Self::Webhook { .. } | Self::GitHub { .. } => None,
            Self::Slack(channel) => Some(&channel.options),
            Self::Teams(channel) | Self::Discord(channel) => Some(&channel.options),
            Self::Mail(mailbox) => Some(&mailbox.options),
        }
    }

    /// Returns the end of the quiet hours that hold `now`; none outside of them.
    pub fn quiet_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.options()?.quiet.as_ref()?.until(now)
    }

    /// Returns where the secret is sent: a change of it requires the secret again. None where no secret is sent.
    pub fn secret_goes_to(&self) -> Option<String> {
        match self {
            Self::Webhook { .. } | Self::GitHub { .. } => None,
            Self::Slack(channel) => Some(channel.api_url.clone()),
            Self::Teams(channel) | Self::Discord(channel) => Some(channel.host.clone()),
            Self::Mail(mailbox) => {
                mailbox.user.as_ref().map(|_| format!("{}:{}:{:?}", mailbox.host, mailbox.port, mailbox.security))
            }
        }
    }
}

/// Settings of a receiver that a caller chooses.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// What its kind needs.
    pub settings: ReceiverSettings,
    /// Purpose in the caller's words.
    pub description: Option<String>,
    /// Events that it receives.
    pub filter: EventFilter,
    /// Language in which messages are rendered.
    pub lang: Lang,
    /// False to disable it.
    pub enabled: bool,
}

/// A receiver as its deliveries need it.
#[derive(Clone, Debug)]
pub struct DeliveryReceiver {
    /// Id of the receiver.
    pub id: String,
    /// What its kind needs.
    pub settings: ReceiverSettings,
    /// Events that it receives.
    pub filter: EventFilter,
    /// Language in which messages are rendered.
    pub lang: Lang,
    /// Its secrets, decrypted for deliveries.
    pub credentials: ReceiverSecrets,
    /// Revision of the settings.
    pub revision: i64,
}

/// The decrypted secrets of a receiver.
#[derive(Clone, Debug)]
pub enum ReceiverSecrets {
    /// Secrets that sign, the newest first.
    Signing(Vec<SigningKey>),
    /// The secret with which Panda signs in, such as a token; none where the kind needs none.
    Secret(Option<SecretString>),
}

impl ReceiverSecrets {
    /// Returns the secrets that sign.
    pub fn signing(&self) -> &[SigningKey] {
        match self {
            Self::Signing(keys) => keys,
            Self::Secret(_) => &[],
        }
    }

    /// Returns the secret with which Panda signs in.
    pub fn secret(&self) -> Option<&SecretString> {
        match self {
            Self::Secret(secret) => secret.as_ref(),
            Self::Signing(_) => None,
        }
    }
}

/// What the outbox knows about a delivery to a receiver that shows the state of deployments.
#[derive(Clone, Debug)]
pub struct Projection {
    /// The deployment at the time of the attempt.
    pub deployment: snapshot::DeploymentSnapshot,
    /// Ids of what was made for it before; none when nothing was, as far as is known.
    pub reference: Option<serde_json::Value>,
    /// Sequence number of the newest event that was shown; 0 before the first.
    pub shown: i64,
    /// Token of its source connection; only for receivers at GitHub.
    pub source_token: Option<SecretString>,
    /// An earlier attempt may have made something whose ids were not stored: look for it first.
    pub may_exist: bool,
    /// Present time, by the database's clock.
    pub now: DateTime<Utc>,
}

/// Result of an attempt to show a deployment.
#[derive(Clone, Debug)]
pub struct ProjectionOutcome {
    /// The answer, which decides about further attempts.
    pub answer: attempt::AttemptAnswer,
    /// Ids to remember, also where a later part of the attempt failed; none leaves the known ones.
    pub reference: Option<serde_json::Value>,
}
