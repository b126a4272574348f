//! The endpoints. The path of a file is the URL: `deploy/switch.rs` serves `POST /api/v1/deploy/{id}/switch`.

pub mod audit;
pub mod channels;
pub mod connect;
pub mod connections;
pub mod deploy;
pub mod events;
pub mod freezes;
pub mod github_apps;
pub mod healthz;
pub mod hooks;
pub mod log;
pub mod maintenance;
pub mod mcp;
pub mod metrics;
pub mod openapi;
mod openapi_examples;
pub mod pipeline;
pub mod policies;
pub mod readyz;
pub mod reports;
pub mod revocations;
pub mod schedules;
pub mod session;
pub mod tokens;
pub mod webhooks;
