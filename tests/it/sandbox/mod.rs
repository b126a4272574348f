//! The sandbox, driven by the real SDK clients over the wire.

pub mod bench;
mod chain;
mod faults;
mod pipeline;
mod switch;
mod wire;
