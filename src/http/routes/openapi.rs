//! `GET /api-docs/openapi.json` and `/swagger-ui`: the OpenAPI document, generated from the handlers, and a page to try the API.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;
use bytes::Bytes;
use tower_http::decompression::DecompressionLayer;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi as OpenApiDocument, Ref, RefOr, Required, Response, ResponseBuilder, Server,
};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    audit, channels, connect, connections, deploy, events, freezes, github_apps, healthz, hooks, log, maintenance,
    metrics, openapi_examples, pipeline, policies, readyz, reports, revocations, schedules, session, tokens, webhooks,
};
use crate::http::ApiState;
use crate::http::error::problem;
use crate::http::json;
use crate::http::language;
use crate::http::middleware::PROBES;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Panda",
        description = "Deploys a branch, tag or commit of a GitHub repository, or an image: builds its Dockerfile, pushes the image to ECR, follows the Step Functions \
                       execution that the push starts, and switches the traffic of an ECS blue/green deployment when an approver requests it.\n\n\
                       Success: `{\"code\": 200, \"message\": …, \"data\": …}`. Errors: `application/problem+json` (RFC 9457) with a stable \
                       `errorCode`. Times: RFC 3339, UTC.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&BearerToken),
    security(("token" = [])),
    tags(
        (name = "connections", description = "Connections to source repositories and target accounts."),
        (name = "deployments", description = "Start, follow, switch, cancel, retry and roll back deployments."),
        (name = "schedules", description = "Deployments that start at scheduled times."),
        (name = "freezes", description = "Times in which deployments are not started, or not switched."),
        (name = "webhooks", description = "Receivers of events outside Panda, by Standard Webhooks 1.0."),
        (name = "channels", description = "Chats and mailboxes that show deployments to people."),
        (name = "hooks", description = "Push hooks: deployments that pushes to GitHub start."),
        (name = "policies", description = "What targets permit: windows and approvals."),
        (name = "sessions", description = "Authentication for clients that cannot send headers, such as a browser's EventSource."),
        (name = "tokens", description = "API tokens: credentials of people and programs."),
        (name = "revocations", description = "OpenID Connect subjects whose tokens are rejected."),
        (name = "pipeline", description = "The pipeline that AWS runs between the push and the switch."),
        (name = "audit", description = "Record of all changes and refusals."),
        (name = "reports", description = "Reports about past deployments."),
        (name = "maintenance", description = "Retention and its runs."),
        (name = "log", description = "The log filter of all replicas."),
        (name = "probes", description = "Probes for load balancers and orchestrators."),
    )
)]
struct Api;

/// Adds the security scheme: a bearer token.
struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut OpenApiDocument) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
            "A token of `panda token create`, in the header `Authorization`. Not required where authentication is off, the default on loopback.",
        ));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

/// All endpoints with their OpenAPI descriptions.
fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(connect::github::handle))
        .routes(routes!(connect::aws::handle))
        .routes(routes!(connect::github::renew::handle))
        .routes(routes!(connect::aws::renew::handle))
        .routes(routes!(connect::aws::rule_role::handle, connect::aws::rule_role::create::handle))
        .routes(routes!(connect::aws::check::handle))
        .routes(routes!(connect::github::secrets::handle))
        .routes(routes!(connect::github::secrets::set::handle, connect::github::secrets::remove::handle))
        .routes(routes!(connections::handle))
        .routes(routes!(connections::remove::handle))
        .routes(routes!(deploy::create::handle, deploy::list::handle))
        .routes(routes!(deploy::current::handle))
        .routes(routes!(deploy::events::handle))
        .routes(routes!(events::handle))
        .routes(routes!(deploy::switch::handle))
        .routes(routes!(deploy::cancel::handle))
        .routes(routes!(deploy::retry::handle))
        .routes(routes!(deploy::rollback::handle))
        .routes(routes!(deploy::outcome::handle))
        .routes(routes!(deploy::result::handle))
        .routes(routes!(deploy::log::handle))
        .routes(routes!(deploy::replay::handle))
        .routes(routes!(deploy::ticket::handle))
        .routes(routes!(events::ticket::handle))
        .routes(routes!(schedules::create::handle, schedules::list::handle))
        .routes(routes!(schedules::show::handle, schedules::change::handle, schedules::delete::handle))
        .routes(routes!(schedules::runs::handle))
        .routes(routes!(schedules::run::handle))
        .routes(routes!(freezes::list::handle, freezes::create::handle))
        .routes(routes!(freezes::lift::handle))
        .routes(routes!(webhooks::list::handle, webhooks::create::handle))
        .routes(routes!(webhooks::show::handle, webhooks::change::handle, webhooks::delete::handle))
        .routes(routes!(webhooks::test::handle))
        .routes(routes!(webhooks::secret::handle))
        .routes(routes!(webhooks::deliveries::handle))
        .routes(routes!(webhooks::deliveries::replay::handle))
        .routes(routes!(channels::list::handle, channels::create::handle))
        .routes(routes!(channels::show::handle, channels::change::handle, channels::delete::handle))
        .routes(routes!(channels::test::handle))
        .routes(routes!(channels::deliveries::handle))
        .routes(routes!(channels::deliveries::replay::handle))
        .routes(routes!(github_apps::list::handle, github_apps::begin::handle))
        .routes(routes!(github_apps::exchange::handle))
        .routes(routes!(github_apps::delete::handle))
        .routes(routes!(hooks::list::handle, hooks::create::handle))
        .routes(routes!(hooks::show::handle, hooks::change::handle, hooks::delete::handle))
        .routes(routes!(hooks::secret::handle))
        .routes(routes!(hooks::deliveries::handle))
        .routes(routes!(hooks::deliveries::redelivery::handle))
        .routes(routes!(hooks::github::handle))
        .routes(routes!(policies::show::handle, policies::set::handle))
        .routes(routes!(session::open::handle, session::close::handle))
        .routes(routes!(tokens::list::handle, tokens::create::handle))
        .routes(routes!(tokens::revoke::handle))
        .routes(routes!(revocations::list::handle, revocations::create::handle))
        .routes(routes!(revocations::remove::handle))
        .routes(routes!(pipeline::check::handle))
        .routes(routes!(audit::handle))
        .routes(routes!(reports::list::handle))
        .routes(routes!(reports::answer::handle))
        .routes(routes!(maintenance::handle))
        .routes(routes!(maintenance::runs::list::handle, maintenance::runs::start::handle))
        .routes(routes!(log::handle, log::set::handle, log::reset::handle))
        .routes(routes!(healthz::handle))
        .routes(routes!(readyz::handle))
        .routes(routes!(metrics::handle))
}

/// Builds the routes and the OpenAPI document, with the responses that many endpoints share. A handler describes only its own responses.
pub fn routes_and_document() -> (Router<ApiState>, OpenApiDocument) {
    let (routes, mut document) = routes().split_for_parts();
    for (path, item) in &mut document.paths.paths {
        let reading = [item.get.as_mut(), item.head.as_mut(), item.options.as_mut()];
        let changing = [item.post.as_mut(), item.put.as_mut(), item.patch.as_mut()];
        for operation in reading.into_iter().flatten() {
            add_common(path, operation);
        }
        for operation in changing.into_iter().flatten() {
            add_common(path, operation);
            add_response(operation, "403", FORBIDDEN);
        }
        if let Some(operation) = item.delete.as_mut() {
            add_common(path, operation);
            add_response(operation, "403", FORBIDDEN);
            // Closing a session needs no authentication.
            if path == "/api/v1/session" {
                operation.responses.responses.remove("401");
            }
        }
    }
    (routes, openapi_examples::of_required_only(document))
}

/// Routes that read no table beside the credential's: the list of reports is built in, and an execution is AWS's.
const WITHOUT_DATA: [&str; 2] = ["/api/v1/reports", "/api/v1/pipeline/check"];

const FORBIDDEN: &str =
    "The request came from a page of another origin, or the caller may not do this: `errorCode` says which.";

fn add_common(path: &str, operation: &mut Operation) {
    add_language(operation);
    add_response(operation, "400", "The request has no Host, two, an invalid one, or one that contradicts its target.");
    if !PROBES.contains(&path) {
        add_response(operation, "429", "Too many requests, event streams or sessions; see Retry-After.");
    }
    if !path.starts_with("/api/") {
        return;
    }
    add_response(operation, "401", "Missing or invalid credential.");
    // A stream is held open until the database is available: a browser would never reconnect after a 503.
    if !operation.responses.responses.contains_key("406") {
        if !WITHOUT_DATA.contains(&path) {
            add_response(operation, "500", "Internal error.");
        }
        add_response(
            operation,
            "503",
            "The database, or the service with the key for secrets, is unavailable, or the caller has too many concurrent requests; see Retry-After.",
        );
    }
    if path.contains("{id}") {
        add_response(operation, "404", "No such deployment.");
    }
    // An archived deployment can still be marked.
    if path.starts_with("/api/v1/deploy/{id}") && !path.ends_with("/outcome") {
        add_response(operation, "410", "The deployment is archived; only reports include it.");
    }
    if operation.parameters.iter().flatten().any(|one| matches!(one, RefOr::T(one) if one.name == "Idempotency-Key")) {
        add_response(operation, "408", "The body did not arrive in time.");
        add_response(operation, "413", "The body is over 64 KiB.");
        add_response(operation, "422", "The Idempotency-Key was used with another body.");
    }
    if let Some(body) = &operation.request_body {
        // An optional body is read whatever its type is, as it was before it had a meaning.
        let must_be_json = matches!(body, RefOr::T(body) if body.required == Some(Required::True));
        add_response(operation, "408", "The body did not arrive in time.");
        add_response(operation, "413", "The body is over 64 KiB.");
        if must_be_json {
            add_response(operation, "415", "The body is not declared as JSON.");
        }
    }
}

/// Documents the language of errors.
fn add_language(operation: &mut Operation) {
    let parameter = |name: &str, place: ParameterIn, description: &str, example: &str| {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(Required::False)
            .description(Some(description))
            .example(Some(example.into()))
            .schema(Some(schema))
    };
    let parameters = operation.parameters.get_or_insert_default();
    // Event streams describe the parameter themselves.
    if !parameters.iter().any(|one| matches!(one, RefOr::T(one) if one.name == language::PARAMETER)) {
        let lang = parameter(language::PARAMETER, ParameterIn::Query, LANG, "ko").build();
        parameters.push(lang.into());
    }
    parameters
        .push(parameter("Accept-Language", ParameterIn::Header, ACCEPT_LANGUAGE, "ko-KR, en;q=0.8").build().into());
}

const LANG: &str = "Language of errors, `ko` or `en`. Absent or unknown: that of `Accept-Language`, else English.";
const ACCEPT_LANGUAGE: &str = "Preferred languages (RFC 9110) of errors, where `lang` names none.";

/// Adds an error response, unless the endpoint describes it itself.
fn add_response(operation: &mut Operation, status: &str, description: &str) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response: Response =
        ResponseBuilder::new().description(description).content(problem::MEDIA_TYPE, problem).build();
    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
}

/// Routes of the document and of Swagger UI, which shows it, for an API that is served
/// below `base`, the path before all others (`PANDA_BASE_PATH`).
pub fn swagger_ui(mut document: OpenApiDocument, base: &str) -> Router<ApiState> {
    const DOCUMENT: &str = "/api-docs/openapi.json";
    if !base.is_empty() {
        document.servers = Some(vec![Server::new(base)]);
    }
    let ui: Router<ApiState> = SwaggerUi::new("/swagger-ui").config(Config::new([format!("{base}{DOCUMENT}")])).into();
    let document = Bytes::from(json::line(&document));
    let kind = HeaderValue::from_static("application/json");
    // The program has the page's files compressed alone; what a client accepts is decided further out.
    let ui = ui.layer(DecompressionLayer::new());
    ui.route(DOCUMENT, get(move || async move { ([(header::CONTENT_TYPE, kind)], document) }))
}

/// Builds only the `OpenAPI` document.
pub fn document() -> OpenApiDocument {
    routes_and_document().1
}
