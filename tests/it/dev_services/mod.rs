//! Dev services: Postgres, registry, engine, git and GitHub as real processes.

mod child_guard;
mod docker;
mod git;
mod github;
mod hello_example;
mod postgres;
pub mod registry;
mod registry_program;
mod run;

pub use panda_testing::engines::{engine, forget_image};
pub use panda_testing::process::is_alive;
pub use panda_testing::process::victim::{Victim, ready_to_die, run_in_folder, victims_folder};
