//! Thin clients for external services: Panda's own types in and out, and one error type.
//!
//! A client may use `domain`, `bounded` and `metrics`, and no other module of the program.

pub mod aws;
pub mod build;
pub mod build_context;
mod build_faults;
mod build_output;
pub mod builder;
pub mod builder_address;
pub mod builder_pool;
pub mod buildkit;
mod call_span;
pub mod docker;
pub mod error;
pub mod gates;
pub mod git;
pub mod github;
pub mod oidc;
pub mod probe;
pub mod receivers;
pub mod registry;
pub mod registry_credentials;
pub mod registry_logins;
pub mod ssrf_guard;
pub mod webhook;
pub mod workspace;

pub use error::{ClientError, ErrorKind};
