//! The web page in a real Chromium (`panda_testing::web_page`), on the sandbox and real components.

pub mod access;
mod detail;
mod flow;
mod freezes;
mod history;
mod integrations;
mod list;
mod log;
mod pauses;
mod pictures;
mod policies;
mod sources;
mod start;
