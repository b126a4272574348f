//! Real parts on one machine, for `panda up`, `panda demo` and tests: Postgres, a Docker engine, an image registry.
//!
//! Each part is a child process in a private folder on a free loopback port, and none outlives us (see [`leash`]). A machine's own
//! programs are used where they are installed; each part says what to install where they are not.

mod base_image;
mod base_images;
mod docker;
mod error;
pub mod leash;
mod place;
mod postgres;
mod postgres_install;
mod postgres_login;
mod registry;
pub mod registry_image;
mod run;

pub use docker::{Engine, EngineOptions};
pub use error::PartsError;
pub use place::temporary_folder;
pub use postgres::{Postgres, PostgresOptions};
pub use postgres_login::password_file;
pub use registry::{Registry, RegistryOptions};
pub use run::{Parts, run_command};
