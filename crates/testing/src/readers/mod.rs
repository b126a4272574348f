//! Third-party readers of event streams: Chromium, npm's EventSource, Python, Rust; clients/js in a browser and in Node; and nginx and npm's proxies before a Panda.

pub mod browser;
pub mod nginx;
pub mod node_proxy;
pub mod programs;
pub mod progress;
pub mod rust;
