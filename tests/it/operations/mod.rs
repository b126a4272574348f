//! The operations documents: their commands run on real Postgres servers without superuser's rights, or are checked where they cannot run.

mod commands;
mod costs;
mod documents;
mod drills;
mod keys_on_standby;
mod restore;
mod secrets;
mod site;
