//! Postgres: a database per test, a pair that fails over, and servers of other versions.

pub mod database;
pub mod report;
pub mod servers;
pub mod standby;

pub use database::TestDb;
