//! `/api/v1/connect/…`: stores and renews connections.

pub mod aws;
pub mod error;
pub mod github;
pub mod path;
