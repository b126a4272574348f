//! `GET /api/v1/deploy/{id}/events`: streams the events of a deployment.
//!
//! A browser's `EventSource` never reconnects after 204, 404 or 503. So the response is 404 only when the database confirms that the deployment
//! does not exist, 204 only when the database has just confirmed that no event can follow, and never 503: while the database is unavailable
//! the response is 200 with comments, and the events follow once it is available.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use uuid::Uuid;

use super::not_found::not_found;
use crate::db::Db;
use crate::db::events::EventPosition;
use crate::http::ApiState;
use crate::http::auth::{Grant, StreamGrant};
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::middleware::real_ip::Client;
use crate::http::routes::deploy::path::DeploymentId;
use crate::http::sse::error::StreamError;
use crate::http::sse::frame::comment;
use crate::http::sse::hub::{DeploymentProgress, DeploymentState, DeploymentSubscription};
use crate::http::sse::stream::accept::accepts_event_stream;
use crate::http::sse::stream::deployment_stream::{DeploymentStream, ResumePoint};
use crate::http::sse::stream::request::StreamRequest;
use crate::http::sse::stream::response::{
    DATABASE_UNAVAILABLE, FIRST_READ_TIMEOUT, UNKNOWN_LANG, event_stream, reject_or_hold, until_its_source_ends,
};
use crate::http::sse::stream::subscriber::Subscriber;

// ---- Handler

/// Follow a deployment
///
/// Streams the whole history, then live events: `stage` with `{"type", "message", "details"}`; `success` and `fail` with `{"message"}`.
/// The stream ends 5 s after a `success` or `fail`, unless the deployment continues; before that, only when the server stops or the caller's
/// permission ends.
#[utoipa::path(
    get, path = "/api/v1/deploy/{id}/events", tag = "deployments", operation_id = "deploymentEvents",
    params(
        ("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"),
        ("lang" = Option<String>, Query, description = "`ko` or `en`; the server's setting when absent or unknown.", example = "en"),
        ("lastEventId" = Option<String>, Query, description = "Id of the last received event, for clients that cannot set the header `Last-Event-ID`, which takes precedence.",
         example = "0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f"),
        ("ticket" = Option<String>, Query, description = "A ticket for this deployment, instead of the header `Authorization`; valid once.", example = "pandat_…"),
        ("Last-Event-ID" = Option<String>, Header, description = "Id of the last received event; the stream resumes after it. An id unknown to this deployment replays all events.",
         example = "0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f"),
    ),
    responses(
        (status = 200, description = "The event stream.", content_type = "text/event-stream", body = String,
         example = json!("id: 0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f\nevent: stage\nretry: 5000\ndata: {\"type\":\"stage\",\"message\":\"[Stage 1] Repository 클론 완료\",\"details\":{\"path\":\"/tmp/x\",\"stage\":1}}\n\n")),
        (status = 204, description = "The client has the last event, and no more can follow unless a user or AWS acts."),
        (status = 406, description = "The client does not accept event streams.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    StreamGrant(asks): StreamGrant,
    DeploymentId(id): DeploymentId,
    RawQuery(query): RawQuery,
    client: Client,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let right = match admitted(&state, asks, &id).await {
        Ok(right) => right,
        Err(error) => return reject_or_hold(&state, client, error),
    };
    if !accepts_event_stream(&headers) {
        return Err(StreamError::NotAcceptable.into());
    }
    let permit = state.stream_permits.acquire(client.0)?;
    let request = StreamRequest::new(query.as_deref(), &headers, state.config.language);
    let mut subscription = state.hub.subscribe(&id);
    let first = timeout(FIRST_READ_TIMEOUT, subscription.updates.first_state()).await;
    let first = first.unwrap_or(DeploymentState::Unavailable);
    if first == DeploymentState::Missing {
        let error = not_found(&state, &right.principal.scope, id).await;
        return reject_or_hold(&state, client, error);
    }
    let resume_point = match request.last_event_id {
        None => ResumePoint::After(EventPosition::default()),
        Some(event) => resume_point(&state.db, &subscription, first, event).await,
    };
    if has_all_events(&state.db, &subscription, first, resume_point).await {
        return Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-cache")]).into_response());
    }
    let unknown_lang = request.unknown_lang.then(|| comment(UNKNOWN_LANG));
    let unavailable = matches!(first, DeploymentState::Unavailable).then(|| comment(DATABASE_UNAVAILABLE));
    let comments = [unknown_lang, unavailable].into_iter().flatten();
    let share = state.replays.share_of(&right.principal, client.0);
    let source = DeploymentStream::new(subscription, share, resume_point, request.lang);
    // Not rotated: a page that closes at its first error must see the whole deployment, and one in a queue may take any time.
    let subscriber = Subscriber::new(source, permit, right, until_its_source_ends(&state), comments);
    Ok(event_stream(Body::from_stream(subscriber.into_stream())))
}

/// The caller's right, if the deployment is within their scope.
async fn admitted(state: &ApiState, asks: Result<Grant, ApiError>, id: &str) -> Result<Grant, ApiError> {
    let right = asks?;
    if state.db.is_in_scope(id, &right.principal.scope).await? {
        Ok(right)
    } else {
        Err(not_found(state, &right.principal.scope, id.to_owned()).await)
    }
}

/// Looks up the sequence number of the client's last event. An event that this deployment does not have replays all events.
async fn resume_point(
    db: &Db,
    subscription: &DeploymentSubscription,
    first: DeploymentState,
    event: Uuid,
) -> ResumePoint {
    if matches!(first, DeploymentState::Unavailable | DeploymentState::Closed | DeploymentState::Diverged) {
        return ResumePoint::AfterId(event);
    }
    match db.event_seq(subscription.deployment_id(), event).await {
        Ok(Some(seq)) => ResumePoint::After(EventPosition { seq, id: Some(event) }),
        Ok(None) => ResumePoint::After(EventPosition::default()),
        Err(error) => {
            let deployment = subscription.deployment_id();
            tracing::warn!(deployment, %error, "last event id cannot be looked up, resolving it later");
            ResumePoint::AfterId(event)
        }
    }
}

/// Returns true when the client has all events and no more can follow. The hub's state may be a second old, and a wrong 204 ends the
/// client's stream for good: true is confirmed by the database, and the client's event must be the last one by its id, not only by its number.
async fn has_all_events(
    db: &Db,
    subscription: &DeploymentSubscription,
    first: DeploymentState,
    resume_point: ResumePoint,
) -> bool {
    let DeploymentState::Live(DeploymentProgress { last_seq, active: false }) = first else { return false };
    let ResumePoint::After(position) = resume_point else { return false };
    if position.seq == 0 || position.seq < last_seq {
        return false;
    }
    let state = db.stream_state(subscription.deployment_id()).await;
    matches!(state, Ok(Some(state)) if !state.active && state.newest() == position)
}
