//! Third-party readers of event streams on real Pandas: Chromium, npm's EventSource, Python, Rust; and clients/js in a browser and in Node. They
//! follow the published standard, independently of Panda's own understanding of it.
//!
//! What went wrong with other software, and the siblings of each:
//! - Proxies that compress or buffer: Express 4 and 5, two versions of `http-proxy-middleware`, `http-proxy`, `fetch`, nginx with and without compression,
//!   chains of them (`compression`, `proxies`).
//! - Proxies that answer for an unreachable Panda: an immediate 502, 502 after a time limit, a load balancer before the proxy (`proxies`).
//! - Readers that close at their first error: a short deployment, half an hour, a replica that dies (`user_page`).
//! - Line readers: every character at which any of them splits, in messages and details (`restarts`, `http::sse::frame`).
//! - Readers of a Panda that restarts: killed, stopped, away for long (`restarts`).

mod build_output;
mod compression;
mod documents;
mod proxies;
mod restarts;
mod tickets;
mod user_page;

pub use panda_testing::installed::program;
pub use panda_testing::readers::{browser, nginx, node_proxy, programs, progress as reader, rust};
