//! All integration tests, in one binary, because linking is most of the build. `tests/README.md` says how to extend them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail the test as the test itself does")]
#![allow(non_snake_case, reason = "a test is named feature__claim: found by the feature, and read as the claim")]
#![allow(clippy::disallowed_methods, reason = "tests read what they made themselves")]

mod aws;
mod builds;

mod channels;
mod chart;
mod cli;
mod client_go;
mod client_js;
mod client_typescript;
mod clients;
mod crash;
mod db;
mod dev_services;
mod documents;
mod flow;
mod github_action;
mod hostile_inputs;
mod http;
mod image;
mod layers;
mod leaks;
mod log;
mod maintenance;
mod monitoring;
mod moto;
mod operations;
mod page;
mod postgres;
mod pushes;
mod reconcile;
mod release;
mod report;
mod rolling;
mod sandbox;
mod scenarios;
mod schedules;
mod security;
mod soak;
mod streams;
mod streams_clients;
mod supply_chain;
mod support;
mod traces;
mod webhooks;
