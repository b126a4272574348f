//! Fault proxies: [`fault`] accepts, numbers, cuts, silences and redirects connections for all of them.

pub mod fault;
pub mod postgres;
pub mod rds;
pub mod registry;
pub mod tls;

pub use fault::FaultProxy;
