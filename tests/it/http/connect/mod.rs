mod aws;
pub mod check;
mod check_accounts;
mod github;
mod reconnect;
mod renew;
mod roles;
mod rule_role;
mod secrets;
