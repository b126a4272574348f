//! `/api/v1/connect/…`: the only handlers that ask the outside, and they only read.

pub mod aws;
pub mod github;
pub mod secrets;
