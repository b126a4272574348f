//! Panda: a deployment controller that reconciles deployments from a git repository to traffic on green.
//!
//! Start with `docs/architecture.md`; each room below opens with what it is for and who may enter it.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests read what they made themselves"))]

pub mod app;
pub mod bounded;
pub mod cli;
pub mod clients;
pub mod config;
pub mod db;
pub mod domain;
pub mod failpoints;
pub mod http;
pub mod maintenance;
pub mod metrics;
pub mod reconcile;
#[allow(clippy::disallowed_methods, reason = "its callers are tests and the user of this machine")]
pub mod sandbox;
pub mod steps;
pub mod telemetry;
