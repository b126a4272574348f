//! Shared code of the benches.
#![allow(dead_code, reason = "each bench is a separate program and uses a part of this")]

pub mod figures;
pub mod postgres;
pub mod process;
pub mod rows;
pub mod sandbox;
