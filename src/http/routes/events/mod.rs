//! `GET /api/v1/events`: the events of all deployments in a single stream, since a browser opens at most six connections to a host.
//!
//! Like a deployment's stream it never answers 503, after which a browser's `EventSource` does not reconnect. An invalid filter is a 400.

pub mod ticket;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use crate::domain::principal::Scope;
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::auth::StreamGrant;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::middleware::real_ip::Client;
use crate::http::pagination::name_filter;
use crate::http::routes::deploy::list::statuses;
use crate::http::sse::error::StreamError;
use crate::http::sse::filter::FeedFilter;
use crate::http::sse::frame::comment;
use crate::http::sse::hub::broadcast::ChannelState;
use crate::http::sse::hub::feed_log::FeedSubscription;
use crate::http::sse::stream::accept::accepts_event_stream;
use crate::http::sse::stream::feed_stream::{FeedResumePoint, FeedStream};
use crate::http::sse::stream::request::FeedRequest;
use crate::http::sse::stream::response::{
    DATABASE_UNAVAILABLE, FIRST_READ_TIMEOUT, UNKNOWN_LANG, event_stream, reject_or_hold, rotated,
};
use crate::http::sse::stream::subscriber::Subscriber;

// ---- Query parameters

/// Filters on events, combined with AND.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Statuses of the deployment after the event, separated by commas: `RUNNING`, `DEPLOYMENT_READY`, `COMPLETED`, `FAILED`.
    #[param(example = "DEPLOYMENT_READY,COMPLETED,FAILED")]
    pub status: Option<String>,
    /// GitHub account or organisation, case-insensitive.
    #[param(example = "acme")]
    pub owner: Option<String>,
    /// GitHub repository name, case-insensitive.
    #[param(example = "shop")]
    pub repo: Option<String>,
    /// Git branch name, case-sensitive.
    #[param(example = "main")]
    pub branch: Option<String>,
    /// Language of the messages, `ko` or `en`. Default, also for an unknown value: the server's setting.
    #[param(example = "en")]
    pub lang: Option<String>,
    /// Resume after this event, for clients that cannot set the header `Last-Event-ID`. The header takes precedence.
    #[param(example = "4711.0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f")]
    pub last_event_id: Option<String>,
    /// Single-use ticket for this stream, instead of the header `Authorization`.
    #[param(example = "pandat_…")]
    pub ticket: Option<String>,
}

impl EventsQuery {
    fn filter(self, scope: &Scope) -> Result<FeedFilter, ApiError> {
        Ok(FeedFilter {
            statuses: statuses(self.status.as_deref())?,
            owner: name_filter("owner", self.owner, validate::owner)?,
            repo: name_filter("repo", self.repo, validate::repo)?,
            branch: name_filter("branch", self.branch, validate::branch)?,
            scope: scope.clone(),
        })
    }
}

// ---- The handler

/// Follow all deployments
///
/// Streams the events of all deployments that match the filters, starting now or after a given event. The events equal those of each deployment's
/// stream, with a `deploymentId` in `data` and longer ids. Events of the same deployment keep their order. The stream does not end with a deployment.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "deployments", operation_id = "events",
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Resume after this event. An unknown id streams new events only.",
         example = "4711.0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f"),
    ),
    responses(
        (status = 200, description = "The event stream.", content_type = "text/event-stream", body = String,
         example = json!("id: 4711.0198c0de-7a1b-7c3d-8e4f-5a6b7c8d9e0f\nevent: success\nretry: 5000\ndata: {\"message\":\"Deployment completed successfully\",\"deploymentId\":\"dep_4k1zq0v7w3m9x2c8b5n6\"}\n\n")),
        (status = 400, description = "A filter is not valid; `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 406, description = "The client does not accept an event stream.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    StreamGrant(asks): StreamGrant,
    QueryParams(query): QueryParams<EventsQuery>,
    client: Client,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let right = match asks {
        Ok(right) => right,
        Err(error) => return reject_or_hold(&state, client, error),
    };
    if !accepts_event_stream(&headers) {
        return Err(StreamError::NotAcceptable.into());
    }
    let (lang, last_event_id) = (query.lang.as_deref(), query.last_event_id.as_deref());
    let request = FeedRequest::new(lang, last_event_id, &headers, state.config.language);
    let filter = query.filter(&right.principal.scope)?;
    let permit = state.stream_permits.acquire(client.0)?;
    let mut subscription = state.hub.subscribe_to_all();
    let first = timeout(FIRST_READ_TIMEOUT, subscription.updates.first_state()).await;
    let unavailable = !matches!(first, Ok(ChannelState::Live(_)));
    let (resume_point, unknown_id) = resume_point(&subscription, &request, unavailable).await;
    let comments = [
        request.unknown_lang.then_some(UNKNOWN_LANG),
        unavailable.then_some(DATABASE_UNAVAILABLE),
        unknown_id.then_some("unknown last event id: streaming new events only"),
    ];
    let share = state.replays.share_of(&right.principal, client.0);
    let source = FeedStream::new(subscription, share, resume_point, filter, request.lang);
    let comments = comments.into_iter().flatten().map(comment);
    let subscriber = Subscriber::new(source, permit, right, rotated(&state), comments);
    Ok(event_stream(Body::from_stream(subscriber.into_stream())))
}

/// Returns the resume point of a request, and true when it is `Now` only because the requested event is unknown.
async fn resume_point(
    subscription: &FeedSubscription,
    request: &FeedRequest,
    unavailable: bool,
) -> (FeedResumePoint, bool) {
    let id = match request.last_event_id {
        None => return (FeedResumePoint::Now, false),
        Some(Err(_)) => return (FeedResumePoint::Now, true),
        Some(Ok(id)) => id,
    };
    if unavailable {
        return (FeedResumePoint::AfterId(id), false);
    }
    match subscription.resume(id).await {
        Ok(Some(position)) => (FeedResumePoint::After(position), false),
        Ok(None) => (FeedResumePoint::Now, true),
        Err(error) => {
            tracing::warn!(%error, "last event id cannot be looked up, resolving it later");
            (FeedResumePoint::AfterId(id), false)
        }
    }
}
