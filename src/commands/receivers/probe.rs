//! A test delivery: one request to the receiver, signed like any other, whose answer the caller sees. It is not repeated.

use serde_json::json;
use url::Url;
use uuid::Uuid;

use super::error::ReceiverError;
use super::{actions, record, show};
use crate::clients::receivers::ReceiverClients;
use crate::clients::webhook::WebhookRequest;
use crate::commands::error::CommandError;
use crate::db::Db;
use crate::domain::message::message;
use crate::domain::principal::Caller;
use crate::domain::receiver::attempt::AttemptAnswer;
use crate::domain::receiver::{ReceiverFamily, ReceiverSettings};
use crate::domain::webhook::payload::test_body;

/// Sends a test event to a receiver, a disabled one too, and returns its id with the answer.
///
/// # Errors
/// The caller is no admin, or its scope has no such receiver.
pub async fn test(
    db: &Db,
    clients: &ReceiverClients,
    (family, id): (ReceiverFamily, &str),
    by: &Caller,
) -> Result<(String, AttemptAnswer), CommandError> {
    show(db, (family, id), by).await?;
    let not_found = || ReceiverError::not_found(family, id);
    let receiver = db.delivery_receiver(id).await?.ok_or_else(not_found)?;
    let now = db.token_time().await?;
    // Audited before the request, so that there is none without an entry.
    let mut tx = db.begin().await?;
    record(&mut tx, by, actions(family).test, id, json!({})).await?;
    tx.commit().await?;
    let event = format!("test_{}", Uuid::new_v4().simple());
    let answer = match &receiver.settings {
        ReceiverSettings::Webhook { url } => {
            let Ok(url) = Url::parse(url) else {
                return Ok((event, AttemptAnswer::failed("the address is invalid")));
            };
            let keys = receiver.credentials.signing();
            clients.webhook.send(WebhookRequest { url: &url, id: &event, now, keys, body: test_body(id, now) }).await
        }
        _ => clients.test(&receiver, &message!("channel.test").text(receiver.lang)).await,
    };
    Ok((event, answer))
}
