//! The program as a user or a script runs it.
//!
//! What newcomers stumbled over, and the siblings of each:
//! - Commands that were printed and did not work: those of `panda up` and of the README (`demo`), the next command after `deploy`, `switch`, `retry` and
//!   `init`, with another server, a base path, a token file, a path with spaces (`cli::next_command`).
//! - A cause that was printed three times: of a build, an execution, a cancellation; in a terminal, in a pipe, as JSON (`watch`, `cli::progress`).
//! - Two languages in one terminal: every command, in both (`one_language`).
//! - JSON where text was expected, and missing columns: schedules, reports, results (`schedule`, `report`, `cli::table`).
//! - Errors that name HTTP calls: every text of the catalogue (`cli::api_words`).
//! - `curl`: final line breaks, times, numbers, of every endpoint and of the OpenAPI document (`http::curl`).

mod channel;
mod check;
mod checkout;
mod client;
mod connect;
mod demo;
mod freeze;
mod hook;
mod keys;
mod language;
mod log;
mod maintenance;
mod migrate;
mod newer_schema;
mod old_database;
mod one_language;
mod policy;
mod report;
mod rollback;
mod schedule;
mod switch;
mod terminal;
mod token;
mod watch;
mod webhook;

use panda_testing::Program as _;
pub(crate) use panda_testing::process::command::{Ended, run};
use tokio::process::Command;

use crate::support::panda::Panda;

/// The program without the environment of the test run.
pub(crate) fn panda(args: &[&str]) -> Command {
    panda_testing::process::command::command(&Panda::path(), args)
}
