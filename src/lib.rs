//! Panda: a deployment controller that reconciles deployments from a git repository to traffic on green.
//!
//! Start with `docs/architecture.md`; each room below opens with what it is for and who may enter it.

pub mod app;
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
pub mod sandbox;
pub mod steps;
pub mod telemetry;
