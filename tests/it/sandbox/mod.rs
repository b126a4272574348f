//! The sandbox, driven by the real SDK clients over the wire.

mod chain;
mod faults;
pub mod harness;
mod pipeline;
mod switch;
mod wire;
