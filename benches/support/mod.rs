//! What the benches share.
#![allow(dead_code, reason = "each bench is a program of its own and uses a part of this")]

pub mod figures;
pub mod postgres;
pub mod process;
pub mod rows;
pub mod sandbox;
