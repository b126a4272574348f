//! Pure types and rules: no I/O, no other room.

pub mod audit;
pub mod backoff;
pub mod catalogue;
pub mod claims;
pub mod connection;
pub mod cron;
pub mod deployment;
pub mod destination;
pub mod event;
pub mod failure;
pub mod history;
pub mod ids;
pub mod keyring;
pub mod log_filter;
pub mod maintenance;
pub mod mask;
pub mod names;
pub mod network;
pub mod news;
pub mod pipeline;
pub mod principal;
pub mod schedule;
pub mod schema;
pub mod text;
pub mod token;
pub mod trace;
pub mod validate;

pub use catalogue::{EventCode, EventType, Lang};
pub use connection::{AwsConnection, GithubConnection};
pub use deployment::{Deployment, Facts, Status};
pub use event::{Event, StoredEvent};
pub use failure::ErrorCode;
pub use principal::{Caller, Principal, Role, Scope};
