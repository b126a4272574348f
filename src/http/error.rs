//! Every way for a request to fail, and the problem (RFC 9457) that each becomes.

mod aws;
mod github;

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::clients::ClientError;
use crate::clients::github::GitHubError;
use crate::db::DbError;
use crate::db::health::words;
use crate::domain::build_spec::MAX_SECRETS;
use crate::domain::keyring::KeyError;
use crate::domain::principal::Role;
pub use aws::AwsProblem;

/// What a client may be told.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A field of the body, the query or a header is missing, unknown or not usable.
    #[error("{field}: {reason}")]
    Field {
        /// The field, as the client wrote it.
        field: String,
        /// The rule that it breaks, with the remedy.
        reason: String,
    },
    /// The body is no JSON.
    #[error("the body is not valid JSON: {0}")]
    MalformedJson(String),
    /// The body is larger than [`super::MAX_BODY`].
    #[error("the body is too large")]
    BodyTooLarge,
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", limit.as_secs_f64())]
    BodyTooSlow {
        /// How long it may take.
        limit: Duration,
    },
    /// There is no answer yet, and there was time enough.
    #[error("no answer within {} s", limit.as_secs_f64())]
    TimedOut {
        /// How long it may take.
        limit: Duration,
    },
    /// The client, or its token, asks too often.
    #[error("over {rate} requests a second of one {of}")]
    TooManyRequests {
        /// `address` or `token`.
        of: &'static str,
        /// How many a second there may be for long.
        rate: u32,
        /// When the next one is taken.
        wait: Duration,
    },
    /// The caller has as many expensive requests under way as one may.
    #[error("the caller has {limit} reports under way")]
    TooManyOfCaller {
        /// How many that is.
        limit: usize,
    },
    /// The request names its host not at all, twice, in two ways, or wrongly.
    #[error("the request's host cannot be used: {0}")]
    BadHost(&'static str),
    /// The caller opens sessions too fast.
    #[error("too many sessions of one caller")]
    TooManySessions {
        /// When the next one can be opened.
        wait: Duration,
    },
    /// A page of somebody else asks for a change.
    #[error("a page of another origin asks for a change")]
    OriginNotAllowed,
    /// The body is not declared as JSON.
    #[error("the body is not declared as JSON")]
    UnsupportedMediaType,
    /// The client takes no event streams, and asks for one.
    #[error("the client takes no event stream")]
    NotAcceptable,
    /// Nothing is served at this path.
    #[error("no such path")]
    RouteNotFound,
    /// The path is served, with other methods.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// Nobody knows who asks; the text says why.
    #[error("not signed in: {0}")]
    NotSignedIn(&'static str),
    /// The keys of the issuer of an OpenID Connect token cannot be had.
    #[error("the token's issuer cannot be asked: {0}")]
    IssuerUnavailable(ClientError),
    /// The caller's role is not enough.
    #[error("a {role} may not do this: it needs {needed}")]
    NotAllowed {
        /// The least role that may.
        needed: Role,
        /// The caller's.
        role: Role,
    },
    /// Switch: whoever started it asks, and another one has to.
    #[error("deployment {0} is to be approved by another one")]
    NeedsAnother(String),
    /// The repository is none of the caller's.
    #[error("out of scope: {0}")]
    OutOfScope(String),
    /// There is no deployment with this id.
    #[error("no deployment {0}")]
    DeploymentNotFound(String),
    /// There is no such report.
    #[error("no report {0}")]
    ReportNotFound(String),
    /// The deployment ended so long ago that only reports have it.
    #[error("deployment {0} is in the archive")]
    DeploymentArchived(String),
    /// Every deployment is finished.
    #[error("no deployment is under way")]
    NoCurrentDeployment,
    /// Switch: the deployment is still on its way.
    #[error("deployment {id} is not ready to be switched")]
    SwitchTooEarly {
        /// The deployment.
        id: String,
        /// How far it is (1 to 4).
        stage: Option<i32>,
    },
    /// Switch: the traffic is on green already.
    #[error("deployment {0} is switched already")]
    AlreadySwitched(String),
    /// Switch: the deployment failed.
    #[error("deployment {0} has failed")]
    DeploymentFailed(String),
    /// Switch: somebody asked to cancel it.
    #[error("deployment {0} is being cancelled")]
    BeingCancelled(String),
    /// Cancel: it has ended.
    #[error("deployment {id} has ended: {status}")]
    AlreadyFinished {
        /// The deployment.
        id: String,
        /// COMPLETED or FAILED.
        status: &'static str,
    },
    /// Retry: it has not failed.
    #[error("deployment {id} has not failed: {status}")]
    NotFailed {
        /// The deployment.
        id: String,
        /// RUNNING, `DEPLOYMENT_READY` or COMPLETED.
        status: &'static str,
    },
    /// Deploy and retry: another deployment of the same target is not finished.
    #[error("the target is taken by deployment {other}")]
    TargetTaken {
        /// The one that has the target, or waits for it.
        other: String,
        /// The deployment that was to be tried again; none for a new one.
        retry_of: Option<String>,
    },
    /// Deploy and retry: a connection was removed.
    #[error("the connection {0} was removed")]
    ConnectionRemoved(String),
    /// There is no connection with this id.
    #[error("no connection {0}")]
    ConnectionNotFound(String),
    /// The connection has no build secret of this name.
    #[error("connection {connection} has no build secret {name}")]
    BuildSecretNotFound {
        /// The connection.
        connection: String,
        /// The name.
        name: String,
    },
    /// The connection has as many build secrets as it may.
    #[error("connection {0} has too many build secrets")]
    TooManyBuildSecrets(String),
    /// An unfinished deployment uses the connection.
    #[error("the connection {id} is used by deployment {deployment}")]
    ConnectionInUse {
        /// The connection.
        id: String,
        /// The deployment.
        deployment: String,
    },
    /// There is no schedule with this id.
    #[error("no schedule {0}")]
    ScheduleNotFound(String),
    /// There is no such revocation.
    #[error("no revocation {0}")]
    RevocationNotFound(String),
    /// Somebody else changed the schedule at the same time.
    #[error("schedule {0} was changed meanwhile")]
    ScheduleChanged(String),
    /// The ECR repository's name belongs to another source repository.
    #[error("the ECR repository {ecr_repository} belongs to another source repository")]
    RepositoryNameTaken {
        /// The name that both would get.
        ecr_repository: String,
        /// The other, as owner/repo; none when the caller may not know it.
        other: Option<String>,
    },
    /// The idempotency key came with another body before.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// The client has as many event streams as it may.
    #[error("the client has {limit} event streams")]
    TooManyStreamsOfClient {
        /// How many that is.
        limit: usize,
    },
    /// There are as many event streams as there may be.
    #[error("there are {limit} event streams")]
    TooManyStreams {
        /// How many that is.
        limit: usize,
    },
    /// GitHub cannot confirm the repository and branch.
    #[error(transparent)]
    GitHub(#[from] GitHubError),
    /// An AWS account cannot be connected, or used as it is connected.
    #[error(transparent)]
    Aws(#[from] AwsProblem),
    /// The connection is of something else than the request says.
    #[error("the connection {id} is of another {field}")]
    ConnectionDiffers {
        /// The connection.
        id: String,
        /// The field that says something else.
        field: &'static str,
        /// What the connection has.
        connected: String,
    },
    /// The database is away, or refuses.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The process cannot serve yet, or any more.
    #[error("not ready: {0}")]
    NotReady(String),
    /// A fault of ours, whose details are in the log only.
    #[error("internal error")]
    Internal,
}

/// When to come back after something was away that mostly returns within seconds.
const SOON: Duration = Duration::from_secs(2);

impl ApiError {
    /// A refused field.
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { field: field.into(), reason: reason.into() }
    }

    /// The stable code that programs match on.
    pub fn error_code(&self) -> &'static str {
        self.problem().error_code
    }

    /// The one place where an error becomes an answer.
    #[expect(
        clippy::too_many_lines,
        reason = "one exhaustive match, one line of thought an error: splitting it would hide it"
    )]
    pub fn problem(&self) -> Problem {
        use Problem as P;
        use StatusCode as S;
        match self {
            Self::Field { field, reason } => {
                P::new(S::BAD_REQUEST, "INVALID_FIELD", "A field is not valid", format!("{field}: {reason}")).field(field)
            }
            Self::MalformedJson(reason) => P::new(
                S::BAD_REQUEST,
                "MALFORMED_JSON",
                "The body is not JSON",
                format!("The body is not valid JSON: {reason}. Send one JSON object, encoded in UTF-8."),
            ),
            Self::BodyTooLarge => P::new(
                S::PAYLOAD_TOO_LARGE,
                "BODY_TOO_LARGE",
                "The body is too large",
                format!("The body may have at most {} bytes.", super::MAX_BODY),
            ),
            Self::BodyTooSlow { limit } => P::new(
                S::REQUEST_TIMEOUT,
                "BODY_TIMED_OUT",
                "The body did not arrive in time",
                format!("The body did not arrive within {} s. Send the request again, all of it at once.", limit.as_secs_f64()),
            ),
            Self::TimedOut { limit } => P::new(
                S::SERVICE_UNAVAILABLE,
                "REQUEST_TIMED_OUT",
                "There was no answer in time",
                format!(
                    "There was no answer within {} s. Whether it had an effect is not known: look, or ask again with the same Idempotency-Key.",
                    limit.as_secs_f64()
                ),
            )
            .retry_after(SOON),
            Self::TooManySessions { wait } => P::new(
                S::TOO_MANY_REQUESTS,
                "TOO_MANY_SESSIONS",
                "There are too many sessions",
                "Too many sessions were opened by this caller: six a minute for long, and thirty at once. Wait as Retry-After says, and use the \
                 cookie of the one before: a session lasts for hours.",
            )
            .retry_after(*wait + Duration::from_millis(999)),
            Self::TooManyRequests { of, rate, wait } => P::new(
                S::TOO_MANY_REQUESTS,
                "TOO_MANY_REQUESTS",
                "There are too many requests",
                format!(
                    "There were too many requests of this {of}: {rate} a second for long, and ten times as many at once. Wait as Retry-After \
                     says; follow a deployment by its event stream instead of asking for its result. Behind a proxy, the server must trust it \
                     (PANDA_TRUSTED_PROXIES) to tell its clients apart."
                ),
            )
            .retry_after(*wait + Duration::from_millis(999)),
            Self::BadHost(why) => P::new(
                S::BAD_REQUEST,
                "BAD_HOST",
                "The request's host cannot be used",
                format!("The request's host cannot be used: {why}. Send one header Host with the name or address of the server, and its port."),
            ),
            Self::OriginNotAllowed => P::new(
                S::FORBIDDEN,
                "ORIGIN_NOT_ALLOWED",
                "Pages of this origin may change nothing",
                "A browser sent this for a page that is not Panda's own. Whoever runs the server may name the page's origin in PANDA_CORS_ORIGINS.",
            ),
            Self::UnsupportedMediaType => P::new(
                S::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "The body is not declared as JSON",
                "Send the header Content-Type: application/json.",
            ),
            Self::NotAcceptable => P::new(
                S::NOT_ACCEPTABLE,
                "NOT_ACCEPTABLE",
                "Only an event stream is served here",
                "Send the header Accept: text/event-stream, or none. For a single answer ask …/result.",
            ),
            Self::RouteNotFound => P::new(
                S::NOT_FOUND,
                "ROUTE_NOT_FOUND",
                "Nothing is served here",
                "There is no such path. /swagger-ui shows those that there are.",
            ),
            Self::MethodNotAllowed => P::new(
                S::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "The method is not allowed",
                "This path takes other methods: the header Allow names them.",
            ),
            Self::NotSignedIn(why) => P::new(
                S::UNAUTHORIZED,
                "NOT_SIGNED_IN",
                "Sign in first",
                format!("Nobody is signed in: {why}. Send the header Authorization: Bearer TOKEN; `panda token create` makes a token."),
            ),
            // Why is in the log: it may tell of the network that the server is in.
            Self::IssuerUnavailable(_) => P::new(
                S::SERVICE_UNAVAILABLE,
                "ISSUER_UNAVAILABLE",
                "The token's issuer cannot be asked",
                "The issuer of this token could not be asked for its keys, so it cannot be told whether the token is good. Try again in a moment.",
            )
            .retry_after(SOON),
            Self::NotAllowed { needed, role } => P::new(
                S::FORBIDDEN,
                "NOT_ALLOWED",
                "The role is not enough",
                format!("This needs the role {needed}, and yours is {role}. Whoever runs the server can make a token with it."),
            ),
            Self::NeedsAnother(id) => P::new(
                S::FORBIDDEN,
                "APPROVER_STARTED_IT",
                "Another one has to approve",
                "You started this deployment, and here another one has to approve it. Ask somebody else with the role approver to switch it.",
            )
            .deployment(id),
            Self::OutOfScope(repositories) => P::new(
                S::FORBIDDEN,
                "OUT_OF_SCOPE",
                "Not for these repositories",
                format!("What you signed in with is not for {repositories}. Whoever runs the server can make a token that is."),
            ),
            Self::DeploymentNotFound(id) => P::new(
                S::NOT_FOUND,
                "DEPLOYMENT_NOT_FOUND",
                "There is no such deployment",
                format!("There is no deployment {id}. GET /api/v1/deploy lists those that there are."),
            )
            .deployment(id),
            Self::ReportNotFound(name) => P::new(
                S::NOT_FOUND,
                "REPORT_NOT_FOUND",
                "There is no such report",
                format!("There is no report {name}. GET /api/v1/reports lists those that there are."),
            ),
            Self::DeploymentArchived(id) => P::new(
                S::GONE,
                "DEPLOYMENT_ARCHIVED",
                "The deployment is in the archive",
                format!(
                    "The deployment {id} ended so long ago that only reports have it (PANDA_RETENTION_DEPLOYMENTS). It can neither be shown nor \
                     tried again here. Start a new deployment for another change."
                ),
            )
            .deployment(id),
            Self::NoCurrentDeployment => P::new(
                S::NOT_FOUND,
                "NO_CURRENT_DEPLOYMENT",
                "No deployment is under way",
                "Every deployment is finished. POST /api/v1/deploy starts one.",
            ),
            Self::SwitchTooEarly { id, stage } => P::new(
                S::CONFLICT,
                "SWITCH_NOT_READY",
                "The deployment is not ready to be switched",
                "The deployment is still RUNNING. Switch it when its status is DEPLOYMENT_READY: its event stream says so.",
            )
            .deployment(id)
            .stage(*stage),
            Self::AlreadySwitched(id) => P::new(
                S::CONFLICT,
                "ALREADY_SWITCHED",
                "The traffic is switched already",
                "The deployment is COMPLETED: the traffic is on green. Start a new deployment for another change.",
            )
            .deployment(id),
            Self::DeploymentFailed(id) => P::new(
                S::CONFLICT,
                "DEPLOYMENT_FAILED",
                "The deployment has failed",
                "The deployment is FAILED and cannot be switched. Its result says why; mend that and retry it, or deploy again.",
            )
            .deployment(id),
            Self::BeingCancelled(id) => P::new(
                S::CONFLICT,
                "DEPLOYMENT_CANCELLING",
                "The deployment is being cancelled",
                "Somebody asked to cancel this deployment, so it cannot be switched. Retry it when it is FAILED, or start a new one.",
            )
            .deployment(id),
            Self::AlreadyFinished { id, status } => P::new(
                S::CONFLICT,
                "ALREADY_FINISHED",
                "The deployment has ended already",
                format!("The deployment is {status}: there is nothing left to cancel. Its result has everything."),
            )
            .deployment(id),
            Self::NotFailed { id, status } => P::new(
                S::CONFLICT,
                "RETRY_NOT_FAILED",
                "The deployment has not failed",
                format!("The deployment is {status}: only a FAILED one can be tried again. Start a new deployment for another change."),
            )
            .deployment(id),
            Self::TargetTaken { other, retry_of } => P::new(
                S::CONFLICT,
                "TARGET_TAKEN",
                "Another deployment of this repository is not finished",
                format!(
                    "The deployment {other} of the same repository, AWS account and region is not finished. {}",
                    match retry_of {
                        None => "Wait for its end, switch or cancel it, or ask for concurrency queue or supersede.",
                        Some(_) => "Wait for its end, switch or cancel it, then retry.",
                    }
                ),
            )
            .deployment(other),
            Self::ConnectionRemoved(id) => P::new(
                S::CONFLICT,
                "CONNECTION_REMOVED",
                "The connection was removed",
                format!("The connection {id} was removed. Connect anew, and start a new deployment with the new connection."),
            ),
            Self::ConnectionNotFound(id) => P::new(
                S::NOT_FOUND,
                "CONNECTION_NOT_FOUND",
                "There is no such connection",
                format!("There is no connection {id} that you may change. GET /api/v1/connections lists those that there are."),
            ),
            Self::BuildSecretNotFound { connection, name } => P::new(
                S::NOT_FOUND,
                "BUILD_SECRET_NOT_FOUND",
                "There is no such build secret",
                format!(
                    "The connection {connection} has no build secret {name}. GET /api/v1/connect/github/{connection}/secrets lists those that it has."
                ),
            ),
            Self::TooManyBuildSecrets(id) => P::new(
                S::CONFLICT,
                "TOO_MANY_BUILD_SECRETS",
                "The connection has too many build secrets",
                format!("The connection {id} has {MAX_SECRETS} build secrets, the most that a build may read. Remove one that is not used any more."),
            ),
            Self::ConnectionInUse { id, deployment } => P::new(
                S::CONFLICT,
                "CONNECTION_IN_USE",
                "An unfinished deployment uses the connection",
                format!("The deployment {deployment} uses the connection {id} and is not finished. Wait for its end or cancel it, then try again."),
            )
            .deployment(deployment),
            Self::ScheduleNotFound(id) => P::new(
                S::NOT_FOUND,
                "SCHEDULE_NOT_FOUND",
                "There is no such schedule",
                format!("There is no schedule {id}. GET /api/v1/schedules lists those that there are."),
            ),
            Self::RevocationNotFound(id) => P::new(
                S::NOT_FOUND,
                "REVOCATION_NOT_FOUND",
                "There is no such revocation",
                format!("There is no revocation {id}. GET /api/v1/revocations lists those that there are."),
            ),
            Self::ScheduleChanged(id) => P::new(
                S::CONFLICT,
                "SCHEDULE_CHANGED",
                "Somebody else changed the schedule",
                format!("Somebody else changed the schedule {id} at the same time. Read it again, and repeat the change if it is still wanted."),
            ),
            Self::RepositoryNameTaken { ecr_repository, other } => P::new(
                S::CONFLICT,
                "REPOSITORY_NAME_TAKEN",
                "The ECR repository belongs to another source repository",
                format!(
                    "The ECR repository {ecr_repository} already receives the images of {} in this account and region. \
                     Rename one of the two source repositories, or use another AWS account or region.",
                    other.as_deref().unwrap_or("another source repository")
                ),
            )
            .field("repo"),
            Self::IdempotencyKeyReused => P::new(
                S::UNPROCESSABLE_ENTITY,
                "IDEMPOTENCY_KEY_REUSED",
                "The idempotency key was used for another body",
                "This Idempotency-Key came with a different body before. Use a new key for a new request.",
            )
            .field("Idempotency-Key"),
            Self::TooManyStreamsOfClient { limit } => P::new(
                S::TOO_MANY_REQUESTS,
                "TOO_MANY_STREAMS_OF_CLIENT",
                "The client has too many event streams",
                format!(
                    "This address has {limit} event streams, which is the limit. Close some, or follow all deployments in one stream: \
                     GET /api/v1/events. Behind a proxy, the server must trust it (PANDA_TRUSTED_PROXIES) to tell its clients apart."
                ),
            )
            .retry_after(SOON),
            Self::TooManyStreams { limit } => P::new(
                S::TOO_MANY_REQUESTS,
                "TOO_MANY_STREAMS",
                "There are too many event streams",
                format!(
                    "This server has {limit} event streams, which is the limit. Try again in a moment, or ask …/result now and then; \
                     whoever runs it may raise PANDA_MAX_STREAMS."
                ),
            )
            .retry_after(SOON),
            Self::GitHub(error) => github::problem(error),
            Self::Aws(error) => aws::problem(error),
            Self::ConnectionDiffers { id, field, connected } => P::new(
                S::CONFLICT,
                "CONNECTION_DIFFERS",
                "The connection is of something else",
                format!(
                    "{field}: the connection {id} has {connected}, and renewing it cannot change that. Leave the field out or give the same, \
                     or make a new connection with POST /api/v1/connect/{}.",
                    if id.starts_with("aws_") { "aws" } else { "github" }
                ),
            )
            .field(field),
            Self::TooManyOfCaller { limit } => P::new(
                S::SERVICE_UNAVAILABLE,
                "REPORTS_BUSY",
                "Too many reports at once",
                format!("{limit} of your reports are under way, which is as many as one caller may have. Wait for their answers before asking for more."),
            )
            .retry_after(SOON),
            Self::Database(DbError::Busy(busy)) => P::new(
                S::SERVICE_UNAVAILABLE,
                "DATABASE_BUSY",
                "Too much at once",
                format!("Just now {busy}, and none became free in time. Nothing was lost; ask for less at once, and try again in a moment."),
            )
            .retry_after(SOON),
            Self::Database(DbError::Unavailable(error)) => P::new(
                S::SERVICE_UNAVAILABLE,
                "DATABASE_UNAVAILABLE",
                "The database is away",
                format!("Just now {}. Nothing was lost; try again in a moment.", words(error)),
            )
            .retry_after(SOON),
            Self::Database(DbError::SchemaPending(reason)) => P::new(
                S::SERVICE_UNAVAILABLE,
                "DATABASE_UNAVAILABLE",
                "The database is not ready",
                format!("The server has no database yet: {reason}. Nothing was stored; try again in a moment."),
            )
            .retry_after(SOON),
            Self::Database(DbError::Unusable(cause)) => P::new(
                S::SERVICE_UNAVAILABLE,
                "DATABASE_UNAVAILABLE",
                "The database is away",
                format!("Just now {cause}. Nothing was lost; try again in a moment."),
            )
            .retry_after(SOON),
            Self::Database(DbError::Key(KeyError::Service { passing: true, problem, .. })) => P::new(
                S::SERVICE_UNAVAILABLE,
                "KEY_SERVICE_UNAVAILABLE",
                "The key service is away",
                format!("The service that has the key for stored secrets could not be asked ({problem}). Nothing was stored; try again."),
            )
            .retry_after(SOON),
            Self::NotReady(what) => {
                P::new(S::SERVICE_UNAVAILABLE, "NOT_READY", "Not ready", format!("Not ready: {what}.")).retry_after(SOON)
            }
            Self::Database(_) | Self::Internal => P::new(
                S::INTERNAL_SERVER_ERROR,
                "INTERNAL",
                "Internal error",
                "Something went wrong on the server. Its log tells more, under this answer's X-Request-Id.",
            ),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match &self {
            // The callers of one class have used it up: a metric counts them.
            Self::Database(DbError::Busy(busy)) => tracing::debug!(%busy, "request rejected"),
            // Everybody is told so, as long as it lasts; the heartbeat says it too.
            Self::Database(error) if error.is_unavailable() => {
                tracing::warn!(%error, "the database is away for a request");
            }
            Self::Database(error) => tracing::error!(%error, "a request failed at the database"),
            Self::Internal => tracing::error!("a request failed for an internal reason"),
            _ => tracing::debug!(error = %self, "a request is refused"),
        }
        self.problem().into_response()
    }
}
