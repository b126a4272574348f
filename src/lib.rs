//! Panda: a deployment controller that reconciles deployments from a git repository to traffic on green.
//!
//! Start with `docs/architecture.md`. The module doc of each layer below states its purpose and its allowed dependencies.

#![allow(rustdoc::private_intra_doc_links, reason = "the documentation is built with private items")]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests read only data that they wrote themselves"))]

pub mod app;
pub mod background;
pub mod bounded;
pub mod cli;
pub mod clients;
pub mod commands;
pub mod config;
pub mod db;
pub mod domain;
pub mod failpoints;
pub mod http;
pub mod metrics;
pub mod reconcile;
pub mod steps;
pub mod telemetry;
