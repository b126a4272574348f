//! A test delivery: one request to the receiver, signed like any other, whose answer the caller sees. It is not repeated.

use serde_json::json;
use url::Url;
use uuid::Uuid;

use super::error::WebhookError;
use super::{record, show};
use crate::clients::webhook::{WebhookClient, WebhookRequest};
use crate::commands::error::CommandError;
use crate::db::Db;
use crate::domain::audit::Action;
use crate::domain::principal::Caller;
use crate::domain::webhook::attempt::AttemptAnswer;
use crate::domain::webhook::payload::test_body;

/// Sends a test event to a webhook, a disabled one too, and returns its id with the answer.
///
/// # Errors
/// The caller is no admin, or its scope has no such webhook.
pub async fn test(
    db: &Db,
    client: &WebhookClient,
    id: &str,
    by: &Caller,
) -> Result<(String, AttemptAnswer), CommandError> {
    show(db, id, by).await?;
    let not_found = || WebhookError::NotFound(id.to_owned());
    let webhook = db.delivery_webhook(id).await?.ok_or_else(not_found)?;
    let now = db.token_time().await?;
    // Audited before the request, so that there is none without an entry.
    let mut tx = db.begin().await?;
    record(&mut tx, by, Action::TestWebhook, id, json!({})).await?;
    tx.commit().await?;
    let event = format!("test_{}", Uuid::new_v4().simple());
    let Ok(url) = Url::parse(&webhook.url) else {
        let error = Some("the address is invalid".to_owned());
        return Ok((event, AttemptAnswer { status: None, retry_after: None, error }));
    };
    let body = test_body(id, now);
    let answer = client.send(WebhookRequest { url: &url, id: &event, now, keys: &webhook.keys, body }).await;
    Ok((event, answer))
}
