//! `/api/v1/connect/…`: the only handlers that call external services, and they only read from them.

pub mod aws;
pub mod error;
pub mod github;
pub mod path;
