//! `GET /api-docs/openapi.json` and `/swagger-ui`: the API's description, made from the handlers, and a page to try it.

use axum::Router;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as OpenApiDocument, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use super::{
    ApiState, audit, connect, connections, deploy, door, events, healthz, log, maintenance, metrics, problem, readyz,
    reports, revocations, schedules, session,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Panda",
        description = "Deploys a branch, tag or commit of a GitHub repository, or an image: builds its Dockerfile, pushes the image to ECR, follows the Step Functions \
                       execution that the push starts, and switches the traffic of an ECS blue/green deployment when a person says so.\n\n\
                       Success: `{\"code\": 200, \"message\": …, \"data\": …}`. Errors: `application/problem+json` (RFC 9457) with a stable \
                       `errorCode`. Times: RFC 3339, UTC.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&Token),
    security(("token" = [])),
    tags(
        (name = "connections", description = "Where the source is read and where it is deployed to."),
        (name = "deployments", description = "Start, follow, switch, cancel, retry."),
        (name = "schedules", description = "Deployments that start by the clock."),
        (name = "sessions", description = "Signing in where no header can be sent: a browser's EventSource."),
        (name = "revocations", description = "Who is refused, whatever their tokens say."),
        (name = "audit", description = "Who did what."),
        (name = "reports", description = "Questions about the history."),
        (name = "maintenance", description = "What is removed with time."),
        (name = "log", description = "What is logged."),
        (name = "probes", description = "For load balancers and orchestrators."),
    )
)]
struct Api;

/// How a caller signs in.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut OpenApiDocument) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
            "A token that `panda token create` made, in the header `Authorization`. Not needed where authentication is off, as on loopback by default.",
        ));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

/// Every endpoint with its description.
fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(connect::github::handle))
        .routes(routes!(connect::aws::handle))
        .routes(routes!(connect::github::renew::handle))
        .routes(routes!(connect::aws::renew::handle))
        .routes(routes!(connect::secrets::handle))
        .routes(routes!(connect::secrets::set::handle, connect::secrets::remove::handle))
        .routes(routes!(connections::handle))
        .routes(routes!(connections::remove::handle))
        .routes(routes!(deploy::create::handle, deploy::list::handle))
        .routes(routes!(deploy::current::handle))
        .routes(routes!(deploy::events::handle))
        .routes(routes!(events::handle))
        .routes(routes!(deploy::switch::handle))
        .routes(routes!(deploy::cancel::handle))
        .routes(routes!(deploy::retry::handle))
        .routes(routes!(deploy::result::handle))
        .routes(routes!(deploy::ticket::handle))
        .routes(routes!(events::ticket::handle))
        .routes(routes!(schedules::create::handle, schedules::list::handle))
        .routes(routes!(schedules::show::handle, schedules::change::handle, schedules::delete::handle))
        .routes(routes!(schedules::runs::handle))
        .routes(routes!(schedules::run::handle))
        .routes(routes!(session::open::handle, session::close::handle))
        .routes(routes!(revocations::list::handle, revocations::create::handle))
        .routes(routes!(revocations::remove::handle))
        .routes(routes!(audit::handle))
        .routes(routes!(reports::list::handle))
        .routes(routes!(reports::answer::handle))
        .routes(routes!(maintenance::handle))
        .routes(routes!(maintenance::list::handle, maintenance::start::handle))
        .routes(routes!(log::handle, log::set::handle, log::reset::handle))
        .routes(routes!(healthz::handle))
        .routes(routes!(readyz::handle))
        .routes(routes!(metrics::handle))
}

/// The routes, and the document of them. What many endpoints answer for the same reason is added here: a handler describes what is its own.
pub fn parts() -> (Router<ApiState>, OpenApiDocument) {
    let (routes, mut document) = routes().split_for_parts();
    for (path, item) in &mut document.paths.paths {
        let reading = [item.get.as_mut(), item.head.as_mut(), item.options.as_mut()];
        let changing = [item.post.as_mut(), item.put.as_mut(), item.patch.as_mut()];
        for operation in reading.into_iter().flatten() {
            add_common(path, operation);
        }
        for operation in changing.into_iter().flatten() {
            add_common(path, operation);
            refuses(operation, "403", FOREIGN);
        }
        if let Some(operation) = item.delete.as_mut() {
            add_common(path, operation);
            refuses(operation, "403", FOREIGN);
            // Closing a session needs nobody who is signed in.
            if path == "/api/v1/session" {
                operation.responses.responses.remove("401");
            }
        }
    }
    (routes, document)
}

const FOREIGN: &str = "A page of another origin asks, or the right is missing: `errorCode` tells which.";

fn add_common(path: &str, operation: &mut Operation) {
    refuses(operation, "400", "The request names no host, two, an invalid one, or another than its target.");
    if !door::PROBES.contains(&path) {
        refuses(operation, "429", "Too many requests, event streams or sessions; see Retry-After.");
    }
    if !path.starts_with("/api/") {
        return;
    }
    refuses(operation, "401", "Nobody is signed in.");
    // A stream waits for the database instead: a browser would never come back after a 503.
    if !operation.responses.responses.contains_key("406") {
        // The list of reports is the program's own.
        if path != "/api/v1/reports" {
            refuses(operation, "500", "Internal error.");
        }
        refuses(
            operation,
            "503",
            "The database, or the service that has the key for secrets, is away; see Retry-After.",
        );
    }
    if path.contains("{id}") {
        refuses(operation, "404", "There is no such deployment.");
    }
    if path.starts_with("/api/v1/deploy/{id}") {
        refuses(operation, "410", "It ended so long ago that only reports have it.");
    }
    if operation.parameters.iter().flatten().any(|one| matches!(one, RefOr::T(one) if one.name == "Idempotency-Key")) {
        refuses(operation, "408", "The body did not arrive in time.");
        refuses(operation, "413", "The body is over 64 KiB.");
        refuses(operation, "422", "The Idempotency-Key came with another body before.");
    }
    if operation.request_body.is_some() {
        refuses(operation, "408", "The body did not arrive in time.");
        refuses(operation, "413", "The body is over 64 KiB.");
        refuses(operation, "415", "The body is not declared as JSON.");
    }
}

/// Adds an answer, unless the endpoint describes it itself.
fn refuses(operation: &mut Operation, status: &str, description: &str) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response: Response =
        ResponseBuilder::new().description(description).content(problem::MEDIA_TYPE, problem).build();
    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
}

/// The document and the page that shows it.
pub fn browser(document: OpenApiDocument) -> Router<ApiState> {
    SwaggerUi::new("/swagger-ui").url("/api-docs/openapi.json", document).into()
}

/// The `OpenAPI` document.
pub fn document() -> OpenApiDocument {
    parts().1
}
