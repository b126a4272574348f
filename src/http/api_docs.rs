//! `GET /api-docs/openapi.json` and `/swagger-ui`: the API's description, made from the handlers, and a page to try it.

use axum::Router;
use utoipa::openapi::OpenApi as OpenApiDocument;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use super::{ApiState, audit, connect, connections, deploy, events, healthz, metrics, readyz, session};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Panda",
        description = "Deploys a branch of a GitHub repository: builds its Dockerfile, pushes the image to ECR, follows the Step Functions \
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
        (name = "sessions", description = "Signing in where no header can be sent: a browser's EventSource."),
        (name = "audit", description = "Who did what."),
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
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(connect::github::handle))
        .routes(routes!(connect::aws::handle))
        .routes(routes!(connections::handle))
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
        .routes(routes!(session::open::handle, session::close::handle))
        .routes(routes!(audit::handle))
        .routes(routes!(healthz::handle))
        .routes(routes!(readyz::handle))
        .routes(routes!(metrics::handle))
}

/// The document and the page that shows it.
pub fn browser(document: OpenApiDocument) -> Router<ApiState> {
    SwaggerUi::new("/swagger-ui").url("/api-docs/openapi.json", document).into()
}

/// The `OpenAPI` document.
pub fn document() -> OpenApiDocument {
    routes().into_openapi()
}
