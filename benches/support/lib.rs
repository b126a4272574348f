//! Shared code of the benches: the release program, a durable Postgres, thousands of deployments, the sandbox in a separate process.
//!
//! Each bench is a program beside this folder; `make bench-NAME` runs it. The crate `panda_testing` has what benches and tests have in common.

pub mod figures;
pub mod postgres;
pub mod process;
pub mod rows;
pub mod sandbox;
