//! `POST /api/v1/hooks/github/{id}`: receives GitHub's events for a push hook. The signature takes the place of a credential.

pub mod body;
pub mod error;
pub mod head;

use std::borrow::Cow;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use self::error::PushRequestError;
use self::head::{PayloadForm, PushHead};
use crate::commands::push_hooks::error::PushHookError;
use crate::commands::push_hooks::receive::{DecidedPush, receive, reject_payload, reject_signature};
use crate::db::push_hooks::deliveries::PushDelivery;
use crate::db::push_hooks::secrets::ReceivingHook;
use crate::domain::principal::Principal;
use crate::domain::push_hook::payload::{self, BrokenPayload};
use crate::http::ApiState;
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::error::server::ServerError;
use crate::http::middleware::real_ip::Origin;
use crate::http::routes::deploy::command::notify;
use crate::http::routes::hooks::path::PushHookPath;

/// Body above which signature and payload are not read on a thread that serves other requests.
const LARGE: usize = 128 * 1024;

// ---- Request

/// Payload of an event, as GitHub documents it. Of a push these members and the list of commits are read; others are ignored.
#[derive(Debug, ToSchema)]
pub struct GithubEvent {
    /// Ref that was pushed.
    #[schema(rename = "ref", example = "refs/heads/main")]
    pub ref_name: Option<String>,
    /// Commit of the ref before the push.
    #[schema(example = "6113728f27ae82c7b1a177c8d03f9e96e0adf246")]
    pub before: Option<String>,
    /// Commit of the ref after the push.
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8")]
    pub after: Option<String>,
}

// ---- Response

/// Decision on a received delivery.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedPush {
    /// `X-GitHub-Delivery` of the request.
    #[schema(example = "72d3162e-cc78-11e3-81ab-4c9367dc0958")]
    pub delivery_id: String,
    /// `started`, `ignored` or `rejected`; for a delivery that was received before, its first decision or that of its redelivery.
    #[schema(example = "started")]
    pub decision: String,
    /// Reason of the decision.
    #[schema(example = "RULE_MATCHED")]
    pub reason_code: String,
    /// The deployment that it started; null for none.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: Option<String>,
    /// True if the delivery was received before, and this request had no effect.
    pub repeated: bool,
}

impl From<&DecidedPush> for ReceivedPush {
    fn from(decided: &DecidedPush) -> Self {
        let row = &decided.delivery;
        Self {
            delivery_id: row.delivery_id.to_string(),
            decision: row.decision.clone(),
            reason_code: row.reason_code.clone(),
            deployment_id: row.deployment_id.clone(),
            repeated: decided.repeated,
        }
    }
}

// ---- Handler

/// Receive an event of GitHub
///
/// For the settings of a webhook at GitHub, which sends `X-GitHub-Event`, `X-GitHub-Delivery` and, in the place of a token, the signature of the body in
/// `X-Hub-Signature-256`. Decision and deployment are stored before
/// the answer; a delivery that is received again has no second effect. Nothing is requested from GitHub.
#[utoipa::path(
    post, path = "/api/v1/hooks/github/{id}", tag = "hooks", operation_id = "receiveGithubEvent", security(()),
    request_body(content(
        (GithubEvent = "application/json"),
        (String = "application/x-www-form-urlencoded"),
    ), description = "GitHub's payload, up to 25 MiB."),
    params(("id" = String, Path, description = "Id of the push hook.", example = "hok_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 202, description = "Received and decided, now or before.", body = Envelope<ReceivedPush>),
        (status = 400, description = "A header is invalid, or the payload is not one of its event.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "The signature is missing, or not by a secret of the hook.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such push hook.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is over 25 MiB.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is neither JSON nor a form.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    PushHookPath { id, .. }: PushHookPath,
    Origin(address): Origin,
    request: Request,
) -> Result<(StatusCode, Envelope<ReceivedPush>), ApiError> {
    // The sender is not known: its statements count towards the share of its address.
    state.requests.enter(&Principal::without_authentication(), address);
    let head = PushHead::of(request.headers())?;
    let hook = state.db.receiving_hook(&id).await?.ok_or_else(|| PushHookError::NotFound(id.clone()))?;
    if head.signature.is_none() {
        return Err(unsigned(&state, &id, &head).await);
    }
    let (_permit, body) = body::read(&state, &id, request).await?;
    let delivery = match verified(&head, &hook, body).await? {
        Some(Ok(delivery)) => delivery,
        Some(Err(broken)) => {
            reject_payload(&state.db, &id, (head.delivery, &head.event), broken).await?;
            state.metrics.pushes.received("rejected");
            tracing::warn!(hook = id, delivery = %head.delivery, event = head.event, error = %broken, "payload of a push hook rejected");
            return Err(PushRequestError::PayloadInvalid(broken).into());
        }
        None => return Err(unsigned(&state, &id, &head).await),
    };
    let decided = receive(&state.db, state.starter(), &state.pushes.sign_in, &id, &delivery).await?;
    announce(&state, &id, &decided).await;
    let received = ReceivedPush::from(&decided);
    let counted = if decided.repeated { "repeated" } else { known(&received.decision) };
    state.metrics.pushes.received(counted);
    let code = StatusCode::ACCEPTED;
    Ok((code, Envelope { code: code.as_u16(), message: "이벤트를 받았습니다.".to_owned(), data: received }))
}

/// Wakes up what waits for a new deployment, and logs the decision.
pub(super) async fn announce(state: &ApiState, hook: &str, decided: &DecidedPush) {
    let row = &decided.delivery;
    if decided.repeated {
        return tracing::debug!(hook, delivery = %row.delivery_id, "delivery received again, without effect");
    }
    tracing::info!(hook, delivery = %row.delivery_id, event = row.event, decision = row.decision, reason = row.reason_code,
                   deployment = row.deployment_id, "delivery of a push hook decided");
    for id in row.deployment_id.iter().chain(&decided.superseded) {
        notify(state, id).await;
    }
}

/// Records a request without a valid signature. A failure to do so does not change the answer.
async fn unsigned(state: &ApiState, hook: &str, head: &PushHead) -> ApiError {
    state.metrics.pushes.received("unverified");
    if let Err(error) = reject_signature(&state.db, hook, (head.delivery, &head.event)).await {
        tracing::warn!(%error, hook, "request without a valid signature not recorded");
    }
    PushRequestError::SignatureInvalid.into()
}

/// Reads the delivery if the signature is valid; none otherwise.
async fn verified(
    head: &PushHead,
    hook: &ReceivingHook,
    body: Bytes,
) -> Result<Option<Result<PushDelivery, BrokenPayload>>, ApiError> {
    let Some(signature) = head.signature else { return Ok(None) };
    let (hook, event, form, id) = (hook.clone(), head.event.clone(), head.form, head.delivery);
    let large = body.len() > LARGE;
    let work = move || {
        if !signature.is_by(&hook.secrets, hook.now, &body) {
            return None;
        }
        Some(delivery(id, event, form, &body))
    };
    if large { tokio::task::spawn_blocking(work).await.map_err(|_| ServerError::Internal.into()) } else { Ok(work()) }
}

fn delivery(id: Uuid, event: String, form: PayloadForm, body: &[u8]) -> Result<PushDelivery, BrokenPayload> {
    let payload = match form {
        PayloadForm::Json => Cow::Borrowed(body),
        PayloadForm::Form => {
            let member = url::form_urlencoded::parse(body).find(|(name, _)| name == "payload");
            Cow::Owned(member.ok_or(BrokenPayload::Malformed)?.1.into_owned().into_bytes())
        }
    };
    payload::parse(&event, &payload).map(|facts| PushDelivery { id, event, facts })
}

fn known(decision: &str) -> &'static str {
    ["started", "ignored"].into_iter().find(|known| *known == decision).unwrap_or("rejected")
}
