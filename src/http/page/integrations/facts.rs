//! Settings of webhooks and channels in words. Secrets are not among them.

use crate::domain::labels::Labels;
use crate::domain::receiver::ReceiverSettings;
use crate::domain::receiver::channel::quiet::QuietHours;
use crate::domain::receiver::channel::{ChannelOptions, MailSecurity, Mailbox, SLACK_API};
use crate::domain::text::visible;
use crate::http::page::context::Page;

/// A setting: the name of its label in the catalogue, and its value.
pub struct Fact {
    /// Name in the group `integrations.fact`.
    pub name: &'static str,
    /// Its value in words for people.
    pub value: String,
}

impl Fact {
    fn new(name: &'static str, value: &str) -> Self {
        Self { name, value: visible(value) }
    }
}

/// Describes in one line to which address, channel or mailbox events go.
pub fn target(settings: &ReceiverSettings) -> String {
    visible(&match settings {
        ReceiverSettings::Webhook { url } => url.clone(),
        ReceiverSettings::Slack(slack) => slack.channel.clone(),
        ReceiverSettings::Teams(hook) | ReceiverSettings::Discord(hook) => hook.host.clone(),
        ReceiverSettings::Mail(mailbox) => mailbox.to.join(", "),
        ReceiverSettings::GitHub { environment, .. } => environment.clone(),
    })
}

/// Returns the settings of a kind, its options, and the labels of its deployments.
pub fn of(page: &Page, settings: &ReceiverSettings, labels: &Labels, lang: &str) -> Vec<Fact> {
    let mut facts = match settings {
        ReceiverSettings::Webhook { url } => vec![Fact::new("url", url)],
        ReceiverSettings::Slack(slack) => {
            let api = Some(&slack.api_url).filter(|api| *api != SLACK_API).map(|api| Fact::new("api", api));
            [Fact::new("channel", &slack.channel)].into_iter().chain(api).collect()
        }
        ReceiverSettings::Teams(hook) | ReceiverSettings::Discord(hook) => vec![Fact::new("host", &hook.host)],
        ReceiverSettings::Mail(mailbox) => mail(mailbox),
        ReceiverSettings::GitHub { environment, production } => {
            let kind = production.map(|yes| page.named("integrations.production", if yes { "yes" } else { "no" }));
            let kind = kind.map(|kind| Fact::new("production", &kind));
            [Fact::new("environment", environment)].into_iter().chain(kind).collect()
        }
    };
    facts.extend(settings.options().into_iter().flat_map(options));
    if !labels.is_empty() {
        let labels: Vec<String> = labels.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        facts.push(Fact::new("labels", &labels.join(", ")));
    }
    facts.push(Fact::new("language", if lang == "ko" { "한국어" } else { "English" }));
    facts
}

fn mail(mailbox: &Mailbox) -> Vec<Fact> {
    let security = match mailbox.security {
        MailSecurity::Tls => "TLS",
        MailSecurity::Starttls => "STARTTLS",
        MailSecurity::Plain => "plain",
    };
    let mut facts = vec![Fact::new("server", &format!("{}:{} ({security})", mailbox.host, mailbox.port))];
    facts.extend(mailbox.user.as_deref().map(|user| Fact::new("user", user)));
    facts.push(Fact::new("from", &mailbox.from));
    facts.push(Fact::new("to", &mailbox.to.join(", ")));
    facts
}

fn options(options: &ChannelOptions) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(QuietHours { from, to, time_zone, except }) = &options.quiet {
        facts.push(Fact::new("quiet", &format!("{from}–{to} {time_zone}")));
        if !except.is_empty() {
            facts.push(Fact::new("except", &except.join(", ")));
        }
    }
    let subjects = options.mentions.subjects.iter().map(|(subject, id)| format!("{subject} = {id}"));
    let mentions: Vec<String> = options.mentions.default.iter().cloned().chain(subjects).collect();
    if !mentions.is_empty() {
        facts.push(Fact::new("mentions", &mentions.join(", ")));
    }
    facts
}
