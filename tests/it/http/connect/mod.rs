mod aws;
mod github;
mod reconnect;
mod renew;
mod roles;
mod rule_role;
mod secrets;
