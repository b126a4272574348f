//! Channels: chats and mailboxes that show deployments to people.

pub mod address;
pub mod card;
pub mod mentions;
pub mod quiet;

use serde::{Deserialize, Serialize};

use self::mentions::Mentions;
use self::quiet::QuietHours;

/// Most channels of an installation.
pub const MAX_CHANNELS: i64 = 100;

/// Events that a channel receives unless its author chose others: the switch is awaited, and the ends.
pub const DEFAULT_EVENTS: [&str; 3] = ["ready", "completed", "fail"];

/// Address of Slack's Web API, unless the author chose another (GovSlack).
pub const SLACK_API: &str = "https://slack.com/api";

/// Options that all kinds of channels have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ChannelOptions {
    /// Daily time in which deliveries wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet: Option<QuietHours>,
    /// People to notify when a switch awaits its approval.
    pub mentions: Mentions,
}

/// A Slack channel, in which a bot posts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SlackChannel {
    /// Id of the channel, such as `C0123456789`.
    pub channel: String,
    /// Address of Slack's Web API.
    pub api_url: String,
    /// Options of all kinds.
    pub options: ChannelOptions,
}

/// A channel whose address is its secret: an incoming webhook of Teams or Discord.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct HookChannel {
    /// Host of the address, which may be shown.
    pub host: String,
    /// Options of all kinds.
    pub options: ChannelOptions,
}

/// Mail by a server of SMTP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Mailbox {
    /// Name or address of the server.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Protection of the connection.
    pub security: MailSecurity,
    /// User name; none where the server requires none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Address of the sender.
    pub from: String,
    /// Addresses that get each mail.
    pub to: Vec<String>,
    /// Options of all kinds.
    pub options: ChannelOptions,
}

/// Protection of a connection to a server of SMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, strum::IntoStaticStr, strum::EnumString)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum MailSecurity {
    /// TLS from the beginning.
    Tls,
    /// TLS after STARTTLS; a server that does not offer it gets no mail.
    Starttls,
    /// None, only to private addresses.
    Plain,
}
