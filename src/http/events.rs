//! `GET /api/v1/events`: the events of all deployments in one stream, since a browser has six connections to a host.
//!
//! As with a deployment's stream, 503 is never answered: `EventSource` would give up for good. A filter that cannot be is a 400.

pub mod ticket;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::ApiState;
use super::auth::Asks;
use super::deploy::list::{named, statuses};
use super::error::ApiError;
use super::extract::{Client, QueryParams};
use super::hub::feed::{FeedHead, FeedWatch};
use super::problem::Problem;
use super::stream::accept::takes_event_stream;
use super::stream::all::{All, Start};
use super::stream::answer::{AWAY, FIRST_LOOK, UNKNOWN_LANG, not_admitted, stream};
use super::stream::ask::{Ask, AskAll};
use super::stream::filter::Filter;
use super::stream::frame::comment;
use super::stream::viewer::Viewer;
use crate::domain::principal::Scope;
use crate::domain::validate;

// ---- What it takes

/// Which events. All filters must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only events after which the deployment has one of these statuses, separated by commas: `RUNNING`, `DEPLOYMENT_READY`, `COMPLETED`, `FAILED`.
    #[param(example = "DEPLOYMENT_READY,COMPLETED,FAILED")]
    pub status: Option<String>,
    /// Only this account or organisation, in any case.
    #[param(example = "acme")]
    pub owner: Option<String>,
    /// Only this repository, in any case.
    #[param(example = "shop")]
    pub repo: Option<String>,
    /// Only this branch.
    #[param(example = "main")]
    pub branch: Option<String>,
    /// `ko` or `en`; the server's setting when absent or unknown.
    #[param(example = "en")]
    pub lang: Option<String>,
    /// Go on after this event, when no header can be set; the header wins.
    #[param(example = "4711.0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f")]
    pub last_event_id: Option<String>,
    /// A ticket for this stream, instead of the header `Authorization`: good once.
    #[param(example = "pandat_…")]
    pub ticket: Option<String>,
}

impl EventsQuery {
    fn filter(self, scope: &Scope) -> Result<Filter, ApiError> {
        Ok(Filter {
            statuses: statuses(self.status.as_deref())?,
            owner: named("owner", self.owner, validate::owner)?,
            repo: named("repo", self.repo, validate::repo)?,
            branch: named("branch", self.branch, validate::branch)?,
            scope: scope.clone(),
        })
    }
}

// ---- The handler

/// Follow all deployments
///
/// What happens from now on, or after a given event, to the deployments that the filters let through. Events are those of the deployments'
/// own streams, with a `deploymentId` in `data` and longer ids. Those of one deployment are in its order; the stream does not end by itself.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "deployments", operation_id = "events",
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Go on after this event; an id that is not known begins with what comes from now on.",
         example = "4711.0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f"),
    ),
    responses(
        (status = 200, description = "The event stream.", content_type = "text/event-stream", body = String,
         example = json!("id: 4711.0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f\nevent: success\nretry: 5000\ndata: {\"message\":\"Deployment completed successfully\",\"deploymentId\":\"dep_4k1zq0v7w3m9x2c8b5n6\"}\n\n")),
        (status = 400, description = "A filter is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 406, description = "The client takes no event stream.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Asks(asks): Asks,
    QueryParams(query): QueryParams<EventsQuery>,
    client: Client,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let right = match asks {
        Ok(right) => right,
        Err(error) => return not_admitted(&state, client, error),
    };
    if !takes_event_stream(&headers) {
        return Err(ApiError::NotAcceptable);
    }
    let ask = Ask::of_all(query.lang.as_deref(), query.last_event_id.as_deref(), &headers, state.config.language);
    let filter = query.filter(&right.principal.scope)?;
    let seat = state.seats.take(client.0)?;
    let mut watch = state.hub.watch_all();
    let look = timeout(FIRST_LOOK, watch.first_look()).await;
    let away = !matches!(look, Ok(FeedHead::Here(_)));
    let (start, unknown_id) = start(&watch, &ask, away).await;
    let comments = [
        ask.unknown_lang.then_some(UNKNOWN_LANG),
        away.then_some(AWAY),
        unknown_id.then_some("unknown last event id: telling what comes from now on"),
    ];
    let course = All::new(watch, start, filter, ask.lang);
    let comments = comments.into_iter().flatten().map(comment);
    let viewer = Viewer::new(course, seat, right, state.config.stream_lifetime(), comments);
    Ok(stream(Body::from_stream(viewer.into_stream())))
}

/// Where to begin, and whether that is now because the id is not known.
async fn start(watch: &FeedWatch, ask: &AskAll, away: bool) -> (Start, bool) {
    let id = match ask.last_event_id {
        None => return (Start::Now, false),
        Some(Err(_)) => return (Start::Now, true),
        Some(Ok(id)) => id,
    };
    if away {
        return (Start::AfterId(id), false);
    }
    match watch.resume(id).await {
        Ok(Some(position)) => (Start::After(position), false),
        Ok(None) => (Start::Now, true),
        Err(error) => {
            tracing::warn!(%error, "a place among all events is looked for later");
            (Start::AfterId(id), false)
        }
    }
}
