//! Third-party readers of event streams on real Pandas: Chromium, npm's EventSource, Python, Rust; and clients/js in a browser and in Node. They
//! follow the published standard, independently of Panda's own understanding of it.

mod build_output;
mod documents;
mod proxies;
mod restarts;
mod tickets;

pub use panda_testing::installed::program;
pub use panda_testing::readers::{browser, nginx, programs, progress as reader, rust};
