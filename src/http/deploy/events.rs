//! `GET /api/v1/deploy/{id}/events`: the event stream.
//!
//! A browser's `EventSource` gives up for good on 204, 404 and 503. So 404 is answered only when the database said that there is no
//! such deployment, 204 only when it said so just now that nothing more can come, and 503 never: while the database is away
//! the answer is 200 with comments, and the events follow when it is back.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use uuid::Uuid;

use super::missing::missing;
use crate::db::Db;
use crate::db::events::EventPosition;
use crate::http::ApiState;
use crate::http::auth::{Asks, Right};
use crate::http::error::ApiError;
use crate::http::extract::{Client, DeploymentId};
use crate::http::hub::{Head, Watch};
use crate::http::problem::Problem;
use crate::http::stream::accept::takes_event_stream;
use crate::http::stream::answer::{AWAY, FIRST_LOOK, UNKNOWN_LANG, not_admitted, stream};
use crate::http::stream::ask::Ask;
use crate::http::stream::frame::comment;
use crate::http::stream::one::{One, Place};
use crate::http::stream::viewer::Viewer;

// ---- The handler

/// Follow a deployment
///
/// The whole history, then what happens live. Events: `stage` with `{"type", "message", "details"}`; `success` and `fail` with `{"message"}`.
/// 5 s after a `success` or `fail` the stream ends, unless the deployment goes on.
#[utoipa::path(
    get, path = "/api/v1/deploy/{id}/events", tag = "deployments", operation_id = "deploymentEvents",
    params(
        ("id" = String, Path, description = "The deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"),
        ("lang" = Option<String>, Query, description = "`ko` or `en`; the server's setting when absent or unknown.", example = "en"),
        ("lastEventId" = Option<String>, Query, description = "Go on after this event, when no header can be set; the header wins.",
         example = "0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f"),
        ("ticket" = Option<String>, Query, description = "A ticket for this deployment, instead of the header `Authorization`: good once.", example = "pandat_…"),
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event; an id that this deployment does not have replays everything.",
         example = "0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f"),
    ),
    responses(
        (status = 200, description = "The event stream.", content_type = "text/event-stream", body = String,
         example = json!("id: 0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f\nevent: stage\nretry: 5000\ndata: {\"type\":\"stage\",\"message\":\"[Stage 1] Repository 클론 완료\",\"details\":{\"path\":\"/tmp/x\",\"stage\":1}}\n\n")),
        (status = 204, description = "You have the last event, and no more can come without a person's act."),
        (status = 406, description = "The client takes no event stream.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Asks(asks): Asks,
    DeploymentId(id): DeploymentId,
    RawQuery(query): RawQuery,
    client: Client,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let right = match admitted(&state, asks, &id).await {
        Ok(right) => right,
        Err(error) => return not_admitted(&state, client, error),
    };
    if !takes_event_stream(&headers) {
        return Err(ApiError::NotAcceptable);
    }
    let seat = state.seats.take(client.0)?;
    let ask = Ask::new(query.as_deref(), &headers, state.config.language);
    let mut watch = state.hub.watch(&id);
    let head = timeout(FIRST_LOOK, watch.first_look()).await.unwrap_or(Head::Away);
    if head == Head::Missing {
        let error = missing(&state, &right.principal.scope, id).await;
        return not_admitted(&state, client, error);
    }
    let place = match ask.last_event_id {
        None => Place::After(EventPosition::default()),
        Some(event) => place_of(&state.db, &watch, head, event).await,
    };
    if has_everything(&state.db, &watch, head, place).await {
        return Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-cache")]).into_response());
    }
    let unknown_lang = ask.unknown_lang.then(|| comment(UNKNOWN_LANG));
    let away = matches!(head, Head::Away).then(|| comment(AWAY));
    let comments = [unknown_lang, away].into_iter().flatten();
    let course = One::new(watch, place, ask.lang);
    let viewer = Viewer::new(course, seat, right, state.config.stream_lifetime(), comments);
    Ok(stream(Body::from_stream(viewer.into_stream())))
}

/// The caller's right, if the deployment is within their scope.
async fn admitted(state: &ApiState, asks: Result<Right, ApiError>, id: &str) -> Result<Right, ApiError> {
    let right = asks?;
    if state.db.is_in_scope(id, &right.principal.scope).await? {
        Ok(right)
    } else {
        Err(missing(state, &right.principal.scope, id.to_owned()).await)
    }
}

/// Where the event is in the sequence. One that this deployment does not have replays everything.
async fn place_of(db: &Db, watch: &Watch, head: Head, event: Uuid) -> Place {
    if matches!(head, Head::Away | Head::Closed | Head::Over) {
        return Place::AfterId(event);
    }
    match db.event_seq(watch.deployment_id(), event).await {
        Ok(Some(seq)) => Place::After(EventPosition { seq, id: Some(event) }),
        Ok(None) => Place::After(EventPosition::default()),
        Err(error) => {
            tracing::warn!(deployment = watch.deployment_id(), %error, "a place is looked for later");
            Place::AfterId(event)
        }
    }
}

/// Whether nothing is left to send and nothing can come. What the hub knows may be a second old, and a wrong yes would end the
/// client's stream for good: a yes is asked for once more, and the client's event must be the last one itself, not only its number.
async fn has_everything(db: &Db, watch: &Watch, head: Head, place: Place) -> bool {
    let (Head::Here { last_seq, active: false }, Place::After(position)) = (head, place) else { return false };
    if position.seq == 0 || position.seq < last_seq {
        return false;
    }
    let state = db.stream_state(watch.deployment_id()).await;
    matches!(state, Ok(Some(state)) if !state.active && state.newest() == position)
}
