//! The outside world, spoken to through thin clients: our types in and out, one error type.
//!
//! A client may use `domain` and `metrics`, and nothing else of the program.

pub mod aws;
pub mod build;
pub mod builder;
pub mod builders;
pub mod buildkit;
pub mod docker;
pub mod error;
pub mod git;
pub mod github;
pub mod guarded;
pub mod oidc;
mod outside;
pub mod probe;
pub mod registry;
pub mod registry_logins;
pub mod workspace;

pub use error::{ClientError, ErrorKind};
