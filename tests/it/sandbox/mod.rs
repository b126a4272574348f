//! The sandbox, driven by the real SDK clients over the wire.

mod chain;
mod faults;
mod models;
mod pipeline;
mod switch;
mod wire;

pub use panda_testing::sandbox as harness;
