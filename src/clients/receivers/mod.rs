//! Clients of the receivers of events, one for each kind.

mod discord;
mod github;
mod http;
mod mail;
mod slack;
mod teams;

use std::sync::Arc;

use bytes::Bytes;
use url::Url;

use self::github::{GitHubReceiver, GitHubSettings};
use self::http::ChatHttp;
use self::mail::MailClient;
use super::ClientError;
use super::github::GitHub;
use super::webhook::WebhookClient;
use crate::domain::destination::Destinations;
use crate::domain::receiver::attempt::AttemptAnswer;
use crate::domain::receiver::channel::card::Card;
use crate::domain::receiver::{DeliveryReceiver, Projection, ProjectionOutcome, ReceiverSettings};

/// Clients of all kinds of receivers. Clones share their connections.
#[derive(Clone, Debug)]
pub struct ReceiverClients {
    /// Sends signed requests to webhooks.
    pub webhook: WebhookClient,
    chat: ChatHttp,
    mail: MailClient,
    github: GitHubReceiver,
    /// Address of Panda's page, for links.
    page: Option<Arc<Url>>,
}

impl ReceiverClients {
    /// Creates clients that connect only to allowed `destinations`, and to `github`; messages link to `page`. Fails only if TLS cannot be set up.
    pub fn new(destinations: Destinations, github: GitHub, page: Option<Url>) -> Result<Self, ClientError> {
        Ok(Self {
            webhook: WebhookClient::new(destinations.clone())?,
            chat: ChatHttp::new(destinations.clone())?,
            mail: MailClient::new(destinations),
            github: GitHubReceiver::new(github),
            page: page.map(Arc::new),
        })
    }

    /// Makes a receiver show a deployment. Each effect is one that may be repeated, or is looked up before it is made again, as far as the kind permits.
    pub async fn show(&self, receiver: &DeliveryReceiver, projection: &Projection) -> ProjectionOutcome {
        let mentions = receiver.settings.options().map(|options| &options.mentions);
        let awaited = mentions.map(|mentions| mentions.awaited(projection.deployment.started_by.as_deref()));
        let card = Card::new(&projection.deployment, receiver.lang, self.page.as_deref(), awaited.unwrap_or_default());
        match &receiver.settings {
            ReceiverSettings::Webhook { .. } => AttemptAnswer::refused(None, "webhooks receive each event").into(),
            ReceiverSettings::Slack(channel) => match slack::Slack::new(&self.chat, receiver, channel) {
                Ok(slack) => slack.show(&card, projection).await,
                Err(answer) => answer.into(),
            },
            ReceiverSettings::Discord(_) => discord::show(&self.chat, receiver, &card, projection).await,
            // Without a new milestone there is nothing that these kinds could show: what was posted stays as it was.
            ReceiverSettings::Teams(_) | ReceiverSettings::Mail(_) if card.milestone.is_none() => {
                AttemptAnswer::delivered(None).into()
            }
            ReceiverSettings::Teams(_) => teams::show(&self.chat, receiver, &card).await.into(),
            ReceiverSettings::Mail(mailbox) => self.mail.show(receiver, mailbox, &card).await.into(),
            ReceiverSettings::GitHub { environment, production } => {
                let settings = GitHubSettings { environment, production: *production, lang: receiver.lang };
                self.github.show(settings, card.link.as_ref().map(|(page, _)| page), projection).await
            }
        }
    }

    /// Sends a test message with this text to a channel.
    pub async fn test(&self, receiver: &DeliveryReceiver, text: &str) -> AttemptAnswer {
        match &receiver.settings {
            ReceiverSettings::Webhook { .. } => AttemptAnswer::refused(None, "webhooks have test events"),
            ReceiverSettings::Slack(channel) => match slack::Slack::new(&self.chat, receiver, channel) {
                Ok(slack) => slack.test(text).await,
                Err(answer) => answer,
            },
            ReceiverSettings::Discord(_) => discord::test(&self.chat, receiver, text).await,
            ReceiverSettings::Teams(_) => teams::test(&self.chat, receiver, text).await,
            ReceiverSettings::Mail(mailbox) => self.mail.test(receiver, mailbox, text).await,
            ReceiverSettings::GitHub { .. } => AttemptAnswer::refused(None, github::NO_TEST),
        }
    }
}

impl From<AttemptAnswer> for ProjectionOutcome {
    fn from(answer: AttemptAnswer) -> Self {
        Self { answer, reference: None }
    }
}

/// Serialises the body of a request.
fn json_body(value: &serde_json::Value) -> Bytes {
    Bytes::from(value.to_string())
}
