//! One delivery: the request to a webhook, or what makes another receiver show a deployment.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use url::Url;
use uuid::Uuid;

use super::receiver::Send;
use crate::clients::receivers::ReceiverClients;
use crate::clients::webhook::WebhookRequest;
use crate::db::outbox::ShownDeployment;
use crate::db::{Db, DbError};
use crate::domain::receiver::attempt::{AttemptAnswer, AttemptVerdict};
use crate::domain::receiver::{DeliveryReceiver, Projection, ReceiverKind, ReceiverSettings, filter};
use crate::failpoints::around;

/// Longest pause that a receiver may ask for; its deliveries have longer waits.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// Reason of a delivery whose deployment retention has removed.
const ARCHIVED: &str = "the deployment was archived";

/// A delivery, without its event.
pub(super) struct Delivery {
    pub(super) db: Db,
    pub(super) clients: ReceiverClients,
    pub(super) receiver: Arc<DeliveryReceiver>,
    pub(super) holding: Uuid,
    pub(super) may_exist: bool,
    pub(super) now: DateTime<Utc>,
}

/// A request with the receiver's answer.
pub(super) struct Sent {
    pub(super) receiver: String,
    pub(super) holding: Uuid,
    pub(super) send: Send,
    /// The answer and what the receiver shows; an error when nothing was sent.
    pub(super) answer: Result<Answered, DbError>,
    /// Time without requests that must follow.
    pub(super) pause: Duration,
}

/// The answer to a delivery.
pub(super) struct Answered {
    pub(super) answer: AttemptAnswer,
    pub(super) shown: Option<ShownDeployment>,
}

impl Delivery {
    pub(super) async fn make(self, send: Send) -> Sent {
        let kind = self.receiver.settings.kind();
        let answer = if kind.is_projection() { self.show(&send).await } else { Ok(self.request(&send).await) };
        let answer = match answer {
            // A row or a secret that cannot be read is a matter of this deployment: the receiver's other deliveries continue.
            Err(error @ (DbError::Key(_) | DbError::Corrupt(_))) => {
                Ok(Answered { answer: AttemptAnswer::failed(error.to_string()), shown: None })
            }
            other => other,
        };
        let mut pause = Duration::ZERO;
        if let Ok(answered) = &answer
            && kind.is_projection()
        {
            let asked = answered.answer.retry_after.filter(|_| answered.answer.verdict != AttemptVerdict::Delivered);
            let spacing = if filter::is_milestone(send.event.code()) { Duration::ZERO } else { kind.spacing() };
            pause = asked.unwrap_or(spacing).min(LONGEST_PAUSE);
        }
        Sent { receiver: self.receiver.id.clone(), holding: self.holding, send, answer, pause }
    }

    async fn request(&self, send: &Send) -> Answered {
        let answer = match &self.receiver.settings {
            ReceiverSettings::Webhook { url } => match Url::parse(url) {
                Ok(url) => {
                    let (id, body) = (send.event.id().to_string(), send.event.body(self.receiver.lang));
                    let keys = self.receiver.credentials.signing();
                    self.clients.webhook.send(WebhookRequest { url: &url, id: &id, now: self.now, keys, body }).await
                }
                Err(_) => AttemptAnswer::failed("the address is invalid"),
            },
            _ => AttemptAnswer::refused(None, "this kind of receiver shows deployments"),
        };
        Answered { answer, shown: None }
    }

    /// Shows the present state of the event's deployment, unless a later event was shown already.
    async fn show(&self, send: &Send) -> Result<Answered, DbError> {
        let deployment = send.event.deployment();
        let kind = self.receiver.settings.kind();
        let found = self.db.projection(&self.receiver.id, deployment, kind.shown_codes()).await?;
        let Some(found) = found else {
            return Ok(Answered { answer: AttemptAnswer::refused(None, ARCHIVED), shown: None });
        };
        if found.shown >= send.event.key().seq {
            return Ok(Answered { answer: AttemptAnswer::delivered(None), shown: None });
        }
        let last_seq = found.deployment.last_seq;
        let source = &found.deployment.github_connection_id;
        let source_token = match kind {
            ReceiverKind::GitHub => self.db.github_connection(source).await?.map(|connection| connection.token),
            _ => None,
        };
        let projection = Projection {
            deployment: found.deployment,
            reference: found.reference,
            shown: found.shown,
            source_token,
            may_exist: self.may_exist,
            now: self.now,
        };
        let outcome = around("receiver delivery", self.clients.show(&self.receiver, &projection)).await;
        let seq = Some(last_seq).filter(|_| outcome.answer.verdict == AttemptVerdict::Delivered);
        let shown = ShownDeployment { deployment: deployment.to_owned(), seq, reference: outcome.reference };
        let known = shown.seq.is_some() || shown.reference.is_some();
        Ok(Answered { answer: outcome.answer, shown: Some(shown).filter(|_| known) })
    }
}
