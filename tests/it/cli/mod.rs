//! The program as a user or a script runs it.

mod checkout;
mod client;
mod connect;
mod demo;
mod language;
mod log;
mod maintenance;
mod migrate;
mod newer_schema;
mod old_database;
mod report;
mod schedule;
mod terminal;
mod token;
mod watch;

use panda_testing::Program as _;
pub(crate) use panda_testing::process::command::{Ended, run};
use tokio::process::Command;

use crate::support::panda::Panda;

/// The program without the environment of the test run.
pub(crate) fn panda(args: &[&str]) -> Command {
    panda_testing::process::command::command(&Panda::path(), args)
}
