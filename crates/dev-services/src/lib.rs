//! Dev services for `panda up`, `panda demo` and tests: a real Postgres, Docker engine and image registry on this machine.
//!
//! Each service is a child process in a private folder on a free loopback port, and never outlives this process (see [`child_guard`]). Services use
//! the programs installed on the machine; their errors name the package to install when one is missing.

#![allow(clippy::disallowed_methods, reason = "only tests and the user of this machine call it")]

mod base_image;
mod base_images;
pub mod child_guard;
mod docker;
mod error;
mod machine;
mod postgres;
mod postgres_install;
mod postgres_login;
mod registry;
pub mod registry_image;
mod run;

pub use docker::{Engine, EngineOptions};
pub use error::DevServicesError;
pub use machine::temporary_folder;
pub use postgres::{Postgres, PostgresOptions};
pub use postgres_login::password_file;
pub use registry::{Registry, RegistryOptions};
pub use run::{DevServices, run_command};
